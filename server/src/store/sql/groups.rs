//! `fos_groups`, `fos_groupMembers`.

use std::collections::BTreeMap;

use super::hosts::REGISTERED;
use super::row::{args, unless_broken};
use super::tx::Tx;
use crate::domain::HostId;
use crate::domain::groups::{Group, GroupChange, GroupName};
use crate::store::{GroupError, MAX_GROUP_MEMBERS, MAX_GROUPS, Result};

/// Changes a group.
pub(super) async fn change(
    tx: &mut Tx,
    name: GroupName,
    change: GroupChange,
) -> std::result::Result<(), GroupError> {
    let known = known(tx, &name).await?;
    let hosts = match change {
        GroupChange::Add(hosts) => hosts,
        GroupChange::Take(hosts) => {
            let known = known.ok_or(GroupError::NoGroup(name))?;
            let sql = "DELETE FROM fos_groupMembers WHERE groupName = ? AND hostID = ?";
            for host in hosts {
                tx.run(sql, args![known.as_str(), host]).await?;
            }
            return Ok(());
        }
        GroupChange::Remove => {
            let known = known.ok_or(GroupError::NoGroup(name))?;
            let sql = "DELETE FROM fos_groupMembers WHERE groupName = ?";
            tx.run(sql, args![known.as_str()]).await?;
            let sql = "DELETE FROM fos_groups WHERE name = ?";
            tx.run(sql, args![known.as_str()]).await?;
            return Ok(());
        }
    };
    let known = match known {
        Some(known) => known,
        None => {
            let count = tx.number("SELECT COUNT(*) FROM fos_groups", Vec::new());
            if count.await?.unwrap_or(0) >= i64::from(MAX_GROUPS) {
                return Err(GroupError::TooMany);
            }
            let sql = "INSERT INTO fos_groups (name) VALUES (?)";
            tx.run(sql, args![name.as_str()]).await?;
            name.to_string()
        }
    };
    add(tx, &known, hosts).await
}

/// The name of a group as it was given when it was made.
async fn known(tx: &mut Tx, name: &GroupName) -> Result<Option<String>> {
    let sql = "SELECT name FROM fos_groups WHERE LOWER(name) = LOWER(?)";
    let row = tx.row(sql, args![name.as_str()]).await?;
    let row = row.map(|row| row.of("fos_groups", &["name"]).text("name"));
    row.transpose()
}

async fn add(tx: &mut Tx, group: &str, hosts: Vec<HostId>) -> std::result::Result<(), GroupError> {
    let sql = "SELECT MAX(position) FROM fos_groupMembers WHERE groupName = ?";
    let mut position = tx.number(sql, args![group]).await?.unwrap_or(0);
    for host in hosts {
        let Some(mac) = mac_of(tx, host).await? else {
            return Err(GroupError::NoHost(host));
        };
        let sql = "UPDATE fos_groupMembers SET mac = ? WHERE groupName = ? AND hostID = ?";
        if tx.run(sql, args![mac.as_str(), group, host]).await? > 0 {
            continue;
        }
        position += 1;
        let sql =
            "INSERT INTO fos_groupMembers (groupName, hostID, mac, position) VALUES (?, ?, ?, ?)";
        tx.run(sql, args![group, host, mac, position]).await?;
    }
    let sql = "SELECT COUNT(*) FROM fos_groupMembers WHERE groupName = ?";
    let count = tx.number(sql, args![group]).await?.unwrap_or(0);
    match count > i64::from(MAX_GROUP_MEMBERS) {
        true => Err(GroupError::Full),
        false => Ok(()),
    }
}

/// The primary address of a registered host.
async fn mac_of(tx: &mut Tx, host: HostId) -> Result<Option<String>> {
    let sql = format!(
        "SELECT hmMAC FROM hostMAC JOIN hosts ON hostID = hmHostID \
         WHERE hostID = ? AND {REGISTERED} ORDER BY hmPrimary DESC, hmID LIMIT 1"
    );
    let row = tx.row(&sql, args![host]).await?;
    let mac = row.map(|row| row.of("hostMAC", &["hmMAC"]).text("hmMAC"));
    Ok(mac.transpose()?.map(|mac| mac.to_lowercase()))
}

/// A host has other addresses now.
pub(super) async fn moved(tx: &mut Tx, host: HostId, mac: &str) -> Result<()> {
    let sql = "UPDATE fos_groupMembers SET mac = ? WHERE hostID = ?";
    tx.run(sql, args![mac, host]).await.map(drop)
}

/// A host is gone.
pub(super) async fn gone(tx: &mut Tx, host: HostId) -> Result<()> {
    let sql = "DELETE FROM fos_groupMembers WHERE hostID = ?";
    tx.run(sql, args![host]).await.map(drop)
}

/// All groups by name.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<Group>> {
    let sql = format!(
        "SELECT groupName, hosts.hostID AS hostID FROM fos_groupMembers \
         JOIN hosts ON hosts.hostID = fos_groupMembers.hostID \
         JOIN hostMAC ON hmHostID = hosts.hostID AND LOWER(hmMAC) = mac \
         WHERE {REGISTERED} ORDER BY position"
    );
    let mut members: BTreeMap<String, Vec<HostId>> = BTreeMap::new();
    for row in tx.rows(&sql, Vec::new()).await? {
        let cells = row.of("fos_groupMembers", &["groupName", "hostID"]);
        let host = HostId(cells.int("hostID")?);
        members
            .entry(cells.text("groupName")?)
            .or_default()
            .push(host);
    }
    let sql = "SELECT name FROM fos_groups ORDER BY LOWER(name)";
    let rows = tx.rows(sql, Vec::new()).await?;
    let groups = rows.iter().map(|row| {
        let cells = row.of("fos_groups", &["name"]);
        let name = cells.parsed("name", "the name of a group", |text| {
            text.parse::<GroupName>().ok()
        });
        unless_broken(name)
    });
    let names: Vec<Option<GroupName>> = groups.collect::<Result<_>>()?;
    let group = |name: GroupName| Group {
        hosts: members.remove(name.as_str()).unwrap_or_default(),
        name,
    };
    Ok(names.into_iter().flatten().map(group).collect())
}
