//! Files of an image directory, whatever else is there.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Take};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::fcntl::OFlag;

use super::{Reason, Stop};

/// Opens a regular file, whatever else is there, and answers its length.
pub(super) fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    // Without waiting, should it be a FIFO.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("looking at {}", path.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    Ok((file, metadata.len()))
}

/// The bytes of a file that is no longer than it was.
pub(super) fn small_file(path: &Path, len: u64) -> anyhow::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    read_into((&file).take(len), path, &mut bytes)?;
    Ok(bytes)
}

pub(super) fn read_into(
    mut file: Take<&File>,
    path: &Path,
    bytes: &mut Vec<u8>,
) -> anyhow::Result<()> {
    file.read_to_end(bytes)
        .map(drop)
        .with_context(|| format!("reading {}", path.display()))
}

pub(super) fn bad(path: &Path, cause: &str) -> Stop {
    Stop::Refused(Reason {
        code: "image",
        is_about_disk: false,
        text: format!("{}: {cause}", path.display()),
    })
}
