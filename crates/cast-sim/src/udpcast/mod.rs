//! A network of one sender and some receivers in virtual time.
//!
//! Time jumps to the next thing that happens. Every node has a goal, and a run ends when all are
//! met; when nothing can happen any more and a goal is left, or after a day, the run has failed. All
//! chance comes from one seed, which is printed with a failure and can be given in `FOS_SIM_SEED`.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

pub mod any;
mod node;
mod observer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cast_proto::udpcast::receiver::{ReceiverConfig, ReceiverStatistics};
use cast_proto::udpcast::sender::{
    DataRouting, GiveUpReason, Outcome, SenderConfig, SenderStatistics, StartRule,
};

use crate::{Delivery, Link, Rng, Wire, epoch};
pub use node::{Confirm, Goal, Reader};
use node::{ReceiverNode, SenderNode};
use observer::Observer;

pub const PORT: u16 = 9000;
pub const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), PORT + 1);
pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);
pub const GROUP: Ipv4Addr = Ipv4Addr::new(233, 254, 0, 1);

/// What a damaged datagram may claim to be: DATA, an opcode of old versions, and what is unknown.
const OPCODES: [u16; 4] = [5, 12, 0x0400, 0xffff];

const LONGEST_RUN: Duration = Duration::from_secs(24 * 3600);

/// Address of receiver `index`.
pub fn receiver_addr(index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, u8::try_from(index).unwrap()), PORT)
}

/// Something that happens from outside.
pub enum Action {
    /// The receiver is switched off without a word.
    Kill(usize),
    /// The receiver's program ends without a word; its host says so to whoever asks.
    End(usize),
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
    /// The sender is interrupted.
    Interrupt,
    /// A datagram out of nowhere.
    Inject {
        from: SocketAddrV4,
        to: SocketAddrV4,
        bytes: Vec<u8>,
    },
}

/// A network to be set up.
pub struct Scenario {
    pub seed: u64,
    pub len: usize,
    pub sender: SenderConfig,
    /// Bit/s at which the sender's interface sends.
    pub sender_rate: u64,
    pub receivers: Vec<ReceiverSetup>,
    pub actions: Vec<(Duration, Action)>,
}

pub struct ReceiverSetup {
    pub link: Link,
    pub reader: Reader,
    /// Of a receiver that is [confirmed by its reader](ReceiverConfig::is_confirmed_by_reader).
    pub confirm: Confirm,
    pub goal: Goal,
    pub config: ReceiverConfig,
}

/// What a run came to.
pub struct Report {
    pub seed: u64,
    pub elapsed: Duration,
    /// Until the sender was done, if it was.
    pub finished: Option<Duration>,
    pub sender: SenderStatistics,
    pub outcomes: BTreeMap<Ipv4Addr, Outcome>,
    pub gave_up: Option<GiveUpReason>,
    pub receivers: Vec<ReceiverReport>,
}

pub struct ReceiverReport {
    pub statistics: ReceiverStatistics,
    pub failure: Option<String>,
    /// It came to the end of a stream of so many bytes.
    pub complete: Option<u64>,
    /// Its reader said that all is safe.
    pub is_confirmed: bool,
    /// Most blocks that ever waited to be taken.
    pub most_waiting: u32,
}

impl Scenario {
    /// `receivers` perfect links; starts when all are there.
    pub fn new(seed: u64, len: usize, receivers: usize) -> Self {
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
                confirm: Confirm::AtOnce,
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

    pub fn links(mut self, link: Link) -> Self {
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
    pub fn run(self) -> Report {
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

struct Network {
    start: Instant,
    now: Instant,
    /// A host is a receiver, by its number, or (`None`) the sender.
    wire: Wire<Option<usize>>,
    sender: SenderNode,
    /// Of a transfer with a return channel.
    observer: Option<Observer>,
    receivers: Vec<ReceiverNode>,
    links: Vec<Link>,
    actions: VecDeque<(Instant, Action)>,
    /// Receivers whose program has ended on a host that runs.
    ended: BTreeSet<Ipv4Addr>,
    /// What their hosts have answered.
    answers: VecDeque<(Instant, Ipv4Addr)>,
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
            wire: Wire::new(Rng(scenario.seed), &OPCODES),
            observer: (!scenario.sender.asynchronous)
                .then(|| Observer::new(scenario.sender.block_size)),
            sender: SenderNode::new(start, scenario.sender, scenario.len, scenario.sender_rate),
            links: scenario.receivers.iter().map(|setup| setup.link).collect(),
            receivers,
            actions: scenario
                .actions
                .into_iter()
                .map(|(at, a)| (start + at, a))
                .collect(),
            ended: BTreeSet::new(),
            answers: VecDeque::new(),
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
        let way = self.wire.next_arrival();
        let action = self.actions.front().map(|(at, _)| *at);
        let receivers = self
            .receivers
            .iter()
            .filter_map(|receiver| receiver.next_wakeup(self.now));
        let answer = self.answers.iter().map(|(at, _)| *at).min();
        way.into_iter()
            .chain(action)
            .chain(answer)
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
                Action::End(index) => {
                    self.ended.insert(*receiver_addr(index).ip());
                    self.receivers[index].kill();
                }
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
                Action::Interrupt => {
                    if let Some(observer) = &mut self.observer {
                        observer.is_aborted = true;
                    }
                    self.sender.interrupt(self.now);
                }
                Action::Inject { from, to, bytes } => self.send(from, to, &bytes),
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        self.answers.retain(|(at, addr)| {
            if *at <= now {
                self.sender.handle_closed_port(now, *addr);
            }
            *at > now
        });
        while let Some(Delivery {
            from,
            to,
            node,
            bytes,
        }) = self.wire.arrive(self.now)
        {
            let Some(index) = node else {
                self.sender.take_in(self.now, from, bytes);
                continue;
            };
            let receiver = &mut self.receivers[index];
            if !to.ip().is_multicast() || receiver.has_joined(*to.ip()) {
                receiver.take_in(self.now, from, bytes);
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
        for addr in self.sender.take_probes() {
            if self.ended.contains(&addr) {
                let index = (0..self.links.len()).find(|it| *receiver_addr(*it).ip() == addr);
                let link = index.map_or_else(Link::default, |index| self.links[index]);
                self.answers.push_back((self.now + 2 * link.delay, addr));
            }
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
        let delivery = Delivery {
            from,
            to,
            node,
            bytes: bytes.to_vec(),
        };
        self.wire.send(self.now, link, node.is_some(), &delivery);
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

    #[track_caller]
    fn report(self) -> Report {
        let outcomes = self.sender.outcomes();
        for (index, receiver) in self.receivers.iter().enumerate() {
            let outcome = outcomes.get(receiver_addr(index).ip());
            // Without a return channel there are no outcomes.
            assert!(
                outcome != Some(&Outcome::Completed) || receiver.may_count_as_complete(),
                "receiver {index} counts as completed: {}",
                receiver.describe()
            );
        }
        Report {
            seed: 0,
            elapsed: self.now - self.start,
            finished: self.sender.finished().map(|at| at - self.start),
            sender: self.sender.statistics(),
            outcomes,
            gave_up: self.sender.gave_up(),
            receivers: self.receivers.iter().map(ReceiverNode::report).collect(),
        }
    }
}
