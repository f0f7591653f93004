-- People and programs that may use the page and the API.
CREATE TABLE fos_accounts (
    -- user or token
    kind VARCHAR(10) NOT NULL,
    name VARCHAR(40) NOT NULL,
    -- viewer, operator or admin
    role VARCHAR(10) NOT NULL,
    -- Of a user the password, hashed, as a PHC string; of a token its BLAKE3 hash in hexadecimal digits.
    secret VARCHAR(250) NOT NULL,
    createdAt TEXT NOT NULL,
    PRIMARY KEY (kind, name)
);
