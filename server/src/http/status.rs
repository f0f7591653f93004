//! `fos/status`: for monitoring.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::error::{BROKEN, HttpError, because};
use super::request::Form;
use crate::api::{Api as _, ApiErrorKind, StatusQuery};
use crate::ops::Ops;

/// Answers the newest sessions, or the one in the field `session`.
pub(super) async fn status(State(ops): State<Arc<Ops>>, form: Form) -> Result<Response, HttpError> {
    let session = match form.get("session") {
        "" => None,
        wanted => Some(wanted.parse().map_err(|_| HttpError::Unreadable {
            status: StatusCode::BAD_REQUEST,
            text: "session must be a number".to_owned(),
        })?),
    };
    match ops.status(StatusQuery { session }).await {
        Ok(status) => Ok(Json(status).into_response()),
        Err(error) if error.kind == ApiErrorKind::Unavailable => {
            Err(HttpError::Unavailable(error.text))
        }
        // A row that makes no sense: the text names it.
        Err(error) if error.kind == ApiErrorKind::Invalid => {
            let answer = super::plain(error.text.clone());
            let answer = (StatusCode::INTERNAL_SERVER_ERROR, answer).into_response();
            Ok(because(answer, BROKEN, error.text))
        }
        Err(error) => Err(HttpError::Internal(error.into())),
    }
}
