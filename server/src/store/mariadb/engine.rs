//! Connections and transactions: one writer, a few readers, each operation in a task of its own.
//!
//! Several servers may have one database. One of them writes at a time: where a transaction that fails is undone, all
//! change one row first; elsewhere a lock with the name of the database is held for as long as the operation takes.
//! The writer's connection has a lock of its own for as long as it lives: by that it is known for sure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions as _, Error};
use tokio::sync::{Mutex, RwLock, Semaphore, broadcast};

use super::cluster::Nodes;
use super::connection::{Connection, Trouble, fetch};
use super::layout::Layout;
use crate::domain::doctor::ClusterLook;
use crate::store::node::Node;
use crate::store::sql::row::args;
use crate::store::sql::tx::{Boxed, Link, Tx};
use crate::store::sql::{self, finish};
use crate::store::{Change, Result, StoreError};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until the database takes a connection.
    pub(super) connect: Duration,
    /// Until other programs, or operations before this one, let the database go; whole seconds.
    pub(super) lock: Duration,
    /// For the statements of an operation, and for its commit: more means that the database hangs.
    pub(super) hang: Duration,
    /// For what still runs when the store is closed.
    pub(super) close: Duration,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(5),
        lock: Duration::from_secs(5),
        hang: Duration::from_secs(30),
        close: Duration::from_secs(10),
    };
}

/// The database behind a [`super::MariaDb`].
pub(crate) struct Engine {
    access: Access,
    layout: Arc<Layout>,
    /// Taken while an operation writes; the connection is missing until it is needed and after an
    /// operation that left it in an unknown state.
    writer: Mutex<Option<Connection>>,
    readers: Semaphore,
    /// Places of those that read or wait for it.
    places: Arc<Semaphore>,
    idle: StdMutex<Vec<Connection>>,
    /// For what waits for no other operation.
    aside: Mutex<Option<Connection>>,
    /// Where each statement is seen at once by others, operations that read wait for the one that writes.
    whole: RwLock<()>,
    is_closed: AtomicBool,
    changes: broadcast::Sender<Change>,
}

/// How to get a connection.
#[derive(Clone)]
pub(super) struct Access {
    /// What the database is called in errors.
    pub(super) place: Arc<str>,
    pub(super) nodes: Nodes,
    /// Its name.
    pub(super) database: String,
    pub(super) limits: Limits,
    /// This server.
    node: Arc<Node>,
    /// A connection that was given up: what it does is ended before there is another one.
    abandoned: Arc<StdMutex<Option<u64>>>,
    #[cfg(test)]
    fuse: super::connection::Fuse,
}

impl Access {
    pub(super) fn new(
        place: &str,
        nodes: Nodes,
        database: &str,
        limits: Limits,
        node: Node,
    ) -> Self {
        Self {
            place: place.into(),
            nodes,
            database: database.to_owned(),
            limits,
            node: Arc::new(node),
            abandoned: Arc::default(),
            #[cfg(test)]
            fuse: super::connection::Fuse::default(),
        }
    }

    /// A new connection: to the node that is used, else to the next one that takes it.
    pub(super) async fn open(&self, layout: Arc<Layout>) -> Result<Connection> {
        let mut failures: Vec<String> = Vec::new();
        for _ in 0..self.nodes.count() {
            let at = self.nodes.used();
            let trial = self.nodes.on_trial(at);
            match self.open_at(at, Arc::clone(&layout)).await {
                Ok(connection) => {
                    trial.succeed();
                    return Ok(connection);
                }
                Err(error) if self.nodes.count() == 1 => return Err(error),
                Err(StoreError::Unavailable(text)) => failures.push(text),
                Err(error) => failures.push(error.to_string()),
            }
        }
        Err(StoreError::Unavailable(failures.join("; ")))
    }

    async fn open_at(&self, at: usize, layout: Arc<Layout>) -> Result<Connection> {
        let place = self.nodes.place(at);
        // One that answers is found before what waits for it gives up.
        let limit = match self.nodes.count() {
            1 => self.limits.connect,
            _ => self.limits.connect.min(CONNECT_LIMIT),
        };
        let connected = tokio::time::timeout(limit, self.nodes.options(at).connect()).await;
        let inner = match connected {
            Ok(Ok(inner)) => inner,
            Ok(Err(error)) => return Err(Trouble::of(&error).fault(place, &error)),
            Err(_) => {
                let seconds = limit.as_secs();
                let late = format!("no connection within {seconds} s");
                let late = Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late));
                return Err(Trouble::Lost.fault(place, &late));
            }
        };
        let mut connection = Connection::new(inner, layout, at);
        let prepared = async {
            self.nodes.examine(&mut connection, at).await?;
            self.prepare(&mut connection, place).await
        };
        let limit = match self.nodes.count() {
            1 => self.limits.hang,
            _ => self.limits.hang.min(PREPARE_LIMIT),
        };
        let prepared = tokio::time::timeout(limit, prepared).await;
        let prepared = prepared.map_err(|_| {
            let seconds = limit.as_secs();
            StoreError::Unavailable(format!("{place}: it did not answer for {seconds} s"))
        })?;
        prepared.map(|()| connection)
    }

    async fn prepare(&self, connection: &mut Connection, place: &str) -> Result<()> {
        // Values that do not fit are errors, but the zero date is FOG's "never".
        // A machine that loses its power says no good-bye: what it has locked is free again soon.
        let sql = format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
             autocommit = 1, wait_timeout = {idle}, innodb_lock_wait_timeout = {wait}, lock_wait_timeout = {wait} \
             /*M!100300 , idle_transaction_timeout = {stands} */",
            idle = MAX_IDLE.as_secs() * 2,
            stands = self.limits.hang.as_secs().max(1),
            wait = self.limits.lock.as_secs().max(1)
        );
        connection.script(place, &sql).await?;
        let sql = "SELECT CONNECTION_ID() AS id";
        let rows = fetch(connection, place, sql, Vec::new()).await?;
        let id = rows
            .first()
            .map(|row| row.of("connection", &[]).number("id", "a number"));
        connection.id = id.transpose()?.unwrap_or(0);
        if self.nodes.is_cluster() {
            // Whatever is asked sees what was stored before by way of any node: reading, changing, adding. The last step: while
            // a cluster looks for a node that is gone, every question after it waits.
            connection
                .script(place, "SET SESSION wsrep_sync_wait = 7")
                .await?;
        }
        Ok(())
    }

    /// A new connection for what writes: the one before is gone for sure.
    pub(super) async fn open_writer(&self, layout: Arc<Layout>) -> Result<Connection> {
        let mut connection = self.open(layout).await?;
        #[cfg(test)]
        {
            connection.fuse = self.fuse.clone();
        }
        let place = &*self.place;
        // Nobody else has this name: a number may be that of a stranger's connection after a restart.
        let name = format!("fos-server {}", self.node.run());
        let abandoned = self.lock_abandoned().take();
        if let Some(id) = abandoned {
            self.end(&mut connection, id, &name).await?;
        }
        let seconds = i64::try_from(self.limits.lock.as_secs().max(1)).unwrap_or(i64::MAX);
        let values = args![name.as_str(), seconds];
        let locked = fetch(
            &mut connection,
            place,
            "SELECT GET_LOCK(?, ?) AS got",
            values,
        );
        let rows = self.bounded(locked, "").await??;
        let got = rows
            .first()
            .map(|row| row.of("lock", &[]).optional_text("got"));
        if got.transpose()?.as_deref() == Some("1") {
            return Ok(connection);
        }
        Err(self.unavailable(
            "what a former connection of this server began there has not ended yet; it is tried again",
        ))
    }

    /// Takes this server's turn to write, and begins a transaction.
    async fn take_turn(&self, tx: &mut Tx, layout: &Layout) -> Result<()> {
        if layout.is_transactional() {
            tx.run("START TRANSACTION", Vec::new()).await?;
            let sql = "UPDATE fos_turn SET turn = turn + 1 WHERE one = 1";
            if tx.run(sql, Vec::new()).await? == 0 {
                let sql = "INSERT IGNORE INTO fos_turn (one, turn) VALUES (1, 1)";
                tx.run(sql, Vec::new()).await?;
            }
            return Ok(());
        }
        let seconds = i64::try_from(self.limits.lock.as_secs().max(1)).unwrap_or(i64::MAX);
        let values = args![self.turn(), seconds];
        let row = tx.row("SELECT GET_LOCK(?, ?) AS got", values).await?;
        let got = row.map(|row| row.of("lock", &[]).optional_text("got"));
        if got.transpose()?.as_deref() != Some("1") {
            let text = format!(
                "another fos-server has stored something for more than {seconds} s; it is tried again"
            );
            return Err(self.unavailable(&text));
        }
        tx.run("START TRANSACTION", Vec::new()).await?;
        Ok(())
    }

    /// Ends the turn, once everything is stored or undone.
    async fn give_turn(&self, tx: &mut Tx, layout: &Layout) -> Result<()> {
        if !layout.is_transactional() {
            let sql = "SELECT RELEASE_LOCK(?) AS gone";
            tx.row(sql, args![self.turn()]).await?;
        }
        Ok(())
    }

    /// Waits until no other server makes tables, or writes where nothing is undone.
    pub(super) async fn lock_tables(&self, connection: &mut Connection) -> Result<()> {
        let seconds = i64::try_from(self.limits.hang.as_secs().max(1)).unwrap_or(i64::MAX);
        let sql = "SELECT GET_LOCK(?, ?) AS got";
        let rows = fetch(connection, &self.place, sql, args![self.turn(), seconds]).await?;
        let got = rows
            .first()
            .map(|row| row.of("lock", &[]).optional_text("got"));
        match got.transpose()?.as_deref() {
            Some("1") => Ok(()),
            _ => Err(self.unavailable("another fos-server is changing its tables; try again")),
        }
    }

    pub(super) async fn unlock_tables(&self, connection: &mut Connection) -> Result<()> {
        let sql = "SELECT RELEASE_LOCK(?) AS gone";
        let gone = fetch(connection, &self.place, sql, args![self.turn()]).await;
        gone.map(drop)
    }

    /// The name of the lock that whoever writes has.
    fn turn(&self) -> String {
        format!("fos-server {}", self.database)
    }

    /// Ends a connection of ours that was given up, if it still has the lock: its number may be that of
    /// another one by now.
    async fn end(&self, connection: &mut Connection, id: u64, lock: &str) -> Result<()> {
        let place = &*self.place;
        let sql = "SELECT IS_USED_LOCK(?) AS id";
        let rows = self.bounded(fetch(connection, place, sql, args![lock]), "");
        let rows = rows.await??;
        let holder = rows
            .first()
            .map(|row| row.of("lock", &[]).optional_text("id"));
        if holder.transpose()?.as_deref() == Some(id.to_string().as_str()) {
            let sql = format!("KILL CONNECTION {id}");
            // It may be gone by now.
            if let Err(error) = connection.script(place, &sql).await {
                tracing::debug!("ending connection {id}, which was given up: {error}");
            }
        }
        Ok(())
    }

    async fn bounded<T>(&self, step: impl Future<Output = T>, note: &str) -> Result<T> {
        let limit = self.limits.hang;
        tokio::time::timeout(limit, step).await.map_err(|_| {
            let seconds = limit.as_secs();
            self.unavailable(&format!("it did not answer for {seconds} s{note}"))
        })
    }

    pub(super) fn unavailable(&self, text: &str) -> StoreError {
        StoreError::Unavailable(format!("{}: {text}", self.place))
    }

    /// What was being done at a node that is not used any more.
    fn left(&self, at: usize, note: &str) -> StoreError {
        let place = self.nodes.place(at);
        StoreError::Unavailable(format!(
            "{place}: this node does not answer, and another one is used{note}"
        ))
    }

    /// Times that an operation is begun again because its connection was lost: any node may be the one that answers.
    fn max_losses(&self) -> u32 {
        let others = u32::try_from(self.nodes.count() - 1).unwrap_or(u32::MAX);
        MAX_LOSSES.saturating_add(others)
    }

    fn lock_abandoned(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        // Whole at any time.
        self.abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until a node among several takes a connection, and until it has told what it is.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// See [`CONNECT_LIMIT`].
const PREPARE_LIMIT: Duration = Duration::from_secs(2);

/// Connections that read.
const MAX_READERS: u32 = 4;

/// Reads at a time with those that wait, some KiB each. Their callers may have gone: without a limit they
/// would pile up while the database hangs.
pub(super) const MAX_READS: usize = 4096;

/// How long what is done aside may take with its connection: it is tried again soon.
const ASIDE_LIMIT: Duration = Duration::from_secs(3);

/// A connection that was not used for so long is not used again. The database ends it after twice as long.
const MAX_IDLE: Duration = Duration::from_secs(120);

/// Changes that a receiver may lag behind, some 16 bytes each.
const MAX_CHANGES: usize = 1024;

/// Times that an operation is begun again, because its connection was lost.
const MAX_LOSSES: u32 = 2;

/// Before an operation is begun again for another one's sake: twice as long each time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// Times that something done aside is tried.
const ASIDE_TRIES: u32 = 4;

/// Times that an operation is begun again, because a table was not closed.
const MAX_REPAIRS: u32 = 1;

/// How an attempt ended that may be repeated.
enum Attempt<T, X> {
    Done(std::result::Result<T, X>),
    /// The database has undone it for the sake of another transaction.
    Conflict(X),
    /// The connection broke before anything was promised, or its node is not used any more.
    Lost(X),
    /// A table was not closed when the database crashed.
    Damaged(X),
}

impl Engine {
    pub(super) fn new(access: Access, layout: Arc<Layout>, writer: Connection) -> Self {
        Self {
            access,
            layout,
            writer: Mutex::new(Some(writer)),
            readers: Semaphore::new(MAX_READERS as usize),
            places: Arc::new(Semaphore::new(MAX_READS)),
            idle: StdMutex::default(),
            aside: Mutex::new(None),
            whole: RwLock::new(()),
            is_closed: AtomicBool::new(false),
            changes: broadcast::channel(MAX_CHANGES).0,
        }
    }

    /// Whether nothing more is stored or read.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Tells what another program has changed.
    pub(super) fn tell(&self, change: Change) {
        // Nobody listens: fine.
        self.changes.send(change).ok();
    }

    fn check_open(&self) -> Result<()> {
        match self.is_closed() {
            true => Err(self.access.unavailable("it is closed")),
            false => Ok(()),
        }
    }

    async fn transaction<T, X, F>(&self, work: F) -> std::result::Result<T, X>
    where
        X: From<StoreError>,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, std::result::Result<T, X>> + Clone,
    {
        let since = Instant::now();
        let limit = self.access.limits.lock + self.access.limits.hang;
        let queued = tokio::time::timeout(limit, self.writer.lock()).await;
        let mut writer = queued.map_err(|_| self.queue_stands(limit))?;
        let (mut losses, mut repairs) = (0, 0);
        let mut is_again = false;
        let mut pause = FIRST_PAUSE;
        loop {
            self.check_open()?;
            let attempt = self.attempt(&mut writer, is_again, work.clone());
            is_again = true;
            match attempt.await {
                Attempt::Done(outcome) => return outcome,
                Attempt::Conflict(_) if since.elapsed() < self.access.limits.lock => {
                    // In a cluster the first one to commit wins, and whoever comes again at once meets the next one.
                    tokio::time::sleep(part_of(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Attempt::Lost(_) if losses < self.access.max_losses() => losses += 1,
                Attempt::Damaged(_) if repairs < MAX_REPAIRS => {
                    repairs += 1;
                    self.touch().await?;
                }
                Attempt::Conflict(error) | Attempt::Lost(error) | Attempt::Damaged(error) => {
                    return Err(error);
                }
            }
        }
    }

    async fn attempt<T, X, F>(
        &self,
        writer: &mut Option<Connection>,
        is_again: bool,
        work: F,
    ) -> Attempt<T, X>
    where
        X: From<StoreError>,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, std::result::Result<T, X>>,
    {
        let mut connection = match self.fresh(writer.take()).await {
            Some(connection) => connection,
            None => match self.access.open_writer(Arc::clone(&self.layout)).await {
                Ok(connection) => connection,
                Err(error) => return Attempt::Done(Err(error.into())),
            },
        };
        let (id, at) = (connection.id, connection.at);
        connection.trouble = None;
        let place = Arc::clone(self.access.nodes.place(at));
        let tx = Tx::new(Link::MariaDb(connection), place);
        let mut tx = tx.again(is_again);
        // From here on a connection that is not put back is closed, which undoes what can be undone.
        self.access.lock_abandoned().replace(id);
        let whole = match self.layout.is_transactional() {
            true => None,
            false => Some(self.whole.write().await),
        };
        let worked = async {
            self.access.take_turn(&mut tx, &self.layout).await?;
            work(&mut tx).await
        };
        let worked = tokio::select! {
            worked = self.access.bounded(worked, "") => worked,
            () = self.access.nodes.left(at) => return Attempt::Lost(self.access.left(at, "").into()),
        };
        let worked = match worked {
            Ok(worked) => worked,
            Err(error) => return Attempt::Done(Err(error.into())),
        };
        let value = match worked {
            Ok(value) => value,
            Err(error) => {
                let trouble = trouble(&tx);
                if trouble == Some(Trouble::NotReady) {
                    self.access.nodes.leave(at);
                    return Attempt::Lost(error);
                }
                self.put_back(writer, self.undone_turn(tx).await);
                return match trouble {
                    Some(Trouble::Conflict) => Attempt::Conflict(error),
                    Some(Trouble::Lost) => Attempt::Lost(error),
                    Some(Trouble::Damaged) => Attempt::Damaged(error),
                    _ => Attempt::Done(Err(error)),
                };
            }
        };
        let commit = tx.run("COMMIT", Vec::new());
        let committed = tokio::select! {
            committed = self.access.bounded(commit, COMMIT_HANGS) => committed,
            () = self.access.nodes.left(at) => Err(self.access.left(at, COMMIT_HANGS)),
        };
        match committed {
            Ok(Ok(_)) => {
                let given = self.access.give_turn(&mut tx, &self.layout);
                // A connection that is closed gives its turn, too.
                let is_given = matches!(self.access.bounded(given, "").await, Ok(Ok(())));
                drop(whole);
                let (link, changes) = tx.into_parts();
                self.put_back(writer, connection_of(link).filter(|_| is_given));
                changes.into_iter().for_each(|change| self.tell(change));
                Attempt::Done(Ok(value))
            }
            Ok(Err(error)) => match trouble(&tx) {
                // So a cluster says that it has undone it.
                Some(Trouble::Conflict) => {
                    self.put_back(writer, self.undone_turn(tx).await);
                    Attempt::Conflict(error.into())
                }
                // A node that is cut off in the middle does not know what the others have made of it.
                other if other == Some(Trouble::Lost) || self.access.nodes.is_cluster() => {
                    if other != Some(Trouble::Lost) {
                        self.access.nodes.leave(at);
                    }
                    let text = format!("{error}{COMMIT_HANGS}");
                    Attempt::Done(Err(StoreError::Unavailable(text).into()))
                }
                _ => {
                    self.put_back(writer, self.undone_turn(tx).await);
                    Attempt::Done(Err(error.into()))
                }
            },
            Err(error) => Attempt::Done(Err(error.into())),
        }
    }

    /// Uses every table of FOG's, outside of transactions: there MariaDB repairs those that were not closed when it
    /// crashed.
    async fn touch(&self) -> Result<()> {
        let mut connection = self.access.open(Arc::clone(&self.layout)).await?;
        for table in self.layout.fogs_tables() {
            let sql = format!("SELECT 1 AS one FROM {table} LIMIT 1");
            let touched = fetch(&mut connection, &self.access.place, &sql, Vec::new());
            // Whoever needs it says what is the matter.
            if let Err(error) = self.access.bounded(touched, "").await? {
                tracing::debug!("using table {table}: {error}");
            }
        }
        Ok(())
    }

    /// Keeps the connection of the writer; without one, what it does is ended later.
    fn put_back(&self, writer: &mut Option<Connection>, connection: Option<Connection>) {
        if connection.is_some() {
            self.access.lock_abandoned().take();
        }
        *writer = connection.map(Connection::used);
    }

    async fn reads<T, F>(self: &Arc<Self>, begin: Option<&'static str>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        let engine = Arc::clone(self);
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place =
            place.map_err(|_| self.access.unavailable("too many operations wait for it"))?;
        finish(tokio::spawn(async move {
            let _place = place;
            engine.snapshot(begin, work).await
        }))
        .await
    }

    async fn snapshot<T, F>(&self, begin: Option<&str>, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone,
    {
        let limit = self.access.limits.lock + self.access.limits.hang;
        let queued = tokio::time::timeout(limit, self.readers.acquire()).await;
        let permit = queued.map_err(|_| self.queue_stands(limit))?;
        let _permit = permit.map_err(|_| self.access.unavailable("it is closed"))?;
        let since = Instant::now();
        let (mut losses, mut repairs) = (0, 0);
        let mut pause = FIRST_PAUSE;
        loop {
            self.check_open()?;
            let idle = self.lock_idle().pop();
            let mut connection = match self.fresh(idle).await {
                Some(connection) => connection,
                None => self.access.open(Arc::clone(&self.layout)).await?,
            };
            connection.trouble = None;
            let at = connection.at;
            let place = Arc::clone(self.access.nodes.place(at));
            let mut tx = Tx::new(Link::MariaDb(connection), place);
            let _whole = match self.layout.is_transactional() {
                true => None,
                false => Some(self.whole.read().await),
            };
            let work = work.clone();
            let worked = async {
                if let Some(begin) = begin {
                    tx.run(begin, Vec::new()).await?;
                }
                work(&mut tx).await
            };
            let worked = tokio::select! {
                worked = self.access.bounded(worked, "") => Some(worked?),
                () = self.access.nodes.left(at) => None,
            };
            let Some(worked) = worked else {
                losses += 1;
                if losses <= self.access.max_losses() {
                    continue;
                }
                return Err(self.access.left(at, ""));
            };
            let trouble = worked.as_ref().err().and_then(|_| trouble(&tx));
            if trouble == Some(Trouble::NotReady) {
                self.access.nodes.leave(at);
            }
            // In a cluster: what it waits for to see has not come yet, or tables were changed.
            if trouble == Some(Trouble::Conflict) && since.elapsed() < self.access.limits.lock {
                drop(tx);
                tokio::time::sleep(part_of(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            if trouble == Some(Trouble::Damaged) && repairs < MAX_REPAIRS {
                repairs += 1;
                drop(tx);
                self.touch().await?;
                continue;
            }
            let is_lost = matches!(trouble, Some(Trouble::Lost | Trouble::NotReady));
            if is_lost && losses < self.access.max_losses() {
                // It was idle, and the database was started again meanwhile: so were the others.
                losses += 1;
                self.lock_idle().clear();
                continue;
            }
            let kept = match begin {
                Some(_) => self.undone(tx).await,
                None => worked
                    .is_ok()
                    .then(|| connection_of(tx.into_parts().0))
                    .flatten(),
            };
            if let Some(connection) = kept {
                self.lock_idle().push(connection.used());
            }
            return worked;
        }
    }

    /// The connection of a transaction that is not to be; `None` if it is not sure what it does.
    async fn undone(&self, mut tx: Tx) -> Option<Connection> {
        let rollback = tx.run("ROLLBACK", Vec::new());
        let undone = self.access.bounded(rollback, "").await;
        match undone {
            Ok(Ok(_)) => connection_of(tx.into_parts().0),
            _ => None,
        }
    }

    /// The same of one that writes.
    async fn undone_turn(&self, mut tx: Tx) -> Option<Connection> {
        let ended = async {
            tx.run("ROLLBACK", Vec::new()).await?;
            self.access.give_turn(&mut tx, &self.layout).await
        };
        match self.access.bounded(ended, "").await {
            Ok(Ok(())) => connection_of(tx.into_parts().0),
            _ => None,
        }
    }

    /// A connection that waited to be used again, unless it has waited for too long, or for another node.
    async fn fresh(&self, connection: Option<Connection>) -> Option<Connection> {
        let connection = connection?;
        if connection.at != self.access.nodes.used() {
            return None;
        }
        if connection.used_at.elapsed() < MAX_IDLE {
            return Some(connection);
        }
        // It may be gone already.
        drop(tokio::time::timeout(self.access.limits.close, connection.close()).await);
        None
    }

    async fn alone<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone,
    {
        let mut aside = self.aside.lock().await;
        self.check_open()?;
        let former = aside.take();
        let worked = async {
            let (mut former, work) = (former, work);
            let mut tries = 0;
            loop {
                tries += 1;
                let connection = match self.fresh(former.take()).await {
                    Some(connection) => connection,
                    None => self.access.open(Arc::clone(&self.layout)).await?,
                };
                let at = connection.at;
                // Without an answer within the limit the next node is asked from then on.
                let trial = self.access.nodes.on_trial(at);
                let place = Arc::clone(self.access.nodes.place(at));
                let mut tx = Tx::new(Link::MariaDb(connection), place);
                let error = match work.clone()(&mut tx).await {
                    Ok(value) => {
                        trial.succeed();
                        return Ok::<_, StoreError>((value, connection_of(tx.into_parts().0)));
                    }
                    Err(error) => error,
                };
                match trouble(&tx) {
                    Some(Trouble::Lost | Trouble::NotReady) => drop(trial),
                    // So says a node that is cut off in the middle.
                    Some(Trouble::Unavailable) if self.access.nodes.is_cluster() => drop(trial),
                    Some(Trouble::Conflict) => {
                        trial.succeed();
                        tokio::time::sleep(part_of(LONGEST_PAUSE)).await;
                    }
                    _ => {
                        trial.succeed();
                        return Err(error);
                    }
                }
                if tries >= ASIDE_TRIES {
                    return Err(error);
                }
            }
        };
        match tokio::time::timeout(ASIDE_LIMIT, worked).await {
            Ok(Ok((value, connection))) => {
                *aside = connection.map(Connection::used);
                Ok(value)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let seconds = ASIDE_LIMIT.as_secs();
                Err(self
                    .access
                    .unavailable(&format!("it did not answer for {seconds} s")))
            }
        }
    }

    /// Asks the node that is used how the cluster is; nothing where there is none.
    pub(super) async fn look_at_cluster(&self) {
        let nodes = &self.access.nodes;
        if !nodes.is_cluster() {
            return;
        }
        let mut aside = self.aside.lock().await;
        let former = aside.take();
        let looked = async {
            let mut connection = match self.fresh(former).await {
                Some(connection) => connection,
                // What it says is noted.
                None => self.access.open(Arc::clone(&self.layout)).await?,
            };
            let at = connection.at;
            nodes.look_again(&mut connection, at).await?;
            Ok::<_, StoreError>(connection)
        };
        match tokio::time::timeout(ASIDE_LIMIT, looked).await {
            Ok(Ok(connection)) => *aside = Some(connection.used()),
            // Whoever needs the database says so.
            Ok(Err(error)) => tracing::debug!("looking at the cluster: {error}"),
            Err(_) => tracing::debug!("looking at the cluster takes long"),
        }
    }

    async fn close_all(&self) {
        let mut connections = Vec::new();
        let all = self.readers.acquire_many(MAX_READERS).await;
        connections.append(&mut self.lock_idle());
        drop(all);
        connections.extend(self.writer.lock().await.take());
        connections.extend(self.aside.lock().await.take());
        for connection in connections {
            if let Err(error) = connection.close().await {
                tracing::warn!("server: closing {}: {error}", self.access.place);
            }
        }
    }

    fn queue_stands(&self, limit: Duration) -> StoreError {
        let seconds = limit.as_secs();
        let text = format!("other operations did not end for {seconds} s");
        self.access.unavailable(&text)
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Whole at any time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl sql::Engine for Engine {
    fn is_fogs(&self) -> bool {
        self.layout.is_fogs()
    }

    fn undoes_everything(&self) -> bool {
        self.layout.is_transactional()
    }

    fn node(&self) -> Option<&Node> {
        Some(&*self.access.node)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn cluster(&self) -> Option<ClusterLook> {
        self.access.nodes.look()
    }

    async fn close(self: &Arc<Self>) {
        self.is_closed.store(true, Ordering::SeqCst);
        let engine = Arc::clone(self);
        let closed = tokio::spawn(async move {
            let limit = engine.access.limits.close;
            let ended = tokio::time::timeout(limit, engine.close_all()).await;
            if ended.is_err() {
                let place = &engine.access.place;
                tracing::error!("server: {place} is still in use; it is left so");
            }
        });
        if let Err(error) = closed.await {
            tracing::error!("server: closing {}: {error}", self.access.place);
        }
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
        finish(tokio::spawn(async move { engine.transaction(work).await })).await
    }

    async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        let begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        self.reads(Some(begin), work).await
    }

    async fn look<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        self.reads(None, work).await
    }

    async fn aside<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        let engine = Arc::clone(self);
        finish(tokio::spawn(async move { engine.alone(work).await })).await
    }
}

#[cfg(test)]
impl Engine {
    /// Cuts off what the writer does.
    pub(super) fn fuse(&self) -> &super::connection::Fuse {
        &self.access.fuse
    }

    /// One more connection, as the others are.
    pub(super) async fn one_more(&self) -> Connection {
        self.access.open(Arc::clone(&self.layout)).await.unwrap()
    }

    /// As if the writer's connection with this number had been given up.
    pub(super) async fn abandon(&self, id: u64) {
        self.writer.lock().await.take();
        self.access.lock_abandoned().replace(id);
    }

    /// The tables as they are.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").field(&self.access.place).finish()
    }
}

/// At least half of a pause, by chance: several servers do not come again at the same time.
fn part_of(pause: Duration) -> Duration {
    let mut chance = [0];
    // Without chance it is all of it.
    match getrandom::fill(&mut chance) {
        Ok(()) => pause / 2 + pause * u32::from(chance[0]) / 512,
        Err(_) => pause,
    }
}

/// The connection behind a transaction of this engine.
fn connection_of(link: Link) -> Option<Connection> {
    match link {
        Link::MariaDb(connection) => Some(connection),
        Link::Sqlite(_) => None,
    }
}

/// What the last statement of a transaction that failed met.
fn trouble(tx: &Tx) -> Option<Trouble> {
    tx.mariadb().and_then(|connection| connection.trouble)
}

const COMMIT_HANGS: &str = "; whether it was stored shows when it answers again";
