//! `tasks`: what a host is to do.

use fog::status::ReceivedStatus;
use fog::task::{State, TASK_TYPE_MULTICAST};
use sqlx::FromRow;

use super::{Connection, HostId, ImageId, SessionId, TaskId};
use crate::clock::Timestamp;

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Number.
    pub id: TaskId,
    /// Name.
    pub name: String,
    /// Whose it is.
    pub host: HostId,
    /// What is deployed.
    pub image: ImageId,
    /// How far it is.
    pub state: State,
    /// Whether the machine is to be switched off at the end.
    pub is_shutdown: bool,
    /// Whether the client offers a shell.
    pub is_debug: bool,
    /// Percent of the present partition, as the client says.
    pub percent: u8,
    /// Rate as the client says.
    pub rate: String,
}

#[derive(FromRow)]
struct TaskRow {
    #[sqlx(rename = "taskID")]
    id: TaskId,
    #[sqlx(rename = "taskName")]
    name: String,
    #[sqlx(rename = "taskHostID")]
    host: HostId,
    #[sqlx(rename = "taskImageID")]
    image: ImageId,
    #[sqlx(rename = "taskStateID")]
    state: i64,
    #[sqlx(rename = "taskShutdown")]
    shutdown: String,
    #[sqlx(rename = "taskIsDebug")]
    debug: i64,
    #[sqlx(rename = "taskPCT")]
    percent: i64,
    #[sqlx(rename = "taskBPM")]
    rate: String,
}

const COLUMNS: &str = "taskID, taskName, taskHostID, taskImageID, taskStateID, taskShutdown, \
    taskIsDebug, taskPCT, taskBPM";

impl From<TaskRow> for Task {
    fn from(row: TaskRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            host: row.host,
            image: row.image,
            // A number that FOG does not have: nothing that could be worked on.
            state: State::from_number(row.state).unwrap_or(State::Cancelled),
            is_shutdown: row.shutdown == "1",
            is_debug: row.debug != 0,
            percent: u8::try_from(row.percent.clamp(0, 100)).unwrap_or(0),
            rate: row.rate,
        }
    }
}

/// Creates a multicast task in state "queued".
///
/// # Errors
/// If the database fails.
pub async fn add_multicast(
    conn: &mut Connection,
    now: Timestamp,
    name: &str,
    host: HostId,
    image: ImageId,
    is_shutdown: bool,
) -> sqlx::Result<TaskId> {
    let inserted = sqlx::query(
        "INSERT INTO tasks (taskName, taskCreateTime, taskHostID, taskImageID, taskStateID, \
         taskTypeID, taskCreateBy, taskNFSGroupID, taskNFSMemberID, taskShutdown) \
         VALUES (?, ?, ?, ?, ?, ?, 'fos-server', 1, 1, ?)",
    )
    .bind(name)
    .bind(now.to_string())
    .bind(host)
    .bind(image)
    .bind(State::Queued.number())
    .bind(TASK_TYPE_MULTICAST)
    .bind(if is_shutdown { "1" } else { "0" })
    .execute(conn)
    .await?;
    Ok(TaskId(inserted.last_insert_rowid()))
}

/// The host's active task (states 0 to 3), the oldest if there are several.
///
/// # Errors
/// If the database fails.
pub async fn active_of_host(conn: &mut Connection, host: HostId) -> sqlx::Result<Option<Task>> {
    let row: Option<TaskRow> = sqlx::query_as(&format!(
        "SELECT {COLUMNS} FROM tasks WHERE taskHostID = ? AND taskStateID IN (0, 1, 2, 3) \
         ORDER BY taskID LIMIT 1"
    ))
    .bind(host)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Task::from))
}

/// The host's newest task, whatever its state.
///
/// # Errors
/// If the database fails.
pub async fn newest_of_host(conn: &mut Connection, host: HostId) -> sqlx::Result<Option<Task>> {
    let row: Option<TaskRow> = sqlx::query_as(&format!(
        "SELECT {COLUMNS} FROM tasks WHERE taskHostID = ? ORDER BY taskID DESC LIMIT 1"
    ))
    .bind(host)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Task::from))
}

/// A task by its number.
///
/// # Errors
/// If the database fails.
pub async fn by_id(conn: &mut Connection, id: TaskId) -> sqlx::Result<Option<Task>> {
    let row: Option<TaskRow> =
        sqlx::query_as(&format!("SELECT {COLUMNS} FROM tasks WHERE taskID = ?"))
            .bind(id)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(Task::from))
}

/// Puts a task into a state.
///
/// # Errors
/// If the database fails.
pub async fn set_state(conn: &mut Connection, id: TaskId, state: State) -> sqlx::Result<()> {
    sqlx::query("UPDATE tasks SET taskStateID = ? WHERE taskID = ?")
        .bind(state.number())
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// A check-in that was accepted: state "in progress", presence and place in line now, the task's
/// image is the session's.
///
/// # Errors
/// If the database fails.
pub async fn check_in(
    conn: &mut Connection,
    now: Timestamp,
    id: TaskId,
    image: ImageId,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE tasks SET taskStateID = ?, taskCheckIn = ?, taskScheduledStartTime = ?, \
         taskImageID = ? WHERE taskID = ?",
    )
    .bind(State::InProgress.number())
    .bind(now.to_string())
    .bind(now.to_string())
    .bind(image)
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores a progress report.
///
/// # Errors
/// If the database fails.
pub async fn set_progress(
    conn: &mut Connection,
    id: TaskId,
    status: &ReceivedStatus,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE tasks SET taskBPM = ?, taskTimeElapsed = ?, taskTimeRemaining = ?, \
         taskDataCopied = ?, taskDataTotal = ?, taskPercentText = ?, taskPCT = ? \
         WHERE taskID = ?",
    )
    .bind(&status.rate)
    .bind(&status.elapsed)
    .bind(&status.remaining)
    .bind(&status.copied)
    .bind(&status.total)
    .bind(&status.percent_text)
    .bind(i64::from(status.percent))
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// The client reported its end: percent 100, state "complete".
///
/// # Errors
/// If the database fails.
pub async fn set_complete(conn: &mut Connection, id: TaskId) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE tasks SET taskStateID = ?, taskPCT = 100, taskPercentText = '100' \
         WHERE taskID = ?",
    )
    .bind(State::Complete.number())
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// The session with the lowest number that a task belongs to, as FOG chooses it.
///
/// # Errors
/// If the database fails.
pub async fn session_of(conn: &mut Connection, id: TaskId) -> sqlx::Result<Option<SessionId>> {
    let row: Option<(Option<SessionId>,)> =
        sqlx::query_as("SELECT MIN(msID) FROM multicastSessionsAssoc WHERE tID = ?")
            .bind(id)
            .fetch_optional(conn)
            .await?;
    Ok(row.and_then(|(session,)| session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const NOW: Timestamp = Timestamp(1_790_000_000);

    #[tokio::test]
    async fn a_task_goes_its_way() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        let host = HostId(4);
        assert!(active_of_host(&mut conn, host).await.unwrap().is_none());
        let id = add_multicast(&mut conn, NOW, "lab", host, ImageId(2), true)
            .await
            .unwrap();
        let task = active_of_host(&mut conn, host).await.unwrap().unwrap();
        assert_eq!(
            (task.id, task.state, task.is_shutdown),
            (id, State::Queued, true)
        );
        assert_eq!(session_of(&mut conn, id).await.unwrap(), None);

        check_in(&mut conn, NOW, id, ImageId(3)).await.unwrap();
        let line = "108.53MB/min@00:01:23@00:04:17@12.50 GiB@44.20 GiB@ 28.28@47458910208";
        let status = fog::status::parse(line).unwrap();
        set_progress(&mut conn, id, &status).await.unwrap();
        let task = active_of_host(&mut conn, host).await.unwrap().unwrap();
        assert_eq!(
            (task.state, task.image, task.percent),
            (State::InProgress, ImageId(3), 28)
        );

        set_complete(&mut conn, id).await.unwrap();
        assert!(active_of_host(&mut conn, host).await.unwrap().is_none());
        let task = newest_of_host(&mut conn, host).await.unwrap().unwrap();
        assert_eq!((task.state, task.percent), (State::Complete, 100));
        set_state(&mut conn, id, State::Failed).await.unwrap();
        assert_eq!(
            by_id(&mut conn, id).await.unwrap().unwrap().state,
            State::Failed
        );
    }
}
