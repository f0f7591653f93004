//! `fos_handouts`: what boot scripts told machines.

use fog::Mac;

use super::row::{Row, args};
use super::tx::Tx;
use crate::domain::handout::{Arguments, Job};
use crate::domain::handouts::{self, Change, Handout, StoredRow};
use crate::domain::reason::BrokenRow;
use crate::domain::{HostId, ImageId, SessionId, TaskId, Timestamp};
use crate::store::{Result, StoreError};

/// Carries out what was decided of the rows.
pub(super) async fn change(tx: &mut Tx, change: Change) -> Result<()> {
    for id in change.drop {
        tx.run("DELETE FROM fos_handouts WHERE id = ?", args![id])
            .await?;
    }
    for row in change.put {
        let Handout {
            address,
            job,
            ticket,
            at,
            since,
        } = row.handout;
        // A number that another program used meanwhile does not keep machines from booting.
        let sql = "REPLACE INTO fos_handouts (id, mac, hostID, address, msID, imageID, \
            port, arguments, ticket, at, since, taskID) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let address = address.map(|address| address.to_string());
        let ticket = ticket.map(|ticket| ticket.to_string());
        let values = args![
            row.id,
            row.mac.to_string(),
            row.host,
            address.unwrap_or_default(),
            job.session,
            job.image,
            job.port,
            job.arguments.0,
            ticket.unwrap_or_default(),
            at,
            since,
            job.task.unwrap_or(TaskId(0))
        ];
        tx.run(sql, values).await?;
    }
    Ok(())
}

/// Forgets what machines were told long before `at` whose addresses belong to no host.
pub(super) async fn clean(tx: &mut Tx, at: Timestamp) -> Result<()> {
    let sql = "DELETE FROM fos_handouts WHERE at < ? \
        AND mac NOT IN (SELECT LOWER(hmMAC) FROM hostMAC)";
    tx.run(sql, args![Timestamp(at.0.saturating_sub(GONE_KEPT))])
        .await?;
    Ok(())
}

/// Seconds that machines of hosts that are gone may still run with what they were told: 90 days. A row of 200
/// bytes for each of their addresses.
const GONE_KEPT: i64 = 90 * 24 * 3600;

/// All of them, the oldest first.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<StoredRow>> {
    let sql = "SELECT id, mac, hostID, address, msID, imageID, port, arguments, ticket, at, since, \
        taskID FROM fos_handouts ORDER BY id";
    let mut all = Vec::new();
    for row in tx.rows(sql, Vec::new()).await? {
        match told(&row) {
            Ok(told) => all.push(StoredRow::Told(told)),
            Err(StoreError::Broken(broken)) => unreadable(tx, &row, broken, &mut all).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn told(row: &Row) -> Result<handouts::Row> {
    let cells = row.of(TABLE, &["id"]);
    let ticket = cells.ticket("ticket")?;
    let address = match ticket {
        Some(_) => Some(cells.address("address")?),
        None => cells.optional("address", "an IP address", |text| text.parse().ok())?,
    };
    Ok(handouts::Row {
        id: cells.int("id")?,
        mac: mac(row)?,
        host: HostId(cells.int("hostID")?),
        handout: Handout {
            address,
            job: Job {
                session: SessionId(cells.int("msID")?),
                task: cells.reference("taskID")?.map(TaskId),
                image: ImageId(cells.int("imageID")?),
                port: cells.number("port", "a port")?,
                arguments: Arguments(cells.int("arguments")?),
            },
            ticket,
            at: cells.time("at")?,
            since: cells.int("since")?,
        },
    })
}

/// Which machine a row is about that makes no sense: where its address is what makes none, all of its host.
async fn unreadable(
    tx: &mut Tx,
    row: &Row,
    broken: Box<BrokenRow>,
    all: &mut Vec<StoredRow>,
) -> Result<()> {
    tracing::error!(
        "what a machine was told when it booted cannot be read: {broken}. It is told to restart"
    );
    let cells = row.of(TABLE, &["id"]);
    let id = cells.int("id")?;
    let mut macs: Vec<Mac> = mac(row).ok().into_iter().collect();
    if let (true, Ok(host)) = (macs.is_empty(), cells.int("hostID")) {
        let sql = "SELECT hmMAC FROM hostMAC WHERE hmHostID = ?";
        let rows = tx.rows(sql, args![host]).await?;
        let of_host = rows.iter().filter_map(|row| {
            let text = row.of("hostMAC", &["hmMAC"]).text("hmMAC").ok()?;
            text.parse::<Mac>().ok()
        });
        macs.extend(of_host);
    }
    let address = cells.address("address").ok();
    all.extend(macs.into_iter().map(|mac| StoredRow::Unreadable {
        id,
        mac,
        address,
        broken: broken.clone(),
    }));
    Ok(())
}

fn mac(row: &Row) -> Result<Mac> {
    let cells = row.of(TABLE, &["id"]);
    cells.parsed("mac", "a MAC address", |text| text.parse().ok())
}

const TABLE: &str = "fos_handouts";
