//! What goes wrong with a request, and how it is told.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answer::{Fault, ask_again};
use super::plain;
use crate::domain::Refusal;
use crate::domain::reason::BrokenRow;
use crate::ops::ClientError;
use crate::store::StoreError;
use crate::text;

/// Why an endpoint does not do what it is asked.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// Told to the client: 200 and a text, as FOG answers.
    Refused(Refusal),
    /// The same for our own endpoints: a status of its own.
    Native(Refusal),
    /// The request cannot be read.
    Unreadable { status: StatusCode, text: String },
    /// There is no such thing: 404.
    NotFound(String),
    /// A file of the image is not what it was: 409.
    Changed,
    /// The database cannot do it now, for this cause: 503, ask again.
    Unavailable(String),
    /// A value in the database makes no sense, so asking again does not help: 200 and a text, as FOG
    /// answers.
    Broken(Box<BrokenRow>),
    /// The same for our own endpoints: 500.
    NativeBroken(Box<BrokenRow>),
    /// Too many large answers wait for their clients: 503, ask again.
    Full,
    /// Inside the server: 500.
    Internal(anyhow::Error),
}

impl HttpError {
    /// For our own endpoints.
    pub(crate) fn native(self) -> Self {
        match self {
            Self::Refused(refusal) => Self::Native(refusal),
            Self::Broken(row) => Self::NativeBroken(row),
            other => other,
        }
    }
}

impl From<ClientError> for HttpError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refusal) => Self::Refused(refusal),
            ClientError::Store(error) => error.into(),
            ClientError::Internal(error) => Self::Internal(error),
        }
    }
}

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::Unavailable(cause),
            StoreError::Broken(row) => Self::Broken(row),
            StoreError::Internal(_) => Self::Internal(error.into()),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refusal) => {
                let text = text::refusal(&refusal);
                match refusal {
                    Refusal::AskAgain(_) => ask_again(text),
                    _ => plain(text),
                }
            }
            Self::Native(refusal) => {
                let text = text::refusal(&refusal);
                match &refusal {
                    Refusal::AskAgain(_) => ask_again(text),
                    Refusal::NoMac => (StatusCode::BAD_REQUEST, plain(text)).into_response(),
                    Refusal::ImageUnusable { .. } | Refusal::NoCaptures { .. } => {
                        (StatusCode::CONFLICT, plain(text)).into_response()
                    }
                    Refusal::AnotherMachine { .. }
                    | Refusal::NotCheckedIn
                    | Refusal::OtherImage(_)
                    | Refusal::OtherJob { .. }
                    | Refusal::OtherTask { .. }
                    | Refusal::Proxied { .. } => {
                        (StatusCode::FORBIDDEN, plain(text)).into_response()
                    }
                    _ => (StatusCode::NOT_FOUND, plain(text)).into_response(),
                }
            }
            Self::Unreadable { status, text } => {
                let text = format!("the request cannot be read: {text}");
                (status, plain(text)).into_response()
            }
            Self::NotFound(text) => (StatusCode::NOT_FOUND, plain(text)).into_response(),
            Self::Changed => {
                let text = "the file was changed or cannot be read; the server's log has the cause";
                (StatusCode::CONFLICT, plain(text)).into_response()
            }
            Self::Broken(row) => broken(StatusCode::OK, &text::broken_row(&row)),
            Self::NativeBroken(row) => {
                broken(StatusCode::INTERNAL_SERVER_ERROR, &text::broken_row(&row))
            }
            Self::Unavailable(cause) => {
                let response = ask_again(
                    "The server's database cannot be used at present; asking again helps. Its log has the cause.",
                );
                let fault = Fault {
                    what: "requests that the database kept from an answer",
                    text: format!("the database cannot be used: {cause}"),
                };
                fault.add_to(response)
            }
            Self::Internal(error) => {
                let text = "the server could not answer because of an internal error; its log has the cause";
                let response = (StatusCode::INTERNAL_SERVER_ERROR, plain(text)).into_response();
                let fault = Fault {
                    what: "requests that met an internal error",
                    text: readable::chain(error.as_ref()),
                };
                fault.add_to(response)
            }
            Self::Full => {
                ask_again("The server has too many large answers on their way; asking again helps.")
            }
        }
    }
}

/// A client shows it to the person in front of it, and nothing else says which row it is.
pub(super) fn broken(status: StatusCode, cause: &str) -> Response {
    let text = format!("The server cannot go on: {cause}.");
    let fault = Fault {
        what: "requests that met a value in the database that makes no sense",
        text: cause.to_owned(),
    };
    fault.add_to((status, plain(text)).into_response())
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    #[test]
    fn a_cause_that_an_error_repeats_is_read_once_in_the_log() {
        #[derive(Debug, thiserror::Error)]
        #[error("writing the list: {source}")]
        struct Writing {
            source: std::io::Error,
        }
        let source = std::io::Error::other("no space left");
        let error = anyhow::Error::new(Writing { source }).context("adding a host");
        let error = HttpError::Internal(error);
        let answer = error.into_response();
        let Some(Fault { text, .. }) = answer.extensions().get() else {
            panic!("nothing for the log");
        };
        assert_eq!(text.matches("no space left").count(), 1, "{text}");
    }

    #[test]
    fn only_what_passes_is_to_be_asked_again() {
        let row = BrokenRow {
            table: "tasks".into(),
            row: "taskID 7".into(),
            column: "taskStateID".into(),
            value: "odd".into(),
            expected: "a number".into(),
        };
        let errors = || {
            [
                StoreError::Unavailable("locked".into()),
                StoreError::Broken(Box::new(row.clone())),
                StoreError::Internal("no row".into()),
            ]
        };
        let fog = errors().map(|error| HttpError::from(error).into_response());
        let own = errors().map(|error| HttpError::from(error).native().into_response());
        let statuses = fog
            .iter()
            .chain(&own)
            .map(|answer| answer.status().as_u16());
        let statuses: Vec<_> = statuses.collect();
        assert_eq!(statuses, [503, 200, 500, 503, 500, 500]);
        let again = fog
            .iter()
            .map(|answer| answer.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(again.collect::<Vec<_>>(), [true, false, false]);
        let Some(Fault { text, .. }) = fog[1].extensions().get() else {
            panic!("nothing for the log");
        };
        for part in ["tasks", "taskID 7", "taskStateID"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
