//! What is not captured, and what to do about it.

use deploy_plan::WhichPlace;
use disk::LabelKind;
use fog::task::ImageType;

use crate::FileSystem;

/// Why nothing is captured. Nothing was read but what it took to find that out, and nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A file system that was not left in order.
    #[error("{which} ({kind}) was not left in order: {}; then capture it again", mend(*.kind))]
    Dirty {
        /// Which partition or volume.
        which: WhichPlace,
        /// What is on it.
        kind: FileSystem,
    },
    /// A Windows that sleeps.
    #[error(
        "{which} has a Windows that hibernates, or was shut down with Fast Startup: start it, switch Fast Startup off \
         (powercfg /h off), shut it down, and capture it again"
    )]
    Hibernated {
        /// Which partition or volume.
        which: WhichPlace,
    },
    /// Encrypted data.
    #[error(
        "{which} is encrypted ({format}), so an image would have all of it, and open on no other machine: {}",
        decrypt(.format)
    )]
    Encrypted {
        /// Which partition or volume.
        which: WhichPlace,
        /// The format.
        format: &'static str,
    },
    /// A part of something larger.
    #[error(
        "{which} is {kind}, which has to be captured as a whole: capture it from within its system, or the whole disk \
         as it is (--type dd)"
    )]
    Member {
        /// Which partition or volume.
        which: WhichPlace,
        /// Of what.
        kind: LabelKind,
    },
    /// A disk without partitions.
    #[error(
        "{disk} has no partition table{}: capture it as it is (--type dd)",
        .label.as_ref().map(|label| format!(", but {label}")).unwrap_or_default()
    )]
    NoTable {
        /// Which disk.
        disk: String,
        /// What it has instead.
        label: Option<String>,
    },
    /// A table without anything in it.
    #[error("{disk} has no partition with data")]
    NoData {
        /// Which disk.
        disk: String,
    },
    /// A program that this machine lacks.
    #[error(
        "{which} ({kind}) is read by the program {program}, which this machine does not have: install partclone, or boot \
         a client made with `cargo xtask initramfs --capture`"
    )]
    Program {
        /// Which partition or volume.
        which: WhichPlace,
        /// What is on it.
        kind: FileSystem,
        /// The program.
        program: &'static str,
    },
    /// An image of one disk.
    #[error("an image of the type {} is of one disk, and {count} are given: use --type mpa", .image_type.word())]
    SeveralDisks {
        /// The type.
        image_type: ImageType,
        /// How many.
        count: usize,
    },
    /// More disks than an image has.
    #[error("an image has at most {max} disks, and {count} are given")]
    TooManyDisks {
        /// The limit.
        max: usize,
        /// How many.
        count: usize,
    },
    /// A partition beyond its disk.
    #[error("{which} ends behind the end of the disk: the partition table is damaged")]
    BeyondDisk {
        /// Which partition or volume.
        which: WhichPlace,
    },
    /// It could not be deployed again.
    #[error("an image of this disk could not be deployed: {0}")]
    NotDeployable(String),
}

fn mend(kind: FileSystem) -> &'static str {
    match kind {
        FileSystem::Ntfs | FileSystem::Fat | FileSystem::ExFat => {
            "start its Windows, let it check the drive (chkdsk /f), and shut it down"
        }
        FileSystem::Ext => "check it (e2fsck -f), or start its system and shut it down",
        _ => "start its system, and shut it down",
    }
}

fn decrypt(format: &str) -> &'static str {
    match format {
        "BitLocker" => {
            "switch BitLocker off (manage-bde -off C:), wait until it has decrypted, and capture again"
        }
        _ => "capture a machine without encryption, or the whole disk as it is (--type dd)",
    }
}
