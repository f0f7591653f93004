//! The map of used blocks, read forward once.
//!
//! Kept in chunks of 4096 blocks. Those that are all used or all free cost 24 bytes: an image of a whole
//! disk in sectors has almost no others. Those with few runs cost 4 bytes more for each run, the rest a
//! bit for each block.

use crate::crc::Crc;
use crate::error::ImageError;

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
    /// Where used blocks begin, and free ones, and so on: block numbers within the chunk, ascending.
    Runs(Box<[u16]>),
    Mixed(Box<[u64; WORDS]>),
}

/// Words of a chunk.
const WORDS: usize = 64;
/// Bytes of a chunk as a bit map.
const CHUNK_LEN: usize = WORDS * 8;
/// Blocks of a chunk.
const CHUNK_BLOCKS: u64 = WORDS as u64 * 64;
/// Most ends of runs that are kept as numbers: a bit map would be twice as long.
const RUN_ENDS: usize = CHUNK_LEN / 4;

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
            block = match self.chunk(block)? {
                Chunk::Free if !is_used => return Some(block),
                Chunk::Used if is_used => return Some(block),
                Chunk::Free | Chunk::Used => next_chunk(block),
                Chunk::Runs(ends) => {
                    let within = block % CHUNK_BLOCKS;
                    let passed = ends.partition_point(|&end| u64::from(end) <= within);
                    if (passed % 2 == 1) == is_used {
                        return Some(block);
                    }
                    // Where it changes is the block looked for.
                    ends.get(passed)
                        .map_or_else(|| next_chunk(block), |&end| block - within + u64::from(end))
                }
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
                    (block | 63) + 1
                }
            };
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

/// The blocks at which it changes whether they are used, if those are few. Before the first they are
/// free.
fn run_ends(words: &[u64; WORDS]) -> Option<Box<[u16]>> {
    let changes = words.iter().scan(0, |before, &word| {
        let changes = word ^ (word << 1 | *before);
        *before = word >> 63;
        Some(changes)
    });
    let count: u32 = changes.clone().map(u64::count_ones).sum();
    if usize::try_from(count).ok()? > RUN_ENDS {
        return None;
    }
    let mut ends = Vec::with_capacity(RUN_ENDS.min(count as usize));
    for (changes, first) in changes.zip((0_u16..).step_by(64)) {
        let mut rest = changes;
        while rest != 0 {
            // Below 64.
            ends.push(first + u16::try_from(rest.trailing_zeros()).ok()?);
            rest &= rest - 1;
        }
    }
    Some(ends.into_boxed_slice())
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
            let chunk = run_ends(&words).map_or_else(|| Chunk::Mixed(Box::new(words)), Chunk::Runs);
            self.memory += match &chunk {
                Chunk::Runs(ends) => size_of_val::<[u16]>(ends),
                _ => CHUNK_LEN,
            } as u64;
            chunk
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
            // From chunks of few runs to those of so many that bits are shorter.
            noise in prop_oneof![0..20_usize, 100..500_usize]
                .prop_flat_map(|count| prop::collection::vec(any::<prop::sample::Index>(), count)),
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
    fn few_runs_cost_less_than_a_bit_for_each_block() {
        let memory = |run_len: usize| {
            let used: Vec<bool> = (0..100 << 12)
                .map(|n| (n / run_len).is_multiple_of(2))
                .collect();
            let mut builder = BitmapBuilder::new(used.len() as u64, u64::MAX);
            builder.push_bits(&bits(&used, false)).unwrap();
            let memory = builder.memory / 100;
            assert_eq!(runs(&builder.finish().unwrap()), naive(&used), "{run_len}");
            memory
        };
        let chunk = size_of::<Chunk>() as u64;
        assert_eq!(memory(4096), chunk);
        assert_eq!(memory(1024), chunk + 2 * 4);
        assert_eq!(memory(256), chunk + 2 * 16);
        assert_eq!(memory(32), chunk + 2 * 128);
        assert_eq!(memory(31), chunk + CHUNK_LEN as u64);
        assert_eq!(memory(1), chunk + CHUNK_LEN as u64);
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
