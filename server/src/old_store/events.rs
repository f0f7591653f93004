//! `fos_events`: what happened, for people; and FOG's `taskLog`.

use fog::task::State;
use sqlx::FromRow;

use super::{Connection, HostId, SessionId, TaskId, column_text};
use crate::clock::Timestamp;

/// Longest text that is kept, in characters.
pub const MAX_TEXT: usize = 8192;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Event {
    /// Time, FOG's format.
    pub at: String,
    /// Session, 0 for none.
    #[sqlx(rename = "msID")]
    pub session: SessionId,
    /// Host, 0 for none.
    #[sqlx(rename = "hostID")]
    pub host: HostId,
    /// One word.
    pub kind: String,
    /// A sentence.
    pub text: String,
}

/// Stores an event.
///
/// # Errors
/// If the database fails.
pub async fn add(
    conn: &mut Connection,
    now: Timestamp,
    session: Option<SessionId>,
    host: Option<HostId>,
    kind: &str,
    text: &str,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO fos_events (at, msID, hostID, kind, text) VALUES (?, ?, ?, ?, ?)")
        .bind(now.to_string())
        .bind(session.unwrap_or(SessionId(0)))
        .bind(host.unwrap_or(HostId(0)))
        .bind(kind)
        .bind(column_text(text, MAX_TEXT))
        .execute(conn)
        .await?;
    Ok(())
}

/// Most events of a host in a session before its reports are not stored any more.
pub const MAX_OF_HOST: i64 = 200;

/// Whether a host has reported so often in a session (or outside of any) that it is enough.
///
/// # Errors
/// If the database fails.
pub async fn is_full(
    conn: &mut Connection,
    session: Option<SessionId>,
    host: HostId,
) -> sqlx::Result<bool> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM fos_events WHERE msID = ? AND hostID = ?")
            .bind(session.unwrap_or(SessionId(0)))
            .bind(host)
            .fetch_one(conn)
            .await?;
    Ok(count >= MAX_OF_HOST)
}

/// The newest events of a session, oldest first.
///
/// # Errors
/// If the database fails.
pub async fn of_session(
    conn: &mut Connection,
    session: SessionId,
    limit: u32,
) -> sqlx::Result<Vec<Event>> {
    let mut events: Vec<Event> = sqlx::query_as(
        "SELECT at, msID, hostID, kind, text FROM fos_events WHERE msID = ? \
         ORDER BY id DESC LIMIT ?",
    )
    .bind(session)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    events.reverse();
    Ok(events)
}

/// A row of FOG's task log.
#[derive(Debug, Clone)]
pub struct TaskLogEntry<'a> {
    /// Task.
    pub task: TaskId,
    /// Its state after the event.
    pub state: State,
    /// Address of the client, empty if none took part.
    pub ip: &'a str,
    /// `state`, `error` or `warning`.
    pub kind: &'a str,
    /// Text; empty for a change of state.
    pub text: &'a str,
    /// Host.
    pub host: HostId,
    /// Its name.
    pub host_name: &'a str,
    /// The image's name.
    pub image_name: &'a str,
}

/// Writes a row of FOG's task log. Unlike FOG's, its time is the time of the event.
///
/// # Errors
/// If the database fails.
pub async fn log_task(
    conn: &mut Connection,
    now: Timestamp,
    entry: &TaskLogEntry<'_>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO taskLog (taskID, taskStateID, ip, createTime, createdBy, logType, logText, \
         logHostID, logHostName, logTaskTypeName, logImageName) \
         VALUES (?, ?, ?, ?, 'fos-server', ?, ?, ?, ?, 'Multi-Cast', ?)",
    )
    .bind(entry.task)
    .bind(entry.state.number())
    .bind(entry.ip)
    .bind(now.to_string())
    .bind(entry.kind)
    .bind(column_text(entry.text, MAX_TEXT))
    .bind(entry.host)
    .bind(entry.host_name)
    .bind(entry.image_name)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn newest_events_come_oldest_first_without_control_characters() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        for number in 0..5 {
            let text = format!("event\x1b[2J {number}");
            add(
                &mut conn,
                Timestamp(number),
                Some(SessionId(1)),
                None,
                "test",
                &text,
            )
            .await
            .unwrap();
        }
        let events = of_session(&mut conn, SessionId(1), 2).await.unwrap();
        let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(texts, ["event [2J 3", "event [2J 4"]);
        assert!(
            of_session(&mut conn, SessionId(2), 9)
                .await
                .unwrap()
                .is_empty()
        );
    }
}
