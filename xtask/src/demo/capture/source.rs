//! The disk that is captured: a small one with files of every kind, or a Debian that boots by itself. Made once for each
//! version of its recipe.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    super::{cache, client::Firmware, image},
    debian,
};
use crate::process::Cmd;

/// A system that boots by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// MBR and GRUB for a BIOS; ext4, and swap in a logical partition
    Bios,
}

impl System {
    pub(super) const fn firmware(self) -> Firmware {
        match self {
            Self::Bios => Firmware::Bios,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
        }
    }
}

/// A disk to capture.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) disk: PathBuf,
    /// Bytes of it.
    pub(super) len: u64,
    /// Bytes of a disk that its image has to fit on.
    pub(super) smaller_len: u64,
    /// What is on it, in words.
    pub(super) words: &'static str,
}

const MIB: u64 = 1 << 20;

/// Finds the disk in the cache, or makes it.
pub(super) fn prepare(system: Option<System>) -> Result<Source> {
    let mut hasher = DefaultHasher::new();
    include_str!("source.rs").hash(&mut hasher);
    include_str!("../image.rs").hash(&mut hasher);
    if system.is_some() {
        include_str!("debian.rs").hash(&mut hasher);
    }
    let kind = system.map_or("files", System::name);
    let prefix = format!("disk-{kind}-");
    let version = format!("{prefix}{:016x}", hasher.finish());
    let dir = cache::find_or_make((&prefix, &version, &version), |work, made| {
        let disk = made.join(DISK);
        match system {
            None => make_files(work, &disk),
            Some(System::Bios) => debian::make(work, &disk),
        }
    })?;
    let disk = dir.join(DISK);
    let len = fs::metadata(&disk)
        .with_context(|| format!("reading {}", disk.display()))?
        .len();
    Ok(Source {
        disk,
        len,
        smaller_len: match system {
            None => SMALLER_MIB * MIB,
            Some(System::Bios) => debian::SMALLER_LEN,
        },
        words: match system {
            None => "ext4, swap and NTFS",
            Some(System::Bios) => "a Debian for BIOS on ext4, with swap",
        },
    })
}

const DISK: &str = "disk.raw";
const DISK_MIB: u64 = 1260;
/// NTFS keeps 500 MB for what Windows writes at its first start.
const SMALLER_MIB: u64 = 760;

/// A swap space in front of a file system that is fitted, so that it moves.
const TABLE: &str = "label: gpt\n\
    label-id: 5F0C0003-2D1A-4C0E-9A6B-0000000000FF\n\
    start=1MiB, size=400MiB, type=L, uuid=5F0C0003-2D1A-4C0E-9A6B-000000000001, name=\"root\"\n\
    size=48MiB, type=S, uuid=5F0C0003-2D1A-4C0E-9A6B-000000000002, name=\"swap\"\n\
    size=800MiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=5F0C0003-2D1A-4C0E-9A6B-000000000003, name=\"data\"\n";

fn make_files(work: &Path, disk: &Path) -> Result<()> {
    println!("==> making the disk that is captured, with mkfs and sfdisk");
    File::create(disk)?.set_len(DISK_MIB * MIB)?;
    let table = work.join("table");
    fs::write(&table, TABLE)?;
    let (table, disk_text) = (table.display(), disk.display());
    Cmd::new("sh")
        .args(["-c", &format!("sfdisk -q '{disk_text}' < '{table}'")])
        .quiet()
        .context("partitioning the disk")?;
    let mut start = MIB;
    for (number, kind, mib, content_mib) in [
        (1, "extfs", 400, 48),
        (2, "swap", 48, 0),
        (3, "ntfs", 800, 24),
    ] {
        let raw = work.join(format!("p{number}.raw"));
        File::create(&raw)?.set_len(mib * MIB)?;
        if kind == "swap" {
            Cmd::new("mkswap").args(["-U", SWAP]).arg(&raw).quiet()?;
        } else {
            let tree = work.join(format!("tree{number}"));
            image::fill(&tree, content_mib * MIB, 20 + number)?;
            image::make_file_system(kind, ROOT, &raw, &tree)
                .with_context(|| format!("making the file system of partition {number}"))?;
        }
        image::copy_into(&raw, disk, start)?;
        fs::remove_file(&raw)?;
        start += mib * MIB;
    }
    Ok(())
}

const ROOT: &str = "5f0c0003-2d1a-4c0e-9a6b-0000000000aa";
const SWAP: &str = "5f0c0003-2d1a-4c0e-9a6b-0000000000bb";
