//! A deploy is given up, or its partition table is written: never both.

use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// Which of both it is, shared by the thread that gives up and the one that writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    decision: Decision,
    /// The program that works on the disk. It is not reaped yet, so the number is still its own.
    program: Option<Pid>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Decision {
    #[default]
    Open,
    GivenUp,
    TableBegun,
}

impl Ending {
    /// Gives up: from now on the table is never written, and a program that works on the disk is killed.
    /// `false`: the table is being written, and the result of that is the deploy's.
    #[must_use]
    pub(crate) fn give_up(&self) -> bool {
        let mut state = self.lock();
        if state.decision == Decision::TableBegun {
            return false;
        }
        state.decision = Decision::GivenUp;
        if let Some(program) = state.program {
            // It may have ended by itself.
            kill(program, Signal::SIGKILL).unwrap_or_default();
        }
        true
    }

    /// The table is written now: from here on nothing is given up. `false`: it was given up before.
    #[must_use]
    pub(crate) fn begin_table(&self) -> bool {
        let mut state = self.lock();
        if state.decision == Decision::GivenUp {
            return false;
        }
        state.decision = Decision::TableBegun;
        true
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.lock().decision == Decision::GivenUp
    }

    /// Runs `work` and waits for the end of `child`, which giving up kills.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn attend<T>(
        &self,
        mut child: Child,
        work: impl FnOnce() -> T,
    ) -> std::io::Result<(T, ExitStatus)> {
        let pid = Pid::from_raw(child.id().cast_signed());
        {
            let mut state = self.lock();
            state.program = Some(pid);
            if state.decision == Decision::GivenUp {
                // It may have ended by itself.
                child.kill().unwrap_or_default();
            }
        }
        let done = work();
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
        // Reaping makes the number free for another process.
        self.lock().program = None;
        Ok((done, child.wait()?))
    }

    /// The same, and kills `child` when it has taken this long.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn attend_for<T>(
        &self,
        limit: Duration,
        child: Child,
        work: impl FnOnce() -> T,
    ) -> std::io::Result<(T, ExitStatus)> {
        let (over, watch) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout)
                    && let Some(program) = self.lock().program
                {
                    // It may have ended by itself.
                    kill(program, Signal::SIGKILL).unwrap_or_default();
                }
            });
            let attended = self.attend(child, work);
            drop(over);
            attended
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_deploy_that_was_given_up_gets_no_table() {
        let ending = Ending::default();
        assert!(!ending.is_given_up());
        assert!(ending.give_up());
        assert!(ending.is_given_up() && !ending.begin_table());
        assert!(ending.give_up(), "once more");
    }

    #[test]
    fn a_table_that_is_being_written_is_not_given_up() {
        let ending = Ending::default();
        assert!(ending.begin_table());
        assert!(!ending.give_up());
        assert!(!ending.is_given_up());
    }

    #[test]
    fn of_two_threads_one_has_its_way() {
        for _ in 0..200 {
            let ending = Ending::default();
            let barrier = Barrier::new(2);
            let (is_given_up, is_begun) = thread::scope(|scope| {
                let giving_up = scope.spawn(|| {
                    barrier.wait();
                    ending.give_up()
                });
                barrier.wait();
                let is_begun = ending.begin_table();
                (giving_up.join().unwrap(), is_begun)
            });
            assert_ne!(is_given_up, is_begun);
        }
    }

    fn endless() -> Child {
        let mut command = Command::new("sleep");
        command.arg("infinity").stdin(Stdio::null());
        command.spawn().unwrap()
    }

    #[test]
    fn giving_up_kills_a_program_that_works_on_the_disk() {
        let ending = Ending::default();
        let (is_given_up, status) = ending.attend(endless(), || ending.give_up()).unwrap();
        assert!(is_given_up);
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        // One that is started too late.
        let ((), status) = ending.attend(endless(), || ()).unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        assert!(ending.lock().program.is_none());
    }

    #[test]
    fn a_program_that_ends_by_itself_has_its_status() {
        let ending = Ending::default();
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let ((), status) = ending.attend(child, || ()).unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(ending.give_up());
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_and_nothing_is_given_up() {
        let ending = Ending::default();
        let limit = Duration::from_millis(20);
        let (work, status) = ending.attend_for(limit, endless(), || 7).unwrap();
        assert_eq!((work, status.signal()), (7, Some(9)));
        assert!(!ending.is_given_up());
    }
}
