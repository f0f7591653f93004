//! Disk images made by the original tools, and what the originals make of them.
//!
//! [`Corpus::new`] builds small file systems of every kind that is deployed in the field and clones
//! them with partclone's programs and with partimage. What these cannot be asked for (other bitmaps, format 0001, sums
//! of XXH64) comes from our own writer and is given to the original all the same.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod device;
mod filesystems;
mod images;
mod partimage;
mod wrappings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::need;

pub use device::LoopDevice;

/// What the corpus is made with, and restored with.
pub const TOOLS: [&str; 26] = [
    "blockdev",
    "bzip2",
    "losetup",
    "lz4",
    "mcopy",
    "mkfs.btrfs",
    "mkfs.exfat",
    "mkfs.ext3",
    "mkfs.ext4",
    "mkfs.vfat",
    "mkfs.xfs",
    "mkntfs",
    "ntfscp",
    "partclone.btrfs",
    "partclone.exfat",
    "partclone.ext4",
    "partclone.imager",
    "partclone.ntfs",
    "partclone.restore",
    "partclone.chkimg",
    "partclone.info",
    "partclone.xfs",
    "partimage",
    "pigz",
    "setsid",
    "xz",
];

/// A directory with source file systems and images of them. It goes when this is dropped.
#[derive(Debug)]
pub struct Corpus {
    directory: tempfile::TempDir,
    /// The images, uncompressed.
    pub images: Vec<Image>,
}

/// An image that the original accepts.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is, for people.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// How the original must be called to accept it.
    pub reference: Reference,
}

/// What the original makes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// It verifies and restores it.
    Verifies,
    /// It does not know the checksum, but restores the image with `--ignore_crc`.
    IgnoresChecksums,
    /// It is partimage's.
    Partimage,
}

/// An image as it is stored, in one way or another.
#[derive(Clone, Debug)]
pub struct Wrapped {
    /// How it is stored.
    pub name: String,
    /// The stored bytes.
    pub bytes: Vec<u8>,
}

impl Corpus {
    /// Makes file systems and images; `None` when this machine cannot, which has been told.
    ///
    /// # Panics
    /// Something is missing and nothing may be skipped, or a tool fails.
    #[must_use]
    #[track_caller]
    pub fn new() -> Option<Self> {
        // partclone's programs want root, even for plain files.
        if !need::root_and_tools(&[&TOOLS[..], &["zstd"]].concat()) {
            return None;
        }
        let mut corpus = Self {
            directory: tempfile::tempdir().unwrap(),
            images: Vec::new(),
        };
        filesystems::make(&corpus);
        images::make(&mut corpus);
        partimage::make(&mut corpus).then_some(corpus)
    }

    /// A path in the corpus's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The image of this name.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn image(&self, name: &str) -> &Image {
        let found = self.images.iter().find(|image| image.name == name);
        found.unwrap_or_else(|| panic!("no image {name}"))
    }

    /// The image stored in every way that servers store images: compressed by the original programs
    /// at several levels, in several frames or members, or not at all.
    ///
    /// # Panics
    /// A program fails.
    #[must_use]
    pub fn wrapped(&self, image: &Image) -> Vec<Wrapped> {
        wrappings::of(&fs::read(&image.path).unwrap())
    }

    /// An image of `ext3` as partimage itself stores it: compressed, in volumes, or both; the files of
    /// each.
    ///
    /// # Panics
    /// A program fails.
    #[must_use]
    pub fn stored_by_partimage(&self) -> Vec<(&'static str, Vec<PathBuf>)> {
        partimage::stored(self)
    }

    /// What the original leaves in a target of `size` bytes full of `fill`.
    ///
    /// # Panics
    /// It refuses the image.
    #[must_use]
    pub fn restored_by_original(&self, image: &Image, size: u64, fill: u8) -> Vec<u8> {
        if image.reference == Reference::Partimage {
            return partimage::restored(self, image, size, fill);
        }
        let target = self.path("target");
        fs::write(&target, vec![fill; usize::try_from(size).unwrap()]).unwrap();
        let mut command = Command::new("partclone.restore");
        command.arg("-s").arg(&image.path).arg("-O").arg(&target);
        command.arg("-L").arg(self.path("log"));
        command.args(["-q", "-f", "0"]);
        if image.reference == Reference::IgnoresChecksums {
            command.arg("--ignore_crc");
        }
        succeed(&mut command);
        fs::read(&target).unwrap()
    }
}

/// Runs a tool.
///
/// # Panics
/// It fails; its standard error is shown.
#[track_caller]
fn succeed(command: &mut Command) -> Output {
    succeed_with(command, Stdio::null())
}

/// The same with something on its standard input.
#[track_caller]
fn succeed_with(command: &mut Command, input: impl Into<Stdio>) -> Output {
    let output = tool(command).stdin(input).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The same surroundings for every tool, whatever the user's are.
fn tool(command: &mut Command) -> &mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
}

/// A sparse file of `len` bytes.
fn sparse(path: &Path, len: u64) {
    let file = fs::File::create(path).unwrap();
    file.set_len(len).unwrap();
}

/// `len` bytes that look random and are the same in every run for the same `seed`.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}
