//! `nfsGroupMembers`: the one storage node that this server is.

use super::Connection;

/// Where the images are; `None` if that was never said.
///
/// # Errors
/// If the database fails.
pub async fn root_path(conn: &mut Connection) -> sqlx::Result<Option<String>> {
    let row: Option<(String,)> = sqlx::query_as(
        "SELECT ngmRootPath FROM nfsGroupMembers WHERE ngmIsMasterNode = '1' ORDER BY ngmID LIMIT 1",
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(path,)| path))
}

/// Stores where the images are.
///
/// # Errors
/// If the database fails.
pub async fn set_root_path(conn: &mut Connection, path: &str) -> sqlx::Result<()> {
    let updated =
        sqlx::query("UPDATE nfsGroupMembers SET ngmRootPath = ? WHERE ngmIsMasterNode = '1'")
            .bind(path)
            .execute(&mut *conn)
            .await?;
    if updated.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO nfsGroupMembers (ngmMemberName, ngmIsMasterNode, ngmGroupID, ngmRootPath) \
             VALUES ('DefaultMember', '1', 1, ?)",
        )
        .bind(path)
        .execute(conn)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn the_root_is_kept() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        assert_eq!(root_path(&mut conn).await.unwrap(), None);
        for path in ["/a", "/b"] {
            set_root_path(&mut conn, path).await.unwrap();
            assert_eq!(root_path(&mut conn).await.unwrap().as_deref(), Some(path));
        }
    }
}
