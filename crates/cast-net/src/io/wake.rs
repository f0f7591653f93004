//! Waking a thread that waits in `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes whoever polls it. Clones share one bell.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<EventFd>);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_flags(flags)?)))
    }

    /// Makes the bell readable. Never blocks.
    pub(crate) fn ring(&self) {
        // EAGAIN: rung 2^64 - 2 times without an answer, so it is readable anyhow.
        if let Err(errno) = self.0.write(1)
            && errno != Errno::EAGAIN
        {
            tracing::debug!(%errno, "eventfd");
        }
    }

    /// Makes the bell unreadable until the next ring. Look for work after this, not before.
    pub(crate) fn quiet(&self) {
        if let Err(errno) = self.0.read()
            && errno != Errno::EAGAIN
        {
            tracing::debug!(%errno, "eventfd");
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ends a transfer from another thread. Clones belong together; once stopped it stays so.
#[derive(Clone, Debug)]
pub struct Stop {
    stopped: Arc<AtomicBool>,
    bell: Bell,
}

impl Stop {
    /// A fresh one.
    ///
    /// # Errors
    /// The kernel has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        Ok(Self {
            stopped,
            bell: Bell::new()?,
        })
    }

    /// Asks the transfer to end; wakes it at once.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Whether someone has asked.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Readable once stopped; it is never quieted, so any number of transfers may poll it.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
