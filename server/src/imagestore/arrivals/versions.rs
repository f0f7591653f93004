//! Former versions of images.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::swap::SWAP;
use super::{FileFailed, HIDDEN, at, files, make_dir, read, remove, sync_dir, write};
use crate::domain::Timestamp;
use crate::domain::capture::Origin;
use crate::domain::image::Facts;

/// What a version is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionAbout {
    /// What was known of its files when it was the present one; `None` if they were never verified.
    pub facts: Option<Facts>,
    /// Where it comes from, if that is known.
    pub origin: Option<Origin>,
    /// When another one took its place.
    pub replaced_at: Timestamp,
}

/// A former version of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Number; newer ones have greater numbers.
    pub number: u32,
    /// Its directory.
    pub dir: PathBuf,
    /// What it is.
    pub about: VersionAbout,
}

const ABOUT: &str = "about.json";

fn of_image(root: &Path, path: &str) -> PathBuf {
    root.join(HIDDEN).join("versions").join(path)
}

/// The former versions of an image, the oldest first. One that cannot be understood is left out. Blocks.
///
/// # Errors
/// If they cannot be read.
pub fn versions(root: &Path, path: &str) -> Result<Vec<Version>, FileFailed> {
    let parent = of_image(root, path);
    let entries = match std::fs::read_dir(&parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => at(&parent, entries)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let dir = at(&parent, entry)?.path();
        let number = number_of(&dir);
        // On its way to its place, or cut off before its files were in it.
        if dir.join(SWAP).exists() || !files(&dir).exists() {
            continue;
        }
        match (number, read::<VersionAbout>(&dir, ABOUT)) {
            (Some(number), Ok(Some(about))) => found.push(Version { number, dir, about }),
            (Some(number), Err(error)) => {
                tracing::error!("version {number} of {path} cannot be read, it stays: {error}");
            }
            _ => {}
        }
    }
    found.sort_by_key(|version| version.number);
    Ok(found)
}

fn number_of(dir: &Path) -> Option<u32> {
    dir.file_name()?.to_str()?.parse().ok()
}

/// Makes a version of this directory of files. Blocks.
pub(super) fn keep(
    root: &Path,
    path: &str,
    former: &Path,
    about: &VersionAbout,
) -> Result<(), FileFailed> {
    let parent = of_image(root, path);
    make_dir(&root.join(HIDDEN).join("versions"))?;
    make_dir(&parent)?;
    let entries = at(&parent, std::fs::read_dir(&parent))?;
    let taken = entries.filter_map(|entry| number_of(&entry.ok()?.path()));
    let number = taken.max().unwrap_or(0).saturating_add(1);
    let dir = parent.join(number.to_string());
    make_dir(&dir)?;
    // One that is cut off here has no files, and is removed with the next version.
    write(&dir, ABOUT, about)?;
    let to = files(&dir);
    at(&to, std::fs::rename(former, &to))?;
    sync_dir(&dir)
}

/// Removes a version. Blocks.
///
/// # Errors
/// If something of it stays.
fn remove_version(version: &Version) -> Result<(), FileFailed> {
    // First what makes it one: what is cut off in the middle is none.
    let about = version.dir.join(ABOUT);
    match std::fs::remove_file(&about) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => at(&about, removed)?,
    }
    remove(&version.dir)
}

/// Removes all versions of an image, and what is known of where its files come from. Blocks.
///
/// # Errors
/// If something stays.
pub fn remove_all(root: &Path, path: &str) -> Result<(), FileFailed> {
    super::note_origin(root, path, Timestamp(0), None)?;
    remove(&of_image(root, path))
}

/// What former versions of one image may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Number of them.
    pub count: usize,
    /// Bytes of all together; any number if not set.
    pub size: Option<u64>,
}

/// Bytes of a version's files.
fn size(version: &Version) -> Result<u64, FileFailed> {
    let lengths = super::lengths(&version.dir)?;
    Ok(lengths.into_values().fold(0, u64::saturating_add))
}

/// How many of them go, the oldest first.
fn surplus(found: &[Version], most: Most) -> Result<usize, FileFailed> {
    let by_count = found.len().saturating_sub(most.count);
    let Some(limit) = most.size else {
        return Ok(by_count);
    };
    let mut kept = 0_u64;
    for (index, version) in found.iter().enumerate().skip(by_count).rev() {
        kept = kept.saturating_add(size(version)?);
        if kept > limit {
            return Ok(index + 1);
        }
    }
    Ok(by_count)
}

/// Removes the oldest versions of an image, and what is left of some that were cut off, until there is at most `most`;
/// answers how many were removed. Blocks.
///
/// # Errors
/// If one stays.
pub fn keep_only(root: &Path, path: &str, most: Most) -> Result<usize, FileFailed> {
    let found = versions(root, path)?;
    let surplus = surplus(&found, most)?;
    for version in found.iter().take(surplus) {
        remove_version(version)?;
    }
    let parent = of_image(root, path);
    if let Ok(entries) = std::fs::read_dir(&parent) {
        for dir in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let is_whole = dir.join(ABOUT).exists() && files(&dir).exists();
            if number_of(&dir).is_some() && !is_whole && !dir.join(SWAP).exists() {
                remove(&dir)?;
            }
        }
    }
    Ok(surplus)
}
