//! `/peer/`: what servers of the site ask each other. Each request has a token that only they can make.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use headers::{HeaderMapExt as _, Range};
use serde::Deserialize;

use super::data::send;
use crate::domain::ImageId;
use crate::domain::peer::{Asked, TokenError};
use crate::imagestore::Replace;
use crate::ops::{Ops, PeerError};
use crate::peer_client::TOKEN;

/// Everything below `/peer/`.
pub(super) fn router(ops: &Arc<Ops>) -> Router<Arc<Ops>> {
    Router::new()
        .route("/peer/file", get(file))
        .route("/peer/state", get(state))
        .route("/peer/copy", post(copy))
        .layer(middleware::from_fn_with_state(Arc::clone(ops), only_peers))
}

async fn only_peers(State(ops): State<Arc<Ops>>, request: Request, next: Next) -> Response {
    let checked = check(&ops, &request);
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let status = match error {
                TokenError::Unreadable => StatusCode::UNAUTHORIZED,
                TokenError::Clock | TokenError::Wrong => StatusCode::FORBIDDEN,
            };
            (status, error.to_string()).into_response()
        }
    }
}

fn check(ops: &Ops, request: &Request) -> Result<(), TokenError> {
    let text = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let path = request.uri().path_and_query();
    let server = ops.peer_url().unwrap_or_default();
    let asked = Asked {
        server: &server,
        method: request.method().as_str(),
        path: path.map_or("", |path| path.as_str()),
        range: text(header::RANGE.as_str()),
    };
    ops.check_peer(asked, text(TOKEN))
}

#[derive(Debug, Deserialize)]
struct OfImage {
    image: i64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    replace: u8,
}

/// A file of an image, from any byte on (`Range`).
async fn file(
    State(ops): State<Arc<Ops>>,
    Query(wanted): Query<OfImage>,
    headers: axum::http::HeaderMap,
) -> Response {
    match ops.peer_file(ImageId(wanted.image), &wanted.name).await {
        Ok(found) => send(found, headers.typed_get::<Range>()),
        Err(error) => refused(&error),
    }
}

/// An image at this server.
async fn state(State(ops): State<Arc<Ops>>, Query(wanted): Query<OfImage>) -> Response {
    match ops.replica_here(ImageId(wanted.image)).await {
        Ok(found) => Json(found).into_response(),
        Err(error) => refused(&error),
    }
}

/// This server shall copy an image.
async fn copy(State(ops): State<Arc<Ops>>, Query(wanted): Query<OfImage>) -> Response {
    let replace = match wanted.replace {
        0 => Replace::Never,
        _ => Replace::Other,
    };
    ops.want_copy(ImageId(wanted.image), replace);
    (StatusCode::ACCEPTED, Body::empty()).into_response()
}

fn refused(error: &PeerError) -> Response {
    let status = match error {
        PeerError::NoImage(_) | PeerError::NoFile(_) => StatusCode::NOT_FOUND,
        PeerError::NotHere(_) => StatusCode::CONFLICT,
        PeerError::Busy | PeerError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string()).into_response()
}
