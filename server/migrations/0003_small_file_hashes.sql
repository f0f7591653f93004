-- BLAKE3 of small files, 64 hexadecimal digits; empty for files that are sent (their streams have
-- one) and for images that were added before.
ALTER TABLE fos_imageFiles ADD COLUMN blake3 TEXT NOT NULL DEFAULT '';
