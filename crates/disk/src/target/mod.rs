//! The disk that is overwritten, and the order in which that happens.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use readable::{Count, Size};
use thiserror::Error;

use crate::table::PlanError;

mod boot;
mod buffer;
mod device;
mod fault;
mod kept;
mod open;
mod part;
mod writer;

pub use fault::Fault;
pub use open::Target;
pub(crate) use open::{busy, fault, look, same, unused};
pub use part::RegionDevice;
pub use writer::{RegionWriter, WriteReport, WriterOptions};

/// Why a disk was not opened for writing. Nothing has been written.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A system call failed.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The device node or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Somebody else uses the disk.
    #[error("{path} is in use: {reason}")]
    InUse {
        /// The device node or file.
        path: PathBuf,
        /// By whom, as far as known.
        reason: String,
    },
    /// The disk, or the file system that the file is on, takes no writes.
    #[error("{path} is read-only; remove its write protection or choose another target")]
    ReadOnly {
        /// The device node or file.
        path: PathBuf,
    },
    /// What is behind the path is not what was chosen.
    #[error("{path} is not the disk that was chosen: its {what} is {found}, expected {expected}")]
    Changed {
        /// The device node or file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// As it was.
        expected: String,
        /// As it is.
        found: String,
    },
    /// A length that is zero or no whole number of sectors.
    #[error(
        "{path} has {}, which is no whole number of {sector}-byte sectors; a file that stands for a disk needs the length of one (truncate -s)",
        Count(*.len, "byte")
    )]
    Length {
        /// The device node or file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The logical sector in bytes.
        sector: u64,
    },
    /// The path leads to neither a block device nor a regular file.
    #[error("{path} is neither a block device nor a regular file")]
    Kind {
        /// The path.
        path: PathBuf,
    },
}

/// What was being done when a disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making sure that what was written is on the medium.
    Sync,
    /// Declaring content to be of no more use.
    Discard,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Sync => "syncing",
            Self::Discard => "discarding",
        })
    }
}

/// Why data is not on the disk. Once returned, the [`Target`] refuses to make the disk bootable.
#[derive(Clone, Debug, Error)]
pub enum WriteError {
    /// The disk, or the file, refused.
    #[error(
        "{operation} {device}, {} at offset {offset}: {}",
        Count(*.len, "byte"), Cause(.fault.as_deref(), .source)
    )]
    Io {
        /// The device node or file.
        device: PathBuf,
        /// What it means; `None` if the target is no disk. In a box, as errors are handed on in many results.
        fault: Option<Box<Fault>>,
        /// What was tried.
        operation: Operation,
        /// First byte, from the start of the disk.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// The operating system's error.
        #[source]
        source: Arc<io::Error>,
    },
    /// Data for a place outside the region; it was not written.
    #[error(
        "{device}: {} for offset {offset} of a region of {:#}; the image does not fit its partition",
        Count(*.len, "byte"), Size(*.region_len)
    )]
    OutsideRegion {
        /// The device node or file.
        device: PathBuf,
        /// First byte, from the start of the region.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// Length of the region in bytes.
        region_len: u64,
    },
    /// The region itself is not on the disk, or not made of whole sectors.
    #[error("{device}: no region of {:#} at offset {offset} on a disk of {:#} with {logical_sector}-byte sectors", Size(*.len), Size(*.size))]
    NoSuchRegion {
        /// The device node or file.
        device: PathBuf,
        /// First byte of the region.
        offset: u64,
        /// Length of the region in bytes.
        len: u64,
        /// Capacity of the disk in bytes.
        size: u64,
        /// Logical sector size in bytes.
        logical_sector: u32,
    },
    /// The disk is not as large any more as it was when it was opened.
    #[error("{device}: {fault}")]
    Changed {
        /// The device node or file.
        device: PathBuf,
        /// What has become of it.
        fault: Fault,
    },
    /// The plan was made for another disk.
    #[error(
        "{device}: the partition table was planned for another disk ({planned}, this one has {found})"
    )]
    OtherShape {
        /// The device node or file.
        device: PathBuf,
        /// Size and sector size the plan was made for.
        planned: String,
        /// Size and sector size of this disk.
        found: String,
    },
    /// Something failed earlier, so the disk stays without a partition table.
    #[error("{device} is left without a partition table: {reason}")]
    Incomplete {
        /// The device node or file.
        device: PathBuf,
        /// What failed first.
        reason: String,
    },
    /// The disk took the table and gives back something else.
    #[error(
        "{device}: {what} at offset {offset} reads back differently from what was written; the disk is defective"
    )]
    Mismatch {
        /// The device node or file.
        device: PathBuf,
        /// Which part of the table.
        what: String,
        /// First differing byte, from the start of the disk.
        offset: u64,
    },
    /// The thread that writes could not be started, or died.
    #[error("{device}: the writing thread {reason}")]
    Thread {
        /// The device node or file.
        device: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// What a failure means, and the kernel's words for it.
struct Cause<'a>(Option<&'a Fault>, &'a io::Error);

impl std::fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(fault, error) = self;
        match fault.filter(|fault| fault.is_known()) {
            Some(fault) => write!(f, "{fault} (the kernel says: {error})"),
            None => write!(f, "{error}"),
        }
    }
}

/// Why the table of an open disk is not known.
#[derive(Debug, Error)]
pub enum TableError {
    /// The disk cannot be read.
    #[error(transparent)]
    Read(#[from] WriteError),
    /// The table is damaged.
    #[error(transparent)]
    Table(#[from] PlanError),
}

/// What [`Target::make_bootable`] has to say beside success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootReport {
    /// Things an operator may want to know; the disk is fine.
    pub warnings: Vec<String>,
}

/// A partition table that is in the way ([`Target::old_table`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldTable {
    /// How many partitions it has; `None` if it is damaged.
    pub partitions: Option<usize>,
}

impl std::fmt::Display for OldTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.partitions {
            Some(1) => f.write_str("a partition table of 1 partition"),
            Some(count) => write!(f, "a partition table of {count} partitions"),
            None => f.write_str("a damaged partition table"),
        }
    }
}
