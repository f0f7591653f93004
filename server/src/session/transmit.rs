//! The sender of one stream, on its own thread.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cast_net::udpcast::sender::{
    DropCause, DropPolicy, Outcome, RefuseReason, SenderEvent, StartRule,
};
use cast_net::{
    Interface, SendControl, SendError, SendEvent, SendOptions, SendReport, SocketError,
};
use tokio::sync::mpsc;

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

/// An event with the index of its stream.
pub type StreamEvent = (usize, TransmitEvent);

/// The way of events from a sender to its session. Bounded: whoever is on the network can cause
/// lines for the log, and a session may be slow while its database is.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<StreamEvent>,
    /// Lines left out because the session did not keep up.
    left_out: Arc<AtomicU64>,
}

/// Events that may wait, some 100 bytes each.
const QUEUE: usize = 4096;

impl Events {
    /// A new one with its other end.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<StreamEvent>) {
        let (queue, events) = mpsc::channel(QUEUE);
        let left_out = Arc::default();
        (Self { queue, left_out }, events)
    }

    /// Tells an event. What the session must know waits for a place in the queue; the rest is left
    /// out if there is none. Not for asynchronous code: it may block.
    pub fn tell(&self, index: usize, event: TransmitEvent) {
        if event.is_dispensable() {
            if self.queue.try_send((index, event)).is_err() {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // An error means that the session is gone: nobody wants to know.
        drop(self.queue.blocking_send((index, event)));
    }

    /// Tells an event if there is a place for it.
    #[cfg(test)]
    pub(crate) fn try_tell(&self, index: usize, event: TransmitEvent) {
        self.queue.try_send((index, event)).unwrap();
    }

    fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

impl TransmitEvent {
    /// Whether it comes again, or is only for people.
    fn is_dispensable(&self) -> bool {
        matches!(self, Self::Slow(_) | Self::Note(_))
    }
}

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
            self.events
                .tell(self.index, TransmitEvent::Failed(text.into()));
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
    let tell = |event| events.tell(index, event);
    let mut options = SendOptions::new(job.interface);
    options.port_base = job.port;
    options.ttl = TTL;
    options.transfer.start = start_rule(job.admitted);
    options.transfer.drop = DropPolicy {
        silence: job.silence_limit.max(ALL_SILENT),
        ..DropPolicy::default()
    };
    // Agents are watched over HTTP too, and dropped by the session's own rule. Only a program that has
    // ended, as its host says, is not waited for.
    options.transfer.drop_attentive = options.transfer.drop;
    options.transfer.max_bitrate = job.max_bitrate;
    tell(TransmitEvent::Note(format!(
        "sender on {}, port base {}, group {}",
        options.interface,
        options.port_base,
        options.data_group()
    )));
    let mut refusals = Refusals::default();
    let mut on_event = |event: &SendEvent<'_>| match event {
        SendEvent::Protocol(SenderEvent::Refused { addr, reason }) => {
            if let Some(text) = refusals.next(Instant::now(), *addr, *reason) {
                tell(TransmitEvent::Note(text));
            }
        }
        SendEvent::Protocol(event) => protocol_event(event, &tell),
        SendEvent::Progress { statistics, .. } => counters.set(Counters {
            bytes_acked: statistics.bytes_acked,
            blocks_sent: statistics.blocks_sent,
            blocks_repeated: statistics.blocks_repeated,
        }),
        SendEvent::Trouble(trouble) => tell(TransmitEvent::Note(chain(trouble))),
    };
    let source = Shared(Arc::new(Mutex::new(job.source)));
    let began = Instant::now();
    let mut is_wait_told = false;
    let sent = loop {
        let sent = cast_net::send(&options, source.clone(), control, &mut on_event);
        match &sent {
            Err(SendError::Socket(error @ SocketError::InUse(_)))
                if began.elapsed() < PORT_WAIT && !events.is_closed() =>
            {
                if !std::mem::replace(&mut is_wait_told, true) {
                    tell(TransmitEvent::Note(format!("{error}; trying for a while")));
                }
                thread::sleep(PORT_RETRY);
            }
            _ => break sent,
        }
    };
    if events.left_out() > 0 {
        tell(TransmitEvent::Note(format!(
            "{} lines were left out",
            events.left_out()
        )));
    }
    match sent {
        Ok(report) => ended(&report, counters, &tell),
        Err(SendError::GaveUp { reason, report }) => {
            tell(TransmitEvent::Note(format!("the sender gave up: {reason}")));
            ended(&report, counters, &tell);
        }
        Err(error) => tell(TransmitEvent::Failed(chain(&error))),
    }
}

/// A port is given away again as soon as its session is cancelled, a moment before its sender has
/// closed it.
const PORT_WAIT: Duration = Duration::from_secs(10);
const PORT_RETRY: Duration = Duration::from_millis(200);

/// The source for one attempt; nothing is read of it before the port is open.
#[derive(Clone)]
struct Shared(Arc<Mutex<Source>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.read(buffer)
    }
}

/// Who was refused is told once a second at most: a receiver that is not wanted asks for hours.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    untold: u64,
}

impl Refusals {
    fn next(&mut self, now: Instant, addr: Ipv4Addr, reason: RefuseReason) -> Option<String> {
        let is_soon = |told| now.duration_since(told) < Duration::from_secs(1);
        if self.told.is_some_and(is_soon) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        let more = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            untold => format!(" ({untold} refusals before it are not shown)"),
        };
        let reason = match reason {
            RefuseReason::NotExpected => "no host of this session checked in from that address",
            RefuseReason::Late => "the transfer has already started",
            RefuseReason::Full => "there are as many receivers as the protocol can have",
            RefuseReason::PointToPoint => "there is one receiver already",
        };
        Some(format!("refused {addr}: {reason}{more}"))
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
            cause,
            lasted,
            slice,
            ..
        } => {
            let seconds = lasted.as_secs();
            let why = match cause {
                DropCause::Silent => format!("silent for {seconds} s"),
                DropCause::Unreachable => {
                    format!("silent for {seconds} s, and nothing listens there any more")
                }
                DropCause::NoProgress { missing, blocks } => {
                    format!("lacking {missing} of {blocks} blocks for {seconds} s")
                }
                DropCause::Holding => format!("took no data for {seconds} s"),
            };
            tell(TransmitEvent::Note(format!(
                "dropped {addr}: {why}, in slice {slice}"
            )));
            tell(TransmitEvent::Departed(*addr, Some(*lasted)));
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
        SenderEvent::Refused { .. }
        | SenderEvent::GaveUp(_)
        | SenderEvent::Finished
        | SenderEvent::NoProgress { .. }
        | SenderEvent::Probe { .. }
        | SenderEvent::SliceAcked { .. } => {}
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
    fn lines_are_left_out_and_states_wait() {
        let (events, mut told) = Events::channel();
        for _ in 0..QUEUE + 7 {
            events.tell(0, TransmitEvent::Note("refused".into()));
        }
        assert_eq!(events.left_out(), 7);
        let sender = thread::spawn(move || events.tell(0, TransmitEvent::Started));
        let mut received = 0;
        while let Some((_, event)) = told.blocking_recv() {
            received += 1;
            if event == TransmitEvent::Started {
                break;
            }
        }
        assert_eq!(received, QUEUE + 1);
        sender.join().unwrap();
    }

    #[test]
    fn refusals_are_told_once_a_second() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let addr = Ipv4Addr::LOCALHOST;
        let mut next = |millis| {
            refusals.next(
                now + Duration::from_millis(millis),
                addr,
                RefuseReason::Late,
            )
        };
        assert_eq!(
            next(0).unwrap(),
            "refused 127.0.0.1: the transfer has already started"
        );
        assert_eq!(next(10), None);
        assert_eq!(next(999), None);
        assert!(
            next(1000)
                .unwrap()
                .ends_with("(2 refusals before it are not shown)")
        );
    }

    #[test]
    fn a_port_that_is_still_in_use_is_waited_for() {
        let list = Interface::list().unwrap();
        let interface = list.into_iter().find(|found| found.is_loopback).unwrap();
        // The sender uses the port behind the base.
        let taken = std::net::UdpSocket::bind((interface.addr, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let mut facts = crate::store::images::tests::sample_facts(&["d1p1.img"]);
        facts.files.clear();
        let gate = crate::session::source::Gate::default();
        let (events, mut told) = Events::channel();
        let job = Job {
            index: 0,
            port: port - 1,
            interface,
            admitted: vec![Ipv4Addr::LOCALHOST],
            source: Source::new(dir.path(), &facts, 0, gate.clone()).unwrap(),
            silence_limit: Duration::from_secs(1),
            max_bitrate: None,
        };
        let transmission = Network
            .open(job, events, SharedCounters::default())
            .unwrap();
        loop {
            match told.blocking_recv() {
                Some((0, TransmitEvent::Note(text))) if text.contains("trying") => break,
                Some((0, TransmitEvent::Note(_))) => {}
                other => panic!("{other:?}"),
            }
        }
        drop(taken);
        transmission.stop();
        gate.close();
        // Stopped, not failed for the port.
        match told.blocking_recv() {
            Some((0, TransmitEvent::Failed(text))) => {
                assert!(
                    text.contains("stopped") || text.contains("ended first"),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_panic_of_the_sender_is_told() {
        let (events, mut told) = Events::channel();
        let sender = thread::spawn(move || {
            let _last_words = LastWords { index: 3, events };
            panic!("a test");
        });
        assert!(sender.join().is_err());
        assert!(matches!(told.try_recv(), Ok((3, TransmitEvent::Failed(_)))));
    }
}
