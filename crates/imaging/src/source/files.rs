//! The files of an image that was split, as one stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::series::in_order;

/// The pieces of a split image, one after the other.
pub(super) struct Files {
    current: Option<(PathBuf, File)>,
    next: VecDeque<(PathBuf, File)>,
}

impl Files {
    /// Opens them, in natural order. With their name for people, and their length if it is known.
    ///
    /// # Errors
    /// A file cannot be opened, is missing between others, or does not belong to them.
    pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<(Self, String, Option<u64>)> {
        let paths = in_order(paths, &Path::exists)?;
        let mut next = VecDeque::new();
        let mut len = Some(0_u64);
        for path in paths {
            let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            let meta = file
                .metadata()
                .with_context(|| format!("looking at {}", path.display()))?;
            ensure!(!meta.is_dir(), "{} is a directory", path.display());
            // Pipes and devices do not tell.
            len = len
                .filter(|_| meta.is_file())
                .and_then(|len| len.checked_add(meta.len()));
            next.push_back((path, file));
        }
        let name = match (next.front(), next.len()) {
            (Some((path, _)), 1) => path.display().to_string(),
            (Some((path, _)), count) => format!("{} ({count} pieces)", path.display()),
            _ => bail!("no image is given"),
        };
        let current = None;
        Ok((Self { current, next }, name, len))
    }
}

impl Read for Files {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.current.is_none() {
                self.current = self.next.pop_front();
            }
            let Some((path, file)) = &mut self.current else {
                return Ok(0);
            };
            let count = file.read(buffer).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.current = None;
        }
    }
}
