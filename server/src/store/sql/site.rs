//! `nfsGroups`, `nfsGroupMembers` and `nfsFailures`, and `fos_nodes` with what their servers have claimed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::claims::NOW;
use super::row::{ACTIVE, Cells, args, unless_broken};
use super::tx::Tx;
use crate::domain::site::{MAX_SHOWN, NodeFailure, ServerSeen, Site, StorageNode};
use crate::domain::{NodeId, SessionId, TaskId};
use crate::store::Result;

/// All of it. `own` is how this server shows itself, where there can be several.
pub(super) async fn look(tx: &mut Tx, own: Option<String>) -> Result<Site> {
    let sql = "SELECT ngmID, ngmMemberName, ngmGroupID, ngName, ngmHostname, ngmIsMasterNode, ngmIsEnabled \
        FROM nfsGroupMembers LEFT JOIN nfsGroups ON ngID = ngmGroupID ORDER BY ngmGroupID, ngmID LIMIT ?";
    let mut site = Site::default();
    for row in tx.rows(sql, args![i64::from(MAX_SHOWN)]).await? {
        let node = storage(&row.of("nfsGroupMembers", &["ngmID"]));
        site.storage.extend(unless_broken(node)?);
    }
    let sql = "SELECT nfID, nfNodeID, nfTaskID, hostName, nfDateTime FROM nfsFailures \
        LEFT JOIN hosts ON hostID = nfHostID ORDER BY nfID DESC LIMIT ?";
    for row in tx.rows(sql, args![i64::from(MAX_SHOWN)]).await? {
        let failure = failure(&row.of("nfsFailures", &["nfID"]));
        site.failures.extend(unless_broken(failure)?);
    }
    if let Some(own) = own {
        site.servers = servers(tx, &own).await?;
    }
    Ok(site)
}

fn storage(cells: &Cells<'_>) -> Result<StorageNode> {
    Ok(StorageNode {
        id: NodeId(cells.int("ngmID")?),
        name: cells.text("ngmMemberName")?,
        group: cells.int("ngmGroupID")?,
        group_name: cells.optional_text("ngName")?,
        address: cells.text("ngmHostname")?,
        is_master: cells.flag("ngmIsMasterNode")?,
        is_enabled: cells.flag("ngmIsEnabled")?,
    })
}

fn failure(cells: &Cells<'_>) -> Result<NodeFailure> {
    Ok(NodeFailure {
        node: NodeId(cells.int("nfNodeID")?),
        host: cells.optional_text("hostName")?,
        task: TaskId(cells.int("nfTaskID")?),
        at: cells.time("nfDateTime")?,
    })
}

async fn servers(tx: &mut Tx, own: &str) -> Result<Vec<ServerSeen>> {
    let sql = format!(
        "SELECT fos_claims.msID AS claimed, holder FROM fos_claims \
         JOIN multicastSessions ON multicastSessions.msID = fos_claims.msID \
         WHERE leaseEnd > {NOW} AND msState IN {ACTIVE} ORDER BY fos_claims.msID LIMIT ?"
    );
    let mut claimed: BTreeMap<String, Vec<SessionId>> = BTreeMap::new();
    for row in tx.rows(&sql, args![i64::from(MAX_SHOWN)]).await? {
        let cells = row.of("fos_claims", &["claimed"]);
        let sessions = claimed.entry(cells.text("holder")?).or_default();
        sessions.push(SessionId(cells.int("claimed")?));
    }
    let sql = format!(
        "SELECT number, name, holder, url, {NOW} - seenAt AS silence FROM fos_nodes \
         ORDER BY name, number LIMIT ?"
    );
    let mut found = Vec::new();
    for row in tx.rows(&sql, args![i64::from(MAX_SHOWN)]).await? {
        let cells = row.of("fos_nodes", &["number"]);
        let holder = cells.text("holder")?;
        // The clock of the database may have been put back.
        let silence = u64::try_from(cells.int("silence")?).unwrap_or(0);
        found.push(ServerSeen {
            name: cells.text("name")?,
            url: cells.text("url")?,
            is_this: holder == own,
            silence: Duration::from_millis(silence),
            sessions: claimed.remove(&holder).unwrap_or_default(),
        });
    }
    Ok(found)
}
