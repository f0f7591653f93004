//! The server's log for people.

use std::time::Duration;

use super::{Ops, blocking};
use crate::logs::{self, Tail};

/// Why the log is not shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be read.
    #[error("reading the log in {dir}: {cause}")]
    Read {
        /// Its directory.
        dir: String,
        /// Why.
        cause: std::io::Error,
    },
    /// Its disk hangs.
    #[error("the disk of the log directory {0} does not answer; look at it")]
    Hangs(String),
    /// A programming error.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Ops {
    /// The lines of the log after so many bytes of it, or its last lines.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn log_tail(&self, after: Option<u64>) -> Result<Tail, LogError> {
        let dir = self.config.log_dir();
        let shown = || dir.display().to_string();
        let read = {
            let dir = dir.clone();
            blocking(&self.log_readers, move || logs::tail(&dir, after))
        };
        match tokio::time::timeout(LIMIT, read).await {
            Ok(Ok(Ok(tail))) => Ok(tail),
            Ok(Ok(Err(cause))) => Err(LogError::Read {
                dir: shown(),
                cause,
            }),
            Ok(Err(error)) => Err(LogError::Internal(error.to_string())),
            Err(_) => Err(LogError::Hangs(shown())),
        }
    }
}

const LIMIT: Duration = Duration::from_secs(5);

/// Those who read the log at a time.
pub(super) const LOG_READERS: usize = 4;
