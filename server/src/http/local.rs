//! The API on the server's own socket, for the command line.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;

use super::api::{self, Way};
use crate::ops::Ops;

/// Largest request: an image of many files.
const MAX_BODY: usize = 64 << 20;

/// What root and the server's own user may ask: everything.
pub fn local_router(ops: Arc<Ops>) -> Router {
    api::router(Way::Socket)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(ops)
}
