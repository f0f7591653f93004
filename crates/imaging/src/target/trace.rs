//! What has become of a target, to be told when a restore fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use readable::Count;

/// Marks left by whoever changes the target. Copies share them; they are complete when the writing
/// threads have ended.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    is_touched: AtomicBool,
    is_complete: AtomicBool,
    written: AtomicU64,
    /// The disks' own.
    disks: Mutex<Vec<DiskMarks>>,
}

/// Whether a disk may be changed, and the bytes written to it.
type DiskMarks = (Arc<AtomicBool>, Arc<AtomicU64>);

impl Marks {
    fn disks(&self) -> MutexGuard<'_, Vec<DiskMarks>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trace {
    /// What this disk notes itself counts as well.
    pub fn follow(&self, disk: &disk::Target) {
        let marks = (disk.touched(), disk.bytes_written());
        self.0.disks().push(marks);
    }

    /// The target may be changed from here on. Comes before the attempt: one that fails may leave
    /// something behind.
    pub fn touch(&self) {
        self.0.is_touched.store(true, Ordering::Relaxed);
    }

    /// So many bytes were written.
    pub fn wrote(&self, len: usize) {
        self.0.written.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// The whole image is on the medium, and was good.
    pub fn complete(&self) {
        self.0.is_complete.store(true, Ordering::Relaxed);
    }

    /// Whether the whole image is on the medium.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.is_complete.load(Ordering::Relaxed)
    }

    /// Whether the target may differ from what it was.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        let disks = self.0.disks();
        let mut disks = disks.iter();
        self.0.is_touched.load(Ordering::Relaxed)
            || disks.any(|(is_touched, _)| is_touched.load(Ordering::Relaxed))
    }

    /// What is to be reported after a failure.
    #[must_use]
    pub fn line(&self, target: &str) -> String {
        if !self.is_touched() {
            return format!("nothing was written to {target}");
        }
        if self.is_complete() {
            return format!(
                "{target} is complete: the whole image was verified, written and synced before that"
            );
        }
        let disks = self.0.disks();
        let on_disks = disks
            .iter()
            .map(|(_, written)| written.load(Ordering::Relaxed));
        let written = on_disks.fold(self.0.written.load(Ordering::Relaxed), u64::saturating_add);
        format!(
            "{target} is partly overwritten: {} written; restore again",
            Count(written, "byte")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_came() {
        let trace = Trace::default();
        assert_eq!(trace.line("x"), "nothing was written to x");
        trace.touch();
        trace.wrote(7);
        assert_eq!(
            trace.line("x"),
            "x is partly overwritten: 7 bytes written; restore again"
        );
        trace.complete();
        assert!(trace.line("x").starts_with("x is complete"));
        assert!(trace.is_touched());
    }
}
