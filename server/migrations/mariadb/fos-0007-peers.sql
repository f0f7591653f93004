-- Where other servers reach a server, as http://ADDRESS:PORT; empty where it has not said so.
ALTER TABLE fos_nodes ADD COLUMN IF NOT EXISTS peer VARCHAR(255) NOT NULL DEFAULT '';
