//! `multicastSessions` and `multicastSessionsAssoc`.

use fog::task::{ImageType, State};
use sqlx::FromRow;

use super::{Connection, ImageId, SessionId, TaskId, settings};
use crate::clock::Timestamp;

/// A multicast session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Number.
    pub id: SessionId,
    /// Name; FOG empties it at the end, this one stays.
    pub name: String,
    /// Base port, even.
    pub port: u16,
    /// Image.
    pub image: ImageId,
    /// Image directory below the root.
    pub path: String,
    /// How far it is.
    pub state: State,
    /// Wait for the receivers of the first stream, in seconds.
    pub max_wait_seconds: u32,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
    /// Creation.
    pub created_at: String,
    /// End; FOG's zero date while it is active.
    pub ended_at: String,
    /// Time of the first byte sent.
    pub started_at: Option<String>,
    /// Why it ended as it did.
    pub result: String,
}

#[derive(FromRow)]
struct SessionRow {
    #[sqlx(rename = "msID")]
    id: SessionId,
    #[sqlx(rename = "msName")]
    fog_name: String,
    #[sqlx(rename = "msBasePort")]
    port: i64,
    #[sqlx(rename = "msImage")]
    image: String,
    #[sqlx(rename = "msLogPath")]
    path: String,
    #[sqlx(rename = "msState")]
    state: i64,
    #[sqlx(rename = "msMaxwait")]
    max_wait: i64,
    #[sqlx(rename = "msShutdown")]
    shutdown: String,
    #[sqlx(rename = "msStartDateTime")]
    created_at: String,
    #[sqlx(rename = "msCompleteDateTime")]
    ended_at: String,
    name: Option<String>,
    #[sqlx(rename = "startedAt")]
    started_at: Option<String>,
    result: Option<String>,
}

const SELECT: &str = "SELECT multicastSessions.msID, msName, msBasePort, msImage, msLogPath, \
    msState, msMaxwait, msShutdown, msStartDateTime, msCompleteDateTime, name, startedAt, result \
    FROM multicastSessions LEFT JOIN fos_sessions ON fos_sessions.msID = multicastSessions.msID";

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            name: row
                .name
                .filter(|name| !name.is_empty())
                .unwrap_or(row.fog_name),
            port: u16::try_from(row.port).unwrap_or(0),
            image: ImageId(row.image.trim().parse().unwrap_or(0)),
            path: row.path,
            state: State::from_number(row.state).unwrap_or(State::Cancelled),
            max_wait_seconds: u32::try_from(row.max_wait)
                .ok()
                .filter(|s| *s > 0)
                .unwrap_or(600),
            is_shutdown: row.shutdown == "1",
            created_at: row.created_at,
            ended_at: row.ended_at,
            started_at: row.started_at,
            result: row.result.unwrap_or_default(),
        }
    }
}

/// Why no port was found.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// As many sessions as allowed are active.
    #[error(
        "{active} multicast sessions are active and FOG_MULTICAST_MAX_SESSIONS allows {limit}; \
         wait for one to end or cancel one (fos-server status lists them)"
    )]
    TooMany {
        /// Active sessions.
        active: u32,
        /// The setting.
        limit: u32,
    },
    /// All ports of the pool are held.
    #[error(
        "all {count} base ports from {first} on are held by active sessions; cancel one \
         (fos-server status lists them)"
    )]
    AllHeld {
        /// First port.
        first: u16,
        /// Size of the pool.
        count: u32,
    },
    /// The setting makes no sense.
    #[error("FOG_UDPCAST_STARTINGPORT is {0}; it must be an even number from 1024 to 65534")]
    Setting(u32),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// The lowest free base port of the pool: start port, +2, +4, ... Nothing rotates and no setting
/// is changed.
///
/// # Errors
/// If the pool is used up or the settings make no sense.
pub async fn free_port(conn: &mut Connection) -> Result<u16, PortError> {
    let first = settings::number(conn, settings::STARTING_PORT, 63100).await?;
    let limit = settings::number(conn, settings::MAX_SESSIONS, 64).await?;
    let Some(first) = u16::try_from(first)
        .ok()
        .filter(|port| port % 2 == 0 && *port >= 1024)
    else {
        return Err(PortError::Setting(first));
    };
    let held: Vec<(i64,)> =
        sqlx::query_as("SELECT msBasePort FROM multicastSessions WHERE msState IN (0, 1, 2, 3)")
            .fetch_all(conn)
            .await?;
    let active = u32::try_from(held.len()).unwrap_or(u32::MAX);
    if limit != 0 && active >= limit {
        return Err(PortError::TooMany { active, limit });
    }
    // Without a limit: as many as there are ports.
    let count = if limit == 0 { 32768 } else { limit };
    (first..=65534)
        .step_by(2)
        .take(usize::try_from(count).unwrap_or(usize::MAX))
        .find(|port| !held.iter().any(|(taken,)| *taken == i64::from(*port)))
        .ok_or(PortError::AllHeld { first, count })
}

/// What a new session is.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// Name.
    pub name: &'a str,
    /// Base port from [`free_port`], in the same transaction.
    pub port: u16,
    /// Image.
    pub image: ImageId,
    /// Its directory.
    pub path: &'a str,
    /// Its type.
    pub image_type: ImageType,
    /// Wait for the first stream's receivers, in seconds.
    pub max_wait_seconds: u32,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
}

/// Creates a session as FOG does for a group: state 0, counter 0, one association per task.
///
/// # Errors
/// If the database fails.
pub async fn add(
    conn: &mut Connection,
    now: Timestamp,
    session: &NewSession<'_>,
    tasks: &[TaskId],
) -> sqlx::Result<SessionId> {
    let inserted = sqlx::query(
        "INSERT INTO multicastSessions (msName, msBasePort, msLogPath, msImage, msClients, \
         msSessClients, msStartDateTime, msState, msIsDD, msNFSGroupID, msShutdown, msMaxwait) \
         VALUES (?, ?, ?, ?, 0, 0, ?, 0, ?, 1, ?, ?)",
    )
    .bind(session.name)
    .bind(i64::from(session.port))
    .bind(session.path)
    .bind(session.image.to_string())
    .bind(now.to_string())
    .bind(session.image_type.number())
    .bind(if session.is_shutdown { "1" } else { "0" })
    .bind(session.max_wait_seconds)
    .execute(&mut *conn)
    .await?;
    let id = SessionId(inserted.last_insert_rowid());
    sqlx::query("INSERT INTO fos_sessions (msID, name) VALUES (?, ?)")
        .bind(id)
        .bind(session.name)
        .execute(&mut *conn)
        .await?;
    for task in tasks {
        sqlx::query("INSERT INTO multicastSessionsAssoc (msID, tID) VALUES (?, ?)")
            .bind(id)
            .bind(task)
            .execute(&mut *conn)
            .await?;
    }
    Ok(id)
}

/// A session by its number.
///
/// # Errors
/// If the database fails.
pub async fn by_id(conn: &mut Connection, id: SessionId) -> sqlx::Result<Option<Session>> {
    let row: Option<SessionRow> =
        sqlx::query_as(&format!("{SELECT} WHERE multicastSessions.msID = ?"))
            .bind(id)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(Session::from))
}

/// Sessions in states 0 to 3.
///
/// # Errors
/// If the database fails.
pub async fn active(conn: &mut Connection) -> sqlx::Result<Vec<Session>> {
    let rows: Vec<SessionRow> = sqlx::query_as(&format!(
        "{SELECT} WHERE msState IN (0, 1, 2, 3) ORDER BY multicastSessions.msID"
    ))
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Session::from).collect())
}

/// The newest sessions, newest first.
///
/// # Errors
/// If the database fails.
pub async fn newest(conn: &mut Connection, limit: u32) -> sqlx::Result<Vec<Session>> {
    let rows: Vec<SessionRow> = sqlx::query_as(&format!(
        "{SELECT} ORDER BY multicastSessions.msID DESC LIMIT ?"
    ))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Session::from).collect())
}

/// Stores the number of hosts that checked in, and the state "in progress" as FOG does then.
///
/// # Errors
/// If the database fails.
pub async fn set_checked_in(
    conn: &mut Connection,
    id: SessionId,
    clients: u32,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE multicastSessions SET msClients = ?, msState = ? WHERE msID = ?")
        .bind(clients)
        .bind(State::InProgress.number())
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores the highest percent of the session's tasks.
///
/// # Errors
/// If the database fails.
pub async fn update_percent(conn: &mut Connection, id: SessionId) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE multicastSessions SET msPercent = COALESCE((SELECT MAX(taskPCT) FROM tasks \
         JOIN multicastSessionsAssoc ON tID = taskID WHERE multicastSessionsAssoc.msID = ?), 0) \
         WHERE msID = ?",
    )
    .bind(id)
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores that data has begun to flow: from now on nobody can join.
///
/// # Errors
/// If the database fails.
pub async fn set_started(
    conn: &mut Connection,
    now: Timestamp,
    id: SessionId,
    has_records: bool,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE fos_sessions SET startedAt = ?, records = ? WHERE msID = ?")
        .bind(now.to_string())
        .bind(has_records)
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends a session as FOG does: associations deleted, name emptied, counter 0, end time set.
///
/// # Errors
/// If the database fails.
pub async fn end(
    conn: &mut Connection,
    now: Timestamp,
    id: SessionId,
    state: State,
    result: &str,
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM multicastSessionsAssoc WHERE msID = ?")
        .bind(id)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "UPDATE multicastSessions SET msState = ?, msName = '', msClients = 0, \
         msCompleteDateTime = ? WHERE msID = ?",
    )
    .bind(state.number())
    .bind(now.to_string())
    .bind(id)
    .execute(&mut *conn)
    .await?;
    sqlx::query("UPDATE fos_sessions SET result = ? WHERE msID = ?")
        .bind(super::column_text(result, 4000))
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Numbers of the tasks associated with a session.
///
/// # Errors
/// If the database fails.
pub async fn task_ids(conn: &mut Connection, id: SessionId) -> sqlx::Result<Vec<TaskId>> {
    let rows: Vec<(TaskId,)> =
        sqlx::query_as("SELECT tID FROM multicastSessionsAssoc WHERE msID = ? ORDER BY tID")
            .bind(id)
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|(task,)| task).collect())
}

/// Whether an active session uses the image.
///
/// # Errors
/// If the database fails.
pub async fn uses_image(conn: &mut Connection, image: ImageId) -> sqlx::Result<Option<SessionId>> {
    let row: Option<(SessionId,)> = sqlx::query_as(
        "SELECT msID FROM multicastSessions WHERE msImage = ? AND msState IN (0, 1, 2, 3) LIMIT 1",
    )
    .bind(image.to_string())
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(id,)| id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const NOW: Timestamp = Timestamp(1_790_000_000);

    async fn new_session(conn: &mut Connection) -> Result<(SessionId, u16), PortError> {
        let port = free_port(conn).await?;
        let session = NewSession {
            name: "lab",
            port,
            image: ImageId(7),
            path: "dir",
            image_type: ImageType::Resizable,
            max_wait_seconds: 300,
            is_shutdown: false,
        };
        let id = add(conn, NOW, &session, &[TaskId(1), TaskId(2)]).await?;
        Ok((id, port))
    }

    #[tokio::test]
    async fn ports_are_the_lowest_free_of_the_pool_and_never_rotate() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        let mut ids = Vec::new();
        for expected in [63100, 63102, 63104] {
            let (id, port) = new_session(&mut conn).await.unwrap();
            assert_eq!(port, expected);
            ids.push(id);
        }
        end(&mut conn, NOW, ids[1], State::Complete, "")
            .await
            .unwrap();
        assert_eq!(new_session(&mut conn).await.unwrap().1, 63102);
        assert_eq!(
            settings::value(&mut conn, settings::STARTING_PORT)
                .await
                .unwrap(),
            None
        );
    }

    #[tokio::test]
    async fn a_full_pool_and_odd_settings_are_refused() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        settings::set(&mut conn, settings::MAX_SESSIONS, "2")
            .await
            .unwrap();
        settings::set(&mut conn, settings::STARTING_PORT, "65534")
            .await
            .unwrap();
        assert_eq!(new_session(&mut conn).await.unwrap().1, 65534);
        assert!(matches!(
            new_session(&mut conn).await,
            Err(PortError::AllHeld { .. })
        ));
        settings::set(&mut conn, settings::STARTING_PORT, "50000")
            .await
            .unwrap();
        assert_eq!(new_session(&mut conn).await.unwrap().1, 50000);
        assert!(matches!(
            new_session(&mut conn).await,
            Err(PortError::TooMany { .. })
        ));
        for odd in ["63101", "1000", "70000"] {
            settings::set(&mut conn, settings::STARTING_PORT, odd)
                .await
                .unwrap();
            assert!(
                matches!(free_port(&mut conn).await, Err(PortError::Setting(_))),
                "{odd}"
            );
        }
    }

    #[tokio::test]
    async fn an_ended_session_has_no_name_and_no_tasks_in_fogs_tables() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        let (id, _) = new_session(&mut conn).await.unwrap();
        assert_eq!(
            task_ids(&mut conn, id).await.unwrap(),
            [TaskId(1), TaskId(2)]
        );
        assert_eq!(uses_image(&mut conn, ImageId(7)).await.unwrap(), Some(id));
        set_checked_in(&mut conn, id, 2).await.unwrap();
        set_started(&mut conn, NOW, id, true).await.unwrap();
        assert_eq!(active(&mut conn).await.unwrap()[0].state, State::InProgress);
        end(&mut conn, NOW, id, State::Failed, "because")
            .await
            .unwrap();

        let session = by_id(&mut conn, id).await.unwrap().unwrap();
        assert_eq!(
            (session.state, session.result.as_str()),
            (State::Failed, "because")
        );
        assert_eq!(session.name, "lab");
        assert_eq!(session.started_at, Some(NOW.to_string()));
        let (name, clients): (String, i64) =
            sqlx::query_as("SELECT msName, msClients FROM multicastSessions")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
        assert_eq!((name.as_str(), clients), ("", 0));
        assert!(task_ids(&mut conn, id).await.unwrap().is_empty());
        assert!(active(&mut conn).await.unwrap().is_empty());
        assert_eq!(newest(&mut conn, 5).await.unwrap().len(), 1);
    }
}
