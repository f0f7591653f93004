//! Opening: directory, file, tables.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::Sqlite;
use super::engine::{Backing, Engine, Limits};
use super::migrations::Steps;

/// The file in the data directory.
pub(crate) const DATABASE: &str = "fos.sqlite";

impl Sqlite {
    /// Opens `fos.sqlite` in `data`; creates directory, file and tables where they are missing.
    ///
    /// # Errors
    /// If the directory cannot be made, the file is no database of this program's, or that of a newer
    /// version.
    pub(crate) async fn open(data: &Path) -> anyhow::Result<Self> {
        Self::open_with(data, Limits::DEFAULT).await
    }

    pub(super) async fn open_with(data: &Path, limits: Limits) -> anyhow::Result<Self> {
        let data = data.to_owned();
        let file = tokio::task::spawn_blocking(move || create(&data)).await??;
        let place = file.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(MIGRATION_WAIT);
        let mut connection = options
            .connect()
            .await
            .with_context(|| format!("opening the database {place}"))?;
        migrate(&mut connection)
            .await
            .with_context(|| format!("preparing the tables of {place}"))?;
        connection.close().await?;
        Ok(Self {
            engine: Arc::new(Engine::new(
                &place,
                options,
                limits,
                Backing::of_file(&file)?,
            )),
        })
    }

    /// An empty database in memory, for tests.
    ///
    /// # Errors
    /// If SQLite refuses.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests"))]
    pub(crate) async fn in_memory() -> anyhow::Result<Self> {
        // Each of these options is a database of its own, shared by its connections.
        let options: SqliteConnectOptions = "sqlite::memory:".parse()?;
        let mut anchor = options.connect().await?;
        migrate(&mut anchor).await?;
        let engine = Engine::new(
            "the database in memory",
            options,
            Limits::DEFAULT,
            Backing::memory(anchor),
        );
        Ok(Self {
            engine: Arc::new(engine),
        })
    }
}

/// For another server that is just preparing the same tables.
const MIGRATION_WAIT: Duration = Duration::from_secs(20);

/// Creates the data directory where it is missing, readable by nobody else: tickets are in it. Its
/// name, and that of every new directory above it, survives a power cut.
///
/// # Errors
/// If it cannot be made, or written out.
pub(crate) fn make_directory(data: &Path) -> anyhow::Result<()> {
    let missing = data.ancestors().take_while(|part| !part.exists()).count();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("creating the data directory {}", data.display()))?;
    // The one above in any case: who made this one may have been killed before it could do that.
    for (above, directory) in data.ancestors().take(missing.max(1) + 1).enumerate() {
        let written = sync_directory(directory);
        if above <= missing {
            written?;
        }
    }
    Ok(())
}

/// Creates directory and file where they are missing, readable by nobody else.
fn create(data: &Path) -> anyhow::Result<PathBuf> {
    make_directory(data)?;
    let file = data.join(DATABASE);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&file)
        .with_context(|| format!("opening the database {}", file.display()))?;
    sync_directory(data)?;
    Ok(file)
}

fn sync_directory(directory: &Path) -> anyhow::Result<()> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .with_context(|| format!("writing the directory {} out", directory.display()))
}

async fn migrate(connection: &mut SqliteConnection) -> anyhow::Result<()> {
    let migrator = Migrator::new(Steps).await?;
    let known = migrator.iter().map(|step| step.version).max().unwrap_or(0);
    let tables: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if tables > 0 {
        let found: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(&mut *connection)
            .await?;
        anyhow::ensure!(
            found.is_none_or(|found| found <= known),
            "a newer fos-server has changed them (step {}, this version knows {known} steps); start \
             that version again, or restore a copy of the database from before the upgrade",
            found.unwrap_or_default()
        );
    }
    migrator.run(connection).await?;
    Ok(())
}
