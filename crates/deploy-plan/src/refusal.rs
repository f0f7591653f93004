//! Why an image is not deployed.

use std::fmt;

use disk::GroupError;
use fog::store::StreamName;
use fos_api::{ImageFacts, StreamFacts};
use readable::{Count, Size};

use crate::{VolumesError, WhichDisk};

/// Why an image is not deployed. Nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A kernel argument cannot be read.
    #[error(transparent)]
    Argument(#[from] fog::args::ArgsError),
    /// The kernel arguments ask for something that is not done here.
    #[error(
        "this machine was booted for {found}; fos-agent only deploys, by multicast (type=down mc=yes), and from one of \
         FOG's own servers also to one machine (type=down): create such a task, or boot FOG's own client for this host"
    )]
    Task {
        /// What they ask for.
        found: String,
    },
    /// There is no image type of this name.
    #[error(
        "the kernel arguments ask for an image of type {found}, which does not exist; there are n, mps, mpa and \
         dd: correct the image"
    )]
    ImageType {
        /// FOG's word for it.
        found: String,
    },
    /// Only a part of the image is asked for.
    #[error(
        "imgPartitionType={found} is not supported by this version, only all; set the image's \
         partition choice to \"Everything\""
    )]
    PartitionType {
        /// The argument's value.
        found: String,
    },
    /// The present partition table is to be kept.
    #[error(
        "the kernel argument nombr (keep the partition table) is not supported by this version"
    )]
    KeepTable,
    /// FOG resizes images of certain operating systems only.
    #[error(
        "an image of type n cannot have the operating system number {os_id}; correct the image"
    )]
    OsId {
        /// FOG's number.
        os_id: i64,
    },
    /// Kernel arguments and manifest are about different images.
    #[error(
        "the kernel arguments speak of the image {arguments:?}, the server's manifest of \
         {manifest:?}; was the task changed? boot again"
    )]
    OtherImage {
        /// Image path in the kernel arguments.
        arguments: String,
        /// Image path in the manifest.
        manifest: String,
    },
    /// A file is absent without which there is no partition table.
    #[error("the image has no file {name}; was the capture complete?")]
    MissingFile {
        /// Which.
        name: String,
    },
    /// A file that must be UTF-8 is not.
    #[error("the image's file {name} is not text: {cause}")]
    NotText {
        /// Which.
        name: String,
        /// Where it is wrong.
        cause: String,
    },
    /// The image has logical volumes that cannot be restored.
    #[error("the logical volumes of the image cannot be restored ({name}): {cause}")]
    Volumes {
        /// The file that names them, printable.
        name: String,
        /// Why.
        // Not as the source: the text has it already.
        cause: Box<VolumesError>,
    },
    /// A stream whose name is not that of a place that the image has.
    #[error(
        "the stream {name} belongs to no partition of the image's disks: remove its file, or correct the image's type"
    )]
    Stream {
        /// Which.
        name: StreamName,
    },
    /// Two streams have one name.
    #[error("the server's manifest lists the stream {name} twice")]
    Twice {
        /// Which.
        name: StreamName,
    },
    /// A disk with a number that no machine's disk has.
    #[error(
        "the image has files of a disk {number}; {} disks are the most",
        crate::MAX_DISKS
    )]
    DiskNumber {
        /// The number.
        number: u32,
    },
    /// The record of a disk's size cannot be read.
    #[error("the image's file {name} does not say the size of its disk; capture the image again")]
    SizeFile {
        /// Which.
        name: String,
    },
    /// More or fewer disks than the image is of.
    #[error(
        "the image is of {}, but there {} to write to", Count(wide(*needed), "disk"),
        if *found == 1 { "is 1".to_owned() } else { format!("are {found}") }
    )]
    Disks {
        /// How many the image is of.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// An image of a whole disk in several streams.
    #[error(
        "an image of type dd is one stream, this one has {count}; remove the files that do not belong to it"
    )]
    SeveralRaw {
        /// How many.
        count: usize,
    },
    /// The streams of an early Windows image are not one for each partition.
    #[error(
        "an early Windows image has the streams rec.img.000, rec.img.001 (or fewer) and sys.img, this one has {found}; \
         complete or clear its directory"
    )]
    Legacy {
        /// The names, printable.
        found: String,
    },
    /// The boot area of an early Windows image is of another disk.
    #[error(
        "the boot area of the image (d1.mbr) has {}, but there {} (sys.img, rec.img): the files do not belong together",
        Count(wide(*partitions), "partition"),
        if *streams == 1 { "is 1 stream".to_owned() } else { format!("are {streams} streams") }
    )]
    LegacyTable {
        /// How many partitions.
        partitions: usize,
        /// How many streams.
        streams: usize,
    },
    /// One of several disks cannot become what the image wants.
    #[error("{which}: {cause}")]
    OfDisk {
        /// Which.
        which: WhichDisk,
        /// Why.
        // Not as the source: the text has it already.
        cause: Box<Self>,
    },
    /// A disk is smaller than the image of a whole one.
    #[error(
        "the disk has {}, but {name} is the image of one of {} ({} missing); a larger disk is needed",
        Size(*.len), Size(*.needed), Count(*.missing, "byte")
    )]
    DiskTooSmall {
        /// The stream.
        name: StreamName,
        /// The disk's length in bytes.
        len: u64,
        /// Bytes that the stream needs.
        needed: u64,
        /// The difference.
        missing: u64,
    },
    /// There is nothing to deploy.
    #[error("the image has no streams at all; was the capture complete?")]
    NoStreams,
    /// A stream's image format cannot be deployed.
    #[error("the stream {name} is a {format} image, which this version cannot restore")]
    Format {
        /// Which.
        name: StreamName,
        /// Its format, printable.
        format: String,
    },
    /// The manifest lists more than a client keeps in memory.
    #[error(
        "the server's manifest lists {found} {what}, this version takes at most {limit}: look at the \
         image's directory on the server, there are files that do not belong to it"
    )]
    TooMuch {
        /// Of what, in the plural, with a unit if it has one.
        what: &'static str,
        /// So much is listed.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// A small file that is larger than a client takes.
    #[error(
        "the server's manifest lists the file {name} with {}, this version takes at most {} for a file \
         that is not sent by multicast; look at it on the server", Size(*.len), Size(*.limit)
    )]
    LargeFile {
        /// Which, printable.
        name: String,
        /// Its length in bytes.
        len: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// What the manifest says of a stream cannot all be true.
    #[error(
        "the server's manifest contradicts itself: {name} {what}; run `fos-server image verify`, and \
         capture the image again if it fails"
    )]
    Contradiction {
        /// The stream.
        name: StreamName,
        /// What is wrong with it.
        what: Contradiction,
    },
    /// The partition table cannot be made.
    #[error("the partition table does not fit this disk: {0}")]
    Table(#[source] disk::PlanError),
    /// The files of the partition table cannot be used on any disk.
    #[error("the image's partition table cannot be used: {0}")]
    BadTable(#[source] disk::PlanError),
    /// A stream without a partition.
    #[error(
        "the image has data for partition {number} ({name}), but its partition table has no such \
         partition"
    )]
    NoPartition {
        /// Partition number.
        number: u32,
        /// The stream.
        name: StreamName,
    },
    /// A partition that is fitted to the disk becomes smaller than its stream needs.
    #[error(
        "partition {number} has {} on this disk, but {name} needs {} ({} missing); a larger disk is \
         needed", Size(*.len), Size(*.needed), Count(*.missing, "byte")
    )]
    TooSmall {
        /// Partition number.
        number: u32,
        /// The stream.
        name: StreamName,
        /// The partition's length in bytes.
        len: u64,
        /// Bytes that the stream needs.
        needed: u64,
        /// The difference.
        missing: u64,
    },
    /// A partition whose size is fixed by the image is smaller than its stream needs.
    #[error(
        "partition {number} has {} in the image's partition table, but {name} was captured from a \
         partition of {} ({} missing): the files do not belong together; capture the image again",
        Size(*.len), Size(*.needed), Count(*.missing, "byte")
    )]
    OtherPartition {
        /// Partition number.
        number: u32,
        /// The stream.
        name: StreamName,
        /// The partition's length in bytes.
        len: u64,
        /// Bytes that the stream needs.
        needed: u64,
        /// The difference.
        missing: u64,
    },
}

/// What cannot be true of a stream. The decoder refuses such an image too, but only when the streams
/// before it are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// There is no image without a header.
    #[error("has no stored bytes")]
    Empty,
    /// A size that is at least 1 is 0.
    #[error("has {0} of 0")]
    Zero(Quantity),
    /// Blocks are larger than any file system has them.
    #[error("has blocks of {}, {MAX_BLOCK_SIZE} are the most", Count((*.0).into(), "byte"))]
    BlockSize(u32),
    /// More blocks are in use than there are.
    #[error("has {used} blocks in use of {total}")]
    Used {
        /// Blocks in use.
        used: u64,
        /// Blocks in all.
        total: u64,
    },
    /// The file system does not fit the device that it is from.
    #[error("has {} of {} on a device of {:#}", Count(*.total, "block"), Count((*.block_size).into(), "byte"), Size(*.device_size))]
    Blocks {
        /// Blocks in all.
        total: u64,
        /// Bytes of each.
        block_size: u32,
        /// Bytes of the device.
        device_size: u64,
    },
}

/// A size that must not be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Of a block.
    Block,
    /// Of the file system, in blocks.
    Total,
    /// Of the device.
    Device,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "a block size",
            Self::Total => "a number of blocks",
            Self::Device => "a device size",
        })
    }
}

impl Contradiction {
    /// What is wrong with the description of a stream, if anything is.
    ///
    /// # Errors
    /// The first contradiction.
    pub(crate) fn check(facts: &StreamFacts) -> Result<(), Self> {
        let ImageFacts {
            device_size,
            block_size,
            total_blocks: total,
            used_blocks,
            ..
        } = facts.image;
        if facts.stored_len == 0 {
            return Err(Self::Empty);
        }
        let sizes = [
            (Quantity::Block, u64::from(block_size)),
            (Quantity::Total, total),
            (Quantity::Device, device_size),
        ];
        if let Some((which, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(Self::Zero(which));
        }
        if block_size > MAX_BLOCK_SIZE {
            return Err(Self::BlockSize(block_size));
        }
        if let Some(used) = used_blocks.filter(|used| *used > total) {
            return Err(Self::Used { used, total });
        }
        let end = total.checked_mul(u64::from(block_size));
        if end.is_none_or(|end| end > device_size) {
            return Err(Self::Blocks {
                total,
                block_size,
                device_size,
            });
        }
        Ok(())
    }
}

/// Of partclone; its images' decoder has the same bound.
const MAX_BLOCK_SIZE: u32 = 64 << 20;

impl Refusal {
    /// The reason as programs know it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Argument(_) => "argument",
            Self::Task { .. } => "task",
            Self::ImageType { .. } => "image-type",
            Self::PartitionType { .. } => "partition-type",
            Self::KeepTable => "keep-table",
            Self::OsId { .. } => "operating-system",
            Self::OtherImage { .. } => "other-image",
            Self::MissingFile { .. } => "missing-file",
            Self::NotText { .. } => "not-text",
            Self::Volumes { .. } => "logical-volumes",
            Self::Stream { .. } => "stream-name",
            Self::Twice { .. } => "stream-twice",
            Self::DiskNumber { .. } => "disk-number",
            Self::SizeFile { .. } => "size-file",
            Self::Disks { .. } => "disks",
            Self::SeveralRaw { .. } => "several-raw",
            Self::Legacy { .. } | Self::LegacyTable { .. } => "early-windows",
            Self::OfDisk { cause, .. } => cause.code(),
            Self::NoStreams => "no-streams",
            Self::Format { .. } => "format",
            Self::TooMuch { .. } => "too-much",
            Self::LargeFile { .. } => "large-file",
            Self::Contradiction { .. } => "contradiction",
            Self::Table(disk::PlanError::SectorSize { .. }) => "sector-size",
            Self::Table(_) | Self::DiskTooSmall { .. } => "disk-too-small",
            Self::BadTable(_) => "bad-table",
            Self::NoPartition { .. } => "no-partition",
            Self::TooSmall { .. } => "partition-too-small",
            Self::OtherPartition { .. } => "other-partition",
        }
    }

    /// Whether another disk could make it possible.
    #[must_use]
    pub fn is_about_disk_size(&self) -> bool {
        match self {
            Self::OfDisk { cause, .. } => cause.is_about_disk_size(),
            Self::Table(_)
            | Self::TooSmall { .. }
            | Self::DiskTooSmall { .. }
            | Self::Disks { .. } => true,
            Self::Volumes { cause, .. } => {
                matches!(**cause, VolumesError::Group(GroupError::TooSmall { .. }))
            }
            _ => false,
        }
    }

    /// The same, with the disk's number where there are several.
    pub(crate) fn of_disk(self, which: WhichDisk) -> Self {
        if which.is_only {
            return self;
        }
        Self::OfDisk {
            which,
            cause: Box::new(self),
        }
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl From<disk::PlanError> for Refusal {
    fn from(error: disk::PlanError) -> Self {
        use disk::{FillError, PlanError};
        match error {
            PlanError::Shape { .. }
            | PlanError::SectorSize { .. }
            | PlanError::DoesNotFit { .. }
            | PlanError::Fill(FillError::TooSmall { .. }) => Self::Table(error),
            _ => Self::BadTable(error),
        }
    }
}
