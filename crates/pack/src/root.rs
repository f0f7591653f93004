//! What names a pack, and who vouches for it (3.7).

use std::fmt;
use std::str::FromStr;

use crate::keys::{KeyId, PublicKey, SecretKey};

/// Hash of a whole manifest file. As text it has 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Root(blake3::Hash);

/// What BLAKE3 derives the hash with, so that it means a manifest and nothing else.
const CONTEXT: &str = "fos 2026 pack manifest v1";
/// What is signed begins with this and a zero.
const PURPOSE: &[u8] = b"fos-manifest-v1\0";

impl Root {
    /// Of the bytes of a manifest file.
    #[must_use]
    pub fn of(manifest: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(manifest);
        Self(hasher.finalize())
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    fn signed(&self) -> Vec<u8> {
        [PURPOSE, self.as_bytes()].concat()
    }
}

impl FromStr for Root {
    type Err = NotRoot;

    fn from_str(text: &str) -> Result<Self, NotRoot> {
        // One name for one pack.
        let is_lower = !text.bytes().any(|octet| octet.is_ascii_uppercase());
        let hash = blake3::Hash::from_hex(text).ok().filter(|_| is_lower);
        hash.map(Self).ok_or(NotRoot)
    }
}

/// A text that does not name a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the root of a pack: it must have exactly 64 hexadecimal digits in lower case")]
pub struct NotRoot;

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({self})")
    }
}

/// An ed25519 signature of a root, and whose it is. It travels beside the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The key that made it.
    pub key: KeyId,
    /// The signature itself (RFC 8032).
    pub signature: [u8; 64],
}

impl Signature {
    /// Bytes of a signature file: key id, signature.
    pub const LEN: usize = 72;

    /// Signs a manifest by its root.
    #[must_use]
    pub fn sign(root: &Root, key: &SecretKey) -> Self {
        Self {
            key: key.public().id(),
            signature: key.sign(&root.signed()),
        }
    }

    /// Whether `key` made this for `root`.
    #[must_use]
    pub fn is_by(&self, key: &PublicKey, root: &Root) -> bool {
        self.key == key.id() && key.verify(&root.signed(), &self.signature)
    }

    /// The bytes of a signature file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (key, signature) = bytes.split_at_mut(8);
        key.copy_from_slice(self.key.as_bytes());
        signature.copy_from_slice(&self.signature);
        bytes
    }

    /// Reads a signature file; `None` if it has another length.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (key, signature) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            key: KeyId::from(*key),
            signature: signature.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_hashes_for_this_purpose_alone() {
        let root = Root::of(b"manifest");
        // b3sum --derive-key "fos 2026 pack manifest v1"
        assert_ne!(root.as_bytes(), blake3::hash(b"manifest").as_bytes());
        assert_eq!(root.as_bytes(), &blake3::derive_key(CONTEXT, b"manifest"));
        assert_eq!(root.to_string().parse(), Ok(root));
        let text = root.to_string();
        assert_eq!(text.to_uppercase().parse::<Root>(), Err(NotRoot));
        assert_eq!(text[1..].parse::<Root>(), Err(NotRoot));
    }

    #[test]
    fn a_signature_is_of_one_root_by_one_key() {
        let [mine, other] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]));
        let (root, changed) = (Root::of(b"manifest"), Root::of(b"manifesT"));
        let signature = Signature::sign(&root, &mine);
        assert!(signature.is_by(mine.public(), &root));
        assert!(!signature.is_by(other.public(), &root));
        assert!(!signature.is_by(mine.public(), &changed));
        let bytes = signature.to_bytes();
        assert_eq!(Signature::parse(&bytes), Some(signature));
        assert_eq!(Signature::parse(&bytes[1..]), None);
        assert_eq!(Signature::parse(&[bytes.as_slice(), &[0]].concat()), None);
        for at in 0..bytes.len() {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            let spoilt = Signature::parse(&bytes).unwrap();
            assert!(!spoilt.is_by(mine.public(), &root), "byte {at}");
        }
    }
}
