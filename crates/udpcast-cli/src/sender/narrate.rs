//! What a sender tells while it works.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Seek;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use cast_net::udpcast::sender::{
    DropCause, Duplex, Outcome, Participant, SenderEvent, SenderStatistics, StartReason,
};
use cast_net::udpcast::wire::Capabilities;
use cast_net::udpcast::{ClientNo, SliceNo};
use cast_net::{Interface, SendEvent, SendOptions, SendReport};
use readable::{Count, NAMED_AFTER, Time};

use super::arguments::Arguments;
use crate::messages::Messages;
use crate::numbers;
use crate::syslog::Syslog;
use crate::waits::{Link, SenderWait};

/// Tells of one transfer.
pub(super) struct Narrator {
    messages: Messages,
    syslog: Syslog,
    facts: Facts,
    /// Who has joined, and with what.
    joined: BTreeMap<Ipv4Addr, (ClientNo, Capabilities)>,
    block_size: u16,
    /// The input, if its position is shown.
    input: Option<File>,
    bandwidth: Option<Bandwidth>,
    has_started: bool,
    /// The slice last said to be waited for, and when.
    slow: Option<(SliceNo, Instant)>,
    wait: SenderWait,
    link: Link,
    /// As last logged.
    repeated: u64,
    slice_size: u16,
}

/// What the machine's log is told beside the events.
struct Facts {
    file: String,
    pipe: String,
    port: u16,
    interface: String,
    is_asynchronous: bool,
    /// Least and longest wait in seconds, least number of receivers.
    waits: Option<(u64, u64, u32)>,
}

impl Facts {
    fn new(arguments: &Arguments, options: &SendOptions) -> Self {
        let start = &options.transfer.start;
        let seconds = |wait: Option<Duration>| wait.map_or(0, |wait| wait.as_secs());
        let waits = (
            seconds(start.min_wait),
            seconds(start.max_wait),
            start.min_receivers,
        );
        let text = |path: Option<&std::ffi::OsStr>| {
            path.map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        Self {
            file: text(arguments.file.as_deref().map(std::path::Path::as_os_str)),
            pipe: text(arguments.pipe.as_deref()),
            port: options.port_base,
            interface: options.interface.name.clone(),
            is_asynchronous: options.transfer.asynchronous,
            waits: (waits != (0, 0, 0)).then_some(waits),
        }
    }
}

/// The rate at which receivers got the stream lately.
struct Bandwidth {
    period: Duration,
    since: Instant,
    bytes: u64,
}

impl Narrator {
    /// `input`: the handle whose position is shown with the progress.
    pub(super) fn new(
        messages: Messages,
        arguments: &Arguments,
        options: &SendOptions,
        input: Option<File>,
    ) -> Self {
        let bandwidth = (arguments.bw_period > 0).then(|| Bandwidth {
            period: Duration::from_secs(arguments.bw_period.into()),
            since: Instant::now(),
            bytes: 0,
        });
        Self {
            messages,
            syslog: Syslog::open(),
            facts: Facts::new(arguments, options),
            joined: BTreeMap::new(),
            block_size: options.transfer.block_size,
            input,
            bandwidth,
            has_started: false,
            slow: None,
            wait: SenderWait::new(
                options.transfer.start.min_receivers,
                options.transfer.start.max_wait,
                Instant::now(),
            ),
            link: Link::of(&options.interface),
            repeated: 0,
            slice_size: 0,
        }
    }

    /// What will be sent, from where and how.
    pub(super) fn introduce(&mut self, arguments: &Arguments, options: &SendOptions, name: &str) {
        let transfer = &options.transfer;
        let is_detected = !arguments.full_duplex && !arguments.asynchronous;
        if transfer.duplex == Duplex::Full && is_detected {
            self.messages
                .tell("the network card is full duplex, so is the transfer");
        }
        if arguments.mcast_data_address.is_none() && !arguments.pointopoint {
            let group = options.data_group();
            self.messages.note(&format!("data goes to group {group}"));
        }
        let Interface {
            name: interface,
            addr,
            ..
        } = &options.interface;
        let kind = match arguments.pipe {
            Some(_) => "Compressed ",
            None => "",
        };
        self.messages.note(&format!(
            "{kind}UDP sender for {name} at {addr} on {interface}"
        ));
        let control = options.control_address();
        self.messages.note(&format!("announcing at {control}"));
        if arguments.asynchronous && arguments.fec.is_none() {
            self.messages.tell(
                "Warning: asynchronous transfer without forward error correction (--fec).\n\
                 A single lost datagram makes a receiver fail,\n\
                 and nobody here will know of it.",
            );
        }
    }

    pub(super) fn prompt(&mut self) {
        self.messages.tell("Press any key to start, q to quit.");
    }

    /// Says what the start waits for, and that the link goes or comes. Several times a second.
    pub(super) fn look(&mut self, now: Instant) {
        let change = self.link.look(now);
        let wait = if self.has_started {
            None
        } else {
            self.wait.look(self.joined.len(), &self.link, now)
        };
        for text in change.into_iter().chain(wait) {
            self.messages.record(&text);
        }
    }

    pub(super) fn tell(&mut self, event: &SendEvent) {
        match event {
            SendEvent::Protocol(event) => self.tell_protocol(event),
            SendEvent::Network(notice) => self.messages.note(&notice.to_string()),
            SendEvent::Progress {
                statistics,
                participants,
            } => self.tell_progress(statistics, participants),
        }
    }

    fn tell_protocol(&mut self, event: &SenderEvent) {
        match event {
            SenderEvent::Joined {
                client,
                addr,
                capabilities,
            } => {
                let is_first = self.joined.is_empty();
                self.joined.insert(*addr, (*client, *capabilities));
                let capabilities = (*capabilities | Capabilities::BIG_ENDIAN).0;
                let text = format!("New connection from {addr}  ({client})");
                self.messages.tell(&format!("{text} {capabilities:08x}"));
                self.syslog.tell(&text);
                if is_first && let Some((min, max, count)) = self.facts.waits {
                    self.syslog.tell(&format!(
                        "first connection: min wait[{min}] secs - max wait[{max}] - min clients[{count}]"
                    ));
                }
            }
            SenderEvent::Refused { addr, reason } => {
                self.messages.note(&format!("refused {addr}: {reason:?}"));
            }
            SenderEvent::Started {
                reason,
                data,
                participants,
            } => {
                if let Some(bandwidth) = &mut self.bandwidth {
                    bandwidth.since = Instant::now();
                }
                self.has_started = true;
                self.log_start(reason, *participants);
                let capabilities = self.common_capabilities().0;
                let reason = match reason {
                    StartReason::Operator => "a key was pressed".to_owned(),
                    StartReason::Go(addr) => format!("{addr} asked for it"),
                    StartReason::Complete => "all are there".to_owned(),
                    StartReason::MaxWait => "the longest wait is over".to_owned(),
                    StartReason::Autostart => "announced often enough".to_owned(),
                };
                self.messages.note(&format!(
                    "Starting transfer: {capabilities:08x}, to {data}, {participants} receivers: {reason}"
                ));
            }
            SenderEvent::Left { addr, outcome } => {
                let text = format!("Disconnecting {}", self.name(*addr));
                let fate = fate(*outcome);
                self.messages.note(&format!("{text}: {fate}"));
                self.syslog.tell(&text);
                self.joined.remove(addr);
            }
            SenderEvent::Dropped {
                addr,
                cause,
                lasted,
                slice,
                ..
            } => {
                let name = self.name(*addr);
                let why = reason(*cause, *lasted);
                self.messages.note(&format!(
                    "Dropping client {name}: {why}, lacks slice {slice}"
                ));
                if let Some((client, _)) = self.joined.get(addr) {
                    self.syslog
                        .tell(&format!("dropped client {client} because of timeout"));
                }
                self.joined.remove(addr);
            }
            SenderEvent::SlowRound {
                slice,
                round,
                waiting_for,
            } => {
                let now = Instant::now();
                let is_known = |(known, said): (SliceNo, Instant)| {
                    known == *slice && now.saturating_duration_since(said) < SLOW_AGAIN
                };
                if self.slow.is_some_and(is_known) {
                    return;
                }
                self.slow = Some((*slice, now));
                let names: Vec<String> = waiting_for
                    .iter()
                    .map(|(addr, silent)| awaited(&self.name(*addr), *silent))
                    .collect();
                self.messages.note(&format!(
                    "slice {slice}, round {round}: waiting for {} of {} receivers: {}",
                    names.len(),
                    self.joined.len(),
                    names.join(", ")
                ));
            }
            SenderEvent::Paced {
                addr,
                bits_per_second,
            } => {
                let name = self.name(*addr);
                let rate = numbers::megabytes(bits_per_second / 8);
                self.messages.note(&format!(
                    "{name} loses most of what is sent: the pace follows it, {rate} at first"
                ));
            }
            SenderEvent::NoProgress {
                slice,
                blocks,
                lacking,
                ..
            } => {
                let names: Vec<String> = lacking
                    .iter()
                    .map(|it| format!("{} ({} of {blocks} blocks)", self.name(it.addr), it.missing))
                    .collect();
                let lasted = lacking.iter().map(|it| it.lasted.as_secs()).max();
                self.messages.note(&format!(
                    "slice {slice}: repeated for {} s without effect for {}",
                    lasted.unwrap_or_default(),
                    names.join(", ")
                ));
            }
            SenderEvent::SliceAcked { .. }
            | SenderEvent::Probe { .. }
            | SenderEvent::Finished
            | SenderEvent::GaveUp(_) => {}
        }
    }

    fn tell_progress(&mut self, statistics: &SenderStatistics, participants: &[Participant]) {
        // The first line comes with the first slice that is acknowledged.
        if statistics.bytes_acked > 0 {
            let line = self.progress_line(statistics, participants);
            self.messages.progress(false, line);
        }
        let SenderStatistics {
            blocks_repeated,
            slice_size,
            bytes_acked,
            ..
        } = *statistics;
        if blocks_repeated > self.repeated {
            let new = blocks_repeated - self.repeated;
            self.messages.log(&format!("RETX {blocks_repeated} {new}"));
            self.repeated = blocks_repeated;
        }
        if slice_size != self.slice_size && self.slice_size != 0 {
            let before = self.slice_size;
            self.messages
                .log(&format!("slice size {before} -> {slice_size}"));
        }
        self.slice_size = slice_size;
        if let Some(bandwidth) = &mut self.bandwidth
            && bandwidth.since.elapsed() >= bandwidth.period
        {
            let micros = bandwidth.since.elapsed().as_micros().max(1);
            let new = bytes_acked.saturating_sub(bandwidth.bytes);
            let hundredths = u128::from(new) * 800 / micros;
            bandwidth.since = Instant::now();
            bandwidth.bytes = bytes_acked;
            let (whole, part) = (hundredths / 100, hundredths % 100);
            self.messages.log(&format!("Inst BW={whole}.{part:02}"));
        }
    }

    /// The last progress, and how each participant fared.
    pub(super) fn conclude(&mut self, report: &SendReport) {
        if self.has_started {
            let line = self.progress_line(&report.statistics, &[]);
            self.messages.progress(true, line);
        }
        if let Some(strays) = crate::strays(&report.statistics.ignored) {
            self.messages.note(&strays);
        }
        if report.events_left_out > 0 {
            let events = Count(report.events_left_out, "event");
            self.messages
                .note(&format!("{events} are not shown: there were too many"));
        }
        for participant in &report.participants {
            let fate = fate(participant.outcome);
            self.messages
                .record(&format!("{}: {fate}", participant.addr));
            if self.joined.contains_key(&participant.addr) {
                let name = self.name(participant.addr);
                self.syslog.tell(&format!("Disconnecting {name}"));
            }
        }
    }

    /// Some may have failed: that is told with the participants.
    pub(super) fn complete(&mut self) {
        self.messages.complete();
        self.messages.note("");
        self.syslog.tell("Transfer complete.");
    }

    /// For a sender that goes on with the next transfer.
    pub(super) fn failed(&mut self, text: &str) {
        self.messages.record(text);
    }

    /// What all that have joined can do.
    fn common_capabilities(&self) -> Capabilities {
        let own = match self.facts.is_asynchronous {
            true => Capabilities::CURRENT | Capabilities::ASYNCHRONOUS,
            false => Capabilities::CURRENT,
        };
        let all = self.joined.values().map(|(_, capabilities)| *capabilities);
        all.fold(own, |common, one| {
            Capabilities(common.0 & (one | Capabilities::BIG_ENDIAN).0)
        })
    }

    /// `#0 (10.0.0.7)`.
    fn name(&self, addr: Ipv4Addr) -> String {
        match self.joined.get(&addr) {
            Some((client, _)) => format!("{client} ({addr})"),
            None => addr.to_string(),
        }
    }

    fn log_start(&self, reason: &StartReason, participants: u32) {
        let Facts {
            file,
            pipe,
            port,
            interface,
            waits,
            ..
        } = &self.facts;
        let (_, max, count) = waits.unwrap_or_default();
        match reason {
            StartReason::Complete => self
                .syslog
                .tell(&format!("min receivers[{count}] reached: starting")),
            StartReason::MaxWait => self
                .syslog
                .tell(&format!("max wait[{max}] passed: starting")),
            StartReason::Operator | StartReason::Go(_) | StartReason::Autostart => {}
        }
        self.syslog.tell(&format!(
            "Starting transfer: file[{file}] pipe[{pipe}] port[{port}] if[{interface}] \
             participants[{participants}]"
        ));
    }

    fn progress_line(
        &mut self,
        statistics: &SenderStatistics,
        participants: &[Participant],
    ) -> String {
        let position = self
            .input
            .as_mut()
            .and_then(|input| input.stream_position().ok());
        progress(statistics, participants, self.block_size, position)
    }
}

/// Least time between two lines about one slice.
const SLOW_AGAIN: Duration = Duration::from_secs(10);

/// A receiver that has not acknowledged a slice.
fn awaited(name: &str, silent: Duration) -> String {
    match silent < NAMED_AFTER {
        true => format!("{name}, which answers"),
        false => format!("{name}, silent for {}", Time(silent)),
    }
}

fn reason(cause: DropCause, lasted: Duration) -> String {
    let seconds = lasted.as_secs_f64();
    match cause {
        DropCause::Silent => format!("silent for {seconds:.1} s"),
        DropCause::Unreachable => {
            format!("silent for {seconds:.1} s, and nothing listens there any more")
        }
        DropCause::NoProgress { missing, blocks } if missing == blocks => format!(
            "answers, but has received no block for {seconds:.1} s; large datagrams do not reach it (MTU?)"
        ),
        DropCause::NoProgress { missing, blocks } => {
            format!("answers, but lacks {missing} of {blocks} blocks for {seconds:.1} s")
        }
        DropCause::Holding => format!("its output has taken nothing for {seconds:.1} s"),
        DropCause::Slow {
            bytes_per_second,
            waited_percent,
        } => format!(
            "too slow, got {}, and the others waited for it {waited_percent} % of the time",
            numbers::megabytes(bytes_per_second)
        ),
    }
}

fn fate(outcome: Outcome) -> String {
    let after = |last| match last {
        Some(slice) => format!("after slice {slice}"),
        None => "before the first slice".to_owned(),
    };
    match outcome {
        Outcome::Connected => "still connected".into(),
        Outcome::Completed => "has everything".into(),
        Outcome::Left { last_slice } => format!("left {}", after(last_slice)),
        Outcome::Dropped { last_slice, .. } => format!("given up {}", after(last_slice)),
        Outcome::Removed { last_slice } => format!("removed {}", after(last_slice)),
    }
}

fn progress(
    statistics: &SenderStatistics,
    participants: &[Participant],
    block_size: u16,
    position: Option<u64>,
) -> String {
    let blocks = statistics
        .bytes_acked
        .div_ceil(u64::from(block_size.max(1)))
        .max(1);
    let repeated = statistics.blocks_repeated;
    let per_mille = repeated.saturating_mul(1000) / blocks;
    let last = participants
        .iter()
        .max_by_key(|participant| participant.last_heard);
    format!(
        "bytes={} re-xmits={repeated:07} ({:3}.{}%) slice={:04} {}- {:3}",
        numbers::grouped(statistics.bytes_acked),
        per_mille / 10,
        per_mille % 10,
        statistics.slice_size,
        position.map(numbers::grouped).unwrap_or_default(),
        last.map_or(0, |participant| participant.client.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_said_of_those_that_do_not_answer() {
        assert_eq!(
            awaited("#0 (10.0.0.7)", NAMED_AFTER),
            "#0 (10.0.0.7), silent for 2 s"
        );
        assert_eq!(
            awaited("#0 (10.0.0.7)", Duration::from_millis(1900)),
            "#0 (10.0.0.7), which answers"
        );
    }

    #[test]
    fn progress_looks_as_in_udpcast() {
        let statistics = SenderStatistics {
            bytes_acked: 5_000,
            slice_size: 112,
            ..Default::default()
        };
        assert_eq!(
            progress(&statistics, &[], 1456, None),
            "bytes=       5 000  re-xmits=0000000 (  0.0%) slice=0112 -   0"
        );
        assert_eq!(
            progress(&statistics, &[], 1456, Some(12_000_000)),
            "bytes=       5 000  re-xmits=0000000 (  0.0%) slice=0112  12 000 000 -   0"
        );
    }
}
