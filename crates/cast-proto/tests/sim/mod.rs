//! A network of one sender and some receivers in virtual time.
//!
//! Time jumps to the next thing that happens. Every node has a goal, and a run ends when all are
//! met; when nothing can happen any more and a goal is left, or after a day, the run has failed. All
//! chance comes from one seed, which is printed with a failure and can be given in `FOS_SIM_SEED`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

pub(crate) mod any;
mod node;
mod observer;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cast_proto::udpcast::receiver::{ReceiverConfig, ReceiverStatistics};
use cast_proto::udpcast::sender::{
    DataRouting, GiveUpReason, Outcome, SenderConfig, SenderStatistics, StartRule,
};

use crate::common::epoch;
pub(crate) use node::{Goal, Reader};
use node::{ReceiverNode, SenderNode};
use observer::Observer;

pub(crate) const PORT: u16 = 9000;
pub(crate) const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), PORT + 1);
pub(crate) const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);
pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(233, 254, 0, 1);

const LONGEST_RUN: Duration = Duration::from_secs(24 * 3600);

/// Address of receiver `index`.
pub(crate) fn receiver_addr(index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, u8::try_from(index).unwrap()), PORT)
}

/// Numbers that look random (splitmix64).
#[derive(Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// The way from and to a receiver; both directions alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    /// Up to so much more, at random: what makes datagrams overtake each other.
    pub(crate) jitter: Duration,
    pub(crate) loss_per_mille: u32,
    pub(crate) duplicate_per_mille: u32,
    /// Damaged so that no checksum notices, but the form does: cut short, or of another kind. (What
    /// is damaged within cannot be told by anybody; the images have checksums of their own.)
    pub(crate) damage_per_mille: u32,
    /// Bit/s toward the receiver, with a queue of so many bytes before it; what does not fit is lost.
    pub(crate) rate: Option<(u64, u64)>,
    /// Longer datagrams toward the receiver are lost without a word.
    pub(crate) longest: usize,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(100),
            jitter: Duration::ZERO,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            damage_per_mille: 0,
            rate: None,
            longest: usize::MAX,
        }
    }
}

/// Something that happens from outside.
pub(crate) enum Action {
    /// The receiver is switched off without a word.
    Kill(usize),
    /// The receiver is switched on (all that have no such action are on from the beginning).
    SwitchOn(usize),
    /// The process of a receiver, or of the sender, does not run for a while.
    Stall(Option<usize>, Duration),
    /// The way to the receiver takes datagrams of any length.
    Heal(usize),
    /// A key press at the sender.
    Start,
    /// The transfer is cancelled.
    Abort,
    /// A datagram out of nowhere.
    Inject {
        from: SocketAddrV4,
        to: SocketAddrV4,
        bytes: Vec<u8>,
    },
}

/// A network to be set up.
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) len: usize,
    pub(crate) sender: SenderConfig,
    /// Bit/s at which the sender's interface sends.
    pub(crate) sender_rate: u64,
    pub(crate) receivers: Vec<ReceiverSetup>,
    pub(crate) actions: Vec<(Duration, Action)>,
}

pub(crate) struct ReceiverSetup {
    pub(crate) link: Link,
    pub(crate) reader: Reader,
    pub(crate) goal: Goal,
    pub(crate) config: ReceiverConfig,
}

/// What a run came to.
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) elapsed: Duration,
    /// Until the sender was done, if it was.
    pub(crate) finished: Option<Duration>,
    pub(crate) sender: SenderStatistics,
    pub(crate) outcomes: BTreeMap<Ipv4Addr, Outcome>,
    pub(crate) gave_up: Option<GiveUpReason>,
    pub(crate) receivers: Vec<ReceiverReport>,
}

pub(crate) struct ReceiverReport {
    pub(crate) statistics: ReceiverStatistics,
    pub(crate) failure: Option<String>,
    /// It came to the end of a stream of so many bytes.
    pub(crate) complete: Option<u64>,
    /// Most blocks that ever waited to be taken.
    pub(crate) most_waiting: u32,
}

impl Scenario {
    /// `receivers` perfect links; starts when all are there.
    pub(crate) fn new(seed: u64, len: usize, receivers: usize) -> Self {
        let control = SocketAddrV4::new(BROADCAST, PORT);
        let mut sender = SenderConfig::new(control, SocketAddrV4::new(GROUP, PORT));
        sender.block_size = 100;
        sender.routing = DataRouting::AutoPointToPoint;
        sender.start = StartRule {
            min_receivers: u32::try_from(receivers).unwrap(),
            ..StartRule::default()
        };
        let setup = |index| {
            let control = SocketAddrV4::new(BROADCAST, PORT + 1);
            ReceiverSetup {
                link: Link::default(),
                reader: Reader::Immediate,
                goal: Goal::Complete,
                config: ReceiverConfig::new(control, *receiver_addr(index).ip()),
            }
        };
        let receivers = (0..receivers).map(setup).collect();
        Self {
            seed,
            len,
            sender,
            sender_rate: 1_000_000_000,
            receivers,
            actions: Vec::new(),
        }
    }

    pub(crate) fn links(mut self, link: Link) -> Self {
        for receiver in &mut self.receivers {
            receiver.link = link;
        }
        self
    }

    /// Runs until all goals are met.
    ///
    /// # Panics
    /// If a goal can not be met, or a byte differs. The seed is printed.
    #[track_caller]
    pub(crate) fn run(self) -> Report {
        struct Seed(u64);
        impl Drop for Seed {
            #[expect(
                clippy::print_stderr,
                reason = "the seed goes with the panic's message"
            )]
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!(
                        "failed with seed {}: FOS_SIM_SEED={} repeats it",
                        self.0, self.0
                    );
                }
            }
        }
        let seed = Seed(self.seed);
        Report {
            seed: seed.0,
            ..Network::new(self).run()
        }
    }
}

struct Delivery {
    from: SocketAddrV4,
    bytes: Vec<u8>,
    /// If set, only members of this group get it.
    group: Option<Ipv4Addr>,
    /// `None`: the sender.
    to: Option<usize>,
}

struct Network {
    start: Instant,
    now: Instant,
    rng: Rng,
    sender: SenderNode,
    /// Of a transfer with a return channel.
    observer: Option<Observer>,
    receivers: Vec<ReceiverNode>,
    links: Vec<Link>,
    /// When the queue before each receiver is empty.
    link_free: Vec<Instant>,
    on_the_way: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,
    actions: VecDeque<(Instant, Action)>,
}

impl Network {
    fn new(mut scenario: Scenario) -> Self {
        let start = epoch();
        scenario.actions.sort_by_key(|(at, _)| *at);
        let is_late = |index: usize| {
            scenario
                .actions
                .iter()
                .any(|(_, a)| matches!(a, Action::SwitchOn(i) if *i == index))
        };
        let receivers: Vec<ReceiverNode> = scenario
            .receivers
            .iter()
            .enumerate()
            .map(|(index, setup)| ReceiverNode::new(start, setup, scenario.len, is_late(index)))
            .collect();
        Self {
            start,
            now: start,
            rng: Rng(scenario.seed),
            observer: (!scenario.sender.asynchronous)
                .then(|| Observer::new(scenario.sender.block_size)),
            sender: SenderNode::new(start, scenario.sender, scenario.len, scenario.sender_rate),
            links: scenario.receivers.iter().map(|setup| setup.link).collect(),
            link_free: vec![start; receivers.len()],
            receivers,
            on_the_way: BTreeMap::new(),
            sequence: 0,
            actions: scenario
                .actions
                .into_iter()
                .map(|(at, a)| (start + at, a))
                .collect(),
        }
    }

    #[track_caller]
    fn run(mut self) -> Report {
        loop {
            self.poll_all();
            if self.sender.is_done() && self.receivers.iter().all(ReceiverNode::is_done) {
                return self.report();
            }
            let next = self.next_wakeup().unwrap_or_else(|| {
                panic!("nothing can happen any more, but: {}", self.goals_left())
            });
            assert!(
                next < self.start + LONGEST_RUN,
                "still not done after {LONGEST_RUN:?}: {}",
                self.goals_left()
            );
            self.now = self.now.max(next);
            self.act();
            self.deliver();
            self.sender.serve(self.now);
            for receiver in &mut self.receivers {
                receiver.serve(self.now);
            }
        }
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let way = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
        let action = self.actions.front().map(|(at, _)| *at);
        let receivers = self
            .receivers
            .iter()
            .filter_map(|receiver| receiver.next_wakeup(self.now));
        way.into_iter()
            .chain(action)
            .chain(self.sender.next_wakeup(self.now))
            .chain(receivers)
            .min()
    }

    fn act(&mut self) {
        while self.actions.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, action)) = self.actions.pop_front() else {
                return;
            };
            match action {
                Action::Kill(index) => self.receivers[index].kill(),
                Action::SwitchOn(index) => self.receivers[index].switch_on(self.now),
                Action::Stall(Some(index), time) => self.receivers[index].stall(self.now + time),
                Action::Stall(None, time) => self.sender.stall(self.now + time),
                Action::Heal(index) => self.links[index].longest = usize::MAX,
                Action::Start => self.sender.start(self.now),
                Action::Abort => {
                    if let Some(observer) = &mut self.observer {
                        observer.is_aborted = true;
                    }
                    self.sender.abort(self.now);
                }
                Action::Inject { from, to, bytes } => self.send(from, to, &bytes),
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.on_the_way.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let delivery = entry.remove();
            match delivery.to {
                None => self.sender.take_in(self.now, delivery.from, delivery.bytes),
                Some(index) => {
                    let receiver = &mut self.receivers[index];
                    if delivery
                        .group
                        .is_none_or(|group| receiver.has_joined(group))
                    {
                        receiver.take_in(self.now, delivery.from, delivery.bytes);
                    }
                }
            }
        }
    }

    fn poll_all(&mut self) {
        for index in 0..self.receivers.len() {
            for (to, bytes) in self.receivers[index].poll(self.now) {
                self.send(receiver_addr(index), to, &bytes);
            }
        }
        while let Some((to, bytes)) = self.sender.poll(self.now) {
            if let Some(observer) = &mut self.observer {
                observer.see(to, &bytes);
            }
            self.send(SENDER, to, &bytes);
        }
    }

    /// Puts a datagram on its way to everybody it is for.
    fn send(&mut self, from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) {
        let is_to_all = *to.ip() == BROADCAST;
        if to.port() == SENDER.port() && (is_to_all || to == SENDER) {
            // The way toward the sender has the link of where it comes from.
            let index = (0..self.links.len()).find(|index| receiver_addr(*index) == from);
            let link = index.map_or_else(Link::default, |index| self.links[index]);
            self.transfer(link, None, from, to, bytes);
        }
        if to.port() == PORT {
            for index in 0..self.receivers.len() {
                if is_to_all || to.ip().is_multicast() || receiver_addr(index) == to {
                    self.transfer(self.links[index], Some(index), from, to, bytes);
                }
            }
        }
    }

    fn transfer(
        &mut self,
        link: Link,
        node: Option<usize>,
        from: SocketAddrV4,
        to: SocketAddrV4,
        bytes: &[u8],
    ) {
        let copies = 1 + u32::from(self.rng.chance(link.duplicate_per_mille));
        for _ in 0..copies {
            let is_too_long = node.is_some() && bytes.len() > link.longest;
            if self.rng.chance(link.loss_per_mille) || is_too_long {
                continue;
            }
            let mut at = self.now;
            if let (Some((rate, queue)), Some(index)) = (link.rate, node) {
                let free = self.link_free[index].max(self.now);
                let backlog = (free - self.now).as_nanos() * u128::from(rate) / 8_000_000_000;
                if backlog + bytes.len() as u128 > u128::from(queue) {
                    continue;
                }
                at = free + Duration::from_nanos(bytes.len() as u64 * 8_000_000_000 / rate);
                self.link_free[index] = at;
            }
            let jitter = self
                .rng
                .below(u64::try_from(link.jitter.as_nanos()).unwrap() + 1);
            at += link.delay + Duration::from_nanos(jitter);
            self.sequence += 1;
            let group = Some(*to.ip()).filter(Ipv4Addr::is_multicast);
            let mut bytes = bytes.to_vec();
            if self.rng.chance(link.damage_per_mille) {
                self.damage(&mut bytes);
            }
            let delivery = Delivery {
                from,
                bytes,
                group,
                to: node,
            };
            self.on_the_way.insert((at, self.sequence), delivery);
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        if self.rng.chance(500) {
            let len = self.rng.below(bytes.len() as u64);
            bytes.truncate(usize::try_from(len).unwrap());
        } else if let Some(opcode) = bytes.first_chunk_mut() {
            *opcode = self.rng.pick(&[5_u16, 12, 0x0400, 0xffff]).to_be_bytes();
        }
    }

    fn goals_left(&self) -> String {
        let mut left = Vec::new();
        if !self.sender.is_done() {
            left.push(format!(
                "the sender is not done ({:?})",
                self.sender.statistics()
            ));
        }
        for (index, receiver) in self.receivers.iter().enumerate() {
            if !receiver.is_done() {
                left.push(format!("receiver {index}: {}", receiver.describe()));
            }
        }
        left.join("; ")
    }

    fn report(self) -> Report {
        Report {
            seed: 0,
            elapsed: self.now - self.start,
            finished: self.sender.finished().map(|at| at - self.start),
            sender: self.sender.statistics(),
            outcomes: self.sender.outcomes(),
            gave_up: self.sender.gave_up(),
            receivers: self.receivers.iter().map(ReceiverNode::report).collect(),
        }
    }
}
