-- Where clients that run reach a server, and the SHA-256 of the key by which they know it; empty without HTTPS for clients.
ALTER TABLE fos_nodes ADD COLUMN IF NOT EXISTS clientUrl VARCHAR(255) NOT NULL DEFAULT '';
ALTER TABLE fos_nodes ADD COLUMN IF NOT EXISTS keyHash VARCHAR(64) NOT NULL DEFAULT '';
