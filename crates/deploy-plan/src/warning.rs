//! What an image needs and does not get.

use std::fmt;

use disk::{Kind, TableWarning};
use fog::encoding::printable;
use fog::store::StreamName;
use readable::Size;

use crate::Growable;

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
    /// A file system that should be grown, on a client that cannot do it.
    CannotGrow {
        /// Partition number.
        number: u32,
        /// The file system.
        kind: Growable,
        /// What the client lacks, in a phrase.
        lacks: String,
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
    /// What it is about, as programs know it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Table(TableWarning::KeepsPlaces(_)) => "keeps-places",
            Self::Table(TableWarning::BeyondMbr { .. }) => "beyond-mbr",
            Self::Table(_) => "table",
            Self::SwapWithoutUuid { .. } => "swap-without-uuid",
            Self::SwapTooSmall { .. } => "swap-too-small",
            Self::NoStream { .. } => "no-stream",
            Self::NotGrown { .. } => "not-grown",
            Self::CannotGrow { .. } => "cannot-grow",
            Self::ExtendedLeftOut { .. } => "extended-left-out",
            Self::ComputerName { .. } => "computer-name",
        }
    }

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
                "partition {number} ({kind}, {}) is not in the image: its content stays if this disk has the \
                 same partition now, else it is left without a file system",
                Size(*len)
            ),
            Self::NotGrown {
                number,
                len,
                filesystem,
                kept,
            } => write!(
                f,
                "partition {number} has {}, its file system {} keeps {}: it is not grown",
                Size(*len),
                printable(filesystem, 32),
                Size(*kept)
            ),
            Self::CannotGrow {
                number,
                kind,
                lacks,
            } => write!(
                f,
                "the {kind} of partition {number} keeps its captured size, because this boot image has no \
                 {lacks}: boot one that was made with --resize-tools, or grow the file system later"
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
