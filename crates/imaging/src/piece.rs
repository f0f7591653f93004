//! Bytes on their way to a decoder, in pieces that change hands instead of being copied.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, Range};

use cast_net::{Stop, TakenSlice};

/// Bytes of a stream, in a buffer that goes back to where it came from.
#[derive(Debug)]
pub struct Piece {
    /// Never cleared: what has been filled once need not be filled with zeroes again.
    buffer: Vec<u8>,
    range: Range<usize>,
}

impl Piece {
    /// Reads up to `len` bytes into `spare`; none mean the end.
    ///
    /// # Errors
    /// As `source` says, without interruptions.
    pub fn read(source: &mut (impl Read + ?Sized), spare: Vec<u8>, len: usize) -> io::Result<Self> {
        let mut buffer = spare;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        loop {
            match source.read(&mut buffer[..len]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map(|count| Self::part(buffer, 0..count)),
            }
        }
    }

    /// The end of a stream.
    #[must_use]
    pub fn end() -> Self {
        Self::part(Vec::new(), 0..0)
    }

    /// The buffer, for another piece.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn part(buffer: Vec<u8>, range: Range<usize>) -> Self {
        Self { buffer, range }
    }
}

impl From<Vec<u8>> for Piece {
    fn from(buffer: Vec<u8>) -> Self {
        let range = 0..buffer.len();
        Self::part(buffer, range)
    }
}

/// `None` is the end.
impl From<Option<TakenSlice>> for Piece {
    fn from(slice: Option<TakenSlice>) -> Self {
        let Some(slice) = slice else {
            return Self::end();
        };
        let len = slice.len();
        let buffer = slice.into_buffer();
        let range = buffer.len() - len..buffer.len();
        Self::part(buffer, range)
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

/// Bytes read at once, and pieces that wait for the decoder. Together they fit in a processor's cache.
pub const PIECE_LEN: usize = 256 << 10;

/// Where pieces come from.
pub trait Pieces: Send + 'static {
    /// The next one, in `spare` if that helps; empty at the end.
    ///
    /// # Errors
    /// The source failed.
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece>;

    /// Ends a [`next`](Self::next) that waits. Without one, the source is not waited for after a
    /// failure.
    fn stopper(&self) -> Option<Stop> {
        None
    }

    /// All that came is safe: whoever sent it may know.
    ///
    /// # Errors
    /// It did not come whole after all.
    fn confirm(self) -> anyhow::Result<()>
    where
        Self: Sized,
    {
        Ok(())
    }
}

impl Pieces for File {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        Piece::read(self, spare, PIECE_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_spare_does_not_lengthen_a_piece() {
        let mut input: &[u8] = b"abc";
        let piece = Piece::read(&mut input, vec![9; 50], 2).unwrap();
        assert_eq!(&*piece, b"ab");
        let piece = Piece::read(&mut input, piece.into_buffer(), 2).unwrap();
        assert_eq!(&*piece, b"c");
        assert!(Piece::read(&mut input, Vec::new(), 2).unwrap().is_empty());
        assert_eq!(&*Piece::from(b"xyz".to_vec()), b"xyz");
        assert!(Piece::from(None).is_empty());
    }
}
