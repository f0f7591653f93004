//! Hosts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fog::Mac;

use super::authority::{Operator, Viewer};
use super::body::{Body, Place};
use super::{Answer, SharedOps};
use crate::api::{
    Added, Api as _, ApiError, Done, HostAccept, HostAdd, HostRow, Named, PendingHost,
};

/// The registered machines, by name.
///
/// Role: viewer.
#[utoipa::path(get, path = "/hosts", tag = "hosts", operation_id = "listHosts",
    responses((status = 200, description = "By name", body = Vec<HostRow>)))]
pub(super) async fn list(_: Viewer, State(ops): State<SharedOps>) -> Answer<Vec<HostRow>> {
    ops.host_list().await.map(Json)
}

/// Registers a machine.
///
/// Role: operator.
#[utoipa::path(post, path = "/hosts", tag = "hosts", operation_id = "addHost", request_body = HostAdd,
    responses((status = 201, description = "It is registered", body = Added)))]
pub(super) async fn add(
    _: Operator,
    State(ops): State<SharedOps>,
    Body(request): Body<HostAdd>,
) -> Result<(StatusCode, Json<Added>), ApiError> {
    let added = ops.host_add(request).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Makes a machine what the body says: name, addresses, image, disk.
///
/// Not while it has a task. Role: operator.
#[utoipa::path(put, path = "/hosts/{host}", tag = "hosts", operation_id = "editHost", request_body = HostAdd,
    params(("host" = String, Path, description = "Its name until now")),
    responses((status = 200, description = "It is changed", body = Named)))]
pub(super) async fn edit(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(host): Place<String>,
    Body(request): Body<HostAdd>,
) -> Answer<Named> {
    crate::api::Api::host_edit(&*ops, &host, request)
        .await
        .map(Json)
}

/// Removes a machine.
///
/// Not while it has a task. Role: operator.
#[utoipa::path(delete, path = "/hosts/{host}", tag = "hosts", operation_id = "removeHost",
    params(("host" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is removed", body = Named)))]
pub(super) async fn remove(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(host): Place<String>,
) -> Answer<Named> {
    ops.host_remove(&host).await.map(Json)
}

/// Forgets what a machine was told when it booted: only if all machines with its addresses are switched off.
///
/// Role: operator.
#[utoipa::path(post, path = "/hosts/{host}/forget", tag = "hosts", operation_id = "forgetHost",
    params(("host" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is forgotten", body = Named)))]
pub(super) async fn forget(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(host): Place<String>,
) -> Answer<Named> {
    ops.host_forget(&host).await.map(Json)
}

/// Machines that asked and are not registered, the last one that asked first.
///
/// Role: viewer.
#[utoipa::path(get, path = "/pending-hosts", tag = "hosts", operation_id = "listPendingHosts",
    responses((status = 200, description = "The last one that asked first", body = Vec<PendingHost>)))]
pub(super) async fn pending(_: Viewer, State(ops): State<SharedOps>) -> Answer<Vec<PendingHost>> {
    ops.host_pending().await.map(Json)
}

/// Registers a machine that asked.
///
/// Role: operator.
#[utoipa::path(post, path = "/pending-hosts/{mac}/accept", tag = "hosts", operation_id = "acceptHost",
    request_body = HostAccept, params(("mac" = String, Path, description = "Its address")),
    responses((status = 200, description = "It is registered", body = Named)))]
pub(super) async fn accept(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(mac): Place<Mac>,
    Body(request): Body<HostAccept>,
) -> Answer<Named> {
    crate::api::Api::host_accept(&*ops, mac, request)
        .await
        .map(Json)
}

/// Forgets a machine that asked.
///
/// Role: operator.
#[utoipa::path(delete, path = "/pending-hosts/{mac}", tag = "hosts", operation_id = "forgetPendingHost",
    params(("mac" = String, Path, description = "Its address")),
    responses((status = 200, description = "It is forgotten", body = Done)))]
pub(super) async fn forget_pending(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(mac): Place<Mac>,
) -> Answer<Done> {
    ops.pending_forget(Some(mac)).await.map(Json)
}

/// Forgets all machines that asked. Pending hosts of FOG's own stay.
///
/// Role: operator.
#[utoipa::path(delete, path = "/pending-hosts", tag = "hosts", operation_id = "forgetPendingHosts",
    responses((status = 200, description = "They are forgotten", body = Done)))]
pub(super) async fn forget_all_pending(_: Operator, State(ops): State<SharedOps>) -> Answer<Done> {
    ops.pending_forget(None).await.map(Json)
}
