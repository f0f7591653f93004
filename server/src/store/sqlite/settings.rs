//! `globalSettings`, read by key, and `nfsGroupMembers`: the one storage node that this server is.

use super::engine::Tx;
use super::row::args;
use crate::store::{Result, Settings};

/// FOG's settings.
pub(super) async fn all(tx: &mut Tx) -> Result<Settings> {
    let max_wait = number(tx, "FOG_UDPCAST_MAXWAIT", DEFAULT_WAIT_MINUTES).await?;
    Ok(Settings {
        starting_port: number(tx, "FOG_UDPCAST_STARTINGPORT", 63100).await?,
        max_sessions: number(tx, "FOG_MULTICAST_MAX_SESSIONS", 64).await?,
        max_wait_minutes: if max_wait == 0 {
            DEFAULT_WAIT_MINUTES
        } else {
            max_wait
        },
        is_name_changed_early: number(tx, "FOG_CHANGE_HOSTNAME_EARLY", 1).await? != 0,
    })
}

const DEFAULT_WAIT_MINUTES: u32 = 10;

/// A number; `default` where the row is absent or empty.
async fn number(tx: &mut Tx, key: &'static str, default: u32) -> Result<u32> {
    let sql = "SELECT settingKey, settingValue FROM globalSettings WHERE settingKey = ?";
    let Some(row) = tx.row(sql, args![key]).await? else {
        return Ok(default);
    };
    let cells = row.of("globalSettings", &["settingKey"]);
    let expected = "a number from 0 to 4294967295, or nothing for the default";
    let found = cells.optional("settingValue", expected, |text| match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    })?;
    Ok(found.flatten().unwrap_or(default))
}

/// Where the images are.
pub(super) async fn image_root(tx: &mut Tx) -> Result<Option<String>> {
    let sql = "SELECT ngmID, ngmRootPath FROM nfsGroupMembers WHERE ngmIsMasterNode = '1' \
        ORDER BY ngmID LIMIT 1";
    let Some(row) = tx.row(sql, Vec::new()).await? else {
        return Ok(None);
    };
    let path = row.of("nfsGroupMembers", &["ngmID"]).text("ngmRootPath")?;
    Ok(Some(path).filter(|path| !path.is_empty()))
}

/// Stores where the images are.
pub(super) async fn set_image_root(tx: &mut Tx, path: String) -> Result<()> {
    let sql = "UPDATE nfsGroupMembers SET ngmRootPath = ? WHERE ngmIsMasterNode = '1'";
    if tx.run(sql, args![path.as_str()]).await? == 0 {
        let sql = "INSERT INTO nfsGroupMembers \
            (ngmMemberName, ngmIsMasterNode, ngmGroupID, ngmRootPath) \
            VALUES ('DefaultMember', '1', 1, ?)";
        tx.run(sql, args![path]).await?;
    }
    Ok(())
}
