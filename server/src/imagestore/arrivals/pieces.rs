//! Pieces of files, each on the disk before it counts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{FileFailed, at, files, sync_dir};

/// A piece of a file.
#[derive(Debug)]
pub struct Piece {
    /// Its file.
    pub name: String,
    /// Where it belongs, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a piece is not stored.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    /// There is a gap before it.
    #[error("the piece begins behind what is stored")]
    Gap,
    /// The disk.
    #[error(transparent)]
    File(#[from] FileFailed),
}

/// The files of an arriving image with their lengths. Blocks.
///
/// # Errors
/// If they cannot be read.
pub fn lengths(dir: &Path) -> Result<BTreeMap<String, u64>, FileFailed> {
    let files = files(dir);
    let mut found = BTreeMap::new();
    for entry in at(&files, std::fs::read_dir(&files))? {
        let entry = at(&files, entry)?;
        let metadata = at(&entry.path(), entry.metadata())?;
        if let Ok(name) = entry.file_name().into_string() {
            found.insert(name, metadata.len());
        }
    }
    Ok(found)
}

/// Opens a file of an arriving image for writing, made if it is not there. Blocks.
///
/// # Errors
/// If that is not possible.
fn open_new(dir: &Path, name: &str) -> Result<File, FileFailed> {
    let files = files(dir);
    let path = files.join(name);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NOFOLLOW);
    match options.open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = options.create_new(true).mode(0o644).open(&path);
            let file = at(&path, made)?;
            sync_dir(&files)?;
            Ok(file)
        }
        file => at(&path, file),
    }
}

/// Makes a file without bytes, if it is not there. Blocks.
///
/// # Errors
/// If that is not possible.
pub fn make_empty(dir: &Path, name: &str) -> Result<(), FileFailed> {
    let file = open_new(dir, name)?;
    at(&files(dir).join(name), file.sync_all())
}

/// Stores a piece of a file of which `stored` bytes are there; answers how many are there now. What was stored in an
/// earlier life of the server may have been cut off in the middle, so a piece that is there already is compared, and
/// written again if it is another one. Blocks.
///
/// # Errors
/// If there would be a gap, or it cannot be written. What was there is there.
pub fn store_piece(dir: &Path, piece: &Piece, stored: u64) -> Result<u64, PieceError> {
    if piece.offset > stored {
        return Err(PieceError::Gap);
    }
    let path = files(dir).join(&piece.name);
    let file = open_new(dir, &piece.name)?;
    let len = piece.bytes.len() as u64;
    let end = piece.offset.saturating_add(len);
    if end <= stored && is_same(&file, piece) {
        return Ok(stored);
    }
    let written = file
        .write_all_at(&piece.bytes, piece.offset)
        // An attempt that failed may have left more.
        .and_then(|()| file.set_len(end))
        .and_then(|()| file.sync_all());
    at(&path, written)?;
    Ok(end)
}

fn is_same(file: &File, piece: &Piece) -> bool {
    let mut found = vec![0; piece.bytes.len()];
    file.read_exact_at(&mut found, piece.offset).is_ok() && found == piece.bytes
}
