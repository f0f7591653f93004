//! What is opened, and what is refused.

use sqlx::Executor as _;

use super::*;

/// Why a database is refused.
async fn refused(location: &Location) -> String {
    let refused = open(location, None).await;
    format!("{:#}", refused.expect_err("it is opened"))
}

#[tokio::test]
async fn an_empty_database_gets_our_tables_once() {
    let Some(server) = server() else { return };
    let location = server.empty().await;
    let store = open(&location, None).await.unwrap();
    store.set_image_root("/a".into()).await.unwrap();
    assert!(store.engine.layout().is_transactional());
    let steps = "SELECT COUNT(*) FROM fos_schema";
    let made = store.number(steps).await;
    assert!(made >= 2, "{made}");
    store.close().await;
    let store = open(&location, None).await.unwrap();
    assert_eq!(store.image_root().await.unwrap().as_deref(), Some("/a"));
    assert_eq!(store.number(steps).await, made);
}

#[tokio::test]
async fn tables_that_were_made_by_half_are_completed() {
    let Some(server) = server() else { return };
    let location = server.empty().await;
    let store = open(&location, None).await.unwrap();
    store.raw("DELETE FROM fos_schema WHERE part = 'fog'").await;
    store.raw("DROP TABLE inventory").await;
    store.close().await;
    let store = open(&location, None).await.unwrap();
    assert_eq!(store.number("SELECT COUNT(*) FROM inventory").await, 0);
    assert_eq!(store.number("SELECT COUNT(*) FROM imageTypes").await, 4);
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let Some(server) = server() else { return };
    let location = server.empty().await;
    let store = open(&location, None).await.unwrap();
    store
        .raw("INSERT INTO fos_schema VALUES ('fos', 99, '2026-01-01 00:00:00')")
        .await;
    store.close().await;
    let text = refused(&location).await;
    assert!(
        text.contains("a newer fos-server has changed its tables (step 99"),
        "{text}"
    );
}

#[tokio::test]
async fn only_databases_that_are_known_are_opened() {
    let Some(server) = server() else { return };
    let name = server.database(&["CREATE TABLE wp_posts (id INT)"]).await;
    let text = refused(&server.location("root", &name)).await;
    assert!(text.contains("it holds the table wp_posts"), "{text}");
    for (sql, part) in [
        ("UPDATE schemaVersion SET vValue = 267", "is at step 267"),
        ("UPDATE schemaVersion SET vValue = 280", "is at step 280"),
        ("UPDATE schemaVersion SET vValue = 385", "is at step 385"),
        ("DELETE FROM schemaVersion", "no step of FOG's schema"),
        ("DROP TABLE hostMAC", "there is no table hostMAC"),
        (
            "ALTER TABLE tasks DROP COLUMN taskCheckIn",
            "table tasks has no column taskCheckIn",
        ),
        (
            "ALTER TABLE multicastSessions MODIFY msState VARCHAR(9) NOT NULL",
            "column msState of table multicastSessions is varchar(9), which is not a whole number",
        ),
        (
            "UPDATE globalSettings SET settingValue = 'Mars/Olympus'",
            "FOG_TZ_INFO is Mars/Olympus",
        ),
    ] {
        let location = server.fogs(sql).await;
        let text = refused(&location).await;
        assert!(text.contains(part), "{sql}: {text}");
        let mut admin = server.admin().await;
        let ours = format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{}' \
             AND table_name LIKE 'fos\\_%'",
            location.database()
        );
        let ours: i64 = sqlx::query_scalar(&ours)
            .fetch_one(&mut admin)
            .await
            .unwrap();
        assert_eq!(
            ours, 0,
            "{sql}: nothing is made where nothing is understood"
        );
    }
}

#[tokio::test]
async fn all_steps_of_fog_1_5_and_those_of_1_6_are_opened() {
    let Some(server) = server() else { return };
    for step in [268, 274, 279, 386, 401] {
        let sql = format!("UPDATE schemaVersion SET vValue = {step}");
        in_fogs(&server, &sql).await.hosts().await.unwrap();
    }
}

/// FOG 1.6 has NULL where there was nothing, numbers for '0' and '1', and a state for failed tasks.
#[test]
fn with_columns_as_fog_1_6_has_them_it_does_what_the_model_does() {
    const CHANGES: &str = "UPDATE schemaVersion SET vValue = 386;
        INSERT INTO taskStates VALUES (6, 'Failed', '', 6, '');
        ALTER TABLE hosts MODIFY hostImage INT NULL, MODIFY hostLastDeploy DATETIME NULL,
            MODIFY hostPending TINYINT(1) NULL, MODIFY hostCreateDate DATETIME NULL;
        ALTER TABLE hostMAC MODIFY hmPrimary TINYINT(1) NOT NULL DEFAULT 0, MODIFY hmPending TINYINT(1) NULL,
            MODIFY hmIgnoreImaging TINYINT(1) NULL;
        ALTER TABLE tasks MODIFY taskCheckIn DATETIME NULL, MODIFY taskScheduledStartTime DATETIME NULL,
            MODIFY taskShutdown TINYINT(1) NOT NULL DEFAULT 0, MODIFY taskIsDebug TINYINT(1) NULL;
        ALTER TABLE multicastSessions DROP COLUMN msAnon3, DROP COLUMN msAnon4,
            ADD COLUMN msShutdown TINYINT(1) NOT NULL DEFAULT 0, ADD COLUMN msMaxwait INT NULL,
            MODIFY msCompleteDateTime DATETIME NULL, ADD COLUMN msSenderPID INT NOT NULL DEFAULT 0,
            ADD COLUMN msSenderNode INT NULL, ADD COLUMN msSenderStart DATETIME NULL;
        ALTER TABLE images MODIFY imageLastDeploy DATETIME NULL;
        ALTER TABLE taskLog ADD COLUMN logType VARCHAR(16) NOT NULL, ADD COLUMN logText TEXT NULL,
            ADD COLUMN logHostID INT NULL, ADD COLUMN logHostName VARCHAR(16) NULL,
            ADD COLUMN logTaskTypeName VARCHAR(30) NULL, ADD COLUMN logImageName VARCHAR(40) NULL";
    let Some(server) = server() else { return };
    conformance::random(6, || async {
        let store = in_fogs(&server, CHANGES).await;
        assert!(store.engine.layout().knows_failed());
        Arc::new(store) as SharedStore
    });
}

#[tokio::test]
async fn who_is_not_let_in_reads_why() {
    let Some(server) = server() else { return };
    let location = server.fogs("").await;
    let database = location.database().to_owned();
    let user = format!("u{database}");
    let mut admin = server.admin().await;
    let sql = format!(
        "CREATE USER {user}@localhost IDENTIFIED BY 'right'; \
         GRANT SELECT, INSERT, UPDATE ON {database}.* TO {user}@localhost"
    );
    admin.execute(sqlx::raw_sql(&sql)).await.unwrap();
    let theirs = server.location(&user, &database);
    for password in [None, Some("wrong")] {
        let text = open(&theirs, password).await.unwrap_err();
        let text = format!("{text:#}");
        assert!(text.contains("Access denied"), "{text}");
        assert!(text.contains("FOS_DATABASE_PASSWORD"), "{text}");
        assert!(!text.contains("wrong"), "{text}");
    }
    // A storage node's user may not make tables.
    let text = open(&theirs, Some("right")).await.unwrap_err();
    let text = format!("{text:#}");
    assert!(text.contains("CREATE command denied"), "{text}");
    assert!(text.contains("needs SELECT, INSERT"), "{text}");
    // Once they are there it needs them no more.
    let store = open(&location, None).await.unwrap();
    store.close().await;
    let sql = format!("GRANT DELETE ON {database}.* TO {user}@localhost");
    admin.execute(sqlx::raw_sql(&sql)).await.unwrap();
    let store = open(&theirs, Some("right")).await.unwrap();
    conformance::session_of(&store, 2).await;

    let text = refused(&server.location("root", "nosuch")).await;
    assert!(text.contains("Unknown database 'nosuch'"), "{text}");
    let nowhere = "mysql://u@127.0.0.1:1/fog".parse().unwrap();
    let text = refused(&nowhere).await;
    assert!(
        text.contains("MariaDB at 127.0.0.1:1, database fog: "),
        "{text}"
    );
    assert!(text.contains("look whether it runs"), "{text}");
}
