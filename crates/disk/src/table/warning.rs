//! What can be done, and people should know.

use std::fmt;

use readable::Size;
use uuid::Uuid;

use super::fill::FillError;

/// What an operator should know of a plan although it can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableWarning {
    /// A dump that the layout does not depend on cannot be read; why.
    DumpNotUsed(String),
    /// The partitions cannot share the disk, but they fit where they are.
    KeepsPlaces(FillError),
    /// The disk is larger than its MBR can address, and what is beyond stays unused.
    BeyondMbr {
        /// Bytes of the disk that partitions share.
        used: u64,
        /// Bytes that the disk has.
        size: u64,
    },
    /// Boot area and dump have a partition in different places.
    OtherPlace {
        /// Its number.
        number: u32,
    },
    /// The image has a hybrid MBR.
    Hybrid {
        /// Whether it is written as it was, or replaced because partitions move.
        is_kept: bool,
    },
    /// Backup and dump have different GUIDs for the disk.
    DiskGuid {
        /// The dump's, which is used.
        taken: Uuid,
        /// The backup's.
        left: Uuid,
    },
    /// Backup and dump have different types or GUIDs for a partition; the dump's are used.
    OtherIdentity {
        /// Its number.
        number: u32,
    },
    /// A partition is in the backup only.
    NotInDump {
        /// Its number.
        number: u32,
    },
    /// A partition is in the dump only.
    NotInBackup {
        /// Its number.
        number: u32,
    },
}

impl fmt::Display for TableWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DumpNotUsed(cause) => write!(f, "not used: {cause}"),
            Self::KeepsPlaces(cause) => write!(f, "partitions keep their places: {cause}"),
            Self::BeyondMbr { used, size } => write!(
                f,
                "the disk has {}, a DOS partition table addresses only {}: the rest stays unused; an \
                 image with a GPT would use all of it",
                Size(*size),
                Size(*used)
            ),
            Self::OtherPlace { number } => write!(
                f,
                "partition {number} is in another place in dN.partitions; the place in dN.mbr counts"
            ),
            Self::Hybrid { is_kept: true } => {
                f.write_str("the image has a hybrid MBR; it is written as it was")
            }
            Self::Hybrid { is_kept: false } => f.write_str(
                "the image has a hybrid MBR; it is replaced by a protective one, because partitions \
                 move",
            ),
            Self::DiskGuid { taken, left } => write!(
                f,
                "the disk's GUID is taken from dN.partitions ({taken:X}), dN.mbr has {left:X}"
            ),
            Self::OtherIdentity { number } => write!(
                f,
                "type and GUID of partition {number} are taken from dN.partitions, dN.mbr differs"
            ),
            Self::NotInDump { number } => {
                write!(f, "partition {number} is in dN.mbr but not in dN.partitions")
            }
            Self::NotInBackup { number } => {
                write!(f, "partition {number} is in dN.partitions but not in dN.mbr")
            }
        }
    }
}
