//! Push decoders for disk images: bytes of a stream in, extents of a target out.
//!
//! A [`Decoder`] finds out by itself what it is given: partclone 0002 or 0001 or partimage 0.6, inside
//! zstd, gzip, xz, bzip2, lz4 or nothing. Raw data it takes when told so. It knows no disk and no
//! network. Everything that can be checked is checked before the [`Sink`] hears of the image, and the
//! blocks of a strip are handed out only once the strip's checksum is right.
//!
//! Memory: the decompression window ([`Options::window_log_max`]), the bitmap (at most a bit per
//! block, [`Options::bitmap_memory_max`]) and one strip (at most [`STRIP_BUFFER`]).

#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

mod bitmap;
mod bytes;
mod compression;
mod crc;
mod decoder;
mod engine;
mod error;
mod geometry;
mod limits;
mod machine;
mod magic;
mod options;
mod partclone;
mod partimage;
mod peek;
mod place;
mod raw;
mod report;
mod sink;
mod stage;

pub use compression::{SNIFF_LEN, sniff};
pub use decoder::Decoder;
pub use error::{BlockChecksum, Digest, ErrorKind, ImageError, Part, TotalChecksum};
pub use geometry::{BitmapMode, ChecksumMode, Compression, Geometry, Header, ImageFormat};
pub use options::{Content, Options, Verify};
pub use partclone::STRIP_BUFFER;
pub use peek::{PEEK_LEN, peek};
pub use report::{Progress, Summary, Warning};
pub use sink::{Sink, SinkError};
