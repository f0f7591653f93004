//! Partition tables as values: parsed from an image's files, laid out for a disk, shown, checked.
//!
//! Nothing in here touches a disk. A [`TablePlan`] holds every octet that will be written; before it is
//! handed out, those octets are parsed again as a disk would be, and the result must be the plan.

#![warn(clippy::indexing_slicing)]

use std::fmt;
use std::ops::RangeInclusive;

use readable::Size;
use thiserror::Error;
use uuid::Uuid;

mod capture;
mod check;
mod dump;
mod fill;
mod gpt;
mod mbr;
mod plan;
mod read;
mod source;
mod warning;

pub use capture::{CapturedTable, Placed};
pub use dump::{Dump, DumpError, DumpLabel, DumpPartition};
pub use fill::{FillError, FillPartition, fill};
pub use gpt::GptError;
pub(crate) use gpt::backup_headers;
#[cfg(test)]
pub(crate) use gpt::tests::backup as test_backup;
pub use mbr::MbrError;
#[cfg(test)]
pub(crate) use mbr::tests::boot_sector as test_boot_sector;
pub use plan::plan_table;
pub use read::read_table;
pub use source::source_shape;
pub use warning::TableWarning;

/// What a partition table depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Capacity in bytes.
    pub size: u64,
    /// Logical sector size in bytes.
    pub logical_sector: u32,
}

impl Shape {
    /// Capacity in logical sectors; a rest that makes no sector does not count.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.size / u64::from(self.logical_sector.max(1))
    }
}

/// The small files of an image that describe one disk. `N` is the disk's number in the image.
#[derive(Clone, Debug, Default)]
pub struct TableFiles<'a> {
    /// `dN.mbr`: the boot area of an MBR disk, or a GPT backup in gdisk's format.
    pub mbr: &'a [u8],
    /// `dN.grub.mbr`: the boot area of a GPT disk that has GRUB in it.
    pub grub_mbr: Option<&'a [u8]>,
    /// `dN.partitions` (else `dN.original.partitions`): output of `sfdisk -d`.
    pub partitions: Option<&'a str>,
    /// `d1.minimum.partitions`: the same after shrinking.
    pub minimum: Option<&'a str>,
    /// `d1.fixed_size_partitions`: numbers of partitions that keep their size, joined by colons.
    pub fixed: Option<&'a str>,
    /// `dN.original.swapuuids`: lines of a partition number and a UUID.
    pub swap_uuids: Option<&'a str>,
    /// `dNpM.ebr`: partition number and content (512 octets, or none).
    pub ebrs: Vec<(u32, &'a [u8])>,
}

/// What becomes of the room that a disk has more, or less, than the image's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Every partition keeps its start and its size (FOG's image types `mps` and `mpa`).
    #[default]
    Keep,
    /// Partitions that are not of fixed size share the disk in proportion to their sizes (type `n`).
    Fill,
}

/// Kind of partition table, with the identity of the disk in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// GUID partition table.
    Gpt {
        /// The disk's GUID.
        disk_guid: Uuid,
    },
    /// DOS partition table.
    Mbr {
        /// The disk signature at octet 440.
        disk_id: u32,
    },
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpt { disk_guid } => write!(f, "GPT {disk_guid:X}"),
            Self::Mbr { disk_id } => write!(f, "MBR {disk_id:#010x}"),
        }
    }
}

/// What a partition is for, in the code of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Type GUID of a GPT entry.
    Gpt(Uuid),
    /// System indicator of an MBR entry.
    Mbr(u8),
}

impl Kind {
    /// Whether it is Linux swap space.
    #[must_use]
    pub fn is_swap(&self) -> bool {
        matches!(self, Self::Gpt(gpt::LINUX_SWAP) | Self::Mbr(0x82))
    }

    /// Whether it is the container of an MBR's logical partitions.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        matches!(self, Self::Mbr(kind) if mbr::is_extended(*kind))
    }

    /// Whether UEFI firmware looks for boot loaders in it.
    #[must_use]
    pub fn is_efi_system(&self) -> bool {
        matches!(self, Self::Gpt(gpt::EFI_SYSTEM) | Self::Mbr(0xef))
    }

    /// Whether it is "Microsoft reserved", in which there is never any data.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        *self == Self::Gpt(gpt::MICROSOFT_RESERVED)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpt(guid) => match gpt::type_name(guid) {
                Some(name) => f.write_str(name),
                None => write!(f, "{guid:X}"),
            },
            Self::Mbr(code) => match mbr::type_name(*code) {
                Some(name) => write!(f, "{code:02x} {name}"),
                None => write!(f, "{code:02x}"),
            },
        }
    }
}

/// One partition of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPartition {
    /// Number in the table: `M` in the file name `dNpM.img`.
    pub number: u32,
    /// First byte, counted from the start of the disk.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Length in bytes in the image's own table. The file system in it may be smaller still.
    pub original_len: u64,
    /// Type.
    pub kind: Kind,
    /// The GPT entry's own GUID.
    pub guid: Option<Uuid>,
    /// The GPT entry's attribute bits.
    pub attributes: u64,
    /// Name in the GPT entry; empty in an MBR.
    pub name: String,
    /// Marked active in an MBR.
    pub is_bootable: bool,
    /// Container of logical partitions: it has no data of its own and must not be written to.
    pub is_extended: bool,
    /// To be made swap space (no data comes for it).
    pub is_swap: bool,
    /// UUID that the swap space had, if it was recorded.
    pub swap_uuid: Option<Uuid>,
}

impl PlannedPartition {
    /// First byte behind the partition.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Whether it is of the type "Microsoft reserved", in which there is never any data.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.kind.is_reserved()
    }
}

/// One piece of the table as it will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableWrite {
    /// What it is, for error texts: `primary GPT header`.
    pub what: String,
    /// Where, in bytes from the start of the disk.
    pub offset: u64,
    /// The octets.
    pub bytes: Vec<u8>,
}

/// A partition table laid out for a disk: a value that can be shown and tested before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlan {
    /// The disk this plan is for.
    pub shape: Shape,
    /// Kind of table.
    pub label: Label,
    /// The first and the last sector that a GPT lets partitions use.
    pub usable: Option<RangeInclusive<u64>>,
    /// The partitions in order of their numbers.
    pub partitions: Vec<PlannedPartition>,
    /// What an operator should know although the plan can be carried out.
    pub warnings: Vec<TableWarning>,
    /// In the order of writing. All but the last do not make the disk bootable; the last is sector 0.
    writes: Vec<TableWrite>,
}

impl TablePlan {
    /// The partition with this number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&PlannedPartition> {
        self.partitions
            .iter()
            .find(|partition| partition.number == number)
    }

    /// The writes that carry the plan out, in order. The last one is sector 0, the one that makes the
    /// disk bootable.
    #[must_use]
    pub fn writes(&self) -> &[TableWrite] {
        &self.writes
    }
}

impl fmt::Display for TablePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sector = u64::from(self.shape.logical_sector.max(1));
        writeln!(
            f,
            "{}, disk of {:#}, {}-byte sectors",
            self.label,
            Size(self.shape.size),
            sector
        )?;
        writeln!(
            f,
            "{:>3} {:>12} {:>12} {:>12}  {:<22} name",
            "no", "start", "sectors", "size", "type"
        )?;
        for p in &self.partitions {
            let mut notes = p.name.clone();
            let mut note = |text: &str| {
                if !notes.is_empty() {
                    notes.push(' ');
                }
                notes.push_str(text);
            };
            if p.is_bootable {
                note("[active]");
            }
            if p.is_swap {
                note("[swap is made anew]");
            }
            if p.len != p.original_len {
                note(&format!("[was {}]", Size(p.original_len)));
            }
            writeln!(
                f,
                "{:>3} {:>12} {:>12} {:>12}  {:<22} {}",
                p.number,
                p.offset / sector,
                p.len / sector,
                Size(p.len).to_string(),
                p.kind.to_string(),
                notes
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// A partition table as a disk has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Kind of table.
    pub label: Label,
    /// The partitions in order of their numbers.
    pub partitions: Vec<PlannedPartition>,
}

/// Why an image's partition table cannot be put on a disk. Nothing has been written.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The disk's own figures make no sense.
    #[error(
        "a disk of {:#} with {logical_sector}-byte sectors cannot hold a partition table", Size(*.size)
    )]
    Shape {
        /// Capacity in bytes.
        size: u64,
        /// Logical sector size in bytes.
        logical_sector: u32,
    },
    /// The boot area file is absent or too short to hold anything.
    #[error("the image's boot area file (dN.mbr) has {len} bytes; at least {} are needed; capture the image again", .expected)]
    BootArea {
        /// Its length in bytes.
        len: usize,
        /// The least that makes sense.
        expected: usize,
    },
    /// The image was taken from a disk with other sectors. Start addresses and file systems count in
    /// sectors, so nothing of it would fit.
    #[error(
        "the image was captured from a disk with {image}-byte sectors, this disk has {disk}-byte \
         sectors; use a disk with {image}-byte sectors (an NVMe disk may be reformatted, a virtual \
         disk set in the hypervisor) or capture the image from a disk like this one"
    )]
    SectorSize {
        /// The image's logical sector size in bytes.
        image: u32,
        /// The disk's logical sector size in bytes.
        disk: u32,
    },
    /// A partition ends behind the usable end of the disk.
    #[error(
        "partition {number} needs the disk up to {:#}, the disk has room up to {:#}: it is {:#} too small",
        Size(*.end), Size(*.limit), Size(.end.saturating_sub(*.limit))
    )]
    DoesNotFit {
        /// Number of the partition that ends last.
        number: u32,
        /// First byte behind the partition.
        end: u64,
        /// First byte behind the usable area.
        limit: u64,
    },
    /// Two partitions share sectors.
    #[error("partitions {first} and {second} of the image overlap; its partition table is damaged")]
    Overlap {
        /// The one that starts first.
        first: u32,
        /// The other.
        second: u32,
    },
    /// A partition starts inside the partition table's own sectors.
    #[error(
        "partition {number} starts at byte {offset}, inside the partition table that ends at byte {limit}"
    )]
    InTable {
        /// The partition's number.
        number: u32,
        /// Its first byte.
        offset: u64,
        /// First byte behind the table.
        limit: u64,
    },
    /// The GPT backup cannot be used.
    #[error("the image's GPT backup (dN.mbr): {0}")]
    Gpt(#[from] GptError),
    /// The MBR or its logical partitions cannot be used.
    #[error("the image's MBR: {0}")]
    Mbr(#[from] MbrError),
    /// A dump cannot be read.
    #[error("{file}: {source}")]
    Dump {
        /// Which file.
        file: &'static str,
        /// The cause.
        #[source]
        source: DumpError,
    },
    /// The list of swap spaces cannot be read.
    #[error("the image's list of swap spaces (dN.original.swapuuids): {0}")]
    Swap(#[from] crate::swap::SwapError),
    /// The dump describes another table than the boot area file.
    #[error("dN.partitions does not belong to dN.mbr: {0}; capture the image again")]
    Mismatch(String),
    /// The partitions cannot be laid out on a disk of this size.
    #[error("laying out the partitions: {0}")]
    Fill(#[from] FillError),
    /// What would be written does not read back as the plan: a defect of this program.
    #[error("the new partition table failed its own check ({0}); please report this")]
    SelfCheck(String),
}
