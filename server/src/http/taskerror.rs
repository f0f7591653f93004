//! `taskerror.php`: a client reports an error or a warning.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use fog::checkin::DONE;

use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::ops::Ops;

/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 8192;

/// Answers `##` once the report is stored. An error ends the host's part in its session and fails its
/// task.
pub(super) async fn report(State(ops): State<Arc<Ops>>, form: Form) -> Result<Response, HttpError> {
    let known = form.known(&ops).await?;
    let is_warning = form.get("type") == "warning";
    let mut text = fog::encoding::printable(form.get("text"), MAX_TEXT);
    if text.is_empty() {
        text = "an error without a text".to_owned();
    }
    let script = fog::encoding::printable(form.get("script"), 80);
    if !script.is_empty() {
        text = format!("{text} (in {script})");
    }
    ops.failed(&known, text, is_warning).await?;
    Ok(plain(DONE))
}
