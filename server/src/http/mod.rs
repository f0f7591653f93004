//! What clients ask over HTTP: FOG's endpoints and a few of our own, all below `/fog`.

mod answer;
mod api;
mod audit;
mod blame;
mod boot_files;
mod boot_script;
mod capture;
mod checkin;
mod completion;
mod data;
mod debug_menu;
mod encrypted;
mod error;
mod index;
mod inventory;
pub mod listener;
mod local;
mod metrics;
mod native;
mod page;
mod peer;
mod progress;
mod request;
mod taskerror;
#[cfg(test)]
mod tests;
mod version;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

pub use api::document;
pub use encrypted::encrypted;
pub use local::local_router;

use self::answer::Answers;
use self::api::Way;
use crate::ops::Ops;

/// Largest request body in bytes; inventories are some kilobytes. Each connection may keep that much
/// waiting until the body is whole: with more, [`listener::Limits`] would say too little.
const MAX_BODY: usize = 64 << 10;

/// All endpoints.
///
/// Paths are expected as [`normalise`] leaves them.
pub fn router(ops: Arc<Ops>) -> Router {
    let service = Router::new()
        .route(
            "/getversion.php",
            get(version::version).post(version::version),
        )
        .route(
            "/mc_checkin.php",
            post(checkin::check_in).get(checkin::check_in),
        )
        .route(
            "/Pre_Stage1.php",
            post(checkin::check_in).get(checkin::check_in),
        )
        .route(
            "/Post_Stage3.php",
            post(completion::complete).get(completion::complete),
        )
        // Of captures.
        .route(
            "/Post_Stage2.php",
            post(completion::complete).get(completion::complete),
        )
        .route(
            "/inventory.php",
            post(inventory::store).get(inventory::store),
        )
        .route("/progress.php", post(progress::store).get(progress::store))
        .route("/blame.php", post(blame::blame).get(blame::blame))
        .route(
            "/taskerror.php",
            post(taskerror::report).get(taskerror::report),
        )
        .route(
            "/ipxe/boot.php",
            post(boot_script::script).get(boot_script::script),
        )
        .route(
            "/grub/boot.php",
            post(boot_script::grub_script).get(boot_script::grub_script),
        )
        .route("/hostinfo.php", post(sourced).get(sourced))
        .route("/hostgetkey.php", post(sourced).get(sourced))
        .route("/ipxe/{file}", get(boot_files::file))
        .route("/fos/manifest", get(native::manifest))
        .route("/fos/file", get(native::file))
        .route("/fos/data", get(data::data))
        .route("/fos/session", get(native::session))
        .merge(capture::routes());
    let fog = Router::new()
        .route("/", get(index::index))
        .route("/index.php", get(index::index))
        // Where FOG's own clients ask for it.
        .route("/status/hostgetkey.php", post(sourced).get(sourced))
        .nest("/service", service);
    let figures = metrics::Metrics::new();
    let people = api::router(Way::Network)
        .merge(page::router())
        .layer(middleware::from_fn_with_state(
            Arc::clone(&ops),
            encrypted::only,
        ))
        .layer(middleware::from_fn(answer::bounded))
        .layer(middleware::from_fn_with_state(Arc::clone(&ops), audit::log));
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/fog/", get(index::index))
        .nest("/fog", fog)
        .merge(people)
        .merge(peer::router(&ops))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Extension(Arc::new(Answers::new())))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&ops),
            answer::guard,
        ))
        .layer(Extension(Arc::clone(&figures)))
        .layer(middleware::from_fn_with_state(figures, metrics::count))
        .with_state(ops)
}

/// Removes double slashes from the path: FOG's client asks for `/fog//index.php`.
pub fn normalise<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    let path = request.uri().path();
    if path.contains("//") {
        let mut clean = String::with_capacity(path.len());
        for c in path.chars() {
            if c != '/' || !clean.ends_with('/') {
                clean.push(c);
            }
        }
        if let Some(query) = request.uri().query() {
            clean.push('?');
            clean.push_str(query);
        }
        // Taken from a valid URI, so this is one; if not, the path stays as it was.
        if let Ok(uri) = clean.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// `hostinfo.php` and `hostgetkey.php`, for machines that boot from a stick. Their shell runs whatever
/// is answered: so it is a comment.
async fn sourced() -> Response {
    let text =
        "# fos-server has no jobs for machines that boot from a stick: boot from the network\n";
    (StatusCode::NOT_FOUND, plain(text)).into_response()
}

async fn not_found(uri: Uri) -> Response {
    let path = fog::encoding::printable(uri.path(), 200);
    let text =
        format!("# {path} is not served here; this is fos-server, FOG's web pages do not exist\n");
    (StatusCode::NOT_FOUND, plain(text)).into_response()
}

/// A plain text, as FOG answers: status 200 also for what went wrong.
fn plain(text: impl Into<String>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (headers, text.into()).into_response()
}

/// Work in steps of which the last must follow the first: it goes on when its request is given up.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The server ends, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
