//! A session after a restart of the server.

use std::time::Instant;

use fog::task::State;

use super::{Action, Core, Phase, Plan, Records};
use crate::domain::session::record::{Fact, Member, Note, Session};
use crate::domain::session::seat::{Seat, SeatStatus};
use crate::domain::{HostId, Reason};

impl Core {
    /// The session as it is stored. If it had begun to send, it goes on with the first stream that
    /// one of our agents lacks, from that stream's beginning; stock clients cannot begin a stream
    /// again, so those that lack something fail.
    #[must_use]
    pub fn resume(plan: Plan, now: Instant, stored: &Session) -> Self {
        let mut core = Self::new(plan, now);
        let total = core.plan.streams.len();
        core.run = stored.runs;
        if let (Records::Auto, Some(has_records)) = (core.plan.records, stored.has_records)
            && stored.started_at.is_some()
        {
            core.has_records = Some(has_records);
        }
        for member in &stored.members {
            if let Some(seat) = core.seats.get_mut(&member.host) {
                seat.restore(now, member, stored.started_at.is_some());
            }
        }
        let has_check_in = core.seats.values().any(Seat::is_checked_in);
        core.first_check_in = has_check_in.then_some(now);
        if stored.started_at.is_none() {
            if has_check_in {
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

    fn end_those_who_cannot_resume(&mut self, now: Instant, total: usize) {
        let mut lost = Vec::new();
        for (id, seat) in self.seats.iter().filter(|(_, seat)| seat.is_live()) {
            let stream = self.plan.streams.get(seat.streams_done);
            if seat.status == SeatStatus::Expected {
                lost.push((*id, State::Cancelled, Reason::Missing));
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

    /// Another program had ended a host's task: what was decided of it since is not stored.
    pub fn overruled(&mut self, now: Instant, id: HostId, found: Option<State>) {
        let state = found.filter(|state| !state.is_active());
        let state = state.unwrap_or(State::Cancelled);
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        if matches!(&seat.status, SeatStatus::Ended(known, _) if *known == state) {
            return;
        }
        seat.set_status(now, SeatStatus::Ended(state, Reason::TaskCancelled));
        if let Some(address) = seat.address.filter(|_| self.is_sender_open) {
            self.actions.push_back(Action::Remove(address));
            self.admit();
        }
        self.settle(now);
    }

    /// Rows of other programs may have ended a task, or taken it out, while this session runs.
    pub fn compare(&mut self, now: Instant, stored: Option<&Session>) {
        if self.is_ended() {
            return;
        }
        let Some(stored) = stored.filter(|stored| stored.state.is_active()) else {
            self.cancelled(now);
            return;
        };
        let gone: Vec<_> = self
            .seats
            .iter()
            .filter(|(id, seat)| {
                let row = stored.members.iter().find(|member| member.host == **id);
                !seat.is_ended() && row.is_none_or(|member| member.state == State::Cancelled)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.host_cancelled(now, id);
        }
    }
}

impl Seat {
    fn restore(&mut self, now: Instant, member: &Member, has_started: bool) {
        self.address = member.address;
        self.ticket = member.ticket;
        self.agent.clone_from(&member.agent);
        self.streams_done = usize::try_from(member.streams_done).unwrap_or(usize::MAX);
        let is_checked_in = member.address.is_some() && member.checked_in_at.is_some();
        self.has_received = has_started && is_checked_in;
        let status = match (&member.reason, member.state.is_active()) {
            (reason, false) => SeatStatus::Ended(
                member.state,
                reason.clone().unwrap_or(Reason::TaskCancelled),
            ),
            (_, true) if !is_checked_in => SeatStatus::Expected,
            (_, true) if has_started => SeatStatus::Between,
            (_, true) => SeatStatus::CheckedIn,
        };
        self.set_status(now, status);
    }
}

/// What a session without a driver is to store when a person ends it, or one host of it.
#[must_use]
pub fn facts_of(mut core: Core) -> Vec<Fact> {
    let mut facts = Vec::new();
    while let Some(action) = core.poll_action() {
        if let Action::Store(fact) = action {
            facts.push(fact);
        }
    }
    facts
}
