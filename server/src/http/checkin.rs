//! `mc_checkin.php` and `Pre_Stage1.php`: a client asks whether it may begin.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fog::checkin::GO;
use fos_api::FIELD_AGENT;

use super::error::HttpError;
use super::listener::Patience;
use super::plain;
use super::request::Form;
use crate::ops::{CheckInRequest, Ops};

/// Answers `##@GO`, or a text for the user; the client asks again 5 s after the answer.
pub(super) async fn check_in(
    State(ops): State<Arc<Ops>>,
    patience: Option<Extension<Patience>>,
    form: Form,
) -> Result<Response, HttpError> {
    let known = form.known(&ops).await?;
    let asked = CheckInRequest {
        agent: form.get(FIELD_AGENT).to_owned(),
        job_type: form.get("type").to_owned(),
        own_address: form.own_address(),
    };
    match &patience {
        Some(Extension(patience)) => {
            let longest = patience.longest();
            let ending = patience.ending();
            ops.ask_to_begin(&known, &asked, longest, ending).await?;
        }
        None => ops.check_in(&known, &asked).await?,
    }
    Ok(plain(GO))
}
