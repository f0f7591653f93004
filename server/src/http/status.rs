//! `fos/status`: for `fos-server status` and for monitoring.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::native::NativeFailure;
use super::request::Form;
use super::{App, plain};
use crate::clock::Timestamp;
use crate::session::status::SessionStatus;
use crate::store::{SessionId, sessions};

/// State of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Version of the server; empty if none is running.
    pub version: String,
    /// Time of the answer, UTC.
    pub now: String,
    /// Sessions, newest first.
    pub sessions: Vec<SessionStatus>,
}

/// Sessions in an answer.
pub const MAX_SESSIONS: u32 = 50;

/// Answers the newest sessions, or the one in the field `session`.
pub(super) async fn status(State(app): State<App>, form: Form) -> Result<Response, NativeFailure> {
    let wanted = form.get("session");
    let ids: Vec<SessionId> = if wanted.is_empty() {
        let mut conn = app.store.conn().await?;
        let newest = sessions::newest(&mut conn, MAX_SESSIONS).await?;
        newest.into_iter().map(|session| session.id).collect()
    } else {
        match wanted.parse() {
            Ok(number) => vec![SessionId(number)],
            Err(_) => {
                let text = plain("session must be a number");
                return Ok((StatusCode::BAD_REQUEST, text).into_response());
            }
        }
    };
    let mut sessions = Vec::new();
    for id in ids {
        match app.session_status(id).await {
            Ok(found) => sessions.extend(found.map(|status| SessionStatus::clone(&status))),
            // The others are not hidden by it.
            Err(error) => {
                tracing::error!(session = id.0, "reading its state: {error:#}");
                sessions.push(SessionStatus::unreadable(id.0, &format!("{error:#}")));
            }
        }
    }
    Ok(Json(ServerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: Timestamp::now().to_string(),
        sessions,
    })
    .into_response())
}
