-- The session whose hosts this one is for, that missed that one; 0 for others.
ALTER TABLE fos_sessions ADD COLUMN follows INTEGER NOT NULL DEFAULT 0;
-- Follow-up sessions that may still come of this one; NULL where nobody said.
ALTER TABLE fos_sessions ADD COLUMN followUps INTEGER;
-- The session for hosts that missed this one; 0 if there is none, -1 if it is still to be made.
ALTER TABLE fos_sessions ADD COLUMN followUp INTEGER NOT NULL DEFAULT 0;
-- What the tasks of hosts are to be that join the session by its name.
ALTER TABLE fos_sessions ADD COLUMN shutdown INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fos_sessions ADD COLUMN debug INTEGER NOT NULL DEFAULT 0;
