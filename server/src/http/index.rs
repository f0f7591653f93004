//! `index.php`: clients probe the network with it.

use axum::response::Response;

use super::plain;

/// Answers GET and HEAD.
pub(super) async fn index() -> Response {
    plain(concat!("fos-server ", env!("CARGO_PKG_VERSION"), "\n"))
}
