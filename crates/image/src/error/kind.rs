//! The kinds of errors.

use std::fmt;

/// The kinds of [`ImageError`](crate::ImageError), for tables and for programs. `Display` gives the short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the variants of ImageError explain them")]
pub enum ErrorKind {
    Truncated,
    BadMagic,
    UnsupportedCompression,
    UnsupportedVersion,
    HeaderChecksum,
    WrongEndian,
    BadBlockSize,
    NoBlocks,
    TooManyBlocks,
    UsedExceedsTotal,
    FilesystemLargerThanDevice,
    BeyondTarget,
    UnknownChecksumMode,
    ChecksumSize,
    ZeroStrip,
    UnknownBitmapMode,
    BitmapChecksum,
    BitmapMagic,
    BitmapTooLarge,
    SectionMagic,
    BadHeader,
    BadBitmapSize,
    Encrypted,
    NotFirstVolume,
    MissingVolume,
    TotalChecksum,
    NotRaw,
    RawTooLong,
    BlockChecksum,
    Corrupt,
    WindowTooLarge,
    Sink,
    Read,
    Stopped,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::BadMagic => "bad-magic",
            Self::UnsupportedCompression => "unsupported-compression",
            Self::UnsupportedVersion => "unsupported-version",
            Self::HeaderChecksum => "header-checksum",
            Self::WrongEndian => "wrong-endian",
            Self::BadBlockSize => "bad-block-size",
            Self::NoBlocks => "no-blocks",
            Self::TooManyBlocks => "too-many-blocks",
            Self::UsedExceedsTotal => "used-exceeds-total",
            Self::FilesystemLargerThanDevice => "fs-larger-than-device",
            Self::BeyondTarget => "beyond-target",
            Self::UnknownChecksumMode => "unknown-checksum-mode",
            Self::ChecksumSize => "checksum-size",
            Self::ZeroStrip => "zero-strip",
            Self::UnknownBitmapMode => "unknown-bitmap-mode",
            Self::BitmapChecksum => "bitmap-checksum",
            Self::BitmapMagic => "bitmap-magic",
            Self::BitmapTooLarge => "bitmap-too-large",
            Self::SectionMagic => "section-magic",
            Self::BadHeader => "bad-header",
            Self::BadBitmapSize => "bad-bitmap-size",
            Self::Encrypted => "encrypted",
            Self::NotFirstVolume => "not-first-volume",
            Self::MissingVolume => "missing-volume",
            Self::TotalChecksum => "total-checksum",
            Self::NotRaw => "not-raw",
            Self::RawTooLong => "raw-too-long",
            Self::BlockChecksum => "block-checksum",
            Self::Corrupt => "corrupt",
            Self::WindowTooLarge => "window-too-large",
            Self::Sink => "sink",
            Self::Read => "read",
            Self::Stopped => "stopped",
        })
    }
}
