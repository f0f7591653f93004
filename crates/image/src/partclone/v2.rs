//! The data of format 0002: strips of blocks, each with its checksum.

use crate::error::{BlockChecksum, Digest, ImageError, Part};
use crate::geometry::Geometry;
use crate::machine::Context;
use crate::options::Verify;
use crate::partclone::checksum::Running;
use crate::place::Placer;

/// Bytes of the largest strip that is kept until its checksum is verified. Writers make strips of
/// 1 MiB unless told otherwise. The blocks of a larger one are handed out as they come; its
/// checksum is verified all the same, and a wrong one still ends the decoding.
pub const STRIP_BUFFER: usize = 8 << 20;

pub(crate) struct V2Data {
    placer: Placer,
    running: Running,
    block_size: usize,
    checksum_size: usize,
    /// Blocks of a full strip.
    strip_blocks: u64,
    /// Used blocks behind the strip at hand.
    blocks_left: u64,
    state: State,
}

/// The strip at hand.
#[derive(Clone, Copy)]
enum State {
    /// It is taken as a whole: bytes of its blocks.
    Whole { len: usize, blocks: u64 },
    /// It is handed out piece by piece.
    Pieces { left: u64, strip: Strip },
    /// Its pieces are done; the checksum is next.
    Checksum(Strip),
    /// There is none.
    Done,
}

#[derive(Clone, Copy)]
struct Strip {
    first_block: u64,
    last_block: u64,
    blocks: u64,
}

impl V2Data {
    pub(crate) fn new(geometry: &Geometry, placer: Placer) -> Self {
        let mut data = Self {
            placer,
            running: Running::new(geometry.checksum, geometry.is_reseeded),
            block_size: geometry.block_size.try_into().unwrap_or(usize::MAX),
            checksum_size: geometry.checksum.size(),
            strip_blocks: match geometry.strip_blocks {
                0 => u64::MAX,
                count => count.into(),
            },
            blocks_left: geometry.used_blocks,
            state: State::Done,
        };
        data.next_strip();
        data
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(crate) fn need(&self) -> usize {
        match self.state {
            State::Whole { len, .. } => len + self.checksum_size,
            State::Pieces { .. } => self.piece(),
            State::Checksum(_) => self.checksum_size,
            State::Done => 1,
        }
    }

    /// Takes as many whole strips or pieces as `bytes` holds.
    pub(crate) fn step(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Result<usize, ImageError> {
        let mut rest = bytes;
        loop {
            let before = rest.len();
            match self.state {
                State::Whole { len, blocks } => {
                    let Some((data, tail)) = rest.split_at_checked(len) else {
                        break;
                    };
                    let Some((stored, tail)) = tail.split_at_checked(self.checksum_size) else {
                        break;
                    };
                    let computed = self.running.whole_strip(data);
                    let stored = self.running.stored(stored);
                    context.offset += len as u64;
                    context.books.tally.checksums += 1;
                    if stored != computed {
                        let strip = self.strip(blocks);
                        wrong(strip, stored, computed, false, context)?;
                    }
                    context.offset += self.checksum_size as u64;
                    self.placer.emit(data, context)?;
                    rest = tail;
                    self.next_strip();
                }
                State::Pieces { left, strip } => {
                    let room = usize::try_from(left).unwrap_or(usize::MAX);
                    let len = room.min(rest.len());
                    // Whole blocks, if they are not too large for that.
                    let len = len - len % self.piece();
                    let (data, tail) = rest.split_at(len);
                    if data.is_empty() {
                        break;
                    }
                    self.running.update(data);
                    self.placer.emit(data, context)?;
                    context.offset += len as u64;
                    rest = tail;
                    let left = left - len as u64;
                    self.state = State::Pieces { left, strip };
                    if left == 0 {
                        self.state = State::Checksum(strip);
                        if self.checksum_size == 0 {
                            self.next_strip();
                        }
                    }
                }
                State::Checksum(strip) => {
                    let Some((stored, tail)) = rest.split_at_checked(self.checksum_size) else {
                        break;
                    };
                    let computed = self.running.end_strip();
                    let stored = self.running.stored(stored);
                    context.books.tally.checksums += 1;
                    if stored != computed {
                        wrong(strip, stored, computed, true, context)?;
                    }
                    context.offset += self.checksum_size as u64;
                    rest = tail;
                    self.next_strip();
                }
                State::Done => break,
            }
            if rest.len() == before || rest.is_empty() {
                break;
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// What is missing when only `found` bytes follow those that were taken up to `offset`:
    /// part, its offset, its length, bytes of it that are there.
    pub(crate) fn locate_end(&self, offset: u64, found: u64) -> (Part, u64, u64, u64) {
        let block_size = self.block_size as u64;
        let sum = self.checksum_size as u64;
        match self.state {
            State::Whole { len, .. } => {
                let len = len as u64;
                if found < len {
                    let start = found - found % block_size;
                    let block = self.placer.block_at(start);
                    let part = Part::Block(block);
                    (part, offset + start, block_size, found - start)
                } else {
                    let part = Part::Checksum(self.placer.block_at(len - 1));
                    (part, offset + len, sum, found - len)
                }
            }
            State::Pieces { left, .. } => {
                // Of a very large block, part may have been taken already.
                let taken = (block_size - left % block_size) % block_size;
                let part = Part::Block(self.placer.block_at(0));
                (part, offset - taken, block_size, taken + found)
            }
            State::Checksum(strip) => (Part::Checksum(strip.last_block), offset, sum, found),
            State::Done => (Part::Header, offset, 0, found),
        }
    }

    /// Bytes that pieces are multiples of.
    fn piece(&self) -> usize {
        if self.block_size <= STRIP_BUFFER {
            self.block_size
        } else {
            1
        }
    }

    fn next_strip(&mut self) {
        let blocks = self.strip_blocks.min(self.blocks_left);
        if blocks == 0 {
            self.state = State::Done;
            return;
        }
        // No overflow: all blocks together fit in 63 bits.
        let len = blocks * self.block_size as u64;
        self.state = match usize::try_from(len) {
            Ok(len) if self.checksum_size > 0 && len + self.checksum_size <= STRIP_BUFFER => {
                State::Whole { len, blocks }
            }
            _ => State::Pieces {
                left: len,
                strip: if self.checksum_size > 0 {
                    self.strip(blocks)
                } else {
                    Strip {
                        first_block: 0,
                        last_block: 0,
                        blocks,
                    }
                },
            },
        };
        self.blocks_left -= blocks;
    }

    /// The next `blocks` used blocks.
    fn strip(&self, blocks: u64) -> Strip {
        Strip {
            first_block: self.placer.block_at(0),
            last_block: self.placer.block_at(blocks * self.block_size as u64 - 1),
            blocks,
        }
    }
}

/// A checksum is wrong: an error or a warning, as asked for.
fn wrong(
    strip: Strip,
    stored: Digest,
    computed: Digest,
    is_handed_on: bool,
    context: &mut Context<'_>,
) -> Result<(), ImageError> {
    let error = BlockChecksum {
        first_block: strip.first_block,
        last_block: strip.last_block,
        block_count: strip.blocks,
        offset: context.offset,
        stored,
        computed,
        is_handed_on,
    };
    match context.options.verify {
        Verify::Enforce => Err(ImageError::BlockChecksum(error)),
        Verify::Warn => {
            context.books.warnings.checksum(error);
            Ok(())
        }
    }
}
