-- Groups of hosts (the machines of a room), in the order in which they were put into it. `mac` is an address that the host
-- had at that time: it has to have it still, as FOG's numbers begin anew when its table is emptied.
CREATE TABLE IF NOT EXISTS fos_groups (
    name VARCHAR(40) NOT NULL PRIMARY KEY
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS fos_groupMembers (
    groupName VARCHAR(40) NOT NULL,
    hostID INT NOT NULL,
    mac VARCHAR(17) NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (groupName, hostID),
    KEY fos_groupMembersHost (hostID)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
