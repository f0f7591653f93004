//! Keys as files: secret ones as PEM, public ones as a line of text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{PublicKey, Roles, SecretKey};

/// A public key and what it may do; a file of `/etc/fos/trust.d` has one, as the line
/// `fos-key-v1 DIGITS ROLES`. Empty lines and those that begin with # say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// What it may do.
    pub roles: Roles,
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It has no public key of ours.
    #[error(
        "no public key: expected one line \"fos-key-v1 KEY ROLES\" with 64 hexadecimal digits and the roles image, \
         server or image,server, as DATA/keys/server.pub of the server has it"
    )]
    Public,
    /// It has no secret key of ours.
    #[error(
        "no secret key: expected an ed25519 key in PEM (PKCS #8), as openssl genpkey -algorithm ed25519 writes it"
    )]
    Secret,
}

const WORD: &str = "fos-key-v1";

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = blake3::Hash::from_bytes(*self.key.as_bytes()).to_hex();
        write!(f, "{WORD} {digits} {}", self.roles)
    }
}

impl FromStr for TrustedKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(KeyTextError::Public);
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let [WORD, digits, roles] = words.as_slice() else {
            return Err(KeyTextError::Public);
        };
        let bytes = blake3::Hash::from_hex(digits).map_err(|_| KeyTextError::Public)?;
        Ok(Self {
            key: PublicKey::from(*bytes.as_bytes()),
            roles: roles.parse().map_err(|_| KeyTextError::Public)?,
        })
    }
}

/// What is before the seed in the PKCS #8 of an ed25519 key (RFC 8410, section 7).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

impl SecretKey {
    /// As the text of a file that openssl reads, too (RFC 8410).
    #[must_use]
    pub fn to_pem(&self) -> String {
        let text = BASE64_STANDARD.encode([PKCS8.as_slice(), &self.seed].concat());
        format!("{BEGIN}\n{text}\n{END}\n")
    }

    /// Reads such a text.
    ///
    /// # Errors
    /// It is no key, or that of another algorithm.
    pub fn from_pem(text: &str) -> Result<Self, KeyTextError> {
        let seed = || {
            let (_, rest) = text.split_once(BEGIN)?;
            let (body, _) = rest.split_once(END)?;
            let body: String = body.split_whitespace().collect();
            let bytes = BASE64_STANDARD.decode(body).ok()?;
            <[u8; 32]>::try_from(bytes.strip_prefix(&PKCS8)?).ok()
        };
        let seed = seed().ok_or(KeyTextError::Secret)?;
        Ok(Self::from_seed(&seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    /// RFC 8410, section 10.1.
    const PUBLIC: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

    #[test]
    fn a_secret_key_is_that_of_the_standard() {
        let key = SecretKey::from_pem(PEM).unwrap();
        assert_eq!(key.to_pem(), PEM);
        assert_eq!(BASE64_STANDARD.encode(key.public().as_bytes()), PUBLIC);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("SecretKey({})", key.public().id()));
        for text in [
            "",
            &PEM.replace("MC4C", "MC4D"),
            &PEM.replace("VhC\n", "Vh\n"),
            &PEM.replace("PRIVATE", "PUBLIC"),
        ] {
            assert_eq!(SecretKey::from_pem(text).unwrap_err(), KeyTextError::Secret);
        }
    }

    #[test]
    fn a_public_key_is_a_line_with_its_roles() {
        let key = TrustedKey {
            key: *SecretKey::from_seed(&[7; 32]).public(),
            roles: Roles::ALL,
        };
        let line = key.to_string();
        assert_eq!(format!("# of a server\n\n{line}\n").parse(), Ok(key));
        let image = line.replace("image,server", "image");
        assert_eq!(image.parse::<TrustedKey>().unwrap().roles, Roles::IMAGE);
        for text in [
            "",
            &format!("{line}\n{line}"),
            &line.replace("v1", "v2"),
            &line.replace("image", "everything"),
            &line.replace(" image,server", ""),
            &format!("{line} more"),
            &line.replacen("v1 ", "v1 0", 1),
        ] {
            assert_eq!(
                text.parse::<TrustedKey>(),
                Err(KeyTextError::Public),
                "{text}"
            );
        }
    }
}
