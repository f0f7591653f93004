-- What a machine says of itself that asked without being registered: manufacturer and product.
ALTER TABLE fos_strangers ADD COLUMN about VARCHAR(100) NOT NULL DEFAULT '';
CREATE INDEX fos_strangersAddress ON fos_strangers (address);
