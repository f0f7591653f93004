//! `fos_nodes` and `fos_claims`: which server runs which session. MariaDB alone has them.

use std::time::Duration;

use super::row::{ACTIVE, Row, args};
use super::tx::Tx;
use crate::domain::SessionId;
use crate::domain::node::{
    Claim, Fence, LEASE, LEASE_ALONE, LEASE_CLUSTER, OtherClaim, Renewal, Seen, Server, Shown,
};
use crate::domain::peer::Peer;
use crate::store::node::Held;
use crate::store::{Result, StoreError};

/// A server that shows itself.
#[derive(Debug, Clone)]
pub(super) struct Sign {
    pub(super) name: String,
    pub(super) holder: String,
    pub(super) run: String,
    pub(super) shown: Shown,
}

/// By which clock leases are over.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    /// That of the database, which is the same for all servers.
    Database,
    /// That of this server: these claims of active sessions are over by it, if they still are as they were seen.
    Own(Vec<(SessionId, Seen)>),
}

impl Clock {
    /// The claim of a session that is over, if it is the server that says so.
    fn over(&self, session: SessionId) -> Option<Seen> {
        let Self::Own(over) = self else { return None };
        let found = over.iter().find(|(id, _)| *id == session);
        found.map(|(_, seen)| *seen)
    }
}

/// Shows a server to the others, for the first time since its start; its number.
pub(super) async fn register(tx: &mut Tx, sign: Sign) -> Result<i64> {
    let sql = format!("DELETE FROM fos_nodes WHERE seenAt < {NOW} - ? AND holder <> ?");
    tx.run(&sql, args![GONE_KEPT, sign.holder.as_str()]).await?;
    let sql = format!(
        "INSERT INTO fos_nodes (name, holder, run, url, peer, clientUrl, keyHash, seenAt) \
         VALUES (?, ?, ?, ?, ?, ?, ?, {NOW}) \
         ON DUPLICATE KEY UPDATE name = VALUES(name), run = VALUES(run), url = VALUES(url), \
         peer = VALUES(peer), clientUrl = VALUES(clientUrl), keyHash = VALUES(keyHash), \
         seenAt = VALUES(seenAt)"
    );
    let (holder, shown) = (sign.holder.as_str(), sign.shown);
    let mut values = args![sign.name, holder, sign.run];
    values.extend(args![shown.url, shown.peer, shown.client_url, shown.key]);
    tx.run(&sql, values).await?;
    let sql = "SELECT number FROM fos_nodes WHERE holder = ?";
    let number = tx.number(sql, args![sign.holder]).await?;
    number.ok_or_else(|| {
        StoreError::Unavailable("the row of this server in fos_nodes is gone".into())
    })
}

/// The other servers that were seen a moment ago, the last one first.
pub(super) async fn servers(tx: &mut Tx, holder: String, is_cluster: bool) -> Result<Vec<Server>> {
    let sql = format!(
        "SELECT number, name, url, clientUrl, keyHash FROM fos_nodes WHERE holder <> ? AND seenAt > {NOW} - ? \
         ORDER BY seenAt DESC LIMIT {MAX_PEERS}"
    );
    let rows = tx
        .rows(&sql, args![holder, millis(silence(is_cluster))])
        .await?;
    let server = |row: &Row| {
        let cells = row.of("fos_nodes", &["number"]);
        Ok(Server {
            name: cells.text("name")?,
            url: cells.optional_text("url")?,
            client_url: cells.optional_text("clientUrl")?,
            key: cells.optional_text("keyHash")?,
        })
    };
    rows.iter().map(server).collect()
}

/// The other servers that say where servers reach them.
pub(super) async fn peers(tx: &mut Tx, holder: String, is_cluster: bool) -> Result<Vec<Peer>> {
    let sql = format!(
        "SELECT number, name, peer, seenAt > {NOW} - ? AS isThere FROM fos_nodes \
         WHERE holder <> ? AND peer <> '' ORDER BY number LIMIT {MAX_PEERS}"
    );
    let rows = tx
        .rows(&sql, args![millis(silence(is_cluster)), holder])
        .await?;
    let peer = |row: &Row| {
        let cells = row.of("fos_nodes", &["number"]);
        Ok(Peer {
            name: cells.text("name")?,
            url: cells.text("peer")?,
            is_there: cells.int("isThere")? != 0,
        })
    };
    rows.iter().map(peer).collect()
}

/// After how long a server is not there any more. Where each node of the database has a clock, others may seem to be
/// silent that are not.
fn silence(is_cluster: bool) -> Duration {
    match is_cluster {
        true => CLUSTER_SILENCE,
        false => LEASE_ALONE,
    }
}

/// Claims a session, unless another server has it.
pub(super) async fn claim(
    tx: &mut Tx,
    session: SessionId,
    holder: String,
    clock: Clock,
) -> Result<Claim> {
    let sql = "INSERT IGNORE INTO fos_claims (msID, holder, fence, leaseEnd) VALUES (?, '', 0, 0)";
    tx.run(sql, args![session]).await?;
    let mut values = args![holder.as_str(), millis(LEASE), session, holder.as_str()];
    let is_over = match &clock {
        Clock::Database => format!("leaseEnd <= {NOW}"),
        Clock::Own(_) => match clock.over(session) {
            Some(seen) => {
                values.extend(args![seen.fence.0, seen.lease_end]);
                "leaseEnd = 0 OR (fence = ? AND leaseEnd = ?)".to_owned()
            }
            None => "leaseEnd = 0".to_owned(),
        },
    };
    let sql = format!(
        "UPDATE fos_claims SET holder = ?, fence = fence + 1, leaseEnd = {NOW} + ? \
         WHERE msID = ? AND (holder = ? OR {is_over})"
    );
    if tx.run(&sql, values).await? > 0 {
        let sql = "SELECT fence FROM fos_claims WHERE msID = ?";
        let fence = tx.number(sql, args![session]).await?.unwrap_or(0);
        return Ok(Claim::Ours(Some(Fence(fence))));
    }
    let other = by_another(tx, session, holder, clock).await?;
    let server = other.map(|other| other.server);
    Ok(Claim::Theirs(server.unwrap_or_default()))
}

/// The last claim of a session, if it is another server's.
pub(super) async fn by_another(
    tx: &mut Tx,
    session: SessionId,
    holder: String,
    clock: Clock,
) -> Result<Option<OtherClaim>> {
    let sql = format!(
        "SELECT name, url, clientUrl, keyHash, fence, leaseEnd, leaseEnd > {NOW} AS lasts FROM fos_claims \
         LEFT JOIN fos_nodes ON fos_nodes.holder = fos_claims.holder \
         WHERE msID = ? AND fos_claims.holder <> ?"
    );
    let row = tx.row(&sql, args![session, holder]).await?;
    let other = row.map(|row| {
        let cells = row.of("fos_claims", &[]);
        Ok(OtherClaim {
            server: Server {
                name: cells.optional_text("name")?,
                url: cells.optional_text("url")?,
                client_url: cells.optional_text("clientUrl")?,
                key: cells.optional_text("keyHash")?,
            },
            lasts: match &clock {
                Clock::Database => cells.int("lasts")? != 0,
                Clock::Own(_) => {
                    let seen = Seen {
                        fence: Fence(cells.int("fence")?),
                        lease_end: cells.int("leaseEnd")?,
                    };
                    seen.lease_end != 0 && clock.over(session) != Some(seen)
                }
            },
        })
    });
    other.transpose()
}

/// Lets other servers claim a session at once.
pub(super) async fn release(tx: &mut Tx, session: SessionId, held: Held) -> Result<()> {
    let sql = "UPDATE fos_claims SET leaseEnd = 0 WHERE msID = ? AND holder = ? AND fence = ?";
    tx.run(sql, args![session, held.holder, held.fence.0])
        .await?;
    Ok(())
}

/// Whether something of a session may be stored: the server that stores it does not run it, or still does.
pub(super) async fn may_store(
    tx: &mut Tx,
    session: SessionId,
    held: Option<&Held>,
) -> Result<bool> {
    let Some(held) = held else { return Ok(true) };
    let sql = "SELECT COUNT(*) FROM fos_claims WHERE msID = ? AND holder = ? AND fence = ?";
    let values = args![session, held.holder.as_str(), held.fence.0];
    Ok(tx.number(sql, values).await? == Some(1))
}

/// Renews the claims of these sessions, each statement by itself.
pub(super) async fn renew(
    tx: &mut Tx,
    sign: Sign,
    sessions: Vec<SessionId>,
    is_cluster: bool,
) -> Result<Renewal> {
    let sql = format!(
        "UPDATE fos_nodes SET seenAt = {NOW}, url = ?, clientUrl = ?, keyHash = ? WHERE holder = ? AND run = ?"
    );
    let shown = &sign.shown;
    let values = args![
        shown.url.as_str(),
        shown.client_url.as_str(),
        shown.key.as_str(),
        sign.holder.as_str(),
        sign.run.as_str()
    ];
    if tx.run(&sql, values).await? == 0 {
        let sql = "SELECT COUNT(*) FROM fos_nodes WHERE holder = ?";
        if tx.number(sql, args![sign.holder.as_str()]).await? != Some(0) {
            return Err(StoreError::Unavailable(
                "another server has the same node-id: it was started with a copy of this data directory, or \
                 with the directory itself. Remove the file node-id from the copy and start that server again"
                    .into(),
            ));
        }
        register(tx, sign.clone()).await?;
    }
    let sql = format!("SELECT COUNT(*) FROM fos_nodes WHERE holder <> ? AND seenAt > {NOW} - ?");
    let values = args![sign.holder.as_str(), millis(silence(is_cluster))];
    let others = tx.number(&sql, values).await?.unwrap_or(0);
    let lease = match others {
        _ if is_cluster => LEASE_CLUSTER,
        0 => LEASE_ALONE,
        _ => LEASE,
    };
    let mut held = Vec::new();
    if !sessions.is_empty() {
        let list: Vec<String> = sessions.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        let sql = format!(
            "UPDATE fos_claims SET leaseEnd = {NOW} + ? WHERE holder = ? AND leaseEnd > 0 AND msID IN ({list})"
        );
        tx.run(&sql, args![millis(lease), sign.holder.as_str()])
            .await?;
        let sql = format!(
            "SELECT msID, fence FROM fos_claims WHERE holder = ? AND leaseEnd > 0 AND msID IN ({list})"
        );
        for row in tx.rows(&sql, args![sign.holder.as_str()]).await? {
            let cells = row.of("fos_claims", &["msID"]);
            held.push((SessionId(cells.int("msID")?), Fence(cells.int("fence")?)));
        }
    }
    Ok(Renewal {
        lease,
        held,
        others: u32::try_from(others).unwrap_or(u32::MAX),
    })
}

/// The claims of active sessions as they are.
pub(super) async fn seen(tx: &mut Tx) -> Result<Vec<(SessionId, Seen)>> {
    let sql = format!(
        "SELECT fos_claims.msID AS msID, fence, leaseEnd FROM fos_claims JOIN multicastSessions \
         ON multicastSessions.msID = fos_claims.msID WHERE msState IN {ACTIVE}"
    );
    let mut seen = Vec::new();
    for row in tx.rows(&sql, Vec::new()).await? {
        let cells = row.of("fos_claims", &["msID"]);
        let (fence, lease_end) = (Fence(cells.int("fence")?), cells.int("leaseEnd")?);
        seen.push((SessionId(cells.int("msID")?), Seen { fence, lease_end }));
    }
    Ok(seen)
}

/// Active sessions whose lease is over.
pub(super) async fn left(tx: &mut Tx, clock: Clock) -> Result<Vec<SessionId>> {
    if let Clock::Own(over) = clock {
        return Ok(over.into_iter().map(|(session, _)| session).collect());
    }
    let sql = format!(
        "SELECT fos_claims.msID AS msID FROM fos_claims JOIN multicastSessions \
         ON multicastSessions.msID = fos_claims.msID WHERE leaseEnd <= {NOW} AND msState IN {ACTIVE}"
    );
    let rows = tx.rows(&sql, Vec::new()).await?;
    let id = |row: &Row| row.of("fos_claims", &["msID"]).int("msID").map(SessionId);
    rows.iter().map(id).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The clock of the database, or of its node: in a cluster nothing is decided by it.
pub(super) const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)";

/// Where each node of the database has a clock of its own, a server is there that was seen within this time.
const CLUSTER_SILENCE: Duration = Duration::from_secs(3600);

/// Other servers that are asked for something.
const MAX_PEERS: u32 = 64;

/// Milliseconds after which a server that is not seen is forgotten: 90 days.
const GONE_KEPT: i64 = 90 * 24 * 3600 * 1000;
