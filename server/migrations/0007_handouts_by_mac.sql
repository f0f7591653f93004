-- What machines were told, by MAC address: it stays when their host is removed.
CREATE TABLE fos_handoutsOfMacs (
    -- Grows with what is remembered.
    id INTEGER PRIMARY KEY,
    mac VARCHAR(17) NOT NULL,
    -- The host at that time.
    hostID INTEGER NOT NULL,
    -- Empty where only the job is still known.
    address VARCHAR(45) NOT NULL,
    msID INTEGER NOT NULL,
    imageID INTEGER NOT NULL,
    port INTEGER NOT NULL,
    -- A digest of the other arguments by which a client restores; 0 where it is not known.
    arguments INTEGER NOT NULL,
    -- 32 hexadecimal digits; empty for what a machine checked in for.
    ticket TEXT NOT NULL,
    at TEXT NOT NULL,
    -- Number of the first row of this machine at this address.
    since INTEGER NOT NULL
);
INSERT INTO fos_handoutsOfMacs
    (id, mac, hostID, address, msID, imageID, port, arguments, ticket, at, since)
SELECT ROW_NUMBER() OVER told, LOWER(hmMAC), told.hostID, address, msID, imageID, port, arguments, ticket, at,
    ROW_NUMBER() OVER told
FROM fos_handouts AS told JOIN hostMAC ON hmHostID = told.hostID
WINDOW told AS (ORDER BY told.id, hmID);
DROP TABLE fos_handouts;
ALTER TABLE fos_handoutsOfMacs RENAME TO fos_handouts;
