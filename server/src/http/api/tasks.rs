//! Hosts that are deployed alone: their tasks, and how the storage nodes are used.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::authority::{Admin, Operator, Viewer};
use super::body::{Body, Place};
use super::{Answer, SharedOps};
use crate::api::{ApiError, Capture, DeployAlone, Done, TaskList, TasksCreated};

/// The hosts that are deployed alone, with their places in line, and how the storage nodes are used.
///
/// Role: viewer.
#[utoipa::path(get, path = "/tasks", tag = "tasks", operation_id = "listTasks",
    responses((status = 200, description = "Newest first", body = TaskList)))]
pub(super) async fn list(_: Viewer, State(ops): State<SharedOps>) -> Answer<TaskList> {
    crate::api::Api::tasks(&*ops).await.map(Json)
}

/// Creates a task for each host: it gets in line for a slot of its storage node when it boots from the network.
///
/// Role: operator.
#[utoipa::path(post, path = "/tasks", tag = "tasks", operation_id = "deployAlone",
    request_body = DeployAlone,
    responses((status = 201, description = "They wait for their hosts", body = TasksCreated)))]
pub(super) async fn deploy(
    _: Operator,
    State(ops): State<SharedOps>,
    Body(request): Body<DeployAlone>,
) -> Result<(StatusCode, Json<TasksCreated>), ApiError> {
    let created = crate::api::Api::deploy_alone(&*ops, request).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Creates a task that captures the disk of a host into an image, when the host boots from the network.
///
/// The present files of the image stay until the new ones are verified, and are kept as a version. One capture into
/// one image at a time. Role: admin.
#[utoipa::path(post, path = "/captures", tag = "tasks", operation_id = "capture", request_body = Capture,
    responses((status = 201, description = "It waits for its host", body = TasksCreated)))]
pub(super) async fn capture(
    _: Admin,
    State(ops): State<SharedOps>,
    Body(request): Body<Capture>,
) -> Result<(StatusCode, Json<TasksCreated>), ApiError> {
    let created = crate::api::Api::capture(&*ops, request).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Cancels a task: its host has nothing to do any more, and its slot is free.
///
/// Role: operator.
#[utoipa::path(post, path = "/tasks/{task}/cancel", tag = "tasks", operation_id = "cancelTask",
    params(("task" = i64, Path, description = "Its number")),
    responses((status = 200, description = "It is cancelled, and that is stored", body = Done)))]
pub(super) async fn cancel(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(task): Place<i64>,
) -> Answer<Done> {
    crate::api::Api::cancel_task(&*ops, task).await.map(Json)
}
