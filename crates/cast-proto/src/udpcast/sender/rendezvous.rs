//! Gathering participants, and the start.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::{
    DataRouting, Duplex, GiveUpReason, Outcome, Outgoing, Phase, RefuseReason, Sender, SenderEvent,
    SliceSize, StartReason, Timer,
};
use crate::udpcast::wire::{Capabilities, ConnectReq, Hello, HelloKind, Message};
use crate::udpcast::{ClientNo, MAX_PARTICIPANTS};

/// Period of HELLO where repetition is needed but not configured, as in the original.
const HELLO_INTERVAL: Duration = Duration::from_secs(1);

/// The same after the start, when the others wait for one that may not know its place.
const HELLO_INTERVAL_IN_DATA: Duration = Duration::from_millis(250);

/// Bytes of a receive buffer that a byte of a datagram may take: kernels count the memory a
/// datagram lies in (2304 bytes for one of 1500, 4352 with some drivers).
const BUFFER_PER_BYTE: u32 = 3;

/// Refusals told as events; a flood of requests is only counted beyond that.
const REFUSALS_TOLD: usize = 64;

/// A receiver that has left so often during the rendezvous...
const LEAVES: u32 = 8;

/// ...is let in again only so long after it left: each coming and going is told.
const LEAVE_INTERVAL: Duration = Duration::from_secs(10);

/// Leavers that are remembered.
const LEAVERS: usize = 1024;

/// Who has left during the rendezvous, how often, and when last. At most 1024, some 50 bytes each.
#[derive(Default)]
pub(super) struct Leavers(BTreeMap<Ipv4Addr, (u32, Instant)>);

impl Leavers {
    fn left(&mut self, now: Instant, addr: Ipv4Addr) {
        if self.0.len() >= LEAVERS && !self.0.contains_key(&addr) {
            let oldest = self.0.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(addr, _)| *addr) {
                self.0.remove(&oldest);
            }
        }
        let (count, last) = self.0.entry(addr).or_insert((0, now));
        *count = count.saturating_add(1);
        *last = now;
    }

    fn has_to_wait(&self, now: Instant, addr: Ipv4Addr) -> bool {
        let is_soon = |last| now.saturating_duration_since(last) < LEAVE_INTERVAL;
        self.0
            .get(&addr)
            .is_some_and(|(count, last)| *count >= LEAVES && is_soon(*last))
    }
}

impl Sender {
    pub(super) fn begin_rendezvous(&mut self, now: Instant) {
        if let Some(interval) = self.hello_interval() {
            self.timers.set(Timer::Hello, now + interval);
        }
        self.restart_start_timeout(now);
    }

    fn hello_interval(&self) -> Option<Duration> {
        let is_needed = self.config.asynchronous || self.config.start.autostart.is_some();
        match self.config.hello_interval {
            None if is_needed => Some(HELLO_INTERVAL),
            configured => configured,
        }
    }

    fn restart_start_timeout(&mut self, now: Instant) {
        if let Some(timeout) = self.config.start.start_timeout {
            self.timers.set(Timer::Start, now + timeout);
        }
    }

    /// Queues HELLO to all its destinations.
    pub(super) fn announce(&mut self, kind: HelloKind) {
        self.queue(Outgoing::Hello {
            to: self.config.control,
            kind,
        });
        for index in 0..self.config.extra_hello.len() {
            if let Some(to) = self.config.extra_hello.get(index).copied() {
                self.queue(Outgoing::Hello { to, kind });
            }
        }
    }

    pub(super) fn hello(&self, kind: HelloKind) -> Hello {
        Hello {
            kind,
            capabilities: self.capabilities(),
            data_address: self.announced(None),
            block_size: self.config.block_size,
        }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        if self.config.asynchronous {
            Capabilities::CURRENT | Capabilities::ASYNCHRONOUS
        } else {
            Capabilities::CURRENT
        }
    }

    /// The data address told to one receiver, or to all.
    pub(super) fn announced(&self, receiver: Option<Ipv4Addr>) -> Ipv4Addr {
        match self.config.routing {
            DataRouting::Multicast | DataRouting::AutoPointToPoint => *self.config.data_group.ip(),
            DataRouting::PointToPoint => receiver.unwrap_or(Ipv4Addr::UNSPECIFIED),
            DataRouting::Broadcast => *self.config.control.ip(),
        }
    }

    pub(super) fn on_hello_timer(&mut self, now: Instant) {
        let Some(interval) = self.hello_interval() else {
            return;
        };
        match self.phase {
            Phase::Rendezvous => {
                self.announce(HelloKind::Plain);
                self.gathering.hello_repeats = self.gathering.hello_repeats.saturating_add(1);
                self.timers.set(Timer::Hello, now + interval);
                let repeats = self.gathering.hello_repeats;
                if self
                    .config
                    .start
                    .autostart
                    .is_some_and(|wanted| repeats > wanted)
                {
                    self.begin(now, StartReason::Autostart);
                } else {
                    self.start_if_all_there(now);
                }
            }
            // A participant that has never answered may not know that it is one.
            Phase::Data
                if self
                    .participants
                    .all_present()
                    .any(|member| !member.has_answered) =>
            {
                self.announce(HelloKind::Plain);
                self.timers
                    .set(Timer::Hello, now + interval.min(HELLO_INTERVAL_IN_DATA));
            }
            Phase::Data | Phase::Lingering | Phase::Closed => {}
        }
    }

    /// A message before the start.
    pub(super) fn on_rendezvous(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        message: &Message<'_>,
    ) {
        let receiver_port = self.config.receiver_port;
        let is_receiver =
            from.port() == receiver_port || from.port() == receiver_port.saturating_add(1);
        if self.config.asynchronous || !is_receiver {
            self.statistics.ignored.stranger += 1;
            return;
        }
        match message {
            Message::ConnectReq(_) if self.gathering.leavers.has_to_wait(now, *from.ip()) => {
                self.statistics.ignored.unexpected += 1;
            }
            Message::ConnectReq(request) => {
                // Before it may start the transfer, which ends this timeout.
                self.restart_start_timeout(now);
                self.on_connect_req(now, from, request);
            }
            Message::Go if self.participants.get(*from.ip()).is_some() => {
                if self.config.start.accept_go {
                    self.begin(now, StartReason::Go(*from.ip()));
                } else {
                    self.statistics.ignored.unexpected += 1;
                }
            }
            Message::Disconnect => {
                if self.participants.forget(*from.ip()) {
                    self.gathering.leavers.left(now, *from.ip());
                    let outcome = Outcome::Left { last_slice: None };
                    self.events.push_back(SenderEvent::Left {
                        addr: *from.ip(),
                        outcome,
                    });
                    self.restart_start_timeout(now);
                } else {
                    self.statistics.ignored.stranger += 1;
                }
            }
            Message::Go => self.statistics.ignored.stranger += 1,
            _ => self.statistics.ignored.unexpected += 1,
        }
    }

    fn on_connect_req(&mut self, now: Instant, from: SocketAddrV4, request: &ConnectReq) {
        let addr = *from.ip();
        self.sent_away.remove(addr);
        if let Some(client) = self.participants.get(addr).map(|member| member.client) {
            self.queue(Outgoing::Reply {
                to: from,
                client: Some(client),
            });
            return;
        }
        let rule = &self.config.start;
        if rule.only_expected && !rule.expected.contains(&addr) {
            self.refuse(from, RefuseReason::NotExpected);
            return;
        }
        let is_point_to_point = self.config.routing == DataRouting::PointToPoint;
        let limit = if is_point_to_point {
            1
        } else {
            MAX_PARTICIPANTS
        };
        let capabilities = request.capabilities | Capabilities::BIG_ENDIAN;
        let joined = self.participants.join(now, addr, request, limit);
        let Some(client) = joined else {
            let reason = if is_point_to_point {
                RefuseReason::PointToPoint
            } else {
                RefuseReason::Full
            };
            self.refuse(from, reason);
            return;
        };
        self.queue(Outgoing::Reply {
            to: from,
            client: Some(client),
        });
        self.events.push_back(SenderEvent::Joined {
            client,
            addr,
            capabilities,
        });
        if self.gathering.first.is_none() {
            self.gathering.first = Some(now);
            for (timer, wait) in [
                (Timer::MinWait, self.config.start.min_wait),
                (Timer::MaxWait, self.config.start.max_wait),
            ] {
                if let Some(wait) = wait {
                    self.timers.set(timer, now + wait);
                }
            }
        }
        self.start_if_all_there(now);
    }

    pub(super) fn refuse(&mut self, to: SocketAddrV4, reason: RefuseReason) {
        self.queue(Outgoing::Reply { to, client: None });
        if self.events.len() < REFUSALS_TOLD {
            self.events.push_back(SenderEvent::Refused {
                addr: *to.ip(),
                reason,
            });
        }
    }

    pub(super) fn start_if_all_there(&mut self, now: Instant) {
        let Some(first) = self
            .gathering
            .first
            .filter(|_| !self.participants.is_empty())
        else {
            return;
        };
        let rule = &self.config.start;
        let is_over = |wait: Duration| now >= first + wait;
        if rule.max_wait.is_some_and(is_over) {
            self.begin(now, StartReason::MaxWait);
            return;
        }
        let has_rule =
            !rule.expected.is_empty() || rule.min_receivers > 0 || rule.min_wait.is_some();
        let is_there = |addr: &Ipv4Addr| self.participants.get(*addr).is_some();
        if has_rule
            && rule.expected.iter().all(is_there)
            && u32::from(self.participants.count()) >= rule.min_receivers
            && rule.min_wait.is_none_or(is_over)
        {
            self.begin(now, StartReason::Complete);
        }
    }

    pub(super) fn begin(&mut self, now: Instant, reason: StartReason) {
        if self.phase != Phase::Rendezvous {
            return;
        }
        let participants = self.participants.count();
        if !self.config.asynchronous && participants == 0 {
            self.give_up(GiveUpReason::NoParticipants);
            return;
        }
        if self.config.routing == DataRouting::PointToPoint && participants != 1 {
            self.give_up(GiveUpReason::NotPointToPoint);
            return;
        }
        self.enter_data(now);
        self.events.push_back(SenderEvent::Started {
            reason,
            data: self.stream.to,
            participants: participants.into(),
        });
    }

    /// The participants are those who are there.
    pub(super) fn enter_data(&mut self, now: Instant) {
        self.phase = Phase::Data;
        for timer in [Timer::MinWait, Timer::MaxWait, Timer::Start] {
            self.timers.stop(timer);
        }
        if self.config.asynchronous {
            self.timers.stop(Timer::Hello);
        } else if let Some(interval) = self.hello_interval() {
            let interval = interval.min(HELLO_INTERVAL_IN_DATA);
            self.timers.set(Timer::Hello, now + interval);
        }
        self.route();
    }

    /// Fixes where the data goes, and what follows from it.
    fn route(&mut self) {
        let mut present = self.participants.all_present();
        let (first, is_single) = (present.next().map(|m| m.addr), present.next().is_none());
        let is_new = |caps: Capabilities| caps.contains(Capabilities::NEW_GENERATION);
        let all_new = self
            .participants
            .all_present()
            .all(|m| is_new(m.capabilities));
        let unicast = first.filter(|_| is_single && !self.config.asynchronous);
        let port = self.config.receiver_port;
        self.stream.to = match (self.config.routing, unicast) {
            (DataRouting::Broadcast, _) => self.config.control,
            _ if !all_new => self.config.control,
            (DataRouting::PointToPoint | DataRouting::AutoPointToPoint, Some(addr)) => {
                SocketAddrV4::new(addr, port)
            }
            _ => self.config.data_group,
        };
        if !all_new && self.stream.duplex == Duplex::Full {
            self.stream.duplex = Duplex::Half;
            let max = self.config.largest_slice();
            self.stream.size = SliceSize::half_duplex(self.config.first_slice(), max);
        }
        drop(present);
        self.fit_slices();
    }

    /// In full duplex the first slice size stays: larger ones need fewer rounds, if the receive
    /// buffers of all take the two that may be under way while a receiver does not run.
    fn fit_slices(&mut self) {
        let config = &self.config;
        if config.asynchronous
            || config.fec.is_some()
            || config.slice.initial.is_some()
            || self.stream.duplex == Duplex::Half
        {
            return;
        }
        let smallest = self.participants.all_present().map(|m| m.rcvbuf).min();
        let fitting = smallest.unwrap_or(0) / BUFFER_PER_BYTE / 2 / u32::from(config.block_size);
        let fitting = u16::try_from(fitting).unwrap_or(u16::MAX);
        let first = config.first_slice();
        self.stream.size = SliceSize::full_duplex(fitting.clamp(first, config.largest_slice()));
    }

    /// CONNECT_REQ after the start.
    pub(super) fn on_late_request(&mut self, from: SocketAddrV4) {
        let known = self
            .participants
            .get(*from.ip())
            .map(|m| (m.client, m.outcome, m.is_gone));
        match known {
            // Our reply was lost.
            Some((client, Outcome::Connected, false)) => {
                self.queue(Outgoing::Reply {
                    to: from,
                    client: Some(ClientNo(client.0)),
                });
            }
            // It was given up, and has been started again.
            Some((_, Outcome::Dropped { .. } | Outcome::Removed { .. }, _)) => {
                self.sent_away.remove(*from.ip());
                self.refuse_late(from);
            }
            // It is done with this transfer, and asks for the next one too early.
            Some(_) => self.statistics.ignored.unexpected += 1,
            None => self.refuse_late(from),
        }
    }

    fn refuse_late(&mut self, from: SocketAddrV4) {
        if self.config.refuse_late && self.is_data_due() {
            self.refuse(from, RefuseReason::Late);
        } else {
            self.statistics.ignored.stranger += 1;
        }
    }
}
