//! Groups of hosts.

use axum::Json;
use axum::extract::State;

use super::authority::{Operator, Viewer};
use super::body::{Body, Place};
use super::{Answer, SharedOps};
use crate::api::{Api as _, Done, GroupHosts, GroupRow, Named};

/// The groups of hosts, by name.
///
/// Role: viewer.
#[utoipa::path(get, path = "/groups", tag = "groups", operation_id = "listGroups",
    responses((status = 200, description = "By name", body = Vec<GroupRow>)))]
pub(super) async fn list(_: Viewer, State(ops): State<SharedOps>) -> Answer<Vec<GroupRow>> {
    ops.group_list().await.map(Json)
}

/// Puts hosts into a group, at its end; a group that is not there is made.
///
/// Role: operator.
#[utoipa::path(post, path = "/groups/{group}/add", tag = "groups", operation_id = "addToGroup",
    request_body = GroupHosts,
    params(("group" = String, Path, description = "Its name: 1 to 40 letters, digits, blanks or the signs . _ -")),
    responses((status = 200, description = "They are in it", body = Named)))]
pub(super) async fn add(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(group): Place<String>,
    Body(request): Body<GroupHosts>,
) -> Answer<Named> {
    ops.group_add(&group, request).await.map(Json)
}

/// Takes hosts out of a group. An empty group stays.
///
/// Role: operator.
#[utoipa::path(post, path = "/groups/{group}/take", tag = "groups", operation_id = "takeFromGroup",
    request_body = GroupHosts, params(("group" = String, Path, description = "Its name")),
    responses((status = 200, description = "They are not in it", body = Named)))]
pub(super) async fn take(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(group): Place<String>,
    Body(request): Body<GroupHosts>,
) -> Answer<Named> {
    ops.group_take(&group, request).await.map(Json)
}

/// Removes a group; its hosts stay.
///
/// Role: operator.
#[utoipa::path(delete, path = "/groups/{group}", tag = "groups", operation_id = "removeGroup",
    params(("group" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is removed", body = Named)))]
pub(super) async fn remove(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(group): Place<String>,
) -> Answer<Named> {
    ops.group_remove(&group).await.map(Json)
}

/// Switches machines on by Wake-on-LAN. Nothing says whether they wake up.
///
/// Role: operator.
#[utoipa::path(post, path = "/wake", tag = "hosts", operation_id = "wake", request_body = GroupHosts,
    responses((status = 200, description = "They were called", body = Done)))]
pub(super) async fn wake(
    _: Operator,
    State(ops): State<SharedOps>,
    Body(request): Body<GroupHosts>,
) -> Answer<Done> {
    crate::api::Api::wake(&*ops, request).await.map(Json)
}
