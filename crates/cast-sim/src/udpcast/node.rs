//! The ends: a core, what drives it, and its goal.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cast_proto::udpcast::receiver::{Receiver, ReceiverConfig, ReceiverEvent};
use cast_proto::udpcast::sender::{
    GiveUpReason, Outcome, Sender, SenderConfig, SenderEvent, SenderStatistics,
};

use super::{ReceiverReport, ReceiverSetup};
use crate::{Host, payload};

/// How a receiver's slices are taken.
#[derive(Clone, Copy, Debug)]
pub enum Reader {
    /// As soon as they are complete.
    Immediate,
    /// One every so often.
    Every(Duration),
    /// Not before so long after the beginning, then at once.
    After(Duration),
}

/// When a reader confirms that what it took is safe, if its receiver waits for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// As soon as it has everything.
    AtOnce,
    /// So long after it has everything.
    After(Duration),
    /// It fails so long after it has everything, and leaves the transfer.
    Fail(Duration),
    /// Never.
    Never,
}

/// What a receiver has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
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

pub(crate) struct SenderNode {
    host: Host<Sender>,
    stream: Vec<u8>,
    pushed: usize,
    rate: u64,
    busy_until: Instant,
    finished: Option<Instant>,
    gave_up: Option<GiveUpReason>,
    probes: Vec<Ipv4Addr>,
}

impl SenderNode {
    pub(crate) fn new(now: Instant, config: SenderConfig, len: usize, rate: u64) -> Self {
        Self {
            host: Host::new(now, Sender::new(config, now).unwrap()),
            stream: payload(len),
            pushed: 0,
            rate,
            busy_until: now,
            finished: None,
            gave_up: None,
            probes: Vec::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.host.core.is_closed() && (self.finished.is_some() || self.gave_up.is_some())
    }

    pub(crate) fn start(&mut self, now: Instant) {
        self.host.core.start(now);
    }

    pub(crate) fn abort(&mut self, now: Instant) {
        self.host.core.abort(now);
    }

    pub(crate) fn interrupt(&mut self, now: Instant) {
        self.host.core.interrupt(now);
    }

    pub(crate) fn stall(&mut self, until: Instant) {
        self.host.stall(until);
    }

    pub(crate) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let next = self.host.next_wakeup(now);
        let is_waiting_to_send = !self.host.is_stalled(now) && self.busy_until > now;
        let free = is_waiting_to_send.then_some(self.busy_until);
        next.into_iter().chain(free).min()
    }

    pub(crate) fn take_in(&mut self, now: Instant, from: SocketAddrV4, bytes: Vec<u8>) {
        self.host.take_in(now, from, bytes);
    }

    pub(crate) fn serve(&mut self, now: Instant) {
        self.host.serve(now);
    }

    /// The next datagram, when the interface is free.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(SocketAddrV4, Vec<u8>)> {
        self.take_events(now);
        if self.busy_until > now || self.host.is_stalled(now) {
            return None;
        }
        loop {
            let room = self
                .host
                .core
                .input_room()
                .min(self.stream.len() - self.pushed);
            if room > 0 {
                self.host
                    .core
                    .push_input(&self.stream[self.pushed..self.pushed + room]);
                self.pushed += room;
            }
            if self.pushed == self.stream.len() {
                self.host.core.finish_input();
            }
            if let Some((transmit, bytes)) = self.host.poll(now) {
                let nanos = (bytes.len() as u64 + 46) * 8_000_000_000 / self.rate;
                self.busy_until = now + Duration::from_nanos(nanos);
                return Some((transmit.to, bytes));
            }
            if self.host.core.input_room() == 0 || self.pushed == self.stream.len() {
                break;
            }
        }
        // The last poll may have ended the transfer.
        self.take_events(now);
        None
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.host.core.poll_event() {
            match event {
                SenderEvent::Finished => self.finished = Some(now),
                SenderEvent::GaveUp(reason) => self.gave_up = Some(reason),
                SenderEvent::Probe { addr, .. } => self.probes.push(addr),
                _ => {}
            }
        }
    }

    /// Receivers whose hosts are to be asked.
    pub(crate) fn take_probes(&mut self) -> Vec<Ipv4Addr> {
        std::mem::take(&mut self.probes)
    }

    /// Nobody listens there.
    pub(crate) fn handle_closed_port(&mut self, now: Instant, addr: Ipv4Addr) {
        if !self.host.is_stalled(now) {
            self.host.core.handle_unreachable(now, addr);
        }
    }

    pub(crate) fn statistics(&self) -> SenderStatistics {
        self.host.core.statistics()
    }

    pub(crate) fn outcomes(&self) -> BTreeMap<Ipv4Addr, Outcome> {
        self.host
            .core
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
    host: Host<Receiver>,
    config: ReceiverConfig,
    is_on: bool,
    reader: Reader,
    next_read: Instant,
    start: Instant,
    goal: Goal,
    stream: Vec<u8>,
    taken: usize,
    complete: Option<u64>,
    confirm: Confirm,
    /// When it confirms, or fails; known once it has everything.
    confirm_at: Option<Instant>,
    is_confirmed: bool,
    failure: Option<String>,
    most_waiting: u32,
    groups: BTreeSet<Ipv4Addr>,
}

impl ReceiverNode {
    pub(crate) fn new(now: Instant, setup: &ReceiverSetup, len: usize, is_late: bool) -> Self {
        Self {
            host: Host::new(now, Receiver::new(setup.config.clone(), now).unwrap()),
            config: setup.config.clone(),
            is_on: !is_late,
            reader: setup.reader,
            next_read: now,
            start: now,
            goal: setup.goal,
            stream: payload(len),
            taken: 0,
            complete: None,
            confirm: setup.confirm,
            confirm_at: None,
            is_confirmed: false,
            failure: None,
            most_waiting: 0,
            groups: BTreeSet::new(),
        }
    }

    /// Whether its sender may take it for one that has the whole stream.
    pub(crate) fn may_count_as_complete(&self) -> bool {
        self.complete.is_some() && (self.is_confirmed || !self.config.is_confirmed_by_reader)
    }

    pub(crate) fn has_joined(&self, group: Ipv4Addr) -> bool {
        self.groups.contains(&group)
    }

    pub(crate) fn is_done(&self) -> bool {
        let is_held = self.config.is_confirmed_by_reader && !self.is_confirmed;
        let has_all = self.complete == Some(self.taken as u64) && !is_held;
        let is_over = match self.goal {
            Goal::Complete | Goal::Less => has_all,
            Goal::Fail => self.failure.is_some(),
            Goal::Die => return !self.is_on,
            Goal::End | Goal::Any => has_all || self.failure.is_some(),
        };
        is_over && self.host.core.is_closed()
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "wants {:?}, took {} of {} bytes, complete {:?}, failure {:?}, {:?}",
            self.goal,
            self.taken,
            self.stream.len(),
            self.complete,
            self.failure,
            self.host.core.statistics()
        )
    }

    pub(crate) fn kill(&mut self) {
        self.is_on = false;
    }

    pub(crate) fn switch_on(&mut self, now: Instant) {
        self.host = Host::new(now, Receiver::new(self.config.clone(), now).unwrap());
        self.is_on = true;
    }

    pub(crate) fn stall(&mut self, until: Instant) {
        self.host.stall(until);
    }

    pub(crate) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        if !self.is_on {
            return None;
        }
        let is_reading = !self.host.is_stalled(now)
            && self.next_read > now
            && self.host.core.statistics().waiting_blocks > 0;
        let read = is_reading.then_some(self.next_read);
        let confirm = self.confirm_at.filter(|_| !self.host.is_stalled(now));
        let wakeups = self.host.next_wakeup(now).into_iter();
        wakeups.chain(read).chain(confirm).min()
    }

    pub(crate) fn take_in(&mut self, now: Instant, from: SocketAddrV4, bytes: Vec<u8>) {
        if self.is_on {
            self.host.take_in(now, from, bytes);
        }
    }

    pub(crate) fn serve(&mut self, now: Instant) {
        if self.is_on {
            self.host.serve(now);
        }
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Vec<(SocketAddrV4, Vec<u8>)> {
        let mut sent = Vec::new();
        if !self.is_on || self.host.is_stalled(now) {
            return sent;
        }
        self.read(now);
        while let Some((transmit, bytes)) = self.host.poll(now) {
            sent.push((transmit.to, bytes));
        }
        while let Some(event) = self.host.core.poll_event() {
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
        self.confirm(now);
        while let Some((transmit, bytes)) = self.host.poll(now) {
            sent.push((transmit.to, bytes));
        }
        sent
    }

    fn read(&mut self, now: Instant) {
        self.most_waiting = self
            .most_waiting
            .max(self.host.core.statistics().waiting_blocks);
        if let Reader::After(time) = self.reader {
            self.next_read = self.start + time;
        }
        while now >= self.next_read {
            let Some(slice) = self.host.core.take_slice() else {
                return;
            };
            let expected = self.stream.get(self.taken..self.taken + slice.len());
            assert!(
                expected == Some(&slice[..]),
                "bytes differ behind {}",
                self.taken
            );
            self.taken += slice.len();
            self.host.core.return_buffer(slice);
            if let Reader::Every(time) = self.reader {
                self.next_read = now + time;
            }
        }
    }

    /// Says that all is safe, or leaves, once everything was taken and it is time.
    fn confirm(&mut self, now: Instant) {
        let has_failed = self.failure.is_some();
        if self.is_confirmed || has_failed || self.complete != Some(self.taken as u64) {
            return;
        }
        let wait = match self.confirm {
            Confirm::AtOnce => Duration::ZERO,
            Confirm::After(wait) | Confirm::Fail(wait) => wait,
            Confirm::Never => return,
        };
        if now < *self.confirm_at.get_or_insert(now + wait) {
            return;
        }
        self.confirm_at = None;
        if let Confirm::Fail(_) = self.confirm {
            self.host.core.abort(now);
        } else {
            self.is_confirmed = true;
            self.host.core.confirm(now);
        }
    }

    pub(crate) fn report(&self) -> ReceiverReport {
        ReceiverReport {
            statistics: self.host.core.statistics(),
            failure: self.failure.clone(),
            complete: self.complete,
            is_confirmed: self.is_confirmed,
            most_waiting: self.most_waiting,
        }
    }
}
