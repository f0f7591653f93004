-- The tables of FOG that this server uses, with FOG's names, so that the same statements work on
-- a FOG database. Dates are texts `YYYY-MM-DD HH:MM:SS` in UTC; the zero date means "never".

CREATE TABLE hosts (
    hostID INTEGER PRIMARY KEY AUTOINCREMENT,
    hostName VARCHAR(16) NOT NULL UNIQUE,
    hostDesc TEXT NOT NULL DEFAULT '',
    hostIP VARCHAR(25) NOT NULL DEFAULT '',
    hostImage INTEGER NOT NULL DEFAULT 0,
    hostCreateDate TEXT NOT NULL,
    hostLastDeploy TEXT NOT NULL DEFAULT '0000-00-00 00:00:00',
    hostCreateBy VARCHAR(50) NOT NULL DEFAULT '',
    hostKernelArgs VARCHAR(250) NOT NULL DEFAULT '',
    hostKernel VARCHAR(250) NOT NULL DEFAULT '',
    hostDevice VARCHAR(250) NOT NULL DEFAULT '',
    hostInit TEXT,
    hostPending CHAR(1) NOT NULL DEFAULT '0',
    hostPubKey TEXT NOT NULL DEFAULT '',
    hostSecToken TEXT NOT NULL DEFAULT ''
);

CREATE TABLE hostMAC (
    hmID INTEGER PRIMARY KEY AUTOINCREMENT,
    hmHostID INTEGER NOT NULL,
    hmMAC VARCHAR(59) NOT NULL UNIQUE,
    hmDesc TEXT NOT NULL DEFAULT '',
    hmPrimary CHAR(1) NOT NULL DEFAULT '0',
    hmPending CHAR(1) NOT NULL DEFAULT '0',
    hmIgnoreClient CHAR(1) NOT NULL DEFAULT '0',
    hmIgnoreImaging CHAR(1) NOT NULL DEFAULT '0'
);
CREATE INDEX hostMACHost ON hostMAC (hmHostID);

CREATE TABLE imageTypes (
    imageTypeID INTEGER PRIMARY KEY,
    imageTypeName VARCHAR(100) NOT NULL,
    imageTypeValue VARCHAR(10) NOT NULL UNIQUE
);
INSERT INTO imageTypes VALUES
    (1, 'Single Disk - Resizable', 'n'),
    (2, 'Multiple Partition Image - Single Disk (Not Resizable)', 'mps'),
    (3, 'Multiple Partition Image - All Disks (Not Resizable)', 'mpa'),
    (4, 'Raw Image (Sector By Sector, DD)', 'dd');

CREATE TABLE images (
    imageID INTEGER PRIMARY KEY AUTOINCREMENT,
    imageName VARCHAR(40) NOT NULL UNIQUE,
    imageDesc TEXT NOT NULL DEFAULT '',
    imagePath TEXT NOT NULL,
    imageDateTime TEXT NOT NULL,
    imageCreateBy VARCHAR(50) NOT NULL DEFAULT '',
    imageSize VARCHAR(255) NOT NULL DEFAULT '',
    imageTypeID INTEGER NOT NULL,
    imagePartitionTypeID INTEGER NOT NULL DEFAULT 1,
    imageOSID INTEGER NOT NULL,
    imageFormat CHAR(1),
    imageLastDeploy TEXT NOT NULL DEFAULT '0000-00-00 00:00:00',
    imageCompress INTEGER,
    imageEnabled CHAR(1) NOT NULL DEFAULT '1',
    imageServerSize INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE nfsGroups (
    ngID INTEGER PRIMARY KEY AUTOINCREMENT,
    ngName VARCHAR(250) NOT NULL UNIQUE,
    ngDesc TEXT NOT NULL DEFAULT ''
);
INSERT INTO nfsGroups (ngID, ngName, ngDesc) VALUES (1, 'default', 'This server');

CREATE TABLE nfsGroupMembers (
    ngmID INTEGER PRIMARY KEY AUTOINCREMENT,
    ngmMemberName VARCHAR(250) NOT NULL UNIQUE,
    ngmIsMasterNode CHAR(1) NOT NULL DEFAULT '1',
    ngmGroupID INTEGER NOT NULL,
    ngmRootPath TEXT NOT NULL,
    ngmMaxBitrate VARCHAR(25),
    ngmHelloInterval VARCHAR(8),
    ngmIsEnabled CHAR(1) NOT NULL DEFAULT '1',
    ngmHostname VARCHAR(250) NOT NULL DEFAULT '',
    ngmMaxClients INTEGER NOT NULL DEFAULT 10,
    ngmInterface VARCHAR(25) NOT NULL DEFAULT ''
);

CREATE TABLE nfsFailures (
    nfID INTEGER PRIMARY KEY AUTOINCREMENT,
    nfNodeID INTEGER NOT NULL,
    nfTaskID INTEGER NOT NULL,
    nfHostID INTEGER NOT NULL,
    nfGroupID INTEGER NOT NULL,
    nfDateTime TEXT NOT NULL,
    UNIQUE (nfNodeID, nfHostID, nfTaskID)
);

CREATE TABLE tasks (
    taskID INTEGER PRIMARY KEY AUTOINCREMENT,
    taskName VARCHAR(250) NOT NULL,
    taskCreateTime TEXT NOT NULL,
    taskCheckIn TEXT NOT NULL DEFAULT '0000-00-00 00:00:00',
    taskHostID INTEGER NOT NULL,
    taskImageID INTEGER NOT NULL,
    taskStateID INTEGER NOT NULL,
    taskTypeID INTEGER NOT NULL,
    taskIsDebug INTEGER NOT NULL DEFAULT 0,
    taskCreateBy VARCHAR(200) NOT NULL DEFAULT '',
    taskForce VARCHAR(1) NOT NULL DEFAULT '0',
    taskScheduledStartTime TEXT NOT NULL DEFAULT '0000-00-00 00:00:00',
    taskPCT INTEGER NOT NULL DEFAULT 0,
    taskBPM VARCHAR(250) NOT NULL DEFAULT '',
    taskTimeElapsed VARCHAR(250) NOT NULL DEFAULT '',
    taskTimeRemaining VARCHAR(250) NOT NULL DEFAULT '',
    taskDataCopied VARCHAR(250) NOT NULL DEFAULT '',
    taskPercentText VARCHAR(250) NOT NULL DEFAULT '',
    taskDataTotal VARCHAR(250) NOT NULL DEFAULT '',
    taskNFSGroupID INTEGER NOT NULL DEFAULT 0,
    taskNFSMemberID INTEGER NOT NULL DEFAULT 0,
    taskShutdown CHAR(1) NOT NULL DEFAULT '0'
);
CREATE INDEX tasksByHost ON tasks (taskHostID, taskStateID);

CREATE TABLE multicastSessions (
    msID INTEGER PRIMARY KEY AUTOINCREMENT,
    msName VARCHAR(250) NOT NULL,
    msBasePort INTEGER NOT NULL,
    msLogPath TEXT NOT NULL,
    msImage TEXT NOT NULL,
    msClients INTEGER NOT NULL DEFAULT 0,
    msSessClients INTEGER NOT NULL DEFAULT 0,
    msInterface VARCHAR(250) NOT NULL DEFAULT '',
    msStartDateTime TEXT NOT NULL,
    msPercent INTEGER NOT NULL DEFAULT 0,
    msState INTEGER NOT NULL,
    msCompleteDateTime TEXT NOT NULL DEFAULT '0000-00-00 00:00:00',
    msIsDD INTEGER NOT NULL,
    msNFSGroupID INTEGER NOT NULL,
    msShutdown CHAR(1) NOT NULL DEFAULT '0',
    msMaxwait INTEGER NOT NULL DEFAULT 600
);
CREATE INDEX multicastSessionsState ON multicastSessions (msState);

CREATE TABLE multicastSessionsAssoc (
    msaID INTEGER PRIMARY KEY AUTOINCREMENT,
    msID INTEGER NOT NULL,
    tID INTEGER NOT NULL,
    UNIQUE (msID, tID)
);

CREATE TABLE taskLog (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    taskID INTEGER NOT NULL,
    taskStateID INTEGER NOT NULL,
    ip VARCHAR(15) NOT NULL DEFAULT '',
    createTime TEXT NOT NULL,
    createdBy VARCHAR(30) NOT NULL DEFAULT '',
    logType VARCHAR(16) NOT NULL DEFAULT 'state',
    logText TEXT NOT NULL DEFAULT '',
    logHostID INTEGER NOT NULL DEFAULT 0,
    logHostName VARCHAR(16) NOT NULL DEFAULT '',
    logTaskTypeName VARCHAR(30) NOT NULL DEFAULT '',
    logImageName VARCHAR(40) NOT NULL DEFAULT ''
);

CREATE TABLE inventory (
    iID INTEGER PRIMARY KEY AUTOINCREMENT,
    iHostID INTEGER NOT NULL UNIQUE,
    iPrimaryUser VARCHAR(50) NOT NULL DEFAULT '',
    iOtherTag VARCHAR(50) NOT NULL DEFAULT '',
    iOtherTag1 VARCHAR(50) NOT NULL DEFAULT '',
    iCreateDate TEXT NOT NULL,
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
);

CREATE TABLE globalSettings (
    settingID INTEGER PRIMARY KEY AUTOINCREMENT,
    settingKey VARCHAR(255) NOT NULL UNIQUE,
    settingDesc TEXT NOT NULL DEFAULT '',
    settingValue TEXT NOT NULL,
    settingCategory TEXT NOT NULL DEFAULT ''
);
