//! `fos_events`: what happened, as codes; and FOG's `taskLog`.

use fog::task::State;

use super::row::{Row, args, fit, unless_broken};
use super::tx::Tx;
use crate::domain::session::{Event, Note};
use crate::domain::{HostId, Reason, SessionId, TaskId, Timestamp};
use crate::store::{Change, MAX_EVENTS_OF_HOST, Result};

/// Stores an event on its own.
pub(super) async fn add_note(
    tx: &mut Tx,
    at: Timestamp,
    session: Option<SessionId>,
    host: Option<HostId>,
    note: Note,
) -> Result<()> {
    if add(tx, at, session, host, &note).await?
        && let Some(session) = session
    {
        tx.changed(Change::Session(session));
    }
    Ok(())
}

/// Stores an event unless its host has enough of them; whether it did.
///
/// What a session decides matters more than what clients say: it takes the place of the newest of
/// these where no room is left.
pub(super) async fn add(
    tx: &mut Tx,
    at: Timestamp,
    session: Option<SessionId>,
    host: Option<HostId>,
    note: &Note,
) -> Result<bool> {
    let (of_session, of_host) = (session.unwrap_or(SessionId(0)), host.unwrap_or(HostId(0)));
    let sql = "SELECT COUNT(*) FROM fos_events WHERE msID = ? AND hostID = ?";
    let count = tx.number(sql, args![of_session, of_host]).await?;
    if count.unwrap_or(0) >= i64::from(MAX_EVENTS_OF_HOST)
        && !make_room(tx, of_session, of_host, note).await?
    {
        return Ok(false);
    }
    let name = match host {
        Some(host) => host_name(tx, of_session, host).await?,
        None => String::new(),
    };
    let (code, details) = note.to_parts();
    let sql = "INSERT INTO fos_events (at, msID, hostID, hostName, code, details) \
        VALUES (?, ?, ?, ?, ?, ?)";
    let details = fit(details, MAX_DETAILS);
    let values = args![at, of_session, of_host, name, code, details];
    tx.run(sql, values).await?;
    Ok(true)
}

/// Bytes of an event's details.
const MAX_DETAILS: usize = 8192;

/// Whether a full list takes one more event.
async fn make_room(tx: &mut Tx, session: SessionId, host: HostId, note: &Note) -> Result<bool> {
    const DECIDED: &str = "('created', 'stream-starting', 'member-ended', 'ended', 'checked-in')";
    // A check-in that is repeated matters less than how it ended.
    const LASTING: &str = "('created', 'stream-starting', 'member-ended', 'ended')";
    let stages: &[&str] = match note {
        Note::CheckedIn { .. } => &[DECIDED],
        Note::Created { .. }
        | Note::StreamStarting { .. }
        | Note::MemberEnded { .. }
        | Note::Ended { .. } => &[DECIDED, LASTING],
        _ => return Ok(false),
    };
    for kept in stages {
        let sql = format!(
            "SELECT MAX(id) FROM fos_events WHERE msID = ? AND hostID = ? AND code NOT IN {kept}"
        );
        if let Some(id) = tx.number(&sql, args![session, host]).await? {
            let sql = "DELETE FROM fos_events WHERE id = ?";
            tx.run(sql, args![id]).await?;
            return Ok(true);
        }
    }
    // What the session itself does is bounded by what it does.
    Ok(host == HostId(0) && session != SessionId(0))
}

/// What a host is called in a session, else now; empty if nobody knows it.
async fn host_name(tx: &mut Tx, session: SessionId, host: HostId) -> Result<String> {
    let sql = "SELECT hostName, msID, hostID FROM fos_sessionHosts WHERE msID = ? AND hostID = ?";
    let member = tx.row(sql, args![session, host]).await?;
    let row = match member {
        Some(row) => Some(row),
        None => {
            let sql = "SELECT hostName, hostID FROM hosts WHERE hostID = ?";
            tx.row(sql, args![host]).await?
        }
    };
    // Only for display.
    let name = row.and_then(|row| row.of("hosts", &["hostID"]).text("hostName").ok());
    Ok(name.unwrap_or_default())
}

/// The newest events after the one with this number, oldest first.
pub(super) async fn of_session(
    tx: &mut Tx,
    session: SessionId,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>> {
    let sql = "SELECT id, at, msID, hostID, hostName, code, details FROM fos_events \
        WHERE msID = ? AND id > ? ORDER BY id DESC LIMIT ?";
    let rows = tx.rows(sql, args![session, after, limit]).await?;
    let events = rows.iter().rev().map(|row| unless_broken(event(row)));
    events.filter_map(Result::transpose).collect()
}

fn event(row: &Row) -> Result<Event> {
    let cells = row.of("fos_events", &["id"]);
    Ok(Event {
        id: cells.int("id")?,
        at: cells.time("at")?,
        session: Some(SessionId(cells.int("msID")?)).filter(|id| id.0 != 0),
        host: Some(HostId(cells.int("hostID")?)).filter(|id| id.0 != 0),
        host_name: cells.text("hostName")?,
        note: Note::from_parts(&cells.text("code")?, &cells.text("details")?),
    })
}

/// A row of FOG's task log. Unlike FOG's, its time is the time of the event.
#[derive(Debug, Clone)]
pub(super) struct TaskLog<'a> {
    /// Task.
    pub(super) task: TaskId,
    /// Its state after the event.
    pub(super) state: State,
    /// Address of the client, empty if none took part.
    pub(super) ip: &'a str,
    /// Why; `None` for a mere change of state.
    pub(super) reason: Option<&'a Reason>,
    /// Host.
    pub(super) host: HostId,
    /// Its name.
    pub(super) host_name: &'a str,
    /// The image's name.
    pub(super) image_name: &'a str,
    /// The task's type, in FOG's words.
    pub(super) type_name: &'a str,
}

/// Writes a row of FOG's task log.
pub(super) async fn log_task(tx: &mut Tx, at: Timestamp, entry: &TaskLog<'_>) -> Result<()> {
    let kind = if entry.state == State::Failed {
        "error"
    } else {
        "state"
    };
    let row = vec![
        ("taskID", entry.task.into()),
        ("taskStateID", tx.fogs_state(entry.state).into()),
        ("ip", entry.ip.into()),
        ("createTime", at.into()),
        ("createdBy", "fos-server".into()),
        ("logType", kind.into()),
        (
            "logText",
            entry.reason.map(log_text).unwrap_or_default().into(),
        ),
        ("logHostID", entry.host.into()),
        ("logHostName", entry.host_name.into()),
        ("logTaskTypeName", entry.type_name.into()),
        ("logImageName", entry.image_name.into()),
    ];
    tx.add("taskLog", row).await?;
    Ok(())
}

/// FOG's log of deploys, which FOG 1.6 has given up: the start of one. What was begun before and not finished is
/// not in it.
pub(super) async fn log_start(
    tx: &mut Tx,
    at: Timestamp,
    host: HostId,
    image_name: &str,
    way: &'static str,
) -> Result<()> {
    if !tx.has_table(DEPLOYS) || tx.knows_failed() {
        return Ok(());
    }
    let sql = format!("DELETE FROM {DEPLOYS} WHERE {UNFINISHED}");
    tx.run(&sql, args![host]).await?;
    let row = vec![
        ("ilHostID", host.into()),
        ("ilStartTime", at.into()),
        ("ilImageName", image_name.into()),
        ("ilType", way.into()),
        ("ilCreatedBy", "fos-server".into()),
    ];
    tx.add(DEPLOYS, row).await?;
    Ok(())
}

/// The end of a deploy that has succeeded.
pub(super) async fn log_finish(tx: &mut Tx, at: Timestamp, host: HostId) -> Result<()> {
    if !tx.has_table(DEPLOYS) || tx.knows_failed() {
        return Ok(());
    }
    let columns = vec![("ilFinishTime", at.into())];
    tx.set(DEPLOYS, columns, UNFINISHED, args![host]).await?;
    Ok(())
}

const DEPLOYS: &str = "imagingLog";

/// A condition: a deploy of a host that is not finished.
const UNFINISHED: &str = "ilHostID = ? AND ilFinishTime = '0000-00-00 00:00:00'";

/// For the lists of FOG's own interface: the client's words, else the code with its details.
fn log_text(reason: &Reason) -> String {
    let text = match reason {
        Reason::ClientFailed { text, .. } | Reason::Words { text } => text.clone(),
        reason => {
            let (code, details) = reason.to_parts();
            format!("{code} {details}")
        }
    };
    fog::encoding::printable(&text, MAX_LOG_TEXT)
}

/// Characters of a text in FOG's task log.
const MAX_LOG_TEXT: usize = 2000;
