//! The test stream of the two commands `selftest`: bytes that a receiver can check without knowing them beforehand.
//!
//! It is made of sectors. Each begins with `FOSTEST1`, a seed that is the same in all of them, its number and whether it
//! is the last one (big-endian, 32 bytes in all); the rest follows from seed and number. So the sender may
//! end it at any sector.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a sector.
const SECTOR_LEN: usize = 4096;

/// The first bytes of each sector: those of no compression and of no image.
const MAGIC: [u8; 8] = *b"FOSTEST1";

const HEADER_LEN: usize = 32;

/// A test stream, to be read.
#[derive(Debug)]
pub struct TestStream {
    seed: u64,
    next: u64,
    count: u64,
    is_over: Arc<AtomicBool>,
    sector: Box<[u8; SECTOR_LEN]>,
    position: usize,
    has_ended: bool,
}

impl TestStream {
    /// One of `len` bytes, rounded up to whole sectors, at least one. It ends earlier when `is_over` is set.
    #[must_use]
    pub fn new(seed: u64, len: u64, is_over: Arc<AtomicBool>) -> Self {
        Self {
            seed,
            next: 0,
            count: len.div_ceil(SECTOR_LEN as u64).max(1),
            is_over,
            sector: Box::new([0; SECTOR_LEN]),
            position: SECTOR_LEN,
            has_ended: false,
        }
    }
}

impl Read for TestStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(left) = buffer.get_mut(done..).filter(|left| !left.is_empty()) {
            if self.position == SECTOR_LEN {
                if self.has_ended {
                    break;
                }
                let is_last = self.next + 1 == self.count || self.is_over.load(Ordering::Relaxed);
                fill(&mut self.sector, self.seed, self.next, is_last);
                self.next += 1;
                self.has_ended = is_last;
                self.position = 0;
            }
            let ready = self.sector.get(self.position..).unwrap_or_default();
            let count = ready.len().min(left.len());
            let (to, _) = left.split_at_mut(count);
            to.copy_from_slice(ready.get(..count).unwrap_or_default());
            self.position += count;
            done += count;
        }
        Ok(done)
    }
}

/// Checks a test stream, in pieces of any length.
#[derive(Debug)]
pub struct TestCheck {
    seed: Option<u64>,
    next: u64,
    /// The begin of a sector whose rest has not come.
    begun: Vec<u8>,
    has_ended: bool,
    expected: Box<[u8; SECTOR_LEN]>,
}

/// Why what came is no whole test stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It begins with something else.
    #[error("what came is no test stream")]
    Foreign,
    /// A sector holds other bytes than were sent.
    #[error("the bytes from {offset} on are not those that were sent")]
    Damaged {
        /// Where the sector begins.
        offset: u64,
    },
    /// It ends before its last sector.
    #[error("the stream ended after {len} bytes, before its last one")]
    Cut {
        /// Bytes that came.
        len: u64,
    },
    /// It goes on behind its last sector.
    #[error("the stream goes on behind its end at byte {len}")]
    Surplus {
        /// Its length.
        len: u64,
    },
}

impl Default for TestCheck {
    fn default() -> Self {
        Self {
            seed: None,
            next: 0,
            begun: Vec::with_capacity(SECTOR_LEN),
            has_ended: false,
            expected: Box::new([0; SECTOR_LEN]),
        }
    }
}

impl TestCheck {
    /// Checks the next bytes. After an error nothing more is to be handed in.
    ///
    /// # Errors
    /// They are not what was sent.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Mismatch> {
        while !bytes.is_empty() {
            if self.has_ended {
                return Err(Mismatch::Surplus { len: self.len() });
            }
            let wanted = SECTOR_LEN - self.begun.len();
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.begun.extend_from_slice(now);
            bytes = rest;
            if self.begun.len() == SECTOR_LEN {
                self.sector()?;
                self.begun.clear();
            }
        }
        Ok(())
    }

    /// All has come.
    ///
    /// # Errors
    /// It is not all, or not even a test stream.
    pub fn finish(&self) -> Result<u64, Mismatch> {
        let len = self.len() + self.begun.len() as u64;
        match self.has_ended {
            true => Ok(len),
            false if self.next == 0 && !MAGIC.starts_with(self.first()) => Err(Mismatch::Foreign),
            false => Err(Mismatch::Cut { len }),
        }
    }

    fn first(&self) -> &[u8] {
        self.begun.get(..MAGIC.len()).unwrap_or(&self.begun)
    }

    /// Bytes of whole sectors.
    fn len(&self) -> u64 {
        self.next * SECTOR_LEN as u64
    }

    fn sector(&mut self) -> Result<(), Mismatch> {
        let damaged = Mismatch::Damaged { offset: self.len() };
        let header = Header::read(&self.begun).ok_or(match self.next {
            0 => Mismatch::Foreign,
            _ => damaged,
        })?;
        let seed = *self.seed.get_or_insert(header.seed);
        fill(&mut self.expected, seed, self.next, header.is_last);
        if self.begun != *self.expected {
            return Err(damaged);
        }
        self.next += 1;
        self.has_ended = header.is_last;
        Ok(())
    }
}

struct Header {
    seed: u64,
    is_last: bool,
}

impl Header {
    fn read(sector: &[u8]) -> Option<Self> {
        let rest = sector.strip_prefix(&MAGIC)?;
        let (seed, rest) = rest.split_first_chunk()?;
        let (_number, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            seed: u64::from_be_bytes(*seed),
            is_last: rest.first() == Some(&1),
        })
    }
}

fn fill(sector: &mut [u8; SECTOR_LEN], seed: u64, number: u64, is_last: bool) {
    let (header, body) = sector.split_at_mut(HEADER_LEN);
    let fields = [
        u64::from_be_bytes(MAGIC),
        seed,
        number,
        u64::from(is_last) << 56,
    ];
    for (to, field) in header.chunks_exact_mut(8).zip(fields) {
        to.copy_from_slice(&field.to_be_bytes());
    }
    // SplitMix64: no two sectors are alike, and nothing compresses them.
    let mut state = seed ^ number.wrapping_mul(0xd134_2543_de82_ef95);
    for word in body.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut stream = TestStream::new(7, len, Arc::default());
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn check(bytes: &[u8], piece: usize) -> Result<u64, Mismatch> {
        let mut check = TestCheck::default();
        for piece in bytes.chunks(piece) {
            check.push(piece)?;
        }
        check.finish()
    }

    #[test]
    fn what_is_sent_is_right_in_pieces_of_any_length() {
        for (len, whole) in [(0, 4096), (1, 4096), (4096, 4096), (20_000, 20_480)] {
            let bytes = stream(len);
            assert_eq!(bytes.len(), whole);
            for piece in [1, 7, 1456, 4096, 100_000] {
                assert_eq!(check(&bytes, piece), Ok(whole as u64), "{piece}");
            }
        }
        assert!(stream(8192)[..8] == MAGIC && stream(8192)[..4096] != stream(8192)[4096..]);
    }

    #[test]
    fn it_ends_when_its_time_is_over() {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut stream = TestStream::new(7, u64::MAX, Arc::clone(&is_over));
        let mut bytes = vec![0; 10_000];
        stream.read_exact(&mut bytes).unwrap();
        is_over.store(true, Ordering::Relaxed);
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 4 * SECTOR_LEN);
        assert_eq!(check(&bytes, 1456), Ok(bytes.len() as u64));
    }

    #[test]
    fn every_other_byte_is_found() {
        let bytes = stream(3 * 4096);
        for at in (0..bytes.len())
            .step_by(97)
            .chain([0, 8, 24, 4095, 8192, 12_287])
        {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let found = check(&other, 1456);
            let sector = (at / SECTOR_LEN * SECTOR_LEN) as u64;
            let expected = match at {
                0..8 => Mismatch::Foreign,
                // Another seed is found by what does not follow from it.
                _ => Mismatch::Damaged { offset: sector },
            };
            let is_end = matches!(found, Err(Mismatch::Surplus { .. } | Mismatch::Cut { .. }));
            assert!(found == Err(expected) || is_end, "{at}: {found:?}");
            assert!(!is_end || at % SECTOR_LEN == 24, "{at}: {found:?}");
        }
    }

    #[test]
    fn what_is_cut_long_or_foreign_is_refused() {
        let bytes = stream(3 * 4096);
        for len in [1, 8, 4095, 4096, 12_287] {
            let expected = Mismatch::Cut { len: len as u64 };
            assert_eq!(check(&bytes[..len], 1000), Err(expected));
        }
        assert_eq!(check(&[], 1), Err(Mismatch::Cut { len: 0 }));
        let mut long = bytes.clone();
        long.push(0);
        assert_eq!(check(&long, 5000), Err(Mismatch::Surplus { len: 12_288 }));
        for foreign in [&b"partclone-image"[..], b"x", &[0; 9000]] {
            assert_eq!(check(foreign, 1456), Err(Mismatch::Foreign));
        }
        // Sectors in another order.
        let mut swapped = bytes.clone();
        swapped[..8192].rotate_left(4096);
        let expected = Mismatch::Damaged { offset: 0 };
        assert_eq!(check(&swapped, 1456), Err(expected));
    }
}
