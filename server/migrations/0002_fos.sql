-- Our own tables.

-- What is known about an image since it was added: nothing of it may change unnoticed.
CREATE TABLE fos_images (
    imageID INTEGER PRIMARY KEY,
    checkedAt TEXT NOT NULL,
    -- 1: every stream was decoded to its end; 0: only headers were looked at.
    verified INTEGER NOT NULL
);

-- One row per file. `streamIndex` is NULL for small files, else the position of its stream in
-- sending order, `part` its position in the stream.
CREATE TABLE fos_imageFiles (
    imageID INTEGER NOT NULL,
    name TEXT NOT NULL,
    streamIndex INTEGER,
    part INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    -- Nanoseconds since 1970.
    mtime INTEGER NOT NULL,
    PRIMARY KEY (imageID, name)
);

-- One row per stream; `facts` is JSON (what the image header says).
CREATE TABLE fos_imageStreams (
    imageID INTEGER NOT NULL,
    streamIndex INTEGER NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    blake3 TEXT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (imageID, streamIndex)
);

-- A session beside its row in multicastSessions: what a restarted server must know.
CREATE TABLE fos_sessions (
    msID INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    -- Time of the first byte sent; NULL while waiting.
    startedAt TEXT,
    -- 1: streams carry records.
    records INTEGER NOT NULL DEFAULT 0,
    -- Why it ended as it did, for people.
    result TEXT NOT NULL DEFAULT ''
);

-- A host in a session. Outlives the rows in multicastSessionsAssoc.
CREATE TABLE fos_sessionHosts (
    msID INTEGER NOT NULL,
    hostID INTEGER NOT NULL,
    taskID INTEGER NOT NULL,
    hostName TEXT NOT NULL,
    ip TEXT NOT NULL DEFAULT '',
    agent TEXT NOT NULL DEFAULT '',
    checkedInAt TEXT,
    streamsDone INTEGER NOT NULL DEFAULT 0,
    -- waiting, receiving, complete, failed, cancelled
    state TEXT NOT NULL DEFAULT 'waiting',
    result TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (msID, hostID)
);
CREATE INDEX fos_sessionHostsByHost ON fos_sessionHosts (hostID, msID);

CREATE TABLE fos_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    msID INTEGER NOT NULL DEFAULT 0,
    hostID INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX fos_eventsBySession ON fos_events (msID, id);
