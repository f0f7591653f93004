//! The API on the server's own socket, for the command line.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};

use super::api::{self, Way};
use super::audit;
use crate::api::{ServerLook, SetupLink};
use crate::ops::Ops;

/// Largest request: an image of many files.
const MAX_BODY: usize = 64 << 20;

/// What root and the server's own user may ask: everything.
pub fn local_router(ops: Arc<Ops>) -> Router {
    api::router(Way::Socket)
        .route("/api/v1/setup-link", post(setup_link))
        .route("/api/v1/look", get(look))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&ops), audit::log))
        .with_state(ops)
}

/// A new code for the first account; an earlier one is good no longer. Over the network there is no such thing.
async fn setup_link(State(ops): State<Arc<Ops>>) -> Result<Json<SetupLink>, (StatusCode, String)> {
    match ops.begin_setup().await {
        Ok(code) => Ok(Json(SetupLink { code })),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

/// For the doctor.
async fn look(State(ops): State<Arc<Ops>>) -> Json<ServerLook> {
    Json(ops.look().await)
}
