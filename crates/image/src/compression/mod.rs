//! What is around an image: recognised by its first bytes, removed piece by piece.

mod bzip2;
mod gzip;
mod lz4;
mod ran;
mod sniff;
mod xz;
mod zstd;

use self::bzip2::Bzip2;
use self::gzip::Gzip;
use self::lz4::Lz4;
use self::ran::Ran;
use self::xz::Xz;
use self::zstd::Zstd;
use crate::error::ImageError;
use crate::geometry::Compression;

pub(crate) use self::sniff::Sniffer;
pub use self::sniff::{SNIFF_LEN, sniff};

/// A decompressor that is given input and room for output.
pub(crate) enum Codec {
    Gzip(Box<Gzip>),
    Zstd(Zstd),
    Xz(Box<Xz>),
    Bzip2(Box<Bzip2>),
    Lz4(Box<Lz4>),
}

impl Codec {
    /// The decompressor for a compression, or `None` if nothing is to be done. What it is given begins
    /// at `offset` of the stream; in front of it were skippable frames.
    ///
    /// # Errors
    /// It could not be set up.
    pub(crate) fn new(
        compression: Compression,
        window_log_max: u32,
        offset: u64,
    ) -> Result<Option<Self>, ImageError> {
        Ok(match compression {
            Compression::Plain => None,
            Compression::Gzip => Some(Self::Gzip(Box::new(Gzip::new()))),
            Compression::Zstd => Some(Self::Zstd(Zstd::new(window_log_max, offset)?)),
            Compression::Xz => Some(Self::Xz(Box::new(Xz::new(window_log_max)))),
            Compression::Bzip2 => Some(Self::Bzip2(Box::new(Bzip2::new()))),
            Compression::Lz4 => Some(Self::Lz4(Box::new(Lz4::new(offset)))),
        })
    }

    /// Decompresses. When it takes less than all input or fills `output`, it is to be called again.
    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        match self {
            Self::Gzip(gzip) => gzip.run(input, output),
            Self::Zstd(zstd) => zstd.run(input, output),
            Self::Xz(xz) => xz.run(input, output),
            Self::Bzip2(bzip2) => bzip2.run(input, output),
            Self::Lz4(lz4) => lz4.run(input, output),
        }
    }

    /// Whether the input may end here.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_complete(),
            Self::Zstd(zstd) => zstd.is_complete(),
            Self::Xz(xz) => xz.is_complete(),
            Self::Bzip2(bzip2) => bzip2.is_complete(),
            Self::Lz4(lz4) => lz4.is_complete(),
        }
    }

    /// Bytes behind the compressed stream that do not belong to it.
    pub(crate) fn trailing_len(&self) -> u64 {
        match self {
            Self::Gzip(gzip) => gzip.trailing_len(),
            Self::Bzip2(bzip2) => bzip2.trailing_len(),
            // What follows their streams and is none is an error, as for the original programs.
            Self::Zstd(_) | Self::Xz(_) | Self::Lz4(_) => 0,
        }
    }
}
