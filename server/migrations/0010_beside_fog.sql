-- What a database of FOG's own has no room for: seconds of the first wait, 0 where nothing was said; whether a
-- cancelled session has failed; and the start of the session, as its number may be given to another one.
ALTER TABLE fos_sessions ADD COLUMN maxWait INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fos_sessions ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fos_sessions ADD COLUMN fogStart TEXT;
