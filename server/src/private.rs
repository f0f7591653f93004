//! Files that only the server's own user and root may touch: tickets, logs, and a lock that any reader
//! could hold.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Creates a directory where it is missing, and takes the rights of others from one that is there.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    tighten(path, &path.metadata()?);
    Ok(())
}

/// Opens a file for writing, created where it is missing; its content stays.
///
/// # Errors
/// If it cannot be opened.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    tighten(path, &file.metadata()?);
    Ok(file)
}

/// Earlier versions left it open to others. No error if it cannot be changed (another user's, a file
/// system without rights): the server works all the same.
fn tighten(path: &Path, found: &std::fs::Metadata) {
    let mode = found.permissions().mode();
    // A directory for everybody (`/tmp`) is not ours to close.
    let is_shared = mode & 0o1000 != 0;
    if mode & 0o077 == 0 || is_shared {
        return;
    }
    if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7700)) {
        tracing::warn!("server: {} is open to other users: {error}", path.display());
    }
}
