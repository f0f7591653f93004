//! The map of used blocks, read forward once.
//!
//! Kept in chunks of 4096 blocks, of which those that are all used or all free cost 16 bytes: an image
//! of a whole disk in sectors has almost no others.

use crate::error::ImageError;
use crate::partclone::Crc;

/// Which blocks are used.
pub(crate) struct Bitmap {
    total: u64,
    used: u64,
    /// One past the last used block.
    end: u64,
    /// `None`: all blocks are used.
    chunks: Option<Vec<Chunk>>,
}

enum Chunk {
    Free,
    Used,
    Mixed(Box<[u64; WORDS]>),
}

/// Words of a chunk.
const WORDS: usize = 64;
/// Bytes of a chunk as a bit map.
const CHUNK_LEN: usize = WORDS * 8;
/// Blocks of a chunk.
const CHUNK_BLOCKS: u64 = WORDS as u64 * 64;

/// Consecutive used blocks, as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Bitmap {
    /// The map in which all of `total` blocks are used.
    pub(crate) fn all(total: u64) -> Self {
        Self {
            total,
            used: total,
            end: total,
            chunks: None,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The first run of used blocks at or after block `from`.
    pub(crate) fn next_run(&self, from: u64) -> Option<Run> {
        let start = self.find(from, true)?;
        let end = self.find(start, false).unwrap_or(self.total);
        Some(Run {
            start,
            len: end - start,
        })
    }

    /// The first block at or after `from` that is used, or is not.
    fn find(&self, from: u64, is_used: bool) -> Option<u64> {
        let mut block = from;
        while block < self.total {
            let (next, hit) = match self.chunk(block)? {
                Chunk::Free => (next_chunk(block), !is_used),
                Chunk::Used => (next_chunk(block), is_used),
                Chunk::Mixed(words) => {
                    // Below 64, as a chunk has that many words.
                    let index = usize::try_from(block / 64 % WORDS as u64).ok()?;
                    let word = words.get(index)?;
                    let word = if is_used { *word } else { !*word };
                    let rest = word >> (block % 64);
                    if rest != 0 {
                        let found = block + u64::from(rest.trailing_zeros());
                        return (found < self.total).then_some(found);
                    }
                    ((block | 63) + 1, false)
                }
            };
            if hit {
                return Some(block);
            }
            block = next;
        }
        None
    }

    fn chunk(&self, block: u64) -> Option<&Chunk> {
        match &self.chunks {
            None => Some(&Chunk::Used),
            Some(chunks) => chunks.get(usize::try_from(block / CHUNK_BLOCKS).ok()?),
        }
    }
}

fn next_chunk(block: u64) -> u64 {
    (block / CHUNK_BLOCKS + 1) * CHUNK_BLOCKS
}

/// Makes a [`Bitmap`] of a stored one, piece by piece.
pub(crate) struct BitmapBuilder {
    bitmap: Bitmap,
    chunks: Vec<Chunk>,
    /// The chunk being filled, as a bit map.
    open: [u8; CHUNK_LEN],
    /// Blocks in it.
    open_blocks: usize,
    /// Blocks in all chunks but the open one.
    closed_blocks: u64,
    crc: Crc,
    memory: u64,
    memory_max: u64,
}

impl BitmapBuilder {
    /// A map of `total` blocks that may take `memory_max` bytes.
    pub(crate) fn new(total: u64, memory_max: u64) -> Self {
        Self {
            bitmap: Bitmap {
                total,
                used: 0,
                end: 0,
                chunks: None,
            },
            chunks: Vec::new(),
            open: [0; CHUNK_LEN],
            open_blocks: 0,
            closed_blocks: 0,
            crc: Crc::new(),
            memory: 0,
            memory_max,
        }
    }

    /// Adds blocks stored as a bit each, least significant first.
    pub(crate) fn push_bits(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.crc.update(bytes);
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = self
                .open
                .get_mut(self.open_blocks / 8..)
                .unwrap_or_default();
            let len = room.len().min(bytes.len());
            let (now, rest) = bytes.split_at(len);
            if let Some(room) = room.get_mut(..len) {
                room.copy_from_slice(now);
            }
            bytes = rest;
            self.open_blocks += len * 8;
            self.close_full()?;
        }
        Ok(())
    }

    /// Adds blocks stored as a byte each: 1 is used, anything else is free.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        for &byte in bytes {
            if byte == 1
                && let Some(bits) = self.open.get_mut(self.open_blocks / 8)
            {
                *bits |= 1 << (self.open_blocks % 8);
            }
            self.open_blocks += 1;
            self.close_full()?;
        }
        Ok(())
    }

    /// CRC-32 of the bytes given to [`push_bits`](Self::push_bits).
    pub(crate) fn crc(&self) -> u32 {
        self.crc.value()
    }

    /// The map. All blocks have been given.
    pub(crate) fn finish(mut self) -> Result<Bitmap, ImageError> {
        if self.open_blocks > 0 {
            self.close()?;
        }
        self.bitmap.chunks = Some(self.chunks);
        Ok(self.bitmap)
    }

    fn close_full(&mut self) -> Result<(), ImageError> {
        if self.open_blocks == CHUNK_LEN * 8 {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ImageError> {
        let mut words = [0; WORDS];
        let left = self.bitmap.total.saturating_sub(self.closed_blocks);
        let (mut used, mut last) = (0, None);
        for (index, (word, bytes)) in words
            .iter_mut()
            .zip(self.open.as_chunks::<8>().0)
            .enumerate()
        {
            let first = index as u64 * 64;
            // Spare bits of the last byte may be set; they mean nothing.
            let mask = match left.saturating_sub(first) {
                0 => 0,
                count @ 1..64 => (1 << count) - 1,
                _ => u64::MAX,
            };
            *word = u64::from_le_bytes(*bytes) & mask;
            used += u64::from(word.count_ones());
            if *word != 0 {
                last = Some(first + 63 - u64::from(word.leading_zeros()));
            }
        }
        let chunk = if used == 0 {
            Chunk::Free
        } else if used == left.min(CHUNK_BLOCKS) {
            Chunk::Used
        } else {
            self.memory += CHUNK_LEN as u64;
            Chunk::Mixed(Box::new(words))
        };
        self.memory += size_of::<Chunk>() as u64;
        if self.memory > self.memory_max {
            return Err(ImageError::BitmapTooLarge {
                total_blocks: self.bitmap.total,
                limit: self.memory_max,
            });
        }
        self.chunks.push(chunk);
        self.bitmap.used += used;
        if let Some(last) = last {
            self.bitmap.end = self.closed_blocks + last + 1;
        }
        self.closed_blocks += CHUNK_BLOCKS;
        self.open = [0; CHUNK_LEN];
        self.open_blocks = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs(bitmap: &Bitmap) -> Vec<Run> {
        let (mut runs, mut from) = (Vec::new(), 0);
        while let Some(run) = bitmap.next_run(from) {
            from = run.start + run.len;
            runs.push(run);
        }
        runs
    }

    /// The same from a list of flags, one by one.
    fn naive(used: &[bool]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (block, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            let block = block as u64;
            match runs.last_mut() {
                Some(run) if run.start + run.len == block => run.len += 1,
                _ => runs.push(Run {
                    start: block,
                    len: 1,
                }),
            }
        }
        runs
    }

    fn bits(used: &[bool], spare: bool) -> Vec<u8> {
        used.chunks(8)
            .map(|part| {
                (0..8).fold(0, |byte, bit| {
                    byte | u8::from(part.get(bit).copied().unwrap_or(spare)) << bit
                })
            })
            .collect()
    }

    proptest! {
        #[test]
        fn equals_a_list_of_flags(
            stretches in prop::collection::vec((any::<bool>(), 1..9000_usize), 1..6),
            noise in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            spare in any::<bool>(),
            piece in 1..5000_usize,
            odd in 2..=255_u8,
        ) {
            let mut used: Vec<bool> = stretches
                .iter()
                .flat_map(|(flag, len)| std::iter::repeat_n(*flag, *len))
                .collect();
            for index in noise {
                let at = index.index(used.len());
                used[at] = !used[at];
            }
            let total = used.len() as u64;
            let mut by_bits = BitmapBuilder::new(total, u64::MAX);
            for part in bits(&used, spare).chunks(piece) {
                by_bits.push_bits(part).unwrap();
            }
            let mut by_bytes = BitmapBuilder::new(total, u64::MAX);
            let bytes: Vec<u8> = used
                .iter()
                .map(|&used| if used { 1 } else if spare { odd } else { 0 })
                .collect();
            for part in bytes.chunks(piece) {
                by_bytes.push_bytes(part).unwrap();
            }
            for builder in [by_bits, by_bytes] {
                let bitmap = builder.finish().unwrap();
                prop_assert_eq!(runs(&bitmap), naive(&used));
                prop_assert_eq!(bitmap.used(), used.iter().filter(|used| **used).count() as u64);
                let end = used.iter().rposition(|used| *used).map_or(0, |last| last as u64 + 1);
                prop_assert_eq!(bitmap.end(), end);
            }
        }
    }

    #[test]
    fn all_used_is_one_run() {
        let bitmap = Bitmap::all(1 << 43);
        assert_eq!(
            runs(&bitmap),
            [Run {
                start: 0,
                len: 1 << 43
            }]
        );
        assert_eq!(bitmap.next_run(1 << 43), None);
    }

    #[test]
    fn uniform_chunks_cost_little_and_mixed_ones_are_bounded() {
        let mut builder = BitmapBuilder::new(u64::MAX, 10 * CHUNK_LEN as u64);
        builder.push_bits(&[0xFF; CHUNK_LEN * 100]).unwrap();
        builder.push_bits(&[0; CHUNK_LEN * 100]).unwrap();
        let error = builder.push_bits(&[0x55; CHUNK_LEN * 10]).unwrap_err();
        assert!(
            matches!(error, ImageError::BitmapTooLarge { .. }),
            "{error}"
        );
    }
}
