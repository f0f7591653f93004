//! `fos/status`: for monitoring.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::Answers;
use super::error::{HttpError, broken};
use super::request::Form;
use crate::api::{Api as _, ApiErrorKind, StatusQuery};
use crate::ops::Ops;

/// Answers the newest sessions, or the one in the field `session`.
pub(super) async fn status(
    State(ops): State<Arc<Ops>>,
    Extension(answers): Extension<Arc<Answers>>,
    form: Form,
) -> Result<Response, HttpError> {
    let session = match form.get("session") {
        "" => None,
        wanted => Some(wanted.parse().map_err(|_| HttpError::Unreadable {
            status: StatusCode::BAD_REQUEST,
            text: "session must be a number".to_owned(),
        })?),
    };
    // Anybody may ask, and each answer reads all members of many sessions.
    let _one_at_a_time = answers.status_turn().await;
    match ops.status(StatusQuery { session }).await {
        Ok(status) => answers.json(form.client, &status),
        Err(error) if error.kind == ApiErrorKind::Unavailable => {
            Err(HttpError::Unavailable(error.text))
        }
        // A row that makes no sense: the text names it.
        Err(error) if error.kind == ApiErrorKind::Invalid => {
            Ok(broken(StatusCode::INTERNAL_SERVER_ERROR, &error.text))
        }
        Err(error) => Err(HttpError::Internal(error.into())),
    }
}
