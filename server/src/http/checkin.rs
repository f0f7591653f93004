//! `mc_checkin.php` and `Pre_Stage1.php`: a client asks whether it may begin.

use axum::extract::State;
use axum::response::Response;
use fog::checkin::GO;
use fos_api::FIELD_AGENT;

use super::request::{Form, KnownHost};
use super::{App, Failure, plain};
use crate::session::core::CheckIn;
use crate::store::{session_hosts, tasks};

/// Answers `##@GO`, or a text for the user; the client asks again every few seconds.
pub(super) async fn check_in(State(app): State<App>, form: Form) -> Result<Response, Failure> {
    let known = match app.host(form).await? {
        Ok(known) => known,
        Err(text) => return Ok(plain(text)),
    };
    Ok(plain(answer(&app, &known).await?))
}

async fn answer(app: &App, known: &KnownHost) -> anyhow::Result<String> {
    let KnownHost { host, form, .. } = known;
    let address = match form.client_v4() {
        Ok(address) => address,
        Err(text) => return Ok(text),
    };
    let mut conn = app.store.conn().await?;
    let Some(task) = tasks::active_of_host(&mut conn, host.id).await? else {
        drop(conn);
        return no_task(app, known).await;
    };
    let session = tasks::session_of(&mut conn, task.id).await?;
    drop(conn);
    let Some(session) = session else {
        return Ok(format!(
            "task {} of host {} belongs to no multicast session, and this server serves no others; \
             cancel it and deploy the host again",
            task.id, host.name
        ));
    };
    let Some(handle) = app.sessions.handle(session).await? else {
        return Ok(format!(
            "session {session} is over; deploy host {} again",
            host.name
        ));
    };
    let agent = fog::encoding::printable(form.get(FIELD_AGENT), 80);
    match handle.check_in(host.id, address, agent).await {
        Some(CheckIn::Accepted) => Ok(GO.to_owned()),
        Some(CheckIn::Refused(text)) => Ok(text),
        None => Ok(format!("session {session} does not answer; asking again")),
    }
}

/// Why the host has nothing to do: how its last session ended, if it was in one.
pub(super) async fn no_task(app: &App, known: &KnownHost) -> anyhow::Result<String> {
    let KnownHost { host, mac, .. } = known;
    let mut conn = app.store.conn().await?;
    let last = session_hosts::newest_of_host(&mut conn, host.id).await?;
    let mut text = format!("No active task for {} ({mac}).", host.name);
    if let Some(last) = last.filter(|last| !last.result.is_empty()) {
        text.push_str(&format!(
            " Session {}: {}: {}.",
            last.session, last.state, last.result
        ));
    }
    Ok(text)
}
