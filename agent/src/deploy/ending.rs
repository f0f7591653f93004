//! A deploy is given up, or its partition table is written: never both.

use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
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
            end(program);
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
                end(pid);
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
        self.attend_while(limit, || Next::End, child, work)
    }

    /// The same, and asks `look` again and again, whenever `period` has passed, whether `child` is to be killed.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn attend_while<T>(
        &self,
        period: Duration,
        mut look: impl FnMut() -> Next + Send,
        child: Child,
        work: impl FnOnce() -> T,
    ) -> std::io::Result<(T, ExitStatus)> {
        let (over, watch) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while watch.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                    if look() == Next::End
                        && let Some(program) = self.lock().program
                    {
                        end(program);
                    }
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

/// What becomes of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    GoesOn,
    End,
}

/// Kills a program that is not reaped yet, with its children if it has a group of its own. It may have ended by itself.
fn end(program: Pid) {
    let group = killpg(program, Signal::SIGKILL);
    group
        .or_else(|_| kill(program, Signal::SIGKILL))
        .unwrap_or_default();
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
    fn a_program_is_killed_with_its_children_when_it_is_said_to_hang() {
        use std::io::Read as _;
        use std::os::unix::process::CommandExt as _;

        let ending = Ending::default();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep infinity & echo begun; wait"]);
        command.process_group(0).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut looks = 0;
        let look = || {
            looks += 1;
            match looks {
                ..3 => Next::GoesOn,
                _ => Next::End,
            }
        };
        // The child of the shell has the pipe, too: it ends with it.
        let mut said = String::new();
        let work = || output.read_to_string(&mut said).map(drop);
        let period = Duration::from_millis(5);
        let (read, status) = ending.attend_while(period, look, child, work).unwrap();
        read.unwrap();
        assert_eq!(status.signal(), Some(9));
        assert!(looks >= 3 && !ending.is_given_up());
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
