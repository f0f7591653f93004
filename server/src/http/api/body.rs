//! What is asked: whatever cannot be read is answered as every other problem.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::api::{ApiError, ApiErrorKind};

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(unreadable(&rejection)),
        }
    }
}

fn unreadable(rejection: &JsonRejection) -> ApiError {
    let kind = match rejection {
        JsonRejection::MissingJsonContentType(_) => ApiErrorKind::UnsupportedMediaType,
        rejection if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => ApiErrorKind::TooLarge,
        _ => ApiErrorKind::Invalid,
    };
    // It names what it met: foreign words.
    let text = fog::encoding::printable(&rejection.body_text(), 400);
    ApiError::new(kind, format!("the body cannot be used: {text}"))
}

/// Parts of the path.
#[derive(Debug)]
pub(super) struct Place<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(path)) => Ok(Self(path)),
            Err(rejection) => {
                let text = fog::encoding::printable(&rejection.body_text(), 400);
                let text = format!("the path cannot be used: {text}");
                Err(ApiError::new(ApiErrorKind::Invalid, text))
            }
        }
    }
}

/// Fields behind the question mark.
#[derive(Debug)]
pub(super) struct Fields<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Fields<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(fields)) => Ok(Self(fields)),
            Err(rejection) => {
                let text = fog::encoding::printable(&rejection.body_text(), 400);
                let text = format!("the fields behind the question mark cannot be used: {text}");
                Err(ApiError::new(ApiErrorKind::Invalid, text))
            }
        }
    }
}
