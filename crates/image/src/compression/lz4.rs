//! LZ4 frames (LZ4 Frame Format 1.6): any number, skippable ones between them, all checksums
//! verified. The library decompresses the blocks.

use std::mem;

use xxhash_rust::xxh32::{Xxh32, xxh32};

use crate::compression::ran::Ran;
use crate::error::ImageError;
use crate::geometry::Compression;

pub(crate) struct Lz4 {
    state: State,
    /// What has come of the part at hand.
    part: Vec<u8>,
    /// Bytes that this part has.
    part_len: usize,
    frame: Frame,
    /// What was decompressed: first what later blocks may refer to, then what waits to be taken.
    window: Vec<u8>,
    /// Bytes of the first kind.
    history_len: usize,
    /// The second kind, as places in `window`.
    waiting: std::ops::Range<usize>,
    /// Compressed bytes taken.
    offset: u64,
    is_first: bool,
}

/// The part of the stream at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    /// Its first two bytes say how long it is.
    Descriptor,
    BlockSize,
    Block {
        is_compressed: bool,
    },
    ContentSum,
    SkipSize,
    Skip {
        left: u32,
    },
}

/// What a frame's descriptor says, and what has come of it.
struct Frame {
    has_independent_blocks: bool,
    has_block_sums: bool,
    has_content_sum: bool,
    content_size: Option<u64>,
    block_max: usize,
    content_len: u64,
    content_sum: Xxh32,
}

/// How far back a block may refer.
const HISTORY: usize = 64 << 10;
const MAGIC: u32 = 0x184D_2204;
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;
const SUM: usize = 4;

impl Lz4 {
    pub(crate) fn new(offset: u64) -> Self {
        Self {
            state: State::Magic,
            part: Vec::new(),
            part_len: 4,
            frame: Frame {
                has_independent_blocks: true,
                has_block_sums: false,
                has_content_sum: false,
                content_size: None,
                block_max: 0,
                content_len: 0,
                content_sum: Xxh32::new(0),
            },
            window: Vec::new(),
            history_len: 0,
            waiting: 0..0,
            offset,
            is_first: offset == 0,
        }
    }

    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        let mut ran = Ran::default();
        loop {
            let room = output.get_mut(ran.produced..).unwrap_or_default();
            let waiting = self.window.get(self.waiting.clone()).unwrap_or_default();
            let len = waiting.len().min(room.len());
            if let (Some(room), Some(now)) = (room.get_mut(..len), waiting.get(..len)) {
                room.copy_from_slice(now);
            }
            ran.produced += len;
            self.waiting.start += len;
            if !self.waiting.is_empty() {
                return Ok(ran);
            }
            let rest = input.get(ran.consumed..).unwrap_or_default();
            if let State::Skip { left } = self.state {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                ran.consumed += len;
                self.offset += len as u64;
                let left = left - u32::try_from(len).unwrap_or(left);
                if left > 0 {
                    self.state = State::Skip { left };
                    return Ok(ran);
                }
                self.expect(State::Magic, 4);
                continue;
            }
            let missing = self.part_len - self.part.len();
            let now = rest.get(..missing.min(rest.len())).unwrap_or_default();
            self.part.extend_from_slice(now);
            ran.consumed += now.len();
            self.offset += now.len() as u64;
            if self.part.len() < self.part_len {
                return Ok(ran);
            }
            if self.state == State::Descriptor && self.part_len == FLAGS {
                self.part_len = descriptor_len(&self.part);
                continue;
            }
            let part = mem::take(&mut self.part);
            self.take(&part)?;
            self.part = part;
            self.part.clear();
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Magic && self.part.is_empty() && !self.is_first
    }

    /// Next comes a part of `len` bytes.
    fn expect(&mut self, state: State, len: usize) {
        self.state = state;
        self.part_len = len;
    }

    fn take(&mut self, part: &[u8]) -> Result<(), ImageError> {
        match self.state {
            State::Magic => {
                let magic = u32_le(part);
                if SKIPPABLE.contains(&magic) {
                    self.expect(State::SkipSize, 4);
                } else if magic == MAGIC {
                    self.expect(State::Descriptor, FLAGS);
                } else {
                    return Err(self.corrupt("no LZ4 frame begins here"));
                }
                self.is_first = false;
            }
            State::Descriptor => {
                self.begin_frame(part)?;
                self.expect(State::BlockSize, 4);
            }
            State::BlockSize => self.begin_block(u32_le(part))?,
            State::Block { is_compressed } => {
                self.block(part, is_compressed)?;
                self.expect(State::BlockSize, 4);
            }
            State::ContentSum => {
                self.compare(u32_le(part), self.frame.content_sum.digest(), "frame")?;
                self.expect(State::Magic, 4);
            }
            State::SkipSize => self.expect(State::Skip { left: u32_le(part) }, 0),
            State::Skip { .. } => {}
        }
        Ok(())
    }

    fn begin_frame(&mut self, descriptor: &[u8]) -> Result<(), ImageError> {
        let Some((&sum, covered)) = descriptor.split_last() else {
            return Ok(());
        };
        let [_, computed, ..] = xxh32(covered, 0).to_le_bytes();
        if sum != computed {
            return Err(self.corrupt("the checksum of a frame's descriptor is wrong"));
        }
        let [flags, size, rest @ ..] = covered else {
            return Ok(());
        };
        if flags >> 6 != 1 || flags & 0x02 != 0 || size & 0x8F != 0 {
            return Err(self.corrupt("the frame is of an unknown version"));
        }
        if flags & HAS_DICTIONARY != 0 {
            return Err(self.corrupt("the frame needs a dictionary, which is not there"));
        }
        let block_max = match size >> 4 {
            code @ 4..=7 => 1 << (8 + 2 * code),
            _ => return Err(self.corrupt("the frame has an unknown block size")),
        };
        self.frame = Frame {
            has_independent_blocks: flags & 0x20 != 0,
            has_block_sums: flags & 0x10 != 0,
            has_content_sum: flags & 0x04 != 0,
            content_size: rest
                .first_chunk()
                .filter(|_| flags & HAS_CONTENT_SIZE != 0)
                .map(|size| u64::from_le_bytes(*size)),
            block_max,
            content_len: 0,
            content_sum: Xxh32::new(0),
        };
        self.history_len = 0;
        self.window.resize(HISTORY + block_max, 0);
        Ok(())
    }

    fn begin_block(&mut self, size: u32) -> Result<(), ImageError> {
        if size == 0 {
            return self.end_frame();
        }
        let len = usize::try_from(size & !UNCOMPRESSED).unwrap_or(usize::MAX);
        if len > self.frame.block_max {
            let detail = format!("a block of {len} bytes, at most {}", self.frame.block_max);
            return Err(self.corrupt(&detail));
        }
        let sum = if self.frame.has_block_sums { SUM } else { 0 };
        let is_compressed = size & UNCOMPRESSED == 0;
        self.expect(State::Block { is_compressed }, len + sum);
        Ok(())
    }

    fn block(&mut self, part: &[u8], is_compressed: bool) -> Result<(), ImageError> {
        let mut data = part;
        if self.frame.has_block_sums {
            let (block, sum) = part.split_at(part.len().saturating_sub(SUM));
            self.compare(u32_le(sum), xxh32(block, 0), "block")?;
            data = block;
        }
        self.keep_history();
        let (history, room) = self.window.split_at_mut(self.history_len);
        let room = room.get_mut(..self.frame.block_max).unwrap_or_default();
        let len = if is_compressed {
            match lz4_flex::block::decompress_into_with_dict(data, room, history) {
                Ok(len) => len,
                Err(error) => return Err(self.corrupt(&error.to_string())),
            }
        } else {
            if let Some(room) = room.get_mut(..data.len()) {
                room.copy_from_slice(data);
            }
            data.len()
        };
        let output = room.get(..len).unwrap_or_default();
        if self.frame.has_content_sum {
            self.frame.content_sum.update(output);
        }
        self.frame.content_len += len as u64;
        self.waiting = self.history_len..self.history_len + len;
        Ok(())
    }

    /// Moves what the next block may refer to to the front of the window.
    fn keep_history(&mut self) {
        let end = self.waiting.end;
        self.waiting = 0..0;
        self.history_len = if self.frame.has_independent_blocks || self.frame.content_len == 0 {
            0
        } else {
            end.min(HISTORY)
        };
        self.window
            .copy_within(end - self.history_len.min(end)..end, 0);
    }

    fn end_frame(&mut self) -> Result<(), ImageError> {
        if let Some(size) = self.frame.content_size
            && size != self.frame.content_len
        {
            let len = self.frame.content_len;
            let detail = format!("wrong length: the frame says {size}, decoded {len}");
            return Err(self.corrupt(&detail));
        }
        if self.frame.has_content_sum {
            self.expect(State::ContentSum, SUM);
        } else {
            self.expect(State::Magic, 4);
        }
        Ok(())
    }

    fn compare(&self, stored: u32, computed: u32, what: &str) -> Result<(), ImageError> {
        if stored == computed {
            return Ok(());
        }
        Err(self.corrupt(&format!(
            "wrong checksum of a {what}: stored {stored:#010x}, computed {computed:#010x}"
        )))
    }

    fn corrupt(&self, detail: &str) -> ImageError {
        ImageError::Corrupt {
            compression: Compression::Lz4,
            offset: self.offset,
            detail: detail.to_owned(),
        }
    }
}

/// Bytes of the descriptor with the flags and the size code.
const FLAGS: usize = 2;
const HAS_CONTENT_SIZE: u8 = 0x08;
const HAS_DICTIONARY: u8 = 0x01;
const UNCOMPRESSED: u32 = 1 << 31;

/// Bytes of the descriptor that begins with these flags: content size, dictionary and checksum follow.
fn descriptor_len(start: &[u8]) -> usize {
    let flags = start.first().copied().unwrap_or_default();
    let size = if flags & HAS_CONTENT_SIZE != 0 { 8 } else { 0 };
    let dictionary = if flags & HAS_DICTIONARY != 0 { 4 } else { 0 };
    FLAGS + size + dictionary + 1
}

fn u32_le(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}
