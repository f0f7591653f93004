//! `taskerror.php`: a client reports an error or a warning.

use axum::extract::State as AppState;
use axum::response::Response;
use fog::checkin::DONE;
use fog::task::State;

use super::request::{Form, KnownHost};
use super::{App, Failure, plain};
use crate::clock::Timestamp;
use crate::session::core::REPORTED;
use crate::store::events::{self, MAX_TEXT, TaskLogEntry};
use crate::store::{images, session_hosts, sessions, tasks};

/// Always answers `##`. An error ends the host's part in its session and fails its task.
pub(super) async fn report(AppState(app): AppState<App>, form: Form) -> Result<Response, Failure> {
    match app.host(form).await? {
        Ok(known) => store(&app, &known).await?,
        Err(text) => tracing::warn!("an error report that belongs to nobody: {text}"),
    }
    Ok(plain(DONE))
}

async fn store(app: &App, known: &KnownHost) -> anyhow::Result<()> {
    let KnownHost { host, form, .. } = known;
    let is_warning = form.get("type") == "warning";
    let mut text = fog::encoding::printable(form.get("text"), MAX_TEXT);
    if text.is_empty() {
        text = "an error without a text".to_owned();
    }
    let script = fog::encoding::printable(form.get("script"), 80);
    if !script.is_empty() {
        text = format!("{text} (in {script})");
    }
    let now = Timestamp::now();
    let mut conn = app.store.conn().await?;
    let Some(task) = tasks::active_of_host(&mut conn, host.id).await? else {
        drop(conn);
        return without_task(app, known, &text).await;
    };
    let session = tasks::session_of(&mut conn, task.id).await?;
    // Connections are few, and whoever starts the session needs one.
    drop(conn);
    let handle = match session {
        Some(session) if !is_warning => app.sessions.handle(session).await?,
        _ => None,
    };
    if let Some(handle) = handle {
        handle.failed(host.id, text).await;
        return Ok(());
    }
    let mut conn = app.store.conn().await?;
    let image = images::by_id(&mut conn, task.image).await?;
    let entry = TaskLogEntry {
        task: task.id,
        state: if is_warning {
            task.state
        } else {
            State::Failed
        },
        ip: &form.client.to_string(),
        kind: if is_warning { "warning" } else { "error" },
        text: &text,
        host: host.id,
        host_name: &host.name,
        image_name: image.as_ref().map_or("", |image| image.name.as_str()),
    };
    if events::is_full(&mut conn, session, host.id).await? && is_warning {
        tracing::debug!("{} sends too many warnings: {text}", host.name);
        return Ok(());
    }
    events::log_task(&mut conn, now, &entry).await?;
    let line = format!("{}: {text}", host.name);
    events::add(&mut conn, now, session, Some(host.id), entry.kind, &line).await?;
    if !is_warning {
        tasks::set_state(&mut conn, task.id, State::Failed).await?;
    }
    match session {
        Some(session) => app
            .log
            .session(now, session, "", &format!("{}: {line}", entry.kind)),
        None => app.log.service(now, &line),
    }
    Ok(())
}

/// The task is over already: the reason often comes after the consequence, so it is added to the
/// result of the session that has just ended.
async fn without_task(app: &App, known: &KnownHost, text: &str) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let host = &known.host;
    let mut conn = app.store.begin().await?;
    let last = session_hosts::newest_of_host(&mut conn, host.id).await?;
    let session = match &last {
        Some(last) => sessions::by_id(&mut conn, last.session).await?,
        None => None,
    };
    let (Some(last), Some(session)) = (last, session) else {
        tracing::warn!("{} reports, but was never in a session: {text}", host.name);
        return Ok(());
    };
    if events::is_full(&mut conn, Some(session.id), host.id).await? {
        tracing::debug!("{} sends too many reports: {text}", host.name);
        return Ok(());
    }
    let ended = Timestamp::parse(&session.ended_at);
    let is_recent = ended.is_none_or(|at| now.seconds_since(at) <= REPORT_LIMIT);
    let line = format!("{}: {text}", host.name);
    events::add(
        &mut conn,
        now,
        Some(session.id),
        Some(host.id),
        "error",
        &line,
    )
    .await?;
    let is_first = last.state == State::Failed.to_string() && !last.result.starts_with(REPORTED);
    if is_recent && is_first {
        let result = format!("{REPORTED} {text} ({})", last.result);
        session_hosts::set_result(&mut conn, session.id, host.id, State::Failed, &result).await?;
    }
    conn.commit().await?;
    app.log
        .session(now, session.id, &session.name, &format!("host {line}"));
    if session.state.is_active()
        && let Some(handle) = app.sessions.handle(session.id).await?
    {
        handle.failed(host.id, text.to_owned()).await;
    }
    Ok(())
}

/// Seconds after the end of a session in which reports belong to it.
const REPORT_LIMIT: u64 = 600;
