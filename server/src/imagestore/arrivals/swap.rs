//! Bringing an image to its place, and what was there out of it.
//!
//! A note of what is to be done is stored first, then the database says what the image is, then the directories
//! change places, at once where the file system can do that. Whoever finds the note after a crash does the same again:
//! which directory is which is known by the number of its inode, which a rename does not change.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::versions::{VersionAbout, keep};
use super::{
    FileFailed, HIDDEN, RECORD, at, files, inode, make_dir, note_origin, read, remove, shown,
    sync_dir, write,
};
use crate::domain::capture::Origin;
use crate::domain::image::Facts;
use crate::domain::{ImageId, TaskId};

/// What is to be brought to its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swap {
    /// Image.
    pub image: ImageId,
    /// Its directory below the image root.
    pub path: String,
    /// What is known of the new files.
    pub facts: Facts,
    /// Where they come from.
    pub origin: Option<Origin>,
    /// What is there until then, if anything is.
    pub former: Option<VersionAbout>,
    /// The task that it is done for.
    pub task: Option<TaskId>,
    /// Inode of the directory of the new files.
    inode: u64,
}

/// What is known before.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// See [`Swap::image`].
    pub image: ImageId,
    /// See [`Swap::path`].
    pub path: String,
    /// See [`Swap::facts`].
    pub facts: Facts,
    /// See [`Swap::origin`].
    pub origin: Option<Origin>,
    /// See [`Swap::former`].
    pub former: Option<VersionAbout>,
    /// See [`Swap::task`].
    pub task: Option<TaskId>,
}

/// Why an image is not at its place.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Something else is there, of which nobody knew.
    #[error("{} is there, and is not of this image; move it away", shown(.0))]
    Taken(PathBuf),
    /// The new files are gone.
    #[error("{} is gone; was it moved by hand?", shown(.0))]
    Gone(PathBuf),
    /// The disk.
    #[error(transparent)]
    File(#[from] FileFailed),
}

pub(super) const SWAP: &str = "swap.json";

/// Where the former files are while two directories change places in turn.
const BESIDE: &str = "former";

/// Notes that the files in `dir` are to be brought to their place. Blocks.
///
/// # Errors
/// If it cannot be written.
pub fn prepare(dir: &Path, prepared: Prepared) -> Result<Swap, FileFailed> {
    let new = files(dir);
    let inode = inode(&new)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    let inode = at(&new, inode)?;
    let Prepared {
        image,
        path,
        facts,
        origin,
        former,
        task,
    } = prepared;
    let swap = Swap {
        image,
        path,
        facts,
        origin,
        former,
        task,
        inode,
    };
    write(dir, SWAP, &swap)?;
    Ok(swap)
}

/// Forgets the note: nothing was done yet. Blocks.
///
/// # Errors
/// If it stays.
pub fn forget(dir: &Path) -> Result<(), FileFailed> {
    let path = dir.join(SWAP);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => at(&path, removed),
    }
}

/// Whether directories have changed places already, so that there is no way back. Blocks.
///
/// # Errors
/// If that cannot be seen.
pub fn is_begun(root: &Path, dir: &Path, swap: &Swap) -> Result<bool, FileFailed> {
    let is_at_place = inode(&root.join(&swap.path))? == Some(swap.inode);
    Ok(is_at_place || inode(&dir.join(BESIDE))?.is_some())
}

/// The directories of images that were on their way to their places. A note that cannot be read is reported, and
/// stays. Blocks.
///
/// # Errors
/// If the directories cannot be read.
pub fn interrupted(root: &Path) -> Result<Vec<(PathBuf, Swap)>, FileFailed> {
    let hidden = root.join(HIDDEN);
    let mut found = Vec::new();
    let versions = entries(&hidden.join("versions"))?;
    let mut parents = vec![hidden.join("arriving")];
    parents.extend(versions);
    for parent in parents {
        for dir in entries(&parent)? {
            match read::<Swap>(&dir, SWAP) {
                Ok(Some(swap)) => found.push((dir, swap)),
                Ok(None) => {}
                Err(error) => tracing::error!(
                    "captures: what is to be brought to its place is not known, and stays: {error}"
                ),
            }
        }
    }
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, FileFailed> {
    match std::fs::read_dir(dir) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        entries => at(dir, entries)?
            .map(|entry| at(dir, entry).map(|entry| entry.path()))
            .collect(),
    }
}

/// How two directories change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// At once (Linux, most file systems).
    AtOnce,
    /// One after the other: for a moment the image is not there.
    InTurn,
}

/// Brings the new files to their place, and the former ones, if there are any, to where these were. Does nothing if
/// that is done. Blocks.
///
/// # Errors
/// If it is not possible. The former files are at their place, or beside it: it may be tried again.
pub fn exchange(root: &Path, dir: &Path, swap: &Swap, way: Way) -> Result<(), SwapError> {
    let (new, place, beside) = (files(dir), root.join(&swap.path), dir.join(BESIDE));
    if inode(&place)? != Some(swap.inode) {
        if inode(&new)? != Some(swap.inode) {
            return Err(SwapError::Gone(new));
        }
        if inode(&place)?.is_none() {
            // Nobody else's directory is replaced, even if it comes at this moment.
            let renamed = renameat_with(CWD, &new, CWD, &place, RenameFlags::NOREPLACE);
            match renamed.map_err(io::Error::from) {
                Err(error) if is_unknown(&error) => at(&place, std::fs::rename(&new, &place))?,
                renamed => at(&place, renamed)?,
            }
        } else if swap.former.is_none() {
            return Err(SwapError::Taken(place));
        } else {
            let exchanged = match way {
                Way::AtOnce => renameat_with(CWD, &new, CWD, &place, RenameFlags::EXCHANGE)
                    .map_err(io::Error::from),
                Way::InTurn => Err(io::ErrorKind::Unsupported.into()),
            };
            match exchanged {
                Err(error) if is_unknown(&error) => {
                    at(&place, std::fs::rename(&place, &beside))?;
                    sync_dir(dir)?;
                    at(&place, std::fs::rename(&new, &place))?;
                }
                exchanged => at(&place, exchanged)?,
            }
        }
    }
    sync_dir(root)?;
    if inode(&beside)?.is_some() {
        at(&new, std::fs::rename(&beside, &new))?;
    }
    sync_dir(dir)?;
    Ok(())
}

/// Whether a file system cannot do it.
fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
    )
}

/// After [`exchange`]: notes where the present files come from, and makes a version of the former ones, or removes
/// the directory if there were none. Blocks.
///
/// # Errors
/// If it is not possible. It may be tried again.
pub fn finish(root: &Path, dir: &Path, swap: &Swap) -> Result<(), FileFailed> {
    make_dir(&root.join(HIDDEN))?;
    note_origin(
        root,
        &swap.path,
        swap.facts.checked_at,
        swap.origin.as_ref(),
    )?;
    let left = files(dir);
    if let Some(former) = &swap.former
        && left.exists()
    {
        keep(root, &swap.path, &left, former)?;
    }
    match dir.join(RECORD).exists() {
        // Who sent it may still ask what became of it.
        true => forget(dir),
        false => remove(dir),
    }
}

/// What is to be brought to its place from this directory, if that was noted. Blocks.
///
/// # Errors
/// If the note cannot be read.
pub fn noted(dir: &Path) -> Result<Option<Swap>, FileFailed> {
    read(dir, SWAP)
}
