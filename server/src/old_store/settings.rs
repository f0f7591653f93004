//! `globalSettings`: read by key, never by position; a missing or empty row means the default.

use super::Connection;

/// First port of the pool (`FOG_UDPCAST_STARTINGPORT`).
pub const STARTING_PORT: &str = "FOG_UDPCAST_STARTINGPORT";
/// Number of sessions that may be active (`FOG_MULTICAST_MAX_SESSIONS`).
pub const MAX_SESSIONS: &str = "FOG_MULTICAST_MAX_SESSIONS";
/// Wait for the first stream's receivers in minutes (`FOG_UDPCAST_MAXWAIT`).
pub const MAX_WAIT: &str = "FOG_UDPCAST_MAXWAIT";

/// The value of a setting; `None` if it is absent or empty.
///
/// # Errors
/// If the database fails.
pub async fn value(conn: &mut Connection, key: &str) -> sqlx::Result<Option<String>> {
    let found: Option<(String,)> =
        sqlx::query_as("SELECT settingValue FROM globalSettings WHERE settingKey = ?")
            .bind(key)
            .fetch_optional(conn)
            .await?;
    Ok(found
        .map(|(value,)| value)
        .filter(|value| !value.is_empty()))
}

/// A setting that is a number; `default` where it is absent or no number.
///
/// # Errors
/// If the database fails.
pub async fn number(conn: &mut Connection, key: &str, default: u32) -> sqlx::Result<u32> {
    let text = value(conn, key).await?;
    Ok(text
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(default))
}

/// Stores a setting.
///
/// # Errors
/// If the database fails.
pub async fn set(conn: &mut Connection, key: &str, value: &str) -> sqlx::Result<()> {
    let updated = sqlx::query("UPDATE globalSettings SET settingValue = ? WHERE settingKey = ?")
        .bind(value)
        .bind(key)
        .execute(&mut *conn)
        .await?;
    if updated.rows_affected() == 0 {
        sqlx::query("INSERT INTO globalSettings (settingKey, settingValue) VALUES (?, ?)")
            .bind(key)
            .bind(value)
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
    async fn missing_and_odd_values_mean_the_default() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        assert_eq!(
            number(&mut conn, STARTING_PORT, 63100).await.unwrap(),
            63100
        );
        for (text, expected) in [("", 1), ("abc", 1), (" 7 ", 7)] {
            set(&mut conn, MAX_WAIT, text).await.unwrap();
            assert_eq!(number(&mut conn, MAX_WAIT, 1).await.unwrap(), expected);
        }
    }
}
