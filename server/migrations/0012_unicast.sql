-- A task of a machine that is deployed alone, beside its row in tasks.
CREATE TABLE fos_tasks (
    taskID INTEGER PRIMARY KEY,
    hostName TEXT NOT NULL DEFAULT '',
    -- Place in line; who has a lower one goes first.
    place INTEGER NOT NULL DEFAULT 0,
    -- When its machine got in line, when it got its slot, and when the task ended.
    enteredAt TEXT,
    wentAt TEXT,
    endedAt TEXT,
    -- The machine that asked for it, as in fos_sessionHosts.
    ip TEXT NOT NULL DEFAULT '',
    ticket TEXT NOT NULL DEFAULT '',
    client INTEGER NOT NULL DEFAULT 0,
    agent TEXT NOT NULL DEFAULT '',
    state INTEGER NOT NULL DEFAULT 1,
    reasonCode TEXT NOT NULL DEFAULT '',
    reasonDetails TEXT NOT NULL DEFAULT '',
    -- A copy of taskCreateTime where numbers can begin anew.
    fogStart TEXT
);

-- Of a machine that is deployed alone; 0 for those of a session.
ALTER TABLE fos_handouts ADD COLUMN taskID INTEGER NOT NULL DEFAULT 0;
