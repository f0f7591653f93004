//! Hosts that are deployed alone: their tasks, and how the storage nodes are used.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::authority::{Operator, Viewer};
use super::body::{Body, Place};
use super::{Answer, SharedOps};
use crate::api::{ApiError, DeployAlone, Done, TaskList, TasksCreated};

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
