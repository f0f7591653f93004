//! `progress.php`: a client tells how far it is.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use fos_api::{FIELD_DETAIL, FIELD_PHASE, FIELD_STREAM};

use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::ops::Ops;
use crate::session::ClientReport;

/// Takes FOG's status line and our own fields. An empty or odd status line is no error: FOG's client
/// sends such.
pub(super) async fn store(State(ops): State<Arc<Ops>>, form: Form) -> Result<Response, HttpError> {
    let known = form.known(&ops).await?;
    let word = |name, limit| fog::encoding::printable(form.get(name), limit);
    let mut report = ClientReport {
        phase: word(FIELD_PHASE, 40),
        stream: word(FIELD_STREAM, 120),
        detail: word(FIELD_DETAIL, 300),
        ..ClientReport::default()
    };
    let status = form.base64("status");
    let status = status.as_deref().and_then(fog::status::parse);
    if let Some(status) = &status {
        report.percent = status.percent;
        report.rate = format!("{}/min", status.rate);
    }
    ops.progress(&known, report, status).await?;
    Ok(plain(""))
}
