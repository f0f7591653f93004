//! `globalSettings`, read by key, and `nfsGroupMembers`: the one storage node that this server is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::row::{Arg, args, unless_broken};
use super::tx::Tx;
use crate::domain::ImageId;
use crate::domain::multicast::{self, OddSetting};
use crate::domain::peer::SiteSecret;
use crate::store::{ManagerLog, Result, Settings, StoreError};

/// FOG's settings.
pub(in crate::store) async fn all(tx: &mut Tx) -> Result<Settings> {
    let marks = vec!["?"; multicast::KEYS.len()].join(", ");
    let sql = format!(
        "SELECT settingKey, settingValue FROM globalSettings WHERE settingKey IN ({marks})"
    );
    let keys = multicast::KEYS.iter().map(|key| Arg::from(*key)).collect();
    let mut values = HashMap::new();
    for row in tx.rows(&sql, keys).await? {
        let cells = row.of("globalSettings", &["settingKey"]);
        let value = cells.optional_text("settingValue");
        values.insert(
            cells.text("settingKey")?,
            value.unwrap_or_else(|_| "?".into()),
        );
    }
    let mut odd = Vec::new();
    let get = |key: &str| values.get(key).cloned().unwrap_or_default();
    let multicast = multicast::read(get, &mut odd);
    let is_name_changed_early = match number(tx, CHANGE_EARLY, 1).await {
        Ok(number) => number != 0,
        Err(StoreError::Broken(row)) => {
            odd.push(OddSetting {
                key: CHANGE_EARLY.into(),
                value: row.value,
                expected: "0 or 1".into(),
                used: "1 counts".into(),
            });
            true
        }
        Err(error) => return Err(error),
    };
    Ok(Settings {
        multicast,
        is_name_changed_early,
        odd,
    })
}

const CHANGE_EARLY: &str = "FOG_CHANGE_HOSTNAME_EARLY";

/// How long sessions wait that say nothing else.
pub(super) async fn max_wait(tx: &mut Tx) -> Result<Duration> {
    Ok(all(tx).await?.multicast.max_wait)
}

/// Seconds after which a machine that is silent loses its place in line.
pub(super) async fn checkin_timeout(tx: &mut Tx) -> Result<u32> {
    number(tx, "FOG_CHECKIN_TIMEOUT", 600).await
}

/// What FOG's own multicast manager writes to. What makes no sense counts as the default.
pub(super) async fn manager_log(tx: &mut Tx) -> Result<ManagerLog> {
    let directory = text(tx, "SERVICE_LOG_PATH", "/opt/fog/log/").await?;
    let name = text(tx, "MULTICASTLOGFILENAME", "multicast.log").await?;
    let period = unless_broken(number(tx, "MULTICASTSLEEPTIME", 10).await)?;
    let period = period.unwrap_or(10).clamp(1, 60);
    Ok(ManagerLog {
        path: PathBuf::from(directory).join(name),
        period: Duration::from_secs(period.into()),
    })
}

/// A text; `default` where the row is absent or empty.
async fn text(tx: &mut Tx, key: &'static str, default: &str) -> Result<String> {
    let sql = "SELECT settingKey, settingValue FROM globalSettings WHERE settingKey = ?";
    let row = tx.row(sql, args![key]).await?;
    let found = row.map(|row| {
        let cells = row.of("globalSettings", &["settingKey"]);
        unless_broken(cells.optional_text("settingValue"))
    });
    let found = found.transpose()?.flatten().unwrap_or_default();
    let found = found.trim();
    Ok(if found.is_empty() { default } else { found }.to_owned())
}

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

/// The storage group of an image, and the node of it that sends: FOG's, where the database is FOG's.
pub(super) async fn group_and_node(tx: &mut Tx, image: ImageId) -> Result<(i64, i64)> {
    if !tx.is_fogs() {
        return Ok((1, 1));
    }
    let sql = "SELECT igaStorageGroupID FROM imageGroupAssoc WHERE igaImageID = ? \
        ORDER BY igaPrimary DESC, igaID LIMIT 1";
    let group = tx.number(sql, args![image]).await?.unwrap_or(1);
    let sql = "SELECT ngmID FROM nfsGroupMembers WHERE ngmGroupID = ? AND ngmIsMasterNode = '1' \
        ORDER BY ngmID LIMIT 1";
    let node = tx.number(sql, args![group]).await?.unwrap_or(1);
    Ok((group, node))
}

/// What all servers with this database know: what is stored, else the new one.
pub(in crate::store) async fn site_secret(tx: &mut Tx, new: String) -> Result<SiteSecret> {
    let sql = "SELECT name, content FROM fos_settings WHERE name = ?";
    let row = tx.row(sql, args![SITE_SECRET]).await?;
    let stored = match row {
        Some(row) => {
            let text = row.of("fos_settings", &["name"]).text("content")?;
            SiteSecret::parse(&text)
        }
        None => None,
    };
    if let Some(secret) = stored {
        return Ok(secret);
    }
    let sql = "REPLACE INTO fos_settings (name, content) VALUES (?, ?)";
    tx.run(sql, args![SITE_SECRET, new.as_str()]).await?;
    SiteSecret::parse(&new)
        .ok_or_else(|| StoreError::Internal("a secret that is none was drawn".into()))
}

/// Where the images are: as this server was told, else as the storage node has it.
pub(in crate::store) async fn image_root(tx: &mut Tx) -> Result<Option<String>> {
    if tx.is_fogs() {
        let sql = "SELECT name, content FROM fos_settings WHERE name = ?";
        if let Some(row) = tx.row(sql, args![IMAGE_ROOT]).await? {
            return row.of("fos_settings", &["name"]).text("content").map(Some);
        }
    }
    let sql = "SELECT ngmID, ngmRootPath FROM nfsGroupMembers WHERE ngmIsMasterNode = '1' \
        ORDER BY ngmID LIMIT 1";
    let Some(row) = tx.row(sql, Vec::new()).await? else {
        return Ok(None);
    };
    let path = row.of("nfsGroupMembers", &["ngmID"]).text("ngmRootPath")?;
    Ok(Some(path).filter(|path| !path.is_empty()))
}

/// Stores where the images are.
pub(in crate::store) async fn set_image_root(tx: &mut Tx, path: String) -> Result<()> {
    if tx.is_fogs() {
        // FOG's own services go by the row of the storage node.
        let sql = "REPLACE INTO fos_settings (name, content) VALUES (?, ?)";
        tx.run(sql, args![IMAGE_ROOT, path]).await?;
        return Ok(());
    }
    let root = || vec![("ngmRootPath", Arg::from(path.as_str()))];
    let set = tx.set(NODES, root(), "ngmIsMasterNode = '1'", Vec::new());
    if set.await? == 0 {
        let mut node = root();
        node.extend([
            ("ngmMemberName", "DefaultMember".into()),
            ("ngmIsMasterNode", "1".into()),
            ("ngmGroupID", 1_i64.into()),
        ]);
        tx.add(NODES, node).await?;
    }
    Ok(())
}

const NODES: &str = "nfsGroupMembers";

/// The row of `fos_settings` with the secret of the site, in hexadecimal digits.
const SITE_SECRET: &str = "siteSecret";

/// The row of `fos_settings`.
const IMAGE_ROOT: &str = "imageRoot";
