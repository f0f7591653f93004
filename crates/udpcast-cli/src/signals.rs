//! Signals that end the program, taken by a thread instead of a handler.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The program has been asked to end, and ends by the signal: after a grace of 3 s at the latest.
    End,
    /// It ends at once.
    EndNow,
    /// It ends by the signal when its work is done; a second signal does not wait.
    Delay,
}

/// Signals are watched for as long as the program runs.
#[derive(Debug)]
pub struct Signals {
    caught: Arc<AtomicI32>,
}

const WATCHED: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];
/// An orderly end takes less; the reader of our output may block us for ever.
const GRACE_MS: u16 = 3000;

impl Signals {
    /// From now on `react` is asked what a signal means, on a thread of its own. Call it before any
    /// other thread is started: those inherit that the signals are blocked. Signals that the caller
    /// of this program ignores (`nohup`, background jobs) stay ignored. `last_words` is called where the
    /// main thread does not end the program itself.
    ///
    /// # Errors
    /// The kernel has no file descriptor or thread left.
    pub fn watch(
        react: impl Fn(Signal) -> Reaction + Send + 'static,
        last_words: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let ignored = ignored();
        let mut watched = SigSet::empty();
        for signal in WATCHED {
            if ignored >> (signal as i32 - 1) & 1 == 0 {
                watched.add(signal);
            }
        }
        watched.thread_block()?;
        let queue = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC)?;
        let caught = Arc::new(AtomicI32::new(0));
        let told = Arc::clone(&caught);
        let work = move || serve(&queue, &told, react, last_words);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(work)?;
        Ok(Self { caught })
    }

    /// The first signal that came.
    #[must_use]
    pub fn caught(&self) -> Option<Signal> {
        Signal::try_from(self.caught.load(Ordering::SeqCst)).ok()
    }

    /// Ends the program by the signal that came, if any did.
    pub fn obey(&self) {
        if let Some(signal) = self.caught() {
            die_by(signal);
        }
    }
}

fn serve(
    queue: &SignalFd,
    told: &AtomicI32,
    react: impl Fn(Signal) -> Reaction,
    last_words: impl Fn(),
) {
    loop {
        let Some(signal) = next(queue) else { return };
        let is_first = told
            .compare_exchange(0, signal as i32, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if !is_first {
            last_words();
            die_by(signal);
        }
        match react(signal) {
            Reaction::Delay => continue,
            Reaction::EndNow => {}
            Reaction::End => {
                // The main thread ends in order, unless it cannot; a second signal is impatience.
                let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(GRACE_MS)).ok();
            }
        }
        last_words();
        die_by(signal);
    }
}

fn next(queue: &SignalFd) -> Option<Signal> {
    let info = queue.read_signal().ok()??;
    Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
}

/// Leaves terminal, pipe program and pid file in order and ends as the signal would have done it.
pub(crate) fn die_by(signal: Signal) -> ! {
    crate::keyboard::restore_terminal();
    crate::pipe::terminate_running();
    crate::daemon::remove_pid_file();
    let mut own = SigSet::empty();
    own.add(signal);
    // The disposition was never changed, so this does not return.
    if own.thread_unblock().and_then(|()| raise(signal)).is_err() {
        std::process::exit(128 + signal as i32);
    }
    std::process::exit(128 + signal as i32)
}

/// The signals that this process was started to ignore, a bit each, SIGHUP the lowest.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0)
}
