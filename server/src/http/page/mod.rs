//! The page for people: made by the server, without anything from elsewhere. All of it works without script; that only
//! keeps what is shown up to date.

mod accounts;
mod hosts;
mod images;
mod inspection;
mod layout;
mod live;
mod log;
mod login;
mod nodes;
mod overview;
mod places;
mod plot;
mod session;
mod tasks;
#[cfg(test)]
mod tests;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::ops::Ops;

/// All of its places.
pub(super) fn router() -> Router<Arc<Ops>> {
    Router::new()
        .route("/", get(overview::show))
        .route("/live", get(overview::live))
        .route("/deploy", post(overview::deploy))
        .route("/cancel-all", post(overview::cancel_all))
        .route("/tasks/cancel", post(tasks::cancel))
        .route("/schedules/remove", post(overview::remove_schedule))
        .route("/sessions/{session}", get(session::show))
        .route("/sessions/{session}/live", get(session::live))
        .route("/sessions/{session}/start", post(session::start))
        .route("/sessions/{session}/cancel", post(session::cancel))
        .route("/sessions/{session}/drop", post(session::drop_host))
        .route("/hosts", get(hosts::list).post(hosts::add))
        .route("/groups", post(hosts::change_group))
        .route("/pending/accept", post(hosts::accept))
        .route("/pending/forget", post(hosts::forget_pending))
        .route("/hosts/{host}", get(hosts::show).post(hosts::edit))
        .route("/hosts/{host}/remove", post(hosts::remove))
        .route("/hosts/{host}/forget", post(hosts::forget))
        .route("/images", get(images::list))
        .route("/images/live", get(images::live))
        .route("/images/{image}", get(inspection::show))
        .route("/images/{image}/check", post(images::check))
        .route("/images/{image}/verify", post(images::verify))
        .route("/images/{image}/revert", post(images::revert))
        .route("/images/{image}/describe", post(images::describe))
        .route("/capture", post(images::capture))
        .route("/nodes", get(nodes::show))
        .route("/nodes/live", get(nodes::live))
        .route("/log", get(log::show))
        .route("/log/live", get(log::live))
        .route("/accounts", get(accounts::list))
        .route("/accounts/users", post(accounts::add_user))
        .route("/accounts/tokens", post(accounts::add_token))
        .route("/accounts/remove", post(accounts::remove))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/setup", get(login::show_setup).post(login::set_up))
        .route("/assets/style.css", get(style))
        .route("/assets/app.js", get(script))
        .layer(middleware::map_response(harden))
}

/// A page may load what this server serves, run no script in itself, and be shown in no other page.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    // What is shown to one person is kept nowhere.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
];

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("style.css"))
}

async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("app.js"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    // Asked for again after an update of the server.
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=300"),
    ];
    (headers, text).into_response()
}

/// A text as a part of a path.
fn part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
