//! What FOG's own programs change meanwhile: hosts and sessions that come, go or become others.
//!
//! They tell nobody, so it is looked for. A server alone with its database need not look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::domain::SessionId;
use crate::store::sql::Engine as _;
use crate::store::sql::row::Value;
use crate::store::sql::sessions;
use crate::store::sql::tx::Tx;
use crate::store::{Change, Result};

/// Between two looks: two small questions for FOG's tables.
const PERIOD: Duration = Duration::from_secs(5);

/// What was there at the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    active: BTreeSet<SessionId>,
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
    let active = sessions::active(tx).await?.into_iter().collect();
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
        // The order of the rows does not matter.
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
        let new = now.active.difference(&self.active);
        let mut changes: Vec<Change> = new.copied().map(Change::Session).collect();
        let gone = self.active.difference(&now.active);
        changes.extend(gone.copied().map(Change::Session));
        if self.hosts != now.hosts {
            changes.push(Change::Hosts);
        }
        changes
    }
}
