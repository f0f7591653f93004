//! The server's log.

use axum::Json;
use axum::extract::State;

use super::authority::Operator;
use super::body::Fields;
use super::{Answer, SharedOps};
use crate::api::{LogLines, LogQuery};

/// The lines of the server's log after so many bytes of it; its last lines without that.
///
/// Role: operator.
#[utoipa::path(get, path = "/log", tag = "log", operation_id = "showLog", params(LogQuery),
    responses((status = 200, description = "Oldest first, at most 64 KiB of it", body = LogLines)))]
pub(super) async fn show(
    _: Operator,
    State(ops): State<SharedOps>,
    Fields(query): Fields<LogQuery>,
) -> Answer<LogLines> {
    let tail = ops.log_tail(query.after).await?;
    Ok(Json(LogLines {
        lines: tail.lines,
        next: tail.next,
    }))
}
