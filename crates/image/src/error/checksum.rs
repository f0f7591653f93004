//! Wrong checksums, and their values.

use std::fmt;

use super::READ_AGAIN;

/// A wrong checksum of a strip, or of a block of format 0001.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockChecksum {
    /// First used block that the checksum covers.
    pub first_block: u64,
    /// Last used block that it covers.
    pub last_block: u64,
    /// Used blocks that it covers.
    pub block_count: u64,
    /// Where it stands in the image.
    pub offset: u64,
    /// The checksum in the image.
    pub stored: Digest,
    /// The checksum of the blocks.
    pub computed: Digest,
    /// Whether some of the blocks had been handed on before the checksum came: the strip is larger
    /// than what is kept in memory.
    pub is_handed_on: bool,
}

impl fmt::Display for BlockChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.block_count == 1 {
            write!(f, "checksum error in block {}", self.last_block)?;
        } else {
            write!(
                f,
                "checksum error in the {} used blocks {} to {}",
                self.block_count, self.first_block, self.last_block
            )?;
        }
        write!(
            f,
            " (checksum at offset {} is {}, computed {}",
            self.offset, self.stored, self.computed
        )?;
        if self.is_handed_on {
            f.write_str("; the blocks have already been written")?;
        }
        write!(f, "): {READ_AGAIN}")
    }
}

/// A wrong sum over a whole partimage image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalChecksum {
    /// Where it stands in the image.
    pub offset: u64,
    /// The sum in the image.
    pub stored: u64,
    /// The sum of the image's bytes.
    pub computed: u64,
}

impl fmt::Display for TotalChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the sum over the whole image (at offset {}) is {:#x}, computed {:#x}: {READ_AGAIN}",
            self.offset, self.stored, self.computed
        )
    }
}

/// The value of a block checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named like the checksum modes")]
pub enum Digest {
    None,
    Crc32(u32),
    Xxh64(u64),
    Xxh128(u128),
    /// partimage's record behind 64 KiB of data.
    Record {
        /// Its first three characters are `CHK`.
        is_marked: bool,
        crc: u32,
        /// First block of the run of blocks that the record ends in.
        block: u64,
    },
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Crc32(value) => write!(f, "{value:#010x}"),
            Self::Xxh64(value) => write!(f, "{value:#018x}"),
            Self::Xxh128(value) => write!(f, "{value:#034x}"),
            Self::Record {
                is_marked,
                crc,
                block,
            } => {
                let mark = if *is_marked { "CHK" } else { "no mark" };
                write!(f, "{mark} {crc:#010x} at block {block}")
            }
        }
    }
}
