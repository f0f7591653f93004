//! `hosts`, `hostMAC`, `inventory`.

use std::collections::BTreeMap;

use fog::Mac;

use super::row::{ACTIVE, Row, args, unless_broken};
use super::tx::Tx;
use super::{groups, handouts, pending, sessions};
use crate::domain::host::{Host, HostActivity, NewHost, StationMac};
use crate::domain::reason::BrokenRow;
use crate::domain::{HostId, ImageId, SessionId, TaskId, Timestamp};
use crate::store::{
    AddHostError, Change, ChangeError, EditHostError, InventoryFields, Result, StoreError,
    inventory,
};

/// Adds a host with its addresses; they are no strangers any more.
pub(super) async fn add(
    tx: &mut Tx,
    at: Timestamp,
    host: NewHost,
) -> std::result::Result<HostId, AddHostError> {
    if tx.has_left_something() {
        remove_first_try(tx, at, host.name.as_str()).await?;
        if let Some(id) = accepted_by_first_try(tx, &host).await? {
            handouts::clean(tx, at).await?;
            tx.changed(Change::Hosts);
            return Ok(id);
        }
    }
    let waiting = pending::owners(tx, &host.macs).await?;
    check(tx, &host, &waiting).await?;
    if let Some((id, others)) = waiting.split_first() {
        accept(tx, *id, others, host).await?;
        handouts::clean(tx, at).await?;
        tx.changed(Change::Hosts);
        return Ok(*id);
    }
    let row = vec![
        ("hostName", host.name.as_str().into()),
        ("hostImage", host.image.unwrap_or(ImageId(0)).into()),
        ("hostCreateDate", at.into()),
        ("hostCreateBy", pending::OURS.into()),
        ("hostDevice", host.device.into()),
    ];
    let id = HostId(tx.add("hosts", row).await?);
    if tx.numbers_come_again() {
        // What is left of a former host of this number would become this one's.
        remove_belongings(tx, id).await?;
    }
    add_macs(tx, id, host.macs).await?;
    handouts::clean(tx, at).await?;
    tx.changed(Change::Hosts);
    Ok(id)
}

/// Takes out the host that this very operation added before its connection broke.
async fn remove_first_try(tx: &mut Tx, at: Timestamp, name: &str) -> Result<()> {
    let sql =
        "SELECT hostID, hostCreateBy, hostCreateDate FROM hosts WHERE LOWER(hostName) = LOWER(?)";
    for row in tx.rows(sql, args![name]).await? {
        let cells = row.of("hosts", &["hostID"]);
        let is_ours = cells.optional_text("hostCreateBy")? == "fos-server"
            && unless_broken(cells.optional_time("hostCreateDate"))?.flatten() == Some(at);
        if is_ours {
            let id = HostId(cells.int("hostID")?);
            remove_rows(tx, id).await?;
        }
    }
    Ok(())
}

/// The host that this very operation made of a machine that waited, before its connection broke. It has the date of the
/// machine's wish, so it is known by being all that it is to be.
async fn accepted_by_first_try(tx: &mut Tx, host: &NewHost) -> Result<Option<HostId>> {
    let sql = format!(
        "SELECT hostID, hostImage, hostDevice FROM hosts WHERE LOWER(hostName) = LOWER(?) AND {REGISTERED}"
    );
    for row in tx.rows(&sql, args![host.name.as_str()]).await? {
        let cells = row.of("hosts", &["hostID"]);
        let id = HostId(cells.int("hostID")?);
        let image = cells.reference("hostImage")?.map(ImageId);
        let is_same = image == host.image && cells.optional_text("hostDevice")? == host.device;
        let own = own_macs(tx, id).await?;
        let mut wanted = host.macs.iter();
        if is_same && wanted.all(|mac| own.iter().any(|(_, known)| *known == Some(mac.mac()))) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// A machine that waits becomes a host; its own rows are as they are to be before it is one.
async fn accept(tx: &mut Tx, id: HostId, others: &[HostId], host: NewHost) -> Result<()> {
    for other in others {
        remove_rows(tx, *other).await?;
    }
    for (number, mac) in own_macs(tx, id).await? {
        if mac.is_none_or(|mac| host.macs.iter().all(|wanted| wanted.mac() != mac)) {
            let row = vec![("hmPrimary", "0".into())];
            tx.set("hostMAC", row, "hmID = ?", args![number]).await?;
        }
    }
    add_macs(tx, id, host.macs).await?;
    let row = vec![
        ("hostName", host.name.as_str().into()),
        ("hostImage", host.image.unwrap_or(ImageId(0)).into()),
        ("hostDevice", host.device.into()),
        ("hostPending", "0".into()),
    ];
    tx.set("hosts", row, "hostID = ?", args![id]).await?;
    Ok(())
}

/// Makes sure that name, addresses and image are possible, for a new host or for those (`own`) that it takes the place of.
async fn check(
    tx: &mut Tx,
    host: &NewHost,
    own: &[HostId],
) -> std::result::Result<(), AddHostError> {
    let sql = "SELECT hostID, hostName FROM hosts WHERE LOWER(hostName) = LOWER(?)";
    for row in tx.rows(sql, args![host.name.as_str()]).await? {
        let cells = row.of("hosts", &["hostID"]);
        if !own.contains(&HostId(cells.int("hostID")?)) {
            return Err(AddHostError::NameTaken(cells.text("hostName")?));
        }
    }
    for mac in &host.macs {
        check_mac(tx, mac.mac(), own).await?;
    }
    if let Some(image) = host.image {
        let sql = "SELECT imageID FROM images WHERE imageID = ?";
        if tx.number(sql, args![image]).await?.is_none() {
            return Err(AddHostError::NoImage(image));
        }
    }
    Ok(())
}

/// Gives addresses to a host; they are no strangers any more.
async fn add_macs(tx: &mut Tx, id: HostId, macs: Vec<StationMac>) -> Result<()> {
    let own = own_macs(tx, id).await?;
    let mut seen = Vec::new();
    for mac in macs {
        if seen.contains(&mac) {
            continue;
        }
        let primary = if seen.is_empty() { "1" } else { "0" };
        seen.push(mac);
        let known = own.iter().find(|(_, known)| *known == Some(mac.mac()));
        let mut row = vec![("hmPrimary", primary.into())];
        match known {
            Some((number, _)) => {
                row.push(("hmPending", "0".into()));
                row.push(("hmIgnoreImaging", "0".into()));
                tx.set("hostMAC", row, "hmID = ?", args![*number]).await?;
            }
            None => {
                row.push(("hmHostID", id.into()));
                row.push(("hmMAC", mac.to_string().into()));
                tx.add("hostMAC", row).await?;
            }
        }
        let sql = "DELETE FROM fos_strangers WHERE mac = ?";
        tx.run(sql, args![mac.to_string()]).await?;
    }
    Ok(())
}

/// Rows of a host's addresses: number, and the address if it is one.
async fn own_macs(tx: &mut Tx, host: HostId) -> Result<Vec<(i64, Option<Mac>)>> {
    let sql = "SELECT hmID, hmMAC FROM hostMAC WHERE hmHostID = ?";
    let rows = tx.rows(sql, args![host]).await?;
    let read = |row: &Row| {
        let cells = row.of("hostMAC", &["hmID"]);
        Ok((cells.int("hmID")?, cells.text("hmMAC")?.parse().ok()))
    };
    rows.iter().map(read).collect()
}

/// Makes a host what `new` says. Addresses that FOG does not use for deploys stay as they are.
pub(super) async fn edit(
    tx: &mut Tx,
    at: Timestamp,
    host: HostId,
    new: NewHost,
) -> std::result::Result<(), EditHostError> {
    is_idle(tx, host).await?;
    // What waits with one of its addresses is this machine.
    let waiting = pending::owners(tx, &new.macs).await?;
    let own = [&[host], waiting.as_slice()].concat();
    check(tx, &new, &own).await?;
    for machine in waiting {
        remove_rows(tx, machine).await?;
    }
    // FOG's tables may not undo what is cut off: at no time the host has too few addresses.
    let wanted: Vec<Mac> = new.macs.iter().map(|mac| mac.mac()).collect();
    add_macs(tx, host, new.macs).await?;
    if let Some(primary) = wanted.first() {
        groups::moved(tx, host, &primary.to_string()).await?;
    }
    for (number, mac) in own_macs(tx, host).await? {
        if mac.is_none_or(|mac| !wanted.contains(&mac)) {
            let sql = "DELETE FROM hostMAC WHERE hmID = ? AND COALESCE(hmPending, '0') <> '1' \
                AND COALESCE(hmIgnoreImaging, '0') <> '1'";
            tx.run(sql, args![number]).await?;
        }
    }
    let columns = vec![
        ("hostName", new.name.as_str().into()),
        ("hostImage", new.image.unwrap_or(ImageId(0)).into()),
        ("hostDevice", new.device.into()),
    ];
    tx.set("hosts", columns, "hostID = ?", args![host]).await?;
    handouts::clean(tx, at).await?;
    tx.changed(Change::Hosts);
    Ok(())
}

/// Makes sure that an address is free. What another program left of a host that is gone goes.
async fn check_mac(tx: &mut Tx, mac: Mac, own: &[HostId]) -> std::result::Result<(), AddHostError> {
    let sql = "SELECT hmID, hostID, hostName FROM hostMAC LEFT JOIN hosts ON hostID = hmHostID \
        WHERE LOWER(hmMAC) = ?";
    let Some(row) = tx.row(sql, args![mac.to_string()]).await? else {
        return Ok(());
    };
    let cells = row.of("hosts", &["hostID"]);
    let owner = cells.optional_text("hostID")?;
    if own.iter().any(|own| own.to_string() == owner) {
        return Ok(());
    }
    if !owner.is_empty() {
        let host = cells.text("hostName")?;
        return Err(AddHostError::MacTaken { mac, host });
    }
    let id = row.of("hostMAC", &["hmID"]).int("hmID")?;
    tx.run("DELETE FROM hostMAC WHERE hmID = ?", args![id])
        .await?;
    Ok(())
}

/// Removes a host; tasks, events and what its machines were told stay.
pub(super) async fn remove(tx: &mut Tx, host: HostId) -> std::result::Result<(), ChangeError> {
    match is_idle(tx, host).await {
        // By this operation, before its connection broke.
        Err(ChangeError::Gone) if tx.has_left_something() => {}
        found => found?,
    }
    remove_rows(tx, host).await?;
    tx.changed(Change::Hosts);
    Ok(())
}

/// Removes a host that has nothing to do. A host without addresses would keep its name; addresses without a host keep
/// nothing.
pub(super) async fn remove_rows(tx: &mut Tx, host: HostId) -> Result<()> {
    tx.run("DELETE FROM hosts WHERE hostID = ?", args![host])
        .await?;
    remove_belongings(tx, host).await
}

/// What belongs to a host, but the host.
async fn remove_belongings(tx: &mut Tx, host: HostId) -> Result<()> {
    groups::gone(tx, host).await?;
    for sql in [
        "DELETE FROM hostMAC WHERE hmHostID = ?",
        "DELETE FROM inventory WHERE iHostID = ?",
    ] {
        tx.run(sql, args![host]).await?;
    }
    Ok(())
}

/// Makes sure that a host is there and has no active task.
async fn is_idle(tx: &mut Tx, host: HostId) -> std::result::Result<(), ChangeError> {
    let sql = "SELECT hostID FROM hosts WHERE hostID = ?";
    if tx.number(sql, args![host]).await?.is_none() {
        return Err(ChangeError::Gone);
    }
    match active_task(tx, host).await? {
        Some((_, Some(session))) => Err(ChangeError::InUse(session)),
        Some((task, None)) => Err(ChangeError::InTask(task)),
        None => Ok(()),
    }
}

/// All hosts that are not pending, and what is broken of the others.
pub(super) async fn all(tx: &mut Tx) -> Result<(Vec<Host>, Vec<BrokenRow>)> {
    let sql = format!("SELECT {COLUMNS} FROM hosts WHERE {REGISTERED} ORDER BY hostName, hostID");
    let rows = tx.rows(&sql, Vec::new()).await?;
    let sql = format!("{MACS} ORDER BY hmPrimary DESC, hmID");
    let mut macs: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for row in tx.rows(&sql, Vec::new()).await? {
        // A number that is none belongs to no host.
        if let Ok(host) = row.of("hostMAC", &["hmID"]).int("hmHostID") {
            macs.entry(host).or_default().push(row);
        }
    }
    let (mut hosts, mut broken) = (Vec::new(), Vec::new());
    for row in &rows {
        let id = row.of("hosts", &["hostID"]).int("hostID")?;
        match host(row, macs.get(&id).map_or(&[], Vec::as_slice)) {
            Ok(host) => hosts.push(host),
            Err(StoreError::Broken(row)) => broken.push(*row),
            Err(error) => return Err(error),
        }
    }
    Ok((hosts, broken))
}

const COLUMNS: &str = "hostID, hostName, hostImage, hostKernelArgs, hostDevice, hostLastDeploy";

/// Old versions of FOG write an empty text for "no", new ones nothing.
const MACS: &str = "SELECT hmID, hmHostID, hmMAC FROM hostMAC \
    WHERE COALESCE(hmPending, '0') <> '1' AND COALESCE(hmIgnoreImaging, '0') <> '1'";

/// A condition: the host is no pending one.
pub(super) const REGISTERED: &str = "COALESCE(hostPending, '0') <> '1'";

fn host(row: &Row, macs: &[Row]) -> Result<Host> {
    let cells = row.of("hosts", &["hostID"]);
    let mac = |row: &Row| {
        let cells = row.of("hostMAC", &["hmID"]);
        cells.parsed("hmMAC", "a MAC address", |text| text.parse::<Mac>().ok())
    };
    Ok(Host {
        id: HostId(cells.int("hostID")?),
        name: cells.text("hostName")?,
        macs: macs.iter().map(mac).collect::<Result<_>>()?,
        image: cells.reference("hostImage")?.map(ImageId),
        kernel_args: cells.optional_text("hostKernelArgs")?,
        device: cells.optional_text("hostDevice")?,
        last_deploy: cells.optional_time("hostLastDeploy")?,
    })
}

/// What each host does.
pub(super) async fn activity(tx: &mut Tx) -> Result<Vec<(HostId, HostActivity)>> {
    let sql = format!("SELECT hostID FROM hosts WHERE {REGISTERED} ORDER BY hostID");
    let mut all: BTreeMap<i64, HostActivity> = BTreeMap::new();
    for row in tx.rows(&sql, Vec::new()).await? {
        all.insert(
            row.of("hosts", &["hostID"]).int("hostID")?,
            HostActivity::Idle,
        );
    }
    let of_session = sessions::OF_SESSION;
    let sql = format!(
        "SELECT msID, hostID, reasonCode, reasonDetails FROM fos_sessionHosts \
         JOIN (SELECT hostID AS ofHost, MAX(fos_sessionHosts.msID) AS newest FROM fos_sessionHosts \
         {of_session} GROUP BY hostID) AS newestOnes ON hostID = ofHost AND msID = newest"
    );
    for row in tx.rows(&sql, Vec::new()).await? {
        let cells = row.of("fos_sessionHosts", &["msID", "hostID"]);
        let read = || {
            let session = SessionId(cells.int("msID")?);
            let reason = cells.reason()?;
            Ok((cells.int("hostID")?, HostActivity::Last { session, reason }))
        };
        if let Some((host, activity)) = unless_broken(read())? {
            all.entry(host).and_modify(|of_host| *of_host = activity);
        }
    }
    let sql = format!(
        "SELECT taskHostID, taskID, MIN(msID) AS msID FROM tasks \
         LEFT JOIN multicastSessionsAssoc ON tID = taskID WHERE taskStateID IN {ACTIVE} \
         GROUP BY taskID, taskHostID ORDER BY taskID DESC"
    );
    // The oldest task comes last and stays.
    for row in tx.rows(&sql, Vec::new()).await? {
        if let Some((host, task, session)) = unless_broken(task(&row))? {
            let activity = HostActivity::Task { task, session };
            all.entry(host).and_modify(|of_host| *of_host = activity);
        }
    }
    let all = all.into_iter().map(|(id, activity)| (HostId(id), activity));
    Ok(all.collect())
}

/// The oldest active task of a host, and its first session.
pub(super) async fn active_task(
    tx: &mut Tx,
    host: HostId,
) -> Result<Option<(TaskId, Option<SessionId>)>> {
    let sql = format!(
        "SELECT taskHostID, taskID, MIN(msID) AS msID FROM tasks \
         LEFT JOIN multicastSessionsAssoc ON tID = taskID \
         WHERE taskHostID = ? AND taskStateID IN {ACTIVE} \
         GROUP BY taskID, taskHostID ORDER BY taskID LIMIT 1"
    );
    let row = tx.row(&sql, args![host]).await?;
    let found = row.map(|row| task(&row)).transpose()?;
    Ok(found.map(|(_, task, session)| (task, session)))
}

fn task(row: &Row) -> Result<(i64, TaskId, Option<SessionId>)> {
    let cells = row.of("tasks", &["taskID"]);
    let session = cells.optional("msID", "the number of a session", |text| text.parse().ok())?;
    Ok((
        cells.int("taskHostID")?,
        TaskId(cells.int("taskID")?),
        session.map(SessionId),
    ))
}

/// Stores fields of a host's inventory; nothing if the host is gone.
pub(super) async fn store_inventory(
    tx: &mut Tx,
    at: Timestamp,
    host: HostId,
    fields: InventoryFields,
) -> Result<()> {
    if let Some((column, _)) = fields.iter().find(|(name, _)| !inventory::is_column(name)) {
        let text = format!("table inventory has no column {column}");
        return Err(StoreError::Internal(text));
    }
    let sql = "SELECT hostID FROM hosts WHERE hostID = ?";
    if tx.number(sql, args![host]).await?.is_none() {
        return Ok(());
    }
    let sql = "SELECT iID FROM inventory WHERE iHostID = ?";
    if tx.number(sql, args![host]).await?.is_none() {
        let row = vec![("iHostID", host.into()), ("iCreateDate", at.into())];
        tx.add("inventory", row).await?;
    }
    // Column names are our own constants, never the client's words.
    let columns = fields.into_iter().map(|(column, text)| {
        let text = fog::encoding::printable(&text, inventory::width(column));
        (column, text.into())
    });
    let columns = columns.collect();
    tx.set("inventory", columns, "iHostID = ?", args![host])
        .await?;
    Ok(())
}
