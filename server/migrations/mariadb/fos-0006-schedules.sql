-- Deploys that begin later, once or again and again. Times are texts in UTC.
CREATE TABLE IF NOT EXISTS fos_schedules (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- Of those that begin once; empty for the others.
    onceAt VARCHAR(19) NOT NULL,
    -- Minute, hour, day, month, day of the week, and the name of the time zone; empty for those that begin once.
    cron VARCHAR(100) NOT NULL,
    zone VARCHAR(64) NOT NULL,
    -- What is deployed to whom, in JSON.
    planned MEDIUMTEXT NOT NULL,
    createdAt VARCHAR(19) NOT NULL,
    -- Starts up to this time were dealt with.
    doneUntil VARCHAR(19) NOT NULL,
    -- What became of the last start, in JSON; empty before the first.
    outcome MEDIUMTEXT NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
