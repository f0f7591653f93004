//! What is around an image: recognised by its first bytes, removed piece by piece.

mod gzip;
mod zstd;

use self::gzip::Gzip;
use self::zstd::Zstd;
use crate::error::ImageError;
use crate::geometry::Compression;

/// A decompressor that is given input and room for output.
pub(crate) enum Codec {
    Gzip(Box<Gzip>),
    Zstd(Zstd),
}

/// What one call of [`Codec::run`] did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ran {
    /// Bytes of the input that were taken.
    pub(crate) consumed: usize,
    /// Bytes of the output that were written.
    pub(crate) produced: usize,
}

/// Bytes that [`sniff`] needs to be sure.
pub(crate) const SNIFF_LEN: usize = 6;

/// The compression of a stream that begins with `first`: all of [`SNIFF_LEN`] bytes, or fewer if the
/// stream is shorter.
///
/// # Errors
/// A compression that is known but not read.
pub(crate) fn sniff(first: &[u8]) -> Result<Compression, ImageError> {
    let name = match first {
        [0x1F, 0x8B, ..] => return Ok(Compression::Gzip),
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => {
            return Ok(Compression::Zstd);
        }
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x04, 0x22, 0x4D, 0x18, ..] => "lz4",
        _ => return Ok(Compression::Plain),
    };
    Err(ImageError::UnsupportedCompression { name })
}

impl Codec {
    /// The decompressor for a compression, or `None` if nothing is to be done.
    ///
    /// # Errors
    /// It could not be set up.
    pub(crate) fn new(
        compression: Compression,
        window_log_max: u32,
    ) -> Result<Option<Self>, ImageError> {
        Ok(match compression {
            Compression::Plain => None,
            Compression::Gzip => Some(Self::Gzip(Box::new(Gzip::new()))),
            Compression::Zstd => Some(Self::Zstd(Zstd::new(window_log_max)?)),
        })
    }

    /// Decompresses. When it takes less than all input or fills `output`, it is to be called again.
    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        match self {
            Self::Gzip(gzip) => gzip.run(input, output),
            Self::Zstd(zstd) => zstd.run(input, output),
        }
    }

    /// Whether the input may end here.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_complete(),
            Self::Zstd(zstd) => zstd.is_complete(),
        }
    }

    /// Bytes behind the compressed stream that do not belong to it.
    pub(crate) fn trailing_len(&self) -> u64 {
        match self {
            Self::Gzip(gzip) => gzip.trailing_len(),
            Self::Zstd(_) => 0,
        }
    }
}
