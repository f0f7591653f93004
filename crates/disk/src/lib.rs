//! Disks: found, chosen, planned, written.
//!
//! [`probe()`] reads sysfs, [`choose()`] picks the one to overwrite, [`plan_table`] computes a partition
//! table for it without touching it, and [`Target`] carries the plan out: [`Target::make_unbootable`]
//! before the first byte of data (which also clears the labels of earlier uses, [`label_ranges`]), a
//! [`RegionWriter`] per partition, [`Target::make_bootable`] once
//! every byte is known to be good and on the disk. Whatever fails in between leaves a disk that has
//! no partition table and no boot code.
//!
//! The crate knows neither images nor networks. Nothing here asks udev or runs another program.

#![warn(missing_docs)]

mod choose;
mod fat;
mod health;
mod labels;
mod lvm;
mod ntfs;
mod probe;
mod shape;
mod signatures;
mod source;
mod swap;
mod sys;
mod table;
mod target;

pub use choose::{
    Candidates, Choice, ChooseError, Hint, Labelled, Overwrites, Wish, choose, choose_several,
    knows_all_names, resolve_link,
};
pub use fat::{ReadAt, fat_has_file};
pub use health::{HEALTH_PAGE_LEN, ata_smart_data, ata_smart_status, nvme_health, scsi_log_page};
pub use labels::{DiskLabel, LabelKind, labels_in};
pub use lvm::{
    BackupVolume, GroupBackup, GroupError, GroupPlan, LvmTextError, PhysicalVolume, Sizing,
    VolumeDemand, VolumePlace,
};
pub use ntfs::{BootCopies, NTFS_BOOT_LEN_MAX, NtfsMarks, boot_copies, has_old_marks, ntfs_marks};
pub use probe::{Disk, InUse, ProbeError, Roots, Transport, probe, probe_in, uses_of};
pub use shape::shape_of;
pub use signatures::{BACK_LEN, FRONT_LEN, label_ranges};
pub use source::SourceDisk;
pub use swap::{SWAP_LEN_MIN, SWAP_PAGE, SwapError, swap_header, swap_uuids};
pub use table::{
    CapturedTable, Dump, DumpError, DumpLabel, DumpPartition, FillError, FillPartition, GptError,
    Kind, Label, Layout, MbrError, Placed, PlanError, PlannedPartition, Shape, Table, TableFiles,
    TablePlan, TableWarning, TableWrite, fill, plan_table, read_table, source_shape,
};
pub use target::{
    BootReport, Fault, OldTable, OpenError, Operation, RegionDevice, RegionWriter, TableError,
    Target, WriteError, WriteReport, WriterOptions,
};
pub use uuid::Uuid;
