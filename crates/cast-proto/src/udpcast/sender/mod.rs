//! The sending end.
//!
//! A [`Sender`] gathers participants, cuts the stream into slices, and sends each slice until every
//! participant has it or is given up. Only participants are listened to: nobody else can start the
//! transfer, acknowledge or leave. What became of each of them is kept as an [`Outcome`].

mod abort;
mod answers;
mod config;
mod data;
mod dismissal;
mod event;
mod laggards;
mod pace;
mod participants;
mod progress;
mod rendezvous;
mod repair;
mod silence;
mod slice_size;
mod slot;
#[cfg(test)]
mod tests;
mod wait;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

pub use config::{
    ConfigError, DataRouting, DropPolicy, Duplex, SenderConfig, SliceLimits, SlowPolicy, StartRule,
};
pub use event::{
    DropCause, Evidence, GiveUpReason, Lacking, Outcome, Participant, RefuseReason, SenderEvent,
    SenderStatistics, StartReason,
};

use crate::core::{Transmit, core_of};
use crate::pacing::Pacer;
use crate::timers::{TimerKind, TimerTable};
use crate::udpcast::wire::{ConnectReply, HelloKind, Message, ReqAck, data_datagram_len};
use crate::udpcast::{ClientNo, SliceNo};
use dismissal::Dismissals;
use laggards::Laggards;
use pace::{Pace, Sample};
use participants::{Member, Participants, Reachability};
use rendezvous::Leavers;
use slice_size::SliceSize;
use slot::Slot;
use wait::Wait;

/// The sender's state machine.
///
/// After any other call that takes `&mut self`: poll for transmits until there is none, then for
/// the timeout and the events. Waits for answers begin when there is nothing left to transmit.
///
/// Memory: three slices of [`SliceLimits::max`] blocks, and less than 1 KiB per participant.
pub struct Sender {
    config: SenderConfig,
    phase: Phase,
    timers: TimerTable<Timer, { Timer::ALL.len() }>,
    pacer: Pacer,
    outbox: VecDeque<Outgoing>,
    events: VecDeque<SenderEvent>,
    statistics: SenderStatistics,
    participants: Participants,
    gathering: Gathering,
    stream: Stream,
    wait: Wait,
    pace: Pace,
    laggards: Laggards,
    /// When the last slice was acknowledged by all.
    last_done: Option<Instant>,
    /// When any participant was last heard.
    last_heard: Option<Instant>,
    /// The stream is being ended early.
    is_aborting: bool,
    /// How often everybody has been sent away.
    dismissals: u32,
    /// Who is sent away alone.
    sent_away: Dismissals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Rendezvous,
    Data,
    /// The end is acknowledged; waiting for DISCONNECT.
    Lingering,
    Closed,
}

/// State of the rendezvous.
struct Gathering {
    /// When there first was a participant.
    first: Option<Instant>,
    hello_repeats: u32,
    leavers: Leavers,
}

/// The stream on its way.
struct Stream {
    /// Where DATA, FEC and REQACK go; fixed at the start.
    to: SocketAddrV4,
    duplex: Duplex,
    size: SliceSize,
    next_slice: SliceNo,
    /// Input that is not in a slice yet, at most one slice (more only if the size just shrank).
    filling: Vec<u8>,
    is_input_finished: bool,
    /// Being sent for the first time.
    transmit: Option<Slot>,
    /// Sent, and being acknowledged.
    acknowledge: Option<Slot>,
    /// The slice of 0 bytes has been made.
    is_end_made: bool,
    /// The last word: it tells those who are through that nothing more will be asked, so that they
    /// need not stay for it, or sends everybody away.
    farewell: Option<ReqAck>,
    spare: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    Hello {
        to: SocketAddrV4,
        kind: HelloKind,
    },
    Reply {
        to: SocketAddrV4,
        client: Option<ClientNo>,
    },
    Dismissal {
        to: SocketAddrV4,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// Announce again.
    Hello,
    /// The least or the longest wait for participants is over.
    MinWait,
    MaxWait,
    /// Nobody was heard.
    Start,
    /// Answers are overdue.
    Deadline,
    /// Those whose hosts refused a probe are probed again.
    Probe,
    /// A slice has not been acknowledged for a while.
    Slow,
    /// Those who get no further are asked again.
    Pause,
    /// The rate limit allows the next datagram.
    Pacing,
    /// No more waiting for DISCONNECT.
    Linger,
    /// No more waiting for answers when the stream is ended early; then, to send everybody away again.
    Abort,
}

impl TimerKind for Timer {
    const ALL: &'static [Self] = &[
        Self::Hello,
        Self::MinWait,
        Self::MaxWait,
        Self::Start,
        Self::Deadline,
        Self::Probe,
        Self::Slow,
        Self::Pause,
        Self::Pacing,
        Self::Linger,
        Self::Abort,
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// Silence after which the host of a participant is asked whether it is there, and how often: a host may
/// answer few of such questions, and one second apart.
const PROBE_AFTER: Duration = Duration::from_millis(50);
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// Silence after which all are asked to answer, which shows whether the network is alive.
const ROLL_CALL_AFTER: Duration = Duration::from_secs(1);

/// Replies and announcements waiting to be sent; further ones are dropped, and asked for again.
const OUTBOX_MAX: usize = 2048;

/// A timeout served later than this means that the process did not run.
const LATE: Duration = Duration::from_secs(1);

impl Sender {
    /// A sender without participants; the first HELLO is due at once.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: SenderConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut sender = Self {
            phase: Phase::Rendezvous,
            timers: TimerTable::default(),
            pacer: Pacer::new(config.max_bitrate, now),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            statistics: SenderStatistics::default(),
            participants: Participants::default(),
            gathering: Gathering {
                first: None,
                hello_repeats: 0,
                leavers: Leavers::default(),
            },
            stream: Stream::new(&config),
            wait: Wait::new(),
            pace: Pace::new(config.max_bitrate),
            laggards: Laggards::default(),
            last_done: None,
            last_heard: None,
            is_aborting: false,
            dismissals: 0,
            sent_away: Dismissals::default(),
            config,
        };
        sender.announce(HelloKind::Plain);
        sender.begin_rendezvous(now);
        Ok(sender)
    }

    /// Takes in a datagram that came from `from`. Bounded work; all polls may have changed.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, datagram: &[u8]) {
        self.absorb_standstill(now);
        let Ok(message) = Message::parse(datagram) else {
            self.statistics.ignored.malformed += 1;
            return;
        };
        match self.phase {
            Phase::Rendezvous => self.on_rendezvous(now, from, &message),
            Phase::Data | Phase::Lingering => self.on_data_phase(now, from, &message),
            Phase::Closed => self.statistics.ignored.unexpected += 1,
        }
    }

    /// Takes in that the host of `participant` answers to [`SenderEvent::Probe`] that no program has the port.
    /// If the participant has not been heard since, and it was so twice, it is given up by [`SenderConfig::drop_gone`]. All polls may have changed.
    pub fn handle_unreachable(&mut self, now: Instant, participant: Ipv4Addr) {
        if self.phase != Phase::Data {
            return;
        }
        let Some(member) = self.participants.present(participant) else {
            return;
        };
        let Some(probed) = member.probed.filter(|at| member.last_heard < *at) else {
            member.reachability = Reachability::Untold;
            return;
        };
        match member.reachability {
            Reachability::Untold | Reachability::Gone => {}
            // One refusal may be of a packet filter that was not found out: the probe meant for that was lost.
            Reachability::Unknown => {
                member.reachability = Reachability::Refused(probed);
                self.expect_probe(now);
            }
            Reachability::Refused(first) if probed < first + PROBE_INTERVAL => {}
            Reachability::Refused(_) => {
                member.reachability = Reachability::Gone;
                self.drop_silent(now);
            }
        }
    }

    /// Serves the timers; call when [`poll_timeout`](Self::poll_timeout) is reached, and whenever
    /// you like. All polls may have changed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.absorb_standstill(now);
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Hello => self.on_hello_timer(now),
                Timer::MinWait | Timer::MaxWait => self.start_if_all_there(now),
                Timer::Start => self.give_up(GiveUpReason::StartTimeout),
                Timer::Deadline => self.on_deadline(now),
                Timer::Probe => self.on_probe_timer(now),
                Timer::Slow => self.on_slow_timer(now),
                Timer::Pause | Timer::Pacing => {}
                Timer::Linger => self.close(),
                Timer::Abort => self.on_abort_timer(now),
            }
        }
        self.send_members_away(now);
    }

    /// Starts the transfer with the participants there are: a key press, an operator. Gives up if
    /// there is none. Without effect after the start.
    pub fn start(&mut self, now: Instant) {
        if self.phase == Phase::Rendezvous {
            self.begin(now, StartReason::Operator);
        }
    }

    /// Replaces the expected receivers; may start the transfer. Without effect after the start.
    pub fn set_expected(&mut self, now: Instant, expected: &[Ipv4Addr]) {
        if self.phase == Phase::Rendezvous {
            self.config.start.expected = expected.to_vec();
            self.start_if_all_there(now);
        }
    }

    /// Gives a participant up, whatever it is doing. An original receiver that lacks something of the
    /// stream is made to fail.
    pub fn remove(&mut self, now: Instant, participant: Ipv4Addr) {
        match self.phase {
            Phase::Rendezvous => {
                if let Some(member) = self.participants.present(participant) {
                    self.sent_away.add(now, member);
                }
                if self.participants.forget(participant) {
                    let outcome = Outcome::Removed { last_slice: None };
                    self.events.push_back(SenderEvent::Left {
                        addr: participant,
                        outcome,
                    });
                    self.start_if_all_there(now);
                }
            }
            Phase::Data => {
                if let Some(member) = self.participants.present(participant) {
                    let outcome = match member.outcome {
                        Outcome::Completed => Outcome::Completed,
                        _ => {
                            self.sent_away.add(now, member);
                            Outcome::Removed {
                                last_slice: member.last_slice,
                            }
                        }
                    };
                    self.leave(participant, outcome);
                }
            }
            Phase::Lingering | Phase::Closed => {}
        }
    }

    /// Bytes of input wanted now; 0 before the start and while enough is buffered. Changes with
    /// [`poll_transmit`](Self::poll_transmit).
    #[must_use]
    pub fn input_room(&self) -> usize {
        if self.phase == Phase::Data && !self.stream.is_input_finished {
            let blocks = usize::from(self.stream.size.blocks_to_come());
            let wanted = blocks * usize::from(self.config.block_size);
            wanted.saturating_sub(self.stream.filling.len())
        } else {
            0
        }
    }

    /// Takes the next bytes of the stream. Keep its last byte back until you can also call
    /// [`finish_input`](Self::finish_input): [`abort`](Self::abort) relies on it.
    ///
    /// # Panics
    /// If they are more than [`input_room`](Self::input_room).
    pub fn push_input(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.input_room(),
            "more input than there is room for"
        );
        self.stream.filling.extend_from_slice(bytes);
    }

    /// There is no more input.
    pub fn finish_input(&mut self) {
        self.stream.is_input_finished = true;
    }

    /// Writes the next datagram into `buf`, which is cleared first; `None` if there is none, or
    /// none allowed by the rate limit before the next timeout.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        buf.clear();
        if let Some(at) = self.pacer.wait_until(now) {
            self.timers.set(Timer::Pacing, at);
            return None;
        }
        let to = match self.emit_outgoing(buf) {
            Some(to) => to,
            None => self.emit_stream(now, buf)?,
        };
        self.pacer.sent(now, buf.len());
        self.statistics.datagrams_sent += 1;
        self.statistics.bytes_sent += buf.len() as u64;
        Some(Transmit::main(to))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dismissal = self.sent_away.next();
        let timers = [self.timers.next(), dismissal.filter(|_| !self.is_closed())];
        timers.into_iter().flatten().min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SenderEvent> {
        self.events.pop_front()
    }

    /// Nothing is left to do or to send; the last event can be or has been polled.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
            && self.stream.farewell.is_none()
            && self.sent_away.are_done()
            && self.outbox.is_empty()
    }

    /// All who take part, and after the start all who took part, by address.
    pub fn participants(&self) -> impl Iterator<Item = Participant> {
        self.participants.views()
    }

    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> SenderStatistics {
        SenderStatistics {
            slice_size: self.stream.size.blocks(),
            pace: self.pace.rate(),
            ..self.statistics
        }
    }

    fn slice_bytes(&self) -> usize {
        usize::from(self.stream.size.blocks()) * usize::from(self.config.block_size)
    }

    fn queue(&mut self, outgoing: Outgoing) {
        if self.outbox.len() < OUTBOX_MAX && !self.outbox.contains(&outgoing) {
            self.outbox.push_back(outgoing);
        }
    }

    fn emit_outgoing(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddrV4> {
        match self.outbox.pop_front()? {
            Outgoing::Hello { to, kind } => {
                Message::Hello(self.hello(kind)).emit(buf);
                Some(to)
            }
            Outgoing::Reply { to, client } => {
                Message::ConnectReply(ConnectReply {
                    client,
                    block_size: self.config.block_size.into(),
                    capabilities: self.capabilities(),
                    data_address: self.announced(Some(*to.ip())),
                })
                .emit(buf);
                Some(to)
            }
            Outgoing::Dismissal { to } => {
                self.emit_dismissal(buf);
                Some(to)
            }
        }
    }

    /// A timeout that is served much too late tells that this process stood still: nobody could
    /// have been heard meanwhile.
    fn absorb_standstill(&mut self, now: Instant) {
        if self
            .timers
            .next()
            .is_none_or(|at| now.saturating_duration_since(at) <= LATE)
        {
            return;
        }
        let lost = self.timers.catch_up(now);
        self.participants.excuse(now, lost);
        if let Some(slot) = &mut self.stream.acknowledge {
            slot.asked_since = (slot.asked_since + lost).min(now);
        }
        self.wait.excuse(now, lost);
    }

    /// The rate follows what became of some blocks.
    fn keep_pace(&mut self, now: Instant, sample: Option<Sample>) {
        let before = self.pace.rate();
        if let Some(sample) = sample {
            let block_bits = 8 * u64::from(data_datagram_len(self.config.block_size));
            // A receiver that is left behind needs no pace; if most are slow, none is.
            let delay = match self.config.slow {
                SlowPolicy::Wait => Duration::ZERO,
                SlowPolicy::Leave => 2 * laggards::AFTER,
            };
            let was_limiting = self.pacer.take_has_waited();
            self.pace
                .note(now, &sample, block_bits, was_limiting, delay);
        }
        let limits = [self.config.max_bitrate, self.pace.rate()];
        if let (None, Some(bits_per_second)) = (before, self.pace.rate()) {
            let client = sample.and_then(|sample| sample.client);
            let mut members = self.participants.all_present();
            if let Some(member) = members.find(|member| Some(member.client.0) == client) {
                let addr = member.addr;
                self.events.push_back(SenderEvent::Paced {
                    addr,
                    bits_per_second,
                });
            }
        }
        let rate = limits.into_iter().flatten().min();
        self.pacer.set_rate(now, rate);
    }

    /// It takes part no longer, and may be the one whose pace the others had.
    fn drop_member(&mut self, addr: Ipv4Addr, outcome: Outcome) {
        self.participants.leave(addr, outcome);
        self.pace.reset();
        self.laggards.reset();
    }

    fn leave(&mut self, addr: Ipv4Addr, outcome: Outcome) {
        self.drop_member(addr, outcome);
        self.events.push_back(SenderEvent::Left { addr, outcome });
    }

    fn give_up(&mut self, reason: GiveUpReason) {
        let outcome = |member: &Member| match member.outcome {
            Outcome::Completed => Outcome::Completed,
            _ => Outcome::Removed {
                last_slice: member.last_slice,
            },
        };
        let left: Vec<_> = self
            .participants
            .all_present()
            .map(|member| (member.addr, outcome(member)))
            .collect();
        for (addr, outcome) in left {
            self.leave(addr, outcome);
        }
        self.stop();
        self.events.push_back(SenderEvent::GaveUp(reason));
    }

    /// The end of the linger time.
    fn close(&mut self) {
        if self.is_aborting {
            self.give_up(GiveUpReason::Aborted { ended: true });
            return;
        }
        let left: Vec<Ipv4Addr> = self.participants.all_present().map(|m| m.addr).collect();
        for addr in left {
            self.leave(addr, Outcome::Completed);
        }
        self.stop();
        self.events.push_back(SenderEvent::Finished);
    }

    fn stop(&mut self) {
        self.phase = Phase::Closed;
        self.timers.stop_all();
        self.outbox.clear();
        self.stream.transmit = None;
        self.stream.acknowledge = None;
        self.stream.filling = Vec::new();
        self.stream.spare.clear();
    }
}

impl Stream {
    fn new(config: &SenderConfig) -> Self {
        let size = config.first_slice();
        let size = if config.asynchronous {
            SliceSize::constant(size)
        } else {
            match config.duplex {
                Duplex::Full if config.fec.is_some() => SliceSize::constant(size),
                Duplex::Full => SliceSize::full_duplex(size),
                Duplex::Half => SliceSize::half_duplex(size, config.largest_slice()),
            }
        };
        Self {
            to: config.data_group,
            duplex: config.duplex,
            size,
            next_slice: SliceNo(0),
            filling: Vec::new(),
            is_input_finished: false,
            transmit: None,
            acknowledge: None,
            is_end_made: false,
            farewell: None,
            spare: Vec::new(),
        }
    }
}

// Everything leaves by the socket of the role.
core_of!(Sender);
