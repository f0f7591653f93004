//! What an image says of itself.

use std::fmt;
use std::ops::Deref;

use readable::{Count, Size};

/// The format of the image inside its compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageFormat {
    /// partclone before 0.3.0.
    Partclone0001,
    /// partclone 0.3.0 and later.
    Partclone0002,
    /// partimage 0.6.
    Partimage06,
    /// None: a disk or partition as it is.
    Raw,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partclone0001 => "partclone 0001",
            Self::Partclone0002 => "partclone 0002",
            Self::Partimage06 => "partimage 0.6",
            Self::Raw => "raw",
        })
    }
}

/// What is around the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Nothing: the image as it was written.
    Plain,
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// One or more zstd frames (RFC 8878).
    Zstd,
    /// One or more .xz streams.
    Xz,
    /// One or more bzip2 streams.
    Bzip2,
    /// One or more LZ4 frames.
    Lz4,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
        })
    }
}

/// How the blocks of an image are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChecksumMode {
    /// Not at all: damage shows only if the compression notices it.
    None,
    /// CRC-32 of each strip.
    Crc32,
    /// XXH64 of each strip.
    Xxh64,
    /// XXH3 of 128 bits of each strip.
    Xxh128,
    /// Format 0001: a CRC-32 that sees the first byte of each block only.
    Crc32FirstByte,
    /// partimage: a record with a CRC-32 after every 64 KiB, and a sum over the whole image.
    Crc32Records,
}

impl ChecksumMode {
    /// Bytes of one stored checksum.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32 | Self::Crc32FirstByte => 4,
            Self::Xxh64 => 8,
            Self::Xxh128 | Self::Crc32Records => 16,
        }
    }
}

impl fmt::Display for ChecksumMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Crc32 => "CRC32",
            Self::Xxh64 => "XXH64",
            Self::Xxh128 => "XXH128",
            Self::Crc32FirstByte => "CRC32 of 0001",
            Self::Crc32Records => "CRC32 of partimage",
        })
    }
}

/// How the map of used blocks is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapMode {
    /// It is not: every block is used.
    None,
    /// A bit per block, with a CRC.
    Bit,
    /// A byte per block, without checksum.
    Byte,
}

/// Facts from the image's header, checked for sense but not against the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format of the image.
    pub format: ImageFormat,
    /// What is around it.
    pub compression: Compression,
    /// Version of the program that wrote the image; 0001 does not tell.
    pub writer: Option<String>,
    /// Word size in bits of the program that wrote the image; only 0002 tells, and it means nothing.
    pub word_bits: Option<u16>,
    /// Name of the file system, for display only. Control characters are replaced.
    pub filesystem: String,
    /// Bytes of the source device: the least that a target must have. Format 0001's own field is
    /// not to be trusted, so there it is `total_blocks` times `block_size`. Raw data has no header:
    /// it is the length, or 0 while that is not known.
    pub device_size: u64,
    /// Bytes per block, at least 1 and at most 64 MiB. 1 for raw data.
    pub block_size: u32,
    /// Blocks of the file system, used or not; at least 1 (but see `device_size` for raw data).
    pub total_blocks: u64,
    /// Used blocks as the header claims. The bitmap decides; see [`Geometry::used_blocks`].
    pub claimed_used_blocks: u64,
    /// Checksums of the blocks.
    pub checksum: ChecksumMode,
    /// Used blocks under one checksum; 0 without checksums, and where these do not follow blocks.
    pub strip_blocks: u32,
    /// Whether the checksum starts afresh for each strip.
    pub is_reseeded: bool,
    /// How the bitmap is stored.
    pub bitmap: BitmapMode,
}

/// A header and what its verified bitmap adds. The header's fields can be read directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Facts from the header.
    pub header: Header,
    /// Used blocks, counted from the bitmap: what will be written.
    pub used_blocks: u64,
    /// Where the last used block ends, in bytes of the target. No extent goes beyond.
    pub data_end: u64,
}

impl Geometry {
    /// Bytes that will be written.
    #[must_use]
    pub fn used_len(&self) -> u64 {
        self.used_blocks
            .saturating_mul(u64::from(self.header.block_size))
    }
}

impl Deref for Geometry {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} image ({}) of {}: device of {:#}, {} of {}, checksum {}",
            self.format,
            self.compression,
            if self.format == ImageFormat::Raw {
                "a disk or partition"
            } else if self.filesystem.is_empty() {
                "an unnamed file system"
            } else {
                &self.filesystem
            },
            Size(self.device_size),
            Count(self.total_blocks, "block"),
            Count(self.block_size.into(), "byte"),
            self.checksum,
        )
    }
}
