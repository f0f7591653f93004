-- What a machine says of itself that asked without being registered: manufacturer and product.
ALTER TABLE fos_strangers ADD COLUMN IF NOT EXISTS about VARCHAR(100) NOT NULL DEFAULT '';

ALTER TABLE fos_strangers ADD KEY IF NOT EXISTS fos_strangersAddress (address);
