//! What an image needs and does not get.

use std::fmt;

use disk::{Kind, TableWarning};
use fog::encoding::printable;
use fog::store::StreamName;
use readable::Size;

/// What people should know although the image can be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// About the partition table.
    Table(TableWarning),
    /// A swap space that gets a UUID of its own, because the image does not record the one it had.
    SwapWithoutUuid {
        /// Partition number.
        number: u32,
    },
    /// A partition for swap space that is too small to become one.
    SwapTooSmall {
        /// Partition number.
        number: u32,
        /// Its length in bytes.
        len: u64,
    },
    /// A partition that should hold data, for which the image has none.
    NoStream {
        /// Partition number.
        number: u32,
        /// Its type.
        kind: Kind,
        /// Its length in bytes.
        len: u64,
    },
    /// A file system that does not fill its partition.
    NotGrown {
        /// Partition number.
        number: u32,
        /// The partition's length in bytes.
        len: u64,
        /// Name of the file system.
        filesystem: String,
        /// The file system's length in bytes.
        kept: u64,
    },
    /// A stream that is received and not written.
    ExtendedLeftOut {
        /// Which.
        name: StreamName,
    },
    /// FOG's client would write the computer's name into Windows.
    ComputerName {
        /// The name.
        name: String,
    },
}

impl Warning {
    /// Whether the size of the disk decides about it: such a warning says nothing of the image.
    #[must_use]
    pub fn is_about_disk_size(&self) -> bool {
        matches!(
            self,
            Self::NotGrown { .. }
                | Self::Table(TableWarning::KeepsPlaces(_) | TableWarning::BeyondMbr { .. })
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(warning) => warning.fmt(f),
            Self::SwapWithoutUuid { number } => write!(
                f,
                "partition {number} is swap space whose UUID the image does not record: it is made with \
                 a new one; correct what names the old one (/etc/fstab, resume=)"
            ),
            Self::SwapTooSmall { number, len } => write!(
                f,
                "partition {number} has {}, too little for swap space: it is left empty",
                Size(*len)
            ),
            Self::NoStream { number, kind, len } => write!(
                f,
                "partition {number} ({kind}, {}) is not in the image: it is left without a file system; \
                 what this disk had there is lost",
                Size(*len)
            ),
            Self::NotGrown {
                number,
                len,
                filesystem,
                kept,
            } => write!(
                f,
                "partition {number} has {}, its file system {} keeps {}: this version does not grow \
                 file systems",
                Size(*len),
                printable(filesystem, 32),
                Size(*kept)
            ),
            Self::ExtendedLeftOut { name } => write!(
                f,
                "{name} is an image of an extended partition; its content is left out"
            ),
            Self::ComputerName { name } => write!(
                f,
                "the computer name {} is not written into Windows by this version (hostearly=1): \
                 rename the machine by FOG's service or in Windows",
                printable(name, 64)
            ),
        }
    }
}
