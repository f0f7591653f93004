//! Children of PID 1: its own, and the orphans that it inherits.

use std::io;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::exit::Verdict;

/// Starts children one at a time and reaps everybody.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// Orphans that ended under us.
    pub(super) reaped: usize,
}

impl Children {
    /// Runs a program to its end, reaping orphans meanwhile. Not being able to start it is a death
    /// like any other.
    pub(super) fn run(&mut self, command: &mut Command) -> Verdict {
        match self.try_run(command) {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Died(format!(
                "{} could not be started: {error}",
                command.get_program().display()
            )),
        }
    }

    fn try_run(&mut self, command: &mut Command) -> io::Result<Verdict> {
        let child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        // `child` is never waited for: waitpid(-1) below sees its end, and dropping it does nothing.
        loop {
            match waitpid(None, None) {
                Ok(status) if status.pid() == Some(pid) => {
                    if let Some(verdict) = Verdict::of(status) {
                        return Ok(verdict);
                    }
                }
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => self.reaped += 1,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
