-- A digest of the other arguments by which a client restores; 0 where an older version told them.
ALTER TABLE fos_handouts ADD COLUMN arguments INTEGER NOT NULL DEFAULT 0;
