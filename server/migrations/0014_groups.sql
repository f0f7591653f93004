-- Groups of hosts (the machines of a room), in the order in which they were put into it. `mac` is an address that the host
-- had at that time: it has to have it still.
CREATE TABLE fos_groups (
    name VARCHAR(40) NOT NULL PRIMARY KEY
);
CREATE TABLE fos_groupMembers (
    groupName VARCHAR(40) NOT NULL,
    hostID INTEGER NOT NULL,
    mac VARCHAR(17) NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (groupName, hostID)
);
CREATE INDEX fos_groupMembersHost ON fos_groupMembers (hostID);
