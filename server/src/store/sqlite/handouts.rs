//! `fos_handouts`: what boot scripts told machines.

use super::engine::Tx;
use super::row::{Row, args, unless_broken};
use crate::domain::handout::{Arguments, Handout, Handouts, Job};
use crate::domain::{HostId, ImageId, SessionId};
use crate::store::Result;

/// Stores a handout in place of the last one of the same address; the oldest ones of the host go.
pub(super) async fn add(tx: &mut Tx, handout: Handout) -> Result<()> {
    let Handout {
        host,
        address,
        job,
        ticket,
        at,
    } = handout;
    // Of a host that is gone nobody would ever delete it.
    let sql = "SELECT hostID FROM hosts WHERE hostID = ?";
    if tx.number(sql, args![host]).await?.is_none() {
        return Ok(());
    }
    let sql = "DELETE FROM fos_handouts WHERE hostID = ? AND address = ?";
    tx.run(sql, args![host, address.to_string()]).await?;
    let sql = "INSERT INTO fos_handouts (hostID, address, msID, imageID, port, arguments, ticket, at) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let ticket = ticket.map(|ticket| ticket.to_string()).unwrap_or_default();
    let values = args![
        host,
        address.to_string(),
        job.session,
        job.image,
        job.port,
        job.arguments.0,
        ticket,
        at
    ];
    tx.run(sql, values).await?;
    let sql = "SELECT id FROM fos_handouts WHERE hostID = ? ORDER BY id DESC";
    for old in tx
        .rows(sql, args![host])
        .await?
        .iter()
        .skip(Handouts::PER_HOST)
    {
        let id = old.of(TABLE, &["id"]).int("id")?;
        tx.run("DELETE FROM fos_handouts WHERE id = ?", args![id])
            .await?;
    }
    Ok(())
}

/// All of them, the oldest first.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<Handout>> {
    let sql = "SELECT id, hostID, address, msID, imageID, port, arguments, ticket, at \
        FROM fos_handouts ORDER BY id";
    let rows = tx.rows(sql, Vec::new()).await?;
    let handouts = rows.iter().map(|row| unless_broken(handout(row)));
    handouts.filter_map(Result::transpose).collect()
}

fn handout(row: &Row) -> Result<Handout> {
    let cells = row.of(TABLE, &["id"]);
    Ok(Handout {
        host: HostId(cells.int("hostID")?),
        address: cells.address("address")?,
        job: Job {
            session: SessionId(cells.int("msID")?),
            image: ImageId(cells.int("imageID")?),
            port: cells.number("port", "a port")?,
            arguments: Arguments(cells.int("arguments")?),
        },
        ticket: cells.ticket("ticket")?,
        at: cells.time("at")?,
    })
}

const TABLE: &str = "fos_handouts";
