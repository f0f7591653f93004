//! The operations for people, on the server's own socket.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;

use crate::api::{self, ApiErrorKind, ApiResult, operations};
use crate::ops::Ops;

/// Largest request: an image of many files.
const MAX_BODY: usize = 64 << 20;

macro_rules! routes {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $answer:ty = $path:literal;)*) => {
        /// All operations, each a POST of JSON.
        pub fn local_router(ops: Arc<Ops>) -> Router {
            use api::*;
            Router::new()
                $(.route($path, post(
                    async |State(ops): State<Arc<Ops>>, Json(request): Json<$request>| {
                        answer(Api::$name(&*ops, request).await)
                    },
                )))*
                .layer(DefaultBodyLimit::max(MAX_BODY))
                .with_state(ops)
        }
    };
}
operations!(routes);

fn answer<T: Serialize>(result: ApiResult<T>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => {
            let status = match error.kind {
                ApiErrorKind::NotFound => StatusCode::NOT_FOUND,
                ApiErrorKind::Conflict => StatusCode::CONFLICT,
                ApiErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
                ApiErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                ApiErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, Json(error)).into_response()
        }
    }
}
