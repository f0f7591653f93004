//! Why a deploy is over, in one sentence.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use readable::chain;

use crate::control::session::{Over, OverKind};

/// Why a deploy is over.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which part failed, one word.
    pub(crate) part: &'static str,
    /// For people: what, where, what to do.
    pub(crate) text: String,
    /// The server has ended the task itself, and need not be told.
    pub(crate) is_known_to_server: bool,
    /// The disk is partly written.
    pub(crate) is_touched: bool,
    /// The text says already what has become of the disk.
    pub(crate) tells_of_disk: bool,
    /// The machine is here by mistake: it must restart to learn what it is to do.
    pub(crate) needs_restart: bool,
}

/// Whether the disk was written to: what its owner wants to know first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Touched(Arc<OnceLock<Arc<AtomicBool>>>);

impl Touched {
    /// From now on it is as this says. Before, nothing was written.
    pub(crate) fn follow(&self, touched: Arc<AtomicBool>) {
        // There is one disk; the first one stays.
        drop(self.0.set(touched));
    }

    pub(crate) fn is_touched(&self) -> bool {
        let touched = self.0.get();
        touched.is_some_and(|touched| touched.load(Ordering::Relaxed))
    }

    /// The reason of a failure, which says nothing of the disk, and what has become of the disk.
    pub(crate) fn complete(&self, text: &str) -> String {
        let disk = match self.is_touched() {
            true => "the disk is partly overwritten",
            false => "nothing was written",
        };
        format!("{}; {disk}", text.trim_end_matches('.'))
    }
}

impl Failure {
    pub(crate) fn new(part: &'static str, error: impl Into<anyhow::Error>) -> Self {
        let error: anyhow::Error = error.into();
        Self {
            part,
            text: chain(&*error),
            is_known_to_server: false,
            is_touched: false,
            tells_of_disk: false,
            needs_restart: false,
        }
    }

    /// One that the server told us of.
    pub(crate) fn known(part: &'static str, over: Over) -> Self {
        Self {
            part,
            text: over.text,
            is_known_to_server: true,
            is_touched: false,
            tells_of_disk: over.tells_of_disk,
            needs_restart: over.kind == OverKind::Restart,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_are_told_once() {
        let inner = io::Error::other("disk full");
        let outer = io::Error::other(inner);
        assert_eq!(chain(&outer), "disk full");

        let error = Err::<(), _>(outer).context("writing d1p1.img");
        let failure = Failure::new("streams", error.unwrap_err());
        assert_eq!(failure.text, "writing d1p1.img: disk full");
        assert!(!failure.is_known_to_server);
    }

    #[test]
    fn a_failure_says_what_has_become_of_the_disk() {
        let touched = Touched::default();
        assert_eq!(
            touched.complete("the session was cancelled."),
            "the session was cancelled; nothing was written"
        );
        let disk = Arc::new(AtomicBool::new(false));
        touched.follow(Arc::clone(&disk));
        assert_eq!(touched.complete("x"), "x; nothing was written");
        disk.store(true, Ordering::Relaxed);
        assert_eq!(touched.complete("x"), "x; the disk is partly overwritten");
    }
}
