//! Who serves machines.

use axum::Json;
use axum::extract::State;

use super::authority::Viewer;
use super::{Answer, SharedOps};
use crate::api::{Api as _, NodeList};

/// The servers with their sessions, and the storage nodes with those who have a slot or wait for one.
///
/// Role: viewer.
#[utoipa::path(get, path = "/nodes", tag = "nodes", operation_id = "listNodes",
    responses((status = 200, description = "Servers by name, storage nodes by group", body = NodeList)))]
pub(super) async fn list(_: Viewer, State(ops): State<SharedOps>) -> Answer<NodeList> {
    ops.node_list().await.map(Json)
}
