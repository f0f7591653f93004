-- Which client a machine runs: 0 FOG's, 1 one of our agents. Its name is for people.
ALTER TABLE fos_sessionHosts ADD COLUMN client INTEGER NOT NULL DEFAULT 0;
UPDATE fos_sessionHosts SET client = 1 WHERE agent LIKE 'fos-agent/%';
