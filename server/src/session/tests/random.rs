//! Random clients against the state machine: whatever they do, it ends, and nobody is complete who
//! is not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What a client may do.
#[derive(Debug, Clone, Copy)]
enum Step {
    CheckIn(i64),
    Join(i64),
    JoinStranger(u8),
    Leave(i64),
    Fail(i64),
    Blame(i64),
    Complete(i64),
    Contact(i64),
    CancelHost(i64),
    EndStream,
    FailSender,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let host = 1..=HOSTS;
    prop_oneof![
        6 => host.clone().prop_map(Step::CheckIn),
        6 => host.clone().prop_map(Step::Join),
        1 => (100_u8..103).prop_map(Step::JoinStranger),
        1 => host.clone().prop_map(Step::Leave),
        1 => host.clone().prop_map(Step::Fail),
        1 => host.clone().prop_map(Step::Blame),
        3 => host.clone().prop_map(Step::Complete),
        3 => host.clone().prop_map(Step::Contact),
        1 => host.prop_map(Step::CancelHost),
        6 => Just(Step::EndStream),
        1 => Just(Step::FailSender),
        3 => (0_u16..400).prop_map(Step::Wait),
    ]
}

const HOSTS: i64 = 3;
const STREAMS: [&str; 3] = ["d1p1.img", "d1p2.img", "d1p3.img"];

/// A sender as the real one behaves, and what was seen.
struct World {
    bench: Bench,
    /// Participants of the open stream; `None` if no sender runs.
    open: Option<BTreeSet<Ipv4Addr>>,
    is_sending: bool,
    acked: BTreeMap<Ipv4Addr, usize>,
    has_begun: bool,
    blocks: u64,
    admitted: Vec<Ipv4Addr>,
    reported: BTreeSet<i64>,
    ended: BTreeMap<i64, State>,
    overdue: BTreeSet<i64>,
    end: Option<State>,
}

impl World {
    fn step(&mut self, step: Step) {
        let Bench { core, now } = &mut self.bench;
        let now = *now;
        match step {
            Step::CheckIn(host) => {
                if self.bench.check_in(host) == CheckIn::Accepted {
                    self.has_begun = true;
                }
            }
            Step::Join(host) => {
                if self.admitted.contains(&ip(host)) {
                    self.join(ip(host));
                }
            }
            Step::JoinStranger(last) => {
                // It was let in before the sender was told otherwise.
                self.join(Ipv4Addr::new(10, 0, 1, last));
            }
            Step::Leave(host) => {
                if self
                    .open
                    .as_mut()
                    .is_some_and(|open| open.remove(&ip(host)))
                {
                    core.departed(now, ip(host), None);
                }
            }
            Step::Fail(host) => core.client_failed(now, HostId(host), "trouble"),
            Step::Blame(host) => core.client_blamed(now, HostId(host)),
            Step::Complete(host) => {
                if core.complete(now, HostId(host)) == Completion::Accepted {
                    self.reported.insert(host);
                }
            }
            Step::Contact(host) => core.contact(now, HostId(host)),
            Step::CancelHost(host) => core.host_cancelled(now, HostId(host)),
            Step::EndStream => self.end_stream(),
            Step::FailSender => {
                if self.open.take().is_some() {
                    core.sender_failed(now, "trouble");
                }
            }
            Step::Wait(seconds) => {
                self.blocks += 1;
                let sent = self.blocks;
                let movement = Movement {
                    sent,
                    ..Movement::default()
                };
                core.moved(now, movement);
                self.bench.wait(u64::from(seconds), &[]);
            }
        }
        self.carry_out();
    }

    fn join(&mut self, address: Ipv4Addr) {
        if let Some(open) = self.open.as_mut().filter(|_| !self.is_sending)
            && open.insert(address)
        {
            self.bench.core.joined(self.bench.now, address);
        }
    }

    /// All who are left acknowledge the stream.
    fn end_stream(&mut self) {
        if !self.is_sending {
            return;
        }
        self.is_sending = false;
        let open = self.open.take().unwrap_or_default();
        for address in &open {
            *self.acked.entry(*address).or_default() += 1;
        }
        let participants: Vec<_> = open
            .into_iter()
            .map(|address| (address, Completed))
            .collect();
        self.bench.core.stream_ended(self.bench.now, &participants);
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.bench.core.poll_action() {
            match action {
                Action::OpenStream(_) => {
                    assert!(self.end.is_none(), "nothing is opened after the end");
                    self.open = Some(BTreeSet::new());
                    self.is_sending = false;
                }
                Action::Admit(addresses) => self.admitted = addresses,
                Action::StartTransfer => self.start(),
                Action::Remove(address) => {
                    if let Some(open) = &mut self.open {
                        open.remove(&address);
                    }
                }
                Action::StopSender => self.open = None,
                Action::HostEnded { host, state, text } => {
                    let before = self.ended.insert(host.0, state);
                    let is_late = self.overdue.remove(&host.0) && state == State::Complete;
                    if text.starts_with(crate::session::core::OVERDUE) {
                        self.overdue.insert(host.0);
                    }
                    assert!(
                        before.is_none_or(|before| before == state || is_late),
                        "a result stays"
                    );
                }
                Action::End { state, .. } => {
                    assert!(self.end.replace(state).is_none(), "it ends once");
                    assert_eq!(self.ended.len(), 3, "every host has a result by then");
                }
                Action::CheckedIn { .. }
                | Action::Started
                | Action::StreamsDone { .. }
                | Action::Note(_) => {}
            }
        }
    }

    fn start(&mut self) {
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

    /// Nobody does anything any more: the sender drops its receivers, time passes.
    fn fall_silent(&mut self) {
        for _ in 0..10_000 {
            if self.bench.core.is_ended() {
                return;
            }
            if self.is_sending {
                let open = self.open.take().unwrap_or_default();
                self.is_sending = false;
                let silent = Duration::from_secs(90);
                for address in &open {
                    self.bench
                        .core
                        .departed(self.bench.now, *address, Some(silent));
                }
                let dropped: Vec<_> = open.into_iter().map(|a| (a, Dropped)).collect();
                self.bench.core.stream_ended(self.bench.now, &dropped);
            }
            self.carry_out();
            self.bench.wait(1, &[]);
            self.carry_out();
        }
    }
}

proptest! {
    #[test]
    fn every_session_ends_and_only_true_reports_count(
        steps in proptest::collection::vec(step(), 0..80)
    ) {
        let mut world = World {
            bench: bench(HOSTS, &STREAMS),
            open: None,
            is_sending: false,
            acked: BTreeMap::new(),
            has_begun: false,
            blocks: 0,
            admitted: Vec::new(),
            reported: BTreeSet::new(),
            ended: BTreeMap::new(),
            overdue: BTreeSet::new(),
            end: None,
        };
        for step in steps {
            world.step(step);
        }
        world.fall_silent();
        prop_assert!(world.end.is_some() || !world.has_begun, "it waits for ever");
        for (host, state) in &world.ended {
            let is_complete = *state == State::Complete;
            prop_assert_eq!(is_complete, world.reported.contains(host));
            if is_complete {
                prop_assert_eq!(world.acked.get(&ip(*host)), Some(&STREAMS.len()));
            }
        }
        if world.end == Some(State::Complete) {
            prop_assert!(world.ended.values().all(|s| matches!(s, State::Complete | State::Cancelled)));
        }
    }
}
