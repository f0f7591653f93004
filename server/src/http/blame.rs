//! `blame.php`: a client found no `.mntcheck` in the image share.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use fog::checkin::DONE;

use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::ops::Ops;

/// Answers `##`; the client stops and restarts whatever is said.
pub(super) async fn blame(State(ops): State<Arc<Ops>>, form: Form) -> Result<Response, HttpError> {
    let known = form.known(&ops).await?;
    ops.blamed(&known).await?;
    Ok(plain(DONE))
}
