-- A task of a machine that is deployed alone, beside its row in tasks.
CREATE TABLE IF NOT EXISTS fos_tasks (
    taskID INT NOT NULL PRIMARY KEY,
    hostName VARCHAR(64) NOT NULL DEFAULT '',
    -- Place in line; who has a lower one goes first.
    place BIGINT NOT NULL DEFAULT 0,
    -- When its machine got in line, when it got its slot, and when the task ended.
    enteredAt VARCHAR(19),
    wentAt VARCHAR(19),
    endedAt VARCHAR(19),
    -- The machine that asked for it, as in fos_sessionHosts.
    ip VARCHAR(45) NOT NULL DEFAULT '',
    ticket VARCHAR(32) NOT NULL DEFAULT '',
    client INT NOT NULL DEFAULT 0,
    agent VARCHAR(80) NOT NULL DEFAULT '',
    state INT NOT NULL DEFAULT 1,
    reasonCode VARCHAR(64) NOT NULL DEFAULT '',
    reasonDetails MEDIUMTEXT NOT NULL DEFAULT '',
    -- A copy of taskCreateTime: FOG's numbers begin anew when its table is emptied.
    fogStart DATETIME
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Of a machine that is deployed alone; 0 for those of a session.
ALTER TABLE fos_handouts ADD COLUMN IF NOT EXISTS taskID INT NOT NULL DEFAULT 0;
