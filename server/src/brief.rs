//! Calls of the system that may hang, at places that must go on.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `work` on a thread of its own and waits for it, but no longer than `limit`; whether it has ended.
/// The thread stays until the call returns.
pub(crate) fn briefly(limit: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, ended) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || {
        work();
        // Nobody may wait any more.
        done.send(()).ok();
    });
    started.is_ok() && ended.recv_timeout(limit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind() {
        let (release, held) = mpsc::channel::<()>();
        let is_done = briefly(Duration::from_millis(1), move || {
            held.recv().ok();
        });
        assert!(!is_done);
        drop(release);
        assert!(briefly(Duration::from_secs(60), || {}));
        assert!(!briefly(Duration::from_secs(60), || panic!("of purpose")));
    }
}
