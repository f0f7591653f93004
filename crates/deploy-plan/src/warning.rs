//! What an image needs and does not get.

use std::fmt;

use disk::{Kind, TableWarning};
use fog::encoding::printable;
use fog::store::StreamName;
use fos_api::Manifest;
use readable::Size;

use crate::{Growable, WhichDisk, WhichPartition, WhichPlace};

/// What people should know although the image can be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// About the partition table.
    Table(WhichDisk, TableWarning),
    /// A swap space that gets a UUID of its own, because the image does not record the one it had.
    SwapWithoutUuid {
        /// Where.
        which: WhichPlace,
    },
    /// A partition for swap space that is too small to become one.
    SwapTooSmall {
        /// Where.
        which: WhichPlace,
        /// Its length in bytes.
        len: u64,
    },
    /// A partition that should hold data, for which the image has none.
    NoStream {
        /// Which partition.
        which: WhichPartition,
        /// Its type.
        kind: Kind,
        /// Its length in bytes.
        len: u64,
    },
    /// A volume that should hold data, for which the image has none.
    VolumeWithoutStream {
        /// Where.
        which: WhichPlace,
        /// Its length in bytes.
        len: u64,
    },
    /// A file system that does not fill its partition, or volume.
    NotGrown {
        /// Where.
        which: WhichPlace,
        /// Length of that in bytes.
        len: u64,
        /// Name of the file system.
        filesystem: String,
        /// The file system's length in bytes.
        kept: u64,
    },
    /// A file system that should be grown, on a client that cannot do it.
    CannotGrow {
        /// Where.
        which: WhichPlace,
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
    /// The disk is larger than the image of a whole one.
    RestUnused {
        /// Which disk.
        disk: WhichDisk,
        /// Its length in bytes.
        len: u64,
        /// The length of the disk in the image, in bytes.
        used: u64,
    },
    /// A script of the server's store that FOG's client runs.
    ScriptNotRun {
        /// Its name in the store, printable.
        name: String,
        /// Why not, in a phrase.
        why: String,
    },
    /// The computer's name should be written into Windows, and is not.
    ComputerName {
        /// The name.
        name: String,
        /// Why not, in a phrase.
        why: String,
    },
}

impl Warning {
    /// What it is about, as programs know it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Table(_, TableWarning::KeepsPlaces(_)) => "keeps-places",
            Self::Table(_, TableWarning::BeyondMbr { .. }) => "beyond-mbr",
            Self::Table(..) => "table",
            Self::SwapWithoutUuid { .. } => "swap-without-uuid",
            Self::SwapTooSmall { .. } => "swap-too-small",
            Self::NoStream { .. } => "no-stream",
            Self::VolumeWithoutStream { .. } => "volume-without-stream",
            Self::NotGrown { .. } => "not-grown",
            Self::CannotGrow { .. } => "cannot-grow",
            Self::ExtendedLeftOut { .. } => "extended-left-out",
            Self::RestUnused { .. } => "rest-unused",
            Self::ScriptNotRun { .. } => "script-not-run",
            Self::ComputerName { .. } => "computer-name",
        }
    }

    /// Whether the size of the disk decides about it: such a warning says nothing of the image.
    #[must_use]
    pub fn is_about_disk_size(&self) -> bool {
        matches!(
            self,
            Self::NotGrown { .. }
                | Self::RestUnused { .. }
                | Self::Table(
                    _,
                    TableWarning::KeepsPlaces(_) | TableWarning::BeyondMbr { .. }
                )
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(disk, warning) if disk.is_only => warning.fmt(f),
            Self::Table(disk, warning) => write!(f, "{disk}: {warning}"),
            Self::SwapWithoutUuid { which } => write!(
                f,
                "{which} is swap space whose UUID the image does not record: it is made with \
                 a new one; correct what names the old one (/etc/fstab, resume=)"
            ),
            Self::SwapTooSmall { which, len } => write!(
                f,
                "{which} has {}, too little for swap space: it is left empty",
                Size(*len)
            ),
            Self::NoStream { which, kind, len } => write!(
                f,
                "{which} ({kind}, {}) is not in the image: its content stays if this disk has the \
                 same partition now, else it is left without a file system",
                Size(*len)
            ),
            Self::VolumeWithoutStream { which, len } => write!(
                f,
                "{which} ({}) is not in the image: it is left without a file system",
                Size(*len)
            ),
            Self::NotGrown {
                which,
                len,
                filesystem,
                kept,
            } => write!(
                f,
                "{which} has {}, its file system {} keeps {}: it is not grown",
                Size(*len),
                printable(filesystem, 32),
                Size(*kept)
            ),
            Self::CannotGrow { which, kind, lacks } => write!(
                f,
                "the {kind} of {which} keeps its captured size, because this boot image has no \
                 {lacks}: boot one that was made with --resize-tools, or grow the file system later"
            ),
            Self::ExtendedLeftOut { name } => write!(
                f,
                "{name} is an image of an extended partition; its content is left out"
            ),
            Self::RestUnused { disk, len, used } => write!(
                f,
                "{disk} has {}, the disk in the image {}: the rest stays unused, and the second copy of a GPT is \
                 not at the end of the disk; programs like sgdisk -e or Windows put it there",
                Size(*len),
                Size(*used)
            ),
            Self::ScriptNotRun { name, why } => write!(
                f,
                "the script {name} of the image store is not run: {why}; do by hand what it does, or boot FOG's client \
                 for this host"
            ),
            Self::ComputerName { name, why } => write!(
                f,
                "the computer name {} is not written into Windows: {why}. Rename the machine by FOG's service or in \
                 Windows",
                printable(name, 64)
            ),
        }
    }
}

/// What to say of the scripts in the image store that FOG's client would run, and this one does not. `why` is a phrase.
#[must_use]
pub fn scripts(manifest: &Manifest, why: &str) -> Vec<Warning> {
    let scripts = manifest.scripts.iter().take(MAX_SCRIPTS);
    scripts
        .map(|name| Warning::ScriptNotRun {
            name: printable(name, 80),
            why: why.to_owned(),
        })
        .collect()
}

/// FOG has two: one before the deploy, one behind it.
const MAX_SCRIPTS: usize = 4;
