//! A session after a restart of the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fog::task::State;

use super::{Action, Core, Phase, Plan, Records};
use crate::domain::session::record::{Fact, Member, Note, Session};
use crate::domain::session::seat::{Seat, SeatStatus};
use crate::domain::{HostId, Reason, Timestamp};

impl Core {
    /// The session as it is stored. If it had begun to send, it goes on with the first stream that
    /// one of our agents lacks, from that stream's beginning; stock clients cannot begin a stream
    /// again, so those that lack something fail.
    #[must_use]
    pub fn resume(plan: Plan, now: Instant, stored: &Session) -> Self {
        let mut core = Self::new(plan, now);
        let total = core.plan.streams.len();
        if !stored.state.is_active() {
            core.phase = Phase::Ended {
                state: stored.state,
                reason: reason_of(
                    stored.state,
                    stored.reason.as_ref(),
                    Reason::SessionCancelled,
                ),
            };
        }
        core.run = stored.runs;
        if let (Records::Auto, Some(has_records)) = (core.plan.records, stored.has_records)
            && stored.started_at.is_some()
        {
            core.has_records = Some(has_records);
        }
        for member in &stored.members {
            if let Some(seat) = core.seats.get_mut(&member.host) {
                seat.restore(now, member, stored.started_at.is_some(), total);
            }
        }
        if core.is_ended() {
            return core;
        }
        core.unbind_twins(now, stored);
        let mut members = stored.members.iter();
        let has_check_in = members.any(|member| member.checked_in_at.is_some());
        core.first_check_in = has_check_in.then_some(now);
        if stored.started_at.is_none() {
            if core.seats.values().any(Seat::is_checked_in) {
                core.open_stream(0);
            }
            // All may have been cancelled while no server ran.
            core.settle(now);
            return core;
        }
        core.end_those_who_cannot_resume(now, total);
        let live = core.seats.values().filter(|seat| seat.is_live());
        match live.map(|seat| seat.streams_done).min() {
            Some(stream) if stream < total => {
                core.phase = Phase::Gathering { stream };
                let stream_name = core.stream_name();
                core.note(
                    None,
                    Note::Resumed {
                        stream: stream_name,
                    },
                );
                core.open_stream(stream);
            }
            _ => core.phase = Phase::Finishing,
        }
        core.settle(now);
        core
    }

    /// People see since when hosts wait that were let in before the server was started, `wall` being now.
    pub fn count_waits_from_before(&mut self, wall: Timestamp, stored: &Session) {
        if !self.awaits_check_ins() {
            return;
        }
        for member in &stored.members {
            let Some(at) = member.checked_in_at else {
                continue;
            };
            let before = Duration::from_secs(wall.seconds_since(at));
            if let Some(seat) = self.seats.get_mut(&member.host)
                && seat.status == SeatStatus::CheckedIn
            {
                seat.before = before;
                self.before = self.before.max(before);
            }
        }
    }

    fn end_those_who_cannot_resume(&mut self, now: Instant, total: usize) {
        let mut lost = Vec::new();
        for (id, seat) in self.seats.iter().filter(|(_, seat)| seat.is_live()) {
            let stream = self.plan.streams.get(seat.streams_done);
            if seat.status == SeatStatus::Expected {
                lost.push(match seat.has_gone {
                    true => (*id, State::Failed, Reason::NotConnected),
                    false => (*id, State::Cancelled, Reason::Missing),
                });
            } else if seat.streams_done < total
                && !seat.is_agent()
                && let Some(stream) = stream
            {
                let stream = stream.clone();
                lost.push((*id, State::Failed, Reason::ServerStopped { stream }));
            }
        }
        for (id, state, reason) in lost {
            self.end_seat(now, id, state, reason);
        }
    }

    /// Another program had ended a host's task, or removed it: what was decided of it since is not
    /// stored.
    pub fn overruled(&mut self, now: Instant, id: HostId, found: Option<State>) {
        let state = found.filter(|state| !state.is_active());
        let state = state.unwrap_or(State::Cancelled);
        let reason = reason_of(state, None, Reason::TaskCancelled);
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        match &seat.status {
            SeatStatus::Ended(known, _) if *known == state => {}
            SeatStatus::Ended(..) => {
                seat.set_status(now, SeatStatus::Ended(state, reason));
                self.end_again();
            }
            _ => {
                // It is stored already.
                drop(self.put_out(now, &[id], state, |_| reason.clone()));
                self.settle(now);
            }
        }
    }

    /// Another program had ended the session, or removed it: its end as it was decided is not stored.
    pub fn session_overruled(&mut self, now: Instant, found: Option<State>) {
        let state = found.filter(|state| !state.is_active());
        let state = state.unwrap_or(State::Cancelled);
        match &self.phase {
            Phase::Ended { state: known, .. } if *known == state => {}
            Phase::Ended { .. } => {
                let reason = reason_of(state, None, Reason::SessionCancelled);
                self.phase = Phase::Ended { state, reason };
            }
            _ => self.ended_elsewhere(now, state, None),
        }
    }

    /// Another program has ended the session: what is left of it ends with it.
    fn ended_elsewhere(&mut self, now: Instant, state: State, stored: Option<&Reason>) {
        let reason = reason_of(state, stored, Reason::SessionCancelled);
        let open = self.open_seats();
        match state {
            State::Failed => self.end_seats(now, &open, State::Failed, |_| {
                Reason::SessionFailed(Box::new(reason.clone()))
            }),
            _ => self.end_seats(now, &open, State::Cancelled, |_| Reason::SessionCancelled),
        }
        self.end(now, state, reason);
    }

    /// Rows of other programs may have ended a task, or taken it out, while this session runs.
    pub fn compare(&mut self, now: Instant, stored: Option<&Session>) {
        if self.is_ended() {
            return;
        }
        let Some(stored) = stored else {
            self.cancelled(now);
            return;
        };
        let mut over = Vec::new();
        for (id, _) in self.seats.iter().filter(|(_, seat)| !seat.is_ended()) {
            let row = stored.members.iter().find(|member| member.host == *id);
            let (state, reason) = row.map_or((State::Cancelled, None), |member| {
                (member.state, member.reason.as_ref())
            });
            if !state.is_active() {
                over.push((*id, state, reason_of(state, reason, Reason::TaskCancelled)));
            }
        }
        for (id, state, reason) in over {
            self.end_seat(now, id, state, reason);
        }
        self.join_those_who_are_new(now, stored);
        if stored.state.is_active() {
            self.settle(now);
        } else {
            self.ended_elsewhere(now, stored.state, stored.reason.as_ref());
        }
    }

    /// Hosts that were put into the session since it began to run: by name from the boot menu, or by FOG's page.
    fn join_those_who_are_new(&mut self, now: Instant, stored: &Session) {
        let members = stored.members.iter();
        let new = members
            .filter(|member| member.state.is_active() && !self.seats.contains_key(&member.host));
        let new: Vec<_> = new
            .map(|member| (member.host, member.name.clone()))
            .collect();
        let is_open = self.awaits_check_ins();
        let stream = self.stream_name();
        for (id, name) in new {
            self.seats.insert(id, Seat::new(name, now));
            if !is_open {
                let stream = stream.clone();
                self.end_seat(now, id, State::Failed, Reason::Late { stream });
            }
        }
    }

    /// Of hosts that checked in with the same address, one after the other, the last one has it.
    fn unbind_twins(&mut self, now: Instant, stored: &Session) {
        let mut holders: BTreeMap<_, &Member> = BTreeMap::new();
        for member in stored
            .members
            .iter()
            .filter(|member| member.state.is_active())
        {
            let Some(address) = member.address else {
                continue;
            };
            let holder = holders.entry(address).or_insert(member);
            let loser = if holder.checked_in_at < member.checked_in_at {
                std::mem::replace(holder, member)
            } else {
                member
            };
            if loser.host != holder.host
                && let Some(seat) = self.seats.get_mut(&loser.host)
            {
                seat.unbind(now);
            }
        }
    }
}

impl Seat {
    fn restore(&mut self, now: Instant, member: &Member, has_started: bool, total: usize) {
        self.address = member.address;
        self.ticket = member.ticket;
        // One with a ticket was told so at its check-in, and no other machine has that.
        self.is_proved = member.ticket.is_some();
        self.agent.clone_from(&member.agent);
        let done = usize::try_from(member.streams_done).unwrap_or(usize::MAX);
        self.streams_done = done.min(total);
        let is_checked_in = member.address.is_some() && member.checked_in_at.is_some();
        self.has_received = has_started && is_checked_in;
        self.has_gone = is_checked_in && !self.is_agent();
        self.resumed_in = self.has_received.then_some(self.streams_done);
        let status = match member.state {
            state if !state.is_active() => SeatStatus::Ended(
                state,
                reason_of(state, member.reason.as_ref(), Reason::TaskCancelled),
            ),
            _ if !is_checked_in => SeatStatus::Expected,
            _ if has_started => SeatStatus::Between,
            _ => SeatStatus::CheckedIn,
        };
        self.set_status(now, status);
    }
}

/// The stored reason, or what another program means that stored none.
fn reason_of(state: State, stored: Option<&Reason>, wish: Reason) -> Reason {
    match (stored, state) {
        (Some(reason), _) => reason.clone(),
        (None, State::Cancelled) => wish,
        (None, State::Complete) => Reason::Written,
        (None, _) => Reason::Unknown {
            code: "failed".into(),
            details: String::new(),
        },
    }
}

/// What a session without a driver is to store when a person ends it, or one host of it.
#[must_use]
pub fn facts_of(mut core: Core) -> Vec<Fact> {
    let mut facts = Vec::new();
    while let Some(action) = core.poll_action() {
        match action {
            // It does not go on.
            Action::Store(Fact::Noted {
                note: Note::Resumed { .. },
                ..
            }) => {}
            Action::Store(fact) => facts.push(fact),
            _ => {}
        }
    }
    facts
}
