//! `hosts` and `hostMAC`.

use fog::Mac;
use sqlx::FromRow;

use super::{Connection, HostId, ImageId};
use crate::clock::Timestamp;

/// A registered host.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Host {
    /// Number.
    #[sqlx(rename = "hostID")]
    pub id: HostId,
    /// Name, at most 16 characters.
    #[sqlx(rename = "hostName")]
    pub name: String,
    /// Default image; 0 for none.
    #[sqlx(rename = "hostImage")]
    pub image: ImageId,
    /// Kernel arguments of this host alone.
    #[sqlx(rename = "hostKernelArgs")]
    pub kernel_args: String,
    /// Target disk (`fdrive=`); empty for the automatic choice.
    #[sqlx(rename = "hostDevice")]
    pub device: String,
    /// End of the last deploy, FOG's format.
    #[sqlx(rename = "hostLastDeploy")]
    pub last_deploy: String,
}

const COLUMNS: &str = "hostID, hostName, hostImage, hostKernelArgs, hostDevice, hostLastDeploy";

/// Why a host was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddHostError {
    /// The name cannot be a host name.
    #[error(
        "{0:?} cannot be a host name: 1 to 15 letters, digits or hyphens are needed \
         (it becomes the computer name)"
    )]
    Name(String),
    /// Another host has the name.
    #[error("there is already a host called {0}; choose another name or remove that host first")]
    NameTaken(String),
    /// Another host has the address.
    #[error("{mac} already belongs to host {host}; remove that host first or check the address")]
    MacTaken {
        /// The address.
        mac: Mac,
        /// Who has it.
        host: String,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// What a new host is.
#[derive(Debug, Clone)]
pub struct NewHost<'a> {
    /// Name.
    pub name: &'a str,
    /// Addresses, the first is the primary one.
    pub macs: &'a [Mac],
    /// Default image.
    pub image: Option<ImageId>,
    /// Target disk, FOG's `fdrive` syntax.
    pub device: &'a str,
}

/// Adds a host with its addresses; run it in a transaction.
///
/// # Errors
/// If the name is not usable, or name or address is taken.
pub async fn add(
    conn: &mut Connection,
    now: Timestamp,
    host: &NewHost<'_>,
) -> Result<HostId, AddHostError> {
    let is_name = (1..=15).contains(&host.name.len())
        && host
            .name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && !host.name.starts_with('-');
    if !is_name {
        return Err(AddHostError::Name(host.name.chars().take(40).collect()));
    }
    if by_name(conn, host.name).await?.is_some() {
        return Err(AddHostError::NameTaken(host.name.to_owned()));
    }
    for mac in host.macs {
        if let Some(other) = by_macs(conn, &[*mac]).await? {
            return Err(AddHostError::MacTaken {
                mac: *mac,
                host: other.name,
            });
        }
    }
    let inserted = sqlx::query(
        "INSERT INTO hosts (hostName, hostImage, hostCreateDate, hostCreateBy, hostDevice) \
         VALUES (?, ?, ?, 'fos-server', ?)",
    )
    .bind(host.name)
    .bind(host.image.unwrap_or(ImageId(0)))
    .bind(now.to_string())
    .bind(host.device)
    .execute(&mut *conn)
    .await?;
    let id = HostId(inserted.last_insert_rowid());
    for (position, mac) in host.macs.iter().enumerate() {
        sqlx::query("INSERT INTO hostMAC (hmHostID, hmMAC, hmPrimary) VALUES (?, ?, ?)")
            .bind(id)
            .bind(mac.to_string())
            .bind(if position == 0 { "1" } else { "0" })
            .execute(&mut *conn)
            .await?;
    }
    Ok(id)
}

/// The host that owns one of the addresses: the first address with an owner decides.
///
/// # Errors
/// If the database fails.
pub async fn by_macs(conn: &mut Connection, macs: &[Mac]) -> sqlx::Result<Option<Host>> {
    for mac in macs {
        let host = sqlx::query_as(&format!(
            "SELECT {COLUMNS} FROM hosts JOIN hostMAC ON hmHostID = hostID \
             WHERE hmMAC = ? AND hmPending = '0' AND hmIgnoreImaging = '0' AND hostPending = '0'"
        ))
        .bind(mac.to_string())
        .fetch_optional(&mut *conn)
        .await?;
        if host.is_some() {
            return Ok(host);
        }
    }
    Ok(None)
}

/// The host of this name; letter case does not matter.
///
/// # Errors
/// If the database fails.
pub async fn by_name(conn: &mut Connection, name: &str) -> sqlx::Result<Option<Host>> {
    sqlx::query_as(&format!(
        "SELECT {COLUMNS} FROM hosts WHERE LOWER(hostName) = LOWER(?)"
    ))
    .bind(name)
    .fetch_optional(conn)
    .await
}

/// The host of this number.
///
/// # Errors
/// If the database fails.
pub async fn by_id(conn: &mut Connection, id: HostId) -> sqlx::Result<Option<Host>> {
    sqlx::query_as(&format!("SELECT {COLUMNS} FROM hosts WHERE hostID = ?"))
        .bind(id)
        .fetch_optional(conn)
        .await
}

/// All hosts by name.
///
/// # Errors
/// If the database fails.
pub async fn all(conn: &mut Connection) -> sqlx::Result<Vec<Host>> {
    sqlx::query_as(&format!("SELECT {COLUMNS} FROM hosts ORDER BY hostName"))
        .fetch_all(conn)
        .await
}

/// The addresses of a host, the primary one first.
///
/// # Errors
/// If the database fails.
pub async fn macs(conn: &mut Connection, id: HostId) -> sqlx::Result<Vec<Mac>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT hmMAC FROM hostMAC WHERE hmHostID = ? ORDER BY hmPrimary DESC, hmID",
    )
    .bind(id)
    .fetch_all(conn)
    .await?;
    Ok(rows.iter().filter_map(|(mac,)| mac.parse().ok()).collect())
}

/// Stores the address under which a host was last seen.
///
/// # Errors
/// If the database fails.
pub async fn set_ip(conn: &mut Connection, id: HostId, ip: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE hosts SET hostIP = ? WHERE hostID = ?")
        .bind(ip)
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// What FOG does to a host at the end of a deploy: time stored, the keys of the old installation
/// forgotten.
///
/// # Errors
/// If the database fails.
pub async fn set_deployed(conn: &mut Connection, now: Timestamp, id: HostId) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE hosts SET hostLastDeploy = ?, hostPubKey = '', hostSecToken = '' WHERE hostID = ?",
    )
    .bind(now.to_string())
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes a host and its addresses and inventory; tasks and logs stay.
///
/// # Errors
/// If the database fails.
pub async fn remove(conn: &mut Connection, id: HostId) -> sqlx::Result<()> {
    for statement in [
        "DELETE FROM hostMAC WHERE hmHostID = ?",
        "DELETE FROM inventory WHERE iHostID = ?",
        "DELETE FROM hosts WHERE hostID = ?",
    ] {
        sqlx::query(statement).bind(id).execute(&mut *conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const NOW: Timestamp = Timestamp(1_790_000_000);

    fn mac(last: u8) -> Mac {
        Mac([0, 0x1b, 0x21, 0, 0, last])
    }

    fn host<'a>(name: &'a str, macs: &'a [Mac]) -> NewHost<'a> {
        NewHost {
            name,
            macs,
            image: None,
            device: "",
        }
    }

    #[tokio::test]
    async fn a_host_is_found_by_any_of_its_addresses() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        let id = add(&mut conn, NOW, &host("LAB-01", &[mac(1), mac(2)]))
            .await
            .unwrap();
        for list in [vec![mac(1)], vec![mac(2)], vec![mac(9), mac(2)]] {
            let found = by_macs(&mut conn, &list).await.unwrap().unwrap();
            assert_eq!(found.id, id);
        }
        assert!(by_macs(&mut conn, &[mac(9)]).await.unwrap().is_none());
        assert_eq!(macs(&mut conn, id).await.unwrap(), [mac(1), mac(2)]);
        assert_eq!(by_name(&mut conn, "lab-01").await.unwrap().unwrap().id, id);
        remove(&mut conn, id).await.unwrap();
        assert!(by_macs(&mut conn, &[mac(1)]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn pending_and_ignored_addresses_do_not_count() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        add(&mut conn, NOW, &host("a", &[mac(1), mac(2)]))
            .await
            .unwrap();
        sqlx::query("UPDATE hostMAC SET hmPending = '1' WHERE hmMAC = ?")
            .bind(mac(1).to_string())
            .execute(&mut *conn)
            .await
            .unwrap();
        sqlx::query("UPDATE hostMAC SET hmIgnoreImaging = '1' WHERE hmMAC = ?")
            .bind(mac(2).to_string())
            .execute(&mut *conn)
            .await
            .unwrap();
        assert!(
            by_macs(&mut conn, &[mac(1), mac(2)])
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn taken_and_unusable_names_and_addresses_are_refused() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        add(&mut conn, NOW, &host("a", &[mac(1)])).await.unwrap();
        let again = add(&mut conn, NOW, &host("A", &[mac(2)])).await;
        assert!(matches!(again, Err(AddHostError::NameTaken(_))));
        let again = add(&mut conn, NOW, &host("b", &[mac(2), mac(1)])).await;
        assert!(matches!(again, Err(AddHostError::MacTaken { .. })));
        for name in ["", "a b", "-a", "sixteen-letters-", "ä"] {
            let refused = add(&mut conn, NOW, &host(name, &[mac(3)])).await;
            assert!(matches!(refused, Err(AddHostError::Name(_))), "{name}");
        }
    }
}
