//! Random machines against the state machine, with a server that is killed now and then: whatever
//! they do, it ends, and no host is complete that is not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::Stored;
use super::*;

/// What may happen.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A machine starts; whatever was at its address is off.
    Boot(usize),
    CheckIn(usize),
    /// The same, unless it was told to go already.
    Come(usize),
    Join(usize),
    /// All who may join do so.
    JoinAll,
    JoinStranger(u8),
    Leave(usize),
    Drop(usize),
    Fail(usize),
    Warn(usize),
    Blame(usize),
    Complete(usize),
    CompleteAll,
    Contact(usize),
    CancelHost(i64),
    EndStream,
    FailSender,
    /// So many ticks.
    Wait(u16),
    /// The server is killed and started again, with all facts stored or without the last ones.
    Restart {
        is_all_stored: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let machine = || prop_oneof![4 => 0..3_usize, 1 => 3..MACHINES];
    prop_oneof![
        4 => machine().prop_map(Step::Boot),
        16 => machine().prop_map(Step::CheckIn),
        8 => machine().prop_map(Step::Join),
        8 => Just(Step::JoinAll),
        3 => (200_u8..203).prop_map(Step::JoinStranger),
        3 => machine().prop_map(Step::Leave),
        3 => machine().prop_map(Step::Drop),
        3 => machine().prop_map(Step::Fail),
        3 => machine().prop_map(Step::Warn),
        3 => machine().prop_map(Step::Blame),
        6 => machine().prop_map(Step::Complete),
        4 => Just(Step::CompleteAll),
        8 => machine().prop_map(Step::Contact),
        3 => (1..=HOSTS).prop_map(Step::CancelHost),
        16 => Just(Step::EndStream),
        1 => Just(Step::FailSender),
        8 => (0_u16..100).prop_map(Step::Wait),
        16 => any::<bool>().prop_map(|is_all_stored| Step::Restart { is_all_stored }),
    ]
}

/// Steps that lead to a good end, with a few others between them.
fn course() -> impl Strategy<Value = Vec<Step>> {
    let good = || {
        let check_ins = (0..3).map(Step::Come);
        let streams = STREAMS
            .iter()
            .flat_map(|_| [Step::JoinAll, Step::EndStream]);
        check_ins.chain(streams).chain([Step::CompleteAll])
    };
    let others = proptest::collection::vec(step(), 1..3);
    let others = prop_oneof![2 => Just(Vec::new()), 1 => others];
    let count = 2 * good().count();
    proptest::collection::vec(others, count).prop_map(move |others| {
        let good = good().chain(good()).zip(others);
        good.flat_map(|(step, others)| others.into_iter().chain([step]))
            .collect()
    })
}

const HOSTS: i64 = 3;
const STREAMS: [&str; 3] = ["d1p1.img", "d1p2.img", "d1p3.img"];

/// Each host's own machine, another one with its MAC address, and one of host 2 at the address of
/// host 1.
const MACHINES: usize = 7;

fn peer(machine: usize) -> (i64, Peer) {
    let host = |index: usize| i64::try_from(index).unwrap() + 1;
    match machine {
        0..3 => (host(machine), own(host(machine))),
        3..6 => (host(machine - 3), twin(host(machine - 3))),
        _ => {
            let guest = Peer {
                address: ip(1),
                ..own(77)
            };
            (2, guest)
        }
    }
}

#[derive(Debug)]
struct Machine {
    host: i64,
    peer: Peer,
    agent: &'static str,
    is_on: bool,
    boot: u32,
    /// The boot in which it was told to go.
    accepted_in: Option<u32>,
    /// Streams that it received since then, in this order.
    received: Vec<usize>,
}

impl Machine {
    fn is_going(&self) -> bool {
        self.is_on && self.accepted_in == Some(self.boot)
    }
}

/// Machines, a sender and a store as the real ones behave.
struct World {
    bench: Bench,
    stored: Stored,
    /// Facts that are not stored yet.
    unsaved: Vec<Fact>,
    machines: Vec<Machine>,
    /// Participants of the open stream, each with the boot in which it joined; `None` if no sender
    /// runs.
    open: Option<BTreeMap<Ipv4Addr, (usize, u32)>>,
    stream: usize,
    is_sending: bool,
    admitted: Vec<Ipv4Addr>,
    has_begun: bool,
    blocks: u64,
}

impl World {
    fn new(agents: [bool; MACHINES]) -> Self {
        let bench = bench(HOSTS, &STREAMS);
        let machine = |(index, is_agent): (usize, bool)| {
            let (host, peer) = peer(index);
            Machine {
                host,
                peer,
                agent: if is_agent { AGENT } else { STOCK },
                is_on: index < 3,
                boot: 0,
                accepted_in: None,
                received: Vec::new(),
            }
        };
        Self {
            stored: Stored::new(&bench.core.plan),
            bench,
            unsaved: Vec::new(),
            machines: agents.into_iter().enumerate().map(machine).collect(),
            open: None,
            stream: 0,
            is_sending: false,
            admitted: Vec::new(),
            has_begun: false,
            blocks: 0,
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.bench.now;
        match step {
            Step::Boot(index) => self.boot(index),
            Step::CheckIn(index) => self.check_in(index),
            Step::Come(index) => {
                if !self.machines[index].is_going() {
                    self.check_in(index);
                }
            }
            Step::Join(index) => self.join(index),
            Step::JoinAll => {
                for index in 0..MACHINES {
                    self.join(index);
                    self.carry_out();
                }
            }
            Step::JoinStranger(last) => {
                // It was let in before the sender was told otherwise.
                if self.open.is_some() {
                    let address = Ipv4Addr::new(10, 0, 1, last);
                    self.bench.core.joined(now, address);
                }
            }
            Step::Leave(index) => self.depart(index, Departure::Left),
            Step::Drop(index) => {
                self.depart(index, Departure::Dropped(seconds(16), SILENT));
            }
            Step::Fail(index) => {
                self.report(index, |core, host, peer| {
                    core.client_failed(now, host, peer, "trouble").is_ok()
                });
            }
            Step::Warn(index) => {
                self.report(index, |core, host, peer| {
                    core.client_warned(now, host, peer, "trouble").is_ok()
                });
            }
            Step::Blame(index) => {
                let is_heard = self.report(index, |core, host, peer| {
                    core.client_blamed(now, host, peer).is_ok()
                });
                if is_heard {
                    self.boot(index);
                }
            }
            Step::Complete(index) => self.complete(index),
            Step::CompleteAll => {
                for index in 0..MACHINES {
                    let machine = &self.machines[index];
                    if machine.received.len() == STREAMS.len() {
                        self.complete(index);
                    }
                }
            }
            Step::Contact(index) => {
                let machine = &self.machines[index];
                let host = HostId(machine.host);
                if machine.is_on && self.bench.core.recognise(host, &machine.peer).is_ok() {
                    self.bench.core.contact(now, host);
                }
            }
            Step::CancelHost(host) => {
                self.bench.core.host_cancelled(now, HostId(host));
                self.carry_out();
                self.flush();
            }
            Step::EndStream => self.end_stream(),
            Step::FailSender => {
                if self.open.take().is_some() {
                    self.bench.core.sender_failed(now, "trouble");
                }
            }
            Step::Wait(time) => {
                self.flush();
                for _ in 0..time {
                    self.blocks += 1;
                    let sent = self.blocks;
                    let movement = Movement {
                        sent,
                        ..Movement::default()
                    };
                    self.bench.core.moved(self.bench.now, movement);
                    self.tick();
                }
            }
            Step::Restart { is_all_stored } => {
                if is_all_stored {
                    self.flush();
                }
                self.restart();
            }
        }
        self.carry_out();
    }

    fn boot(&mut self, index: usize) {
        let address = self.machines[index].peer.address;
        for machine in &mut self.machines {
            if machine.peer.address == address {
                machine.is_on = false;
            }
        }
        self.machines[index].is_on = true;
        self.machines[index].boot += 1;
    }

    fn check_in(&mut self, index: usize) {
        if !self.machines[index].is_on {
            return;
        }
        let machine = &self.machines[index];
        let (host, peer) = (HostId(machine.host), machine.peer);
        let agent = machine.agent;
        let answer = self.bench.core.check_in(self.bench.now, host, &peer, agent);
        self.carry_out();
        if answer.is_ok() {
            self.flush();
            self.has_begun = true;
            let machine = &mut self.machines[index];
            if !machine.is_going() {
                machine.accepted_in = Some(machine.boot);
                machine.received.clear();
            }
        }
    }

    fn join(&mut self, index: usize) {
        let machine = &self.machines[index];
        let (address, boot) = (machine.peer.address, machine.boot);
        let is_let_in = machine.is_going() && self.admitted.contains(&address);
        if let Some(open) = self.open.as_mut().filter(|_| !self.is_sending && is_let_in)
            && !open.contains_key(&address)
        {
            open.insert(address, (index, boot));
            self.bench.core.joined(self.bench.now, address);
        }
    }

    fn depart(&mut self, index: usize, departure: Departure) {
        let address = self.machines[index].peer.address;
        let was_there = self
            .open
            .as_mut()
            .is_some_and(|open| open.remove(&address).is_some());
        if was_there {
            self.bench.core.departed(self.bench.now, address, departure);
        }
    }

    fn report(
        &mut self,
        index: usize,
        report: impl FnOnce(&mut Core, HostId, &Peer) -> bool,
    ) -> bool {
        let machine = &self.machines[index];
        if !machine.is_on {
            return false;
        }
        let (host, peer) = (HostId(machine.host), machine.peer);
        let is_heard = report(&mut self.bench.core, host, &peer);
        self.carry_out();
        if is_heard {
            self.flush();
        }
        is_heard
    }

    fn complete(&mut self, index: usize) {
        let now = self.bench.now;
        let is_accepted = self.report(index, |core, host, peer| {
            core.complete(now, host, peer) == Completion::Accepted
        });
        if !is_accepted {
            return;
        }
        let machine = &self.machines[index];
        let received: BTreeSet<_> = machine.received.iter().collect();
        assert_eq!(received.len(), STREAMS.len(), "{machine:?}");
        let member = self.stored.member(machine.host);
        assert_eq!(member.state, State::Complete);
        assert_eq!(member.address, Some(machine.peer.address));
        assert_eq!(member.ticket, machine.peer.ticket);
    }

    /// All who are left acknowledge the stream.
    fn end_stream(&mut self) {
        if !self.is_sending {
            return;
        }
        self.is_sending = false;
        let mut participants = Vec::new();
        for (address, (index, boot)) in self.open.take().unwrap_or_default() {
            let machine = &mut self.machines[index];
            let is_there = machine.is_on && machine.boot == boot;
            if is_there {
                let is_next = self.stream == machine.received.len();
                assert!(is_next || machine.agent == AGENT, "{machine:?}");
                machine.received.push(self.stream);
            }
            let outcome = if is_there { Completed } else { Dropped };
            participants.push((address, outcome));
        }
        self.bench.core.stream_ended(self.bench.now, &participants);
    }

    fn carry_out(&mut self) {
        let mut is_told = false;
        while let Some(action) = self.bench.core.poll_action() {
            match action {
                Action::OpenStream(stream) => {
                    self.open = Some(BTreeMap::new());
                    self.stream = stream;
                    self.is_sending = false;
                }
                Action::Admit(addresses) => {
                    self.admitted = addresses;
                    is_told = true;
                }
                Action::StartTransfer { .. } => self.start(),
                Action::Remove(address) => {
                    if let Some(open) = &mut self.open {
                        open.remove(&address);
                    }
                }
                Action::StopSender(_) => {
                    assert!(self.open.take().is_some(), "it is stopped once");
                    self.is_sending = false;
                }
                Action::Store(fact) => self.unsaved.push(fact),
            }
        }
        if is_told && let Phase::Gathering { stream } = self.bench.core.phase {
            self.check_admitted(stream);
        }
    }

    /// Only hosts that lack the stream are let in, each at its present address.
    fn check_admitted(&self, stream: usize) {
        let seats = &self.bench.core.seats;
        for address in &self.admitted {
            let here = seats.values().filter(|seat| seat.address == Some(*address));
            let live: Vec<_> = here.filter(|seat| seat.is_live()).collect();
            assert_eq!(live.len(), 1, "{address}");
            assert!(live[0].lacks(stream), "{:?}", live[0]);
        }
    }

    fn start(&mut self) {
        self.flush();
        let Some(open) = &self.open else {
            return;
        };
        if open.is_empty() {
            // The sender gives up at once.
            self.open = None;
            self.bench.core.stream_ended(self.bench.now, &[]);
        } else {
            self.is_sending = true;
            self.bench.core.transfer_started(self.bench.now);
        }
    }

    /// Stores what is decided.
    fn flush(&mut self) {
        for fact in std::mem::take(&mut self.unsaved) {
            self.stored.apply(&fact);
        }
    }

    fn restart(&mut self) {
        self.unsaved.clear();
        self.open = None;
        self.is_sending = false;
        self.admitted.clear();
        let before = self.bench.core.snapshot(self.bench.now);
        self.bench = self.stored.resume(self.bench.now + seconds(30));
        let after = self.bench.core.snapshot(self.bench.now);
        if self.stored.session.runs > 0 {
            // What an agent may have begun to receive is over.
            assert!(
                after.run > before.run
                    || before.phase
                        != Phase::Sending {
                            stream: before.stream
                        }
            );
        }
        self.carry_out();
    }

    /// Nothing happens any more: the sender drops its receivers, time passes.
    fn fall_silent(&mut self) {
        for _ in 0..10_000 {
            if self.bench.core.is_ended() {
                break;
            }
            if self.is_sending {
                let open = self.open.clone().unwrap_or_default();
                for address in open.keys() {
                    let departure = Departure::Dropped(seconds(90), SILENT);
                    let Bench { core, now } = &mut self.bench;
                    core.departed(*now, *address, departure);
                }
                self.carry_out();
                if self.open.take().is_some() {
                    self.is_sending = false;
                    let dropped: Vec<_> = open.into_keys().map(|at| (at, Dropped)).collect();
                    self.bench.core.stream_ended(self.bench.now, &dropped);
                }
            }
            self.carry_out();
            self.tick();
        }
        self.flush();
    }

    fn tick(&mut self) {
        self.bench.now += seconds(5);
        self.bench.core.tick(self.bench.now);
        self.carry_out();
    }

    fn check_end(&self) {
        let session = &self.stored.session;
        if session.state.is_active() {
            assert!(!self.has_begun, "it waits for ever");
            return;
        }
        let Phase::Ended { state, reason } = &self.bench.core.phase else {
            panic!("stored as ended only");
        };
        assert_eq!(
            (&session.state, session.reason.as_ref()),
            (state, Some(reason))
        );
        assert_eq!(self.open, None, "the sender has ended");
        for member in &session.members {
            assert!(!member.state.is_active() && member.reason.is_some());
        }
        if session.state == State::Complete {
            let mut members = session.members.iter();
            let is_good = |state| matches!(state, State::Complete | State::Cancelled);
            assert!(members.all(|member| is_good(member.state)));
        }
    }
}

proptest! {
    #[test]
    fn every_session_ends_and_only_true_reports_count(
        agents in proptest::array::uniform7(proptest::bool::weighted(0.9)),
        steps in prop_oneof![
            1 => proptest::collection::vec(step(), 0..100),
            3 => course(),
        ]
    ) {
        let mut world = World::new(agents);
        for step in steps {
            world.step(step);
        }
        world.fall_silent();
        world.check_end();
    }
}
