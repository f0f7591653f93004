//! Kernel and initramfs, for iPXE.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::boot_script::BOOT_FILES;
use super::{App, plain};

/// Streams a boot file with its length. No other file is ever served from here.
pub(super) async fn file(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let is_known = BOOT_FILES
        .iter()
        .any(|files| files.kernel == name || files.init == name);
    if !is_known {
        return (StatusCode::NOT_FOUND, plain("no such boot file")).into_response();
    }
    let path = app.config.boot.join(&name);
    if !path.is_file() {
        tracing::error!("{} was asked for and is missing", path.display());
        let text = format!("{name} is missing in the server's boot directory");
        return (StatusCode::NOT_FOUND, plain(text)).into_response();
    }
    match ServeFile::new(&path).oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}
