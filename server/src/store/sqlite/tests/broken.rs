//! Values that make no sense, and rows of FOG's own.

use fog::task::State;

use super::conformance::{NOW, at, checked_in, member_ended};
use super::operations::{World, run};
use super::*;
use crate::store::StoreError;

#[track_caller]
fn broken<T: std::fmt::Debug>(found: Result<T>, table: &str, column: &str) -> BrokenRow {
    let Err(StoreError::Broken(broken)) = found else {
        panic!("{table}.{column}: {found:?}");
    };
    assert_eq!(
        (broken.table.as_str(), broken.column.as_str()),
        (table, column)
    );
    *broken
}

#[tokio::test]
async fn a_broken_session_harms_itself_alone() {
    for (table, key, column, value) in [
        ("multicastSessions", "msID", "msState", "9"),
        ("multicastSessions", "msID", "msState", "'x'"),
        ("multicastSessions", "msID", "msBasePort", "'x'"),
        ("multicastSessions", "msID", "msImage", "'x'"),
        ("multicastSessions", "msID", "msImage", "''"),
        ("multicastSessions", "msID", "msMaxwait", "-1"),
        ("multicastSessions", "msID", "msMaxwait", "5000000000"),
        ("multicastSessions", "msID", "msShutdown", "'x'"),
        (
            "multicastSessions",
            "msID",
            "msStartDateTime",
            "'yesterday'",
        ),
        (
            "multicastSessions",
            "msID",
            "msCompleteDateTime",
            "'2026-02-30 00:00:00'",
        ),
        ("multicastSessions", "msID", "msLogPath", "x'ff'"),
        ("fos_sessions", "msID", "startedAt", "'x'"),
        ("fos_sessions", "msID", "runs", "-1"),
        ("fos_sessions", "msID", "runs", "4294967296"),
        ("fos_sessions", "msID", "records", "2"),
        ("fos_sessions", "msID", "reasonCode", "x'ff'"),
        ("fos_sessionHosts", "msID", "ip", "'10.0.0'"),
        ("fos_sessionHosts", "msID", "ticket", "'abc'"),
        ("fos_sessionHosts", "msID", "checkedInAt", "'x'"),
        ("fos_sessionHosts", "msID", "streamsDone", "-1"),
        ("fos_sessionHosts", "msID", "streamsDone", "1.5"),
        ("tasks", "taskID", "taskStateID", "7"),
        ("tasks", "taskID", "taskStateID", "'x'"),
    ] {
        let store = Sqlite::in_memory().await.unwrap();
        let world = World::new(&store, 2).await;
        let new = conformance::new_session(world.image, &world.free_hosts, 63102);
        let other = store.create_session(NOW, new).await.unwrap();
        let id = if key == "taskID" {
            world.tasks[0].0
        } else {
            world.session.0
        };
        store
            .raw(&format!(
                "UPDATE {table} SET {column} = {value} WHERE {key} = {id}"
            ))
            .await;

        let found = broken(store.session(world.session).await, table, column);
        assert!(found.row.contains(&format!("{key} {id}")), "{found}");
        assert!(store.session(other).await.unwrap().is_some());
        let active = store.active_sessions().await.unwrap();
        assert_eq!(
            active.contains(&world.session),
            column != "msState",
            "{column}"
        );
        assert!(active.contains(&other));
        assert_eq!(
            store.newest_sessions(9).await.unwrap(),
            [other, world.session]
        );
        store.held_ports().await.unwrap();
        store.activity().await.unwrap();

        let reason = Reason::BrokenRow(found);
        store
            .fail_broken(at(1), world.session, reason.clone())
            .await
            .unwrap();
        assert_eq!(store.active_sessions().await.unwrap(), [other]);
        for host in &world.hosts {
            assert_eq!(store.active_task(*host).await.unwrap(), None);
        }
        let states = "SELECT MIN(taskStateID) + MAX(taskStateID) FROM tasks WHERE taskID <= 2";
        assert_eq!(store.number(states).await, 12);
        let events = store.events(world.session, 0, 99).await.unwrap();
        let state = State::Failed;
        assert_eq!(
            events.last().unwrap().note,
            Note::Ended {
                state,
                reason: reason.clone()
            }
        );
        if ["msState", "taskStateID", "reasonCode"].contains(&column) {
            let failed = store.session(world.session).await.unwrap().unwrap();
            assert_eq!(
                (failed.state, failed.reason),
                (State::Failed, Some(reason.clone()))
            );
            let of_member = Some(Reason::SessionFailed(Box::new(reason)));
            assert!(
                failed
                    .members
                    .iter()
                    .all(|member| member.reason == of_member)
            );
        } else {
            broken(store.session(world.session).await, table, column);
        }
    }
}

#[tokio::test]
async fn a_broken_host_is_left_out_and_told() {
    for (sql, table, column) in [
        (
            "UPDATE hosts SET hostLastDeploy = 'x' WHERE hostID = 1",
            "hosts",
            "hostLastDeploy",
        ),
        (
            "UPDATE hosts SET hostImage = 'x' WHERE hostID = 1",
            "hosts",
            "hostImage",
        ),
        (
            "UPDATE hosts SET hostKernelArgs = x'ff' WHERE hostID = 1",
            "hosts",
            "hostKernelArgs",
        ),
        (
            "UPDATE hostMAC SET hmMAC = 'x' WHERE hmHostID = 1",
            "hostMAC",
            "hmMAC",
        ),
    ] {
        let store = Sqlite::in_memory().await.unwrap();
        let world = World::new(&store, 1).await;
        store.raw(sql).await;
        let (hosts, told) = store.hosts().await.unwrap();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0].id, world.free_hosts[0]);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].table.as_str(), told[0].column.as_str()),
            (table, column)
        );
        let name = "pc001".parse().unwrap();
        broken(store.host_by_name(&name).await, table, column);
    }
}

#[tokio::test]
async fn what_does_not_count_cannot_break_a_host() {
    let store = Sqlite::in_memory().await.unwrap();
    let host = store.add_host(NOW, conformance::new_host(1)).await.unwrap();
    for values in ["'x', '1', '0'", "'y', '0', '1'"] {
        store
            .raw(&format!(
                "INSERT INTO hostMAC (hmHostID, hmMAC, hmPending, hmIgnoreImaging) VALUES ({host}, {values})"
            ))
            .await;
    }
    store
        .raw("INSERT INTO hosts (hostName, hostCreateDate, hostPending, hostImage) VALUES ('p', '', '1', 'x')")
        .await;
    // Old versions of FOG.
    store
        .raw("UPDATE hosts SET hostPending = '' WHERE hostID = 1")
        .await;
    store
        .raw("UPDATE hostMAC SET hmPending = '' WHERE hmID = 1")
        .await;
    let (hosts, told) = store.hosts().await.unwrap();
    assert_eq!((hosts.len(), told.len()), (1, 0));
    assert_eq!(hosts[0].macs, [conformance::mac(1)]);
    let pending = "p".parse().unwrap();
    assert_eq!(store.host_by_name(&pending).await.unwrap(), None);
}

#[tokio::test]
async fn broken_images_are_named() {
    for (sql, table, column) in [
        ("UPDATE images SET imageTypeID = 9", "images", "imageTypeID"),
        (
            "UPDATE images SET imageFormat = 'x'",
            "images",
            "imageFormat",
        ),
        (
            "UPDATE images SET imageServerSize = -1",
            "images",
            "imageServerSize",
        ),
        (
            "UPDATE fos_images SET checkedAt = 'x'",
            "fos_images",
            "checkedAt",
        ),
        (
            "UPDATE fos_images SET verified = 7",
            "fos_images",
            "verified",
        ),
        (
            "UPDATE fos_imageFiles SET size = -1",
            "fos_imageFiles",
            "size",
        ),
        (
            "UPDATE fos_imageFiles SET streamIndex = -1",
            "fos_imageFiles",
            "streamIndex",
        ),
        (
            "UPDATE fos_imageStreams SET facts = '{'",
            "fos_imageStreams",
            "facts",
        ),
        (
            "UPDATE fos_imageStreams SET streamIndex = streamIndex + 1",
            "fos_imageStreams",
            "streamIndex",
        ),
    ] {
        let store = Sqlite::in_memory().await.unwrap();
        let world = World::new(&store, 1).await;
        store
            .raw(&format!("{sql} WHERE imageID = {}", world.free_image))
            .await;
        if table == "images" {
            broken(store.image(world.free_image).await, table, column);
            broken(store.find_image("free").await, table, column);
            let images = store.images().await.unwrap();
            assert_eq!(images.len(), 1);
            assert_eq!(images[0].id, world.image);
        } else {
            broken(store.facts(world.free_image).await, table, column);
        }
        assert!(store.facts(world.image).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn broken_rows_of_lists_are_left_out() {
    let store = Sqlite::in_memory().await.unwrap();
    let world = World::new(&store, 1).await;
    for last in [1, 2] {
        let address = IpAddr::from([10, 0, 0, last]);
        store
            .remember_stranger(NOW, conformance::mac(500 + u16::from(last)), address)
            .await
            .unwrap();
        run(&store, &world, "hand_out", last).await.unwrap();
        store
            .add_event(NOW, Some(world.session), None, Note::ShareUnusable)
            .await
            .unwrap();
    }
    store
        .raw("UPDATE fos_strangers SET address = 'x' WHERE asked = 1")
        .await;
    store
        .raw("UPDATE fos_handouts SET ticket = 'x' WHERE id = 1")
        .await;
    store
        .raw("UPDATE fos_events SET at = 'x' WHERE id = 1")
        .await;
    assert_eq!(store.strangers().await.unwrap().len(), 1);
    assert_eq!(store.handouts().await.unwrap().len(), 1);
    assert_eq!(store.events(world.session, 0, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn settings_are_numbers_or_nothing() {
    let store = Sqlite::in_memory().await.unwrap();
    let default = Settings {
        starting_port: 63100,
        max_sessions: 64,
        max_wait_minutes: 10,
        is_name_changed_early: true,
    };
    assert_eq!(store.settings().await.unwrap(), default);
    const KEYS: [&str; 4] = [
        "FOG_UDPCAST_STARTINGPORT",
        "FOG_MULTICAST_MAX_SESSIONS",
        "FOG_UDPCAST_MAXWAIT",
        "FOG_CHANGE_HOSTNAME_EARLY",
    ];
    for key in KEYS {
        store
            .raw(&format!(
                "INSERT INTO globalSettings (settingKey, settingValue) VALUES ('{key}', '')"
            ))
            .await;
        assert_eq!(store.settings().await.unwrap(), default);
        for odd in ["abc", "-1", "1.5", "4294967296"] {
            store
                .raw(&format!(
                    "UPDATE globalSettings SET settingValue = '{odd}' WHERE settingKey = '{key}'"
                ))
                .await;
            let found = broken(store.settings().await, "globalSettings", "settingValue");
            assert_eq!(
                (found.row, found.value.as_str()),
                (format!("settingKey {key}"), odd)
            );
        }
        store.raw("DELETE FROM globalSettings").await;
    }
    for key in KEYS {
        store
            .raw(&format!(
                "INSERT INTO globalSettings (settingKey, settingValue) VALUES ('{key}', ' 0 ')"
            ))
            .await;
    }
    let zero = Settings {
        starting_port: 0,
        max_sessions: 0,
        max_wait_minutes: 10,
        is_name_changed_early: false,
    };
    assert_eq!(store.settings().await.unwrap(), zero);
}

/// A session and a task as FOG's own programs create them.
const FOGS_OWN: &str = "
    INSERT INTO multicastSessions (msID, msName, msBasePort, msLogPath, msImage, msStartDateTime,
        msState, msCompleteDateTime, msIsDD, msNFSGroupID, msShutdown, msMaxwait)
        VALUES (50, 'fogs', 63110, 'win-dir', '1', '2026-01-01 00:00:00', 0, '', 1, 1, '', 0)";

#[tokio::test]
async fn sessions_of_fogs_own_are_fine() {
    let store = Sqlite::in_memory().await.unwrap();
    let world = World::new(&store, 1).await;
    let host = world.free_hosts[0];
    store.raw(FOGS_OWN).await;
    store
        .raw(&format!(
            "INSERT INTO tasks (taskID, taskName, taskCreateTime, taskHostID, taskImageID, \
             taskStateID, taskTypeID) VALUES (60, 'fogs', '2026-01-01 00:00:00', {host}, 1, 1, 8)"
        ))
        .await;
    store
        .raw("INSERT INTO multicastSessionsAssoc (msID, tID) VALUES (50, 60)")
        .await;

    let id = SessionId(50);
    let session = store.session(id).await.unwrap().unwrap();
    assert_eq!((session.name.as_str(), session.ended_at), ("fogs", None));
    assert_eq!((session.has_records, session.reason), (None, None));
    assert_eq!(session.max_wait.as_secs(), 600);
    assert_eq!(session.members.len(), 1);
    assert_eq!(
        (session.members[0].host, session.members[0].task),
        (host, TaskId(60))
    );
    assert_eq!(session.members[0].name, "pc101");

    let facts = vec![
        checked_in(host, 9, 1),
        Fact::StreamStarting {
            stream: 0,
            run: 4,
            has_records: false,
        },
        Fact::StreamsDone { host, count: 1 },
        member_ended(host, State::Complete, Reason::Written),
        Fact::Ended {
            state: State::Complete,
            reason: Reason::Written,
        },
    ];
    assert_eq!(store.apply(at(1), id, facts).await.unwrap(), []);
    let session = store.session(id).await.unwrap().unwrap();
    assert_eq!((session.state, session.runs), (State::Complete, 5));
    assert_eq!(session.name, "fogs");
    assert_eq!(session.members[0].reason, Some(Reason::Written));
    assert_eq!(session.members[0].streams_done, 1);
    assert_eq!(store.last_session(host).await.unwrap(), Some(session));
}

#[tokio::test]
async fn fogs_tables_say_what_fog_expects() {
    let store = Sqlite::in_memory().await.unwrap();
    let world = World::new(&store, 2).await;
    store
        .raw("UPDATE hosts SET hostPubKey = 'k', hostSecToken = 't'")
        .await;
    store.raw("UPDATE tasks SET taskImageID = 99").await;
    let host = world.hosts[0];
    let facts = vec![checked_in(host, 7, 1)];
    store.apply(at(1), world.session, facts).await.unwrap();
    assert_eq!(
        store
            .number("SELECT msClients FROM multicastSessions")
            .await,
        1
    );
    assert_eq!(
        store.number("SELECT msState FROM multicastSessions").await,
        3
    );
    assert_eq!(store.text("SELECT hostIP FROM hosts").await, "10.0.0.7");
    let task = "FROM tasks WHERE taskID = 1";
    assert_eq!(store.number(&format!("SELECT taskStateID {task}")).await, 3);
    assert_eq!(
        store.number(&format!("SELECT taskImageID {task}")).await,
        world.image.0
    );
    assert_eq!(
        store.text(&format!("SELECT taskCheckIn {task}")).await,
        at(1).to_string()
    );
    let start = format!("SELECT taskScheduledStartTime {task}");
    assert_eq!(store.text(&start).await, at(1).to_string());

    let failure = Reason::ClientFailed {
        text: "bad disk".into(),
        before: None,
    };
    let facts = vec![
        member_ended(host, State::Complete, Reason::Written),
        member_ended(host, State::Failed, failure),
        Fact::Ended {
            state: State::Failed,
            reason: Reason::AllCancelled,
        },
    ];
    assert_eq!(store.apply(at(2), world.session, facts).await.unwrap(), []);
    assert_eq!(store.number(&format!("SELECT taskPCT {task}")).await, 100);
    assert_eq!(
        store
            .text("SELECT hostPubKey || hostSecToken FROM hosts")
            .await,
        ""
    );
    assert_eq!(
        store.text("SELECT imageLastDeploy FROM images").await,
        at(2).to_string()
    );
    assert_eq!(store.text("SELECT msName FROM multicastSessions").await, "");
    assert_eq!(
        store
            .number("SELECT msClients FROM multicastSessions")
            .await,
        0
    );
    assert_eq!(
        store
            .number("SELECT msPercent FROM multicastSessions")
            .await,
        100
    );
    assert_eq!(
        store
            .number("SELECT COUNT(*) FROM multicastSessionsAssoc")
            .await,
        0
    );
    let second = "SELECT taskStateID FROM tasks WHERE taskID = 2";
    assert_eq!(store.number(second).await, State::Cancelled.number());
    let log =
        "SELECT GROUP_CONCAT(taskStateID || logType || logHostName || ip || logText) FROM taskLog";
    assert_eq!(
        store.text(log).await,
        "3statepc00110.0.0.7,4statepc00110.0.0.7written,6errorpc00110.0.0.7bad disk"
    );
}

#[tokio::test]
async fn tasks_that_another_program_changed_are_conflicts() {
    let store = Sqlite::in_memory().await.unwrap();
    let world = World::new(&store, 3).await;
    let [cancelled, gone, good] = world.hosts[..] else {
        panic!("three hosts");
    };
    store
        .raw("UPDATE tasks SET taskStateID = 5 WHERE taskID = 1")
        .await;
    store.raw("DELETE FROM tasks WHERE taskID = 2").await;
    let facts = vec![
        checked_in(cancelled, 1, 1),
        checked_in(gone, 2, 2),
        checked_in(HostId(77), 3, 3),
        checked_in(good, 4, 1),
    ];
    let found = store.apply(at(1), world.session, facts).await.unwrap();
    let conflict = |fact, found| Conflict { fact, found };
    assert_eq!(
        found,
        [
            conflict(0, Some(State::Cancelled)),
            conflict(1, None),
            conflict(2, None),
        ]
    );
    let session = store.session(world.session).await.unwrap().unwrap();
    let states: Vec<State> = session.members.iter().map(|member| member.state).collect();
    assert_eq!(states, [State::Cancelled, State::Queued, State::InProgress]);
    let ended = Fact::Ended {
        state: State::Failed,
        reason: Reason::AllCancelled,
    };
    assert_eq!(
        store
            .apply(at(2), world.session, vec![ended])
            .await
            .unwrap(),
        []
    );
    let session = store.session(world.session).await.unwrap().unwrap();
    assert!(
        session
            .members
            .iter()
            .all(|member| !member.state.is_active())
    );
}

#[tokio::test]
async fn inventory_is_kept_until_it_is_overwritten() {
    let store = Sqlite::in_memory().await.unwrap();
    let host = store.add_host(NOW, conformance::new_host(1)).await.unwrap();
    for (column, text) in [
        ("iSysman", "QEMU"),
        ("iMem", "MemTotal: 1 kB"),
        ("iSysman", "x\n"),
    ] {
        let fields = vec![(column, text.to_owned())];
        store.store_inventory(NOW, host, fields).await.unwrap();
    }
    let text = store
        .text("SELECT iSysman || '/' || iMem FROM inventory")
        .await;
    assert_eq!(text, "x/MemTotal: 1 kB");
    let odd = vec![("iHostID", "7".to_owned())];
    let refused = store.store_inventory(NOW, host, odd).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))));
    let fields = vec![("iMem", "x".to_owned())];
    store
        .store_inventory(NOW, HostId(77), fields)
        .await
        .unwrap();
    assert_eq!(store.number("SELECT COUNT(*) FROM inventory").await, 1);
}

#[tokio::test]
async fn what_a_removed_host_was_told_is_forgotten() {
    let store = Sqlite::in_memory().await.unwrap();
    let world = World::new(&store, 1).await;
    run(&store, &world, "hand_out", 0).await.unwrap();
    assert_eq!(store.handouts().await.unwrap().len(), 1);
    store.remove_host(world.free_hosts[0]).await.unwrap();
    run(&store, &world, "hand_out", 0).await.unwrap();
    assert_eq!(store.handouts().await.unwrap(), []);
}
