//! udpcast's protocol over the network, a thread for each stream.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cast_net::udpcast::sender::{
    self, DropPolicy, Outcome, RefuseReason, SenderStatistics, StartRule,
};
use cast_net::{
    Interface, SendControl, SendError, SendEvent, SendOptions, SendReport, SocketError,
};
use fog::Mac;
use readable::{Size, Time, chain};

use super::rejecting::Rejecting;
use super::wake;
use super::{
    Counters, Events, Received, Sender, SenderEvent, SharedCounters, SlowReceiver, StreamJob,
    Transmission,
};
use crate::domain::multicast::Duplex;
use crate::domain::session::core::{StopKind, StreamOutcome};
use crate::domain::session::{Departure, DropCause};
use crate::imagestore::Source;

/// Sends over the network.
#[derive(Debug, Default)]
pub struct Udpcast {
    /// Where receivers are rejected.
    rejecting: Rejecting,
}

struct Transfer {
    control: SendControl,
    /// Whether it ends by itself.
    is_ending: AtomicBool,
}

impl Sender for Udpcast {
    fn route_to(&self, client: IpAddr) -> anyhow::Result<Interface> {
        match client.to_canonical() {
            IpAddr::V4(client) => Ok(Interface::towards(client)?),
            IpAddr::V6(client) => {
                anyhow::bail!("{client} is an IPv6 address; multicast deploys need IPv4")
            }
        }
    }

    fn probe_ports(&self, address: Ipv4Addr, base: u16) -> Result<(), String> {
        // Given away as soon as a session opens it; until then receivers of the last one may come.
        if self.rejecting.is_at(base) {
            return Ok(());
        }
        cast_net::ports::probe(address, base).map_err(|held| held.to_string())
    }

    fn wake(&self, macs: &[Mac], card: Option<&Interface>) -> anyhow::Result<Vec<String>> {
        wake::wake(macs, card)
    }

    fn reject(&self, interface: Interface, base: u16, limit: Duration) {
        self.rejecting.begin(interface, base, limit);
    }

    fn open(
        &self,
        job: StreamJob,
        events: Events,
        counters: SharedCounters,
    ) -> anyhow::Result<Box<dyn Transmission>> {
        self.rejecting.end(job.port);
        let control = SendControl::new().context("preparing the sender's thread")?;
        let running = Transfer {
            control: control.clone(),
            is_ending: AtomicBool::new(false),
        };
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

impl Transmission for Transfer {
    fn admit(&self, addresses: Vec<Ipv4Addr>) {
        self.control.set_expected(addresses);
    }

    fn start(&self) {
        self.control.start_now();
    }

    fn remove(&self, address: Ipv4Addr) {
        self.control.remove(address);
    }

    fn stop(&self, kind: StopKind) {
        match kind {
            StopKind::Plain => self.control.stop(),
            StopKind::EndStream => {
                self.is_ending.store(true, Ordering::Relaxed);
                self.control.abort();
            }
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if !self.is_ending.load(Ordering::Relaxed) {
            self.control.stop();
        }
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
                .tell(self.index, SenderEvent::Failed(text.into()));
        }
    }
}

/// A slice stands still until every receiver has answered, and those who have are not asked again:
/// here nobody can tell a dead receiver from a dead network. The session can, as it hears clients
/// over HTTP too, and drops earlier; this is the limit if it cannot.
const ALL_SILENT: Duration = Duration::from_secs(90);

/// TTL of everything, as FOG's sender has it.
pub(crate) const TTL: u8 = 32;

/// Nobody but the session starts the transfer, and only its hosts are let in.
pub(super) fn start_rule(admitted: Vec<Ipv4Addr>) -> StartRule {
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

fn transmit(job: StreamJob, control: &SendControl, events: &Events, counters: &SharedCounters) {
    let index = job.index;
    let tell = |event| events.tell(index, event);
    let mut options = SendOptions::new(job.interface);
    options.port_base = job.port;
    options.ttl = TTL;
    options.transfer.start = start_rule(job.admitted);
    options.transfer.drop = DropPolicy {
        silence: job.silence_limit.max(ALL_SILENT),
        // At the end of a stream, and where nobody else waits, the session's own rule counts.
        hold: Some(job.disk_limit),
        ..DropPolicy::default()
    };
    // Agents are watched over HTTP too, and dropped by the session's own rule. Only a program that has
    // ended, as its host says, is not waited for.
    options.transfer.drop_attentive = options.transfer.drop;
    options.data_group = job.group;
    options.transfer.duplex = match job.duplex {
        Duplex::Full => sender::Duplex::Full,
        Duplex::Half => sender::Duplex::Half,
    };
    options.transfer.max_bitrate = job.max_bitrate;
    options.transfer.slow = job.slow;
    options.abort_on_input_error = job.tells_its_length;
    tell(SenderEvent::Note(format!(
        "sender on {}, port base {}, group {}",
        options.interface,
        options.port_base,
        options.data_group()
    )));
    let mut refusals = Refusals::default();
    let mut on_event = |event: &SendEvent| match event {
        SendEvent::Protocol(sender::SenderEvent::Refused { addr, reason }) => {
            if let Some(text) = refusals.next(Instant::now(), *addr, *reason) {
                tell(SenderEvent::Note(text));
            }
        }
        SendEvent::Protocol(event) => protocol_event(event, &tell),
        SendEvent::Progress {
            statistics,
            participants,
        } => {
            let receivers = participants.iter().map(|participant| {
                let received = Received {
                    bytes_acked: participant.evidence.bytes_acked,
                    blocks_again: participant.repeats_asked,
                };
                (participant.addr, received)
            });
            counters.set(counted(statistics), receivers.collect());
        }
        SendEvent::Network(notice) => tell(SenderEvent::Note(notice.to_string())),
    };
    let source = Shared(Arc::new(Mutex::new(job.source)));
    let began = Instant::now();
    let mut is_wait_told = false;
    let sent = loop {
        let opened = cast_net::send::open(options.clone(), source.clone(), control.clone());
        let sent = opened.and_then(|mut stream| {
            while let Some(event) = stream.next_event() {
                on_event(&event);
            }
            stream.finish()
        });
        match &sent {
            Err(SendError::Socket(error @ SocketError::InUse(_)))
                if began.elapsed() < PORT_WAIT && !events.is_closed() =>
            {
                if !std::mem::replace(&mut is_wait_told, true) {
                    tell(SenderEvent::Note(format!("{error}; trying for a while")));
                }
                thread::sleep(PORT_RETRY);
            }
            _ => break sent,
        }
    };
    if events.left_out() > 0 {
        tell(SenderEvent::Note(format!(
            "{} lines were left out",
            events.left_out()
        )));
    }
    match sent {
        Ok(report) => ended(&report, counters, &tell),
        Err(SendError::Aborted { ended, cause, .. }) => {
            let how = if ended {
                "the stream was ended early, so that its receivers fail"
            } else {
                "the sender was stopped"
            };
            tell(SenderEvent::Note(how.to_owned()));
            let text = cause.map_or_else(|| "it was aborted".to_owned(), |cause| chain(&cause));
            tell(SenderEvent::Failed(text));
        }
        Err(SendError::GaveUp { reason, report }) => {
            tell(SenderEvent::Note(format!("the sender gave up: {reason}")));
            ended(&report, counters, &tell);
        }
        // Addresses, routes and cards may still come.
        Err(SendError::Socket(error)) if !matches!(error, SocketError::InUse(_)) => {
            tell(SenderEvent::NotOpened(chain(&error)));
        }
        Err(error) => tell(SenderEvent::Failed(chain(&error))),
    }
}

/// A port is given away again as soon as its session is cancelled, a moment before its sender has
/// closed it.
const PORT_WAIT: Duration = Duration::from_secs(10);
pub(super) const PORT_RETRY: Duration = Duration::from_millis(200);

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

fn protocol_event(event: &sender::SenderEvent, tell: &dyn Fn(SenderEvent)) {
    match event {
        sender::SenderEvent::Joined { addr, .. } => tell(SenderEvent::Joined(*addr)),
        sender::SenderEvent::Started { participants, .. } => {
            tell(SenderEvent::Note(format!(
                "starting transfer to {participants} receivers"
            )));
            tell(SenderEvent::Started);
        }
        sender::SenderEvent::Left { addr, outcome } => match outcome {
            Outcome::Completed => tell(SenderEvent::Note(format!("{addr} has everything"))),
            Outcome::Removed { .. } => tell(SenderEvent::Note(format!("{addr} was removed"))),
            _ => tell(SenderEvent::Departed(*addr, Departure::Left)),
        },
        sender::SenderEvent::Dropped {
            addr,
            cause,
            lasted,
            slice,
            evidence,
        } => {
            let seconds = lasted.as_secs();
            let why = match cause {
                sender::DropCause::Silent => format!("silent for {seconds} s"),
                sender::DropCause::Unreachable => {
                    format!("silent for {seconds} s, and nothing listens there any more")
                }
                sender::DropCause::NoProgress { missing, blocks } => {
                    format!("lacking {missing} of {blocks} blocks for {seconds} s")
                }
                sender::DropCause::Holding => format!("took no data for {seconds} s"),
                sender::DropCause::Slow {
                    bytes_per_second,
                    waited_percent,
                } => format!(
                    "too slow, got {}/s, and the others waited for it {waited_percent} % of the time",
                    Size(*bytes_per_second)
                ),
            };
            tell(SenderEvent::Note(format!(
                "dropped {addr}: {why}, in slice {slice}"
            )));
            let departure = Departure::Dropped(*lasted, drop_cause(*cause, evidence));
            tell(SenderEvent::Departed(*addr, departure));
        }
        sender::SenderEvent::Paced {
            addr,
            bits_per_second,
        } => tell(SenderEvent::Note(format!(
            "{addr} loses most of what is sent: the pace follows it, {}/s at first",
            Size(bits_per_second / 8)
        ))),
        sender::SenderEvent::SlowRound {
            slice,
            round,
            waiting_for,
        } => {
            let names: Vec<String> = waiting_for
                .iter()
                .take(20)
                .map(|(addr, silent)| format!("{addr} ({} s)", silent.as_secs()))
                .collect();
            tell(SenderEvent::Note(format!(
                "round {round} for slice {slice}; waiting for {}",
                names.join(", ")
            )));
            let slow = waiting_for.iter().map(|(address, silent)| SlowReceiver {
                address: *address,
                silent: *silent,
                has_acknowledged: slice.0 > 0,
            });
            tell(SenderEvent::Slow(slow.collect()));
        }
        sender::SenderEvent::Refused { .. }
        | sender::SenderEvent::GaveUp(_)
        | sender::SenderEvent::Finished
        | sender::SenderEvent::NoProgress { .. }
        | sender::SenderEvent::Probe { .. }
        | sender::SenderEvent::SliceAcked { .. } => {}
    }
}

fn drop_cause(cause: sender::DropCause, evidence: &sender::Evidence) -> DropCause {
    match cause {
        sender::DropCause::Silent => DropCause::Silent {
            has_acknowledged: evidence.has_data || evidence.slices_acked > 0,
        },
        sender::DropCause::Unreachable => DropCause::NotListening,
        // Of the slice that it lacks: it may have had others, and then large datagrams do reach it.
        sender::DropCause::NoProgress { missing, blocks } => DropCause::NoProgress {
            has_data: missing < blocks || evidence.has_data || evidence.slices_acked > 0,
        },
        sender::DropCause::Holding => DropCause::DiskStandsStill,
        sender::DropCause::Slow {
            bytes_per_second,
            waited_percent,
        } => DropCause::Slow {
            bytes_per_second,
            waited_percent,
        },
    }
}

fn counted(statistics: &SenderStatistics) -> Counters {
    Counters {
        bytes_acked: statistics.bytes_acked,
        blocks_sent: statistics.blocks_sent,
        blocks_repeated: statistics.blocks_repeated,
    }
}

fn ended(report: &SendReport, counters: &SharedCounters, tell: &dyn Fn(SenderEvent)) {
    counters.set(counted(&report.statistics), counters.receivers());
    tell(SenderEvent::Note(format!(
        "{} bytes in {:.1}, {} blocks sent, {} repeated",
        report.bytes,
        Time(report.transfer_time.unwrap_or_default()),
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
    tell(SenderEvent::Ended(participants.collect()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imagestore::prepared;
    use crate::sender::{QUEUE, SenderEvent as Told};

    #[test]
    fn all_who_are_let_in_do_not_start_the_transfer_and_nobody_else_gets_in() {
        use cast_net::udpcast::sender::{RefuseReason, Sender, SenderConfig, SenderEvent};
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

    /// Everything that the sender knows of a receiver that it drops counts.
    #[test]
    fn who_had_any_data_is_not_said_to_get_no_data() {
        use cast_net::udpcast::sender::{DropCause as Cause, Evidence};

        let acked = |slices_acked, has_data| Evidence {
            has_answered: true,
            has_data,
            slices_acked,
            ..Evidence::default()
        };
        let nothing = acked(0, false);
        let all = Cause::NoProgress {
            missing: 16,
            blocks: 16,
        };
        let some = Cause::NoProgress {
            missing: 15,
            blocks: 16,
        };
        let no_progress = |has_data| DropCause::NoProgress { has_data };
        let silent = |has_acknowledged| DropCause::Silent { has_acknowledged };
        for (cause, evidence, expected) in [
            (all, nothing, no_progress(false)),
            (all, acked(0, true), no_progress(true)),
            (all, acked(3, false), no_progress(true)),
            (some, nothing, no_progress(true)),
            (Cause::Silent, nothing, silent(false)),
            (Cause::Silent, acked(0, true), silent(true)),
            (Cause::Silent, acked(1, false), silent(true)),
            (Cause::Unreachable, acked(1, true), DropCause::NotListening),
            (Cause::Holding, acked(0, true), DropCause::DiskStandsStill),
        ] {
            assert_eq!(
                drop_cause(cause, &evidence),
                expected,
                "{cause:?} {evidence:?}"
            );
        }
    }

    #[test]
    fn lines_are_left_out_and_states_wait() {
        let (events, mut told) = Events::channel();
        for _ in 0..QUEUE + 7 {
            events.tell(0, Told::Note("refused".into()));
        }
        assert_eq!(events.left_out(), 7);
        let sender = thread::spawn(move || events.tell(0, Told::Started));
        let mut received = 0;
        while let Some((_, event)) = told.blocking_recv() {
            received += 1;
            if event == Told::Started {
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
    fn an_address_that_is_not_there_yet_may_come() {
        let (told, ..) = opened(crate::testing::card(1), 9000);
        let last = told_last(told);
        assert!(
            matches!(&last, Some(Told::NotOpened(text)) if text.contains("10.1.0.1")),
            "{last:?}"
        );
    }

    /// All but notes, to the end; the last of it.
    fn told_last(mut told: tokio::sync::mpsc::Receiver<(usize, Told)>) -> Option<Told> {
        let events = std::iter::from_fn(|| told.blocking_recv()).map(|(_, event)| event);
        events
            .filter(|event| !matches!(event, Told::Note(_)))
            .last()
    }

    type Opened = (
        tokio::sync::mpsc::Receiver<(usize, Told)>,
        Box<dyn Transmission>,
        crate::imagestore::Gate,
        tempfile::TempDir,
    );

    fn opened(interface: Interface, base: u16) -> Opened {
        opened_with(interface, base, b"", |_| ())
    }

    /// The same with these bytes, and a job that is otherwise.
    fn opened_with(
        interface: Interface,
        base: u16,
        bytes: &[u8],
        change: impl FnOnce(&mut StreamJob),
    ) -> Opened {
        let dir = tempfile::tempdir().unwrap();
        let facts = prepared(dir.path(), &[("d1p1.img", bytes)]);
        let gate = crate::imagestore::Gate::default();
        let (events, told) = Events::channel();
        let mut job = StreamJob {
            index: 0,
            port: base,
            interface,
            admitted: vec![Ipv4Addr::LOCALHOST],
            source: Source::new(dir.path(), &facts, 0, gate.clone()).unwrap(),
            silence_limit: Duration::from_secs(1),
            disk_limit: Duration::ZERO,
            tells_its_length: true,
            max_bitrate: None,
            group: None,
            duplex: Duplex::Full,
            slow: sender::SlowPolicy::default(),
        };
        change(&mut job);
        let transmission = Udpcast::default()
            .open(job, events, SharedCounters::default())
            .unwrap();
        (told, transmission, gate, dir)
    }

    #[test]
    fn a_port_that_is_still_in_use_is_waited_for() {
        let list = Interface::list().unwrap();
        let interface = list.into_iter().find(|found| found.is_loopback).unwrap();
        // The sender uses the port behind the base.
        let taken = std::net::UdpSocket::bind((interface.addr, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let (mut told, transmission, gate, _dir) = opened(interface, port - 1);
        loop {
            match told.blocking_recv() {
                Some((0, Told::Note(text))) if text.contains("trying") => break,
                Some((0, Told::Note(_))) => {}
                other => panic!("{other:?}"),
            }
        }
        drop(taken);
        transmission.stop(StopKind::Plain);
        gate.close();
        // Stopped, not failed for the port.
        match told.blocking_recv() {
            Some((0, Told::Failed(text))) => {
                assert!(
                    text.contains("stopped") || text.contains("ended first"),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
    }

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 77, 1, 5);

    /// The group that a receiver is told, and the blocks of the first slice that it hears there: in half duplex 130, in full
    /// duplex 112 or as many more as fit its buffer.
    fn heard(duplex: Duplex) -> (Ipv4Addr, u32) {
        use cast_net::udpcast::wire::{Capabilities, ConnectReq, Message};
        use std::net::UdpSocket;

        let list = Interface::list().unwrap();
        let lo = list.into_iter().find(|found| found.is_loopback).unwrap();
        let socket = std::iter::repeat_with(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        let base = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        // The sender uses the port behind it.
        let socket = socket
            .take(100)
            .find(|socket| UdpSocket::bind((lo.addr, base(socket) + 1)).is_ok())
            .unwrap();
        socket.join_multicast_v4(&GROUP, &lo.addr).unwrap();
        let patience = Duration::from_millis(100);
        socket.set_read_timeout(Some(patience)).unwrap();
        let (base, to) = (base(&socket), lo.addr);
        let bytes = vec![7; 1 << 20];
        let (mut told, transmission, gate, _dir) = opened_with(lo, base, &bytes, |job| {
            job.group = Some(GROUP);
            job.duplex = duplex;
        });
        let mut request = Vec::new();
        let connect = ConnectReq {
            capabilities: Capabilities::CURRENT,
            rcvbuf: 1 << 20,
        };
        Message::ConnectReq(connect).emit(&mut request);
        let mut group = None;
        let mut buffer = [0; 2048];
        let began = Instant::now();
        let blocks = loop {
            assert!(began.elapsed() < Duration::from_secs(60));
            if group.is_none() {
                socket.send_to(&request, (to, base + 1)).unwrap();
            }
            let Ok(len) = socket.recv(&mut buffer) else {
                continue;
            };
            match Message::parse(&buffer[..len]) {
                Ok(Message::ConnectReply(reply)) if group.is_none() => {
                    group = Some(reply.data_address);
                    transmission.start();
                    gate.open(false);
                }
                Ok(Message::Data(data)) => {
                    let block = u32::try_from(data.payload.len()).unwrap();
                    break data.slice_len / block;
                }
                _ => {}
            }
        };
        transmission.stop(StopKind::Plain);
        while told.blocking_recv().is_some() {}
        (group.unwrap(), blocks)
    }

    #[test]
    fn data_go_to_the_group_and_in_the_duplex_that_were_set() {
        assert_eq!(heard(Duplex::Half), (GROUP, 130));
        let (group, blocks) = heard(Duplex::Full);
        assert_eq!(group, GROUP);
        assert!((112..130).contains(&blocks), "{blocks}");
    }

    #[test]
    fn a_panic_of_the_sender_is_told() {
        let (events, mut told) = Events::channel();
        let sender = thread::spawn(move || {
            let _last_words = LastWords { index: 3, events };
            panic!("a test");
        });
        assert!(sender.join().is_err());
        assert!(matches!(told.try_recv(), Ok((3, Told::Failed(_)))));
    }
}
