//! Requests that came over TLS, and people who did not come that way and shall.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::api::{ApiError, ApiErrorKind};
use crate::ops::Ops;

/// The request came over TLS: an extension of each that did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encrypted;

/// Marks a request that came over TLS.
pub fn encrypted<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    request.extensions_mut().insert(Encrypted);
    request
}

/// Leads people and programs that come by HTTP to HTTPS, if the server was told so. What they have sent was readable on
/// its way; it is refused, so that they notice.
pub(super) async fn only(State(ops): State<Arc<Ops>>, request: Request, next: Next) -> Response {
    let https = ops.config().https.as_ref();
    let Some(https) = https.filter(|https| https.is_for_people) else {
        return next.run(request).await;
    };
    if request.extensions().get::<Encrypted>().is_some() {
        return next.run(request).await;
    }
    if !request.method().is_safe() {
        let text = "this server takes what changes something over HTTPS alone; open its page, or ask its API, with \
            https:// in the address";
        return ApiError::new(ApiErrorKind::Forbidden, text).into_response();
    }
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let host = host.as_ref().map(Authority::host);
    let known = ops
        .config()
        .known_address()
        .map(|address| address.to_string());
    let Some(host) = host.or(known.as_deref()) else {
        let text = "the request does not say which host it is for; ask over HTTPS";
        return ApiError::new(ApiErrorKind::Invalid, text).into_response();
    };
    let path = request.uri().path_and_query();
    let path = path.map_or("/", |path| path.as_str());
    let place = match https.listen.port() {
        443 => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    };
    match HeaderValue::from_str(&place) {
        // For now: a browser that keeps it would go there when the server is told otherwise.
        Ok(place) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, place)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}
