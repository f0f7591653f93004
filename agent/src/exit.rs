//! What the worker's end tells PID 1.

use std::fs;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::panics::PANICKED;

/// How a worker ended, and so what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Done: reboot.
    Reboot,
    /// Done: power off.
    PowerOff,
    /// Done, but the server has not taken the report, and a person let the machine go on.
    DoneUnreported,
    /// Failed, the server knows it, and it was shown.
    FailedReported,
    /// Failed, the server has not taken the report, and a person let the machine go on.
    FailedUnreported,
    /// The server has another job for this machine, or none: it must restart to learn of it.
    Restart,
}

impl Ending {
    const ALL: [Self; 6] = [
        Self::Reboot,
        Self::PowerOff,
        Self::DoneUnreported,
        Self::FailedReported,
        Self::FailedUnreported,
        Self::Restart,
    ];

    /// The exit code. Usage errors (2) and panics (101) are none of these.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Reboot => 0,
            Self::PowerOff => 10,
            Self::DoneUnreported => 11,
            Self::FailedReported => 20,
            Self::FailedUnreported => 21,
            Self::Restart => 22,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending.code())
    }
}

/// What PID 1 makes of a dead worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It said how it ended.
    Said(Ending),
    /// It died without a word: why, for people.
    Died(String),
}

impl Verdict {
    /// Reads the status of a dead child; `None` if it is not dead.
    pub(crate) fn of(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Self::of_code(code)),
            WaitStatus::Signaled(_, signal, _) => Some(Self::of_signal(signal)),
            _ => None,
        }
    }

    fn of_code(code: i32) -> Self {
        let said = Ending::ALL
            .into_iter()
            .find(|ending| i32::from(ending.code()) == code);
        match (said, code) {
            (Some(ending), _) => Self::Said(ending),
            (None, OUT_OF_MEMORY) => Self::Died(NO_MEMORY.into()),
            (None, PANICKED) => Self::Died(PROGRAMMING_ERROR.into()),
            (None, code) => Self::Died(format!(
                "the imaging program ended unexpectedly with exit code {code}"
            )),
        }
    }

    fn of_signal(signal: Signal) -> Self {
        let cause = match signal {
            Signal::SIGKILL => " (out of memory? FOG's minimum is 512 MB)",
            Signal::SIGABRT => " (a programming error, or out of memory)",
            Signal::SIGILL => " (does this CPU lack an instruction?)",
            Signal::SIGBUS | Signal::SIGSEGV => " (a programming error or bad memory)",
            _ => "",
        };
        Self::Died(format!("the imaging program was killed by {signal}{cause}"))
    }
}

/// Exit code of a program that an allocation failed in; see [`crate::memory`].
pub(crate) const OUT_OF_MEMORY: i32 = 23;

/// The same for people.
pub(crate) const NO_MEMORY: &str = "the imaging program ran out of memory; FOG's minimum is 512 MB: give the machine more, or look \
     at the messages of the kernel for what has taken it";

/// After a panic, for people.
pub(crate) const PROGRAMMING_ERROR: &str = "the imaging program stopped by a programming error";

/// Where the reason of a failure, or of a report that was not taken, is left for PID 1.
#[derive(Debug, Clone)]
pub(crate) struct FailureNote(PathBuf);

impl FailureNote {
    /// The note of this boot.
    pub(crate) fn of_boot() -> Self {
        Self(PathBuf::from("/run/fos-agent/failure"))
    }

    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Leaves `text` unless there is one: the first failure is the one that counts. Not being able
    /// to is no further failure.
    pub(crate) fn leave(&self, text: &str) {
        let is_first = self.read().is_none();
        let is_ready = self
            .0
            .parent()
            .map(fs::create_dir_all)
            .is_some_and(|made| made.is_ok());
        if is_first && is_ready {
            drop(fs::write(&self.0, text));
        }
    }

    /// The reason, if one was left.
    pub(crate) fn read(&self) -> Option<String> {
        fs::read_to_string(&self.0)
            .ok()
            .filter(|text| !text.trim().is_empty())
    }

    /// Forgets it, before another try.
    pub(crate) fn clear(&self) {
        drop(fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn every_ending_survives_the_exit_code() {
        for ending in Ending::ALL {
            let status = WaitStatus::Exited(Pid::from_raw(7), i32::from(ending.code()));
            assert_eq!(Verdict::of(status), Some(Verdict::Said(ending)));
        }
    }

    #[test]
    fn a_panic_or_a_signal_is_never_taken_for_success() {
        for status in [
            WaitStatus::Exited(Pid::from_raw(7), PANICKED),
            WaitStatus::Exited(Pid::from_raw(7), OUT_OF_MEMORY),
            WaitStatus::Exited(Pid::from_raw(7), 2),
            WaitStatus::Exited(Pid::from_raw(7), 1),
            WaitStatus::Signaled(Pid::from_raw(7), Signal::SIGKILL, false),
            WaitStatus::Signaled(Pid::from_raw(7), Signal::SIGSEGV, true),
        ] {
            assert!(
                matches!(Verdict::of(status), Some(Verdict::Died(_))),
                "{status:?}"
            );
        }
        assert_eq!(Verdict::of(WaitStatus::StillAlive), None);
    }

    #[test]
    fn the_first_failure_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let note = FailureNote::at(&dir.path().join("deep/failure"));
        assert_eq!(note.read(), None);
        note.leave("disk full");
        note.leave("and then some");
        assert_eq!(note.read().as_deref(), Some("disk full"));
        note.clear();
        assert_eq!(note.read(), None);
    }
}
