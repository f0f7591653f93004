//! `nfsFailures`: hosts that could not use the share of a storage node, which is not asked again for a while.

use super::row::{args, unless_broken};
use super::tx::Tx;
use crate::domain::queue::NodeFailure;
use crate::domain::{HostId, NodeId, TaskId, Timestamp};
use crate::store::Result;

/// Keeps that the host of a task could not use its node, and until when that node is not asked again; nothing if the task
/// is gone.
pub(super) async fn note(
    tx: &mut Tx,
    task: TaskId,
    until: Timestamp,
) -> Result<Option<NodeFailure>> {
    let sql =
        "SELECT taskID, taskHostID, taskNFSMemberID, taskNFSGroupID FROM tasks WHERE taskID = ?";
    let Some(row) = tx.row(sql, args![task]).await? else {
        return Ok(None);
    };
    let cells = row.of("tasks", &["taskID"]);
    let host = HostId(cells.int("taskHostID")?);
    let node = cells.reference("taskNFSMemberID")?.unwrap_or(1);
    let group = cells.reference("taskNFSGroupID")?.unwrap_or(1);
    // There is one row for each, and a try before this one may have left it.
    let condition = "nfNodeID = ? AND nfHostID = ? AND nfTaskID = ?";
    let columns = vec![("nfDateTime", until.into())];
    let met = tx.set(TABLE, columns, condition, args![node, host, task]);
    if met.await? == 0 {
        let row = vec![
            ("nfNodeID", node.into()),
            ("nfTaskID", task.into()),
            ("nfHostID", host.into()),
            ("nfGroupID", group.into()),
            ("nfDateTime", until.into()),
        ];
        tx.add(TABLE, row).await?;
    }
    Ok(Some(NodeFailure {
        node: NodeId(node),
        host,
        until,
    }))
}

/// The newest failures; most of them are over.
pub(super) async fn newest(tx: &mut Tx) -> Result<Vec<NodeFailure>> {
    let sql =
        "SELECT nfID, nfNodeID, nfHostID, nfDateTime FROM nfsFailures ORDER BY nfID DESC LIMIT ?";
    let rows = tx.rows(sql, args![MAX_READ]).await?;
    let failures = rows.iter().map(|row| {
        let cells = row.of(TABLE, &["nfID"]);
        unless_broken((|| {
            Ok(NodeFailure {
                node: NodeId(cells.int("nfNodeID")?),
                host: HostId(cells.int("nfHostID")?),
                until: cells.time("nfDateTime")?,
            })
        })())
    });
    failures.filter_map(Result::transpose).collect()
}

const TABLE: &str = "nfsFailures";

/// More do not come within minutes.
const MAX_READ: i64 = 1000;
