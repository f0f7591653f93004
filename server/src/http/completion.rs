//! `Post_Stage3.php`: a client reports that its disk is written.

use axum::extract::State as AppState;
use axum::response::Response;
use fog::checkin::DONE;
use fog::task::State;

use super::request::{Form, KnownHost};
use super::{App, Failure, plain};
use crate::clock::Timestamp;
use crate::session::Handle;
use crate::session::core::{Completion, OVERDUE};
use crate::store::session_hosts::SessionHost;
use crate::store::{HostId, events, hosts, images, session_hosts, sessions, tasks};

/// Answers `##`, or a text; clients try again some times.
pub(super) async fn complete(
    AppState(app): AppState<App>,
    form: Form,
) -> Result<Response, Failure> {
    let known = match app.host(form).await? {
        Ok(known) => known,
        Err(text) => return Ok(plain(text)),
    };
    Ok(plain(answer(&app, &known).await?))
}

async fn answer(app: &App, known: &KnownHost) -> anyhow::Result<String> {
    let host = &known.host;
    let mut conn = app.store.conn().await?;
    let task = tasks::active_of_host(&mut conn, host.id).await?;
    let session = match &task {
        Some(task) => tasks::session_of(&mut conn, task.id).await?,
        None => None,
    };
    drop(conn);
    let handle = match session {
        Some(session) => app.sessions.handle(session).await?,
        None => None,
    };
    let Some(handle) = handle else {
        return late(app, known).await;
    };
    Ok(ask(&handle, host.id).await)
}

async fn ask(handle: &Handle, host: HostId) -> String {
    match handle.complete(host).await {
        Some(Completion::Accepted) => DONE.to_owned(),
        Some(Completion::Refused(text)) => text,
        Some(Completion::NotYet) | None => {
            "the sender has not yet seen the end of the last stream; ask again".to_owned()
        }
    }
}

/// The session does not run any more. A report that was accepted before is accepted again, its
/// answer may have been lost; one that comes after the time of grace still counts.
async fn late(app: &App, known: &KnownHost) -> anyhow::Result<String> {
    let mut conn = app.store.conn().await?;
    let last = session_hosts::newest_of_host(&mut conn, known.host.id).await?;
    drop(conn);
    match last {
        Some(last) if last.state == State::Complete.to_string() => Ok(DONE.to_owned()),
        Some(last) if last.result.starts_with(OVERDUE) => {
            // While it runs, the session itself has to know, as it tells its result at its end.
            if let Some(handle) = app.sessions.handle(last.session).await? {
                return Ok(ask(&handle, last.host).await);
            }
            accept_late(app, &last).await?;
            Ok(DONE.to_owned())
        }
        _ => super::checkin::no_task(app, known).await,
    }
}

async fn accept_late(app: &App, last: &SessionHost) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut conn = app.store.begin().await?;
    let text = "the client reported that all is written, after the time of grace";
    tasks::set_complete(&mut conn, last.task).await?;
    hosts::set_deployed(&mut conn, now, last.host).await?;
    let complete = State::Complete;
    session_hosts::set_result(&mut conn, last.session, last.host, complete, text).await?;
    let line = format!("{}: {text}", last.name);
    events::add(
        &mut conn,
        now,
        Some(last.session),
        Some(last.host),
        "state",
        &line,
    )
    .await?;
    let rows = session_hosts::of_session(&mut conn, last.session).await?;
    let session = sessions::by_id(&mut conn, last.session).await?;
    if let Some(session) = &session {
        images::set_deployed(&mut conn, now, session.image).await?;
        if rows.iter().all(|row| row.state == complete.to_string()) {
            let text = format!("{0} of {0} hosts complete, some late", rows.len());
            sessions::end(&mut conn, now, last.session, complete, &text).await?;
        }
    }
    conn.commit().await?;
    let name = session.map(|session| session.name).unwrap_or_default();
    app.log
        .session(now, last.session, &name, &format!("host {line}"));
    Ok(())
}
