//! Databases of other versions.

use std::borrow::Cow;
use std::path::Path;

use fog::task::State;
use sqlx::ConnectOptions as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;

use super::conformance::at;
use super::*;
use crate::domain::handouts::Handout;
use crate::store::sqlite::migrations::migrations;

/// A database as it was after this many steps.
async fn old(data: &Path, steps: usize, sql: &str) {
    let options = SqliteConnectOptions::new()
        .filename(data.join("fos.sqlite"))
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let migrator = Migrator {
        migrations: Cow::Owned(migrations()[..steps].to_vec()),
        ..Migrator::DEFAULT
    };
    migrator.run(&mut connection).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

/// What the last version stored of a session that ended and one that runs.
const SESSIONS: &str = r#"
INSERT INTO images (imageID, imageName, imagePath, imageDateTime, imageTypeID, imageOSID, imageFormat)
    VALUES (7, 'win', 'dir', '2026-01-01 00:00:00', 1, 9, '5');
INSERT INTO fos_images VALUES (7, '2026-01-01 00:00:00', 1);
INSERT INTO fos_imageFiles VALUES (7, 'd1p1.img', 0, 0, 1000, 5, '');
INSERT INTO fos_imageStreams VALUES (7, 0, 'd1p1.img', 1000,
    'abababababababababababababababababababababababababababababababab', '{"format":"partclone 0002",
    "compression":"zstd","filesystem":"NTFS","device_size":4096,"block_size":4096,"total_blocks":1,
    "used_blocks":1}');
INSERT INTO hosts (hostID, hostName, hostImage, hostCreateDate, hostLastDeploy) VALUES
    (1, 'pc1', 7, '2026-01-01 00:00:00', '2026-01-01 01:00:00'),
    (2, 'pc2', 0, '2026-01-01 00:00:00', '0000-00-00 00:00:00');
INSERT INTO hostMAC (hmHostID, hmMAC, hmPrimary) VALUES
    (1, '00:1b:21:00:00:01', '1'), (2, '00:1b:21:00:00:02', '1');
INSERT INTO multicastSessions (msID, msName, msBasePort, msLogPath, msImage, msStartDateTime, msState,
    msCompleteDateTime, msIsDD, msNFSGroupID) VALUES
    (1, '', 63100, 'dir', '7', '2026-01-01 00:00:00', 6, '2026-01-01 01:00:00', 1, 1),
    (2, 'lab', 63100, 'dir', '7', '2026-01-02 00:00:00', 3, '0000-00-00 00:00:00', 1, 1);
INSERT INTO tasks (taskID, taskName, taskCreateTime, taskHostID, taskImageID, taskStateID, taskTypeID)
    VALUES (1, 'lab', '2026-01-01 00:00:00', 1, 7, 4, 8), (2, 'lab', '2026-01-01 00:00:00', 2, 7, 6, 8),
    (3, 'lab', '2026-01-02 00:00:00', 1, 7, 3, 8), (4, 'lab', '2026-01-02 00:00:00', 2, 7, 1, 8);
INSERT INTO multicastSessionsAssoc (msID, tID) VALUES (2, 3), (2, 4);
INSERT INTO fos_sessions VALUES
    (1, 'lab', '2026-01-01 00:10:00', 1, '1 of 2 "hosts" complete'), (2, 'lab', NULL, 0, '');
INSERT INTO fos_sessionHosts VALUES
    (1, 1, 1, 'pc1', '10.0.0.1', 'fos-agent/0.1.0', '2026-01-01 00:05:00', 1, 'complete', 'written'),
    (1, 2, 2, 'pc2', '', '', NULL, 0, 'failed', 'did not check in'),
    (2, 1, 3, 'pc1', '10.0.0.1', '', '2026-01-02 00:05:00', 0, 'waiting', ''),
    (2, 2, 4, 'pc2', '', '', NULL, 0, 'waiting', '');
INSERT INTO fos_events (at, msID, hostID, kind, text) VALUES
    ('2026-01-01 00:05:00', 1, 1, 'check-in', 'pc1 checked in'),
    ('2026-01-01 01:00:00', 1, 0, 'ended', '');
"#;

#[tokio::test]
async fn what_older_versions_stored_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    old(dir.path(), 3, SESSIONS).await;
    let store = Sqlite::open(dir.path()).await.unwrap();
    let words = |text: &str| Reason::Words { text: text.into() };

    let ended = store.session(SessionId(1)).await.unwrap().unwrap();
    assert_eq!((ended.name.as_str(), ended.state), ("lab", State::Failed));
    assert_eq!(ended.reason, Some(words("1 of 2 \"hosts\" complete")));
    assert_eq!((ended.runs, ended.has_records), (1, Some(true)));
    assert!(ended.started_at.is_some() && ended.ended_at.is_some());
    let [first, second] = &ended.members[..] else {
        panic!("{:?}", ended.members);
    };
    assert_eq!(
        (first.state, &first.reason),
        (State::Complete, &Some(words("written")))
    );
    assert_eq!(first.address, Some([10, 0, 0, 1].into()));
    assert_eq!(second.state, State::Failed);
    assert_eq!(second.reason, Some(words("did not check in")));

    let running = store.session(SessionId(2)).await.unwrap().unwrap();
    assert_eq!((running.runs, running.has_records), (0, None));
    assert_eq!(running.reason, None);
    assert_eq!(running.members[0].state, State::InProgress);
    assert_eq!(running.members[1].state, State::Queued);
    assert_eq!(
        store
            .number("SELECT SUM(state) FROM fos_sessionHosts")
            .await,
        4 + 6 + 3 + 1
    );

    let events = store.events(SessionId(1), 0, 10).await.unwrap();
    let text = |text: &str| Note::Words { text: text.into() };
    assert_eq!(events[0].note, text("check-in: pc1 checked in"));
    assert_eq!(events[0].host_name, "pc1");
    assert_eq!(events[1].note, text("ended: "));
    assert_eq!((events[1].host, events[1].host_name.as_str()), (None, ""));

    let (hosts, broken) = store.hosts().await.unwrap();
    assert_eq!((hosts.len(), broken), (2, vec![]));
    assert_eq!(store.images().await.unwrap().len(), 1);
    let facts = store.facts(ImageId(7)).await.unwrap().unwrap();
    assert_eq!(facts.streams[0].image.filesystem, "NTFS");
    assert!(store.handouts().await.unwrap().is_empty());
    assert!(store.strangers().await.unwrap().is_empty());
    store.settings().await.unwrap();

    // It goes on.
    let fact = conformance::checked_in(HostId(2), 2, 2);
    assert_eq!(
        store.apply(at(0), SessionId(2), vec![fact]).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn a_word_that_is_no_state_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let sql = SESSIONS.replace("'failed', 'did not check in'", "'odd', ''");
    old(
        dir.path(),
        3,
        &format!("{sql}; DELETE FROM tasks WHERE taskID = 2"),
    )
    .await;
    let store = Sqlite::open(dir.path()).await.unwrap();
    let error = store.session(SessionId(1)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "table fos_sessionHosts, row msID 1, hostID 2: column state holds \"odd\", expected a state \
         from 0 to 6"
    );
}

/// A machine that runs while the server is upgraded is not forgotten.
#[tokio::test]
async fn what_older_versions_told_machines_is_known_by_their_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let sql = "
        INSERT INTO hosts (hostID, hostName, hostImage, hostCreateDate, hostLastDeploy) VALUES
            (1, 'pc1', 0, '2026-01-01 00:00:00', '0000-00-00 00:00:00');
        INSERT INTO hostMAC (hmHostID, hmMAC, hmPrimary) VALUES
            (1, '00:1B:21:00:00:01', '1'), (1, '00:1b:21:00:00:02', '0');
        INSERT INTO fos_handouts (id, hostID, address, msID, imageID, port, ticket, at, arguments) VALUES
            (5, 1, '10.0.0.3', 1, 7, 63100, '', '2026-01-02 00:00:00', 9),
            (4, 1, '10.0.0.2', 1, 7, 63100, 'abababababababababababababababab',
                '2026-01-01 00:00:00', 9);";
    old(dir.path(), 5, sql).await;
    let store = Sqlite::open(dir.path()).await.unwrap();
    let rows = store.handouts().await.unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| match row {
            StoredRow::Told(row) => {
                let Handout {
                    address,
                    ticket,
                    since,
                    ..
                } = row.handout;
                (
                    row.id,
                    row.mac.0[5],
                    address.unwrap(),
                    ticket.is_some(),
                    since,
                )
            }
            StoredRow::Unreadable { broken, .. } => panic!("{broken}"),
        })
        .collect();
    let ip = |last| IpAddr::from([10, 0, 0, last]);
    assert_eq!(
        found,
        [
            (1, 1, ip(2), true, 1),
            (2, 2, ip(2), true, 2),
            (3, 1, ip(3), false, 3),
            (4, 2, ip(3), false, 4)
        ]
    );
}

#[tokio::test]
async fn every_older_database_is_brought_up_to_date() {
    for steps in 1..migrations().len() {
        let dir = tempfile::tempdir().unwrap();
        old(dir.path(), steps, "").await;
        let store = Sqlite::open(dir.path()).await.unwrap();
        store.set_image_root("/a".into()).await.unwrap();
        store.close().await;
        Sqlite::open(dir.path()).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (99, 'later', 1, x'00', 1)";
    old(dir.path(), 4, newer).await;
    let error = format!("{:#}", Sqlite::open(dir.path()).await.unwrap_err());
    assert!(
        error.contains("fos.sqlite: a newer fos-server has changed them (step 99"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("fos.sqlite"), vec![b'x'; 4096]).unwrap();
    let error = format!("{:#}", Sqlite::open(dir.path()).await.unwrap_err());
    assert!(error.contains("fos.sqlite"), "{error}");
}
