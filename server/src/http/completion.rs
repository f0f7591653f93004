//! `Post_Stage3.php`: a client reports that its disk is written.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use fog::checkin::DONE;

use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::ops::Ops;

/// Answers `##`, or a text; clients try again some times.
pub(super) async fn complete(
    State(ops): State<Arc<Ops>>,
    form: Form,
) -> Result<Response, HttpError> {
    let known = form.known(&ops).await?;
    ops.complete(&known).await?;
    Ok(plain(DONE))
}
