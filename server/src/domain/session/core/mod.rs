//! A multicast session as a pure state machine.
//!
//! Inputs are check-ins, reports of clients, events of the sender and the time; outputs are
//! [`Action`]s, to be carried out in order. Opens no socket, reads no clock, knows no database.
//!
//! The rules: the first stream starts when every expected host is connected, or when the wait that
//! began with the first connection is over; further streams wait for the receivers that are known
//! to be alive, not for a fixed time; nothing waits for ever; one host's trouble never ends the
//! others; only a client's own report makes its task complete; only hosts that checked in are let
//! in, each at the address that it checked in from, and only from there anybody acts for it.

mod checkin;
mod reports;
mod resume;
mod streams;
mod types;
mod waits;

pub use resume::facts_of;
pub use types::{
    Action, Completion, Movement, NotStarted, Peer, Phase, Plan, Records, StopKind, StreamOutcome,
};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::store::StreamName;
use fog::task::State;

use super::record::{Fact, Note};
use super::seat::{Seat, SeatStatus};
use super::summary;
use crate::domain::{HostId, Reason, Refusal, follow_up};

/// The state machine.
#[derive(Debug)]
pub struct Core {
    pub(super) plan: Plan,
    pub(super) seats: BTreeMap<HostId, Seat>,
    pub(super) phase: Phase,
    /// When the present phase began.
    pub(super) since: Instant,
    /// How long it had lasted when the server was started; for people. Hosts have the whole wait after that.
    pub(super) before: Duration,
    /// The first check-in.
    pub(super) first_check_in: Option<Instant>,
    /// When any host was last at the rendezvous of the first stream.
    last_connected: Option<Instant>,
    /// Whether a client of FOG that knows nothing of its end may still come to the rendezvous.
    has_latecomers: bool,
    /// Number of the present attempt to send a stream.
    pub(super) run: u32,
    pub(super) has_records: Option<bool>,
    /// When the stream last moved, where it was then, and who has held it up since.
    moved_at: Instant,
    movement: Movement,
    behind: BTreeSet<Ipv4Addr>,
    is_sender_open: bool,
    /// Whether the order to start waits for the image's files.
    waits_for_files: bool,
    /// Whether the last hosts were put out while they received, and know nothing but the stream.
    has_cut_off: bool,
    /// When this process last stood still.
    awake_since: Instant,
    /// Silence counts from here: before, no host could be heard.
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
        let seats = plan
            .hosts
            .iter()
            .map(|(id, name)| (*id, Seat::new(name.clone(), now)));
        let has_records = match plan.records {
            Records::Auto => None,
            Records::Fixed(has_records) => Some(has_records),
        };
        Self {
            seats: seats.collect(),
            plan,
            phase: Phase::Gathering { stream: 0 },
            since: now,
            before: Duration::ZERO,
            first_check_in: None,
            last_connected: None,
            has_latecomers: false,
            run: 0,
            has_records,
            moved_at: now,
            movement: Movement::default(),
            behind: BTreeSet::new(),
            is_sender_open: false,
            waits_for_files: false,
            has_cut_off: false,
            awake_since: now,
            hearing_since: now,
            last_sign: now,
            last_tick: now,
            actions: VecDeque::new(),
        }
    }

    /// What to do next; ask until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether anything is to be done.
    #[must_use]
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Whether a client may come to the rendezvous after the end, for which nobody is there.
    #[must_use]
    pub fn has_latecomers(&self) -> bool {
        self.has_latecomers
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
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

    /// Name of the stream that is waited for, being sent or was sent last.
    #[must_use]
    pub fn stream_name(&self) -> StreamName {
        let name = self.plan.streams.get(self.stream_index());
        name.cloned().unwrap_or_else(|| StreamName::of_file(""))
    }

    /// Whether every client that checked in is one of ours, so that streams may carry records.
    #[must_use]
    pub fn are_all_agents(&self) -> bool {
        let mut present = self
            .seats
            .values()
            .filter(|seat| seat.is_checked_in())
            .peekable();
        present.peek().is_some() && present.all(Seat::is_agent)
    }

    /// Whether hosts may still check in.
    #[must_use]
    pub fn awaits_check_ins(&self) -> bool {
        self.phase == Phase::Gathering { stream: 0 } && !self.has_started()
    }

    /// Whether data has flowed.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.seats.values().any(|seat| seat.has_received)
    }

    /// Whether a sender is open or ordered.
    #[must_use]
    pub fn is_sender_open(&self) -> bool {
        self.is_sender_open
    }

    /// Addresses of the hosts that the present stream is for.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let stream = self.stream_index();
        let due = self.seats.values().filter(|seat| seat.awaits(stream));
        due.filter_map(|seat| seat.address).collect()
    }

    /// Whether a host belongs to the session.
    #[must_use]
    pub fn has(&self, id: HostId) -> bool {
        self.seats.contains_key(&id)
    }

    /// Whether a request comes from the machine that checked in for the host. Before its check-in no
    /// machine may act for it: a boot script is given to everybody who names its address.
    ///
    /// # Errors
    /// If it does not.
    pub fn recognise(&self, id: HostId, peer: &Peer) -> Result<(), Refusal> {
        let seat = self.seats.get(&id).ok_or(Refusal::NotCheckedIn)?;
        match seat.address {
            Some(address) if address == peer.address && is_ticket(seat, peer) => Ok(()),
            Some(address) => Err(Refusal::AnotherMachine { address }),
            None => Err(Refusal::NotCheckedIn),
        }
    }

    /// A sign of life over HTTP of the machine that acts for a host ([`Self::recognise`]).
    pub fn contact(&mut self, now: Instant, id: HostId) {
        if now.duration_since(self.last_sign) > DEAF {
            self.hearing_since = now;
        }
        self.last_sign = now;
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.last_request = Some(now);
        }
    }

    /// The session cannot go on, for a reason that lies with the server.
    pub fn fail(&mut self, now: Instant, reason: Reason) {
        self.end_seats(now, &self.open_seats(), State::Failed, |_| {
            Reason::SessionFailed(Box::new(reason.clone()))
        });
        self.end(now, State::Failed, reason);
    }

    /// A person took a host out; the others go on.
    pub fn host_cancelled(&mut self, now: Instant, id: HostId) {
        self.end_seat(now, id, State::Cancelled, Reason::TaskCancelled);
        self.settle(now);
    }

    /// The session was cancelled.
    pub fn cancelled(&mut self, now: Instant) {
        let open = self.open_seats();
        self.end_seats(now, &open, State::Cancelled, |_| Reason::SessionCancelled);
        self.end(now, State::Cancelled, Reason::SessionCancelled);
    }

    /// Draws the conclusions from whatever happened: start, next stream, or end.
    fn settle(&mut self, now: Instant) {
        if self.is_ended() {
            return;
        }
        if self.open_seats().is_empty() {
            let (state, reason) = self.summary();
            self.end(now, state, reason);
            return;
        }
        let Phase::Gathering { stream } = self.phase else {
            return;
        };
        let mut due = self
            .seats
            .values()
            .filter(|seat| seat.lacks(stream))
            .peekable();
        if due.peek().is_none() {
            // Those who lacked it are out; the others are further.
            if self.seats.values().any(Seat::is_live) {
                self.advance(now);
            }
        } else if self.is_sender_open && due.all(Seat::is_connected) && self.joiners() == 0 {
            self.start(now, stream);
        }
    }

    /// Goes to the first stream that a live host lacks.
    fn advance(&mut self, now: Instant) {
        let live = self.seats.values().filter(|seat| seat.is_live());
        let next = live.map(|seat| seat.streams_done).min();
        if self.is_sender_open {
            self.stop_sender(StopKind::Plain);
        }
        match next {
            Some(stream) if stream < self.plan.streams.len() => {
                self.enter(now, Phase::Gathering { stream });
                self.open_stream(stream);
            }
            Some(_) => self.enter(now, Phase::Finishing),
            None => {}
        }
    }

    fn open_stream(&mut self, stream: usize) {
        self.is_sender_open = true;
        self.actions.push_back(Action::OpenStream(stream));
        self.admit();
    }

    /// A host is known at the rendezvous by nothing but the address that it checked in from, and
    /// a receiver that is let in holds up all others and is counted as received: no other gets in.
    fn admit(&mut self) {
        let addresses = self.addresses();
        self.actions.push_back(Action::Admit(addresses));
    }

    fn start(&mut self, now: Instant, stream: usize) {
        self.enter(now, Phase::Starting { stream });
        self.waits_for_files = false;
        self.behind.clear();
        // Decided anew until data flows: a start that found no receiver is no decision.
        let has_started = self.has_started();
        let has_record = match (self.plan.records, self.has_records) {
            (Records::Auto, Some(decided)) if has_started => decided,
            (Records::Auto, _) => self.are_all_agents(),
            (Records::Fixed(fixed), _) => fixed,
        };
        self.has_records = Some(has_record);
        self.store(Fact::StreamStarting {
            stream,
            run: self.run,
            has_records: has_record,
        });
        self.actions.push_back(Action::StartTransfer { has_record });
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        (self.since, self.before) = (now, Duration::ZERO);
    }

    fn end_seat(&mut self, now: Instant, id: HostId, state: State, reason: Reason) {
        self.end_seats(now, &[id], state, |_| reason.clone());
    }

    fn end_seats(
        &mut self,
        now: Instant,
        ids: &[HostId],
        state: State,
        reason: impl Fn(&Seat) -> Reason,
    ) {
        for fact in self.put_out(now, ids, state, reason) {
            self.store(fact);
        }
    }

    /// Ends the parts of hosts that have no result yet, and puts them out of the stream. If none is
    /// left, the session is about to end, and its sender is ended as a whole.
    fn put_out(
        &mut self,
        now: Instant,
        ids: &[HostId],
        state: State,
        reason: impl Fn(&Seat) -> Reason,
    ) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut out = Vec::new();
        let mut has_cut_off = false;
        for id in ids {
            let Some(seat) = self.seats.get_mut(id).filter(|seat| !seat.is_ended()) else {
                continue;
            };
            let reason = reason(seat);
            let is_unaware = matches!(
                reason,
                Reason::SessionFailed(_) | Reason::SessionCancelled | Reason::TaskCancelled
            );
            // At the rendezvous it waits for ever, too.
            has_cut_off |= is_unaware && seat.is_connected() && !seat.is_agent();
            // It was told to go and is still to come: nobody answers it any more.
            self.has_latecomers |= reason.leaves_unaware()
                && seat.is_checked_in()
                && !seat.is_connected()
                && !seat.is_agent()
                && seat.streams_done < self.plan.streams.len();
            out.extend(seat.address.filter(|_| state != State::Complete));
            seat.set_status(now, SeatStatus::Ended(state, reason.clone()));
            facts.push(Fact::MemberEnded {
                host: *id,
                state,
                reason,
            });
        }
        if self.seats.values().all(Seat::is_ended) {
            self.has_cut_off = has_cut_off;
        } else if self.is_sender_open && !out.is_empty() {
            self.actions.extend(out.into_iter().map(Action::Remove));
            if matches!(self.phase, Phase::Gathering { .. }) {
                self.admit();
            }
        }
        facts
    }

    /// How the sender ends if the server does. Clients of ours wait for its return and begin the stream again;
    /// they would take an early end for a failure of the transfer. FOG's cannot begin a stream again.
    #[must_use]
    pub fn shutdown_kind(&self) -> StopKind {
        let connected = || self.seats.values().filter(|seat| seat.is_connected());
        let is_any = connected().next().is_some();
        match self.has_started() && is_any && !connected().any(Seat::is_agent) {
            true => StopKind::EndStream,
            false => StopKind::Plain,
        }
    }

    fn end(&mut self, now: Instant, state: State, reason: Reason) {
        if self.is_ended() {
            return;
        }
        if self.is_sender_open {
            self.stop_sender(if self.has_cut_off {
                StopKind::EndStream
            } else {
                StopKind::Plain
            });
        }
        // In the same commit: whoever finds the session at its end finds what is still to be done for it.
        if state != State::Cancelled && self.plan.is_followed && self.has_missed() {
            self.store(Fact::FollowUpDue);
        }
        self.store(Fact::Ended {
            state,
            reason: reason.clone(),
        });
        self.enter(now, Phase::Ended { state, reason });
    }

    /// Whether a host missed the session, or fell out of it.
    fn has_missed(&self) -> bool {
        self.seats.values().any(|seat| match &seat.status {
            SeatStatus::Ended(state, reason) => follow_up::is_due(*state, reason),
            _ => false,
        })
    }

    /// Hosts that the first stream waits for and that have not joined yet.
    #[must_use]
    pub fn joiners(&self) -> u32 {
        match self.awaits_check_ins() {
            true => {
                let joined = u32::try_from(self.seats.len()).unwrap_or(u32::MAX);
                self.plan.expected.saturating_sub(joined)
            }
            false => 0,
        }
    }

    /// The machine of a host asks what to boot whose part is over, because it was not there at the start: it is not
    /// missing any more, it is late.
    pub fn came_late(&mut self, now: Instant, id: HostId) {
        if self.is_ended() || !self.plan.is_followed {
            return;
        }
        let stream = self.stream_name();
        if let Some(seat) = self.seats.get_mut(&id)
            && let SeatStatus::Ended(state, Reason::Missing) = seat.status
        {
            // What is over stays what it is; only the reason is another one.
            let reason = Reason::Late { stream };
            seat.set_status(now, SeatStatus::Ended(state, reason.clone()));
            self.store(Fact::MemberEnded {
                host: id,
                state,
                reason,
            });
        }
    }

    /// A host's end is seen in another light: so is the session's, if it ended with its hosts.
    fn end_again(&mut self) {
        let Phase::Ended {
            state: old_state,
            reason: old_reason @ (Reason::Summary(_) | Reason::AllCancelled),
        } = &self.phase
        else {
            return;
        };
        let (state, reason) = self.summary();
        if (*old_state, old_reason) == (state, &reason) {
            return;
        }
        self.phase = Phase::Ended {
            state,
            reason: reason.clone(),
        };
        self.store(Fact::Ended { state, reason });
    }

    fn summary(&self) -> (State, Reason) {
        summary(self.seats.values().filter_map(|seat| match &seat.status {
            SeatStatus::Ended(state, reason) => Some((seat.name.as_str(), *state, reason)),
            _ => None,
        }))
    }

    /// Whether another host than this one was heard just now.
    fn is_another_heard(&self, now: Instant, id: HostId) -> bool {
        self.seats.iter().any(|(other, seat)| {
            let heard = seat.heard().is_some_and(|at| now.duration_since(at) < DEAF);
            *other != id && seat.is_live() && heard
        })
    }

    fn stop_sender(&mut self, kind: StopKind) {
        self.is_sender_open = false;
        self.actions.push_back(Action::StopSender(kind));
    }

    fn store(&mut self, fact: Fact) {
        self.actions.push_back(Action::Store(fact));
    }

    fn note(&mut self, host: Option<HostId>, note: Note) {
        self.store(Fact::Noted { host, note });
    }

    /// Hosts without a result, also those that are just leaving.
    fn open_seats(&self) -> Vec<HostId> {
        let open = self.seats.iter().filter(|(_, seat)| !seat.is_ended());
        open.map(|(id, _)| *id).collect()
    }

    fn seat_at(&mut self, address: Ipv4Addr) -> Option<(HostId, &mut Seat)> {
        self.seats
            .iter_mut()
            .find(|(_, seat)| seat.is_live() && seat.address == Some(address))
            .map(|(id, seat)| (*id, seat))
    }
}

/// Whether the ticket is the one that the host checked in with, if it had one.
fn is_ticket(seat: &Seat, peer: &Peer) -> bool {
    seat.ticket.is_none() || seat.ticket == peer.ticket
}

/// How long a host that left has for its report of the reason.
const REPORT_WAIT: Duration = Duration::from_secs(10);

/// Without any sign of anybody for so long, the server or its network is the one to blame.
const DEAF: Duration = Duration::from_secs(10);

/// Restarts of a client that cannot use the image share before it is given up.
const MAX_BLAMES: u32 = 3;
