//! The parts of an image.

use std::fmt;

/// A part of an image, for [`ImageError::Truncated`](crate::ImageError::Truncated).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The header.
    Header,
    /// The map of used blocks.
    Bitmap,
    /// The checksum or the characters behind the bitmap.
    BitmapEnd,
    /// The block of this number.
    Block(u64),
    /// The checksum behind the block of this number.
    Checksum(u64),
    /// partimage: the volume header.
    VolumeHeader,
    /// partimage: the main header.
    MainHeader,
    /// partimage: the records of boot sectors.
    BootRecords,
    /// partimage: the extension of this number.
    Extension(u8),
    /// partimage: the header of the partition.
    LocalHeader,
    /// partimage: facts about the file system.
    Information,
    /// partimage: the characters that begin the data.
    DataMagic,
    /// partimage: the end.
    Tail,
    /// Data without a format.
    RawData,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Bitmap => f.write_str("bitmap"),
            Self::BitmapEnd => f.write_str("end of the bitmap"),
            Self::Block(block) => write!(f, "data of block {block}"),
            Self::Checksum(block) => write!(f, "checksum after block {block}"),
            Self::VolumeHeader => f.write_str("volume header"),
            Self::MainHeader => f.write_str("main header"),
            Self::BootRecords => f.write_str("boot sector records"),
            Self::Extension(number) => write!(f, "extension {number}"),
            Self::LocalHeader => f.write_str("partition header"),
            Self::Information => f.write_str("file system information"),
            Self::DataMagic => f.write_str("beginning of the data"),
            Self::Tail => f.write_str("tail"),
            Self::RawData => f.write_str("raw data"),
        }
    }
}
