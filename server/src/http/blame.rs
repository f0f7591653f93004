//! `blame.php`: a client found no `.mntcheck` in the image share.

use axum::extract::State;
use axum::response::Response;
use fog::checkin::DONE;

use super::request::Form;
use super::{App, Failure, plain};
use crate::store::tasks;

/// Answers `##`; the client stops and restarts whatever is said.
pub(super) async fn blame(State(app): State<App>, form: Form) -> Result<Response, Failure> {
    let known = match app.host(form).await? {
        Ok(known) => known,
        Err(text) => return Ok(plain(text)),
    };
    let mut conn = app.store.conn().await?;
    let Some(task) = tasks::active_of_host(&mut conn, known.host.id).await? else {
        drop(conn);
        return Ok(plain(super::checkin::no_task(&app, &known).await?));
    };
    let session = tasks::session_of(&mut conn, task.id).await?;
    drop(conn);
    if let Some(session) = session
        && let Some(handle) = app.sessions.handle(session).await?
    {
        handle.blamed(known.host.id).await;
    }
    Ok(plain(DONE))
}
