//! A database that is gone, hangs, is locked, takes nothing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::Executor as _;
use tokio::sync::Notify;

use super::conformance::operations::{World, run};
use super::conformance::{NOW, session_of};
use super::*;
use crate::store::Result;
use crate::store::sql::row::args;
use crate::store::sql::settings;
use crate::store::testing::WRITES;

/// As short as can be where a test waits for the end of it.
const SHORT: Limits = Limits {
    connect: Duration::from_secs(1),
    lock: Duration::from_secs(1),
    hang: Duration::from_secs(2),
    close: Duration::from_secs(1),
};

#[track_caller]
fn unavailable<T: std::fmt::Debug>(found: Result<T>, part: &str) {
    match found {
        Err(StoreError::Unavailable(text)) => assert!(text.contains(part), "{text}"),
        found => panic!("{found:?}"),
    }
}

fn signal(process: &str, name: &str) {
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-s", name, process]).status().unwrap().success());
}

#[tokio::test]
async fn a_database_that_goes_is_named_and_used_again_when_it_is_back() {
    if !testing::is_there() {
        return;
    }
    let mut server = Server::new();
    for location in [server.empty().await, server.fogs("").await] {
        let store = open(&location, None).await.unwrap();
        let (id, ..) = session_of(&store, 1).await;
        server.process.stop();
        for operation in ["write", "read", "look"] {
            let found = match operation {
                "write" => store.set_image_root("/b".into()).await,
                "read" => store.hosts().await.map(drop),
                _ => store.active_task(crate::domain::HostId(1)).await.map(drop),
            };
            unavailable(found, "look whether it runs");
        }
        server.process.start();
        store.set_image_root("/c".into()).await.unwrap();
        assert!(store.session(id).await.unwrap().is_some());
        assert!(
            store
                .active_task(crate::domain::HostId(1))
                .await
                .unwrap()
                .is_some()
        );
        // Idle connections that a restart has ended are no error.
        server.process.stop();
        server.process.start();
        assert!(store.session(id).await.unwrap().is_some());
        assert!(
            store
                .active_task(crate::domain::HostId(1))
                .await
                .unwrap()
                .is_some()
        );
        store.set_image_root("/d".into()).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_named_and_used_again_when_it_goes_on() {
    if !testing::is_there() {
        return;
    }
    let server = Server::new();
    let location = server.fogs("").await;
    let store = open_with(&location, None, SHORT).await.unwrap();
    session_of(&store, 1).await;
    let process = server.process.number();
    signal(&process, "STOP");
    unavailable(
        store.set_image_root("/b".into()).await,
        "did not answer for 2 s",
    );
    unavailable(store.hosts().await.map(drop), "within 1 s");
    // It takes no new connections either.
    unavailable(
        store.set_image_root("/b".into()).await,
        "no connection within 1 s",
    );
    signal(&process, "CONT");
    while let Err(error) = store.set_image_root("/c".into()).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        tokio::task::yield_now().await;
    }
    assert_eq!(store.image_root().await.unwrap().as_deref(), Some("/c"));
    assert_eq!(store.hosts().await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_replaced_and_the_work_done_once() {
    let Some(server) = server() else { return };
    for store in [ours(&server).await, in_fogs(&server, "").await] {
        let attempts = Arc::new(AtomicU32::new(0));
        let killer = Arc::clone(&server);
        let count = Arc::clone(&attempts);
        let work = store.engine.write::<(), StoreError, _>(move |tx| {
            Box::pin(async move {
                let sql = "INSERT INTO fos_strangers (mac, address, firstAt, lastAt, requests, asked) \
                    VALUES (?, '10.0.0.1', '', '', 1, 1)";
                tx.run(sql, args!["00:00:00:00:00:01"]).await?;
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    let id = tx.mariadb().unwrap().id;
                    let sql = format!("KILL {id}");
                    let mut admin = killer.admin().await;
                    admin.execute(sqlx::raw_sql(&sql)).await.unwrap();
                }
                settings::set_image_root(tx, "/once".into()).await
            })
        });
        work.await.unwrap();
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
        assert_eq!(store.number("SELECT COUNT(*) FROM fos_strangers").await, 1);
        assert_eq!(store.image_root().await.unwrap().as_deref(), Some("/once"));
    }
}

#[tokio::test]
async fn a_deadlock_with_another_program_is_tried_again() {
    let Some(server) = server() else { return };
    let location = server.empty().await;
    let store = open(&location, None).await.unwrap();
    store
        .raw("INSERT INTO fos_settings VALUES ('a', ''), ('b', '')")
        .await;
    // The other one has more to lose: ours is undone.
    let mut other = server.admin().await;
    let begin = format!(
        "USE {}; SET autocommit = 0; UPDATE fos_settings SET content = 'other' WHERE name = 'a';",
        location.database()
    );
    other.execute(sqlx::raw_sql(&begin)).await.unwrap();
    for number in 0..100 {
        let sql = format!("INSERT INTO fos_settings VALUES ('x{number}', '')");
        other.execute(sqlx::raw_sql(&sql)).await.unwrap();
    }
    let (attempts, has_b) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (count, tell, watcher) = (
        Arc::clone(&attempts),
        Arc::clone(&has_b),
        Arc::clone(&server),
    );
    let ours = store.engine.write::<(), StoreError, _>(move |tx| {
        Box::pin(async move {
            let sql = "UPDATE fos_settings SET content = 'ours' WHERE name = ?";
            tx.run(sql, args!["b"]).await?;
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                tell.notify_one();
                let mut admin = watcher.admin().await;
                let waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
                while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut admin).await.unwrap() == 0 {
                    tokio::task::yield_now().await;
                }
            }
            tx.run(sql, args!["a"]).await.map(drop)
        })
    });
    let others = async {
        has_b.notified().await;
        let sql = "UPDATE fos_settings SET content = 'other' WHERE name = 'b'; COMMIT";
        other.execute(sqlx::raw_sql(sql)).await.unwrap();
    };
    let (stored, ()) = tokio::join!(ours, others);
    stored.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    let both = "SELECT GROUP_CONCAT(content) FROM fos_settings WHERE name IN ('a', 'b')";
    assert_eq!(store.text(both).await, "ours,ours");
}

#[tokio::test]
async fn locks_of_another_program_are_waited_for_and_named() {
    let Some(server) = server() else { return };
    for location in [server.empty().await, server.fogs("").await] {
        let store = open_with(&location, None, SHORT).await.unwrap();
        let world = World::new(&store, 2).await;
        let mut backup = server.admin().await;
        // As a backup does.
        let sql = format!("USE {}; LOCK TABLES tasks READ", location.database());
        backup.execute(sqlx::raw_sql(&sql)).await.unwrap();
        let error = run(&store, &world, "create_session", 1).await.unwrap_err();
        assert!(error.contains("another program has locked"), "{error}");
        store.hosts().await.unwrap();
        backup
            .execute(sqlx::raw_sql("UNLOCK TABLES"))
            .await
            .unwrap();
        run(&store, &world, "create_session", 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_takes_nothing_stores_nothing_and_harms_nothing() {
    if !testing::is_there() {
        return;
    }
    let server = Server::new();
    let mut admin = server.admin().await;
    for operation in WRITES {
        let location = match operation.len() % 2 {
            0 => server.empty().await,
            _ => server.fogs("").await,
        };
        let database = location.database();
        // Administrators may write all the same.
        let user = format!("u{database}");
        let sql =
            format!("CREATE USER {user}@localhost; GRANT ALL ON {database}.* TO {user}@localhost");
        admin.execute(sqlx::raw_sql(&sql)).await.unwrap();
        let location = server.location(&user, database);
        let store = open(&location, None).await.unwrap();
        let world = World::new(&store, 2).await;
        let read_only = |on: u8| format!("SET GLOBAL read_only = {on}");
        let sql = read_only(1);
        admin.execute(sqlx::raw_sql(&sql)).await.unwrap();
        let mut changes = store.changes();
        let error = run(&store, &world, operation, 1).await.unwrap_err();
        assert!(
            error.contains("it takes no changes"),
            "{operation}: {error}"
        );
        assert!(changes.try_recv().is_err(), "{operation} was told");
        let sql = read_only(0);
        admin.execute(sqlx::raw_sql(&sql)).await.unwrap();
        run(&store, &world, operation, 1).await.unwrap();
    }
}

#[tokio::test]
async fn tables_that_are_gone_while_it_runs_are_named() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, "").await;
    session_of(&store, 1).await;
    store.raw("RENAME TABLE inventory TO away").await;
    let fields = vec![("iMem", "1".to_owned())];
    let host = crate::domain::HostId(1);
    let found = store.store_inventory(NOW, host, fields).await;
    unavailable(found, "its tables are not those that were there");
    store.raw("ALTER TABLE hosts DROP COLUMN hostDevice").await;
    let found = store.hosts().await.map(drop);
    unavailable(found, "its tables are not those that were there");
}
