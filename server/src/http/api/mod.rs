//! The JSON API, `/api/v1/`: for the command line over the server's own socket, and for programs and the page
//! over the network. What it takes and answers is described by `/api/openapi.json`.

mod accounts;
pub(super) mod authority;
mod body;
mod document;
mod groups;
mod hosts;
mod images;
mod log;
mod schedules;
mod sessions;
mod tasks;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use document::document;

pub(super) use authority::Way;

use super::answer::Fault;
use crate::api::{ApiError, ApiErrorKind, Problem};
use crate::ops::Ops;

type SharedOps = Arc<Ops>;

/// What a handler answers.
type Answer<T> = Result<Json<T>, ApiError>;

/// The API as it is reached by this way.
pub(super) fn router(way: Way) -> Router<SharedOps> {
    let (router, _) = described().split_for_parts();
    router
        .route("/api/openapi.json", get(openapi))
        .route("/api/", axum::routing::any(not_found))
        .route("/api/{*rest}", axum::routing::any(not_found))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(way))
}

/// Every operation with its description.
fn described() -> OpenApiRouter<SharedOps> {
    let operations = OpenApiRouter::new()
        .routes(routes!(accounts::me))
        .routes(routes!(sessions::list, sessions::deploy))
        .routes(routes!(sessions::show))
        .routes(routes!(sessions::start))
        .routes(routes!(sessions::cancel))
        .routes(routes!(sessions::cancel_all))
        .routes(routes!(sessions::drop_host))
        .routes(routes!(sessions::events))
        .routes(routes!(tasks::list, tasks::deploy))
        .routes(routes!(tasks::cancel))
        .routes(routes!(hosts::list, hosts::add))
        .routes(routes!(hosts::edit, hosts::remove))
        .routes(routes!(hosts::forget))
        .routes(routes!(hosts::pending, hosts::forget_all_pending))
        .routes(routes!(hosts::forget_pending))
        .routes(routes!(hosts::accept))
        .routes(routes!(groups::list))
        .routes(routes!(groups::add))
        .routes(routes!(groups::take))
        .routes(routes!(groups::remove))
        .routes(routes!(groups::wake))
        .routes(routes!(schedules::list, schedules::add))
        .routes(routes!(schedules::remove))
        .routes(routes!(images::root))
        .routes(routes!(images::list, images::add))
        .routes(routes!(images::show, images::update, images::remove))
        .routes(routes!(images::check))
        .routes(routes!(images::verification, images::verify))
        .routes(routes!(images::replicas, images::replicate))
        .routes(routes!(log::show))
        .routes(routes!(accounts::users, accounts::add_user))
        .routes(routes!(accounts::change_user, accounts::remove_user))
        .routes(routes!(accounts::tokens, accounts::add_token))
        .routes(routes!(accounts::remove_token));
    OpenApiRouter::new().nest("/api/v1", operations)
}

/// The description needs no login: nothing of this server is in it.
async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, document()).into_response()
}

async fn not_found(uri: Uri) -> ApiError {
    let path = fog::encoding::printable(uri.path(), 200);
    let text = format!("{path} is not part of the API; /api/openapi.json describes it");
    ApiError::new(ApiErrorKind::NotFound, text)
}

async fn method_not_allowed(uri: Uri) -> ApiError {
    let path = fog::encoding::printable(uri.path(), 200);
    let text = format!("{path} has no such method; /api/openapi.json describes it");
    ApiError::new(ApiErrorKind::MethodNotAllowed, text)
}

/// What the log is to say of an answer that is the server's own fault.
pub(super) fn fault(error: &ApiError) -> Option<Fault> {
    let is_own = matches!(
        error.kind,
        ApiErrorKind::Unavailable | ApiErrorKind::Internal
    );
    is_own.then(|| Fault {
        what: "requests of people that could not be answered",
        text: error.text.clone(),
    })
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let fault = fault(&self);
        let problem = Problem::from(&self);
        let status = StatusCode::from_u16(self.kind.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind == ApiErrorKind::Unauthenticated {
            // Not `Basic`: browsers would ask for a password by themselves.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        match fault {
            Some(fault) => fault.add_to(response),
            None => response,
        }
    }
}
