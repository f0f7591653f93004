-- Our own tables beside FOG's. Times are texts `YYYY-MM-DD HH:MM:SS` in UTC.

CREATE TABLE IF NOT EXISTS fos_settings (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    content TEXT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What is known about an image since it was added: nothing of it may change unnoticed.
CREATE TABLE IF NOT EXISTS fos_images (
    imageID INT NOT NULL PRIMARY KEY,
    checkedAt VARCHAR(19) NOT NULL,
    -- 1: every stream was decoded to its end; 0: only headers were looked at.
    verified INT NOT NULL,
    -- The settings of the image with which its files make sense, in JSON.
    settings TEXT NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row per file. `streamIndex` is NULL for small files, else the position of its stream in
-- sending order, `part` its position in the stream.
CREATE TABLE IF NOT EXISTS fos_imageFiles (
    imageID INT NOT NULL,
    name VARCHAR(255) NOT NULL,
    streamIndex INT,
    part INT NOT NULL DEFAULT 0,
    size BIGINT NOT NULL,
    -- Nanoseconds since 1970.
    mtime BIGINT NOT NULL,
    -- 64 hexadecimal digits; empty for files that are sent (their streams have one).
    blake3 VARCHAR(64) NOT NULL DEFAULT '',
    PRIMARY KEY (imageID, name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row per stream; `facts` is JSON (what the image header says).
CREATE TABLE IF NOT EXISTS fos_imageStreams (
    imageID INT NOT NULL,
    streamIndex INT NOT NULL,
    name VARCHAR(255) NOT NULL,
    size BIGINT NOT NULL,
    blake3 VARCHAR(64) NOT NULL,
    facts MEDIUMTEXT NOT NULL,
    PRIMARY KEY (imageID, streamIndex)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- A session beside its row in multicastSessions: what a restarted server must know.
CREATE TABLE IF NOT EXISTS fos_sessions (
    msID INT NOT NULL PRIMARY KEY,
    name VARCHAR(250) NOT NULL,
    -- Time of the first byte sent; NULL while waiting.
    startedAt VARCHAR(19),
    -- 1: streams carry records.
    records INT NOT NULL DEFAULT 0,
    runs BIGINT NOT NULL DEFAULT 0,
    reasonCode VARCHAR(64) NOT NULL DEFAULT '',
    reasonDetails MEDIUMTEXT NOT NULL DEFAULT '',
    -- Seconds of the first wait, 0 where nothing was said; for tables that lack msMaxwait.
    maxWait BIGINT NOT NULL DEFAULT 0,
    -- 1: it has failed; for tables that know no state for that.
    failed INT NOT NULL DEFAULT 0,
    -- A copy of msStartDateTime: FOG's numbers begin anew when its table is emptied.
    fogStart DATETIME
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- A host in a session. Outlives the rows in multicastSessionsAssoc.
CREATE TABLE IF NOT EXISTS fos_sessionHosts (
    msID INT NOT NULL,
    hostID INT NOT NULL,
    taskID INT NOT NULL,
    hostName VARCHAR(64) NOT NULL,
    ip VARCHAR(45) NOT NULL DEFAULT '',
    -- What the boot script told this machine alone, 32 hexadecimal digits; empty for stock clients.
    ticket VARCHAR(32) NOT NULL DEFAULT '',
    -- Which client the machine runs: 0 FOG's, 1 one of our agents. Its name is for people.
    client INT NOT NULL DEFAULT 0,
    agent VARCHAR(80) NOT NULL DEFAULT '',
    checkedInAt VARCHAR(19),
    streamsDone BIGINT NOT NULL DEFAULT 0,
    -- FOG's number of the task's state, kept when the task itself is gone.
    state INT NOT NULL DEFAULT 1,
    reasonCode VARCHAR(64) NOT NULL DEFAULT '',
    reasonDetails MEDIUMTEXT NOT NULL DEFAULT '',
    PRIMARY KEY (msID, hostID),
    KEY fos_sessionHostsByHost (hostID, msID)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS fos_events (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at VARCHAR(19) NOT NULL,
    msID INT NOT NULL DEFAULT 0,
    hostID INT NOT NULL DEFAULT 0,
    -- At the time of the event.
    hostName VARCHAR(64) NOT NULL DEFAULT '',
    code VARCHAR(64) NOT NULL,
    details TEXT NOT NULL,
    KEY fos_eventsBySession (msID, id),
    KEY fos_eventsByHost (msID, hostID)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What machines were told, by MAC address: it stays when their host is removed.
CREATE TABLE IF NOT EXISTS fos_handouts (
    -- Grows with what is remembered.
    id BIGINT NOT NULL PRIMARY KEY,
    mac VARCHAR(17) NOT NULL,
    -- The host at that time.
    hostID INT NOT NULL,
    -- Empty where only the job is still known.
    address VARCHAR(45) NOT NULL,
    msID INT NOT NULL,
    imageID INT NOT NULL,
    port INT NOT NULL,
    -- A digest of the other arguments by which a client restores; 0 where it is not known.
    arguments BIGINT NOT NULL,
    -- 32 hexadecimal digits; empty for what a machine checked in for.
    ticket VARCHAR(32) NOT NULL,
    at VARCHAR(19) NOT NULL,
    -- Number of the first row of this machine at this address.
    since BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Machines that asked without being registered. `asked` grows with every request of any of them.
CREATE TABLE IF NOT EXISTS fos_strangers (
    mac VARCHAR(17) NOT NULL PRIMARY KEY,
    address VARCHAR(45) NOT NULL,
    firstAt VARCHAR(19) NOT NULL,
    lastAt VARCHAR(19) NOT NULL,
    requests BIGINT NOT NULL,
    asked BIGINT NOT NULL,
    KEY fos_strangersAsked (asked)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- People and programs that may use the page and the API.
CREATE TABLE IF NOT EXISTS fos_accounts (
    -- user or token
    kind VARCHAR(10) NOT NULL,
    name VARCHAR(40) NOT NULL,
    -- viewer, operator or admin
    role VARCHAR(10) NOT NULL,
    -- Of a user the password, hashed, as a PHC string; of a token its BLAKE3 hash in hexadecimal digits.
    secret MEDIUMTEXT NOT NULL,
    createdAt VARCHAR(19) NOT NULL,
    PRIMARY KEY (kind, name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
