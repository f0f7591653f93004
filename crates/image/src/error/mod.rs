//! What can be wrong with an image: what was found, what was expected, where, and what to do.

mod checksum;
mod kind;
mod part;

use std::io;

use readable::{Count, Size, chain};

use crate::geometry::{ChecksumMode, Compression};
use crate::sink::SinkError;

pub use self::checksum::{BlockChecksum, Digest, TotalChecksum};
pub use self::kind::ErrorKind;
pub use self::part::Part;

/// Why an image was refused or could not be restored.
///
/// Offsets are bytes of the image itself, after decompression, unless a text says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The image stops early.
    #[error(
        "image ends in the middle of the {part}: needs {needed} bytes at offset {offset}, {found} \
         there; the file or its transfer is incomplete"
    )]
    Truncated {
        /// What was cut.
        part: Part,
        /// Where that part begins.
        offset: u64,
        /// Its length in bytes.
        needed: u64,
        /// Bytes of it that are there.
        found: u64,
    },
    /// The compressed stream stops early.
    #[error(
        "{compression} stream ends in the middle after {input_len} compressed bytes ({decoded_len} \
         decoded); the file or its transfer is incomplete"
    )]
    TruncatedCompression {
        /// The compression.
        compression: Compression,
        /// Compressed bytes that were there.
        input_len: u64,
        /// Bytes they decoded to.
        decoded_len: u64,
    },
    /// Neither partclone nor partimage.
    #[error("not a partclone or partimage image (first bytes {found}){hint}")]
    BadMagic {
        /// The first bytes in hexadecimal.
        found: String,
        /// What it looks like, with punctuation; may be empty.
        hint: &'static str,
    },
    /// A compression that is recognised and not read.
    #[error(
        "image is compressed with {name}, which is not supported; store it with zstd, gzip, xz, \
         bzip2, lz4 (frames) or uncompressed"
    )]
    UnsupportedCompression {
        /// Name of the compression.
        name: &'static str,
    },
    /// A version that does not exist yet.
    #[error(
        "{program} image version \"{found}\" is not supported, only {known}; the image was made by \
         another program or is damaged"
    )]
    UnsupportedVersion {
        /// The program whose format it is.
        program: &'static str,
        /// The version field as text.
        found: String,
        /// The versions that are read.
        known: &'static str,
    },
    /// The header's CRC is wrong.
    #[error(
        "image header is damaged: its checksum at offset 106 is {stored:#010x}, computed \
         {computed:#010x}"
    )]
    HeaderChecksum {
        /// The CRC in the header.
        stored: u32,
        /// The CRC of the header's bytes.
        computed: u32,
    },
    /// The sum of one of partimage's structures is wrong.
    #[error(
        "{part} of the image is damaged: its sum at offset {offset} is {stored:#010x}, computed \
         {computed:#010x}"
    )]
    StructureChecksum {
        /// Which one.
        part: Part,
        /// Where the sum stands.
        offset: u64,
        /// The sum in the image.
        stored: u32,
        /// The sum of the structure's bytes, taken as signed.
        computed: u32,
    },
    /// The byte-order marker is not ours.
    #[error(
        "image was written in another byte order: marker at offset 34 is {found:#06x}, expected \
         0xc0de; restore it on a machine of the kind that wrote it"
    )]
    WrongEndian {
        /// The marker.
        found: u16,
    },
    /// The block size is absurd.
    #[error("image header has a block size of {found} bytes, expected 1 to {max}")]
    BadBlockSize {
        /// The block size.
        found: i64,
        /// The largest that is accepted.
        max: u32,
    },
    /// There are no blocks.
    #[error("image header has a total block count of 0")]
    NoBlocks,
    /// More blocks than any device has.
    #[error(
        "image header has {} of {}, more than the limits of 2^43 blocks and 2^63 bytes",
        Count(*.total_blocks, "block"), Count((*.block_size).into(), "byte")
    )]
    TooManyBlocks {
        /// The block count.
        total_blocks: u64,
        /// Bytes per block.
        block_size: u32,
    },
    /// More used blocks than blocks.
    #[error("image header has {used_blocks} used blocks of {total_blocks} in all")]
    UsedExceedsTotal {
        /// Used blocks as the header claims.
        used_blocks: u64,
        /// The block count.
        total_blocks: u64,
    },
    /// The file system is larger than the device it was on.
    #[error(
        "image header has a file system of {filesystem_size} bytes on a device of {device_size} bytes"
    )]
    FilesystemLargerThanDevice {
        /// Blocks times block size.
        filesystem_size: u128,
        /// The device's size.
        device_size: u64,
    },
    /// The target is too small.
    #[error(
        "image needs a target of {:#}, this one has {:#}: {} missing; choose a larger disk or partition",
        Size(*.device_size), Size(*.target_size),
        Count(.device_size.saturating_sub(*.target_size), "byte")
    )]
    BeyondTarget {
        /// Bytes that the image needs.
        device_size: u64,
        /// Bytes of the target.
        target_size: u64,
    },
    /// The size check was waived, but a used block lies beyond the target.
    #[error(
        "used block {block} of the image ends at byte {end}, beyond the target's {:#}; shrink the file \
         system before the capture or choose a larger target", Size(*.target_size)
    )]
    BlockBeyondTarget {
        /// The last used block.
        block: u64,
        /// Where it ends on the target.
        end: u64,
        /// Bytes of the target.
        target_size: u64,
    },
    /// A checksum mode that does not exist.
    #[error(
        "image header has the unknown checksum mode {found:#06x}; known are 0x00, 0x20, 0x30 and 0x31"
    )]
    UnknownChecksumMode {
        /// The mode.
        found: u16,
    },
    /// The checksum size does not fit the mode.
    #[error("image header has a checksum size of {found} bytes, {mode} has {expected}")]
    ChecksumSize {
        /// The mode.
        mode: ChecksumMode,
        /// The size in the header.
        found: u16,
        /// The size that belongs to the mode.
        expected: usize,
    },
    /// Checksums over strips of no blocks.
    #[error("image header has a strip length of 0 blocks with checksum {mode}")]
    ZeroStrip {
        /// The checksum mode.
        mode: ChecksumMode,
    },
    /// A bitmap mode that does not exist.
    #[error("image header has the unknown bitmap mode {found}; known are 0, 1 and 8")]
    UnknownBitmapMode {
        /// The mode.
        found: u8,
    },
    /// The bitmap's CRC is wrong.
    #[error(
        "bitmap of the image is damaged: its checksum at offset {offset} is {stored:#010x}, computed \
         {computed:#010x}"
    )]
    BitmapChecksum {
        /// Where the checksum stands.
        offset: u64,
        /// The CRC in the image.
        stored: u32,
        /// The CRC of the bitmap.
        computed: u32,
    },
    /// The characters behind a bitmap of bytes are not there.
    #[error(
        "bitmap of the image is damaged: {found} at offset {offset} where \"BiTmAgIc\" must close it"
    )]
    BitmapMagic {
        /// Where they should stand.
        offset: u64,
        /// The bytes there, in hexadecimal.
        found: String,
    },
    /// A partimage section does not begin where it must.
    #[error("{found} at offset {offset} where \"{expected}\" must stand: {READ_AGAIN}")]
    SectionMagic {
        /// What must stand there.
        expected: &'static str,
        /// Where.
        offset: u64,
        /// The bytes there, in hexadecimal.
        found: String,
    },
    /// A field of a partimage header makes no sense.
    #[error("image header has {found} {what}, at most {max} make sense: it is damaged")]
    BadHeader {
        /// What is counted.
        what: &'static str,
        /// How many.
        found: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// The bitmap's size does not fit the number of blocks.
    #[error(
        "image header has a bitmap of {found} bytes for {total_blocks} blocks, expected {min} to {max}"
    )]
    BadBitmapSize {
        /// The size in the header.
        found: u64,
        /// The block count.
        total_blocks: u64,
        /// The least that holds the blocks.
        min: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// The image is encrypted.
    #[error("the image is encrypted (method {method}); save it again without encryption")]
    Encrypted {
        /// The method's number.
        method: u32,
    },
    /// The stream does not begin with the first volume.
    #[error(
        "the stream begins with volume {found} of the image; give all volumes, beginning with number 0"
    )]
    NotFirstVolume {
        /// The number of the first volume in the stream.
        found: u32,
    },
    /// Volumes are missing.
    #[error(
        "the image has {} volumes, {read} were read; give all of them in their order",
        u64::from(*.last) + 1
    )]
    MissingVolume {
        /// Number of the last volume, counted from 0.
        last: u32,
        /// Volumes in the stream.
        read: u32,
    },
    /// Another volume than the next one follows.
    #[error(
        "volume {found} of the image follows at offset {offset} where volume {expected} must; give \
         all volumes in their order"
    )]
    VolumeOrder {
        /// Where it begins.
        offset: u64,
        /// The number that is due.
        expected: u32,
        /// The number there.
        found: u32,
    },
    /// The sum over a whole partimage image is wrong.
    #[error("{0}")]
    TotalChecksum(TotalChecksum),
    /// An image was to be taken for raw data.
    #[error("this is a partclone or partimage image and no raw data; leave the raw mode out")]
    NotRaw,
    /// Raw data does not fit the target.
    #[error(
        "the raw data is longer than the target's {:#}; choose a larger disk or partition",
        Size(*.target_size)
    )]
    RawBeyondTarget {
        /// Bytes of the target.
        target_size: u64,
    },
    /// There is more raw data than announced.
    #[error("the raw data is longer than the {expected} bytes that it was to have")]
    RawTooLong {
        /// Bytes that it was to have.
        expected: u64,
    },
    /// The bitmap would need more memory than allowed.
    #[error(
        "bitmap of the image ({total_blocks} blocks) needs more than the {limit} bytes of memory set \
         aside for it"
    )]
    BitmapTooLarge {
        /// The block count.
        total_blocks: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A strip's or block's checksum is wrong.
    #[error("{0}")]
    BlockChecksum(BlockChecksum),
    /// The compressed stream is damaged.
    #[error("{compression} stream is damaged at compressed offset {offset}: {detail}")]
    Corrupt {
        /// The compression.
        compression: Compression,
        /// How far the decompressor got, in compressed bytes.
        offset: u64,
        /// What it said.
        detail: String,
    },
    /// The decompressor wants more memory than allowed.
    #[error(
        "{compression} stream at compressed offset {offset} needs a window of {:#}, allowed \
         are {}; allow more if the machine has the memory, or compress the image with a \
         smaller window (zstd without --long, xz with a lower level)",
        Size(*.window), Size(*.limit)
    )]
    WindowTooLarge {
        /// The compression.
        compression: Compression,
        /// Where the frame begins, in compressed bytes.
        offset: u64,
        /// Bytes that it needs.
        window: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The sink refused or failed. The text has its causes, so there is no `source()`.
    #[error("writing the image's data: {}", chain(.0.as_ref()))]
    Sink(SinkError),
    /// The source could not be read. The text has its causes, so there is no `source()`.
    #[error("reading the image: {}", chain(.0))]
    Read(io::Error),
    /// The decoder was used again after an error.
    #[error("the image decoder stopped at an earlier error")]
    Stopped,
}

impl ImageError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Truncated { .. } | Self::TruncatedCompression { .. } => ErrorKind::Truncated,
            Self::BadMagic { .. } => ErrorKind::BadMagic,
            Self::UnsupportedCompression { .. } => ErrorKind::UnsupportedCompression,
            Self::UnsupportedVersion { .. } => ErrorKind::UnsupportedVersion,
            Self::HeaderChecksum { .. } | Self::StructureChecksum { .. } => {
                ErrorKind::HeaderChecksum
            }
            Self::WrongEndian { .. } => ErrorKind::WrongEndian,
            Self::BadBlockSize { .. } => ErrorKind::BadBlockSize,
            Self::NoBlocks => ErrorKind::NoBlocks,
            Self::TooManyBlocks { .. } => ErrorKind::TooManyBlocks,
            Self::UsedExceedsTotal { .. } => ErrorKind::UsedExceedsTotal,
            Self::FilesystemLargerThanDevice { .. } => ErrorKind::FilesystemLargerThanDevice,
            Self::BeyondTarget { .. }
            | Self::BlockBeyondTarget { .. }
            | Self::RawBeyondTarget { .. } => ErrorKind::BeyondTarget,
            Self::UnknownChecksumMode { .. } => ErrorKind::UnknownChecksumMode,
            Self::ChecksumSize { .. } => ErrorKind::ChecksumSize,
            Self::ZeroStrip { .. } => ErrorKind::ZeroStrip,
            Self::UnknownBitmapMode { .. } => ErrorKind::UnknownBitmapMode,
            Self::BitmapChecksum { .. } => ErrorKind::BitmapChecksum,
            Self::BitmapMagic { .. } => ErrorKind::BitmapMagic,
            Self::BitmapTooLarge { .. } => ErrorKind::BitmapTooLarge,
            Self::SectionMagic { .. } => ErrorKind::SectionMagic,
            Self::BadHeader { .. } => ErrorKind::BadHeader,
            Self::BadBitmapSize { .. } => ErrorKind::BadBitmapSize,
            Self::Encrypted { .. } => ErrorKind::Encrypted,
            Self::NotFirstVolume { .. } => ErrorKind::NotFirstVolume,
            Self::MissingVolume { .. } | Self::VolumeOrder { .. } => ErrorKind::MissingVolume,
            Self::TotalChecksum(_) => ErrorKind::TotalChecksum,
            Self::NotRaw => ErrorKind::NotRaw,
            Self::RawTooLong { .. } => ErrorKind::RawTooLong,
            Self::BlockChecksum(_) => ErrorKind::BlockChecksum,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::WindowTooLarge { .. } => ErrorKind::WindowTooLarge,
            Self::Sink(_) => ErrorKind::Sink,
            Self::Read(_) => ErrorKind::Read,
            Self::Stopped => ErrorKind::Stopped,
        }
    }
}

/// The decoder sees a stream. Whether the stored image is damaged, too, it cannot know.
const READ_AGAIN: &str = "the data is damaged, in the stored image or on the way; verify the image where it is stored, \
                          then read it again or capture it again";
