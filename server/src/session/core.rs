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

mod streams;
mod waits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::store::StreamName;
use fog::task::State;
use fos_api::Stage;

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
