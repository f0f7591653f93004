//! An image directory, which nobody sees before it is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::super::stream::Sinking;

/// A directory beside the wanted one, until it takes its name.
pub(crate) struct Directory {
    target: PathBuf,
    parent: PathBuf,
    work: PathBuf,
    /// Held, so that a second capture into the same directory finds out.
    lock: File,
    is_published: bool,
}

impl Directory {
    /// Makes the directory beside `target`, which must not hold anything. What a capture has left that was killed is
    /// removed.
    ///
    /// # Errors
    /// There is something already, or it cannot be made.
    pub(crate) fn new(target: &Path) -> anyhow::Result<Self> {
        let target = std::path::absolute(target).context("finding the directory")?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            bail!("{} cannot be an image directory", target.display());
        };
        check_free(&target)?;
        let mut work_name = OsString::from(".");
        work_name.push(name);
        work_name.push(".capturing");
        let work = parent.join(work_name);
        let lock = loop {
            match fs::create_dir(&work) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| {
                        format!(
                            "making {}, in which the image is kept until it is whole",
                            work.display()
                        )
                    });
                }
                Ok(()) | Err(_) => {}
            }
            let lock = match File::open(&work) {
                // It was published, or removed, at this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.with_context(|| format!("opening {}", work.display()))?,
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => bail!(
                    "another capture into {} runs: wait for its end, or choose another directory",
                    target.display()
                ),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", work.display()));
                }
            }
            let held = lock.metadata().context("looking at a directory")?;
            if fs::metadata(&work).is_ok_and(|named| named.ino() == held.ino()) {
                break lock;
            }
        };
        let directory = Self {
            parent: parent.to_owned(),
            target: target.clone(),
            work,
            lock,
            is_published: false,
        };
        directory
            .empty()
            .context("removing what an earlier capture has left")?;
        Ok(directory)
    }

    /// Bytes that there is room for.
    pub(crate) fn room(&self) -> Option<u64> {
        let found = nix::sys::statvfs::statvfs(&self.work).ok()?;
        let unit = found.fragment_size();
        Some(found.blocks_available().saturating_mul(unit))
    }

    pub(super) fn file(&self, name: &str) -> anyhow::Result<Box<dyn Sinking>> {
        ensure!(
            !name.is_empty() && !name.contains('/') && name != "." && name != "..",
            "{name:?} is no name of a file"
        );
        let path = self.work.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("making {}", path.display()))?;
        Ok(Box::new(Stored { file, path }))
    }

    pub(super) fn publish(mut self) -> anyhow::Result<()> {
        self.lock
            .sync_all()
            .context("syncing the image directory")?;
        check_free(&self.target)?;
        // An empty directory of that name gives way; one that was filled meanwhile does not.
        fs::rename(&self.work, &self.target)
            .with_context(|| format!("naming the image {}", self.target.display()))?;
        self.is_published = true;
        let parent = File::open(&self.parent).and_then(|parent| parent.sync_all());
        parent.with_context(|| format!("syncing {}", self.parent.display()))
    }

    fn empty(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.work)? {
            let path = entry?.path();
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        // What stays is removed by the next capture into this directory.
        self.empty().unwrap_or_default();
        fs::remove_dir(&self.work).unwrap_or_default();
    }
}

fn check_free(target: &Path) -> anyhow::Result<()> {
    match fs::read_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!(
                "{} is not empty: an image is not overwritten; choose another directory, or move it away",
                target.display()
            ),
        },
        Err(error) => Err(error).with_context(|| format!("looking at {}", target.display())),
    }
}

/// A file on its way.
struct Stored {
    file: File,
    path: PathBuf,
}

impl Write for Stored {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("writing {}: {error}", self.path.display()),
            )
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sinking for Stored {
    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        let synced = self.file.sync_all();
        synced.with_context(|| format!("syncing {}", self.path.display()))
    }
}
