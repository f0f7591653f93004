//! How a key names the one that follows it (4.2).

use super::{KeyId, PublicKey, Roles, SecretKey};

/// A key says that another one follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// The key that says so.
    pub old: KeyId,
    /// The key that follows.
    pub new: PublicKey,
    /// What the new one may do.
    pub roles: Roles,
    /// By the old one.
    pub signature: [u8; 64],
}

/// What is signed begins with this and a zero.
const PURPOSE: &[u8] = b"fos-succession-v1\0";
/// Most records of a file. Each costs a verification at most.
pub const MAX_SUCCESSIONS: usize = 64;

impl Succession {
    /// Bytes of a record: old id, new key, roles, signature.
    pub const LEN: usize = 8 + 32 + 1 + 64;

    /// A record by the key that is to be followed.
    #[must_use]
    pub fn sign(old: &SecretKey, new: &PublicKey, roles: Roles) -> Self {
        let mut record = Self {
            old: old.public().id(),
            new: *new,
            roles,
            signature: [0; 64],
        };
        record.signature = old.sign(&record.signed());
        record
    }

    /// Whether `old` made this.
    #[must_use]
    pub fn is_by(&self, old: &PublicKey) -> bool {
        self.old == old.id() && old.verify(&self.signed(), &self.signature)
    }

    /// The bytes of a record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.body().as_slice(), &self.signature].concat()
    }

    /// Reads a file of records. `None` if one is cut off, has a role that there is not, or there are more than
    /// [`MAX_SUCCESSIONS`].
    #[must_use]
    pub fn parse_all(bytes: &[u8]) -> Option<Vec<Self>> {
        if bytes.len() > MAX_SUCCESSIONS * Self::LEN {
            return None;
        }
        bytes.chunks(Self::LEN).map(Self::parse).collect()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (old, rest) = bytes.split_first_chunk::<8>()?;
        let (new, rest) = rest.split_first_chunk::<32>()?;
        let (roles, signature) = rest.split_first()?;
        Some(Self {
            old: KeyId::from(*old),
            new: PublicKey::from(*new),
            roles: Roles::from_bits(*roles)?,
            signature: signature.try_into().ok()?,
        })
    }

    fn body(&self) -> Vec<u8> {
        let roles = [self.roles.bits()];
        [self.old.as_bytes().as_slice(), self.new.as_bytes(), &roles].concat()
    }

    fn signed(&self) -> Vec<u8> {
        [PURPOSE, &self.body()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_by_one_key_for_one_key() {
        let [old, new] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]));
        let record = Succession::sign(&old, new.public(), Roles::IMAGE);
        assert!(record.is_by(old.public()));
        assert!(!record.is_by(new.public()));
        let bytes = record.to_bytes();
        assert_eq!(bytes.len(), Succession::LEN);
        let both = [bytes.as_slice(), &bytes].concat();
        assert_eq!(Succession::parse_all(&both), Some(vec![record; 2]));
        assert_eq!(Succession::parse_all(&both[1..]), None);
        assert_eq!(Succession::parse_all(&[]), Some(vec![]));
        assert_eq!(Succession::parse_all(&bytes.repeat(65)), None);
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let spoilt = Succession::parse_all(&bytes);
            let is_good = spoilt.is_some_and(|records| records[0].is_by(old.public()));
            assert!(!is_good, "byte {at}");
        }
    }
}
