//! `fos_sessionHosts`: how each host fared in each session.

use fog::task::State;
use sqlx::FromRow;

use super::{Connection, HostId, SessionId, TaskId, column_text};
use crate::clock::Timestamp;

/// A host in a session.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct SessionHost {
    /// Session.
    #[sqlx(rename = "msID")]
    pub session: SessionId,
    /// Host.
    #[sqlx(rename = "hostID")]
    pub host: HostId,
    /// Its task.
    #[sqlx(rename = "taskID")]
    pub task: TaskId,
    /// Its name when the session was created.
    #[sqlx(rename = "hostName")]
    pub name: String,
    /// Address of the last accepted check-in; empty before.
    pub ip: String,
    /// What the client calls itself; empty for stock clients.
    pub agent: String,
    /// Time of the accepted check-in.
    #[sqlx(rename = "checkedInAt")]
    pub checked_in_at: Option<String>,
    /// Streams that it acknowledged to the end.
    #[sqlx(rename = "streamsDone")]
    pub streams_done: u32,
    /// FOG's word for its task, kept when the task itself is gone.
    pub state: String,
    /// Why it ended as it did.
    pub result: String,
}

const SELECT: &str = "SELECT msID, hostID, taskID, hostName, ip, agent, checkedInAt, streamsDone, \
    state, result FROM fos_sessionHosts";

/// Adds a host to a session.
///
/// # Errors
/// If the database fails.
pub async fn add(
    conn: &mut Connection,
    session: SessionId,
    host: HostId,
    task: TaskId,
    name: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO fos_sessionHosts (msID, hostID, taskID, hostName) VALUES (?, ?, ?, ?)",
    )
    .bind(session)
    .bind(host)
    .bind(task)
    .bind(name)
    .execute(conn)
    .await?;
    Ok(())
}

/// The hosts of a session by name.
///
/// # Errors
/// If the database fails.
pub async fn of_session(
    conn: &mut Connection,
    session: SessionId,
) -> sqlx::Result<Vec<SessionHost>> {
    sqlx::query_as(&format!("{SELECT} WHERE msID = ? ORDER BY hostName"))
        .bind(session)
        .fetch_all(conn)
        .await
}

/// The newest session of a host.
///
/// # Errors
/// If the database fails.
pub async fn newest_of_host(
    conn: &mut Connection,
    host: HostId,
) -> sqlx::Result<Option<SessionHost>> {
    sqlx::query_as(&format!(
        "{SELECT} WHERE hostID = ? ORDER BY msID DESC LIMIT 1"
    ))
    .bind(host)
    .fetch_optional(conn)
    .await
}

/// Stores an accepted check-in.
///
/// # Errors
/// If the database fails.
pub async fn set_checked_in(
    conn: &mut Connection,
    now: Timestamp,
    session: SessionId,
    host: HostId,
    ip: &str,
    agent: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE fos_sessionHosts SET ip = ?, agent = ?, checkedInAt = ? \
         WHERE msID = ? AND hostID = ?",
    )
    .bind(ip)
    .bind(column_text(agent, 80))
    .bind(now.to_string())
    .bind(session)
    .bind(host)
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores how many streams a host acknowledged.
///
/// # Errors
/// If the database fails.
pub async fn set_streams_done(
    conn: &mut Connection,
    session: SessionId,
    host: HostId,
    streams: u32,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE fos_sessionHosts SET streamsDone = ? WHERE msID = ? AND hostID = ?")
        .bind(streams)
        .bind(session)
        .bind(host)
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores how a host ended.
///
/// # Errors
/// If the database fails.
pub async fn set_result(
    conn: &mut Connection,
    session: SessionId,
    host: HostId,
    state: State,
    result: &str,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE fos_sessionHosts SET state = ?, result = ? WHERE msID = ? AND hostID = ?")
        .bind(state.to_string())
        .bind(column_text(result, 2000))
        .bind(session)
        .bind(host)
        .execute(conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn results_outlive_the_session() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        let (first, second, host) = (SessionId(1), SessionId(2), HostId(9));
        for session in [first, second] {
            add(&mut conn, session, host, TaskId(3), "LAB-01")
                .await
                .unwrap();
        }
        set_checked_in(
            &mut conn,
            Timestamp(0),
            second,
            host,
            "10.0.0.9",
            "fos-agent/1\n",
        )
        .await
        .unwrap();
        set_streams_done(&mut conn, second, host, 2).await.unwrap();
        set_result(&mut conn, second, host, State::Failed, "disk full")
            .await
            .unwrap();
        let found = newest_of_host(&mut conn, host).await.unwrap().unwrap();
        assert_eq!((found.session, found.streams_done), (second, 2));
        assert_eq!(
            (found.state.as_str(), found.result.as_str()),
            ("failed", "disk full")
        );
        assert_eq!(found.agent, "fos-agent/1");
        assert_eq!(
            of_session(&mut conn, first).await.unwrap()[0].state,
            "waiting"
        );
    }
}
