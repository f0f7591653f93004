//! Memory that direct I/O accepts.

use std::fmt;

/// Alignment of buffers in memory: a page, which satisfies every block driver.
pub(super) const ALIGNMENT: usize = 4096;

/// A buffer whose first octet is aligned to [`ALIGNMENT`]: more is allocated than needed and the front
/// skipped, which needs no unsafe code.
///
/// Invariant: `storage` never grows, so it never moves, and `start + len <= storage.len()`.
pub(super) struct AlignedBuffer {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeroes.
    pub(super) fn new(len: usize) -> Self {
        let storage = vec![0; len + ALIGNMENT];
        // align_offset may decline to compute an answer in theory; the offset is then useless, so
        // fall back to the front: I/O on it fails cleanly if the driver minds.
        let start = match storage.as_ptr().align_offset(ALIGNMENT) {
            start if start <= ALIGNMENT => start,
            _ => 0,
        };
        Self {
            storage,
            start,
            len,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_on_a_page() {
        for len in [1, 512, 4096, 1 << 20] {
            let mut buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.as_slice().as_ptr().addr() % ALIGNMENT, 0);
            assert_eq!(buffer.as_mut_slice().len(), len);
        }
    }
}
