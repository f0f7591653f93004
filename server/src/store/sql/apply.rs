//! What a session decided: each fact by compare and set.

use std::net::Ipv4Addr;

use fog::task::State;

use super::claims;
use super::events::{self, TaskLog};
use super::follow_ups;
use super::row::{ACTIVE, args, fit, in_states};
use super::sessions;
use super::tx::{Columns, Tx};
use crate::domain::follow_up::FollowUp;
use crate::domain::handout::Ticket;
use crate::domain::session::{Client, Fact, Note};
use crate::domain::task::{may_become, session_may_become, session_sources};
use crate::domain::{HostId, ImageId, Reason, SessionId, TaskId, Timestamp};
use crate::store::node::Held;
use crate::store::{Change, Conflict, Found, Result, StoreError};

/// Stores facts of a session in their order.
pub(super) async fn apply(
    tx: &mut Tx,
    at: Timestamp,
    session: SessionId,
    held: Option<Held>,
    facts: Vec<Fact>,
) -> Result<Vec<Conflict>> {
    // A mistake of the caller's must not be found when half of it is stored.
    facts.iter().try_for_each(check)?;
    let mut conflicts = Vec::new();
    if !claims::may_store(tx, session, held.as_ref()).await? {
        let found = Found::OtherServer;
        conflicts.extend((0..facts.len()).map(|fact| Conflict { fact, found }));
        return Ok(conflicts);
    }
    let mut subject = Subject::load(tx, at, session).await?;
    for (index, fact) in facts.into_iter().enumerate() {
        let outcome = match &mut subject {
            Some(subject) => subject.store(tx, fact).await?,
            None => Outcome::Conflict(Found::Session(None)),
        };
        match outcome {
            Outcome::Stored => {
                tx.changed(Change::Session(session));
                // Where FOG's tables undo nothing, ours keep up with them.
                tx.checkpoint().await?;
            }
            Outcome::Known => {}
            Outcome::Conflict(found) => conflicts.push(Conflict { fact: index, found }),
        }
    }
    Ok(conflicts)
}

/// What became of a fact.
enum Outcome {
    Stored,
    /// It was stored before.
    Known,
    /// A row does not allow it.
    Conflict(Found),
}

/// The session whose facts are stored.
struct Subject {
    id: SessionId,
    at: Timestamp,
    state: State,
    image: ImageId,
    image_name: String,
}

/// A host of the session.
struct Member {
    host: HostId,
    task: TaskId,
    name: String,
    ip: String,
    ticket: String,
    agent: String,
    has_checked_in: bool,
    reason: (String, String),
    /// Of its task; `None` if that is gone.
    state: Option<State>,
    /// The same as FOG's table holds it.
    stored: Option<State>,
}

impl Subject {
    async fn load(tx: &mut Tx, at: Timestamp, id: SessionId) -> Result<Option<Self>> {
        let sql = "SELECT msID, msImage FROM multicastSessions WHERE msID = ?";
        let Some(row) = tx.row(sql, args![id]).await? else {
            return Ok(None);
        };
        let image = sessions::image_id(&row)?;
        let image_name = sessions::image_name(tx, image).await?;
        sessions::adopt(tx, id).await?;
        let Some(state) = sessions::stored_state(tx, id).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            id,
            at,
            state,
            image,
            image_name,
        }))
    }

    async fn store(&mut self, tx: &mut Tx, fact: Fact) -> Result<Outcome> {
        match fact {
            Fact::CheckedIn {
                host,
                address,
                ticket,
                agent,
                count,
            } => {
                let outcome = self.check_in(tx, host, address, ticket, &agent).await?;
                if !matches!(outcome, Outcome::Conflict(_)) {
                    self.set_count(tx, count).await?;
                }
                Ok(outcome)
            }
            Fact::StreamStarting {
                stream,
                run,
                has_records,
            } => self.start(tx, stream, run, has_records).await,
            Fact::StartRevoked {
                stream,
                run,
                is_first,
            } => self.revoke_start(tx, stream, run, is_first).await,
            Fact::StreamsDone { host, count } => self.set_streams_done(tx, host, count).await,
            Fact::MemberEnded {
                host,
                state,
                reason,
            } => self.end_member(tx, host, state, reason).await,
            Fact::FollowUpDue => Ok(match follow_ups::of(tx, self.id).await? {
                FollowUp::None if self.state.is_active() => {
                    follow_ups::set_due(tx, self.id).await?;
                    Outcome::Stored
                }
                FollowUp::None => Outcome::Conflict(Found::Session(Some(self.state))),
                FollowUp::Due | FollowUp::Made(_) => Outcome::Known,
            }),
            Fact::Ended { state, reason } => self.end(tx, state, reason).await,
            Fact::Noted { host, note } => {
                let is_kept = events::add(tx, self.at, Some(self.id), host, &note).await?;
                Ok(if is_kept {
                    Outcome::Stored
                } else {
                    Outcome::Known
                })
            }
        }
    }

    async fn check_in(
        &self,
        tx: &mut Tx,
        host: HostId,
        address: Ipv4Addr,
        ticket: Option<Ticket>,
        client: &Client,
    ) -> Result<Outcome> {
        if !self.state.is_active() {
            return Ok(Outcome::Conflict(Found::Session(Some(self.state))));
        }
        let Some(member) = self.member(tx, host).await? else {
            return Ok(Outcome::Conflict(Found::Task(None)));
        };
        let ip = address.to_string();
        let ticket = ticket.map(|ticket| ticket.to_string()).unwrap_or_default();
        let agent = fog::encoding::printable(&client.name, MAX_AGENT);
        let kind = sessions::client_number(client.kind);
        let is_known = member.has_checked_in
            && (&member.ip, &member.ticket, &member.agent) == (&ip, &ticket, &agent);
        if is_known && member.state == Some(State::InProgress) {
            return Ok(Outcome::Known);
        }
        let columns = vec![
            ("taskCheckIn", self.at.into()),
            ("taskScheduledStartTime", self.at.into()),
            ("taskImageID", self.image.into()),
        ];
        let to = State::InProgress;
        if !member.set_state(tx, self.id, to, columns).await? {
            let found = self.member(tx, host).await?.and_then(|member| member.state);
            return Ok(Outcome::Conflict(Found::Task(found)));
        }
        let sql = "UPDATE fos_sessionHosts SET ip = ?, ticket = ?, agent = ?, client = ?, \
            checkedInAt = ?, state = ? WHERE msID = ? AND hostID = ?";
        let values = args![
            ip.as_str(),
            ticket,
            agent,
            kind,
            self.at,
            State::InProgress,
            self.id,
            host
        ];
        tx.run(sql, values).await?;
        let columns = vec![("hostIP", ip.as_str().into())];
        tx.set("hosts", columns, "hostID = ?", args![host]).await?;
        events::log_start(tx, self.at, host, &self.image_name, "down").await?;
        let note = Note::CheckedIn { address };
        self.log(tx, &member, &ip, State::InProgress, None, &note)
            .await?;
        Ok(Outcome::Stored)
    }

    /// Stores how many hosts have checked in.
    async fn set_count(&mut self, tx: &mut Tx, count: u32) -> Result<()> {
        let sql = format!(
            "UPDATE multicastSessions SET msClients = ?, msState = ? \
             WHERE msID = ? AND msState IN {}",
            in_states(session_sources(State::InProgress))
        );
        tx.run(&sql, args![count, State::InProgress, self.id])
            .await?;
        self.state = State::InProgress;
        Ok(())
    }

    async fn start(
        &self,
        tx: &mut Tx,
        stream: usize,
        run: u32,
        has_records: bool,
    ) -> Result<Outcome> {
        if !self.state.is_active() {
            return Ok(Outcome::Conflict(Found::Session(Some(self.state))));
        }
        let note = Note::StreamStarting { stream, run };
        if self.is_noted(tx, &note).await? {
            return Ok(Outcome::Known);
        }
        let runs = run.saturating_add(1);
        let sql = "UPDATE fos_sessions SET startedAt = COALESCE(startedAt, ?), records = ?, \
            runs = CASE WHEN runs < ? THEN ? ELSE runs END WHERE msID = ?";
        let values = args![self.at, has_records, runs, runs, self.id];
        tx.run(sql, values).await?;
        events::add(tx, self.at, Some(self.id), None, &note).await?;
        Ok(Outcome::Stored)
    }

    async fn revoke_start(
        &self,
        tx: &mut Tx,
        stream: usize,
        run: u32,
        is_first: bool,
    ) -> Result<Outcome> {
        if !self.state.is_active() {
            return Ok(Outcome::Conflict(Found::Session(Some(self.state))));
        }
        let note = Note::StartRevoked { stream, run };
        if self.is_noted(tx, &note).await? {
            return Ok(Outcome::Known);
        }
        if is_first {
            let sql = "UPDATE fos_sessions SET startedAt = NULL, records = 0 WHERE msID = ?";
            tx.run(sql, args![self.id]).await?;
        }
        events::add(tx, self.at, Some(self.id), None, &note).await?;
        Ok(Outcome::Stored)
    }

    /// Whether an event of the session is stored.
    async fn is_noted(&self, tx: &mut Tx, note: &Note) -> Result<bool> {
        let (code, details) = note.to_parts();
        let sql = "SELECT COUNT(*) FROM fos_events WHERE msID = ? AND hostID = 0 AND code = ? \
            AND details = ?";
        let found = tx.number(sql, args![self.id, code, details]).await?;
        Ok(found != Some(0))
    }

    async fn set_streams_done(&self, tx: &mut Tx, host: HostId, count: u32) -> Result<Outcome> {
        if self.member(tx, host).await?.is_none() {
            return Ok(Outcome::Conflict(Found::Task(None)));
        }
        let sql = "UPDATE fos_sessionHosts SET streamsDone = ? \
            WHERE msID = ? AND hostID = ? AND streamsDone < ?";
        let changed = tx.run(sql, args![count, self.id, host, count]).await?;
        Ok(if changed > 0 {
            Outcome::Stored
        } else {
            Outcome::Known
        })
    }

    async fn end_member(
        &self,
        tx: &mut Tx,
        host: HostId,
        state: State,
        reason: Reason,
    ) -> Result<Outcome> {
        let Some(member) = self.member(tx, host).await? else {
            return Ok(Outcome::Conflict(Found::Task(None)));
        };
        let parts = parts(&reason);
        let is_same = member.state == Some(state);
        if is_same && member.reason == parts {
            return Ok(Outcome::Known);
        }
        // After a failure only what was missing may still come.
        let (code, details) = &member.reason;
        let is_too_late = member.state == Some(State::Failed)
            && state == State::Complete
            && !Reason::from_parts(code, details).is_some_and(|old| old.awaits_report());
        if is_too_late {
            return Ok(Outcome::Conflict(Found::Task(member.state)));
        }
        // It was cut off when the task was stored and nothing else.
        let is_half = is_same && !tx.is_undone() && member.reason.0.is_empty();
        if !is_same {
            let percent = match state {
                State::Complete => vec![
                    ("taskPCT", 100_i64.into()),
                    ("taskPercentText", "100".into()),
                ],
                _ => Vec::new(),
            };
            if !member.set_state(tx, self.id, state, percent).await? {
                let found = self.member(tx, host).await?.and_then(|member| member.state);
                return Ok(Outcome::Conflict(Found::Task(found)));
            }
        }
        if state == State::Complete && (!is_same || is_half) {
            set_deployed(tx, self.at, host, self.image).await?;
        }
        let (code, details) = parts;
        let sql = "UPDATE fos_sessionHosts SET state = ?, reasonCode = ?, reasonDetails = ? \
            WHERE msID = ? AND hostID = ?";
        tx.run(sql, args![state, code, details, self.id, host])
            .await?;
        let note = Note::MemberEnded {
            state,
            reason: reason.clone(),
        };
        self.log(tx, &member, &member.ip, state, Some(&reason), &note)
            .await?;
        Ok(Outcome::Stored)
    }

    async fn end(&mut self, tx: &mut Tx, state: State, reason: Reason) -> Result<Outcome> {
        let (code, details) = parts(&reason);
        if self.state == state {
            let sql = "SELECT COUNT(*) FROM fos_sessions WHERE msID = ? AND reasonCode = ? \
                AND reasonDetails = ?";
            let values = args![self.id, code.as_str(), details.as_str()];
            if tx.number(sql, values).await? == Some(1) {
                return Ok(Outcome::Known);
            }
        } else if !session_may_become(self.state, state) {
            return Ok(Outcome::Conflict(Found::Session(Some(self.state))));
        } else {
            if state == State::Failed {
                self.foretell_failure(tx).await?;
            }
            let has_ended = match self.state.is_active() {
                true => self.close(tx, state, &reason).await?,
                false => {
                    let from = vec![tx.fogs_state(self.state)];
                    self.set_state(tx, state, &from, Vec::new()).await?
                }
            };
            if !has_ended {
                let found = sessions::stored_state(tx, self.id).await?;
                return Ok(Outcome::Conflict(Found::Session(found)));
            }
            if state == State::Cancelled {
                follow_ups::unset(tx, self.id).await?;
            }
        }
        let sql = "UPDATE fos_sessions SET reasonCode = ?, reasonDetails = ?, failed = ? \
            WHERE msID = ?";
        let has_failed = state == State::Failed;
        tx.run(sql, args![code, details, has_failed, self.id])
            .await?;
        self.state = state;
        let note = Note::Ended { state, reason };
        events::add(tx, self.at, Some(self.id), None, &note).await?;
        Ok(Outcome::Stored)
    }

    /// Ends an active session as FOG does: associations deleted, name emptied, counter 0, end time set.
    /// Whether it was still active.
    async fn close(&self, tx: &mut Tx, state: State, reason: &Reason) -> Result<bool> {
        sessions::update_percent(tx, self.id).await?;
        // Each host has its reason by now; this is for rows of other programs.
        let (code, details) = left_over(state, reason)
            .as_ref()
            .map(parts)
            .unwrap_or_default();
        end_tasks(
            tx,
            self.id,
            State::Cancelled,
            &format!("IN {ACTIVE}"),
            (&code, &details),
        )
        .await?;
        let sql = "DELETE FROM multicastSessionsAssoc WHERE msID = ?";
        tx.run(sql, args![self.id]).await?;
        let columns = vec![
            ("msName", "".into()),
            ("msClients", 0_i64.into()),
            ("msCompleteDateTime", self.at.into()),
        ];
        let active = session_sources(state);
        let active: Vec<State> = active.iter().copied().filter(|s| s.is_active()).collect();
        self.set_state(tx, state, &active, columns).await
    }

    /// What FOG's row cannot say has to be known before it says something else.
    async fn foretell_failure(&self, tx: &mut Tx) -> Result<()> {
        if !tx.is_undone() && !tx.knows_failed() {
            let sql = "UPDATE fos_sessions SET failed = 1 WHERE msID = ?";
            tx.run(sql, args![self.id]).await?;
            tx.checkpoint().await?;
        }
        Ok(())
    }

    /// Sets the state of the session, with other columns, if it is one of these; whether it was.
    async fn set_state(
        &self,
        tx: &mut Tx,
        to: State,
        from: &[State],
        mut columns: Columns,
    ) -> Result<bool> {
        columns.push(("msState", tx.fogs_state(to).into()));
        let condition = format!("msID = ? AND msState IN {}", in_states(from));
        let id = args![self.id];
        let met = tx.set(sessions::TABLE, columns, &condition, id).await?;
        Ok(met > 0)
    }

    /// A host of the session; those of FOG's own sessions get a row of ours.
    async fn member(&self, tx: &mut Tx, host: HostId) -> Result<Option<Member>> {
        let sql = "SELECT msID, hostID, taskID, hostName, ip, ticket, agent, checkedInAt, state, \
            reasonCode, reasonDetails FROM fos_sessionHosts WHERE msID = ? AND hostID = ?";
        let mut row = tx.row(sql, args![self.id, host]).await?;
        if row.is_none() {
            sessions::adopt_member(tx, self.id, host).await?;
            row = tx.row(sql, args![self.id, host]).await?;
        }
        let Some(row) = row else {
            return Ok(None);
        };
        let cells = row.of("fos_sessionHosts", &["msID", "hostID"]);
        let task = TaskId(cells.int("taskID")?);
        let sql = "SELECT taskID, taskStateID FROM tasks WHERE taskID = ?";
        let found = tx.row(sql, args![task]).await?;
        let stored = found.map(|row| row.of("tasks", &["taskID"]).state("taskStateID"));
        let stored = stored.transpose()?;
        let knows_failed = tx.knows_failed();
        let state = stored.map(|state| sessions::task_state(state, &cells, knows_failed));
        Ok(Some(Member {
            host,
            task,
            name: cells.text("hostName")?,
            ip: cells.text("ip")?,
            ticket: cells.text("ticket")?,
            agent: cells.text("agent")?,
            has_checked_in: !cells.optional_text("checkedInAt")?.is_empty(),
            reason: cells.reason_parts()?,
            state: state.transpose()?,
            stored,
        }))
    }

    /// An event of a host; FOG's log has it, too, unless it had enough of that host.
    async fn log(
        &self,
        tx: &mut Tx,
        member: &Member,
        ip: &str,
        state: State,
        reason: Option<&Reason>,
        note: &Note,
    ) -> Result<()> {
        if !events::add(tx, self.at, Some(self.id), Some(member.host), note).await? {
            return Ok(());
        }
        let entry = TaskLog {
            task: member.task,
            state,
            ip,
            reason,
            host: member.host,
            host_name: &member.name,
            image_name: &self.image_name,
            type_name: "Multi-Cast",
        };
        events::log_task(tx, self.at, &entry).await
    }
}

impl Member {
    /// Sets the state of the task, with other columns, if it may become that and is as it was read; whether
    /// it was.
    async fn set_state(
        &self,
        tx: &mut Tx,
        session: SessionId,
        to: State,
        mut columns: Columns,
    ) -> Result<bool> {
        let (Some(state), Some(stored)) = (self.state, self.stored) else {
            return Ok(false);
        };
        if !may_become(state, to) {
            return Ok(false);
        }
        if to == State::Failed && !tx.is_undone() && !tx.knows_failed() {
            // What FOG's row cannot say has to be known before it says something else.
            let sql = "UPDATE fos_sessionHosts SET state = ? WHERE msID = ? AND hostID = ?";
            tx.run(sql, args![to, session, self.host]).await?;
            tx.checkpoint().await?;
        }
        columns.push(("taskStateID", tx.fogs_state(to).into()));
        let as_read = args![self.task, stored];
        let condition = "taskID = ? AND taskStateID = ?";
        Ok(tx.set("tasks", columns, condition, as_read).await? > 0)
    }
}

/// Characters of what a client calls itself.
const MAX_AGENT: usize = 80;

/// Fails a session with its active tasks, whatever else is in its rows; whether anything of it was not
/// over.
pub(super) async fn fail_broken(
    tx: &mut Tx,
    at: Timestamp,
    session: SessionId,
    held: Option<Held>,
    reason: Reason,
) -> Result<bool> {
    if !claims::may_store(tx, session, held.as_ref()).await? {
        return Ok(false);
    }
    let sql = "SELECT COUNT(*) FROM multicastSessions WHERE msID = ?";
    if tx.number(sql, args![session]).await? == Some(0) {
        return Ok(false);
    }
    sessions::adopt(tx, session).await?;
    let (code, details) = parts(&Reason::SessionFailed(Box::new(reason.clone())));
    let mut has_ended = end_tasks(tx, session, State::Failed, NOT_OVER, (&code, &details)).await?;
    let columns = vec![
        ("msState", tx.fogs_state(State::Failed).into()),
        ("msCompleteDateTime", at.into()),
    ];
    let condition = format!("msID = ? AND msState {NOT_OVER}");
    if !tx.is_undone() {
        let sql = format!(
            "UPDATE fos_sessions SET failed = 1 WHERE msID IN \
             (SELECT msID FROM multicastSessions WHERE {condition})"
        );
        tx.run(&sql, args![session]).await?;
        tx.checkpoint().await?;
    }
    let id = args![session];
    if tx.set(sessions::TABLE, columns, &condition, id).await? > 0 {
        has_ended = true;
        let (code, details) = parts(&reason);
        let sql = "UPDATE fos_sessions SET reasonCode = ?, reasonDetails = ?, failed = 1 \
            WHERE msID = ?";
        tx.run(sql, args![code, details, session]).await?;
        let note = Note::Ended {
            state: State::Failed,
            reason,
        };
        events::add(tx, at, Some(session), None, &note).await?;
    }
    if has_ended {
        tx.changed(Change::Session(session));
    }
    Ok(has_ended)
}

/// Ends the tasks of a session whose state meets a condition, and answers whether there are such; a host
/// without a reason gets this one.
async fn end_tasks(
    tx: &mut Tx,
    session: SessionId,
    to: State,
    condition: &str,
    (code, details): (&str, &str),
) -> Result<bool> {
    let sql = format!(
        "UPDATE fos_sessionHosts SET state = ?, \
         reasonDetails = CASE WHEN reasonCode = '' THEN ? ELSE reasonDetails END, \
         reasonCode = CASE WHEN reasonCode = '' THEN ? ELSE reasonCode END \
         WHERE msID = ? AND (EXISTS (SELECT 1 FROM tasks \
         WHERE tasks.taskID = fos_sessionHosts.taskID AND taskStateID {condition}) \
         OR (state {condition} AND NOT EXISTS (SELECT 1 FROM tasks \
         WHERE tasks.taskID = fos_sessionHosts.taskID)))"
    );
    let members = tx.run(&sql, args![to, details, code, session]).await?;
    tx.checkpoint().await?;
    let columns = vec![("taskStateID", tx.fogs_state(to).into())];
    let condition = format!(
        "taskStateID {condition} AND taskID IN \
         (SELECT tID FROM multicastSessionsAssoc WHERE msID = ? \
         UNION SELECT taskID FROM fos_sessionHosts WHERE msID = ?)"
    );
    let of_session = args![session, session];
    let tasks = tx.set("tasks", columns, &condition, of_session).await?;
    Ok(members > 0 || tasks > 0)
}

/// What FOG does at the end of a deploy: times stored, the keys of the old installation forgotten.
pub(super) async fn set_deployed(
    tx: &mut Tx,
    at: Timestamp,
    host: HostId,
    image: ImageId,
) -> Result<()> {
    let mut columns: Columns = vec![
        ("hostLastDeploy", at.into()),
        ("hostPubKey", "".into()),
        ("hostSecToken", "".into()),
    ];
    if tx.has("hosts", "hostSecTokenPrev") {
        columns.push(("hostSecTokenPrev", "".into()));
    }
    if tx.has("hosts", "hostInfoLock") {
        columns.push(("hostInfoLock", 0_i64.into()));
    }
    tx.set("hosts", columns, "hostID = ?", args![host]).await?;
    tx.changed(Change::Hosts);
    let columns = vec![("imageLastDeploy", at.into())];
    tx.set("images", columns, "imageID = ?", args![image])
        .await?;
    events::log_finish(tx, at, host).await
}

/// Why a host's part ended that was still active when its session ended.
fn left_over(state: State, reason: &Reason) -> Option<Reason> {
    match state {
        State::Failed => Some(Reason::SessionFailed(Box::new(reason.clone()))),
        State::Cancelled => Some(Reason::SessionCancelled),
        _ => None,
    }
}

/// Code and details as they are stored.
pub(super) fn parts(reason: &Reason) -> (String, String) {
    let (code, details) = reason.to_parts();
    (code, fit(details, MAX_REASON))
}

/// Bytes of a reason's details.
const MAX_REASON: usize = 32 << 10;

fn check(fact: &Fact) -> Result<()> {
    match fact {
        Fact::MemberEnded { state, .. } | Fact::Ended { state, .. } if state.is_active() => Err(
            StoreError::Internal(format!("{state} is no state to end in")),
        ),
        _ => Ok(()),
    }
}

/// States that are neither over nor known.
const NOT_OVER: &str = "NOT IN (4, 5, 6)";
