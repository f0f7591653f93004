//! The sender of one stream, on its own thread.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use cast_net::udpcast::sender::{DropPolicy, Outcome, SenderEvent, StartRule};
use cast_net::{Interface, SendControl, SendError, SendEvent, SendOptions, SendReport};
use tokio::sync::mpsc::UnboundedSender;

use super::core::StreamOutcome;
use super::source::Source;

/// What a sender is to do.
#[derive(Debug)]
pub struct Job {
    /// Position of the stream; comes back with every event.
    pub index: usize,
    /// Base port.
    pub port: u16,
    /// Where to send.
    pub interface: Interface,
    /// The bytes; read only after [`Transmission::start`].
    pub source: Source,
    /// Silence after which receivers are dropped even if nobody answers.
    pub silence_limit: Duration,
    /// Limit in bit/s.
    pub max_bitrate: Option<u64>,
}

/// What a sender tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransmitEvent {
    /// A new participant.
    Joined(Ipv4Addr),
    /// A participant is gone before the end; with the time of its silence if it was dropped.
    Departed(Ipv4Addr, Option<Duration>),
    /// Data flows.
    Started,
    /// All is acknowledged by those who are left.
    Ended(Vec<(Ipv4Addr, StreamOutcome)>),
    /// Nothing more will come.
    Failed(String),
    /// These have not acknowledged what all others have, with the time of their silence.
    Slow(Vec<(Ipv4Addr, Duration)>),
    /// A line for the session's log.
    Note(String),
}

/// Counters of the present stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Stream bytes that every receiver has acknowledged.
    pub bytes_acked: u64,
    /// Data blocks sent, repeats included.
    pub blocks_sent: u64,
    /// Data blocks sent again.
    pub blocks_repeated: u64,
}

impl Counters {
    /// Share of the blocks that were sent again.
    #[must_use]
    pub fn repeated_percent(&self) -> f64 {
        if self.blocks_sent == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "for display only")]
        let share = self.blocks_repeated as f64 / self.blocks_sent as f64;
        share * 100.0
    }
}

/// Counters shared with the sender's thread.
#[derive(Debug, Clone, Default)]
pub struct SharedCounters(Arc<Mutex<Counters>>);

impl SharedCounters {
    /// The counters now.
    #[must_use]
    pub fn get(&self) -> Counters {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the counters.
    pub fn set(&self, counters: Counters) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }
}

/// Events of a sender with the index of its stream.
pub type Events = UnboundedSender<(usize, TransmitEvent)>;

/// Opens senders. The network, or a replacement in tests.
pub trait Transmitter: Send + Sync + 'static {
    /// Opens the rendezvous of a stream; returns at once.
    ///
    /// # Errors
    /// If the system has no resources; trouble with the network comes as an event.
    fn open(
        &self,
        job: Job,
        events: Events,
        counters: SharedCounters,
    ) -> anyhow::Result<Box<dyn Transmission>>;
}

/// A sender that was opened. Dropping it stops the sender.
pub trait Transmission: Send + 'static {
    /// Starts with the receivers that are connected. One that is silent for `drop_after` while
    /// others answer is dropped.
    fn start(&self, drop_after: Duration);
    /// Goes on without a receiver.
    fn remove(&self, address: Ipv4Addr);
    /// Ends now.
    fn stop(&self);
}

/// Sends over the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

struct Running {
    control: SendControl,
    drop_after: DropAfter,
}

/// Silence after which a receiver is dropped; decided at the start.
#[derive(Debug, Clone, Default)]
struct DropAfter(Arc<OnceLock<Duration>>);

impl Transmitter for Network {
    fn open(
        &self,
        job: Job,
        events: Events,
        counters: SharedCounters,
    ) -> anyhow::Result<Box<dyn Transmission>> {
        let control = SendControl::new().context("preparing the sender's thread")?;
        let drop_after = DropAfter::default();
        let running = Running {
            control: control.clone(),
            drop_after: drop_after.clone(),
        };
        thread::Builder::new()
            .name(format!("send-{}", job.port))
            .spawn(move || {
                let _last_words = LastWords {
                    index: job.index,
                    events: events.clone(),
                };
                transmit(job, &control, &drop_after, &events, &counters);
            })
            .context("starting the sender's thread")?;
        Ok(Box::new(running))
    }
}

impl Transmission for Running {
    fn start(&self, drop_after: Duration) {
        self.drop_after.0.get_or_init(|| drop_after);
        self.control.start_now();
    }

    fn remove(&self, address: Ipv4Addr) {
        self.control.remove(address);
    }

    fn stop(&self) {
        self.control.stop();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.stop();
    }
}

/// A sender that panics must not leave its session waiting.
struct LastWords {
    index: usize,
    events: Events,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = "internal error of the sender; the server's log has the cause";
            drop(
                self.events
                    .send((self.index, TransmitEvent::Failed(text.into()))),
            );
        }
    }
}

/// If nobody answers, the network or this host is to blame rather than the receivers: they get
/// more time than one that is silent alone.
const ALL_SILENT: Duration = Duration::from_secs(90);

/// Those who take part, to find who is silent while others answer.
#[derive(Debug, Default)]
struct Present(BTreeSet<Ipv4Addr>);

impl Present {
    /// Receivers that are to be dropped: silent for too long while another one answers.
    fn overdue(&mut self, event: &SenderEvent, limit: Duration) -> Vec<(Ipv4Addr, Duration)> {
        match event {
            SenderEvent::Joined { addr, .. } => {
                self.0.insert(*addr);
            }
            SenderEvent::Left { addr, .. } | SenderEvent::Dropped { addr, .. } => {
                self.0.remove(addr);
            }
            SenderEvent::SlowRound { waiting_for, .. } => {
                let silence = |addr| {
                    let found = waiting_for.iter().find(|(waiting, _)| *waiting == addr);
                    found.map_or(Duration::ZERO, |(_, silent)| *silent)
                };
                if self.0.iter().any(|addr| silence(*addr) < limit / 3) {
                    let overdue = waiting_for.iter().filter(|(_, silent)| *silent >= limit);
                    return overdue.copied().collect();
                }
            }
            _ => {}
        }
        Vec::new()
    }
}

/// TTL of everything, as FOG's sender has it.
const TTL: u8 = 32;

fn transmit(
    job: Job,
    control: &SendControl,
    drop_after: &DropAfter,
    events: &Events,
    counters: &SharedCounters,
) {
    let index = job.index;
    let tell = |event| {
        // The session is gone: nobody wants to know.
        drop(events.send((index, event)));
    };
    let mut options = SendOptions::new(job.interface);
    options.port_base = job.port;
    options.ttl = TTL;
    options.transfer.start = StartRule {
        accept_go: false,
        ..StartRule::default()
    };
    options.transfer.drop = DropPolicy {
        silence: job.silence_limit.max(ALL_SILENT),
        ..DropPolicy::default()
    };
    options.transfer.max_bitrate = job.max_bitrate;
    tell(TransmitEvent::Note(format!(
        "sender on {}, port base {}, group {}",
        options.interface,
        options.port_base,
        options.data_group()
    )));
    let mut present = Present::default();
    let mut on_event = |event: &SendEvent<'_>| match event {
        SendEvent::Protocol(event) => {
            let limit = drop_after.0.get().copied().unwrap_or(job.silence_limit);
            for (addr, silent) in present.overdue(event, limit) {
                tell(TransmitEvent::Departed(addr, Some(silent)));
                control.remove(addr);
            }
            protocol_event(event, &tell);
        }
        SendEvent::Progress { statistics, .. } => counters.set(Counters {
            bytes_acked: statistics.bytes_acked,
            blocks_sent: statistics.blocks_sent,
            blocks_repeated: statistics.blocks_repeated,
        }),
        SendEvent::Trouble(trouble) => tell(TransmitEvent::Note(chain(trouble))),
    };
    match cast_net::send(&options, job.source, control, &mut on_event) {
        Ok(report) => ended(&report, counters, &tell),
        Err(SendError::GaveUp { reason, report }) => {
            tell(TransmitEvent::Note(format!("the sender gave up: {reason}")));
            ended(&report, counters, &tell);
        }
        Err(error) => tell(TransmitEvent::Failed(chain(&error))),
    }
}

fn protocol_event(event: &SenderEvent, tell: &dyn Fn(TransmitEvent)) {
    match event {
        SenderEvent::Joined { addr, .. } => tell(TransmitEvent::Joined(*addr)),
        SenderEvent::Started { participants, .. } => {
            tell(TransmitEvent::Note(format!(
                "starting transfer to {participants} receivers"
            )));
            tell(TransmitEvent::Started);
        }
        SenderEvent::Left { addr, outcome } => match outcome {
            Outcome::Completed => tell(TransmitEvent::Note(format!("{addr} has everything"))),
            Outcome::Removed { .. } => tell(TransmitEvent::Note(format!("{addr} was removed"))),
            _ => tell(TransmitEvent::Departed(*addr, None)),
        },
        SenderEvent::Dropped {
            addr,
            silent_for,
            slice,
        } => {
            tell(TransmitEvent::Note(format!(
                "dropped {addr}: silent for {} s in slice {slice}",
                silent_for.as_secs()
            )));
            tell(TransmitEvent::Departed(*addr, Some(*silent_for)));
        }
        SenderEvent::Refused { addr, reason } => {
            tell(TransmitEvent::Note(format!("refused {addr}: {reason:?}")));
        }
        SenderEvent::SlowRound {
            slice,
            round,
            waiting_for,
        } => {
            let names: Vec<String> = waiting_for
                .iter()
                .take(20)
                .map(|(addr, silent)| format!("{addr} ({} s)", silent.as_secs()))
                .collect();
            tell(TransmitEvent::Note(format!(
                "round {round} for slice {slice}; waiting for {}",
                names.join(", ")
            )));
            tell(TransmitEvent::Slow(waiting_for.clone()));
        }
        SenderEvent::GaveUp(_) | SenderEvent::Finished | SenderEvent::SliceAcked { .. } => {}
    }
}

fn ended(report: &SendReport, counters: &SharedCounters, tell: &dyn Fn(TransmitEvent)) {
    counters.set(Counters {
        bytes_acked: report.statistics.bytes_acked,
        blocks_sent: report.statistics.blocks_sent,
        blocks_repeated: report.statistics.blocks_repeated,
    });
    tell(TransmitEvent::Note(format!(
        "{} bytes in {:.1} s, {} blocks sent, {} repeated",
        report.bytes,
        report.transfer_time.unwrap_or_default().as_secs_f64(),
        report.statistics.blocks_sent,
        report.statistics.blocks_repeated
    )));
    let participants = report.participants.iter().map(|participant| {
        let outcome = match participant.outcome {
            Outcome::Completed => StreamOutcome::Completed,
            Outcome::Dropped { .. } => StreamOutcome::Dropped,
            Outcome::Connected | Outcome::Left { .. } | Outcome::Removed { .. } => {
                StreamOutcome::Left
            }
        };
        (participant.addr, outcome)
    });
    tell(TransmitEvent::Ended(participants.collect()));
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.ends_with(&further) {
            text.push_str(": ");
            text.push_str(&further);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use cast_net::udpcast::{ClientNo, SliceNo, wire::Capabilities};

    use super::*;

    #[test]
    fn a_panic_of_the_sender_is_told() {
        let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
        let sender = thread::spawn(move || {
            let _last_words = LastWords { index: 3, events };
            panic!("a test");
        });
        assert!(sender.join().is_err());
        assert!(matches!(told.try_recv(), Ok((3, TransmitEvent::Failed(_)))));
    }

    #[test]
    fn only_who_is_silent_alone_is_dropped() {
        let addr = |last| Ipv4Addr::new(10, 0, 0, last);
        let limit = Duration::from_secs(15);
        let mut present = Present::default();
        for last in [1, 2] {
            let event = SenderEvent::Joined {
                client: ClientNo(0),
                addr: addr(last),
                capabilities: Capabilities::CURRENT,
            };
            assert!(present.overdue(&event, limit).is_empty());
        }
        let mut slow = |silent: &[(u8, u64)]| {
            let waiting_for = silent
                .iter()
                .map(|(last, s)| (addr(*last), Duration::from_secs(*s)));
            let event = SenderEvent::SlowRound {
                slice: SliceNo(1),
                round: 20,
                waiting_for: waiting_for.collect(),
            };
            present.overdue(&event, limit)
        };
        assert!(slow(&[(1, 14)]).is_empty());
        assert!(slow(&[(1, 60), (2, 60)]).is_empty());
        assert_eq!(slow(&[(1, 15)]), [(addr(1), Duration::from_secs(15))]);
        assert_eq!(
            slow(&[(1, 60), (2, 1)]),
            [(addr(1), Duration::from_secs(60))]
        );
    }
}
