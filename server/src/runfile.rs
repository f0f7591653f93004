//! `server.json`: where the running server is, for the commands.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The file, removed when the server ends.
#[derive(Debug)]
pub struct RunFile(PathBuf);

/// What is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Base URL, ending with `/`.
    pub url: String,
    /// Process.
    pub pid: u32,
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
            url: url.to_owned(),
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

/// Where a server of this data directory says it is; `None` if none ran or it ended orderly.
#[must_use]
pub fn running(data: &Path) -> Option<Running> {
    let text = fs::read(data.join(NAME)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Largest answer that is read.
const MAX_ANSWER: u64 = 16 << 20;

/// Fetches a path from the running server. One request, answered at once, on this machine: not
/// worth an HTTP client.
///
/// # Errors
/// If the server does not answer with status 200.
pub fn fetch(running: &Running, path: &str) -> anyhow::Result<Vec<u8>> {
    let rest = running
        .url
        .strip_prefix("http://")
        .context("not an http URL")?;
    let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
    let address = host
        .parse()
        .with_context(|| format!("the server's address {host}"))?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))
        .with_context(|| format!("connecting to {host}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET /{base}{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream
        .take(MAX_ANSWER)
        .read_to_end(&mut answer)
        .context("reading the answer")?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        bail!("the server's answer is no HTTP");
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer.split_off(end + 4);
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!(
            "the server answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
    }
    Ok(body)
}
