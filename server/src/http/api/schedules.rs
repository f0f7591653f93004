//! Deploys that begin later.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::authority::{Operator, Viewer};
use super::body::{Body, Place};
use super::{Answer, SharedOps};
use crate::api::{Api as _, ApiError, Done, ScheduleAdd, ScheduleRow};

/// Deploys that begin later, or did, the oldest first.
///
/// Role: viewer.
#[utoipa::path(get, path = "/schedules", tag = "schedules", operation_id = "listSchedules",
    responses((status = 200, description = "The oldest first", body = Vec<ScheduleRow>)))]
pub(super) async fn list(_: Viewer, State(ops): State<SharedOps>) -> Answer<Vec<ScheduleRow>> {
    ops.schedule_list().await.map(Json)
}

/// Keeps a deploy that begins later, once or again and again. Its machines are switched on by Wake-on-LAN then.
///
/// A start that is up to 15 minutes late, as the server did not run, is done; one that is later is skipped. A clock that
/// is put back starts nothing twice. Role: operator.
#[utoipa::path(post, path = "/schedules", tag = "schedules", operation_id = "addSchedule",
    request_body = ScheduleAdd,
    responses((status = 201, description = "It begins later", body = ScheduleRow)))]
pub(super) async fn add(
    _: Operator,
    State(ops): State<SharedOps>,
    Body(request): Body<ScheduleAdd>,
) -> Result<(StatusCode, Json<ScheduleRow>), ApiError> {
    let added = ops.schedule_add(request).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Removes a deploy that begins later. Sessions that it has made go on.
///
/// Role: operator.
#[utoipa::path(delete, path = "/schedules/{schedule}", tag = "schedules", operation_id = "removeSchedule",
    params(("schedule" = i64, Path, description = "Its number")),
    responses((status = 200, description = "It does not begin any more", body = Done)))]
pub(super) async fn remove(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(schedule): Place<i64>,
) -> Answer<Done> {
    ops.schedule_remove(schedule).await.map(Json)
}
