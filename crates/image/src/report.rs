//! What a decoder says of its work.

use std::fmt;

use crate::error::{BlockChecksum, TotalChecksum};
use crate::geometry::{Compression, Geometry};

/// Something odd that does not keep an image from being restored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A wrong block checksum, under [`Verify::Warn`](crate::Verify::Warn).
    BlockChecksum(BlockChecksum),
    /// More wrong block checksums than were kept.
    MoreBlockChecksums {
        /// How many.
        count: u64,
    },
    /// A wrong sum over the whole image, under [`Verify::Warn`](crate::Verify::Warn).
    TotalChecksum(TotalChecksum),
    /// Bytes behind the image.
    Trailing {
        /// Where they begin, in the decompressed stream.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Bytes behind the compressed stream.
    TrailingCompressed {
        /// The compression.
        compression: Compression,
        /// How many.
        len: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockChecksum(error) => write!(f, "ignored: {error}"),
            Self::MoreBlockChecksums { count } => {
                write!(f, "ignored: {count} more checksum errors")
            }
            Self::TotalChecksum(error) => write!(f, "ignored: {error}"),
            Self::Trailing { offset, len } => {
                write!(
                    f,
                    "{len} bytes behind the end of the image (offset {offset}) ignored"
                )
            }
            Self::TrailingCompressed { compression, len } => {
                write!(
                    f,
                    "{len} bytes behind the end of the {compression} stream ignored"
                )
            }
        }
    }
}

/// How far a decoder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the (compressed) stream taken.
    pub input_len: u64,
    /// Bytes of the image, decompressed, taken.
    pub image_len: u64,
    /// Bytes handed out.
    pub output_len: u64,
    /// Used blocks handed out; bytes of raw data.
    pub blocks_done: u64,
    /// Used blocks in all; 0 until the bitmap is there.
    pub blocks_total: u64,
    /// Wrong block checksums passed over.
    pub checksum_errors: u64,
}

/// A whole image was decoded.
#[derive(Clone, Debug)]
#[must_use]
pub struct Summary {
    /// What the image was.
    pub geometry: Geometry,
    /// Bytes of the (compressed) stream.
    pub input_len: u64,
    /// Bytes of the image, decompressed.
    pub image_len: u64,
    /// Bytes handed out.
    pub output_len: u64,
    /// Calls of [`Sink::extent`](crate::Sink::extent).
    pub extents: u64,
    /// Block checksums compared.
    pub checksums: u64,
    /// Those of them that were wrong, under [`Verify::Warn`](crate::Verify::Warn).
    pub checksum_errors: u64,
    /// What was odd.
    pub warnings: Vec<Warning>,
}

/// Wrong checksums passed over; the first few are kept.
#[derive(Default)]
pub(crate) struct Warnings {
    pub(crate) checksum_errors: u64,
    first: Vec<BlockChecksum>,
    total: Option<TotalChecksum>,
}

/// Wrong checksums that are kept to be shown.
const WARNINGS_KEPT: usize = 16;

impl Warnings {
    pub(crate) fn checksum(&mut self, error: BlockChecksum) {
        self.checksum_errors += 1;
        if self.first.len() < WARNINGS_KEPT {
            self.first.push(error);
        }
    }

    pub(crate) fn total(&mut self, error: TotalChecksum) {
        self.checksum_errors += 1;
        self.total = Some(error);
    }

    pub(crate) fn list(&self) -> Vec<Warning> {
        let first = self.first.iter().cloned().map(Warning::BlockChecksum);
        let total = self.total.iter().cloned().map(Warning::TotalChecksum);
        let mut list: Vec<Warning> = first.chain(total).collect();
        let more = self.checksum_errors - list.len() as u64;
        if more > 0 {
            list.push(Warning::MoreBlockChecksums { count: more });
        }
        list
    }
}
