//! `mc_checkin.php` and `Pre_Stage1.php`: a client asks whether it may begin.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use fog::checkin::GO;
use fos_api::FIELD_AGENT;

use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::ops::{CheckInRequest, Ops};

/// Answers `##@GO`, or a text for the user; the client asks again every few seconds.
pub(super) async fn check_in(
    State(ops): State<Arc<Ops>>,
    form: Form,
) -> Result<Response, HttpError> {
    let known = form.known(&ops).await?;
    let asked = CheckInRequest {
        agent: form.get(FIELD_AGENT).to_owned(),
        job_type: form.get("type").to_owned(),
        own_address: form.own_address(),
    };
    ops.check_in(&known, &asked).await?;
    Ok(plain(GO))
}
