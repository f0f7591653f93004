//! Checksums of partclone's strips.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use crate::crc::{Crc, jam_crc};
use crate::error::Digest;
use crate::geometry::ChecksumMode;

/// The checksum of the strip at hand, or of everything so far when it is never reseeded.
pub(crate) struct Running {
    sum: Sum,
    is_reseeded: bool,
}

enum Sum {
    None,
    Crc32(Crc),
    Xxh64(Box<Xxh64>),
    Xxh128(Box<Xxh3>),
}

impl Running {
    pub(crate) fn new(mode: ChecksumMode, is_reseeded: bool) -> Self {
        Self {
            sum: match mode {
                ChecksumMode::None | ChecksumMode::Crc32FirstByte | ChecksumMode::Crc32Records => {
                    Sum::None
                }
                ChecksumMode::Crc32 => Sum::Crc32(Crc::new()),
                ChecksumMode::Xxh64 => Sum::Xxh64(Box::new(Xxh64::new(0))),
                ChecksumMode::Xxh128 => Sum::Xxh128(Box::new(Xxh3::new())),
            },
            is_reseeded,
        }
    }

    /// Adds bytes of the strip at hand.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.sum {
            Sum::None => {}
            Sum::Crc32(crc) => crc.update(bytes),
            Sum::Xxh64(sum) => sum.update(bytes),
            Sum::Xxh128(sum) => sum.update(bytes),
        }
    }

    /// The strip ends: its digest.
    pub(crate) fn end_strip(&mut self) -> Digest {
        let digest = match &self.sum {
            Sum::None => Digest::None,
            Sum::Crc32(crc) => Digest::Crc32(crc.value()),
            Sum::Xxh64(sum) => Digest::Xxh64(sum.digest()),
            Sum::Xxh128(sum) => Digest::Xxh128(sum.digest128()),
        };
        if self.is_reseeded {
            match &mut self.sum {
                Sum::None => {}
                Sum::Crc32(crc) => *crc = Crc::new(),
                Sum::Xxh64(sum) => sum.reset(0),
                Sum::Xxh128(sum) => sum.reset(),
            }
        }
        digest
    }

    /// The digest of a strip that is there as a whole.
    pub(crate) fn whole_strip(&mut self, bytes: &[u8]) -> Digest {
        match (&self.sum, self.is_reseeded) {
            (Sum::Crc32(_), true) => Digest::Crc32(jam_crc(bytes)),
            (Sum::Xxh64(_), true) => Digest::Xxh64(xxh64(bytes, 0)),
            (Sum::Xxh128(_), true) => Digest::Xxh128(xxh3_128(bytes)),
            _ => {
                self.update(bytes);
                self.end_strip()
            }
        }
    }

    /// A stored checksum of this mode.
    pub(crate) fn stored(&self, bytes: &[u8]) -> Digest {
        let value = bytes
            .iter()
            .take(16)
            .rev()
            .fold(0_u128, |value, &byte| value << 8 | u128::from(byte));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "as many bytes are stored as the checksum has"
        )]
        match &self.sum {
            Sum::None => Digest::None,
            Sum::Crc32(_) => Digest::Crc32(value as u32),
            Sum::Xxh64(_) => Digest::Xxh64(value as u64),
            Sum::Xxh128(_) => Digest::Xxh128(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xxhash_is_stored_little_endian_low_half_first() {
        let mut sum = Running::new(ChecksumMode::Xxh64, true);
        assert_eq!(sum.whole_strip(b""), Digest::Xxh64(0xEF46_DB37_51D8_E999));
        let stored = [0x99, 0xE9, 0xD8, 0x51, 0x37, 0xDB, 0x46, 0xEF];
        assert_eq!(sum.stored(&stored), Digest::Xxh64(0xEF46_DB37_51D8_E999));
        assert_eq!(
            sum.whole_strip(b"123456789"),
            Digest::Xxh64(0x8CB8_41DB_40E6_AE83)
        );

        let mut sum = Running::new(ChecksumMode::Xxh128, true);
        let stored = 0x60581d68276471e9_d5dce5ed77941133_u128.to_be_bytes();
        assert_eq!(sum.whole_strip(b"123456789"), sum.stored(&stored));
        let stored = 0x7f498d4624c30160_d8984701d306aa99_u128.to_be_bytes();
        assert_eq!(sum.whole_strip(b""), sum.stored(&stored));
    }

    #[test]
    fn pieces_equal_the_whole_in_every_mode() {
        let data: Vec<u8> = (0..100_000_u32)
            .map(|n| (n * 7 + n / 251).to_le_bytes()[0])
            .collect();
        for mode in [
            ChecksumMode::Crc32,
            ChecksumMode::Xxh64,
            ChecksumMode::Xxh128,
        ] {
            for is_reseeded in [true, false] {
                let mut whole = Running::new(mode, is_reseeded);
                let mut pieces = Running::new(mode, is_reseeded);
                for strip in data.chunks(33_000) {
                    for piece in strip.chunks(1009) {
                        pieces.update(piece);
                    }
                    assert_eq!(pieces.end_strip(), whole.whole_strip(strip), "{mode}");
                }
            }
        }
    }
}
