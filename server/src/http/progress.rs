//! `progress.php`: a client tells how far it is.

use axum::extract::State;
use axum::response::Response;
use fos_api::{FIELD_DETAIL, FIELD_PHASE, FIELD_STREAM};

use super::request::Form;
use super::{App, Failure, plain};
use crate::session::status::ClientReport;
use crate::store::tasks;

/// Stores FOG's status line and our own fields. An empty or odd status line is no error: FOG's
/// client sends such.
pub(super) async fn store(State(app): State<App>, form: Form) -> Result<Response, Failure> {
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
    let word = |name, limit| fog::encoding::printable(known.form.get(name), limit);
    let mut report = ClientReport {
        phase: word(FIELD_PHASE, 40),
        stream: word(FIELD_STREAM, 120),
        detail: word(FIELD_DETAIL, 300),
        ..ClientReport::default()
    };
    let status = known.form.base64("status");
    if let Some(status) = status.as_deref().and_then(fog::status::parse) {
        tasks::set_progress(&mut conn, task.id, &status).await?;
        report.percent = status.percent;
        report.rate = format!("{}/min", status.rate);
    }
    drop(conn);
    if let Some(session) = session
        && let Some(handle) = app.sessions.handle(session).await?
    {
        handle.progress(known.host.id, report).await;
    }
    Ok(plain(""))
}
