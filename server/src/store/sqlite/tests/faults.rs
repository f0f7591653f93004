//! Callers that go away, locks, full disks, the end.

use std::future::{Future as _, pending, poll_fn};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::Notify;

use super::conformance::{NOW, checked_in, session_of};
use super::*;
use crate::store::StoreError;
use crate::store::conformance::operations::{GROWING, World, run};
use crate::store::testing::WRITES;

/// Longer than any test runs.
const FOR_EVER: Duration = Duration::from_secs(86400);

async fn other_program(data: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(data.join("fos.sqlite"));
    options.connect().await.unwrap()
}

async fn lock(data: &Path) -> SqliteConnection {
    let mut other = other_program(data).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    other
}

#[track_caller]
fn unavailable<T: std::fmt::Debug>(found: Result<T>, part: &str) {
    match found {
        Err(StoreError::Unavailable(text)) => assert!(text.contains(part), "{text}"),
        found => panic!("{found:?}"),
    }
}

/// What is written into a file without a name is gone when the server ends.
#[tokio::test]
async fn nothing_is_stored_in_a_database_that_was_removed_or_replaced() {
    for replaced in ["removed", "replaced", "without its log", "with another log"] {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path()).await.unwrap();
        let world = World::new(&store, 2).await;
        let database = dir.path().join("fos.sqlite");
        let lost = match replaced {
            "without its log" | "with another log" => dir.path().join("fos.sqlite-wal"),
            _ => database.clone(),
        };
        let kept = dir.path().join("kept");
        std::fs::rename(&lost, &kept).unwrap();
        if matches!(replaced, "replaced" | "with another log") {
            std::fs::copy(&kept, &lost).unwrap();
        }
        for operation in WRITES {
            let done = run(&store, &world, operation, 1).await;
            let text = done.unwrap_err();
            assert!(text.contains("removed or replaced"), "{operation}: {text}");
        }
        std::fs::rename(&kept, &lost).unwrap();
        run(&store, &world, "add_host", 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    for operation in WRITES {
        let before_and_after = {
            let store = Sqlite::in_memory().await.unwrap();
            let world = World::new(&store, 2).await;
            let before = store.dump().await;
            run(&store, &world, operation, 1).await.unwrap();
            (before, store.dump().await)
        };
        let (before, after) = before_and_after;
        assert_ne!(before, after, "{operation}");
        for polls in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let store = Sqlite::open(dir.path()).await.unwrap();
            let world = World::new(&store, 2).await;
            {
                let mut caller = pin!(run(&store, &world, operation, 1));
                for _ in 0..polls {
                    let done = poll_fn(|context| Poll::Ready(caller.as_mut().poll(context))).await;
                    if done.is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            // Behind it in the queue, and not in its way.
            let queued = store
                .engine
                .write(|_| Box::pin(async { Ok::<_, StoreError>(()) }));
            queued.await.unwrap();
            let found = migrated(store.dump().await);
            let expected = if polls == 0 { &before } else { &after };
            assert!(
                found == migrated(expected.clone()),
                "{operation} after {polls} polls"
            );
        }
    }
}

/// The time of the migrations differs.
fn migrated(mut dump: Vec<String>) -> Vec<String> {
    dump.retain(|line| !line.starts_with("_sqlx_migrations"));
    dump
}

#[tokio::test]
async fn an_operation_that_hangs_or_panics_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let (begun, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let tell = Arc::clone(&begun);
    let hanging = store.engine.write::<(), StoreError, _>(move |tx| {
        Box::pin(async move {
            settings::set_image_root(tx, "/hangs".into()).await?;
            tell.notify_one();
            pending().await
        })
    });
    let wait = async {
        begun.notified().await;
        // Nothing else is to be done: the time of the limit comes at once.
        tokio::time::pause();
        told.notified().await;
    };
    let hangs = async {
        let found = hanging.await;
        tokio::time::resume();
        told.notify_one();
        found
    };
    let (found, ()) = tokio::join!(hangs, wait);
    unavailable(found, "did not answer for 30 s");
    let panicking = store.engine.write::<(), StoreError, _>(|tx| {
        Box::pin(async move {
            settings::set_image_root(tx, "/panics".into()).await?;
            panic!("as told")
        })
    });
    assert!(matches!(panicking.await, Err(StoreError::Internal(_))));
    assert_eq!(store.image_root().await.unwrap(), None);
    store.set_image_root("/works".into()).await.unwrap();

    let reading = store
        .engine
        .read::<(), _>(|_| Box::pin(async { panic!("as told") }));
    assert!(matches!(reading.await, Err(StoreError::Internal(_))));
    for _ in 0..10 {
        let root = store.image_root().await.unwrap();
        assert_eq!(root.as_deref(), Some("/works"));
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_rolled_back_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    store.raw("CREATE TEMP TABLE marker (x)").await;
    store.raw("SELECT * FROM temp.marker").await;
    let odd = store.engine.write::<(), StoreError, _>(|tx| {
        Box::pin(async move {
            tx.run("ROLLBACK", Vec::new()).await?;
            Err(StoreError::Internal("as told".into()))
        })
    });
    odd.await.unwrap_err();
    let marker = store.engine.write::<_, StoreError, _>(|tx| {
        Box::pin(async move { tx.rows("SELECT * FROM temp.marker", Vec::new()).await })
    });
    assert!(marker.await.is_err(), "it is the same connection");
    store.set_image_root("/works".into()).await.unwrap();
}

#[tokio::test]
async fn in_memory_a_panic_does_not_lose_what_was_stored() {
    let store = Sqlite::in_memory().await.unwrap();
    store.set_image_root("/works".into()).await.unwrap();
    let panicking = store
        .engine
        .write::<(), StoreError, _>(|_| Box::pin(async { panic!("as told") }));
    panicking.await.unwrap_err();
    assert_eq!(store.image_root().await.unwrap().as_deref(), Some("/works"));
}

#[tokio::test]
async fn a_lock_of_another_program_is_waited_for_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        lock: Duration::from_millis(1),
        ..Limits::DEFAULT
    };
    let store = Sqlite::open_with(dir.path(), limits).await.unwrap();
    let other = lock(dir.path()).await;
    let found = store.set_image_root("/a".into()).await;
    unavailable(found, "perhaps by another program");
    assert_eq!(store.image_root().await.unwrap(), None, "readers go on");
    drop(other);
    let patient = Sqlite::open(dir.path()).await.unwrap();
    let other = lock(dir.path()).await;
    let waiting = patient.set_image_root("/b".into());
    let released = async {
        while patient.engine.writer().try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        drop(other);
    };
    let (stored, ()) = tokio::join!(waiting, released);
    stored.unwrap();
    assert_eq!(store.image_root().await.unwrap().as_deref(), Some("/b"));
}

#[tokio::test]
async fn the_end_waits_neither_for_a_lock_nor_for_what_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        lock: FOR_EVER,
        hang: FOR_EVER,
        close: Duration::from_millis(50),
    };
    let store = Sqlite::open_with(dir.path(), limits).await.unwrap();
    let other = lock(dir.path()).await;
    let waiting = store.set_image_root("/a".into());
    let closed = async {
        while store.engine.writer().try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        store.close().await;
    };
    let (found, ()) = tokio::join!(waiting, closed);
    unavailable(found, "closed");
    unavailable(store.image_root().await, "closed");
    unavailable(store.set_image_root("/a".into()).await, "closed");
    drop(other);

    let store = Sqlite::open_with(dir.path(), limits).await.unwrap();
    let task = store.clone();
    let hanging = tokio::spawn(async move {
        let work = task
            .engine
            .write::<(), StoreError, _>(|_| Box::pin(pending()));
        work.await
    });
    while store.engine.writer().try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    store.close().await;
    assert!(!hanging.is_finished());
}

#[tokio::test]
async fn what_is_being_stored_at_the_end_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let storing = store.engine.write::<(), StoreError, _>(move |tx| {
        Box::pin(async move {
            told.notify_one();
            wait.notified().await;
            settings::set_image_root(tx, "/a".into()).await
        })
    });
    let closing = async {
        begun.notified().await;
        let closing = pin!(store.close());
        let released = async {
            tokio::task::yield_now().await;
            go.notify_one();
        };
        tokio::join!(closing, released);
    };
    let (stored, ()) = tokio::join!(storing, closing);
    stored.unwrap();
    let wal = dir.path().join("fos.sqlite-wal");
    assert!(!wal.exists(), "it is folded into the file");
    let store = Sqlite::open(dir.path()).await.unwrap();
    assert_eq!(store.image_root().await.unwrap().as_deref(), Some("/a"));
}

#[tokio::test]
async fn a_full_disk_stores_nothing_and_harms_nothing() {
    for operation in GROWING {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path()).await.unwrap();
        let world = World::new(&store, 30).await;
        let pages = store.number("PRAGMA page_count").await;
        store.raw(&format!("PRAGMA max_page_count = {pages}")).await;
        let mut changes = store.changes();
        let mut number = 0;
        let error = loop {
            let before = store.dump().await;
            while changes.try_recv().is_ok() {}
            match run(&store, &world, operation, number).await {
                Ok(()) => number += 1,
                Err(error) => {
                    assert!(store.dump().await == before, "{operation} is half done");
                    break error;
                }
            }
        };
        let file = dir.path().join("fos.sqlite");
        let expected = format!(
            "the database cannot be used: {}: database or disk is full",
            file.display()
        );
        assert_eq!(error, expected, "{operation}");
        assert!(changes.try_recv().is_err(), "{operation} was told");
        store.raw("PRAGMA max_page_count = 1000000").await;
        run(&store, &world, operation, number).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_takes_nothing_stores_nothing_and_harms_nothing() {
    for operation in WRITES {
        let store = Sqlite::in_memory().await.unwrap();
        let world = World::new(&store, 2).await;
        let before = store.dump().await;
        store.raw("PRAGMA query_only = 1").await;
        let mut changes = store.changes();
        let error = run(&store, &world, operation, 1).await.unwrap_err();
        assert_eq!(
            error,
            "the database cannot be used: the database in memory: attempt to write a readonly database",
            "{operation}"
        );
        assert!(changes.try_recv().is_err());
        store.raw("PRAGMA query_only = 0").await;
        assert!(store.dump().await == before, "{operation}");
        run(&store, &world, operation, 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_is_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let (session, _, hosts) = session_of(&store, 100).await;
    let mut other = other_program(dir.path()).await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut other)
        .await
        .unwrap();
    assert_eq!(commits(dir.path()), 0);
    let facts = (1..)
        .zip(&hosts)
        .map(|(number, host)| checked_in(*host, u8::try_from(number).unwrap(), number));
    assert_eq!(
        store.apply(NOW, session, facts.collect()).await.unwrap(),
        []
    );
    assert_eq!(commits(dir.path()), 1);
    assert_eq!(
        store
            .number("SELECT msClients FROM multicastSessions")
            .await,
        100
    );
}

/// Transactions in the write-ahead log: frames that name the size of the database after them.
fn commits(data: &Path) -> usize {
    let log = std::fs::read(data.join("fos.sqlite-wal")).unwrap();
    let Some(header) = log.get(..32) else {
        return 0;
    };
    let page_size = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
    let frames = log[32..].chunks_exact(24 + page_size);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn what_is_acknowledged_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    let store = Sqlite::open(&data).await.unwrap();
    let work = store.engine.write::<_, StoreError, _>(|tx| {
        Box::pin(async move {
            let mode = tx.row("PRAGMA journal_mode", Vec::new()).await?.unwrap();
            let level = tx.number("PRAGMA synchronous", Vec::new()).await?;
            Ok((mode.columns[0].1.clone(), level))
        })
    });
    // 2 is FULL.
    assert_eq!(work.await.unwrap(), (Value::Text("wal".into()), Some(2)));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("fos.sqlite")), 0o600);
    assert_eq!(mode(&data.join("fos.sqlite-wal")), 0o600);
}

#[tokio::test]
async fn readers_are_few_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        readers.spawn(async move { store.image_root().await.unwrap() });
    }
    readers.join_all().await;
    assert!((1..=4).contains(&store.engine.idle_readers()));
}

#[tokio::test]
async fn a_change_is_told_when_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let mut changes = store.changes();
    let (session, _, hosts) = session_of(&store, 1).await;
    assert_eq!(changes.try_recv(), Ok(Change::Images));
    assert_eq!(changes.try_recv(), Ok(Change::Hosts));
    assert_eq!(changes.try_recv(), Ok(Change::Session(session)));
    let watching = store.clone();
    let watcher = tokio::spawn(async move {
        while changes.recv().await == Ok(Change::Session(session)) {
            let state = watching.session(session).await.unwrap().unwrap().members[0].state;
            assert_eq!(state, fog::task::State::InProgress);
        }
    });
    store
        .apply(NOW, session, vec![checked_in(hosts[0], 1, 1)])
        .await
        .unwrap();
    // Stored before, or in conflict: nothing to be told.
    let facts = vec![checked_in(hosts[0], 1, 1), checked_in(HostId(77), 1, 1)];
    store.apply(NOW, session, facts).await.unwrap();
    store.add_host(NOW, conformance::new_host(9)).await.unwrap();
    watcher.await.unwrap();
}

/// A file system of 1 MiB in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where nothing may be mounted.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        let output = mount.arg(dir.path()).output().ok()?;
        output.status.success().then(|| Self(dir))
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.path().join("ballast")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        assert!(
            umount
                .arg("-l")
                .arg(self.0.path())
                .status()
                .unwrap()
                .success()
        );
    }
}

#[tokio::test]
async fn a_disk_that_is_really_full_stores_nothing_and_harms_nothing() {
    for operation in WRITES {
        let Some(disk) = SmallDisk::mount() else {
            println!("skipped: a tmpfs cannot be mounted here");
            return;
        };
        let data = disk.0.path();
        let store = Sqlite::open(data).await.unwrap();
        let world = World::new(&store, 2).await;
        let before = store.dump().await;
        let mut other = other_program(data).await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut other)
            .await
            .unwrap();
        disk.fill();
        for _ in 0..2 {
            let error = run(&store, &world, operation, 1).await.unwrap_err();
            let expected = format!(
                "the database cannot be used: {}: database or disk is full",
                data.join("fos.sqlite").display()
            );
            assert_eq!(error, expected, "{operation}");
            assert!(store.dump().await == before, "{operation} is half done");
        }
        disk.empty();
        run(&store, &world, operation, 1).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn reads_whose_callers_have_gone_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let release = tokio::sync::watch::Sender::new(false);
    let mut callers = Vec::new();
    for number in 0..engine::MAX_READS {
        let mut released = release.subscribe();
        let mut caller = Box::pin(store.engine.read::<(), _>(move |_| {
            Box::pin(async move {
                released.wait_for(|released| *released).await.ok();
                Ok(())
            })
        }));
        let polled = poll_fn(|context| Poll::Ready(caller.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        // The others go away; what they asked for goes on.
        if number % 2 == 0 {
            callers.push(caller);
        }
    }
    unavailable(store.image_root().await, "too many operations");
    release.send_replace(true);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(store.image_root().await.unwrap(), None);
}

/// A disk that hangs keeps the threads of all connections that were given up.
#[tokio::test]
async fn there_is_an_end_to_connections_that_do_not_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let places = store.engine.places();
    let mut hanging: Vec<_> = std::iter::from_fn(|| places.take()).collect();
    assert!(!hanging.is_empty());
    let found = store.hosts().await;
    let text = found.unwrap_err().to_string();
    assert!(text.contains("its disk hangs"), "{text}");
    hanging.pop();
    store.hosts().await.unwrap();
}
