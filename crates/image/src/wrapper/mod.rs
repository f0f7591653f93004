//! What is around an image: recognised by its first bytes, removed piece by piece.

mod bzip2;
mod gzip;
mod lz4;
mod xz;
mod zstd;

use self::bzip2::Bzip2;
use self::gzip::Gzip;
use self::lz4::Lz4;
use self::xz::Xz;
use self::zstd::Zstd;
use crate::error::ImageError;
use crate::geometry::Compression;

/// A decompressor that is given input and room for output.
pub(crate) enum Codec {
    Gzip(Box<Gzip>),
    Zstd(Zstd),
    Xz(Box<Xz>),
    Bzip2(Box<Bzip2>),
    Lz4(Box<Lz4>),
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
pub const SNIFF_LEN: usize = 6;

/// The compression of a stream that begins with `first`: all of [`SNIFF_LEN`] bytes, or fewer if the
/// stream is shorter.
///
/// # Errors
/// A compression that is known but not read.
pub fn sniff(first: &[u8]) -> Result<Compression, ImageError> {
    let name = match first {
        [0x1F, 0x8B, ..] => return Ok(Compression::Gzip),
        // A skippable frame may belong to lz4 as well, which nobody begins a file with.
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => {
            return Ok(Compression::Zstd);
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Ok(Compression::Bzip2),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => return Ok(Compression::Xz),
        [0x04, 0x22, 0x4D, 0x18, ..] => return Ok(Compression::Lz4),
        [0x02, 0x21, 0x4C, 0x18, ..] => "lz4 in its legacy format",
        [0x1F, 0x9D, ..] => "compress",
        [b'L', b'Z', b'I', b'P', ..] => "lzip",
        [b'7', b'z', 0xBC, 0xAF, 0x27, 0x1C, ..] => "7-Zip",
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
            Compression::Xz => Some(Self::Xz(Box::new(Xz::new(window_log_max)))),
            Compression::Bzip2 => Some(Self::Bzip2(Box::new(Bzip2::new()))),
            Compression::Lz4 => Some(Self::Lz4(Box::new(Lz4::new()))),
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
