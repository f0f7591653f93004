//! `cancel`.

use anyhow::{Context as _, bail};
use fog::task::State;

use super::Places;
use crate::clock::Timestamp;
use crate::output;
use crate::store::{SessionId, events, session_hosts, sessions, tasks};

/// A session to be ended.
#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    /// Number of the session
    session: i64,
}

impl Cancel {
    /// Marks session and tasks as cancelled, as FOG does; the running server sees it within a
    /// second and ends its sender.
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let store = places.store().await?;
        let id = SessionId(self.session);
        let now = Timestamp::now();
        let mut conn = store.begin().await?;
        let session = sessions::by_id(&mut conn, id)
            .await?
            .with_context(|| format!("there is no session {id}; fos-server status lists them"))?;
        if !session.state.is_active() {
            bail!("session {id} is already over: {}", session.state);
        }
        let text = "the session was cancelled";
        for row in session_hosts::of_session(&mut conn, id).await? {
            let task = tasks::by_id(&mut conn, row.task).await?;
            if task.is_some_and(|task| task.state.is_active()) {
                tasks::set_state(&mut conn, row.task, State::Cancelled).await?;
                session_hosts::set_result(&mut conn, id, row.host, State::Cancelled, text).await?;
            }
        }
        sessions::end(&mut conn, now, id, State::Cancelled, text).await?;
        events::add(&mut conn, now, Some(id), None, "cancelled", text).await?;
        conn.commit().await?;
        store.close().await;
        output::result(&format!("session {id} is cancelled"));
        Ok(true)
    }
}
