-- Several servers with one database. Times are milliseconds since 1970, by the clock of the database.

CREATE TABLE IF NOT EXISTS fos_nodes (
    -- Never given again: what a server numbers by itself has it in its numbers.
    number INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(64) NOT NULL,
    -- Made once for each data directory, 32 hexadecimal digits.
    holder VARCHAR(32) NOT NULL,
    -- Made at each start, 32 hexadecimal digits.
    run VARCHAR(32) NOT NULL,
    -- Where clients reach it; empty where that depends on the client.
    url VARCHAR(255) NOT NULL DEFAULT '',
    seenAt BIGINT NOT NULL,
    UNIQUE KEY fos_nodesByHolder (holder)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Who runs a session. What a server decides of it that has lost its claim is not stored.
CREATE TABLE IF NOT EXISTS fos_claims (
    msID INT NOT NULL PRIMARY KEY,
    holder VARCHAR(32) NOT NULL,
    -- Grows with each claim.
    fence BIGINT NOT NULL,
    -- 0: it was given back.
    leaseEnd BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Whatever writes changes this row first: so one writes after the other, on whichever server.
CREATE TABLE IF NOT EXISTS fos_turn (
    one INT NOT NULL PRIMARY KEY,
    turn BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

INSERT IGNORE INTO fos_turn (one, turn) VALUES (1, 0);
