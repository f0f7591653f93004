-- FOG 1.5.8's tables (schema step 268) as MariaDB 10.11 shows them: MyISAM, hardly a default.
CREATE TABLE multicastSessions (
  msID int(11) NOT NULL AUTO_INCREMENT,
  msName varchar(250) NOT NULL,
  msBasePort int(11) NOT NULL,
  msLogPath longtext NOT NULL,
  msImage longtext NOT NULL,
  msClients int(11) NOT NULL,
  msSessClients int(11) NOT NULL,
  msInterface varchar(250) NOT NULL,
  msStartDateTime datetime NOT NULL,
  msPercent int(11) NOT NULL,
  msState int(11) NOT NULL,
  msCompleteDateTime datetime NOT NULL,
  msIsDD int(11) NOT NULL,
  msNFSGroupID int(11) NOT NULL,
  msAnon3 varchar(250) NOT NULL,
  msAnon4 varchar(250) NOT NULL,
  msAnon5 varchar(250) NOT NULL,
  PRIMARY KEY (msID),
  KEY new_index (msNFSGroupID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE multicastSessionsAssoc (
  msaID int(11) NOT NULL AUTO_INCREMENT,
  msID int(11) NOT NULL,
  tID int(11) NOT NULL,
  PRIMARY KEY (msaID),
  UNIQUE KEY msID (msID,tID),
  KEY new_index (msID),
  KEY new_index1 (tID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE tasks (
  taskID int(11) NOT NULL AUTO_INCREMENT,
  taskName varchar(250) NOT NULL,
  taskCreateTime timestamp NOT NULL DEFAULT current_timestamp(),
  taskCheckIn datetime NOT NULL,
  taskHostID int(11) NOT NULL,
  taskImageID int(11) NOT NULL,
  taskStateID int(11) NOT NULL,
  taskIsDebug mediumint(9) NOT NULL,
  taskCreateBy varchar(200) NOT NULL,
  taskForce varchar(1) NOT NULL,
  taskScheduledStartTime datetime NOT NULL,
  taskTypeID mediumint(9) NOT NULL,
  taskPCT int(10) unsigned zerofill NOT NULL,
  taskBPM varchar(250) NOT NULL,
  taskTimeElapsed varchar(250) NOT NULL,
  taskTimeRemaining varchar(250) NOT NULL,
  taskDataCopied varchar(250) NOT NULL,
  taskPercentText varchar(250) NOT NULL,
  taskDataTotal varchar(250) NOT NULL,
  taskNFSGroupID int(11) NOT NULL,
  taskNFSMemberID int(11) NOT NULL,
  taskNFSFailures char(1) NOT NULL,
  taskLastMemberID int(11) NOT NULL,
  taskWOL enum('0','1') NOT NULL,
  taskPassreset varchar(250) NOT NULL,
  taskShutdown char(1) NOT NULL,
  PRIMARY KEY (taskID),
  KEY new_index (taskHostID),
  KEY new_index1 (taskCheckIn),
  KEY new_index2 (taskStateID),
  KEY new_index3 (taskForce),
  KEY new_index4 (taskTypeID),
  KEY new_index5 (taskNFSGroupID),
  KEY new_index6 (taskNFSMemberID),
  KEY new_index7 (taskNFSFailures),
  KEY new_index8 (taskLastMemberID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE taskStates (
  tsID int(11) NOT NULL AUTO_INCREMENT,
  tsName varchar(30) NOT NULL,
  tsDescription text NOT NULL,
  tsOrder tinyint(4) NOT NULL DEFAULT 0,
  tsIcon varchar(255) NOT NULL,
  PRIMARY KEY (tsID),
  UNIQUE KEY tsName (tsName)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE taskTypes (
  ttID mediumint(9) NOT NULL AUTO_INCREMENT,
  ttName varchar(30) NOT NULL,
  ttDescription text NOT NULL,
  ttIcon varchar(30) NOT NULL,
  ttKernel varchar(100) NOT NULL,
  ttKernelArgs text NOT NULL,
  ttType enum('fog','user') NOT NULL DEFAULT 'user',
  ttIsAdvanced enum('0','1') NOT NULL DEFAULT '0',
  ttIsAccess enum('both','host','group') NOT NULL DEFAULT 'both',
  ttInitrd longtext NOT NULL,
  PRIMARY KEY (ttID),
  UNIQUE KEY ttName (ttName)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE taskLog (
  id mediumint(9) NOT NULL AUTO_INCREMENT,
  taskID mediumtext NOT NULL,
  taskStateID mediumint(9) NOT NULL,
  ip varchar(15) NOT NULL,
  createTime timestamp NOT NULL DEFAULT current_timestamp(),
  createdBy varchar(30) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE imagingLog (
  ilID int(11) NOT NULL AUTO_INCREMENT,
  ilHostID int(11) NOT NULL,
  ilStartTime datetime NOT NULL,
  ilFinishTime datetime NOT NULL,
  ilImageName varchar(64) NOT NULL,
  ilType varchar(64) NOT NULL,
  ilCreatedBy varchar(255) NOT NULL,
  PRIMARY KEY (ilID),
  KEY new_index (ilHostID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE hosts (
  hostID int(11) NOT NULL AUTO_INCREMENT,
  hostName varchar(16) NOT NULL,
  hostDesc longtext NOT NULL,
  hostIP varchar(25) NOT NULL,
  hostImage int(11) NOT NULL,
  hostBuilding int(11) NOT NULL,
  hostCreateDate timestamp NOT NULL DEFAULT current_timestamp(),
  hostLastDeploy datetime NOT NULL,
  hostCreateBy varchar(50) NOT NULL,
  hostUseAD char(1) NOT NULL,
  hostADDomain varchar(250) NOT NULL,
  hostADOU longtext NOT NULL,
  hostADUser varchar(250) NOT NULL,
  hostADPass varchar(250) NOT NULL,
  hostADPassLegacy longtext NOT NULL,
  hostProductKey longtext DEFAULT NULL,
  hostPrinterLevel varchar(2) NOT NULL,
  hostKernelArgs varchar(250) NOT NULL,
  hostKernel varchar(250) NOT NULL,
  hostDevice varchar(250) NOT NULL,
  hostInit longtext DEFAULT NULL,
  hostPending enum('0','1') NOT NULL,
  hostPubKey longtext NOT NULL,
  hostSecToken longtext NOT NULL,
  hostSecTime timestamp NOT NULL,
  hostPingCode varchar(20) DEFAULT NULL,
  hostExitBios longtext DEFAULT NULL,
  hostExitEfi longtext DEFAULT NULL,
  hostEnforce enum('0','1') NOT NULL DEFAULT '1',
  PRIMARY KEY (hostID),
  UNIQUE KEY hostName (hostName),
  KEY new_index (hostName),
  KEY new_index1 (hostIP),
  KEY new_index4 (hostUseAD)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE hostMAC (
  hmID int(11) NOT NULL AUTO_INCREMENT,
  hmHostID int(11) NOT NULL,
  hmMAC varchar(59) NOT NULL,
  hmDesc longtext NOT NULL,
  hmPrimary enum('0','1') NOT NULL,
  hmPending enum('0','1') NOT NULL,
  hmIgnoreClient enum('0','1') NOT NULL,
  hmIgnoreImaging enum('0','1') NOT NULL,
  PRIMARY KEY (hmID),
  UNIQUE KEY hmHostID (hmMAC),
  UNIQUE KEY hmMAC (hmMAC),
  UNIQUE KEY hmMAC_2 (hmMAC),
  KEY idxHostID (hmHostID),
  KEY idxMac (hmMAC)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE images (
  imageID int(11) NOT NULL AUTO_INCREMENT,
  imageName varchar(40) NOT NULL,
  imageDesc longtext NOT NULL,
  imagePath longtext NOT NULL,
  imageProtect mediumint(9) NOT NULL,
  imageMagnetUri longtext NOT NULL,
  imageDateTime timestamp NOT NULL DEFAULT current_timestamp(),
  imageCreateBy varchar(50) NOT NULL,
  imageBuilding int(11) NOT NULL,
  imageSize varchar(255) NOT NULL,
  imageTypeID mediumint(9) NOT NULL,
  imagePartitionTypeID mediumint(9) NOT NULL,
  imageOSID mediumint(9) NOT NULL,
  imageFormat char(1) DEFAULT NULL,
  imageLastDeploy datetime NOT NULL,
  imageCompress int(11) DEFAULT NULL,
  imageEnabled enum('0','1') NOT NULL DEFAULT '1',
  imageReplicate enum('0','1') NOT NULL DEFAULT '1',
  imageServerSize bigint(20) unsigned NOT NULL DEFAULT 0,
  PRIMARY KEY (imageID),
  UNIQUE KEY imageName (imageName),
  KEY new_index (imageName),
  KEY new_index1 (imageBuilding),
  KEY new_index2 (imageTypeID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE imageTypes (
  imageTypeID mediumint(9) NOT NULL AUTO_INCREMENT,
  imageTypeName varchar(100) NOT NULL,
  imageTypeValue varchar(10) NOT NULL,
  PRIMARY KEY (imageTypeID),
  UNIQUE KEY imageTypeValue (imageTypeValue)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE imagePartitionTypes (
  imagePartitionTypeID mediumint(9) NOT NULL AUTO_INCREMENT,
  imagePartitionTypeName varchar(100) NOT NULL,
  imagePartitionTypeValue varchar(10) NOT NULL,
  PRIMARY KEY (imagePartitionTypeID),
  UNIQUE KEY imagePartitionTypeName (imagePartitionTypeName)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE imageGroupAssoc (
  igaID mediumint(9) NOT NULL AUTO_INCREMENT,
  igaImageID mediumint(9) NOT NULL,
  igaStorageGroupID mediumint(9) NOT NULL,
  igaPrimary enum('0','1') NOT NULL,
  PRIMARY KEY (igaID),
  UNIQUE KEY igaImageID (igaImageID,igaStorageGroupID),
  UNIQUE KEY igaImageID_2 (igaImageID,igaStorageGroupID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE os (
  osID mediumint(9) NOT NULL AUTO_INCREMENT,
  osName varchar(30) NOT NULL,
  osDescription text NOT NULL,
  PRIMARY KEY (osID),
  UNIQUE KEY osName (osName)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE nfsGroups (
  ngID int(11) NOT NULL AUTO_INCREMENT,
  ngName varchar(250) NOT NULL,
  ngDesc longtext NOT NULL,
  PRIMARY KEY (ngID),
  UNIQUE KEY ngName (ngName),
  UNIQUE KEY ngName_2 (ngName)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE nfsGroupMembers (
  ngmID int(11) NOT NULL AUTO_INCREMENT,
  ngmMemberName varchar(250) NOT NULL,
  ngmMemberDescription longtext NOT NULL,
  ngmIsMasterNode char(1) NOT NULL,
  ngmGroupID int(11) NOT NULL,
  ngmRootPath longtext NOT NULL,
  ngmSSLPath longtext NOT NULL,
  ngmFTPPath longtext NOT NULL,
  ngmMaxBitrate varchar(25) DEFAULT NULL,
  ngmHelloInterval varchar(8) DEFAULT NULL,
  ngmSnapinPath longtext NOT NULL,
  ngmIsEnabled char(1) NOT NULL,
  ngmHostname varchar(250) NOT NULL,
  ngmMaxClients int(11) NOT NULL,
  ngmBandwidthLimit int(20) NOT NULL,
  ngmUser varchar(250) NOT NULL,
  ngmPass varchar(250) NOT NULL,
  ngmKey varchar(250) NOT NULL,
  ngmInterface varchar(25) NOT NULL DEFAULT 'eth0',
  ngmGraphEnabled enum('0','1') NOT NULL DEFAULT '1',
  ngmWebroot longtext NOT NULL,
  PRIMARY KEY (ngmID),
  UNIQUE KEY ngmMemberName (ngmMemberName),
  UNIQUE KEY ngmMemberName_2 (ngmMemberName),
  KEY new_index (ngmMemberName),
  KEY new_index2 (ngmIsMasterNode),
  KEY new_index3 (ngmGroupID),
  KEY new_index4 (ngmIsEnabled)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE nfsFailures (
  nfID int(11) NOT NULL AUTO_INCREMENT,
  nfNodeID int(11) NOT NULL,
  nfTaskID int(11) NOT NULL,
  nfHostID int(11) NOT NULL,
  nfGroupID int(11) NOT NULL,
  nfDateTime timestamp NOT NULL DEFAULT current_timestamp(),
  PRIMARY KEY (nfID),
  UNIQUE KEY nfNodeID (nfNodeID,nfHostID,nfTaskID),
  KEY new_index (nfNodeID),
  KEY new_index1 (nfTaskID),
  KEY new_index2 (nfHostID),
  KEY new_index3 (nfGroupID),
  KEY new_index4 (nfDateTime)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE inventory (
  iID int(11) NOT NULL AUTO_INCREMENT,
  iHostID int(11) NOT NULL,
  iPrimaryUser varchar(50) NOT NULL,
  iOtherTag varchar(50) NOT NULL,
  iOtherTag1 varchar(50) NOT NULL,
  iCreateDate timestamp NOT NULL DEFAULT current_timestamp(),
  iDeleteDate datetime NOT NULL,
  iSysman varchar(250) NOT NULL,
  iSysproduct varchar(250) NOT NULL,
  iSysversion varchar(250) NOT NULL,
  iSysserial varchar(250) NOT NULL,
  iSystype varchar(250) NOT NULL,
  iBiosversion varchar(250) NOT NULL,
  iBiosvendor varchar(250) NOT NULL,
  iBiosdate varchar(250) NOT NULL,
  iMbman varchar(250) NOT NULL,
  iMbproductname varchar(250) NOT NULL,
  iMbversion varchar(250) NOT NULL,
  iMbserial varchar(250) NOT NULL,
  iMbasset varchar(250) NOT NULL,
  iCpuman varchar(250) NOT NULL,
  iCpuversion varchar(250) NOT NULL,
  iCpucurrent varchar(250) NOT NULL,
  iCpumax varchar(250) NOT NULL,
  iMem varchar(250) NOT NULL,
  iHdmodel varchar(250) NOT NULL,
  iHdfirmware varchar(250) NOT NULL,
  iHdserial varchar(250) NOT NULL,
  iCaseman varchar(250) NOT NULL,
  iCasever varchar(250) NOT NULL,
  iCaseserial varchar(250) NOT NULL,
  iCaseasset varchar(250) NOT NULL,
  iSystemUUID varchar(255) NOT NULL,
  PRIMARY KEY (iID),
  UNIQUE KEY iHostID_2 (iHostID),
  KEY iHostID (iHostID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE schemaVersion (
  vID int(11) NOT NULL AUTO_INCREMENT,
  vValue int(11) NOT NULL,
  PRIMARY KEY (vID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE pxeMenu (
  pxeID mediumint(9) NOT NULL AUTO_INCREMENT,
  pxeName varchar(100) NOT NULL,
  pxeDesc longtext NOT NULL,
  pxeParams longtext NOT NULL,
  pxeRegOnly int(11) NOT NULL DEFAULT 0,
  pxeArgs varchar(250) DEFAULT NULL,
  pxeDefault int(11) NOT NULL DEFAULT 0,
  pxeHotKeyEnable enum('0','1') NOT NULL,
  pxeKeySequence varchar(255) NOT NULL,
  PRIMARY KEY (pxeID)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
CREATE TABLE globalSettings (
  settingID int(11) NOT NULL AUTO_INCREMENT,
  settingKey varchar(255) NOT NULL,
  settingDesc longtext NOT NULL,
  settingValue longtext NOT NULL,
  settingCategory longtext NOT NULL,
  PRIMARY KEY (settingID),
  UNIQUE KEY settingKey (settingKey),
  UNIQUE KEY settingKey_2 (settingKey),
  UNIQUE KEY settingKey_3 (settingKey)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci ROW_FORMAT=DYNAMIC
;
