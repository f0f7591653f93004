//! Where an image arrives: a directory that is published by one rename, or a server.

mod directory;
mod upload;

#[cfg(test)]
mod tests;

use std::io::Write as _;

use fos_api::capture::{CaptureEnd, SentFile};

pub(super) use directory::Directory;
pub(super) use upload::{Patience, Remote, Told, Unsure};

use super::stream::Sinking;

/// Either of them.
pub(super) enum Store {
    Directory(Directory),
    Remote(Remote),
}

impl Store {
    /// A new file of the image.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn file(&self, name: &str) -> anyhow::Result<Box<dyn Sinking>> {
        match self {
            Self::Directory(directory) => directory.file(name),
            Self::Remote(remote) => remote.file(name),
        }
    }

    /// A whole file.
    ///
    /// # Errors
    /// It cannot be stored.
    pub(super) fn small_file(&self, name: &str, bytes: &[u8]) -> anyhow::Result<SentFile> {
        let mut file = self.file(name)?;
        file.write_all(bytes)?;
        file.finish()?;
        Ok(SentFile {
            name: name.to_owned(),
            len: bytes.len() as u64,
            blake3: blake3::hash(bytes).into(),
        })
    }

    /// All files are there: publishes the image.
    ///
    /// # Errors
    /// It is not published.
    pub(super) fn publish(self, end: &CaptureEnd) -> anyhow::Result<()> {
        match self {
            Self::Directory(directory) => directory.publish(),
            Self::Remote(remote) => remote.publish(end),
        }
    }

    /// The image will not become whole: removes what there is of it.
    pub(super) fn abandon(self, reason: &str) {
        match self {
            Self::Directory(directory) => drop(directory),
            Self::Remote(remote) => remote.abandon(reason),
        }
    }
}
