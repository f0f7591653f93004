//! Going to the background, and being called back from there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, daemon};

use crate::messages::say;

/// The pid file to remove at the end.
static PID_FILE: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Status of udpcast for a pid file that holds no number.
const NO_NUMBER: u8 = 255;

/// Leaves the terminal and the caller; only valid while there is one thread. The working directory
/// stays, as paths may be relative to it.
///
/// # Errors
/// The kernel refuses, or the pid file cannot be written.
pub(crate) fn to_background(pid_file: Option<&Path>) -> anyhow::Result<()> {
    // Created before: afterwards nobody would see the error.
    let file = pid_file
        .map(|path| {
            let path = std::path::absolute(path)?;
            fs::write(&path, "")?;
            io::Result::Ok(path)
        })
        .transpose()
        .context("creating the pid file")?;
    daemon(true, false).context("going to the background")?;
    if let Some(path) = file {
        fs::write(&path, format!("{}\n", std::process::id())).context("writing the pid file")?;
        *lock() = Some(path);
    }
    Ok(())
}

/// Removes the pid file if this process wrote one.
pub(crate) fn remove_pid_file() {
    if let Some(path) = lock().take() {
        // Gone already is as good.
        drop(fs::remove_file(path));
    }
}

/// Ends the sender whose number is in `pid_file`.
pub(crate) fn end_other(pid_file: Option<&Path>) -> ExitCode {
    let Some(path) = pid_file else {
        say("udp-sender: --kill needs --pid-file");
        return ExitCode::FAILURE;
    };
    let name = path.display();
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            say(&format!("udp-sender: reading the pid file {name}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // 0 and negative numbers would mean groups of processes.
    let Some(number) = text.trim().parse().ok().filter(|number| *number > 0) else {
        say(&format!("udp-sender: {name} holds no process number"));
        return ExitCode::from(NO_NUMBER);
    };
    match kill(Pid::from_raw(number), Signal::SIGTERM) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errno) => {
            say(&format!("udp-sender: ending process {number}: {errno}"));
            if errno == Errno::ESRCH
                && let Err(error) = fs::remove_file(path)
            {
                say(&format!("udp-sender: removing {name}: {error}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<PathBuf>> {
    PID_FILE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_judged_before_a_signal_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        assert_eq!(end_other(None), ExitCode::FAILURE);
        assert_eq!(end_other(Some(&path)), ExitCode::FAILURE);
        for nonsense in ["", "x", "0", "-1"] {
            fs::write(&path, nonsense).unwrap();
            assert_eq!(end_other(Some(&path)), ExitCode::from(255), "{nonsense}");
        }
    }

    #[test]
    fn the_file_of_a_dead_process_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        fs::write(&path, child.id().to_string()).unwrap();
        assert_eq!(end_other(Some(&path)), ExitCode::FAILURE);
        assert!(!path.exists());
    }
}
