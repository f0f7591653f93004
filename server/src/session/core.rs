//! A multicast session as a pure state machine.
//!
//! Inputs are check-ins, reports of clients, events of the sender and the time; outputs are
//! [`Action`]s, to be carried out in order. Opens no socket, reads no clock, knows no database.
//!
//! The rules: the first stream starts when every expected host is connected, or when the wait
//! that began with the first check-in is over; further streams wait for the receivers that are
//! known to be alive, not for a fixed time; nothing waits for ever; one host's trouble never
//! ends the others; only a client's own report makes its task complete; only hosts that checked
//! in are let in, each at the address that it checked in from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::native::Stage;
use fog::store::StreamName;
use fog::task::State;

use super::host::{Ending, Host, HostStatus};
use crate::store::HostId;

/// What a session has to do, fixed when it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The streams in sending order.
    pub streams: Vec<StreamName>,
    /// Expected hosts with their names.
    pub hosts: Vec<(HostId, String)>,
    /// From the first check-in until the first stream starts without the missing hosts.
    pub max_wait: Duration,
    /// The same between two streams.
    pub stream_wait: Duration,
    /// From the last sign of a client until it is given up after the last stream.
    pub grace: Duration,
    /// How long a client of ours, which asks for the session every few seconds, may be silent
    /// between two streams before it is given up.
    pub agent_silence: Duration,
    /// How long a stream may stand still until those who hold it up are dropped, or the session
    /// fails if it is not some of its hosts.
    pub stall_limit: Duration,
}

/// Counters of which one grows while a stream goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Movement {
    /// Bytes read from the image.
    pub read: u64,
    /// Blocks sent for the first time.
    pub sent: u64,
    /// Bytes acknowledged by all.
    pub acked: u64,
}

/// How a participant of a stream ended, as the sender saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOutcome {
    /// Acknowledged everything.
    Completed,
    /// Said goodbye before the end.
    Left,
    /// Did not answer any more.
    Dropped,
}

/// What the surroundings must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open the rendezvous of the stream with this index.
    OpenStream(usize),
    /// Let in receivers at these addresses and no others; in force until the next of its kind.
    Admit(Vec<Ipv4Addr>),
    /// Start the transfer with the receivers that are connected.
    StartTransfer,
    /// Drop a participant: its host is out of the session.
    Remove(Ipv4Addr),
    /// End the sender, whatever it does.
    StopSender,
    /// A check-in was accepted for the first time or with a new address.
    CheckedIn {
        /// Host.
        host: HostId,
        /// Hosts that have checked in by now.
        count: u32,
    },
    /// Data has begun to flow for the first time.
    Started,
    /// A host acknowledged this many streams.
    StreamsDone {
        /// Host.
        host: HostId,
        /// Streams.
        count: u32,
    },
    /// A host's part is over.
    HostEnded {
        /// Host.
        host: HostId,
        /// State of its task.
        state: State,
        /// Why.
        text: String,
    },
    /// The session is over. Nothing follows.
    End {
        /// Its state.
        state: State,
        /// Why.
        text: String,
    },
    /// Something worth a line in the log.
    Note(String),
}

/// Answer to a check-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckIn {
    /// Go.
    Accepted,
    /// Not in this session any more: a text for the user.
    Refused(String),
}

/// Answer to a completion report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// The task is complete.
    Accepted,
    /// The sender has not yet seen the end of the last stream: ask again after its end.
    NotYet,
    /// The report contradicts what the sender saw.
    Refused(String),
}

/// What the session does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// The receivers of a stream are awaited.
    Gathering { stream: usize },
    /// The order to start was given; the sender has not confirmed it.
    Starting { stream: usize },
    /// A stream is being sent.
    Sending { stream: usize },
    /// All is sent; reports are awaited.
    Finishing,
    /// Over.
    Ended { state: State, text: String },
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    pub(super) plan: Plan,
    pub(super) hosts: BTreeMap<HostId, Host>,
    pub(super) phase: Phase,
    /// When the present phase began.
    pub(super) since: Instant,
    /// The first check-in: the wait for the first stream counts from here.
    pub(super) first_check_in: Option<Instant>,
    /// When the stream last moved, where it was then, and who has held it up since.
    moved_at: Instant,
    movement: Movement,
    behind: BTreeSet<Ipv4Addr>,
    is_sender_open: bool,
    /// When this process last stood still.
    awake_since: Instant,
    /// Silence counts from here: before, nobody could be heard.
    hearing_since: Instant,
    /// Last sign of any client, and last call of `tick`.
    last_sign: Instant,
    last_tick: Instant,
    actions: VecDeque<Action>,
}

impl Core {
    /// A session that waits for its first check-in.
    #[must_use]
    pub fn new(plan: Plan, now: Instant) -> Self {
        let hosts = plan
            .hosts
            .iter()
            .map(|(id, name)| (*id, Host::new(name.clone(), now)));
        Self {
            hosts: hosts.collect(),
            plan,
            phase: Phase::Gathering { stream: 0 },
            since: now,
            first_check_in: None,
            moved_at: now,
            movement: Movement::default(),
            behind: BTreeSet::new(),
            is_sender_open: false,
            awake_since: now,
            hearing_since: now,
            last_sign: now,
            last_tick: now,
            actions: VecDeque::new(),
        }
    }

    /// A session whose streams are all sent, found again after a restart of the server.
    #[must_use]
    pub fn finishing(plan: Plan, now: Instant) -> Self {
        let mut core = Self::new(plan, now);
        core.phase = Phase::Finishing;
        core
    }

    /// Puts a host back that had checked in before a restart of the server.
    pub fn restore(&mut self, now: Instant, id: HostId, address: Ipv4Addr, is_agent: bool) {
        if self.phase != Phase::Finishing {
            self.check_in(now, id, address, is_agent);
            return;
        }
        let streams = self.plan.streams.len();
        if let Some(host) = self.hosts.get_mut(&id) {
            host.set_status(now, HostStatus::Between);
            host.address = Some(address);
            host.is_agent = is_agent;
            host.has_received = true;
            host.streams_done = streams;
        }
    }

    /// Puts a host back whose part had ended before a restart of the server.
    pub fn restore_ended(&mut self, now: Instant, id: HostId, state: State, text: String) {
        if let Some(host) = self.hosts.get_mut(&id) {
            let ending = Ending {
                state,
                is_wish: text == TASK_CANCELLED,
                text,
            };
            host.set_status(now, HostStatus::Ended(ending));
        }
    }

    /// What to do next; ask until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// The stage for clients and people.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Gathering { .. } | Phase::Starting { .. } => Stage::Gathering,
            Phase::Sending { .. } => Stage::Sending,
            Phase::Finishing => Stage::Finishing,
            Phase::Ended { .. } => Stage::Ended,
        }
    }

    /// Index of the stream that is waited for, being sent or was sent last.
    #[must_use]
    pub fn stream_index(&self) -> usize {
        match self.phase {
            Phase::Gathering { stream }
            | Phase::Starting { stream }
            | Phase::Sending { stream } => stream,
            Phase::Finishing | Phase::Ended { .. } => self.plan.streams.len().saturating_sub(1),
        }
    }

    /// Whether every client that checked in is one of ours, so that streams may carry records.
    #[must_use]
    pub fn are_all_agents(&self) -> bool {
        let mut present = self
            .hosts
            .values()
            .filter(|host| host.is_checked_in())
            .peekable();
        present.peek().is_some() && present.all(|host| host.is_agent)
    }

    /// Whether hosts may still check in.
    #[must_use]
    pub fn awaits_check_ins(&self) -> bool {
        matches!(self.phase, Phase::Gathering { stream: 0 })
    }

    /// Whether data has flowed.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.hosts.values().any(|host| host.has_received)
    }

    /// Whether data has flowed and more is to come.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        match self.phase {
            Phase::Gathering { stream } | Phase::Starting { stream } => stream > 0,
            Phase::Sending { .. } => true,
            Phase::Finishing | Phase::Ended { .. } => false,
        }
    }

    /// Where a host checked in from.
    #[must_use]
    pub fn address_of(&self, id: HostId) -> Option<Ipv4Addr> {
        self.hosts.get(&id)?.address
    }

    /// Addresses of the hosts that are still part of the session.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let live = self.hosts.values().filter(|host| host.is_live());
        live.filter_map(|host| host.address).collect()
    }

    /// A host asks to begin.
    pub fn check_in(
        &mut self,
        now: Instant,
        id: HostId,
        address: Ipv4Addr,
        is_agent: bool,
    ) -> CheckIn {
        self.contact(now, id);
        let Some(host) = self.hosts.get_mut(&id) else {
            return CheckIn::Refused("this host does not belong to the session".into());
        };
        if let HostStatus::Ended(ending) = &host.status {
            return CheckIn::Refused(ending.text.clone());
        }
        if !matches!(self.phase, Phase::Gathering { stream: 0 }) {
            return self.refuse_late(now, id);
        }
        let is_known = host.is_checked_in() && host.address == Some(address);
        if let Some(old) = host.address.filter(|_| host.is_connected()) {
            // It joined and begins anew: a restart. Its place in the rendezvous is void.
            self.actions.push_back(Action::Remove(old));
        }
        host.set_status(now, HostStatus::CheckedIn);
        host.address = Some(address);
        host.is_agent = is_agent;
        if !is_known {
            let count = self.checked_in_count();
            self.actions
                .push_back(Action::CheckedIn { host: id, count });
        }
        self.first_check_in.get_or_insert(now);
        if !self.is_sender_open {
            self.is_sender_open = true;
            self.since = now;
            self.open_stream(0);
        } else if !is_known {
            self.admit();
        }
        CheckIn::Accepted
    }

    /// A check-in after the start: the host rebooted, or was left behind.
    fn refuse_late(&mut self, now: Instant, id: HostId) -> CheckIn {
        let stream = self.stream_name();
        let Some(host) = self.hosts.get(&id) else {
            return CheckIn::Refused(String::new());
        };
        let text = if host.has_received {
            format!(
                "this host restarted during the session (in {stream}), after it had received \
                 data: it cannot join again and its disk is not complete. Deploy it again after \
                 the session"
            )
        } else {
            format!(
                "the session started without this host and now sends {stream}; nothing was \
                 written. Deploy it again"
            )
        };
        self.end_host(now, id, Ending::failed(text.clone()));
        self.settle(now);
        CheckIn::Refused(text)
    }

    /// Any other sign of life of a client.
    pub fn contact(&mut self, now: Instant, id: HostId) {
        if now.duration_since(self.last_sign) > DEAF {
            self.hearing_since = now;
        }
        self.last_sign = now;
        if let Some(host) = self.hosts.get_mut(&id) {
            host.last_contact = Some(now);
        }
    }

    /// A client reports that it failed.
    pub fn client_failed(&mut self, now: Instant, id: HostId, text: &str) {
        self.contact(now, id);
        if let Some(host) = self.hosts.get_mut(&id)
            && let HostStatus::Ended(ending) = &mut host.status
        {
            // The reason comes after the consequence.
            if ending.state == State::Failed && !ending.text.starts_with(REPORTED) {
                ending.text = format!("{REPORTED} {text} ({})", ending.text);
                let (state, text) = (ending.state, ending.text.clone());
                let host = id;
                self.actions
                    .push_back(Action::HostEnded { host, state, text });
            }
            return;
        }
        self.end_host(now, id, Ending::failed(format!("{REPORTED} {text}")));
        self.settle(now);
    }

    /// A client could not use the image share and will restart.
    pub fn client_blamed(&mut self, now: Instant, id: HostId) {
        let is_waiting = matches!(self.phase, Phase::Gathering { stream: 0 });
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_live()) else {
            return;
        };
        host.blames += 1;
        let name = host.name.clone();
        if is_waiting && host.blames < MAX_BLAMES {
            if let Some(address) = host.address.take() {
                self.actions.push_back(Action::Remove(address));
            }
            host.set_status(now, HostStatus::Expected);
            self.note(format!(
                "{name} could not use the image share and starts again"
            ));
            return;
        }
        let text = "the client could not mount the image share or found no .mntcheck in it; \
                    check the NFS export, or boot this project's agent, which needs no share";
        self.end_host(now, id, Ending::failed(text.into()));
        self.settle(now);
    }

    /// A client reports its end.
    pub fn complete(&mut self, now: Instant, id: HostId) -> Completion {
        let total = self.plan.streams.len();
        let is_last = self.stream_index() + 1 == total;
        self.contact(now, id);
        let Some(host) = self.hosts.get_mut(&id) else {
            return Completion::Refused("this host does not belong to the session".into());
        };
        if let HostStatus::Ended(ending) = &host.status {
            return match ending.state {
                State::Complete => Completion::Accepted,
                State::Failed if ending.text.starts_with(OVERDUE) => self.complete_late(now, id),
                _ => Completion::Refused(ending.text.clone()),
            };
        }
        let done = host.streams_done;
        if !host.has_received {
            // Perhaps the report of an earlier session: no reason to end this one.
            let text =
                "the client reports that it is done, but this session has sent nothing to it";
            return Completion::Refused(text.into());
        }
        if done >= total {
            self.end_host(now, id, Ending::complete());
            self.settle(now);
            return Completion::Accepted;
        }
        let is_ending = is_last && done + 1 == total;
        if is_ending && matches!(self.phase, Phase::Sending { .. }) {
            return Completion::NotYet;
        }
        let text = format!(
            "the client reports that it is done, but the sender saw it receive only {done} of \
             {total} streams; its disk is not complete. Deploy it again"
        );
        self.end_host(now, id, Ending::failed(text.clone()));
        self.settle(now);
        Completion::Refused(text)
    }

    /// The report comes after the time of grace; it was only missing, so it still counts.
    fn complete_late(&mut self, now: Instant, id: HostId) -> Completion {
        if self.is_ended() {
            // The result is told already; asked again, the database has it.
            return Completion::NotYet;
        }
        if let Some(host) = self.hosts.get_mut(&id) {
            host.set_status(now, HostStatus::Between);
        }
        self.end_host(now, id, Ending::complete());
        self.settle(now);
        Completion::Accepted
    }

    /// The sender has a new participant.
    pub fn joined(&mut self, now: Instant, address: Ipv4Addr) {
        let Some(host) = self.host_at(address) else {
            // Its session is over whatever it tries, or it asked before its host left.
            self.actions.push_back(Action::Remove(address));
            return;
        };
        host.last_contact = Some(now);
        host.set_status(now, HostStatus::Connected);
        self.settle(now);
    }

    /// A participant said goodbye or was dropped before the end of the stream.
    pub fn departed(&mut self, now: Instant, address: Ipv4Addr, silent: Option<Duration>) {
        let stream = self.stream_name();
        let is_gathering = matches!(self.phase, Phase::Gathering { .. } | Phase::Starting { .. });
        let Some((id, host)) = self.entry_at(address) else {
            return;
        };
        if !host.is_connected() {
            return;
        }
        if is_gathering {
            // Before the data it may come again.
            host.set_status(now, HostStatus::CheckedIn);
            let name = host.name.clone();
            self.note(format!(
                "{name} ({address}) left the rendezvous of {stream}"
            ));
            return;
        }
        match silent {
            Some(silent) => {
                let text = format!(
                    "dropped in {stream} after {} s of silence: the machine was switched off, \
                     lost its network or stopped; its disk is not complete",
                    silent.as_secs()
                );
                self.end_host(now, id, Ending::failed(text));
            }
            None => self.leaves(now, id, &format!("left during {stream}, before its end")),
        }
        self.settle(now);
    }

    /// A receiver was silent for so long while all others wait for it. It is dropped after `limit`,
    /// if another client was heard meanwhile: else the network or the server is to blame.
    pub fn slow(&mut self, now: Instant, address: Ipv4Addr, silent: Duration, limit: Duration) {
        let Some((id, _)) = self.entry_at(address) else {
            return;
        };
        let is_another_heard = self.hosts.iter().any(|(other, host)| {
            let heard = host
                .last_contact
                .is_some_and(|at| now.duration_since(at) < DEAF);
            *other != id && host.is_live() && heard
        });
        let is_fair = now.duration_since(self.hearing_since) >= limit;
        if silent >= limit && is_another_heard && is_fair {
            self.departed(now, address, Some(silent));
        }
    }

    /// These receivers have not acknowledged what others have, whether they answer or not.
    pub fn behind(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        if matches!(self.phase, Phase::Sending { .. }) {
            // Whoever has acknowledged a part has done so for good, so the last news is all.
            self.behind = addresses.into_iter().collect();
        }
    }

    /// How far the present stream is.
    pub fn moved(&mut self, now: Instant, movement: Movement) {
        if self.movement != movement {
            self.movement = movement;
            self.moved_at = now;
            self.behind.clear();
        }
    }

    /// How long the stream that is being sent has stood still.
    #[must_use]
    pub fn stands_still(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::Starting { .. } | Phase::Sending { .. } => {
                let since = self.moved_at.max(self.since).max(self.awake_since);
                now.duration_since(since)
            }
            _ => Duration::ZERO,
        }
    }

    /// A host went away by itself. It mostly has a reason, which it reports in a moment.
    fn leaves(&mut self, now: Instant, id: HostId, text: &str) {
        if let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_live()) {
            let text = format!("{text}; its disk is not complete");
            host.set_status(now, HostStatus::Leaving { text });
        }
    }

    /// The sender has begun to send the present stream.
    pub fn transfer_started(&mut self, now: Instant) {
        let (Phase::Gathering { stream } | Phase::Starting { stream }) = self.phase else {
            return;
        };
        self.enter(now, Phase::Sending { stream });
        self.behind.clear();
        let mut without = Vec::new();
        for (id, host) in &mut self.hosts {
            if host.is_connected() {
                host.has_received = true;
                host.set_status(now, HostStatus::Receiving);
            } else if host.is_live() {
                without.push((*id, host.is_checked_in()));
            }
        }
        if stream == 0 {
            self.actions.push_back(Action::Started);
        }
        let name = self.stream_name();
        for (id, was_here) in without {
            let ending = match (stream, was_here) {
                (0, false) => Ending::missing(
                    "did not check in before the session started; nothing was written. Deploy \
                     it again"
                        .into(),
                ),
                (0, true) => Ending::failed(
                    "checked in, but did not connect to the sender before the session started; \
                     nothing was written. Check the network between them, then deploy it again"
                        .into(),
                ),
                _ => Ending::failed(format!(
                    "did not connect for {name} in time; its disk is not complete"
                )),
            };
            self.end_host(now, id, ending);
        }
        self.settle(now);
    }

    /// The sender has ended the present stream with these participants.
    pub fn stream_ended(&mut self, now: Instant, participants: &[(Ipv4Addr, StreamOutcome)]) {
        let stream = match self.phase {
            Phase::Sending { stream } => stream,
            Phase::Gathering { stream } | Phase::Starting { stream } => {
                self.gather_again(now, stream);
                return;
            }
            Phase::Finishing | Phase::Ended { .. } => return,
        };
        self.is_sender_open = false;
        let name = self.stream_name();
        let outcome_of = |address: Ipv4Addr| {
            let found = participants.iter().find(|(at, _)| *at == address);
            found.map(|(_, outcome)| *outcome)
        };
        let mut lost = Vec::new();
        let mut left = Vec::new();
        for (id, host) in &mut self.hosts {
            if !host.is_live() {
                continue;
            }
            match host.address.and_then(outcome_of) {
                Some(StreamOutcome::Completed) => {}
                Some(StreamOutcome::Left) => {
                    left.push(*id);
                    continue;
                }
                Some(StreamOutcome::Dropped) => {
                    lost.push((
                        *id,
                        format!("dropped in {name}: it did not answer any more"),
                    ));
                    continue;
                }
                None => {
                    lost.push((*id, format!("took no part in {name}")));
                    continue;
                }
            }
            host.streams_done += 1;
            host.set_status(now, HostStatus::Between);
            self.actions.push_back(Action::StreamsDone {
                host: *id,
                count: u32::try_from(host.streams_done).unwrap_or(u32::MAX),
            });
        }
        for (id, text) in lost {
            let ending = Ending::failed(format!("{text}; its disk is not complete"));
            self.end_host(now, id, ending);
        }
        for id in left {
            self.leaves(now, id, &format!("left during {name}, before its end"));
        }
        let next = stream + 1;
        if next == self.plan.streams.len() {
            self.enter(now, Phase::Finishing);
        } else {
            self.enter(now, Phase::Gathering { stream: next });
        }
        self.settle(now);
        if matches!(self.phase, Phase::Gathering { .. }) && self.has_live_hosts() {
            self.is_sender_open = true;
            self.open_stream(next);
        }
    }

    /// The sender ended before it began: everybody had left at that moment. They may come again.
    fn gather_again(&mut self, now: Instant, stream: usize) {
        for host in self.hosts.values_mut().filter(|host| host.is_connected()) {
            host.set_status(now, HostStatus::CheckedIn);
        }
        self.phase = Phase::Gathering { stream };
        self.open_stream(stream);
    }

    /// The sender failed: nothing more can be sent.
    pub fn sender_failed(&mut self, now: Instant, text: &str) {
        self.is_sender_open = false;
        if self.is_ended() || matches!(self.phase, Phase::Finishing) {
            return;
        }
        let text = format!("sending {}: {text}", self.stream_name());
        self.fail(now, &text);
    }

    /// The session cannot go on, for a reason that lies with the server.
    pub fn fail(&mut self, now: Instant, text: &str) {
        for id in self.open_hosts() {
            self.end_host(
                now,
                id,
                Ending::failed(format!("the session failed: {text}")),
            );
        }
        self.end(now, State::Failed, text.to_owned());
    }

    /// A host's task was cancelled; the others go on.
    pub fn host_cancelled(&mut self, now: Instant, id: HostId) {
        self.end_host(now, id, Ending::cancelled(TASK_CANCELLED.into()));
        self.settle(now);
    }

    /// The session was cancelled.
    pub fn cancelled(&mut self, now: Instant) {
        for id in self.open_hosts() {
            self.end_host(
                now,
                id,
                Ending::cancelled("the session was cancelled".into()),
            );
        }
        self.end(now, State::Cancelled, "the session was cancelled".into());
    }

    /// Time passes; call it every second or so.
    pub fn tick(&mut self, now: Instant) {
        if now.duration_since(self.last_tick) > DEAF {
            // This process was stopped.
            self.hearing_since = now;
            self.awake_since = now;
        }
        self.last_tick = now;
        self.tick_leaving(now);
        match self.phase {
            Phase::Gathering { stream: 0 } => self.tick_first(now),
            Phase::Gathering { .. } => self.tick_between(now),
            Phase::Finishing => self.tick_finishing(now),
            Phase::Starting { .. } | Phase::Sending { .. } => self.tick_sending(now),
            Phase::Ended { .. } => {}
        }
        self.settle(now);
    }

    fn tick_leaving(&mut self, now: Instant) {
        let leaving = self
            .hosts
            .iter()
            .filter_map(|(id, host)| match &host.status {
                HostStatus::Leaving { text } if now.duration_since(host.since) >= REPORT_WAIT => {
                    Some((*id, text.clone()))
                }
                _ => None,
            });
        for (id, text) in leaving.collect::<Vec<_>>() {
            self.end_host(now, id, Ending::failed(text));
        }
    }

    fn tick_first(&mut self, now: Instant) {
        let Some(first) = self.first_check_in else {
            return;
        };
        let max_wait = self.plan.max_wait;
        if now.duration_since(first) < max_wait {
            return;
        }
        if self.connected_count() > 0 {
            self.note(format!(
                "the wait of {} s is over; starting without {}",
                max_wait.as_secs(),
                self.missing().join(", ")
            ));
            self.start(now, 0);
            return;
        }
        let text = format!(
            "nobody connected to the sender within {} s after the first check-in; missing: {}. \
             Check that the clients reach the session's ports (UDP) and that no firewall is in \
             between, then deploy again",
            max_wait.as_secs(),
            self.missing().join(", ")
        );
        self.fail(now, &text);
    }

    fn tick_between(&mut self, now: Instant) {
        let name = self.stream_name();
        let is_over = now.duration_since(self.since) >= self.plan.stream_wait;
        let mut given_up = Vec::new();
        for (id, host) in &self.hosts {
            if !host.is_live() || host.is_connected() {
                continue;
            }
            let heard = host
                .last_contact
                .map_or(self.since, |at| at.max(self.since));
            let silent = now.duration_since(heard.max(self.hearing_since));
            if is_over {
                let waited = self.plan.stream_wait.as_secs();
                given_up.push((*id, format!("did not connect for {name} within {waited} s")));
            } else if host.is_agent && silent >= self.plan.agent_silence {
                given_up.push((
                    *id,
                    format!("silent for {} s before {name}", silent.as_secs()),
                ));
            }
        }
        for (id, text) in given_up {
            let ending = Ending::failed(format!("{text}; its disk is not complete"));
            self.end_host(now, id, ending);
        }
    }

    /// A receiver whose disk hangs answers for ever and so is never dropped for its silence, and an
    /// image store that hangs is silent itself: neither may hold the others for ever.
    fn tick_sending(&mut self, now: Instant) {
        let stood = self.stands_still(now);
        if stood < self.plan.stall_limit {
            return;
        }
        let (seconds, name) = (stood.as_secs(), self.stream_name());
        let connected = self.hosts.iter().filter(|(_, host)| host.is_connected());
        let (behind, ready): (Vec<_>, Vec<_>) = connected
            .map(|(id, host)| (*id, host.address))
            .partition(|(_, address)| address.is_some_and(|at| self.behind.contains(&at)));
        if behind.is_empty() || ready.is_empty() {
            let cause = match (&self.phase, behind.is_empty()) {
                (Phase::Starting { .. }, _) => "the sender did not begin",
                (_, true) => {
                    "no data came from the image store; look whether its disk or mount hangs"
                }
                (_, false) => {
                    "no receiver took any data, although they answer; look at their screens,                      their disks may hang"
                }
            };
            self.fail(
                now,
                &format!("sending {name}: nothing moved for {seconds} s: {cause}"),
            );
            return;
        }
        for (id, _) in behind {
            let text = format!(
                "dropped in {name}: it took no data for {seconds} s while the others waited for it; \
                 look at its screen, its disk may hang. Its disk is not complete"
            );
            self.end_host(now, id, Ending::failed(text));
        }
        self.behind.clear();
        self.moved_at = now;
    }

    fn tick_finishing(&mut self, now: Instant) {
        let grace = self.plan.grace;
        let since = self.since;
        let overdue = self.hosts.iter().filter(|(_, host)| {
            let last = host.last_contact.map_or(since, |at| at.max(since));
            host.is_live() && now.duration_since(last) >= grace
        });
        let overdue: Vec<HostId> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            let text = format!(
                "{OVERDUE} within {} s; look at its screen. A late report is still accepted",
                grace.as_secs()
            );
            self.end_host(now, id, Ending::failed(text));
        }
    }

    /// Draws the conclusions from whatever happened: start, or end.
    fn settle(&mut self, now: Instant) {
        if self.is_ended() {
            return;
        }
        if self.open_hosts().is_empty() {
            let (state, text) = self.summary();
            self.end(now, state, text);
            return;
        }
        if let Phase::Gathering { stream } = self.phase
            && self.is_sender_open
            && self.is_complete_gathering()
        {
            self.start(now, stream);
        }
    }

    /// Whether every live host is connected.
    fn is_complete_gathering(&self) -> bool {
        let mut live = self.hosts.values().filter(|host| host.is_live());
        self.connected_count() > 0 && live.all(Host::is_connected)
    }

    fn open_stream(&mut self, stream: usize) {
        self.actions.push_back(Action::OpenStream(stream));
        self.admit();
    }

    /// A host is known at the rendezvous by nothing but the address that it checked in from, and
    /// whoever is let in holds up all others and is counted as received: nobody else gets in.
    fn admit(&mut self) {
        let addresses = self.addresses();
        self.actions.push_back(Action::Admit(addresses));
    }

    fn start(&mut self, now: Instant, stream: usize) {
        self.enter(now, Phase::Starting { stream });
        self.actions.push_back(Action::StartTransfer);
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.since = now;
    }

    fn end_host(&mut self, now: Instant, id: HostId, ending: Ending) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.is_ended()) else {
            return;
        };
        let (state, text) = (ending.state, ending.text.clone());
        let address = host.address.filter(|_| state != State::Complete);
        host.set_status(now, HostStatus::Ended(ending));
        if let Some(address) = address.filter(|_| self.is_sender_open) {
            self.actions.push_back(Action::Remove(address));
            if matches!(self.phase, Phase::Gathering { .. }) {
                self.admit();
            }
        }
        self.actions.push_back(Action::HostEnded {
            host: id,
            state,
            text,
        });
    }

    fn end(&mut self, now: Instant, state: State, text: String) {
        if self.is_ended() {
            return;
        }
        if self.is_sender_open {
            self.is_sender_open = false;
            self.actions.push_back(Action::StopSender);
        }
        self.actions.push_back(Action::End {
            state,
            text: text.clone(),
        });
        self.enter(now, Phase::Ended { state, text });
    }

    fn note(&mut self, text: String) {
        self.actions.push_back(Action::Note(text));
    }

    /// Hosts without a result, also those that are just leaving.
    fn open_hosts(&self) -> Vec<HostId> {
        let open = self.hosts.iter().filter(|(_, host)| !host.is_ended());
        open.map(|(id, _)| *id).collect()
    }

    fn has_live_hosts(&self) -> bool {
        self.hosts.values().any(Host::is_live)
    }

    fn host_at(&mut self, address: Ipv4Addr) -> Option<&mut Host> {
        self.entry_at(address).map(|(_, host)| host)
    }

    fn entry_at(&mut self, address: Ipv4Addr) -> Option<(HostId, &mut Host)> {
        self.hosts
            .iter_mut()
            .find(|(_, host)| host.is_live() && host.address == Some(address))
            .map(|(id, host)| (*id, host))
    }
}

/// Beginning of the result of a host that told the reason itself; only its first one counts.
pub const REPORTED: &str = "the client reports:";

/// Result of a host whose task a person cancelled.
const TASK_CANCELLED: &str = "the task was cancelled";

/// Beginning of the result of a host that received everything and did not report its end in time:
/// its report still counts.
pub const OVERDUE: &str = "received all streams, but did not report its end";

/// How long a host that left has for its report of the reason.
const REPORT_WAIT: Duration = Duration::from_secs(10);

/// Without any sign of anybody for so long, the server or its network is the one to blame.
const DEAF: Duration = Duration::from_secs(10);

/// Restarts of a client that cannot use the image share before it is given up.
const MAX_BLAMES: u32 = 3;
