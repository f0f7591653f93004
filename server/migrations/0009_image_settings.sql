-- The settings of the image with which its files make sense, in JSON; empty where an older version verified them.
ALTER TABLE fos_images ADD COLUMN settings TEXT NOT NULL DEFAULT '';
