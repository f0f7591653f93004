//! Kernel and initramfs as a stream. Their directory may hang: each look at it takes one of the places
//! that it has, for as long as the look takes and no longer, and waits for a bounded time.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::sync::Semaphore;

use super::boot::BOOT_LIMIT;
use super::{Ops, blocking};

/// A boot file that is open.
#[derive(Debug)]
pub(crate) struct BootFile {
    file: File,
    /// Its length when it was opened.
    len: u64,
    left: u64,
    places: Arc<Semaphore>,
}

/// Why a boot file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootFileError {
    /// There is none.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// Opening it would wait, or do something to a device.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// The disk says so.
    #[error("{} cannot be read: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    /// Its directory hangs.
    #[error(
        "the boot directory {} does not answer: look at its disk or network file system",
        .0.display()
    )]
    Hangs(PathBuf),
}

impl Ops {
    /// Opens a file of the boot directory.
    ///
    /// # Errors
    /// If it cannot be read, or its directory does not answer in time.
    pub(crate) async fn boot_file(&self, name: &str) -> Result<BootFile, BootFileError> {
        let path = self.config.boot.join(name);
        let opened = blocking(&self.boot_readers, move || open(&path));
        match tokio::time::timeout(BOOT_LIMIT, opened).await {
            Ok(Ok(opened)) => opened.map(|(file, len)| BootFile {
                file,
                len,
                left: len,
                places: Arc::clone(&self.boot_readers),
            }),
            Ok(Err(_)) | Err(_) => Err(BootFileError::Hangs(self.config.boot.clone())),
        }
    }
}

impl BootFile {
    /// Bytes of the whole file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The next bytes; `None` after the last one.
    ///
    /// # Errors
    /// If the disk fails or hangs, or the file has become shorter.
    pub(crate) async fn next(mut self) -> io::Result<Option<(Vec<u8>, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let places = Arc::clone(&self.places);
        let read = blocking(&places, move || {
            let mut bytes = Vec::with_capacity(CHUNK);
            let wanted = self.left.min(CHUNK as u64);
            let read = (&self.file).take(wanted).read_to_end(&mut bytes)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.left -= read as u64;
            Ok(Some((bytes, self)))
        });
        match tokio::time::timeout(READ_LIMIT, read).await {
            Ok(read) => read.map_err(io::Error::other)?,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }
}

fn open(path: &Path) -> Result<(File, u64), BootFileError> {
    let failed = |cause: io::Error| match cause.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => BootFileError::Missing(path.to_owned()),
        _ => BootFileError::Io {
            path: path.to_owned(),
            cause,
        },
    };
    let not_regular = || BootFileError::NotRegular(path.to_owned());
    // Looked at first: opening a device may already do something.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(not_regular());
    }
    // Without waiting, should it have become a FIFO meanwhile.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let file = options.open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    Ok((file, metadata.len()))
}

/// Bytes that are read at a time; each download has as many in memory until its client took them.
const CHUNK: usize = 64 << 10;

/// How long the next bytes of a file may take. Its client has the first ones, and would have to begin
/// again.
const READ_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(path: &Path, places: &Arc<Semaphore>) -> BootFile {
        let (file, len) = open(path).unwrap();
        BootFile {
            file,
            len,
            left: len,
            places: Arc::clone(places),
        }
    }

    /// A client that reads slowly keeps nobody from reading.
    #[tokio::test]
    async fn a_place_is_held_while_it_is_read_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init.xz");
        let content: Vec<u8> = (0..251).cycle().take(CHUNK * 2 + 5).collect();
        std::fs::write(&path, &content).unwrap();
        let places = Arc::new(Semaphore::new(1));
        let slow = opened(&path, &places);
        let (first, slow) = slow.next().await.unwrap().unwrap();
        let mut all = Vec::new();
        let mut next = opened(&path, &places);
        while let Some((bytes, rest)) = next.next().await.unwrap() {
            all.extend(bytes);
            next = rest;
        }
        assert!(all == content);
        let (second, slow) = slow.next().await.unwrap().unwrap();
        assert!([first, second].concat() == content[..CHUNK * 2]);
        // What is shorter now ends with an error: its client must not take it for whole.
        std::fs::write(&path, b"short").unwrap();
        let error = slow.next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_waited_for_in_a_place_and_for_a_bounded_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init.xz");
        std::fs::write(&path, b"content").unwrap();
        let places = Arc::new(Semaphore::new(1));
        let hanging = places.try_acquire().unwrap();
        let error = opened(&path, &places).next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(hanging);
        let (bytes, _) = opened(&path, &places).next().await.unwrap().unwrap();
        assert_eq!(bytes, b"content");
    }
}
