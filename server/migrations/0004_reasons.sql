-- Reasons as codes with details (JSON) instead of prose; states as FOG's numbers; tickets, runs,
-- what machines were told, and machines that are not registered.

ALTER TABLE fos_sessions ADD COLUMN runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fos_sessions ADD COLUMN reasonCode TEXT NOT NULL DEFAULT '';
ALTER TABLE fos_sessions ADD COLUMN reasonDetails TEXT NOT NULL DEFAULT '';
UPDATE fos_sessions SET reasonCode = 'words', reasonDetails = json_object('text', result)
    WHERE result <> '';
-- The first attempt had the number 0.
UPDATE fos_sessions SET runs = 1 WHERE startedAt IS NOT NULL;
ALTER TABLE fos_sessions DROP COLUMN result;

CREATE TABLE fos_sessionHostsNew (
    msID INTEGER NOT NULL,
    hostID INTEGER NOT NULL,
    taskID INTEGER NOT NULL,
    hostName TEXT NOT NULL,
    ip TEXT NOT NULL DEFAULT '',
    -- What the boot script told this machine alone, 32 hexadecimal digits; empty for stock clients.
    ticket TEXT NOT NULL DEFAULT '',
    agent TEXT NOT NULL DEFAULT '',
    checkedInAt TEXT,
    streamsDone INTEGER NOT NULL DEFAULT 0,
    -- FOG's number of the task's state, kept when the task itself is gone.
    state INTEGER NOT NULL DEFAULT 1,
    reasonCode TEXT NOT NULL DEFAULT '',
    reasonDetails TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (msID, hostID)
);
INSERT INTO fos_sessionHostsNew
    (msID, hostID, taskID, hostName, ip, agent, checkedInAt, streamsDone, state, reasonCode,
     reasonDetails)
SELECT msID, hostID, taskID, hostName, ip, agent, checkedInAt, streamsDone,
    CASE state
        WHEN 'new' THEN 0
        WHEN 'queued' THEN 1
        WHEN 'waiting' THEN CASE WHEN checkedInAt IS NULL THEN 1 ELSE 3 END
        WHEN 'checked in' THEN 2
        WHEN 'receiving' THEN 3
        WHEN 'in progress' THEN 3
        WHEN 'complete' THEN 4
        WHEN 'cancelled' THEN 5
        WHEN 'failed' THEN 6
        -- Kept as it is: it must be seen that it is none of them.
        ELSE state
    END,
    CASE WHEN result = '' THEN '' ELSE 'words' END,
    CASE WHEN result = '' THEN '' ELSE json_object('text', result) END
FROM fos_sessionHosts;
DROP TABLE fos_sessionHosts;
ALTER TABLE fos_sessionHostsNew RENAME TO fos_sessionHosts;
CREATE INDEX fos_sessionHostsByHost ON fos_sessionHosts (hostID, msID);

ALTER TABLE fos_events RENAME COLUMN kind TO code;
ALTER TABLE fos_events RENAME COLUMN text TO details;
-- At the time of the event.
ALTER TABLE fos_events ADD COLUMN hostName TEXT NOT NULL DEFAULT '';
UPDATE fos_events SET details = json_object('text', code || ': ' || details), code = 'words';
UPDATE fos_events SET hostName = COALESCE(
    (SELECT member.hostName FROM fos_sessionHosts AS member
        WHERE member.msID = fos_events.msID AND member.hostID = fos_events.hostID),
    (SELECT hosts.hostName FROM hosts WHERE hosts.hostID = fos_events.hostID),
    '') WHERE hostID <> 0;
-- FOG keeps tasks for ever; few of them are active.
CREATE INDEX tasksByState ON tasks (taskStateID);

CREATE INDEX fos_eventsByHost ON fos_events (msID, hostID);

-- What boot scripts told machines; the newest row of an address of a host counts.
CREATE TABLE fos_handouts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hostID INTEGER NOT NULL,
    address VARCHAR(45) NOT NULL,
    msID INTEGER NOT NULL,
    imageID INTEGER NOT NULL,
    port INTEGER NOT NULL,
    -- 32 hexadecimal digits, or empty.
    ticket TEXT NOT NULL DEFAULT '',
    at TEXT NOT NULL,
    UNIQUE (hostID, address)
);

-- Machines that asked without being registered. `asked` grows with every request of any of them.
CREATE TABLE fos_strangers (
    mac VARCHAR(17) NOT NULL PRIMARY KEY,
    address VARCHAR(45) NOT NULL,
    firstAt TEXT NOT NULL,
    lastAt TEXT NOT NULL,
    requests INTEGER NOT NULL,
    asked INTEGER NOT NULL
);
CREATE INDEX fos_strangersAsked ON fos_strangers (asked);
