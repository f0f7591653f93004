//! `server.json`: where the running server is, for programs that watch it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::brief::briefly;

/// The file, removed when the server ends.
#[derive(Debug)]
pub struct RunFile(PathBuf);

/// What is in it.
#[derive(Serialize)]
struct ServerAddress<'a> {
    /// Base URL, ending with `/`.
    url: &'a str,
    /// Process.
    pid: u32,
}

/// How long the disk may take to remove it. Who reads it finds out that nobody answers.
const LIMIT: Duration = Duration::from_millis(500);

const NAME: &str = "server.json";

impl RunFile {
    /// Writes it.
    ///
    /// # Errors
    /// If the data directory is not writable.
    pub fn write(data: &Path, url: &str) -> anyhow::Result<Self> {
        let path = data.join(NAME);
        let running = ServerAddress {
            url,
            pid: std::process::id(),
        };
        write_whole(&path, &serde_json::to_vec(&running)?)?;
        Ok(Self(path))
    }
}

/// Replaces a file whole or not at all, whoever reads it meanwhile, also if the power fails.
///
/// # Errors
/// If its directory is not writable.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    File::create(new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(new, path))
        .with_context(|| format!("writing {}", path.display()))
}

impl Drop for RunFile {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        briefly(LIMIT, move || {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("server: removing {}: {error}", path.display());
            }
        });
    }
}
