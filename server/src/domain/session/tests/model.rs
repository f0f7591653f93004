//! What a store does with the facts of a session, in memory.

use super::*;
use crate::domain::follow_up::FollowUp;
use crate::domain::session::{Client, Member, Session};
use crate::domain::task::{may_become, session_may_become};
use crate::domain::{ImageId, SessionId, TaskId, Timestamp};

/// A stored session, and the plan that is made of it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) session: Session,
    plan: Plan,
    clock: i64,
}

impl Stored {
    pub(super) fn new(plan: &Plan) -> Self {
        let member = |(id, name): &(HostId, String)| Member {
            host: *id,
            task: TaskId(id.0),
            name: name.clone(),
            address: None,
            ticket: None,
            agent: Client::default(),
            checked_in_at: None,
            streams_done: 0,
            state: State::Queued,
            reason: None,
        };
        Self {
            session: Session {
                id: SessionId(1),
                name: "lab".into(),
                image: ImageId(1),
                image_name: "win11".into(),
                path: "win11".into(),
                port: 63100,
                state: State::New,
                max_wait: plan.max_wait,
                is_shutdown: false,
                is_debug: false,
                created_at: Timestamp(0),
                started_at: None,
                ended_at: None,
                has_records: None,
                runs: 0,
                reason: None,
                expected: 0,
                follows: None,
                follow_ups: None,
                follow_up: FollowUp::None,
                members: plan.hosts.iter().map(member).collect(),
            },
            plan: plan.clone(),
            clock: 0,
        }
    }

    /// The session after a restart of the server.
    pub(super) fn resume(&self, now: Instant) -> Bench {
        Bench {
            core: Core::resume(self.plan.clone(), now, &self.session),
            now,
        }
    }

    pub(super) fn member(&mut self, host: i64) -> &mut Member {
        let mut members = self.session.members.iter_mut();
        members.find(|member| member.host.0 == host).unwrap()
    }

    #[track_caller]
    pub(super) fn apply_all(&mut self, actions: &[Action]) {
        for fact in facts(actions) {
            self.apply(fact);
        }
    }

    /// Stores a fact.
    ///
    /// # Panics
    /// If the state does not allow it.
    #[track_caller]
    pub(super) fn apply(&mut self, fact: &Fact) {
        self.clock += 1;
        let now = Timestamp(self.clock);
        match fact.clone() {
            Fact::CheckedIn {
                host,
                address,
                ticket,
                agent,
                count,
            } => {
                assert!(count > 0);
                assert!(self.session.state.is_active(), "{fact:?}");
                set(&mut self.session.state, State::InProgress, None, may_become);
                let member = self.member(host.0);
                set(&mut member.state, State::InProgress, None, may_become);
                member.address = Some(address);
                member.ticket = ticket;
                member.agent = agent;
                member.checked_in_at = Some(now);
            }
            Fact::StreamStarting {
                stream,
                run,
                has_records,
            } => {
                assert!(stream < self.plan.streams.len());
                assert!(self.session.state.is_active(), "{fact:?}");
                self.session.started_at.get_or_insert(now);
                self.session.has_records = Some(has_records);
                self.session.runs = self.session.runs.max(run + 1);
            }
            Fact::StartRevoked { run, is_first, .. } => {
                assert!(self.session.state.is_active(), "{fact:?}");
                assert_eq!(self.session.runs, run + 1);
                if is_first {
                    (self.session.started_at, self.session.has_records) = (None, None);
                }
            }
            Fact::StreamsDone { host, count } => {
                let member = self.member(host.0);
                member.streams_done = member.streams_done.max(count);
            }
            Fact::MemberEnded {
                host,
                state,
                reason,
            } => {
                let member = self.member(host.0);
                set(&mut member.state, state, member.reason.as_ref(), may_become);
                member.reason = Some(reason);
            }
            Fact::Ended { state, reason } => {
                let session = &mut self.session;
                let is_open = session.members.iter().any(|m| m.state.is_active());
                assert!(!is_open, "a host has no result at the end");
                let reason_before = session.reason.as_ref();
                set(&mut session.state, state, reason_before, session_may_become);
                session.reason = Some(reason);
                session.ended_at = Some(now);
            }
            Fact::FollowUpDue => self.session.follow_up = FollowUp::Due,
            Fact::Noted { .. } => {}
        }
    }
}

/// Compares and sets.
#[track_caller]
fn set(
    state: &mut State,
    to: State,
    reason: Option<&Reason>,
    may_become: fn(State, State) -> bool,
) {
    let is_legal = match (*state, to) {
        (from, to) if from == to => true,
        (State::Failed, State::Complete) => reason
            .is_some_and(|reason| reason.awaits_report() || matches!(reason, Reason::Summary(_))),
        (from, to) => may_become(from, to),
    };
    assert!(is_legal, "{state} to {to}, because of {reason:?}");
    *state = to;
}
