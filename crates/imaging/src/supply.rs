//! How pieces come to the decoder: read ahead by a thread, or when they are asked for.

use std::io;
use std::thread::{self, JoinHandle};

use conveyor::{Loader, Unloader, conveyor};

use crate::failure::Failure;
use crate::piece::{Piece, Pieces};

/// Hands pieces to the decoder.
pub trait Supply {
    /// Waits for the next piece; `None` at the end, and only there.
    ///
    /// # Errors
    /// What became of the source.
    fn next(&mut self) -> Result<Option<Piece>, Failure>;

    /// Its memory is used again.
    fn give_back(&mut self, piece: Piece);
}

/// Pieces that another thread puts on.
impl Supply for Unloader<io::Result<Piece>, Vec<u8>> {
    fn next(&mut self) -> Result<Option<Piece>, Failure> {
        match self.take() {
            Ok(piece) => piece.transpose().map_err(Failure::Read),
            Err(_) => Err(Failure::Panic),
        }
    }

    fn give_back(&mut self, piece: Piece) {
        Self::give_back(self, piece.into_buffer());
    }
}

/// Buffers between a reader and a decoder, with those that both have in hand: 2.5 MiB of files, 15 MB of the
/// longest slices (1024 blocks of 1456 bytes).
pub const PIECES: usize = 10;

/// A thread that reads ahead, as far as its buffers last.
#[derive(Debug)]
pub struct ReadAhead<S> {
    pieces: Unloader<io::Result<Piece>, Vec<u8>>,
    thread: JoinHandle<S>,
}

impl<S: Pieces> ReadAhead<S> {
    /// Begins to read.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(source: S) -> io::Result<Self> {
        let buffers = std::iter::repeat_with(Vec::new);
        let (loader, pieces) = conveyor(buffers.take(PIECES));
        let thread = thread::Builder::new()
            .name("reader".into())
            .spawn(move || read(source, loader))?;
        Ok(Self { pieces, thread })
    }

    /// Hangs up and waits for the thread: the source, unless the thread panicked. A read that waits is
    /// waited for.
    #[must_use]
    pub fn join(self) -> Option<S> {
        drop(self.pieces);
        self.thread.join().ok()
    }
}

impl<S> Supply for ReadAhead<S> {
    fn next(&mut self) -> Result<Option<Piece>, Failure> {
        self.pieces.next()
    }

    fn give_back(&mut self, piece: Piece) {
        Supply::give_back(&mut self.pieces, piece);
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

/// Reads no more than is asked for.
#[derive(Debug)]
pub struct Direct<S> {
    source: S,
    spare: Vec<u8>,
}

impl<S: Pieces> Direct<S> {
    /// From this source.
    #[must_use]
    pub fn new(source: S) -> Self {
        let spare = Vec::new();
        Self { source, spare }
    }
}

impl<S: Pieces> Supply for Direct<S> {
    fn next(&mut self) -> Result<Option<Piece>, Failure> {
        let piece = self.source.next(std::mem::take(&mut self.spare));
        let piece = piece.map_err(Failure::Read)?;
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    fn give_back(&mut self, piece: Piece) {
        self.spare = piece.into_buffer();
    }
}

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
        while let Some(piece) = reader.next().unwrap() {
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
        let Err(Failure::Read(error)) = reader.next() else {
            panic!("the failure was lost");
        };
        assert_eq!(error.to_string(), "the cable was pulled");
        assert!(
            matches!(reader.next(), Err(Failure::Panic)),
            "that is no end"
        );
    }

    #[test]
    fn a_reader_nobody_listens_to_ends() {
        let (mut reader, _seen) = counting(false);
        let taken = reader.next().unwrap().unwrap();
        assert_eq!(*taken, [0]);
        assert!(usize::from(reader.join().unwrap().next) <= PIECES + 1);
    }
}
