//! Kernel and initramfs, for iPXE.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::boot_script::BOOT_FILES;
use super::plain;
use crate::logs::{Level, Subject};
use crate::ops::Ops;

/// Streams a boot file with its length. No other file is ever served from here.
pub(super) async fn file(
    State(ops): State<Arc<Ops>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let is_known = BOOT_FILES
        .iter()
        .any(|files| files.kernel == name || files.init == name);
    if !is_known {
        return (StatusCode::NOT_FOUND, plain("no such boot file")).into_response();
    }
    let path = ops.config().boot.join(&name);
    match ServeFile::new(&path).oneshot(request).await {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => {
            let line = format!("{} was asked for and is missing", path.display());
            let what = "requests for missing boot files";
            let now = crate::clock::now();
            ops.log()
                .repeated(now, Level::Error, &Subject::Server, what, &line);
            let text = format!("{name} is missing in the server's boot directory");
            (StatusCode::NOT_FOUND, plain(text)).into_response()
        }
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}
