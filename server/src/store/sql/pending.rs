//! Machines that are not registered: those that asked (`fos_strangers`), and those that asked to be registered, which are
//! hosts that are pending, as FOG has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fog::Mac;

use super::hosts;
use super::row::{Row, args, unless_broken};
use super::tx::Tx;
use crate::domain::host::{About, PendingHost, StationMac, Stranger, Wish, proposal};
use crate::domain::{HostId, Timestamp};
use crate::store::{
    MAX_PENDING, MAX_PENDING_OF_ADDRESS, MAX_STRANGERS, MAX_STRANGERS_OF_ADDRESS, Result,
};

/// What hosts are made by that this program makes.
pub(super) const OURS: &str = "fos-server";

/// A condition: the host waits to be accepted.
const PENDING: &str = "COALESCE(hostPending, '0') = '1'";

/// Remembers a machine that is not registered.
pub(super) async fn remember(
    tx: &mut Tx,
    at: Timestamp,
    mac: Mac,
    address: IpAddr,
    about: About,
) -> Result<()> {
    let (mac, address) = (mac.to_string(), address.to_string());
    let last = tx
        .number("SELECT MAX(asked) FROM fos_strangers", Vec::new())
        .await?;
    let asked = last.unwrap_or(0) + 1;
    let sql = "UPDATE fos_strangers SET address = ?, lastAt = ?, requests = requests + 1, \
        asked = ? WHERE mac = ?";
    let values = args![address.as_str(), at, asked, mac.as_str()];
    let is_known = tx.run(sql, values).await? > 0;
    if !is_known {
        let sql = "INSERT INTO fos_strangers (mac, address, firstAt, lastAt, requests, asked) \
            VALUES (?, ?, ?, ?, 1, ?)";
        let values = args![mac.as_str(), address.as_str(), at, at, asked];
        tx.run(sql, values).await?;
    }
    if about != About::default() {
        let sql = "UPDATE fos_strangers SET about = ? WHERE mac = ?";
        tx.run(sql, args![about.as_str(), mac.as_str()]).await?;
    }
    // Also where a known one comes from another address now.
    trim(tx, &address).await
}

/// Makes room: the flood of one address pushes out what came from there, and nothing else.
async fn trim(tx: &mut Tx, address: &str) -> Result<()> {
    let sql =
        "SELECT asked FROM fos_strangers WHERE address = ? ORDER BY asked DESC LIMIT 1 OFFSET ?";
    let values = args![address, MAX_STRANGERS_OF_ADDRESS];
    if let Some(oldest) = tx.number(sql, values).await? {
        let sql = "DELETE FROM fos_strangers WHERE address = ? AND asked <= ?";
        tx.run(sql, args![address, oldest]).await?;
    }
    let count = tx
        .number("SELECT COUNT(*) FROM fos_strangers", Vec::new())
        .await?;
    let surplus = count.unwrap_or(0) - i64::from(MAX_STRANGERS);
    for _ in 0..surplus.max(0) {
        let sql = "SELECT MIN(asked) AS oldest, COUNT(*) AS many FROM fos_strangers \
            GROUP BY address ORDER BY many DESC, oldest LIMIT 1";
        let Some(oldest) = tx.number(sql, Vec::new()).await? else {
            break;
        };
        let sql = "DELETE FROM fos_strangers WHERE asked = ?";
        tx.run(sql, args![oldest]).await?;
    }
    Ok(())
}

/// The machines that asked, the last one first.
pub(super) async fn strangers(tx: &mut Tx) -> Result<Vec<Stranger>> {
    let sql = "SELECT mac, address, firstAt, lastAt, requests, about FROM fos_strangers \
        ORDER BY asked DESC";
    let rows = tx.rows(sql, Vec::new()).await?;
    let strangers = rows.iter().map(|row| unless_broken(stranger(row)));
    strangers.filter_map(Result::transpose).collect()
}

fn stranger(row: &Row) -> Result<Stranger> {
    let cells = row.of("fos_strangers", &["mac"]);
    Ok(Stranger {
        mac: cells.parsed("mac", "a MAC address", |text| text.parse().ok())?,
        address: cells.address("address")?,
        first_at: cells.time("firstAt")?,
        last_at: cells.time("lastAt")?,
        requests: cells.number("requests", "a number from 0 on")?,
        about: cells.text("about")?.into(),
    })
}

/// Keeps the wish of a machine to be registered.
pub(super) async fn wish(
    tx: &mut Tx,
    at: Timestamp,
    mac: StationMac,
    address: IpAddr,
    about: About,
) -> Result<Wish> {
    let sql = "SELECT hostID, hostPending FROM hostMAC JOIN hosts ON hostID = hmHostID \
        WHERE LOWER(hmMAC) = ?";
    if let Some(row) = tx.row(sql, args![mac.to_string()]).await? {
        let cells = row.of("hosts", &["hostID"]);
        return Ok(match cells.optional_text("hostPending")?.as_str() {
            "1" => Wish::Known,
            _ => Wish::Registered,
        });
    }
    // FOG's column has no room for the longest addresses.
    let address: String = address.to_string().chars().take(25).collect();
    let sql = format!("SELECT COUNT(*) FROM hosts WHERE {PENDING}");
    let all = tx.number(&sql, Vec::new()).await?.unwrap_or(0);
    let sql = format!("{sql} AND hostIP = ?");
    let of_address = tx.number(&sql, args![address.as_str()]).await?.unwrap_or(0);
    if all >= i64::from(MAX_PENDING) || of_address >= i64::from(MAX_PENDING_OF_ADDRESS) {
        return Ok(Wish::Crowded);
    }
    // A person may have given that name to another machine.
    let digits = proposal(mac.mac());
    let mut names = vec![
        digits.clone(),
        format!("pc-{digits}"),
        format!("pc{digits}"),
    ];
    let sql = "SELECT hostName FROM hosts WHERE LOWER(hostName) IN (?, ?, ?)";
    let values = args![names[0].as_str(), names[1].as_str(), names[2].as_str()];
    for row in tx.rows(sql, values).await? {
        let taken = row.of("hosts", &["hostName"]).text("hostName")?;
        names.retain(|name| !name.eq_ignore_ascii_case(&taken));
    }
    let Some(name) = names.into_iter().next() else {
        return Ok(Wish::Crowded);
    };
    let row = vec![
        ("hostName", name.into()),
        ("hostDesc", about.as_str().into()),
        ("hostIP", address.into()),
        ("hostCreateDate", at.into()),
        ("hostCreateBy", OURS.into()),
        ("hostPending", "1".into()),
    ];
    let id = HostId(tx.add("hosts", row).await?);
    let row = vec![
        ("hmHostID", id.into()),
        ("hmMAC", mac.to_string().into()),
        ("hmPrimary", "1".into()),
    ];
    // What another program left of a host that is gone has the address no longer.
    let sql = "DELETE FROM hostMAC WHERE LOWER(hmMAC) = ?";
    tx.run(sql, args![mac.to_string()]).await?;
    tx.add("hostMAC", row).await?;
    Ok(Wish::Kept)
}

/// The hosts that are pending, the oldest first.
pub(super) async fn hosts(tx: &mut Tx) -> Result<Vec<PendingHost>> {
    let sql = "SELECT hmID, hmHostID, hmMAC FROM hostMAC ORDER BY hmPrimary DESC, hmID";
    let mut macs: BTreeMap<i64, Vec<Mac>> = BTreeMap::new();
    for row in tx.rows(sql, Vec::new()).await? {
        let cells = row.of("hostMAC", &["hmID"]);
        if let (Ok(host), Ok(text)) = (cells.int("hmHostID"), cells.text("hmMAC"))
            && let Ok(mac) = text.parse()
        {
            macs.entry(host).or_default().push(mac);
        }
    }
    let columns = ["hostID", "hostName", "hostDesc", "hostCreateDate"];
    let columns = tx.list("hosts", &columns);
    let sql = format!("SELECT {columns} FROM hosts WHERE {PENDING} ORDER BY hostID");
    let rows = tx.rows(&sql, Vec::new()).await?;
    let hosts = rows
        .iter()
        .map(|row| unless_broken(pending(row, &mut macs)));
    hosts.filter_map(Result::transpose).collect()
}

fn pending(row: &Row, macs: &mut BTreeMap<i64, Vec<Mac>>) -> Result<PendingHost> {
    let cells = row.of("hosts", &["hostID"]);
    let id = cells.int("hostID")?;
    let at = cells.optional_time("hostCreateDate")?;
    Ok(PendingHost {
        id: HostId(id),
        name: cells.text("hostName")?,
        macs: macs.remove(&id).unwrap_or_default(),
        about: cells.optional_text("hostDesc")?.into(),
        at: at.unwrap_or(Timestamp(0)),
    })
}

/// The hosts that are pending and have one of these addresses.
pub(super) async fn owners(tx: &mut Tx, macs: &[StationMac]) -> Result<Vec<HostId>> {
    let sql = format!(
        "SELECT hostID FROM hostMAC JOIN hosts ON hostID = hmHostID \
         WHERE LOWER(hmMAC) = ? AND {PENDING}"
    );
    let mut found = Vec::new();
    for mac in macs {
        if let Some(id) = tx.number(&sql, args![mac.to_string()]).await?
            && !found.contains(&HostId(id))
        {
            found.push(HostId(id));
        }
    }
    Ok(found)
}

/// Forgets machines that are not registered; how many there were.
pub(super) async fn forget(tx: &mut Tx, mac: Option<Mac>) -> Result<u64> {
    let hosts = match mac {
        Some(mac) => match StationMac::try_from(mac) {
            Ok(mac) => owners(tx, &[mac]).await?,
            Err(_) => Vec::new(),
        },
        None if tx.lacks("hosts", "hostCreateBy") => Vec::new(),
        None => {
            let sql = format!("SELECT hostID FROM hosts WHERE {PENDING} AND hostCreateBy = ?");
            let rows = tx.rows(&sql, args![OURS]).await?;
            let id = |row: &Row| row.of("hosts", &["hostID"]).int("hostID").map(HostId);
            rows.iter().map(id).collect::<Result<_>>()?
        }
    };
    // Which of the two a machine is counts once.
    let mut macs: Vec<String> = Vec::new();
    for host in hosts {
        let sql =
            "SELECT hmMAC FROM hostMAC WHERE hmHostID = ? ORDER BY hmPrimary DESC, hmID LIMIT 1";
        if let Some(row) = tx.row(sql, args![host]).await? {
            macs.push(row.of("hostMAC", &["hmMAC"]).text("hmMAC")?.to_lowercase());
        }
        hosts::remove_rows(tx, host).await?;
    }
    let mut forgotten = u64::try_from(macs.len()).unwrap_or(u64::MAX);
    let sql = "DELETE FROM fos_strangers WHERE mac = ?";
    for known in &macs {
        tx.run(sql, args![known.as_str()]).await?;
    }
    forgotten += match mac {
        Some(mac) => tx.run(sql, args![mac.to_string()]).await?,
        None => tx.run("DELETE FROM fos_strangers", Vec::new()).await?,
    };
    Ok(forgotten)
}
