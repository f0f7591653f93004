//! The way of events from the send thread to whoever follows the transfer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use cast_proto::udpcast::sender::{Participant, SenderEvent, SenderStatistics};

use crate::io::driver::NetworkNotice;

/// Something to tell people about, or to act upon.
#[derive(Clone, Debug)]
pub enum SendEvent {
    /// Something happened between the sender and its receivers.
    Protocol(SenderEvent),
    /// Twice a second while data flows.
    Progress {
        /// Counters so far.
        statistics: SenderStatistics,
        /// All who take or took part.
        participants: Vec<Participant>,
    },
    /// This host's network is in trouble, or is no more.
    Network(NetworkNotice),
}

/// What there is when an event has been waited for.
#[derive(Clone, Debug)]
pub enum NextEvent {
    /// One.
    Event(SendEvent),
    /// Nothing has happened in this time.
    Nothing,
    /// The transfer is over.
    Over,
}

impl SendEvent {
    /// Whether it comes again, or is a detail that strangers on the network can cause at will.
    fn is_dispensable(&self) -> bool {
        match self {
            Self::Protocol(event) => matches!(
                event,
                SenderEvent::Refused { .. }
                    | SenderEvent::NoProgress { .. }
                    | SenderEvent::SlowRound { .. }
                    | SenderEvent::SliceAcked { .. }
            ),
            Self::Progress { .. } => true,
            Self::Network(_) => false,
        }
    }
}

/// Events that may wait, some 200 bytes each; of those with all participants one.
const QUEUE: usize = 1024;

/// The thread's end.
#[derive(Debug)]
pub(super) struct Reporter {
    queue: SyncSender<SendEvent>,
    reports_slices: bool,
    has_progress: Arc<AtomicBool>,
    pub(super) left_out: u64,
}

/// The other one.
#[derive(Debug)]
pub(super) struct Events {
    queue: Receiver<SendEvent>,
    has_progress: Arc<AtomicBool>,
}

/// `reports_slices`: each slice that is acknowledged is an event.
pub(super) fn channel(reports_slices: bool) -> (Reporter, Events) {
    let (sender, receiver) = sync_channel(QUEUE);
    let has_progress = Arc::<AtomicBool>::default();
    let reporter = Reporter {
        queue: sender,
        reports_slices,
        has_progress: Arc::clone(&has_progress),
        left_out: 0,
    };
    let events = Events {
        queue: receiver,
        has_progress,
    };
    (reporter, events)
}

impl Reporter {
    /// Waits for room if the event must not be lost.
    pub(super) fn report(&mut self, event: SendEvent) {
        let is_slice = matches!(event, SendEvent::Protocol(SenderEvent::SliceAcked { .. }));
        if is_slice && !self.reports_slices {
            return;
        }
        if !event.is_dispensable() {
            // An error means that it is not followed any more.
            drop(self.queue.send(event));
            return;
        }
        let is_progress = matches!(event, SendEvent::Progress { .. });
        if is_progress && self.has_progress.swap(true, Ordering::SeqCst) {
            self.left_out += 1;
            return;
        }
        if let Err(TrySendError::Full(_)) = self.queue.try_send(event) {
            self.left_out += 1;
            if is_progress {
                self.has_progress.store(false, Ordering::SeqCst);
            }
        }
    }
}

impl Events {
    pub(super) fn next(&mut self) -> Option<SendEvent> {
        let event = self.queue.recv().ok()?;
        self.took(&event);
        Some(event)
    }

    pub(super) fn next_within(&mut self, limit: Duration) -> NextEvent {
        match self.queue.recv_timeout(limit) {
            Ok(event) => {
                self.took(&event);
                NextEvent::Event(event)
            }
            Err(RecvTimeoutError::Timeout) => NextEvent::Nothing,
            Err(RecvTimeoutError::Disconnected) => NextEvent::Over,
        }
    }

    fn took(&self, event: &SendEvent) {
        if let SendEvent::Progress { .. } = event {
            self.has_progress.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use cast_proto::udpcast::sender::RefuseReason;

    use super::*;

    fn refused() -> SendEvent {
        SendEvent::Protocol(SenderEvent::Refused {
            addr: Ipv4Addr::LOCALHOST,
            reason: RefuseReason::Late,
        })
    }

    fn progress() -> SendEvent {
        SendEvent::Progress {
            statistics: SenderStatistics::default(),
            participants: Vec::new(),
        }
    }

    #[test]
    fn details_are_left_out_and_what_counts_waits_for_room() {
        let (mut reporter, mut events) = channel(false);
        for _ in 0..QUEUE + 7 {
            reporter.report(refused());
        }
        reporter.report(progress());
        assert_eq!(reporter.left_out, 8);
        let thread = thread::spawn(move || {
            reporter.report(SendEvent::Protocol(SenderEvent::Finished));
            reporter.left_out
        });
        for _ in 0..QUEUE {
            let event = events.next();
            assert!(matches!(event, Some(event) if event.is_dispensable()));
        }
        let last = events.next();
        assert!(matches!(
            last,
            Some(SendEvent::Protocol(SenderEvent::Finished))
        ));
        assert!(events.next().is_none());
        assert_eq!(thread.join().unwrap(), 8);
    }

    #[test]
    fn one_progress_waits_at_most() {
        let (mut reporter, mut events) = channel(false);
        reporter.report(progress());
        reporter.report(progress());
        assert_eq!(reporter.left_out, 1);
        assert!(events.next().is_some());
        reporter.report(progress());
        assert_eq!(reporter.left_out, 1);
        assert!(matches!(
            events.next_within(Duration::ZERO),
            NextEvent::Event(_)
        ));
        assert!(matches!(
            events.next_within(Duration::ZERO),
            NextEvent::Nothing
        ));
        drop(reporter);
        assert!(matches!(
            events.next_within(Duration::ZERO),
            NextEvent::Over
        ));
    }

    #[test]
    fn slices_are_reported_on_demand() {
        let slice = || {
            SendEvent::Protocol(SenderEvent::SliceAcked {
                slice: cast_proto::udpcast::SliceNo(1),
                bytes: 5,
                last: None,
            })
        };
        for (is_wanted, count) in [(false, 0), (true, 1)] {
            let (mut reporter, mut events) = channel(is_wanted);
            reporter.report(slice());
            drop(reporter);
            assert_eq!(std::iter::from_fn(|| events.next()).count(), count);
        }
    }
}
