//! Connections and transactions: one writer, a few readers, each operation in a task of its own.

use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow, SqliteValueRef};
use sqlx::{Column as _, Decode, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _};
use tokio::sync::{Mutex, Semaphore, broadcast, oneshot};

use super::connection::{Connection, Place, Places};
use crate::store::sql::row::{Arg, Row, Value};
use crate::store::sql::tx::{Boxed, Done, Link, Tx};
use crate::store::sql::{self, finish};
use crate::store::{Change, Result, StoreError};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until another program, or operations before this one, let the database go.
    pub(super) lock: Duration,
    /// For the statements of an operation, and for its commit: more means that the disk hangs.
    pub(super) hang: Duration,
    /// For what still runs when the store is closed.
    pub(super) close: Duration,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self {
        lock: Duration::from_secs(5),
        hang: Duration::from_secs(30),
        close: Duration::from_secs(10),
    };
}

/// The database behind a [`super::Sqlite`].
pub(crate) struct Engine {
    /// What it is called in errors.
    place: Arc<str>,
    options: SqliteConnectOptions,
    reader_options: SqliteConnectOptions,
    limits: Limits,
    /// Taken while an operation writes; the connection is missing until it is needed and after an
    /// operation that left it in an unknown state.
    writer: Mutex<Option<Connection>>,
    /// `None` for a database in memory: there the writer reads too, since other connections could
    /// not read while it writes.
    readers: Option<Readers>,
    backing: Backing,
    places: Places,
    is_closed: AtomicBool,
    changes: broadcast::Sender<Change>,
}

/// Where the database is.
pub(super) enum Backing {
    File(DatabaseFile),
    /// In memory: this keeps it alive when its writer is thrown away.
    Memory {
        _anchor: StdMutex<SqliteConnection>,
    },
}

/// The file that was opened, looked at by a thread of its own: what hangs elsewhere must not keep it.
pub(super) struct DatabaseFile(std::sync::mpsc::Sender<oneshot::Sender<bool>>);

impl Backing {
    pub(super) fn memory(anchor: SqliteConnection) -> Self {
        Self::Memory {
            _anchor: StdMutex::new(anchor),
        }
    }

    /// Reads the disk.
    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let identity = identity(&path)?;
        let (ask, asked) = std::sync::mpsc::channel::<oneshot::Sender<bool>>();
        std::thread::Builder::new()
            .name("database-file".into())
            .spawn(move || {
                let mut log = None;
                for reply in asked {
                    // Whoever asked while the disk hung has gone.
                    if !reply.is_closed() {
                        reply.send(is_in_place(&path, identity, &mut log)).ok();
                    }
                }
            })?;
        Ok(Self::File(DatabaseFile(ask)))
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.metadata()?;
    Ok((found.dev(), found.ino()))
}

/// Whether the file that was opened is still there, and the log of a transaction that writes; `known` is the
/// log that was found right before.
fn is_in_place(path: &Path, opened: (u64, u64), known: &mut Option<(u64, u64)>) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = Path::new(&log);
    let Ok(found) = identity(log) else {
        return false;
    };
    if identity(path).ok() != Some(opened) {
        return false;
    }
    if *known != Some(found) && is_open_here(log, found) {
        // SQLite makes a new one where nobody had the database open.
        *known = Some(found);
    }
    *known == Some(found)
}

/// Whether this process has that file open; as true where the system does not say it.
fn is_open_here(path: &Path, file: (u64, u64)) -> bool {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return true;
    };
    // Only files of that name are looked at: others may be on a file system that hangs.
    let is_named = |entry: &std::fs::DirEntry| {
        let link = std::fs::read_link(entry.path());
        link.is_ok_and(|link| link.file_name() == path.file_name())
    };
    let mut named = open.flatten().filter(is_named);
    named.any(|entry| identity(&entry.path()).is_ok_and(|found| found == file))
}

struct Readers {
    permits: Semaphore,
    /// Places of those that read or wait for it.
    places: Arc<Semaphore>,
    idle: StdMutex<Vec<Connection>>,
}

impl Readers {
    /// Some 2 MiB of cache each.
    const MAX: u32 = 4;
}

/// Reads at a time with those that wait, some KiB each. Their callers may have gone: without a limit they
/// would pile up while the disk hangs.
pub(super) const MAX_READS: usize = 4096;

/// Changes that a receiver may lag behind, some 16 bytes each.
const MAX_CHANGES: usize = 1024;

/// For which SQLite itself waits for a lock.
const BUSY_STEP: Duration = Duration::from_millis(50);

impl Engine {
    pub(super) fn new(
        place: &str,
        options: SqliteConnectOptions,
        limits: Limits,
        backing: Backing,
    ) -> Self {
        let has_file = matches!(backing, Backing::File(_));
        let readers = has_file.then(|| Readers {
            permits: Semaphore::new(Readers::MAX as usize),
            places: Arc::new(Semaphore::new(MAX_READS)),
            idle: StdMutex::default(),
        });
        Self {
            place: place.into(),
            // Between two steps it is seen whether the store is closed.
            options: options.clone().busy_timeout(BUSY_STEP),
            // A reader waits for next to nothing with a write-ahead log.
            reader_options: options.busy_timeout(limits.lock),
            limits,
            writer: Mutex::new(None),
            readers,
            backing,
            places: Places::new(),
            is_closed: AtomicBool::new(false),
            changes: broadcast::channel(MAX_CHANGES).0,
        }
    }

    async fn reads<T, F>(self: &Arc<Self>, begin: Option<&'static str>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        let engine = Arc::clone(self);
        let place = match &self.readers {
            Some(readers) => {
                let place = Arc::clone(&readers.places).try_acquire_owned();
                Some(place.map_err(|_| self.unavailable("too many operations wait for it"))?)
            }
            None => None,
        };
        finish(tokio::spawn(async move {
            let _place = place;
            match &engine.readers {
                Some(readers) => engine.snapshot(readers, begin, work).await,
                None => engine.transaction("BEGIN", work).await,
            }
        }))
        .await
    }

    async fn close_all(&self) {
        let mut connections = Vec::new();
        if let Some(readers) = &self.readers {
            let all = readers.permits.acquire_many(Readers::MAX).await;
            connections.append(&mut readers.lock());
            drop(all);
        }
        // The last one: it folds the write-ahead log into the file.
        connections.extend(self.writer.lock().await.take());
        for connection in connections {
            if let Err(error) = connection.close().await {
                tracing::warn!("server: closing {}: {error}", self.place);
            }
        }
    }

    async fn transaction<T, E, F>(&self, begin: &str, work: F) -> std::result::Result<T, E>
    where
        E: From<StoreError>,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, std::result::Result<T, E>>,
    {
        let since = Instant::now();
        let limit = self.limits.lock + self.limits.hang;
        let queued = tokio::time::timeout(limit, self.writer.lock()).await;
        let mut writer = queued.map_err(|_| self.queue_stands(limit))?;
        let begun = self.begin(&self.options, &mut writer, Some(begin), since);
        let mut tx = begun.await?;
        // From here on a connection that is not put back is closed, which undoes what it did.
        let worked = self.bounded(work(&mut tx), "").await?;
        let worked = match worked {
            Ok(value) => self.check_file().await.map(|()| value).map_err(E::from),
            Err(error) => Err(error),
        };
        match worked {
            Ok(value) => {
                let commit = tx.run("COMMIT", Vec::new());
                match self.bounded(commit, COMMIT_HANGS).await? {
                    Ok(_) => {
                        let (link, changes) = tx.into_parts();
                        *writer = connection(link);
                        for change in changes {
                            // Nobody listens: fine.
                            self.changes.send(change).ok();
                        }
                        Ok(value)
                    }
                    Err(error) => {
                        *writer = self.undone(tx).await;
                        Err(error.into())
                    }
                }
            }
            Err(error) => {
                *writer = self.undone(tx).await;
                Err(error)
            }
        }
    }

    async fn snapshot<T, F>(&self, readers: &Readers, begin: Option<&str>, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>>,
    {
        let limit = self.limits.lock + self.limits.hang;
        let queued = tokio::time::timeout(limit, readers.permits.acquire()).await;
        let permit = queued.map_err(|_| self.queue_stands(limit))?;
        let _permit = permit.map_err(|_| self.unavailable("it is closed"))?;
        let mut idle = readers.lock().pop();
        let begun = self.begin(&self.reader_options, &mut idle, begin, Instant::now());
        let mut tx = begun.await?;
        let worked = self.bounded(work(&mut tx), "").await?;
        let kept = match begin {
            Some(_) => self.undone(tx).await,
            None => {
                debug_assert!(tx.statements() <= 1, "what looks is one statement");
                // After an error it is not sure what it does.
                worked
                    .is_ok()
                    .then(|| connection(tx.into_parts().0))
                    .flatten()
            }
        };
        if let Some(connection) = kept {
            readers.lock().push(connection);
        }
        worked
    }

    /// Begins a transaction, waiting for other programs. A connection that cannot begin now stays
    /// where it is.
    async fn begin(
        &self,
        options: &SqliteConnectOptions,
        idle: &mut Option<Connection>,
        begin: Option<&str>,
        since: Instant,
    ) -> Result<Tx> {
        loop {
            if self.is_closed.load(Ordering::SeqCst) {
                return Err(self.unavailable("it is closed"));
            }
            let taken = match idle.take() {
                Some(connection) => Ok(connection),
                None => Err(self.place()?),
            };
            let attempt = async {
                let mut connection = match taken {
                    Ok(connection) => connection,
                    Err(place) => Connection::open(options, place).await?,
                };
                let begun = match begin {
                    Some(begin) => sqlx::query(begin).execute(connection.get()).await.map(drop),
                    None => Ok(()),
                };
                Ok((connection, begun))
            };
            let error = match self.bounded(attempt, "").await? {
                Ok((connection, Ok(()))) => {
                    let link = Link::Sqlite(connection);
                    return Ok(Tx::new(link, Arc::clone(&self.place)));
                }
                Ok((connection, Err(error))) => {
                    if is_busy(&error) {
                        *idle = Some(connection);
                    }
                    error
                }
                Err(error) => error,
            };
            if !is_busy(&error) {
                return Err(fault(&self.place, &error));
            }
            let waited = since.elapsed();
            if waited >= self.limits.lock {
                return Err(self.unavailable(&format!(
                    "it has been locked for {} s, perhaps by another program ({error})",
                    waited.as_secs()
                )));
            }
        }
    }

    fn place(&self) -> Result<Place> {
        self.places.take().ok_or_else(|| {
            self.unavailable(&format!(
                "its disk hangs: {} connections do not end",
                Places::MAX
            ))
        })
    }

    /// What is written into a file that has lost its name is gone with this process.
    async fn check_file(&self) -> Result<()> {
        let Backing::File(file) = &self.backing else {
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        // A thread that has ended answers nothing either.
        drop(file.0.send(reply));
        match self.bounded(answer, "").await? {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.unavailable(
                "it was removed or replaced while the server runs; stop the server, put the file \
                 with its -wal file back, and start the server again",
            )),
            Err(_) => Err(self.unavailable("the server ends")),
        }
    }

    /// The connection of a transaction that is not to be; `None` if it is not sure what it does.
    async fn undone(&self, mut tx: Tx) -> Option<Connection> {
        let rollback = tx.run("ROLLBACK", Vec::new());
        let undone = self.bounded(rollback, "").await;
        match undone {
            Ok(Ok(_)) => connection(tx.into_parts().0),
            _ => None,
        }
    }

    async fn bounded<T>(&self, step: impl Future<Output = T>, note: &str) -> Result<T> {
        let limit = self.limits.hang;
        tokio::time::timeout(limit, step).await.map_err(|_| {
            let seconds = limit.as_secs();
            self.unavailable(&format!("it did not answer for {seconds} s{note}"))
        })
    }

    fn queue_stands(&self, limit: Duration) -> StoreError {
        let seconds = limit.as_secs();
        self.unavailable(&format!("other operations did not end for {seconds} s"))
    }

    fn unavailable(&self, text: &str) -> StoreError {
        StoreError::Unavailable(format!("{}: {text}", self.place))
    }
}

impl sql::Engine for Engine {
    fn is_fogs(&self) -> bool {
        false
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn write<T, X, F>(self: &Arc<Self>, work: F) -> std::result::Result<T, X>
    where
        T: Send + 'static,
        X: From<StoreError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, std::result::Result<T, X>>
            + Clone
            + Send
            + 'static,
    {
        let engine = Arc::clone(self);
        finish(tokio::spawn(async move {
            engine.transaction("BEGIN IMMEDIATE", work).await
        }))
        .await
    }

    async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        self.reads(Some("BEGIN"), work).await
    }

    async fn look<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        self.reads(None, work).await
    }

    async fn close(self: &Arc<Self>) {
        self.is_closed.store(true, Ordering::SeqCst);
        let engine = Arc::clone(self);
        let closed = tokio::spawn(async move {
            let limit = engine.limits.close;
            if tokio::time::timeout(limit, engine.close_all())
                .await
                .is_err()
            {
                tracing::error!("server: {} is still in use; it is left so", engine.place);
            }
        });
        if let Err(error) = closed.await {
            tracing::error!("server: closing {}: {error}", self.place);
        }
    }
}

#[cfg(test)]
impl Engine {
    /// The place of the writer, for tests that keep it or change it.
    pub(super) fn writer(&self) -> &Mutex<Option<Connection>> {
        &self.writer
    }

    /// The places of all connections.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Connections that are kept for readers.
    pub(super) fn idle_readers(&self) -> usize {
        self.readers
            .as_ref()
            .map_or(0, |readers| readers.lock().len())
    }
}

impl Readers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Whole at any time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").field(&self.place).finish()
    }
}

/// The connection behind a transaction of this engine.
fn connection(link: Link) -> Option<Connection> {
    match link {
        Link::Sqlite(connection) => Some(connection),
        Link::MariaDb(_) => None,
    }
}

const COMMIT_HANGS: &str = "; whether it was stored shows when it answers again";

/// Runs a statement that answers no rows.
pub(in crate::store) async fn execute(
    connection: &mut Connection,
    place: &str,
    sql: &str,
    args: Vec<Arg>,
) -> Result<Done> {
    let done = bound(sql, args).execute(connection.get()).await;
    done.map(|done| Done {
        met: done.rows_affected(),
        inserted: done.last_insert_rowid(),
    })
    .map_err(|error| fault(place, &error))
}

/// Runs a statement that answers rows.
pub(in crate::store) async fn fetch(
    connection: &mut Connection,
    place: &str,
    sql: &str,
    args: Vec<Arg>,
) -> Result<Vec<Row>> {
    let rows = bound(sql, args).fetch_all(connection.get()).await;
    let rows = rows.map_err(|error| fault(place, &error))?;
    Ok(rows.iter().map(row).collect())
}

fn bound(sql: &str, args: Vec<Arg>) -> sqlx::query::Query<'_, sqlx::Sqlite, SqliteArguments<'_>> {
    let query = sqlx::query(sql);
    args.into_iter().fold(query, |query, arg| match arg {
        Arg::Null => query.bind(None::<i64>),
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
        Arg::Time(time) => query.bind(time.to_string()),
    })
}

fn row(row: &SqliteRow) -> Row {
    let value = |(index, column): (usize, &sqlx::sqlite::SqliteColumn)| {
        let value = row.try_get_raw(index).map_or(Value::Null, value);
        (column.name().to_owned(), value)
    };
    Row {
        columns: row.columns().iter().enumerate().map(value).collect(),
    }
}

fn value(raw: SqliteValueRef<'_>) -> Value {
    if raw.is_null() {
        return Value::Null;
    }
    let kind = raw.type_info().name().to_owned();
    match kind.as_str() {
        "INTEGER" => Decode::<sqlx::Sqlite>::decode(raw).map_or(Value::Null, Value::Int),
        "REAL" => Decode::<sqlx::Sqlite>::decode(raw).map_or(Value::Null, Value::Real),
        kind => {
            let bytes = <&[u8] as Decode<'_, sqlx::Sqlite>>::decode(raw).unwrap_or_default();
            match str::from_utf8(bytes) {
                Ok(text) if kind == "TEXT" => Value::Text(text.to_owned()),
                _ => Value::Bytes(bytes.to_owned()),
            }
        }
    }
}

/// What an error of the database means for the caller.
fn fault(place: &str, error: &sqlx::Error) -> StoreError {
    let unavailable = || StoreError::Unavailable(format!("{place}: {}", text(error)));
    match error {
        sqlx::Error::Database(_) => match primary_code(error) {
            // PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN,
            // PROTOCOL, NOLFS, AUTH, NOTADB.
            Some(3 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 13 | 14 | 15 | 22 | 23 | 26) => unavailable(),
            _ => StoreError::Internal(format!("{place}: {}", text(error))),
        },
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => unavailable(),
        _ => StoreError::Internal(format!("{place}: {}", text(error))),
    }
}

fn text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        error => error.to_string(),
    }
}

/// `SQLITE_BUSY`, `SQLITE_LOCKED`.
fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(5 | 6))
}

/// SQLite's result code without its extension.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
