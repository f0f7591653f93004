//! Length and hash of a stream.

use std::sync::{Arc, Mutex, PoisonError};

use super::Tap;

/// Counts and hashes (BLAKE3) what passes. Copies share what they have seen.
#[derive(Debug, Clone, Default)]
pub struct Hash(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    len: u64,
    hasher: blake3::Hasher,
}

impl Hash {
    /// Bytes so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len
    }

    /// Bytes so far, and their hash.
    #[must_use]
    pub fn found(&self) -> (u64, blake3::Hash) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.len, seen.hasher.finalize())
    }
}

impl Tap for Hash {
    fn pass(&mut self, bytes: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len += bytes.len() as u64;
        seen.hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_counted_and_hashed() {
        let hash = Hash::default();
        let mut tap = hash.clone();
        assert_eq!(hash.found(), (0, blake3::hash(b"")));
        tap.pass(b"ab");
        tap.pass(b"c");
        assert_eq!(hash.count(), 3);
        assert_eq!(hash.found(), (3, blake3::hash(b"abc")));
    }
}
