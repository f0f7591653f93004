//! Looks by itself when a wait takes long, and shows the first cause with the wait.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use diagnosis::{diagnose, report};
use fog::KernelArgs;

use super::gather::{self, Situation};
use super::machine::Wish;
use crate::screen::{Board, Diagnosis, Wait};

/// Attends to the waits on a board until dropped.
pub(crate) struct Attendant {
    _end: Sender<()>,
}

impl Attendant {
    /// `args` and `interface` are those of the job. Without a thread for it the job goes on.
    pub(crate) fn start(board: &Board, args: &KernelArgs, interface: Option<&str>) -> Self {
        let (end, ended) = mpsc::channel();
        let board = board.clone();
        let situation = Situation {
            args: args.clone(),
            interface: interface.map(str::to_owned),
            is_sending: false,
            // They are at work.
            disks: Wish::Nothing,
        };
        let attend = move || {
            let mut visits = Visits::default();
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let wait = board.read(|state| state.wait.clone());
                if let Some(wait) = visits.due(wait, Instant::now()) {
                    let text = examine(&situation);
                    board.update(|state| {
                        state.diagnosis = text.map(|text| Diagnosis {
                            what: wait.what,
                            since: wait.since,
                            text,
                        });
                    });
                    visits.end(Instant::now());
                }
            }
        };
        let thread = std::thread::Builder::new().name("doctor".into());
        // It ends by itself, and may be in the midst of a look.
        drop(thread.spawn(attend));
        Self { _end: end }
    }
}

fn examine(situation: &Situation) -> Option<String> {
    let mut evidence = gather::machine(situation);
    gather::network(situation, &mut evidence).ok()?;
    report::line(&diagnose(&evidence))
}

/// When to look at a wait.
#[derive(Debug, Default)]
struct Visits {
    /// Since when the wait lasts that was looked at last, and when that ended.
    last: Option<(Instant, Instant)>,
    since: Option<Instant>,
}

impl Visits {
    /// The wait, if it is to be looked at now.
    fn due(&mut self, wait: Option<Wait>, now: Instant) -> Option<Wait> {
        let wait = wait?;
        let lasts = now.saturating_duration_since(wait.since) >= LONG;
        let is_again = self.last.is_none_or(|(since, ended)| {
            since != wait.since || now.saturating_duration_since(ended) >= AGAIN
        });
        self.since = Some(wait.since);
        (lasts && is_again).then_some(wait)
    }

    fn end(&mut self, now: Instant) {
        self.last = self.since.map(|since| (since, now));
    }
}

const LOOK: Duration = Duration::from_secs(1);
/// Whatever is usual is over before that.
const LONG: Duration = Duration::from_secs(30);
/// Others wait, too, and each look asks server and DHCP servers.
const AGAIN: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_looked_at_when_it_is_long_and_then_now_and_then() {
        let start = Instant::now();
        let wait = |since: u64| {
            Some(Wait {
                what: "the sender".into(),
                since: start + Duration::from_secs(since),
                advice: Vec::new(),
            })
        };
        let mut visits = Visits::default();
        let mut due = |wait, at: u64| {
            let now = start + Duration::from_secs(at);
            let is_due = visits.due(wait, now).is_some();
            if is_due {
                visits.end(now + Duration::from_secs(5));
            }
            is_due
        };
        assert!(!due(None, 100));
        assert!(!due(wait(0), 29));
        assert!(due(wait(0), 30));
        assert!(!due(wait(0), 31) && !due(wait(0), 154));
        assert!(due(wait(0), 155));
        // Another wait.
        assert!(!due(wait(156), 157));
        assert!(due(wait(156), 186));
    }
}
