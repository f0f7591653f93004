-- The queue of machines that are deployed alone, which all servers with this database have in common. The turn grows with
-- each change; it is odd while one is under way where FOG's tables undo nothing.
CREATE TABLE IF NOT EXISTS fos_queue (
    one INT NOT NULL PRIMARY KEY,
    turn BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

INSERT IGNORE INTO fos_queue (one, turn) VALUES (1, 0);

-- The server that hears the machine of a task; empty as long as it has asked no server.
ALTER TABLE fos_tasks ADD COLUMN IF NOT EXISTS holder VARCHAR(32) NOT NULL DEFAULT '';
