//! What looks at the bytes as they pass.

mod hash;
pub mod meter;
pub mod record;

use std::io;

use cast_net::Stop;

pub use hash::Hash;

use crate::piece::{Piece, Pieces};

/// Looks at the stored bytes of a stream, in the reader's thread.
pub trait Tap: Send + 'static {
    /// The next bytes, not empty.
    fn pass(&mut self, bytes: &[u8]);
}

/// A source that is looked at.
#[derive(Debug)]
pub struct Tapped<S, T> {
    source: S,
    tap: T,
}

impl<S: Pieces, T: Tap> Tapped<S, T> {
    /// `tap` sees whatever comes from `source`.
    #[must_use]
    pub fn new(source: S, tap: T) -> Self {
        Self { source, tap }
    }
}

impl<S: Pieces, T: Tap> Pieces for Tapped<S, T> {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        let piece = self.source.next(spare)?;
        if !piece.is_empty() {
            self.tap.pass(&piece);
        }
        Ok(piece)
    }

    fn stopper(&self) -> Option<Stop> {
        self.source.stopper()
    }

    fn confirm(self) -> anyhow::Result<()> {
        self.source.confirm()
    }
}
