//! The ends: a core, what drives it, and its goal.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cast_proto::udpcast::receiver::{Receiver, ReceiverConfig, ReceiverEvent};
use cast_proto::udpcast::sender::{
    GiveUpReason, Outcome, Sender, SenderConfig, SenderEvent, SenderStatistics,
};

use super::{ReceiverReport, ReceiverSetup};
use crate::common::payload;

/// How a receiver's slices are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    /// As soon as they are complete.
    Immediate,
    /// One every so often.
    Every(Duration),
    /// Not before so long after the beginning, then at once.
    After(Duration),
}

/// What a receiver has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The whole stream, byte for byte.
    Complete,
    /// To fail, for a reason.
    Fail,
    /// To be switched off.
    Die,
    /// To come to an end: the whole stream, or a reason why not.
    End,
    /// To come to the end of a stream that has fewer bytes.
    Less,
    /// To come to an end: of the stream, of a part of it, or for a reason.
    Any,
}

/// Datagrams that came while a process did not run: its socket's buffer.
const SOCKET_BUFFER: usize = 2000;

pub(crate) struct SenderNode {
    sender: Sender,
    stream: Vec<u8>,
    pushed: usize,
    rate: u64,
    busy_until: Instant,
    stalled_until: Instant,
    waiting: VecDeque<(SocketAddrV4, Vec<u8>)>,
    finished: Option<Instant>,
    gave_up: Option<GiveUpReason>,
    buf: Vec<u8>,
}

impl SenderNode {
    pub(crate) fn new(now: Instant, config: SenderConfig, len: usize, rate: u64) -> Self {
        Self {
            sender: Sender::new(config, now).unwrap(),
            stream: payload(len),
            pushed: 0,
            rate,
            busy_until: now,
            stalled_until: now,
            waiting: VecDeque::new(),
            finished: None,
            gave_up: None,
            buf: Vec::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.sender.is_closed() && (self.finished.is_some() || self.gave_up.is_some())
    }

    pub(crate) fn start(&mut self, now: Instant) {
        self.sender.start(now);
    }

    pub(crate) fn abort(&mut self, now: Instant) {
        self.sender.abort(now);
    }

    pub(crate) fn stall(&mut self, until: Instant) {
        self.stalled_until = until;
    }

    pub(crate) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let timer = self.sender.poll_timeout();
        let free = Some(self.busy_until).filter(|at| *at > now);
        let next = timer.into_iter().chain(free).min();
        if self.stalled_until > now {
            Some(self.stalled_until)
        } else {
            next
        }
    }

    pub(crate) fn take_in(&mut self, now: Instant, from: SocketAddrV4, bytes: Vec<u8>) {
        if self.stalled_until > now {
            if self.waiting.len() < SOCKET_BUFFER {
                self.waiting.push_back((from, bytes));
            }
        } else {
            self.sender.handle_datagram(now, from, &bytes);
        }
    }

    pub(crate) fn serve(&mut self, now: Instant) {
        if self.stalled_until > now {
            return;
        }
        // A driver may serve either first; here the timers, which is the harder case.
        if self.sender.poll_timeout().is_some_and(|at| at <= now) {
            self.sender.handle_timeout(now);
        }
        for (from, bytes) in self.waiting.drain(..) {
            self.sender.handle_datagram(now, from, &bytes);
        }
    }

    /// The next datagram, when the interface is free.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(SocketAddrV4, Vec<u8>)> {
        while let Some(event) = self.sender.poll_event() {
            match event {
                SenderEvent::Finished => self.finished = Some(now),
                SenderEvent::GaveUp(reason) => self.gave_up = Some(reason),
                _ => {}
            }
        }
        if self.busy_until > now || self.stalled_until > now {
            return None;
        }
        loop {
            let room = self
                .sender
                .input_room()
                .min(self.stream.len() - self.pushed);
            if room > 0 {
                self.sender
                    .push_input(&self.stream[self.pushed..self.pushed + room]);
                self.pushed += room;
            }
            if self.pushed == self.stream.len() {
                self.sender.finish_input();
            }
            if let Some(transmit) = self.sender.poll_transmit(now, &mut self.buf) {
                let nanos = (self.buf.len() as u64 + 46) * 8_000_000_000 / self.rate;
                self.busy_until = now + Duration::from_nanos(nanos);
                return Some((transmit.to, self.buf.clone()));
            }
            if self.sender.input_room() == 0 || self.pushed == self.stream.len() {
                break;
            }
        }
        // The last poll may have ended the transfer.
        while let Some(event) = self.sender.poll_event() {
            match event {
                SenderEvent::Finished => self.finished = Some(now),
                SenderEvent::GaveUp(reason) => self.gave_up = Some(reason),
                _ => {}
            }
        }
        None
    }

    pub(crate) fn statistics(&self) -> SenderStatistics {
        self.sender.statistics()
    }

    pub(crate) fn outcomes(&self) -> BTreeMap<Ipv4Addr, Outcome> {
        self.sender
            .participants()
            .map(|p| (p.addr, p.outcome))
            .collect()
    }

    pub(crate) fn finished(&self) -> Option<Instant> {
        self.finished
    }

    pub(crate) fn gave_up(&self) -> Option<GiveUpReason> {
        self.gave_up
    }
}

pub(crate) struct ReceiverNode {
    receiver: Receiver,
    config: ReceiverConfig,
    is_on: bool,
    reader: Reader,
    next_read: Instant,
    start: Instant,
    goal: Goal,
    stream: Vec<u8>,
    taken: usize,
    complete: Option<u64>,
    failure: Option<String>,
    most_waiting: u32,
    groups: BTreeSet<Ipv4Addr>,
    stalled_until: Instant,
    waiting: VecDeque<(SocketAddrV4, Vec<u8>)>,
    buf: Vec<u8>,
}

impl ReceiverNode {
    pub(crate) fn new(now: Instant, setup: &ReceiverSetup, len: usize, is_late: bool) -> Self {
        Self {
            receiver: Receiver::new(setup.config.clone(), now).unwrap(),
            config: setup.config.clone(),
            is_on: !is_late,
            reader: setup.reader,
            next_read: now,
            start: now,
            goal: setup.goal,
            stream: payload(len),
            taken: 0,
            complete: None,
            failure: None,
            most_waiting: 0,
            groups: BTreeSet::new(),
            stalled_until: now,
            waiting: VecDeque::new(),
            buf: Vec::new(),
        }
    }

    pub(crate) fn has_joined(&self, group: Ipv4Addr) -> bool {
        self.groups.contains(&group)
    }

    pub(crate) fn is_done(&self) -> bool {
        let has_all = self.complete == Some(self.taken as u64);
        let is_over = match self.goal {
            Goal::Complete | Goal::Less => has_all,
            Goal::Fail => self.failure.is_some(),
            Goal::Die => return !self.is_on,
            Goal::End | Goal::Any => has_all || self.failure.is_some(),
        };
        is_over && self.receiver.is_closed()
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "wants {:?}, took {} of {} bytes, complete {:?}, failure {:?}, {:?}",
            self.goal,
            self.taken,
            self.stream.len(),
            self.complete,
            self.failure,
            self.receiver.statistics()
        )
    }

    pub(crate) fn kill(&mut self) {
        self.is_on = false;
    }

    pub(crate) fn switch_on(&mut self, now: Instant) {
        self.receiver = Receiver::new(self.config.clone(), now).unwrap();
        self.is_on = true;
    }

    pub(crate) fn stall(&mut self, until: Instant) {
        self.stalled_until = until;
    }

    pub(crate) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        if !self.is_on {
            return None;
        }
        if self.stalled_until > now {
            return Some(self.stalled_until);
        }
        let read = Some(self.next_read)
            .filter(|at| *at > now && self.receiver.statistics().waiting_blocks > 0);
        self.receiver.poll_timeout().into_iter().chain(read).min()
    }

    pub(crate) fn take_in(&mut self, now: Instant, from: SocketAddrV4, bytes: Vec<u8>) {
        if !self.is_on {
            return;
        }
        if self.stalled_until > now {
            if self.waiting.len() < SOCKET_BUFFER {
                self.waiting.push_back((from, bytes));
            }
        } else {
            self.receiver.handle_datagram(now, from, &bytes);
        }
    }

    pub(crate) fn serve(&mut self, now: Instant) {
        if !self.is_on || self.stalled_until > now {
            return;
        }
        if self.receiver.poll_timeout().is_some_and(|at| at <= now) {
            self.receiver.handle_timeout(now);
        }
        for (from, bytes) in self.waiting.drain(..) {
            self.receiver.handle_datagram(now, from, &bytes);
        }
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Vec<(SocketAddrV4, Vec<u8>)> {
        let mut sent = Vec::new();
        if !self.is_on || self.stalled_until > now {
            return sent;
        }
        self.read(now);
        while let Some(transmit) = self.receiver.poll_transmit(now, &mut self.buf) {
            sent.push((transmit.to, self.buf.clone()));
        }
        while let Some(event) = self.receiver.poll_event() {
            match event {
                ReceiverEvent::Join(group) => {
                    self.groups.insert(group);
                }
                ReceiverEvent::Complete { bytes } => {
                    let len = self.stream.len() as u64;
                    match self.goal {
                        Goal::Less => assert!(bytes < len, "it looks whole"),
                        Goal::Any => assert!(bytes <= len, "complete with the wrong length"),
                        _ => assert_eq!(bytes, len, "complete with the wrong length"),
                    }
                    self.complete = Some(bytes);
                }
                ReceiverEvent::Failed(failure) => {
                    let must_end = matches!(self.goal, Goal::Complete | Goal::Less);
                    assert!(!must_end, "failed: {failure}");
                    self.failure = Some(failure.to_string());
                }
                _ => {}
            }
        }
        sent
    }

    fn read(&mut self, now: Instant) {
        self.most_waiting = self
            .most_waiting
            .max(self.receiver.statistics().waiting_blocks);
        if let Reader::After(time) = self.reader {
            self.next_read = self.start + time;
        }
        while now >= self.next_read {
            let Some(slice) = self.receiver.take_slice() else {
                return;
            };
            let expected = self.stream.get(self.taken..self.taken + slice.len());
            assert!(
                expected == Some(&slice[..]),
                "bytes differ behind {}",
                self.taken
            );
            self.taken += slice.len();
            self.receiver.return_buffer(slice);
            if let Reader::Every(time) = self.reader {
                self.next_read = now + time;
            }
        }
    }

    pub(crate) fn report(&self) -> ReceiverReport {
        ReceiverReport {
            statistics: self.receiver.statistics(),
            failure: self.failure.clone(),
            complete: self.complete,
            most_waiting: self.most_waiting,
        }
    }
}
