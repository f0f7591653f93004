//! `server.json`: where the running server is, for programs that watch it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

/// The file, removed when the server ends.
#[derive(Debug)]
pub struct RunFile(PathBuf);

/// What is in it.
#[derive(Serialize)]
struct Running<'a> {
    /// Base URL, ending with `/`.
    url: &'a str,
    /// Process.
    pid: u32,
}

const NAME: &str = "server.json";

impl RunFile {
    /// Writes it.
    ///
    /// # Errors
    /// If the data directory is not writable.
    pub fn write(data: &Path, url: &str) -> anyhow::Result<Self> {
        let path = data.join(NAME);
        let running = Running {
            url,
            pid: std::process::id(),
        };
        // Whole or not at all: others read it at any time.
        let new = data.join(format!("{NAME}.new"));
        fs::write(&new, serde_json::to_vec(&running)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("removing {}: {error}", self.0.display());
        }
    }
}
