//! Images that are captured, on their way into the image store, and versions that were there before.
//!
//! All of it is in one hidden directory below the image root, so that a rename brings an image to its place:
//!
//! ```text
//! .fos/lock                        held by the server that takes captures
//! .fos/arriving/ID/record.json     what it is and how far it is
//! .fos/arriving/ID/files/          what has arrived
//! .fos/arriving/ID/swap.json       it is being brought to its place (see `swap`)
//! .fos/versions/DIRNAME/N/         a former version: about.json, files/
//! .fos/about/DIRNAME.json          where the present files come from
//! ```
//!
//! Nobody else has anything to do in it: it is of the server's user alone.

mod pieces;
mod record;
mod swap;
mod versions;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use pieces::{Piece, PieceError, lengths, make_empty, store_piece};
pub use record::{Owner, Record, Stage};
pub use swap::{
    Prepared, Swap, SwapError, Way, exchange, finish, forget, interrupted, is_begun, noted, prepare,
};
pub use versions::{Most, Version, VersionAbout, keep_only, remove_all, versions};

use super::dir::shown;
use super::examine::examine_at;
use super::{ExamineError, Examined, Wanted};
use crate::domain::Timestamp;
use crate::domain::capture::Origin;

/// Name of the hidden directory.
pub const HIDDEN: &str = ".fos";

/// Why something of an arriving image cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", shown(.path))]
pub struct FileFailed {
    /// Which file or directory.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub cause: io::Error,
}

impl FileFailed {
    /// Whether it is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.cause.kind() == io::ErrorKind::NotFound
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Adds the place to an error.
fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, FileFailed> {
    result.map_err(|cause| FileFailed {
        path: path.to_owned(),
        cause,
    })
}

/// The directory of an arriving image.
#[must_use]
pub fn arriving(root: &Path, id: &str) -> PathBuf {
    root.join(HIDDEN).join("arriving").join(id)
}

/// Where its files are.
#[must_use]
pub fn files(dir: &Path) -> PathBuf {
    dir.join("files")
}

/// The right to take captures below an image root, given back when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Option<Flock<File>>,
}

impl Lock {
    /// `None` if another server has it. Makes the hidden directory. Blocks.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub fn take(root: &Path) -> Result<Option<Self>, FileFailed> {
        let hidden = root.join(HIDDEN);
        make_dir(&hidden)?;
        let path = hidden.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = at(&path, options.open(&path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { _file: Some(lock) })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            // A file system that knows no locks.
            Err((_, nix::errno::Errno::ENOLCK | nix::errno::Errno::EOPNOTSUPP)) => {
                Ok(Some(Self { _file: None }))
            }
            Err((_, errno)) => at(&path, Err(errno.into())),
        }
    }
}

/// Begins an arriving image: its directory, with its record, which then says which directory that is. Blocks.
///
/// # Errors
/// If it cannot be written.
pub fn begin(root: &Path, id: &str, record: &mut Record) -> Result<PathBuf, FileFailed> {
    let parent = root.join(HIDDEN).join("arriving");
    make_dir(&root.join(HIDDEN))?;
    make_dir(&parent)?;
    let dir = parent.join(id);
    make_dir(&dir)?;
    // What is published has the mode of this directory.
    let files = files(&dir);
    let made = DirBuilder::new().mode(0o755).create(&files);
    at(&files, made)?;
    record.inode = inode(&files)?;
    write(&dir, RECORD, record)?;
    sync_dir(&parent)?;
    Ok(dir)
}

/// Stores how far it is. Blocks.
///
/// # Errors
/// If it cannot be written.
pub fn note(dir: &Path, record: &Record) -> Result<(), FileFailed> {
    write(dir, RECORD, record)
}

/// All arriving images, with their records; what cannot be understood is removed, but for what is on its way to its
/// place. Blocks.
///
/// # Errors
/// If the directory cannot be read.
pub fn list(root: &Path) -> Result<Vec<(String, Record)>, FileFailed> {
    let parent = root.join(HIDDEN).join("arriving");
    let entries = match std::fs::read_dir(&parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => at(&parent, entries)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = at(&parent, entry)?;
        let dir = entry.path();
        let name = entry.file_name().into_string();
        match (name, read::<Record>(&dir, RECORD)) {
            (Ok(id), Ok(Some(record))) => found.push((id, record)),
            // It was cut off while it was made.
            (_, Ok(None)) => {
                if let Err(error) = remove(&dir) {
                    tracing::error!("captures: what is left of one is not removed: {error}");
                }
            }
            (name, Err(error)) => {
                let name = name.unwrap_or_default();
                tracing::error!(
                    "captures: the record of {name:?} cannot be read, it stays: {error}"
                );
            }
            (Err(_), Ok(Some(_))) => {}
        }
    }
    Ok(found)
}

/// Removes the files of an arriving image of which nothing becomes. If the former image is there, whose place they took,
/// that becomes a version of unknown content, from this time on. Blocks.
///
/// # Errors
/// If something stays.
pub fn remove_files(
    root: &Path,
    dir: &Path,
    record: &Record,
    now: Timestamp,
) -> Result<(), FileFailed> {
    let left = files(dir);
    let found = inode(&left)?;
    if found.is_none() || record.inode.is_none() || found == record.inode {
        return remove(&left);
    }
    tracing::warn!(
        "captures: {} has a former image {}, which becomes a version",
        shown(&left),
        shown(Path::new(&record.path))
    );
    let about = VersionAbout {
        facts: None,
        origin: None,
        replaced_at: now,
    };
    versions::keep(root, &record.path, &left, &about)
}

/// Which file or directory it is, whatever it is called; `None` if there is nothing.
fn inode(path: &Path) -> Result<Option<u64>, FileFailed> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(found.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => at(path, Err(error)),
    }
}

/// Takes the files of an image out of its place and removes them, and its versions. Blocks.
///
/// # Errors
/// If something stays.
pub fn discard(root: &Path, path: &str, id: &str) -> Result<(), FileFailed> {
    let place = root.join(path);
    if place.symlink_metadata().is_ok() {
        make_dir(&root.join(HIDDEN))?;
        make_dir(&root.join(HIDDEN).join("arriving"))?;
        // Without a record it is removed at the next start, if this is cut off.
        let away = arriving(root, id);
        at(&place, std::fs::rename(&place, &away))?;
        sync_dir(root)?;
        remove(&away)?;
    }
    remove_all(root, path)
}

/// Removes a directory with all that is in it. Blocks.
///
/// # Errors
/// If something stays.
pub fn remove(dir: &Path) -> Result<(), FileFailed> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => at(dir, removed),
    }
}

/// Bytes that are free for the server at the image root; `None` where that is not told. Blocks.
#[must_use]
pub fn free(root: &Path) -> Option<u64> {
    let found = statvfs(root).ok()?;
    let blocks: u64 = found.blocks_available();
    Some(blocks.saturating_mul(found.fragment_size()))
}

/// Whether the place of an image can be taken by a capture. Blocks.
///
/// # Errors
/// With what is there.
pub fn check_place(root: &Path, path: &str) -> Result<Place, String> {
    let full = root.join(path);
    match full.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Free),
        Err(error) => Err(format!("{}: {error}", shown(&full))),
        Ok(found) if found.is_dir() => match movable(root, &full, found.dev()) {
            Ok(()) => Ok(Place::Directory),
            Err(error) => Err(format!("{}: {error}", shown(&full))),
        },
        Ok(found) if found.is_symlink() => Err(format!(
            "{} is a link to a directory elsewhere, which a capture cannot replace; put the directory itself \
             there, or capture into another image",
            shown(&full)
        )),
        Ok(_) => Err(format!(
            "{} is not a directory; move it away, or capture into another image",
            shown(&full)
        )),
    }
}

/// Whether a directory could be moved elsewhere below the root; that it can be is known only when it is done.
fn movable(root: &Path, full: &Path, device: u64) -> Result<(), String> {
    let of_root = root.metadata().map_err(|error| error.to_string())?;
    if of_root.dev() != device {
        return Err(
            "it is a file system or a subvolume of its own, which cannot be put elsewhere; move what is in it into \
             a plain directory, or capture into another image"
                .to_owned(),
        );
    }
    // A directory is changed when it gets another parent.
    match access(full, AccessFlags::W_OK) {
        Ok(()) => Ok(()),
        Err(error) => Err(format!(
            "{error}: the server may not write there; give the directory to the server's user"
        )),
    }
}

/// What is at the place of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing.
    Free,
    /// A directory.
    Directory,
}

/// Reads and decodes all of an image that has arrived. Blocks, for as long as that takes.
///
/// # Errors
/// At the first thing that is not good.
pub fn examine(
    dir: &Path,
    wanted: &Wanted,
    now: Timestamp,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Examined, ExamineError> {
    examine_at(&files(dir), wanted, now, progress)
}

/// Where the present files of an image come from; `None` if that is not known, or its files are others by now.
#[must_use]
pub fn origin(root: &Path, path: &str, checked_at: Timestamp) -> Option<Origin> {
    let parent = root.join(HIDDEN).join("about");
    let about: Option<AboutPresent> = read(&parent, &format!("{path}.json")).ok().flatten();
    about
        .filter(|about| about.checked_at == checked_at)
        .map(|about| about.origin)
}

/// What is kept of the present files of an image.
#[derive(Debug, Serialize, serde::Deserialize)]
struct AboutPresent {
    /// The verification that it belongs to.
    checked_at: Timestamp,
    origin: Origin,
}

fn note_origin(
    root: &Path,
    path: &str,
    checked_at: Timestamp,
    origin: Option<&Origin>,
) -> Result<(), FileFailed> {
    let parent = root.join(HIDDEN).join("about");
    make_dir(&parent)?;
    let name = format!("{path}.json");
    match origin {
        Some(origin) => {
            let origin = origin.clone();
            write(&parent, &name, &AboutPresent { checked_at, origin })
        }
        None => match std::fs::remove_file(parent.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => at(&parent.join(&name), removed),
        },
    }
}

const RECORD: &str = "record.json";

/// Most bytes of a file of ours: the facts of an image of many files.
const MAX_JSON: u64 = 64 << 20;

/// Writes a value so that there is always the former one or the new one, and it is on the disk.
fn write(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), FileFailed> {
    let path = dir.join(name);
    let partial = dir.join(format!("{name}.new"));
    let bytes = serde_json::to_vec(value).map_err(io::Error::other);
    let bytes = at(&path, bytes)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&partial).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    at(&partial, written)?;
    at(&path, std::fs::rename(&partial, &path))?;
    sync_dir(dir)
}

/// Reads a value; `None` if it is not there.
fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, FileFailed> {
    use std::io::Read as _;

    let path = dir.join(name);
    let file = match File::open(&path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        file => at(&path, file)?,
    };
    let mut bytes = Vec::new();
    let taken = file.take(MAX_JSON).read_to_end(&mut bytes);
    at(&path, taken)?;
    let value = serde_json::from_slice(&bytes).map_err(io::Error::other);
    at(&path, value).map(Some)
}

fn make_dir(path: &Path) -> Result<(), FileFailed> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => {
            at(path, made)?;
            match path.parent() {
                Some(parent) => sync_dir(parent),
                None => Ok(()),
            }
        }
    }
}

/// So that names in it survive a power cut.
fn sync_dir(dir: &Path) -> Result<(), FileFailed> {
    at(dir, File::open(dir).and_then(|dir| dir.sync_all()))
}

#[cfg(test)]
mod tests;
