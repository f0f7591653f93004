//! The database: FOG's tables and a few of our own.
//!
//! Functions take a connection, so that several steps can share a transaction, and take `now`
//! instead of reading a clock. Statements use FOG's names and only what SQLite and MariaDB have
//! in common.

pub mod events;
pub mod hosts;
pub mod images;
pub mod inventory;
pub mod nodes;
pub mod session_hosts;
pub mod sessions;
pub mod settings;
pub mod tasks;

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction, pool::PoolConnection};

/// The connection type that the functions below take.
pub type Connection = sqlx::SqliteConnection;

macro_rules! id {
    ($(#[$doc:meta] $name:ident),* $(,)?) => {$(
        #[$doc]
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            sqlx::Type, serde::Serialize, serde::Deserialize,
        )]
        #[sqlx(transparent)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

id! {
    /// `hosts.hostID`.
    HostId,
    /// `images.imageID`.
    ImageId,
    /// `tasks.taskID`.
    TaskId,
    /// `multicastSessions.msID`.
    SessionId,
}

/// An opened database, schema up to date.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

/// Time for which a statement waits for another program's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

impl Store {
    /// Opens `fos.sqlite` in `data`, creating directory, file and tables where missing.
    ///
    /// # Errors
    /// If the directory cannot be made, or the file is no database of this program's.
    pub async fn open(data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)
            .with_context(|| format!("creating the data directory {}", data.display()))?;
        let file = data.join("fos.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .with_context(|| format!("opening the database {}", file.display()))?;
        Self::migrated(pool)
            .await
            .with_context(|| format!("preparing the tables of {}", file.display()))
    }

    /// An empty database in memory, for tests.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub async fn in_memory() -> anyhow::Result<Self> {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(SqliteConnectOptions::from_str("sqlite::memory:")?)
            .await?;
        Self::migrated(pool).await
    }

    async fn migrated(pool: SqlitePool) -> anyhow::Result<Self> {
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool })
    }

    /// A connection for single statements.
    ///
    /// # Errors
    /// If none becomes free in time.
    pub async fn conn(&self) -> sqlx::Result<PoolConnection<Sqlite>> {
        self.pool.acquire().await
    }

    /// A transaction that may write. Rolled back when dropped without `commit`.
    ///
    /// # Errors
    /// If another program keeps the database locked for too long.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Sqlite>> {
        // The write lock is taken at once: a transaction that reads first and writes later
        // could not wait for the lock, only fail.
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// Closes all connections, so that the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Cuts a text to what a column holds, in characters; control characters become blanks.
#[must_use]
pub fn column_text(text: &str, max_chars: usize) -> String {
    fog::encoding::printable(text, max_chars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_created_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        for _ in 0..2 {
            let store = Store::open(&data).await.unwrap();
            let mut conn = store.conn().await.unwrap();
            let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
            assert_eq!(mode, "wal");
            drop(conn);
            store.close().await;
        }
    }

    #[tokio::test]
    async fn a_file_of_another_kind_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("fos.sqlite"), vec![b'x'; 4096]).unwrap();
        let error = format!("{:#}", Store::open(dir.path()).await.unwrap_err());
        assert!(error.contains("fos.sqlite"), "{error}");
    }

    #[tokio::test]
    async fn two_writers_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (
            Store::open(dir.path()).await.unwrap(),
            Store::open(dir.path()).await.unwrap(),
        );
        let mut first = a.begin().await.unwrap();
        settings::set(&mut first, "KEY", "a").await.unwrap();
        let second = tokio::spawn(async move {
            let mut second = b.begin().await.unwrap();
            settings::set(&mut second, "KEY", "b").await.unwrap();
            second.commit().await.unwrap();
        });
        first.commit().await.unwrap();
        second.await.unwrap();
        let mut conn = a.conn().await.unwrap();
        let value = settings::value(&mut conn, "KEY").await.unwrap();
        assert_eq!(value.as_deref(), Some("b"));
    }
}
