//! The sender of one stream, on its own thread.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Receivers that are let in.
    pub admitted: Vec<Ipv4Addr>,
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
    /// Replaces the receivers that are let in; all others are told that they are not.
    fn admit(&self, addresses: Vec<Ipv4Addr>);
    /// Starts with the receivers that are connected.
    fn start(&self);
    /// Goes on without a receiver.
    fn remove(&self, address: Ipv4Addr);
    /// Ends now.
    fn stop(&self);
}

/// Sends over the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

struct Running(SendControl);

impl Transmitter for Network {
    fn open(
        &self,
        job: Job,
        events: Events,
        counters: SharedCounters,
    ) -> anyhow::Result<Box<dyn Transmission>> {
        let control = SendControl::new().context("preparing the sender's thread")?;
        let running = Running(control.clone());
        thread::Builder::new()
            .name(format!("send-{}", job.port))
            .spawn(move || {
                let _last_words = LastWords {
                    index: job.index,
                    events: events.clone(),
                };
                transmit(job, &control, &events, &counters);
            })
            .context("starting the sender's thread")?;
        Ok(Box::new(running))
    }
}

impl Transmission for Running {
    fn admit(&self, addresses: Vec<Ipv4Addr>) {
        self.0.set_expected(addresses);
    }

    fn start(&self) {
        self.0.start_now();
    }

    fn remove(&self, address: Ipv4Addr) {
        self.0.remove(address);
    }

    fn stop(&self) {
        self.0.stop();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
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

/// A slice stands still until every receiver has answered, and those who have are not asked again:
/// here nobody can tell a dead receiver from a dead network. The session can, as it hears clients
/// over HTTP too, and drops earlier; this is the limit if it cannot.
const ALL_SILENT: Duration = Duration::from_secs(90);

/// TTL of everything, as FOG's sender has it.
const TTL: u8 = 32;

/// Nobody but the session starts the transfer, and only its hosts are let in.
fn start_rule(admitted: Vec<Ipv4Addr>) -> StartRule {
    StartRule {
        expected: admitted,
        only_expected: true,
        // More than there can ever be: not even the presence of all who are let in starts it, as
        // more may be let in.
        min_receivers: u32::MAX,
        accept_go: false,
        ..StartRule::default()
    }
}

fn transmit(job: Job, control: &SendControl, events: &Events, counters: &SharedCounters) {
    let index = job.index;
    let tell = |event| {
        // The session is gone: nobody wants to know.
        drop(events.send((index, event)));
    };
    let mut options = SendOptions::new(job.interface);
    options.port_base = job.port;
    options.ttl = TTL;
    options.transfer.start = start_rule(job.admitted);
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
    let mut on_event = |event: &SendEvent<'_>| match event {
        SendEvent::Protocol(event) => protocol_event(event, &tell),
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
    use super::*;

    #[test]
    fn all_who_are_let_in_do_not_start_the_transfer_and_nobody_else_gets_in() {
        use cast_net::udpcast::sender::{RefuseReason, Sender, SenderConfig};
        use cast_net::udpcast::wire::{Capabilities, ConnectReq, Message};
        use std::net::SocketAddrV4;
        use std::time::Instant;

        let host = |last| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 9000);
        let group = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 9000);
        let now = Instant::now();
        let mut config = SenderConfig::new(group, group);
        config.start = start_rule(vec![*host(1).ip()]);
        let mut sender = Sender::new(config, now).unwrap();
        let mut request = Vec::new();
        Message::ConnectReq(ConnectReq {
            capabilities: Capabilities::CURRENT,
            rcvbuf: 1 << 20,
        })
        .emit(&mut request);
        let told = |sender: &mut Sender, last| {
            sender.handle_datagram(now, host(last), &request);
            std::iter::from_fn(|| sender.poll_event()).collect::<Vec<_>>()
        };
        assert!(matches!(
            told(&mut sender, 1)[..],
            [SenderEvent::Joined { .. }]
        ));
        assert!(matches!(
            told(&mut sender, 2)[..],
            [SenderEvent::Refused {
                reason: RefuseReason::NotExpected,
                ..
            }]
        ));
        sender.set_expected(now, &[*host(1).ip(), *host(2).ip()]);
        assert!(matches!(
            told(&mut sender, 2)[..],
            [SenderEvent::Joined { .. }]
        ));
        sender.start(now);
        assert!(matches!(
            sender.poll_event(),
            Some(SenderEvent::Started { .. })
        ));
    }

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
}
