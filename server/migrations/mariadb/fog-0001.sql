-- The tables of FOG that this server uses, with FOG's names and kinds of columns, so that the same statements
-- work on a FOG database. Dates are in UTC; the zero date means "never".

CREATE TABLE IF NOT EXISTS hosts (
    hostID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    hostName VARCHAR(16) NOT NULL UNIQUE,
    hostDesc LONGTEXT NOT NULL DEFAULT '',
    hostIP VARCHAR(45) NOT NULL DEFAULT '',
    hostImage INT NOT NULL DEFAULT 0,
    hostCreateDate DATETIME NOT NULL,
    hostLastDeploy DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00',
    hostCreateBy VARCHAR(50) NOT NULL DEFAULT '',
    hostKernelArgs VARCHAR(250) NOT NULL DEFAULT '',
    hostKernel VARCHAR(250) NOT NULL DEFAULT '',
    hostDevice VARCHAR(250) NOT NULL DEFAULT '',
    hostInit LONGTEXT,
    hostPending CHAR(1) NOT NULL DEFAULT '0',
    hostPubKey LONGTEXT NOT NULL DEFAULT '',
    hostSecToken LONGTEXT NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS hostMAC (
    hmID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    hmHostID INT NOT NULL,
    hmMAC VARCHAR(59) NOT NULL UNIQUE,
    hmDesc LONGTEXT NOT NULL DEFAULT '',
    hmPrimary CHAR(1) NOT NULL DEFAULT '0',
    hmPending CHAR(1) NOT NULL DEFAULT '0',
    hmIgnoreClient CHAR(1) NOT NULL DEFAULT '0',
    hmIgnoreImaging CHAR(1) NOT NULL DEFAULT '0',
    KEY hostMACHost (hmHostID)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS imageTypes (
    imageTypeID INT NOT NULL PRIMARY KEY,
    imageTypeName VARCHAR(100) NOT NULL,
    imageTypeValue VARCHAR(10) NOT NULL UNIQUE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO imageTypes VALUES
    (1, 'Single Disk - Resizable', 'n'),
    (2, 'Multiple Partition Image - Single Disk (Not Resizable)', 'mps'),
    (3, 'Multiple Partition Image - All Disks (Not Resizable)', 'mpa'),
    (4, 'Raw Image (Sector By Sector, DD)', 'dd');

CREATE TABLE IF NOT EXISTS images (
    imageID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    imageName VARCHAR(40) NOT NULL UNIQUE,
    imageDesc LONGTEXT NOT NULL DEFAULT '',
    imagePath LONGTEXT NOT NULL,
    imageDateTime DATETIME NOT NULL,
    imageCreateBy VARCHAR(50) NOT NULL DEFAULT '',
    imageSize VARCHAR(255) NOT NULL DEFAULT '',
    imageTypeID INT NOT NULL,
    imagePartitionTypeID INT NOT NULL DEFAULT 1,
    imageOSID INT NOT NULL,
    imageFormat CHAR(1),
    imageLastDeploy DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00',
    imageCompress INT,
    imageEnabled CHAR(1) NOT NULL DEFAULT '1',
    imageServerSize BIGINT NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS nfsGroups (
    ngID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    ngName VARCHAR(250) NOT NULL UNIQUE,
    ngDesc LONGTEXT NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO nfsGroups (ngID, ngName, ngDesc) VALUES (1, 'default', 'This server');

CREATE TABLE IF NOT EXISTS nfsGroupMembers (
    ngmID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    ngmMemberName VARCHAR(250) NOT NULL UNIQUE,
    ngmIsMasterNode CHAR(1) NOT NULL DEFAULT '1',
    ngmGroupID INT NOT NULL,
    ngmRootPath LONGTEXT NOT NULL,
    ngmMaxBitrate VARCHAR(25),
    ngmHelloInterval VARCHAR(8),
    ngmIsEnabled CHAR(1) NOT NULL DEFAULT '1',
    ngmHostname VARCHAR(250) NOT NULL DEFAULT '',
    ngmMaxClients INT NOT NULL DEFAULT 10,
    ngmInterface VARCHAR(25) NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS nfsFailures (
    nfID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    nfNodeID INT NOT NULL,
    nfTaskID INT NOT NULL,
    nfHostID INT NOT NULL,
    nfGroupID INT NOT NULL,
    nfDateTime DATETIME NOT NULL,
    UNIQUE KEY nfNodeID (nfNodeID, nfHostID, nfTaskID)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS tasks (
    taskID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    taskName VARCHAR(250) NOT NULL,
    taskCreateTime DATETIME NOT NULL,
    taskCheckIn DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00',
    taskHostID INT NOT NULL,
    taskImageID INT NOT NULL,
    taskStateID INT NOT NULL,
    taskTypeID INT NOT NULL,
    taskIsDebug INT NOT NULL DEFAULT 0,
    taskCreateBy VARCHAR(200) NOT NULL DEFAULT '',
    taskForce VARCHAR(1) NOT NULL DEFAULT '0',
    taskScheduledStartTime DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00',
    taskPCT INT NOT NULL DEFAULT 0,
    taskBPM VARCHAR(250) NOT NULL DEFAULT '',
    taskTimeElapsed VARCHAR(250) NOT NULL DEFAULT '',
    taskTimeRemaining VARCHAR(250) NOT NULL DEFAULT '',
    taskDataCopied VARCHAR(250) NOT NULL DEFAULT '',
    taskPercentText VARCHAR(250) NOT NULL DEFAULT '',
    taskDataTotal VARCHAR(250) NOT NULL DEFAULT '',
    taskNFSGroupID INT NOT NULL DEFAULT 0,
    taskNFSMemberID INT NOT NULL DEFAULT 0,
    taskShutdown CHAR(1) NOT NULL DEFAULT '0',
    KEY tasksByHost (taskHostID, taskStateID),
    KEY tasksByState (taskStateID)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS multicastSessions (
    msID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    msName VARCHAR(250) NOT NULL,
    msBasePort INT NOT NULL,
    msLogPath LONGTEXT NOT NULL,
    msImage LONGTEXT NOT NULL,
    msClients INT NOT NULL DEFAULT 0,
    msSessClients INT NOT NULL DEFAULT 0,
    msInterface VARCHAR(250) NOT NULL DEFAULT '',
    msStartDateTime DATETIME NOT NULL,
    msPercent INT NOT NULL DEFAULT 0,
    msState INT NOT NULL,
    msCompleteDateTime DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00',
    msIsDD INT NOT NULL,
    msNFSGroupID INT NOT NULL,
    msShutdown CHAR(1) NOT NULL DEFAULT '0',
    msMaxwait BIGINT NOT NULL DEFAULT 600,
    KEY multicastSessionsState (msState)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS multicastSessionsAssoc (
    msaID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    msID INT NOT NULL,
    tID INT NOT NULL,
    UNIQUE KEY msID (msID, tID),
    KEY multicastSessionsAssocTask (tID)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS taskLog (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    taskID INT NOT NULL,
    taskStateID INT NOT NULL,
    ip VARCHAR(45) NOT NULL DEFAULT '',
    createTime DATETIME NOT NULL,
    createdBy VARCHAR(30) NOT NULL DEFAULT '',
    logType VARCHAR(16) NOT NULL DEFAULT 'state',
    logText TEXT NOT NULL DEFAULT '',
    logHostID INT NOT NULL DEFAULT 0,
    logHostName VARCHAR(16) NOT NULL DEFAULT '',
    logTaskTypeName VARCHAR(30) NOT NULL DEFAULT '',
    logImageName VARCHAR(40) NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS inventory (
    iID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    iHostID INT NOT NULL UNIQUE,
    iPrimaryUser VARCHAR(50) NOT NULL DEFAULT '',
    iOtherTag VARCHAR(50) NOT NULL DEFAULT '',
    iOtherTag1 VARCHAR(50) NOT NULL DEFAULT '',
    iCreateDate DATETIME NOT NULL,
    iSysman VARCHAR(250) NOT NULL DEFAULT '',
    iSysproduct VARCHAR(250) NOT NULL DEFAULT '',
    iSysversion VARCHAR(250) NOT NULL DEFAULT '',
    iSysserial VARCHAR(250) NOT NULL DEFAULT '',
    iSystemUUID VARCHAR(255) NOT NULL DEFAULT '',
    iSystype VARCHAR(250) NOT NULL DEFAULT '',
    iBiosversion VARCHAR(250) NOT NULL DEFAULT '',
    iBiosvendor VARCHAR(250) NOT NULL DEFAULT '',
    iBiosdate VARCHAR(250) NOT NULL DEFAULT '',
    iMbman VARCHAR(250) NOT NULL DEFAULT '',
    iMbproductname VARCHAR(250) NOT NULL DEFAULT '',
    iMbversion VARCHAR(250) NOT NULL DEFAULT '',
    iMbserial VARCHAR(250) NOT NULL DEFAULT '',
    iMbasset VARCHAR(250) NOT NULL DEFAULT '',
    iCpuman VARCHAR(250) NOT NULL DEFAULT '',
    iCpuversion VARCHAR(250) NOT NULL DEFAULT '',
    iCpucurrent VARCHAR(250) NOT NULL DEFAULT '',
    iCpumax VARCHAR(250) NOT NULL DEFAULT '',
    iMem VARCHAR(250) NOT NULL DEFAULT '',
    iHdmodel VARCHAR(250) NOT NULL DEFAULT '',
    iHdfirmware VARCHAR(250) NOT NULL DEFAULT '',
    iHdserial VARCHAR(250) NOT NULL DEFAULT '',
    iCaseman VARCHAR(250) NOT NULL DEFAULT '',
    iCasever VARCHAR(250) NOT NULL DEFAULT '',
    iCaseserial VARCHAR(250) NOT NULL DEFAULT '',
    iCaseasset VARCHAR(250) NOT NULL DEFAULT '',
    iGpuvendors VARCHAR(255) NOT NULL DEFAULT '',
    iGpuproducts VARCHAR(255) NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS globalSettings (
    settingID INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    settingKey VARCHAR(255) NOT NULL UNIQUE,
    settingDesc LONGTEXT NOT NULL DEFAULT '',
    settingValue LONGTEXT NOT NULL,
    settingCategory LONGTEXT NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
