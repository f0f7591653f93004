//! Logs: for the machine on standard error, for people in files as FOG has them.
//!
//! `multicast.log` has a line for every event of every session, `multicast.log.udpcast.<id>`
//! the details of one. Nothing deletes them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::store::SessionId;

/// The log of all sessions.
#[derive(Debug, Clone)]
pub struct MulticastLog {
    dir: PathBuf,
}

impl MulticastLog {
    /// A log in `dir`, which is created.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn new(dir: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// A message of the service.
    pub fn service(&self, now: Timestamp, text: &str) {
        tracing::info!("{text}");
        append(&self.dir.join(FILE), now, &format!(" * {text}"));
    }

    /// An event of a session, in both files.
    pub fn session(&self, now: Timestamp, id: SessionId, name: &str, text: &str) {
        tracing::info!(session = id.0, "{text}");
        let line = format!(" | Task ID: {id} Name: {name} {text}");
        append(&self.dir.join(FILE), now, &line);
        self.detail(now, id, text);
    }

    /// A detail of a session, only in its own file.
    pub fn detail(&self, now: Timestamp, id: SessionId, text: &str) {
        append(&self.dir.join(format!("{FILE}.udpcast.{id}")), now, text);
    }
}

const FILE: &str = "multicast.log";

/// A log that cannot be written stops nothing; the reason goes to standard error.
fn append(path: &Path, now: Timestamp, text: &str) {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = format!("[{}] {text}\n", now.to_log_stamp());
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        tracing::warn!("cannot write to {}: {error}", path.display());
    }
}

/// Sends events to standard error; `RUST_LOG` selects, `info` by default.
pub fn init_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was already set up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_stamped_and_free_of_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let log = MulticastLog::new(&dir.path().join("log")).unwrap();
        let now = Timestamp::parse("2026-03-12 17:35:49").unwrap();
        log.session(now, SessionId(3), "lab", "is new");
        log.session(now, SessionId(3), "lab", "one\ntwo\x1b[2J");
        log.detail(now, SessionId(3), "detail");
        let read = |name: &str| std::fs::read_to_string(dir.path().join("log").join(name)).unwrap();
        assert_eq!(
            read("multicast.log"),
            "[03-12-26 5:35:49 pm]  | Task ID: 3 Name: lab is new\n\
             [03-12-26 5:35:49 pm]  | Task ID: 3 Name: lab one two [2J\n"
        );
        assert_eq!(read("multicast.log.udpcast.3").lines().count(), 3);
    }
}
