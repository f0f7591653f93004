//! Bytes on their way to a decoder, in pieces that change hands instead of being copied, and a thread
//! that reads ahead.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::os::fd::AsFd as _;
use std::thread::{self, JoinHandle};

use cast_net::TakenSlice;
use conveyor::{Loader, Unloader, conveyor};
use nix::fcntl::{FcntlArg, fcntl};

/// Bytes of a stream, in a buffer that goes back to where it came from.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Never cleared: what has been filled once need not be filled with zeroes again.
    buffer: Vec<u8>,
    range: Range<usize>,
}

impl Piece {
    /// Reads up to `len` bytes into `spare`; none mean the end.
    ///
    /// # Errors
    /// As `source` says, without interruptions.
    pub(crate) fn read(
        source: &mut (impl Read + ?Sized),
        spare: Vec<u8>,
        len: usize,
    ) -> io::Result<Self> {
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
    pub(crate) fn end() -> Self {
        Self::part(Vec::new(), 0..0)
    }

    /// The buffer, for another piece.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
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

/// Where pieces come from.
pub(crate) trait Pieces: Send + 'static {
    /// The next one, in `spare` if that helps; empty at the end.
    ///
    /// # Errors
    /// The source failed.
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece>;
}

impl Pieces for File {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        Piece::read(self, spare, PIECE_LEN)
    }
}

/// Bytes read at once, and pieces that wait for the decoder. Together they fit in a processor's cache.
pub(crate) const PIECE_LEN: usize = 256 << 10;
/// With those that both threads have in hand.
const PIECES: usize = 10;

/// A thread that reads ahead, as far as its buffers last.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    pieces: Unloader<io::Result<Piece>, Vec<u8>>,
    thread: JoinHandle<S>,
}

impl<S: Pieces> ReadAhead<S> {
    /// Begins to read.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(source: S) -> io::Result<Self> {
        let buffers = std::iter::repeat_with(Vec::new);
        let (loader, pieces) = conveyor(buffers.take(PIECES));
        let thread = thread::Builder::new()
            .name("reader".into())
            .spawn(move || read(source, loader))?;
        Ok(Self { pieces, thread })
    }

    /// Waits for the next piece; `None` at the end, and after an error.
    pub(crate) fn next(&mut self) -> Option<io::Result<Piece>> {
        // Only a panic ends it otherwise, which `join` reports.
        self.pieces.take().ok().flatten()
    }

    /// Its memory is used again.
    pub(crate) fn give_back(&self, piece: Piece) {
        self.pieces.give_back(piece.into_buffer());
    }

    /// Hangs up and waits for the thread: the source, unless the thread panicked. A read that waits is
    /// waited for.
    pub(crate) fn join(self) -> Option<S> {
        drop(self.pieces);
        self.thread.join().ok()
    }
}

fn read<S: Pieces>(mut source: S, loader: Loader<io::Result<Piece>, Vec<u8>>) -> S {
    while let Ok(spare) = loader.buffer() {
        let next = source.next(spare);
        if next.as_ref().is_ok_and(|piece| piece.is_empty()) {
            // A decoder that has failed says why.
            loader.end().ok();
            break;
        }
        let is_last = next.is_err();
        if loader.put(next).is_err() || is_last {
            break;
        }
    }
    source
}

/// Standard input, as a file that can be read by any thread. Of a pipe, as much as it may hold is
/// asked for: each turn between two programs then moves more.
///
/// # Errors
/// It is closed.
pub(crate) fn standard_input() -> io::Result<File> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    // It may be no pipe, or the system grants less.
    fcntl(&input, FcntlArg::F_SETPIPE_SZ(PIPE_LEN)).ok();
    Ok(input.into())
}

/// What Linux grants anybody (`/proc/sys/fs/pipe-max-size`).
const PIPE_LEN: i32 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Counts up in pieces of growing length, and then fails or ends.
    struct Counting {
        next: u8,
        fails: bool,
        spares: Sender<usize>,
    }

    impl Pieces for Counting {
        fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
            self.spares.send(spare.capacity()).unwrap();
            match self.next {
                100 if self.fails => Err(io::Error::other("the cable was pulled")),
                100 => Ok(Piece::end()),
                number => {
                    self.next += 1;
                    let mut bytes: &[u8] = &vec![number; number.into()];
                    // An empty piece would be the end.
                    if bytes.is_empty() {
                        bytes = &[0];
                    }
                    Piece::read(&mut bytes, spare, 1000)
                }
            }
        }
    }

    fn counting(fails: bool) -> (ReadAhead<Counting>, Receiver<usize>) {
        let (spares, seen) = channel();
        let next = 0;
        let source = Counting {
            next,
            fails,
            spares,
        };
        (ReadAhead::start(source).unwrap(), seen)
    }

    #[test]
    fn all_pieces_come_in_order_and_their_memory_is_used_again() {
        let (mut reader, seen) = counting(false);
        let mut pieces = 0;
        while let Some(piece) = reader.next() {
            let piece = piece.unwrap();
            assert_eq!(*piece, vec![pieces; usize::from(pieces).max(1)]);
            pieces += 1;
            reader.give_back(piece);
        }
        assert_eq!(pieces, 100);
        assert_eq!(reader.join().unwrap().next, 100);
        let fresh = seen.iter().filter(|capacity| *capacity == 0).count();
        assert_eq!(fresh, PIECES);
    }

    #[test]
    fn an_error_comes_after_everything_before_it() {
        let (mut reader, _seen) = counting(true);
        for _ in 0..100 {
            let piece = reader.next().unwrap().unwrap();
            reader.give_back(piece);
        }
        let error = reader.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the cable was pulled");
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_reader_nobody_listens_to_ends() {
        let (mut reader, _seen) = counting(false);
        let taken = reader.next().unwrap().unwrap();
        assert_eq!(*taken, [0]);
        assert!(usize::from(reader.join().unwrap().next) <= PIECES + 1);
    }

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
