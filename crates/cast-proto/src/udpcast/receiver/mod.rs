//! The receiving end.
//!
//! A [`Receiver`] asks for a place until it gets one, puts slices together, answers every request
//! of the sender at once, and lingers after the end to answer repeated ones. It never dies of a
//! stray datagram: what does not come from its sender, is malformed or contradicts itself is
//! counted and dropped.
//!
//! Slices that are complete wait to be [taken](Receiver::take_slice). When they are not taken fast
//! enough for the memory bound, the receiver says of a complete slice that one block is missing,
//! slowly, until there is room: the sender waits without giving it up, and nothing is lost. In the same
//! way the end is held back, with no block missing, until what was received is
//! [safe](Receiver::confirm), if that is [configured](ReceiverConfig::is_confirmed_by_reader).

mod assembly;
mod config;
mod data;
mod event;
mod rendezvous;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

pub use config::{ConfigError, ConnectRetry, MIN_WINDOW_BLOCKS, ReceiverConfig};
pub use event::{ReceiveFailure, ReceiverEvent, ReceiverStatistics, SmallOnly};

use crate::core::{Transmit, core_of};
use crate::timers::{TimerKind, TimerTable};
use crate::udpcast::wire::{Capabilities, ConnectReq, Message, ReqAck, data_datagram_len};
use crate::udpcast::{ClientNo, SliceNo};
use rendezvous::Suspicion;
use window::Window;

/// The receiver's state machine.
///
/// After any `handle_*`, [`go`](Self::go), [`abort`](Self::abort) or
/// [`take_slice`](Self::take_slice): poll for transmits until there is none, then for the timeout,
/// the events and slices.
pub struct Receiver {
    config: ReceiverConfig,
    phase: Phase,
    timers: TimerTable<Timer, { Timer::ALL.len() }>,
    outbox: VecDeque<Outgoing>,
    events: VecDeque<ReceiverEvent>,
    statistics: ReceiverStatistics,
    started: Instant,
    rendezvous: Rendezvous,
    /// Senders that are not ours and have been reported; at most [`OTHERS_MAX`].
    others: Vec<SocketAddrV4>,
    /// GO was asked for and the data has not begun.
    go_wanted: bool,
    link: Option<Link>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No place yet.
    Asking,
    /// A place, but no data yet.
    Waiting,
    /// Data flows.
    Receiving,
    /// All has arrived, but the end may not be acknowledged yet.
    Arrived,
    /// All is complete; repeated requests for the end are answered OK.
    Complete,
    /// Failed; repeated requests are answered DISCONNECT.
    Failed,
    /// Nothing is left to do.
    Closed,
}

/// How the place is being asked for.
struct Rendezvous {
    attempts: u32,
    next_wait: Duration,
    /// Data address and block size out of the last HELLO, and who sent it.
    announced: Option<(SocketAddrV4, Ipv4Addr, u16)>,
}

/// The place in a transfer.
struct Link {
    sender: SocketAddrV4,
    client: ClientNo,
    /// There is no return channel, or we keep silent.
    is_one_way: bool,
    /// Multicast group of the data, if it has one of its own.
    group: Option<Ipv4Addr>,
    /// When the sender last confirmed the place.
    confirmed: Instant,
    window: Window,
    /// The slice of 0 bytes.
    end: Option<SliceNo>,
    /// A late joiner that has not got a complete slice yet; then `window` starts anywhere.
    is_searching: bool,
    /// The highest slice asked about, and how many blocks told since that a request was missed.
    asked: Option<SliceNo>,
    unasked: u16,
    /// The highest slice answered with OK, once there is one; such a word is not taken back.
    promised: Option<SliceNo>,
    /// A request that is answered "one block missing" when the time has come.
    held: Option<Request>,
    /// When it came.
    held_at: Instant,
    /// Datagrams in a row about slices that cannot be due yet, and the slice of the last one.
    beyond: u32,
    heard: SliceNo,
    /// That one was the end.
    heard_end: bool,
    /// Requests for a slice whose length contradicts what is known.
    contradictions: u32,
    in_vain: InVain,
    suspicion: Suspicion,
}

/// Requests about what we lack, with no data in between.
#[derive(Clone, Copy, Debug, Default)]
struct InVain {
    since: Option<Instant>,
    last: Option<Instant>,
    requests: u32,
}

/// A REQACK to answer. The answer is made up when it is sent, from what is there by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    slice: SliceNo,
    slice_len: u32,
    round: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    ConnectReq(SocketAddrV4),
    Go,
    Answer(Request),
    /// The answer to the held request, now that its time has come.
    Hold,
    Disconnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// Ask again.
    Connect,
    /// Say GO again.
    Go,
    /// Nothing came before the data.
    Start,
    /// Nothing came in the middle of the data.
    Receive,
    /// Answer a held request.
    Hold,
    /// The end has come, but blocks are missing.
    Lost,
    /// The sender announces a transfer in the middle of ours, and sends nothing else.
    Restarted,
    /// No request has come for a while after the end.
    Linger,
}

impl TimerKind for Timer {
    const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Go,
        Self::Start,
        Self::Receive,
        Self::Hold,
        Self::Lost,
        Self::Restarted,
        Self::Linger,
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// Messages waiting to be sent; a driver that polls as documented never has so many.
const OUTBOX_MAX: usize = 64;

/// A sender that waits for an answer repeats its request within this time.
const STILL_ASKING: Duration = Duration::from_secs(5);

/// Other senders that are reported, each once.
const OTHERS_MAX: usize = 8;

/// Requests in vain before any data. Data goes before the first request about it, and is repeated
/// before each further one.
const IN_VAIN_AT_FIRST: u32 = 4;

/// Requests in vain once data has come, and for how long at least: where single blocks are missing,
/// these may be lost some times in a row.
const IN_VAIN: u32 = 8;
const IN_VAIN_TIME: Duration = Duration::from_secs(5);

/// Blocks to come without which a slice is nearly over.
const MID_SLICE: u16 = 32;

/// Period of GO until the data begins.
const GO_INTERVAL: Duration = Duration::from_secs(1);

/// A timeout served later than this means that the process did not run; datagrams may be waiting.
const LATE: Duration = Duration::from_secs(1);

impl Receiver {
    /// A receiver without a place; the first request is due at once.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: ReceiverConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut receiver = Self {
            phase: Phase::Asking,
            timers: TimerTable::default(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            statistics: ReceiverStatistics::default(),
            started: now,
            rendezvous: Rendezvous {
                attempts: 0,
                next_wait: config.connect_retry.first,
                announced: None,
            },
            others: Vec::new(),
            go_wanted: false,
            link: None,
            config,
        };
        receiver.ask(now, receiver.config.control);
        receiver.restart_start_timeout(now);
        Ok(receiver)
    }

    /// Takes in a datagram that came from `from`. Bounded work; all polls may have changed.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, datagram: &[u8]) {
        self.statistics.datagrams += 1;
        let Ok(message) = Message::parse(datagram) else {
            self.statistics.ignored.malformed += 1;
            return;
        };
        match self.phase {
            Phase::Asking => self.on_rendezvous(now, from, &message),
            Phase::Waiting
            | Phase::Receiving
            | Phase::Arrived
            | Phase::Complete
            | Phase::Failed => {
                if self.link.as_ref().is_some_and(|link| link.sender == from) {
                    self.on_message(now, &message);
                } else {
                    self.on_stranger(from, &message);
                }
            }
            Phase::Closed => self.statistics.ignored.unexpected += 1,
        }
    }

    /// Serves the timers; call when [`poll_timeout`](Self::poll_timeout) is reached, and whenever
    /// you like. All polls may have changed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self
            .timers
            .next()
            .is_some_and(|at| now.saturating_duration_since(at) > LATE)
        {
            // What the sender said meanwhile may still be in the socket's buffer.
            for timer in [
                Timer::Start,
                Timer::Receive,
                Timer::Lost,
                Timer::Restarted,
                Timer::Linger,
            ] {
                if self.timers.get(timer).is_some_and(|at| at <= now) {
                    self.timers.set(timer, now + LATE);
                }
            }
        }
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Connect => self.ask_again(now),
                Timer::Go => self.say_go(now),
                Timer::Start => self.on_start_timeout(now),
                Timer::Receive => self.on_receive_timeout(now),
                Timer::Hold => self.on_hold_over(),
                Timer::Lost => self.on_lost(now),
                Timer::Restarted => self.on_suspicion(now),
                Timer::Linger => self.phase = Phase::Closed,
            }
        }
    }

    /// Writes the next datagram into `buf`, which is cleared first; `None` if there is none.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        buf.clear();
        loop {
            let outgoing = self.outbox.pop_front()?;
            if let Some(to) = self.emit(now, outgoing, buf) {
                return Some(Transmit::main(to));
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ReceiverEvent> {
        self.events.pop_front()
    }

    /// Asks the sender to start (GO): at once if there is a place, else as soon as there is one,
    /// and again every second until the data begins.
    pub fn go(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Asking | Phase::Waiting) && !self.go_wanted {
            self.go_wanted = true;
            self.say_go(now);
        }
    }

    /// The next complete slice, in order. Taking one may make an answer due: poll for transmits.
    pub fn take_slice(&mut self) -> Option<Vec<u8>> {
        let link = self.link.as_mut()?;
        let bytes = link.window.take()?;
        // At the end it is not room that is waited for.
        if self.phase != Phase::Arrived
            && link.window.has_reserve()
            && let Some(request) = link.held.take()
        {
            self.timers.stop(Timer::Hold);
            self.queue(Outgoing::Answer(request));
        }
        Some(bytes)
    }

    /// All slices before the present one are complete, and a good part of it is still to come before
    /// anything is asked: a driver may let datagrams gather, instead of waking up for each.
    #[must_use]
    pub fn is_mid_slice(&self) -> bool {
        let present = self.link.as_ref().and_then(|link| link.window.only());
        present.is_some_and(|slice| slice.to_come() >= MID_SLICE.max(slice.blocks() / 4))
    }

    /// Whether requests come and their data does not, beyond what lost datagrams explain.
    #[must_use]
    pub fn small_only(&self) -> Option<SmallOnly> {
        let link = self.link.as_ref()?;
        let InVain {
            since,
            last,
            requests,
        } = link.in_vain;
        let lasted = last?.saturating_duration_since(since?);
        let is_certain = match self.statistics.data_datagrams {
            0 => requests >= IN_VAIN_AT_FIRST,
            _ => requests >= IN_VAIN && lasted >= IN_VAIN_TIME,
        };
        is_certain.then(|| SmallOnly {
            requests,
            datagram_len: data_datagram_len(link.window.block_size()),
        })
    }

    /// Gives back the memory of a slice, for the next.
    pub fn return_buffer(&mut self, buffer: Vec<u8>) {
        if let Some(link) = &mut self.link {
            link.window.recycle(buffer);
        }
    }

    /// What was received is safe: the end may be acknowledged. Needed only if that is
    /// [configured](ReceiverConfig::is_confirmed_by_reader), and without effect before
    /// [`ReceiverEvent::Complete`].
    pub fn confirm(&mut self, now: Instant) {
        if self.phase != Phase::Arrived {
            return;
        }
        self.phase = Phase::Complete;
        self.timers.stop(Timer::Hold);
        self.timers.set(Timer::Linger, now + self.config.exit_wait);
        self.outbox.retain(|outgoing| *outgoing != Outgoing::Hold);
        let Some(link) = &mut self.link else { return };
        // A sender that is there has asked just now. Where it has gone, another one may have its address.
        if let Some(request) = link.held.take()
            && now.saturating_duration_since(link.held_at) <= STILL_ASKING
        {
            self.queue(Outgoing::Answer(request));
        }
    }

    /// Leaves the transfer; without effect once it is complete (and confirmed) or failed.
    pub fn abort(&mut self, now: Instant) {
        self.fail(now, ReceiveFailure::Aborted);
    }

    /// Nothing is left to do or to send: failed, or complete and no longer lingering. Events and
    /// slices may still be polled.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed && self.outbox.is_empty()
    }

    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> ReceiverStatistics {
        let waiting_blocks = self
            .link
            .as_ref()
            .map_or(0, |link| link.window.ready_blocks());
        ReceiverStatistics {
            waiting_blocks,
            ..self.statistics
        }
    }

    fn queue(&mut self, outgoing: Outgoing) {
        if self.outbox.contains(&outgoing) {
            return;
        }
        // A newer request for the same slice replaces the older one: one answer serves both.
        if let Outgoing::Answer(newer) = outgoing {
            let same = self.outbox.iter_mut().find_map(|queued| match queued {
                Outgoing::Answer(older) if older.slice == newer.slice => Some(older),
                _ => None,
            });
            if let Some(older) = same {
                *older = newer;
                return;
            }
        }
        if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push_back(outgoing);
        } else {
            self.statistics.ignored.no_room += 1;
        }
    }

    /// Appends the datagram and returns where it goes; `None` if it has become pointless.
    fn emit(
        &mut self,
        now: Instant,
        outgoing: Outgoing,
        buf: &mut Vec<u8>,
    ) -> Option<SocketAddrV4> {
        let sender = self.link.as_ref().map(|link| link.sender);
        match outgoing {
            Outgoing::ConnectReq(to) => {
                let capabilities = Capabilities::CURRENT;
                let rcvbuf = if self.config.tell_attentive {
                    ConnectReq::attentive_rcvbuf(self.config.rcvbuf)
                } else {
                    self.config.rcvbuf
                };
                Message::ConnectReq(ConnectReq {
                    capabilities,
                    rcvbuf,
                })
                .emit(buf);
                return Some(to);
            }
            Outgoing::Go => Message::Go.emit(buf),
            Outgoing::Answer(request) => self.answer(now, request)?.emit(buf),
            Outgoing::Hold => self.hold()?.emit(buf),
            Outgoing::Disconnect => Message::Disconnect.emit(buf),
        }
        sender
    }

    /// A message that is not of our sender. Another sender is a matter for people.
    fn on_stranger(&mut self, from: SocketAddrV4, message: &Message<'_>) {
        self.statistics.ignored.stranger += 1;
        let is_of_a_sender = matches!(
            message,
            Message::Hello(_)
                | Message::ConnectReply(_)
                | Message::Data(_)
                | Message::Fec(_)
                | Message::ReqAck(_)
        ) && from.port() == self.config.port_base.saturating_add(1);
        let is_over = matches!(self.phase, Phase::Complete | Phase::Failed | Phase::Closed);
        if is_of_a_sender
            && !is_over
            && self.others.len() < OTHERS_MAX
            && !self.others.contains(&from)
        {
            self.others.push(from);
            self.events.push_back(ReceiverEvent::OtherSender(from));
        }
    }

    fn fail(&mut self, now: Instant, failure: ReceiveFailure) {
        if matches!(self.phase, Phase::Complete | Phase::Failed | Phase::Closed) {
            return;
        }
        self.outbox.clear();
        self.timers.stop_all();
        self.events.push_back(ReceiverEvent::Failed(failure));
        match &mut self.link {
            Some(link) if !link.is_one_way => {
                link.held = None;
                self.phase = Phase::Failed;
                self.queue(Outgoing::Disconnect);
                self.timers.set(Timer::Linger, now + self.config.exit_wait);
            }
            _ => self.phase = Phase::Closed,
        }
    }
}

// Everything leaves by the socket of the role.
core_of!(Receiver);

impl ReqAck {
    fn request(&self) -> Request {
        Request {
            slice: self.slice,
            slice_len: self.slice_len,
            round: self.round,
        }
    }
}
