//! The steps that bring the tables of ours to those of this version.
//!
//! MariaDB stores each statement that changes tables by itself: each can be run again.

use anyhow::{Context as _, ensure};

use super::connection::{Connection, execute, fetch};
use super::layout::{Layout, OURS, Owner};
use crate::clock;
use crate::store::sql::row::args;

/// A list of steps, in its order.
type Steps = &'static [&'static str];

/// FOG's tables, where there are none.
const FOG: (&str, Steps) = (
    "fog",
    &[include_str!("../../../migrations/mariadb/fog-0001.sql")],
);

/// Our own beside them.
const FOS: (&str, Steps) = (
    "fos",
    &[
        include_str!("../../../migrations/mariadb/fos-0001.sql"),
        NODES,
        include_str!("../../../migrations/mariadb/fos-0003-unicast.sql"),
        include_str!("../../../migrations/mariadb/fos-0004-pending.sql"),
        include_str!("../../../migrations/mariadb/fos-0005-groups.sql"),
        include_str!("../../../migrations/mariadb/fos-0006-schedules.sql"),
        include_str!("../../../migrations/mariadb/fos-0007-follow-ups.sql"),
        include_str!("../../../migrations/mariadb/fos-0008-peers.sql"),
        include_str!("../../../migrations/mariadb/fos-0009-queue.sql"),
        include_str!("../../../migrations/mariadb/fos-0010-https.sql"),
    ],
);

/// Several servers with one database.
const NODES: &str = include_str!("../../../migrations/mariadb/fos-0002-nodes.sql");

/// Makes the tables of ours, or brings them up to date. Nothing of FOG's is touched.
pub(super) async fn run(
    connection: &mut Connection,
    place: &str,
    layout: &Layout,
) -> anyhow::Result<()> {
    if !layout.has_table(OURS) {
        let sql = "CREATE TABLE IF NOT EXISTS fos_schema (part VARCHAR(8) NOT NULL, step INT NOT NULL, \
            at VARCHAR(19) NOT NULL, PRIMARY KEY (part, step)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 \
            COLLATE=utf8mb4_bin";
        connection.script(place, sql).await?;
    }
    let parts: &[_] = match layout.owner() {
        Owner::Ours => &[FOG, FOS],
        Owner::Fog(_) => &[FOS],
    };
    for (part, steps) in parts {
        let sql = "SELECT MAX(step) AS step FROM fos_schema WHERE part = ?";
        let rows = fetch(connection, place, sql, args![*part]).await?;
        let done = rows
            .first()
            .map(|row| row.of(OURS, &[]).reference("step"))
            .transpose()?
            .flatten();
        let done = usize::try_from(done.unwrap_or(0)).context("steps of fos_schema")?;
        ensure!(
            done <= steps.len(),
            "a newer fos-server has changed its tables (step {done}, this version knows {} steps); start \
             that version again, or restore a copy of the database from before the upgrade",
            steps.len()
        );
        for (number, step) in (1_u32..).zip(*steps).skip(done) {
            connection
                .script(place, step)
                .await
                .with_context(|| format!("step {number} of the tables of part {part}"))?;
            let sql = "REPLACE INTO fos_schema (part, step, at) VALUES (?, ?, ?)";
            let values = args![*part, number, clock::now()];
            execute(connection, place, sql, values).await?;
        }
    }
    Ok(())
}
