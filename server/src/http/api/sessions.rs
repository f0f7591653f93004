//! Sessions: what they do, new ones, their ends.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::authority::{Operator, Viewer};
use super::body::{Body, Fields, Place};
use super::{Answer, SharedOps};
use crate::api::{
    Api as _, ApiError, ApiErrorKind, Deploy, Deployed, Done, EventLine, EventsQuery, ServerStatus,
};

/// The sessions that run, and the newest of the others.
///
/// Role: viewer.
#[utoipa::path(get, path = "/sessions", tag = "sessions", operation_id = "listSessions",
    responses((status = 200, description = "Newest first", body = ServerStatus)))]
pub(super) async fn list(_: Viewer, State(ops): State<SharedOps>) -> Answer<ServerStatus> {
    ops.status(None).await.map(Json)
}

/// One session.
///
/// Role: viewer.
#[utoipa::path(get, path = "/sessions/{session}", tag = "sessions", operation_id = "showSession",
    params(("session" = i64, Path, description = "Its number")),
    responses((status = 200, description = "With this session alone", body = ServerStatus)))]
pub(super) async fn show(
    _: Viewer,
    State(ops): State<SharedOps>,
    Place(session): Place<i64>,
) -> Answer<ServerStatus> {
    let status = ops.status(Some(session)).await?;
    if status.sessions.is_empty() {
        let text = format!("there is no session {session}; fos-server status lists them");
        return Err(ApiError::new(ApiErrorKind::NotFound, text));
    }
    Ok(Json(status))
}

/// Creates a session: its hosts receive the image when they boot from the network.
///
/// Role: operator.
#[utoipa::path(post, path = "/sessions", tag = "sessions", operation_id = "deploy",
    request_body = Deploy,
    responses((status = 201, description = "It waits for its hosts", body = Deployed)))]
pub(super) async fn deploy(
    _: Operator,
    State(ops): State<SharedOps>,
    Body(request): Body<Deploy>,
) -> Result<(StatusCode, Json<Deployed>), ApiError> {
    let deployed = crate::api::Api::deploy(&*ops, request).await?;
    Ok((StatusCode::CREATED, Json(deployed)))
}

/// Starts a session with the hosts that are connected; those that are missing are out.
///
/// Role: operator.
#[utoipa::path(post, path = "/sessions/{session}/start", tag = "sessions", operation_id = "startSession",
    params(("session" = i64, Path, description = "Its number")),
    responses((status = 200, description = "It starts", body = Done)))]
pub(super) async fn start(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(session): Place<i64>,
) -> Answer<Done> {
    crate::api::Api::start(&*ops, session).await.map(Json)
}

/// Cancels a session: its sender ends, and its hosts have no task any more.
///
/// Role: operator.
#[utoipa::path(post, path = "/sessions/{session}/cancel", tag = "sessions", operation_id = "cancelSession",
    params(("session" = i64, Path, description = "Its number")),
    responses((status = 200, description = "It is cancelled, and that is stored", body = Done)))]
pub(super) async fn cancel(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(session): Place<i64>,
) -> Answer<Done> {
    let cancelled = crate::api::Api::cancel(&*ops, session, None).await;
    cancelled.map(Json)
}

/// Cancels every active session, and every task of a host that is deployed alone.
///
/// Those that can be are cancelled, also if one cannot. Role: operator.
#[utoipa::path(post, path = "/sessions/cancel-all", tag = "sessions", operation_id = "cancelAllSessions",
    responses((status = 200, description = "They are cancelled, and that is stored", body = Done)))]
pub(super) async fn cancel_all(_: Operator, State(ops): State<SharedOps>) -> Answer<Done> {
    crate::api::Api::cancel_all(&*ops).await.map(Json)
}

/// Takes one host out of a session; the others go on.
///
/// Role: operator.
#[utoipa::path(post, path = "/sessions/{session}/hosts/{host}/drop", tag = "sessions", operation_id = "dropHost",
    params(
        ("session" = i64, Path, description = "Number of the session"),
        ("host" = String, Path, description = "Name of the host"),
    ),
    responses((status = 200, description = "It is out, and that is stored", body = Done)))]
pub(super) async fn drop_host(
    _: Operator,
    State(ops): State<SharedOps>,
    Place((session, host)): Place<(i64, String)>,
) -> Answer<Done> {
    let cancelled = crate::api::Api::cancel(&*ops, session, Some(&host)).await;
    cancelled.map(Json)
}

/// What happened in a session, oldest first: the newest ones if there are more than `limit`.
///
/// With `wait_seconds` an answer without events comes only after that time: so a program follows a session.
/// Role: viewer.
#[utoipa::path(get, path = "/sessions/{session}/events", tag = "sessions", operation_id = "listEvents",
    params(("session" = i64, Path, description = "Its number"), EventsQuery),
    responses((status = 200, description = "Oldest first", body = Vec<EventLine>)))]
pub(super) async fn events(
    _: Viewer,
    State(ops): State<SharedOps>,
    Place(session): Place<i64>,
    Fields(query): Fields<EventsQuery>,
) -> Answer<Vec<EventLine>> {
    let events = crate::api::Api::events(&*ops, session, query).await;
    events.map(Json)
}
