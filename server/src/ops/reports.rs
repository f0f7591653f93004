//! What clients report: their end, a failure, an unusable share. When these return, it is stored.

use std::net::IpAddr;

use fog::task::State;

use super::Ops;
use super::clients::{ClientResult, Known};
use crate::clock;
use crate::domain::refusal::AskAgain;
use crate::domain::session::{Fact, Member, Note, Session, summary};
use crate::domain::{Reason, Refusal, SessionId};
use crate::logs::{Level, Subject};
use crate::session::Handle;
use crate::store::StoreError;
use crate::text;

impl Ops {
    /// A client reports its end.
    ///
    /// # Errors
    /// If it does not count, or has to be asked again.
    pub async fn complete(&self, known: &Known) -> ClientResult<()> {
        if self.complete_alone(known).await? {
            return Ok(());
        }
        let Some(handle) = self.reported_session(known).await? else {
            return self.complete_late(known).await;
        };
        // Its kernel arguments may be of a session that is over.
        let peer = match self.peer(known, self.job_of(&known.host, &handle)) {
            Ok(peer) => peer,
            Err(refusal @ Refusal::OtherJob { told, .. }) => {
                return self.complete_before(known, told, refusal).await;
            }
            Err(refusal) => return Err(refusal.into()),
        };
        handle.complete(known.host.id, peer).await?;
        Ok(())
    }

    /// The session does not run any more. A report that was accepted before is accepted again, as its
    /// answer may have been lost; one that comes after the time of grace still counts.
    async fn complete_late(&self, known: &Known) -> ClientResult<()> {
        let _one_at_a_time = self.turn(self.own_part(known).await?, known).await;
        let Some((session, member)) = self.own_part(known).await? else {
            return Err(self.no_task(known).await?.into());
        };
        if !Self::is_own(member.address, member.ticket, known) {
            return Err(other_machine(&member).into());
        }
        match self.add_completion(&session, &member).await? {
            true => Ok(()),
            false => Err(self.no_task(known).await?.into()),
        }
    }

    /// A machine reports the end of the session that it was booted for; its host has another by now.
    async fn complete_before(
        &self,
        known: &Known,
        told: SessionId,
        refusal: Refusal,
    ) -> ClientResult<()> {
        // Its driver decides, as long as it is active.
        if let Some(handle) = self.start(told).await? {
            let peer = self.peer(known, self.job_of(&known.host, &handle))?;
            return match handle.complete(known.host.id, peer).await {
                Ok(()) => Ok(()),
                Err(again @ Refusal::AskAgain(_)) => Err(again.into()),
                Err(_) => Err(refusal.into()),
            };
        }
        let session = self.store.session(told).await?;
        let found = session.and_then(|session| part(session, known));
        let _one_at_a_time = self.turn(found, known).await;
        let session = self.store.session(told).await?;
        let found = session.and_then(|session| part(session, known));
        let is_own = |member: &Member| Self::is_own(member.address, member.ticket, known);
        match found.filter(|(_, member)| is_own(member)) {
            Some((session, member)) if self.add_completion(&session, &member).await? => Ok(()),
            _ => Err(refusal.into()),
        }
    }

    /// Whether a report counts that comes after the host's part is over. Call it in a [turn](Self::turn) that has
    /// begun before the session was read.
    async fn add_completion(&self, session: &Session, member: &Member) -> ClientResult<bool> {
        match (member.state, &member.reason) {
            (State::Complete, _) => Ok(true),
            (State::Failed, Some(reason)) if reason.awaits_report() => {
                self.amend(session, member, State::Complete, Reason::WrittenLate)
                    .await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A client reports that it failed, or warns.
    ///
    /// # Errors
    /// If it does not count, or has to be asked again.
    pub async fn failed(&self, known: &Known, text: String, is_warning: bool) -> ClientResult<()> {
        if self.failed_alone(known, &text, is_warning).await? {
            return Ok(());
        }
        let Some(handle) = self.reported_session(known).await? else {
            return self.failed_late(known, text, is_warning).await;
        };
        let peer = match self.peer(known, self.job_of(&known.host, &handle)) {
            Ok(peer) => peer,
            Err(Refusal::OtherJob { told, .. }) => {
                return self.failed_before(known, told, text, is_warning).await;
            }
            Err(refusal) => return Err(refusal.into()),
        };
        handle.failed(known.host.id, peer, text, is_warning).await?;
        Ok(())
    }

    /// The session does not run any more: the reason often comes after the consequence, and a failure
    /// that comes after a completion is never ignored.
    async fn failed_late(&self, known: &Known, text: String, is_warning: bool) -> ClientResult<()> {
        let _one_at_a_time = self.turn(self.own_part(known).await?, known).await;
        let Some((session, member)) = self.own_part(known).await? else {
            self.foreign(known, None, text).await?;
            return Err(self.no_task(known).await?.into());
        };
        self.add_failure(known, session, member, text, is_warning)
            .await
    }

    /// A machine reports a failure of the session that it was booted for; its host has another by now.
    async fn failed_before(
        &self,
        known: &Known,
        told: SessionId,
        text: String,
        is_warning: bool,
    ) -> ClientResult<()> {
        // Its driver decides, as long as it is active.
        if let Some(handle) = self.start(told).await? {
            let peer = self.peer(known, self.job_of(&known.host, &handle))?;
            handle.failed(known.host.id, peer, text, is_warning).await?;
            return Ok(());
        }
        let session = self.store.session(told).await?;
        let found = session.and_then(|session| part(session, known));
        let _one_at_a_time = self.turn(found, known).await;
        let session = self.store.session(told).await?;
        let Some((session, member)) = session.and_then(|session| part(session, known)) else {
            self.foreign(known, None, text).await?;
            return Err(Refusal::NotCheckedIn.into());
        };
        self.add_failure(known, session, member, text, is_warning)
            .await
    }

    /// Waits for its turn to change a result. Strangers' reports change none: without end, they would keep
    /// those of the machines waiting.
    async fn turn(
        &self,
        found: Option<(Session, Member)>,
        known: &Known,
    ) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let (_, member) = found?;
        match Self::is_own(member.address, member.ticket, known) {
            true => Some(self.late.lock().await),
            false => None,
        }
    }

    /// Call it in a [turn](Self::turn) that has begun before the session was read.
    async fn add_failure(
        &self,
        known: &Known,
        session: Session,
        member: Member,
        text: String,
        is_warning: bool,
    ) -> ClientResult<()> {
        if !Self::is_own(member.address, member.ticket, known) {
            self.foreign(known, Some(&session), text).await?;
            return Err(other_machine(&member).into());
        }
        let now = clock::now();
        let is_recent = session
            .ended_at
            .is_none_or(|at| now.seconds_since(at) <= REPORT_LIMIT);
        let host = Some(known.host.id);
        let reason = member
            .reason
            .as_ref()
            .and_then(|reason| reason.with_report(&text));
        match reason {
            Some(reason) if !is_warning && is_recent && member.state != State::Cancelled => {
                self.amend(&session, &member, State::Failed, reason).await
            }
            _ if is_recent => {
                let note = Note::Warning { text };
                self.store
                    .add_event(now, Some(session.id), host, note)
                    .await?;
                Ok(())
            }
            // Of no session any more; it is kept all the same.
            _ => {
                let subject = Subject::Host(known.host.name.clone());
                let line = format!("a report without a task: {text}");
                self.log
                    .repeated(now, Level::Warn, &subject, "reports without a task", &line);
                let note = Note::Warning { text };
                self.store.add_event(now, None, host, note).await?;
                Ok(())
            }
        }
    }

    /// Replaces the result of a host in a session that is over, and that of the session.
    async fn amend(
        &self,
        session: &Session,
        member: &Member,
        state: State,
        reason: Reason,
    ) -> ClientResult<()> {
        // As it is stored now: another host may have reported meanwhile.
        let session = self.store.session(session.id).await?;
        let session = session.ok_or(AskAgain::NotStored)?;
        let now = clock::now();
        let mut facts = vec![Fact::MemberEnded {
            host: member.host,
            state,
            reason: reason.clone(),
        }];
        // A session that failed as a whole keeps its reason.
        let is_sum = matches!(
            session.reason,
            Some(Reason::Summary(_) | Reason::AllCancelled) | None
        );
        if !session.state.is_active() && is_sum {
            let unknown = Reason::TaskCancelled;
            let endings = session.members.iter().map(|other| {
                if other.host == member.host {
                    return (other.name.as_str(), state, &reason);
                }
                let reason = other.reason.as_ref().unwrap_or(&unknown);
                (other.name.as_str(), other.state, reason)
            });
            let (state, reason) = summary(endings);
            facts.push(Fact::Ended { state, reason });
        }
        let conflicts = self.store.apply(now, session.id, facts).await?;
        if conflicts.iter().any(|conflict| conflict.fact == 0) {
            return Err(AskAgain::NotStored.into());
        }
        let line = format!("host {}: {state}: {}", member.name, text::reason(&reason));
        let level = match state {
            State::Failed => Level::Warn,
            _ => Level::Info,
        };
        let subject = Subject::Session {
            id: session.id.0,
            name: session.name,
        };
        self.log.line(now, level, &subject, &line);
        Ok(())
    }

    /// A report from where the host did not check in.
    async fn foreign(
        &self,
        known: &Known,
        session: Option<&Session>,
        text: String,
    ) -> Result<(), StoreError> {
        let note = Note::ForeignReport {
            address: known.request.address,
            text,
        };
        let session = session.map(|session| session.id);
        let host = Some(known.host.id);
        self.store
            .add_event(clock::now(), session, host, note)
            .await
    }

    /// The session that a report is for, if it is active: the one that the reporting machine checked in for, if
    /// its ticket names one, else the one that its host is in.
    async fn reported_session(&self, known: &Known) -> ClientResult<Option<Handle>> {
        let active = self.active_session_of(known.host.id).await?;
        if known.request.ticket.is_none() {
            return Ok(active);
        }
        match self.session_of_machine(known).await? {
            Some(own) if active.as_ref().map(|handle| handle.job.session) != Some(own.id) => {
                match own.state.is_active() {
                    true => self.start(own.id).await,
                    false => Ok(None),
                }
            }
            _ => Ok(active),
        }
    }

    /// The newest session that this very machine checked in for.
    async fn session_of_machine(&self, known: &Known) -> Result<Option<Session>, StoreError> {
        let IpAddr::V4(address) = known.request.address else {
            return Ok(None);
        };
        let ticket = known.request.ticket;
        self.store
            .session_of_machine(known.host.id, address, ticket)
            .await
    }

    /// The session that the reporting machine took part in, whatever its host was in since; else the newest one
    /// of its host. And the host's part in it.
    async fn own_part(&self, known: &Known) -> Result<Option<(Session, Member)>, StoreError> {
        let session = match self.session_of_machine(known).await? {
            Some(own) => Some(own),
            None => self.store.last_session(known.host.id).await?,
        };
        Ok(session.and_then(|session| part(session, known)))
    }

    /// A client cannot use the image share.
    ///
    /// # Errors
    /// If another machine says so, or the host has nothing to do.
    pub async fn blamed(&self, known: &Known) -> ClientResult<()> {
        if self.blamed_alone(known).await? {
            return Ok(());
        }
        let handle = self.session_of(known).await?;
        let peer = self.peer(known, self.job_of(&known.host, &handle))?;
        let task = self.store.active_task(known.host.id).await?;
        handle.blamed(known.host.id, peer).await?;
        if let Some((task, _)) = task {
            self.note_node_failure(task).await?;
        }
        Ok(())
    }
}

/// A session and the part of a host in it.
fn part(session: Session, known: &Known) -> Option<(Session, Member)> {
    let mut members = session.members.iter();
    let member = members.find(|member| member.host == known.host.id)?.clone();
    Some((session, member))
}

fn other_machine(member: &Member) -> Refusal {
    match member.address {
        Some(address) => Refusal::AnotherMachine { address },
        None => Refusal::NotCheckedIn,
    }
}

/// Seconds after the end of a session in which reports change its result.
const REPORT_LIMIT: u64 = 600;
