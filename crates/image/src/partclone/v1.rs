//! The data of format 0001: each block with a checksum that runs over the whole image.

use crate::bytes::u32_le;
use crate::error::{BlockChecksum, Digest, ImageError, Part};
use crate::geometry::Geometry;
use crate::machine::Context;
use crate::options::Verify;
use crate::place::Placer;

pub(crate) struct V1Data {
    placer: Placer,
    crc: FirstByteCrc,
    block_size: usize,
    blocks_left: u64,
    layout: Layout,
}

/// Builds before 0.1.0 for 64 bits stored the checksum as 8 bytes, the last 4 of them of no meaning.
/// Nothing in the header tells; the second used block does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The first used block is next.
    First,
    /// The second is next, seen as in the usual layout.
    Second,
    /// The second is next and its checksum does not fit: 4 bytes more are looked at.
    SecondAgain,
    /// 4 bytes per checksum.
    Narrow,
    /// 8 bytes per checksum; what is left of the previous one comes before each block.
    Wide,
}

/// Bytes of a checksum, and of the meaningless rest of a wide one.
const SUM: usize = 4;

impl V1Data {
    pub(crate) fn new(geometry: &Geometry, placer: Placer) -> Self {
        Self {
            placer,
            crc: FirstByteCrc::new(geometry.block_size.into()),
            block_size: geometry.block_size.try_into().unwrap_or(usize::MAX),
            blocks_left: geometry.used_blocks,
            layout: Layout::First,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.blocks_left == 0
    }

    pub(crate) fn need(&self) -> usize {
        match self.layout {
            Layout::SecondAgain | Layout::Wide => self.block_size + 2 * SUM,
            _ => self.block_size + SUM,
        }
    }

    /// Takes as many blocks as `bytes` holds.
    pub(crate) fn step(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Result<usize, ImageError> {
        let mut rest = bytes;
        while !self.is_done() {
            let Some((unit, tail)) = rest.split_at_checked(self.need()) else {
                break;
            };
            match self.layout {
                Layout::First => {
                    self.take(unit, context)?;
                    self.layout = Layout::Second;
                }
                Layout::Second => {
                    let (block, sum) = unit.split_at(self.block_size);
                    if self.crc.after(block) != u32_le(sum) {
                        // Nothing is taken: the same bytes come again with 4 more.
                        self.layout = Layout::SecondAgain;
                        break;
                    }
                    self.take(unit, context)?;
                    self.layout = Layout::Narrow;
                }
                Layout::SecondAgain => {
                    let (narrow, ahead) = unit.split_at(self.block_size + SUM);
                    let (_, shifted) = narrow.split_at(SUM);
                    if self.crc.after(shifted) != u32_le(ahead) {
                        self.layout = Layout::Narrow;
                        self.take(narrow, context)?;
                        rest = rest.split_at(narrow.len()).1;
                        continue;
                    }
                    self.take_wide(unit, context)?;
                    self.layout = Layout::Wide;
                }
                Layout::Narrow => self.take(unit, context)?,
                Layout::Wide => self.take_wide(unit, context)?,
            }
            rest = tail;
        }
        Ok(bytes.len() - rest.len())
    }

    /// The input ends after `rest`, fewer bytes than needed. Takes what can be taken nevertheless.
    pub(crate) fn finish(
        &mut self,
        rest: &[u8],
        context: &mut Context<'_>,
    ) -> Result<usize, ImageError> {
        if self.layout != Layout::SecondAgain {
            return Ok(0);
        }
        // No look ahead is possible, so the layout is the usual one and the checksum is wrong.
        let Some((unit, _)) = rest.split_at_checked(self.block_size + SUM) else {
            return Ok(0);
        };
        self.layout = Layout::Narrow;
        self.take(unit, context)?;
        Ok(unit.len())
    }

    /// Like [`super::v2::V2Data::locate_end`].
    pub(crate) fn locate_end(&self, offset: u64, found: u64) -> (Part, u64, u64, u64) {
        let block = self.placer.block_at(0);
        let size = self.block_size as u64;
        let skipped = if self.layout == Layout::Wide {
            SUM as u64
        } else {
            0
        };
        let here = found.saturating_sub(skipped);
        let offset = offset + skipped;
        if here < size {
            (Part::Block(block), offset, size, here)
        } else {
            (
                Part::Checksum(block),
                offset + size,
                SUM as u64,
                here - size,
            )
        }
    }

    /// How many bytes behind the last block may belong to its checksum. They may be missing.
    pub(crate) fn padding_len(&self) -> u64 {
        match self.layout {
            // After a single block the layout is not known.
            Layout::Wide | Layout::Second => SUM as u64,
            _ => 0,
        }
    }

    /// Passes over the rest of the previous checksum in front of a block.
    fn take_wide(&mut self, unit: &[u8], context: &mut Context<'_>) -> Result<(), ImageError> {
        context.offset += SUM as u64;
        self.take(unit.split_at(SUM).1, context)
    }

    /// Verifies and hands out the block and checksum in `unit`.
    fn take(&mut self, unit: &[u8], context: &mut Context<'_>) -> Result<(), ImageError> {
        let (block, sum) = unit.split_at(self.block_size);
        let stored = u32_le(sum);
        let computed = self.crc.after(block);
        context.books.tally.checksums += 1;
        let end = context.offset + unit.len() as u64;
        if stored != computed {
            let number = self.placer.block_at(0);
            let error = BlockChecksum {
                first_block: number,
                last_block: number,
                block_count: 1,
                offset: end - SUM as u64,
                stored: Digest::Crc32(stored),
                computed: Digest::Crc32(computed),
                is_handed_on: false,
            };
            match context.options.verify {
                Verify::Enforce => return Err(ImageError::BlockChecksum(error)),
                Verify::Warn => context.books.warnings.checksum(error),
            }
        }
        context.offset = end;
        self.crc.state = computed;
        self.blocks_left -= 1;
        self.placer.emit(block, context)
    }
}

/// The running checksum of format 0001, which by an old mistake is fed the first byte of each block
/// as many times as the block has bytes.
///
/// A CRC without inversions is linear: the state after `n` copies of byte `b` is `Z(state) ^ C[b]`,
/// where `Z` feeds `n` zero bytes and `C[b]` is what `n` copies of `b` make of state 0. So a block
/// costs five table look-ups, whatever its size.
struct FirstByteCrc {
    state: u32,
    zeros: [[u32; 256]; 4],
    copies: [u32; 256],
}

impl FirstByteCrc {
    fn new(block_size: u64) -> Self {
        Self {
            state: 0xFFFF_FFFF,
            zeros: [0, 8, 16, 24].map(|shift| linear(|bit| feed_zeros(bit << shift, block_size))),
            copies: linear(|bit| feed_copies(bit, block_size)),
        }
    }

    /// The state after a block.
    fn after(&self, block: &[u8]) -> u32 {
        let [a, b, c, d] = self.state.to_le_bytes();
        let first = block.first().copied().unwrap_or_default();
        let mut state = table(&self.copies, first);
        for (zeros, byte) in self.zeros.iter().zip([a, b, c, d]) {
            state ^= table(zeros, byte);
        }
        state
    }
}

/// The table of a linear map on bytes, given its value for each power of two.
fn linear(map: impl Fn(u32) -> u32) -> [u32; 256] {
    let mut values = [0; 256];
    for bit in 0..8 {
        let value = map(1 << bit);
        for (index, entry) in values.iter_mut().enumerate() {
            if index >> bit & 1 == 1 {
                *entry ^= value;
            }
        }
    }
    values
}

fn table(values: &[u32; 256], byte: u8) -> u32 {
    // The index is below 256.
    values.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The state after `count` zero bytes.
fn feed_zeros(state: u32, count: u64) -> u32 {
    // Combining with the checksum 0 of `count` bytes does nothing but move the state along.
    let mut moved = crc32fast::Hasher::new_with_initial(state);
    moved.combine(&crc32fast::Hasher::new_with_initial_len(0, count));
    moved.finalize()
}

/// The state after `count` copies of `byte`, from state 0.
fn feed_copies(byte: u32, count: u64) -> u32 {
    let one = (0..8).fold(byte, |state, _| {
        state >> 1 ^ if state & 1 == 1 { 0xEDB8_8320 } else { 0 }
    });
    // Square and multiply: `state` is what `done` copies make.
    let (mut state, mut done) = (0, 0);
    for bit in (0..u64::BITS - count.leading_zeros()).rev() {
        state ^= feed_zeros(state, done);
        done *= 2;
        if count >> bit & 1 == 1 {
            state = feed_zeros(state, 1) ^ one;
            done += 1;
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(state: u32, byte: u8, count: usize) -> u32 {
        !crc32fast::Hasher::new_with_initial(!state).tap(&vec![byte; count])
    }

    trait Tap {
        fn tap(self, bytes: &[u8]) -> u32;
    }

    impl Tap for crc32fast::Hasher {
        fn tap(mut self, bytes: &[u8]) -> u32 {
            self.update(bytes);
            self.finalize()
        }
    }

    #[test]
    fn known_sequences() {
        let mut crc = FirstByteCrc::new(512);
        crc.state = crc.after(&[0x41; 512]);
        assert_eq!(crc.state, 0x99ED_E00B);
        assert_eq!(crc.after(&[0; 512]), 0x9C70_6E69);
        let mut crc = FirstByteCrc::new(4096);
        crc.state = crc.after(&[0; 4096]);
        assert_eq!(crc.state, 0x38E3_FFEE);
        assert_eq!(crc.after(&[0xEB]), 0x8C11_EA17);
    }

    #[test]
    fn equals_feeding_every_byte() {
        for size in [1, 2, 3, 511, 512, 1024, 4096, 65_537] {
            let mut crc = FirstByteCrc::new(size);
            for byte in [0, 1, 0x80, 0xFF, 0x5A] {
                let expected = naive(crc.state, byte, usize::try_from(size).unwrap());
                assert_eq!(crc.after(&[byte]), expected, "size {size}, byte {byte}");
                crc.state = expected;
            }
        }
    }
}
