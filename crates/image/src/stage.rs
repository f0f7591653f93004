//! The buffer between the bytes that come in and the decoder, which wants to see some of them
//! together.

use crate::engine::Core;
use crate::error::ImageError;
use crate::sink::Sink;

/// Feeds a [`Core`]. Copies input only where a strip is spread over several pieces of it; what a
/// decompressor writes into [`room`](Self::room) is decoded where it lies.
pub(crate) struct Stage {
    core: Core,
    buffer: Vec<u8>,
    /// Bytes at the beginning of the buffer that wait for more.
    filled: usize,
}

/// Least room for a decompressor, in bytes.
const ROOM: usize = 128 << 10;

impl Stage {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            buffer: Vec::new(),
            filled: 0,
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Bytes of the image that have come in.
    pub(crate) fn input_len(&self) -> u64 {
        self.core.offset() + self.filled as u64
    }

    /// Takes `bytes`, decoding what can be decoded.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), ImageError> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            if self.filled == 0 && bytes.len() >= self.core.need() {
                let taken = self.core.step(bytes, sink)?;
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            let missing = self.core.need().saturating_sub(self.filled);
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            let end = self.filled + now.len();
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
            if let Some(room) = self.buffer.get_mut(self.filled..end) {
                room.copy_from_slice(now);
            }
            bytes = rest;
            self.commit(now.len(), sink)?;
        }
        Ok(())
    }

    /// Where a decompressor writes its output; never empty. It ends where the decoder's need ends, if
    /// that is not too near: then nothing is left over to be moved.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let end = self.core.need().max(ROOM);
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer.get_mut(self.filled..end).unwrap_or_default()
    }

    /// `len` bytes have been written into the [`room`](Self::room).
    pub(crate) fn commit(&mut self, len: usize, sink: &mut dyn Sink) -> Result<(), ImageError> {
        self.filled = (self.filled + len).min(self.buffer.len());
        let mut start = 0;
        while self.filled - start >= self.core.need() {
            let waiting = self.buffer.get(start..self.filled).unwrap_or_default();
            start += self.core.step(waiting, sink)?;
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(())
    }

    /// The input has ended.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) -> Result<(), ImageError> {
        let rest = self.buffer.get(..self.filled).unwrap_or_default();
        self.core.finish(rest, sink)
    }
}
