//! The one way from stored bytes to a target: source, taps, decoder, target, commit.
//!
//! [`run()`] is the whole of it and reads aloud. Commands, the drop-in programs and the server's check of
//! an image make a [`Job`] and nothing else. A deploy, whose next stream begins to arrive while the one
//! before is still being written, uses the halves: pieces that it reads itself, and [`decode`].
//!
//! Only when the target has [committed](Target::commit) is the source told that all is well.

#![warn(missing_docs)]

mod commit;
mod facts;
mod failure;
mod packed;
mod piece;
mod run;
mod scripts;
pub mod source;
mod supply;
pub mod tap;
pub mod target;

pub use commit::{HEAD_LEN, HeldHead};
pub use facts::facts;
pub use failure::Failure;
pub use packed::{PackedJob, run_packed};
pub use piece::{PIECE_LEN, Piece, Pieces};
pub use run::{Done, Job, Watch, decode, pass, run};
pub use scripts::scripts;
pub use source::Source;
pub use supply::{Direct, PIECES, ReadAhead, Supply};
pub use tap::Tapped;
pub use target::{Creation, Demands, Manner, Output, Place, Target, Trace};

#[cfg(test)]
mod tests;
