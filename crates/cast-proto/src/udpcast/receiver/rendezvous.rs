//! Getting a place in a transfer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::{
    GO_INTERVAL, InVain, Link, Outgoing, Phase, ReceiveFailure, Receiver, ReceiverEvent, Timer,
    Window,
};
use crate::udpcast::wire::{Capabilities, ConnectReply, Hello, HelloKind, Message};
use crate::udpcast::{ClientNo, MAX_BLOCK_SIZE, SliceNo};

/// A HELLO that comes so long after the last confirmation of the place makes us ask again, as it
/// may be from a sender that was started anew and does not know us.
const CONFIRM_AFTER: Duration = Duration::from_secs(5);

/// A sender that announces a transfer in the middle of ours, and sends nothing of ours for so long, is
/// suspected to have been started again. It may also be that a switch has forgotten our group: the sender
/// of our transfer announces itself, by broadcast, to receivers that it has not heard yet.
const SUSPECTED_AFTER: Duration = Duration::from_secs(2);
const SUSPECTED_ANNOUNCEMENTS: u32 = 2;

/// If nothing of ours comes so long after the group was joined again, and the announcements go on, it has
/// been started again: a sender asks at least once a second.
const RESTARTED_AFTER: Duration = Duration::from_secs(4);
const RESTARTED_ANNOUNCEMENTS: u32 = 5;

/// Announcements of the sender since it last sent anything of this transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspicion {
    announcements: u32,
    /// The group has been joined again since.
    is_checked: bool,
}

impl Receiver {
    /// Asks for a place, unless passive, and sets the timer for the next time.
    pub(super) fn ask(&mut self, now: Instant, to: SocketAddrV4) {
        if self.config.passive {
            return;
        }
        self.queue(Outgoing::ConnectReq(to));
        self.rendezvous.attempts = self.rendezvous.attempts.saturating_add(1);
        let attempt = self.rendezvous.attempts;
        self.events
            .push_back(ReceiverEvent::Requested { to, attempt });
        self.timers
            .set(Timer::Connect, now + self.rendezvous.next_wait);
    }

    pub(super) fn ask_again(&mut self, now: Instant) {
        let doubled = self.rendezvous.next_wait.saturating_mul(2);
        self.rendezvous.next_wait = doubled.min(self.config.connect_retry.max);
        self.ask(now, self.config.control);
    }

    pub(super) fn restart_start_timeout(&mut self, now: Instant) {
        if let Some(timeout) = self.config.start_timeout {
            self.timers.set(Timer::Start, now + timeout);
        }
    }

    pub(super) fn on_start_timeout(&mut self, now: Instant) {
        let silent_for = self.config.start_timeout.unwrap_or_default();
        let failure = match &self.link {
            Some(link) => ReceiveFailure::NoData {
                sender: link.sender,
                client: link.client,
                silent_for,
            },
            None => ReceiveFailure::NoSender(
                now.saturating_duration_since(self.started),
                self.rendezvous.attempts,
            ),
        };
        self.fail(now, failure);
    }

    pub(super) fn say_go(&mut self, now: Instant) {
        if self.go_wanted && self.phase == Phase::Waiting {
            self.queue(Outgoing::Go);
            self.timers.set(Timer::Go, now + GO_INTERVAL);
        }
    }

    /// A message while there is no place yet.
    pub(super) fn on_rendezvous(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        message: &Message<'_>,
    ) {
        let is_sender = from.port() == self.config.port_base.saturating_add(1)
            && self.config.sender.is_none_or(|sender| sender == *from.ip());
        if !is_sender {
            self.on_stranger(from, message);
            return;
        }
        self.statistics.heard += 1;
        match message {
            Message::ConnectReply(reply) if !self.config.passive => {
                self.on_connect_reply(now, from, reply);
            }
            Message::Hello(hello) => self.on_hello(now, from, hello),
            _ => {
                // Perhaps of a transfer that is running already; its sender will tell us.
                self.statistics.ignored.unexpected += 1;
                return;
            }
        }
        if self.phase == Phase::Asking {
            self.restart_start_timeout(now);
        }
    }

    fn on_hello(&mut self, now: Instant, from: SocketAddrV4, hello: &Hello) {
        let is_new_generation = hello.capabilities.contains(Capabilities::NEW_GENERATION);
        if is_new_generation {
            self.rendezvous.announced = Some((from, hello.data_address, hello.block_size));
        }
        let is_asynchronous = hello.capabilities.contains(Capabilities::ASYNCHRONOUS);
        if is_new_generation && (is_asynchronous || self.config.passive) {
            let block_size = u32::from(hello.block_size);
            self.connect(
                now,
                from,
                ClientNo(0),
                block_size,
                Some(hello.data_address),
                None,
            );
            if let Some(link) = &mut self.link {
                link.is_searching = hello.kind == HelloKind::Streaming;
            }
        } else if !self.config.passive && !is_asynchronous {
            self.ask(now, from);
        } else {
            self.statistics.ignored.unexpected += 1;
        }
    }

    fn on_connect_reply(&mut self, now: Instant, from: SocketAddrV4, reply: &ConnectReply) {
        let Some(client) = reply.client else {
            self.fail(now, ReceiveFailure::Refused(from));
            return;
        };
        let announced = self.rendezvous.announced.filter(|(by, ..)| *by == from);
        let data_address = if reply.capabilities.contains(Capabilities::NEW_GENERATION) {
            Some(reply.data_address)
        } else {
            announced.map(|(_, data_address, _)| data_address)
        };
        self.connect(
            now,
            from,
            client,
            reply.block_size,
            data_address,
            Some(reply.capabilities),
        );
    }

    fn connect(
        &mut self,
        now: Instant,
        sender: SocketAddrV4,
        client: ClientNo,
        block_size: u32,
        data_address: Option<Ipv4Addr>,
        capabilities: Option<Capabilities>,
    ) {
        // Without a reply there is nobody who would hear us.
        let is_one_way =
            capabilities.is_none_or(|sender| sender.contains(Capabilities::ASYNCHRONOUS));
        let max = self.config.max_block_size;
        let Some(block_size) = u16::try_from(block_size).ok().filter(|size| *size <= max) else {
            self.fail(
                now,
                ReceiveFailure::BlockSize {
                    sender,
                    block_size,
                    max,
                },
            );
            return;
        };
        if block_size == 0 || block_size > MAX_BLOCK_SIZE {
            self.statistics.ignored.malformed += 1;
            return;
        }
        let is_elsewhere = |address: &Ipv4Addr| {
            address.is_multicast()
                && *address != self.config.own
                && *address != *self.config.control.ip()
        };
        let group = data_address.filter(is_elsewhere);
        self.timers.stop_all();
        self.outbox.clear();
        self.phase = Phase::Waiting;
        self.link = Some(Link {
            sender,
            client,
            is_one_way,
            group,
            confirmed: now,
            window: Window::new(block_size, self.config.window_blocks),
            end: None,
            is_searching: false,
            asked: None,
            unasked: 0,
            promised: None,
            held: None,
            held_at: now,
            beyond: 0,
            heard: SliceNo(0),
            heard_end: false,
            contradictions: 0,
            in_vain: InVain::default(),
            suspicion: Suspicion::default(),
        });
        let asynchronous = is_one_way;
        self.events.push_back(ReceiverEvent::Connected {
            client,
            sender,
            block_size,
            asynchronous,
            capabilities,
        });
        if let Some(group) = group {
            self.events.push_back(ReceiverEvent::Join(group));
        }
        self.restart_start_timeout(now);
        self.say_go(now);
    }

    /// HELLO or CONNECT_REPLY of our sender when there is a place already.
    pub(super) fn on_late_rendezvous(&mut self, now: Instant, message: &Message<'_>) {
        self.notice_restart(now, message);
        let is_waiting = self.phase == Phase::Waiting;
        let Some(link) = self
            .link
            .as_mut()
            .filter(|link| is_waiting && !link.is_one_way)
        else {
            self.statistics.ignored.unexpected += 1;
            return;
        };
        match message {
            Message::ConnectReply(reply) => {
                if let Some(client) = reply.client
                    && reply.block_size == u32::from(link.window.block_size())
                {
                    link.client = client;
                    link.confirmed = now;
                }
            }
            _ => {
                if now.saturating_duration_since(link.confirmed) >= CONFIRM_AFTER {
                    link.confirmed = now;
                    let to = link.sender;
                    self.queue(Outgoing::ConnectReq(to));
                }
            }
        }
        self.restart_start_timeout(now);
    }

    /// A sender in the middle of our transfer asks and sends at least once a second, whatever else it
    /// announces to receivers that it has not heard yet. One that announces itself again and again, and
    /// sends nothing of ours, is another run of it.
    fn notice_restart(&mut self, now: Instant, message: &Message<'_>) {
        let is_announcement =
            matches!(message, Message::Hello(hello) if hello.kind != HelloKind::Streaming);
        let Some(link) = self.link.as_mut().filter(|_| is_announcement) else {
            return;
        };
        if self.phase == Phase::Receiving {
            link.suspicion.announcements = link.suspicion.announcements.saturating_add(1);
            if self.timers.get(Timer::Restarted).is_none() {
                self.timers.set(Timer::Restarted, now + SUSPECTED_AFTER);
            }
        }
    }

    /// The sender has announced itself for a while and sent nothing of ours.
    pub(super) fn on_suspicion(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let Suspicion {
            announcements,
            is_checked,
        } = link.suspicion;
        let enough = if is_checked {
            RESTARTED_ANNOUNCEMENTS
        } else {
            SUSPECTED_ANNOUNCEMENTS
        };
        if announcements < enough {
            link.suspicion = Suspicion::default();
            return;
        }
        if !is_checked {
            link.suspicion.is_checked = true;
            if let Some(group) = link.group {
                self.events.push_back(ReceiverEvent::JoinAgain(group));
            }
            self.timers.set(Timer::Restarted, now + RESTARTED_AFTER);
            return;
        }
        let failure = ReceiveFailure::Restarted {
            sender: link.sender,
            slice: link.window.next(),
            bytes: self.statistics.bytes,
        };
        self.fail(now, failure);
    }
}
