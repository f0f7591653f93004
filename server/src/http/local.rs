//! The API on the server's own socket, for the command line.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;

use super::api::{self, Way};
use super::audit;
use crate::ops::Ops;

/// Largest request: an image of many files.
const MAX_BODY: usize = 64 << 20;

/// What root and the server's own user may ask: everything.
pub fn local_router(ops: Arc<Ops>) -> Router {
    api::router(Way::Socket)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&ops), audit::log))
        .with_state(ops)
}
