//! What FOG's own programs and other servers change meanwhile: hosts and sessions that come, go or become others.
//!
//! They tell nobody, so it is looked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::domain::SessionId;
use crate::store::sql::Engine as _;
use crate::store::sql::row::{ACTIVE, Value};
use crate::store::sql::sessions;
use crate::store::sql::tx::Tx;
use crate::store::{Change, Result};

/// Between two looks: a few small questions. What is cancelled on FOG's page goes on for so long.
const PERIOD: Duration = Duration::from_secs(2);

/// What was there at the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Each with its state and how many of its tasks are in which.
    active: BTreeMap<SessionId, Vec<(String, String)>>,
    hosts: Vec<(String, String)>,
}

/// Looks, until the store is closed.
pub(super) async fn start(engine: &Arc<Engine>) -> Result<()> {
    let mut seen = look(engine).await?;
    let engine = Arc::downgrade(engine);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(engine) = engine.upgrade().filter(|engine| !engine.is_closed()) else {
                return;
            };
            engine.look_at_cluster().await;
            match look(&engine).await {
                Ok(now) => {
                    for change in seen.changes(&now) {
                        engine.tell(change);
                    }
                    seen = now;
                }
                // Whoever needs the database says so.
                Err(error) => tracing::debug!("looking for what FOG has changed: {error}"),
            }
        }
    });
    Ok(())
}

pub(super) async fn look(engine: &Arc<Engine>) -> Result<Seen> {
    engine.read(|tx| Box::pin(seen(tx))).await
}

async fn seen(tx: &mut Tx) -> Result<Seen> {
    let mut active: BTreeMap<SessionId, Vec<(String, String)>> = sessions::active(tx)
        .await?
        .into_iter()
        .map(|id| (id, Vec::new()))
        .collect();
    let sql = format!(
        "SELECT multicastSessions.msID AS msID, taskStateID, COUNT(*) AS many FROM multicastSessions \
         JOIN multicastSessionsAssoc ON multicastSessionsAssoc.msID = multicastSessions.msID \
         JOIN tasks ON taskID = tID WHERE msState IN {ACTIVE} \
         GROUP BY multicastSessions.msID, taskStateID ORDER BY multicastSessions.msID, taskStateID"
    );
    for row in tx.rows(&sql, Vec::new()).await? {
        let cells = row.of("multicastSessions", &["msID"]);
        if let Some(states) = active.get_mut(&SessionId(cells.int("msID")?)) {
            let state = cells.optional_text("taskStateID")?;
            states.push((state, cells.optional_text("many")?));
        }
    }
    let mut hosts = Vec::new();
    for (table, columns) in [
        (
            "hosts",
            "hostID, hostName, hostImage, hostKernelArgs, hostDevice, hostPending",
        ),
        (
            "hostMAC",
            "hmID, hmHostID, hmMAC, hmPrimary, hmPending, hmIgnoreImaging",
        ),
    ] {
        // The order of the rows does not matter. NULL is another value than what stands beside it.
        let columns = columns.replace(", ", ", '-'), COALESCE(");
        let columns = format!("COALESCE({columns}, '-')");
        let sql = format!(
            "SELECT COUNT(*) AS many, BIT_XOR(CRC32(CONCAT_WS('/', {columns}))) AS digest, \
             SUM(CRC32(CONCAT_WS('|', {columns}))) AS total FROM {table}"
        );
        let row = tx.row(&sql, Vec::new()).await?;
        for (name, value) in row.map(|row| row.columns).unwrap_or_default() {
            let value = match value {
                Value::Int(number) => number.to_string(),
                other => format!("{other:?}"),
            };
            hosts.push((format!("{table}.{name}"), value));
        }
    }
    Ok(Seen { active, hosts })
}

impl Seen {
    /// What is to be told: sessions that have become active, and hosts.
    pub(super) fn changes(&self, now: &Self) -> Vec<Change> {
        let is_same = |id: &SessionId| self.active.get(id) == now.active.get(id);
        let mut sessions: Vec<SessionId> = self.active.keys().copied().collect();
        sessions.extend(now.active.keys());
        sessions.sort_unstable();
        sessions.dedup();
        sessions.retain(|id| !is_same(id));
        let mut changes: Vec<Change> = sessions.into_iter().map(Change::Foreign).collect();
        if self.hosts != now.hosts {
            changes.push(Change::Hosts);
        }
        changes
    }
}
