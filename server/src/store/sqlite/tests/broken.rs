//! Values that make no sense.

use std::time::Duration;

use fog::task::State;

use super::conformance::{NOW, at};
use super::*;
use crate::domain::host::About;
use crate::domain::multicast::{self, Multicast};
use crate::store::StoreError;
use crate::store::conformance::operations::{World, run};

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
        ("fos_sessionHosts", "msID", "client", "2"),
        ("fos_sessionHosts", "msID", "client", "'odd'"),
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

        let reason = Reason::BrokenRow(Box::new(found));
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
        // These have what is right now.
        let is_healed = ["msState", "msCompleteDateTime", "taskStateID", "reasonCode"];
        if is_healed.contains(&column) {
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
        // And the two for machines alone.
        assert_eq!(hosts.len(), 3);
        assert_eq!(hosts[0].id, world.free_hosts[0]);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].table.as_str(), told[0].column.as_str()),
            (table, column)
        );
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
            "UPDATE fos_images SET settings = '{}'",
            "fos_images",
            "settings",
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
            .remember_stranger(
                NOW,
                conformance::mac(500 + u16::from(last)),
                address,
                About::default(),
            )
            .await
            .unwrap();
        store
            .add_event(NOW, Some(world.session), None, Note::ShareUnusable)
            .await
            .unwrap();
    }
    store
        .raw("UPDATE fos_strangers SET address = 'x' WHERE asked = 1")
        .await;
    store
        .raw("UPDATE fos_events SET at = 'x' WHERE id = 1")
        .await;
    assert_eq!(store.strangers().await.unwrap().len(), 2);
    assert_eq!(store.events(world.session, 0, 9).await.unwrap().len(), 2);
}

/// Left out, the machine would be taken for one that was told nothing.
#[tokio::test]
async fn what_machines_were_told_is_not_left_out() {
    let host = "SELECT hmHostID FROM hostMAC WHERE hmMAC = '00:1b:21:00:00:32'";
    for (column, value) in [
        ("mac", "'odd'"),
        ("mac", "x'ff'"),
        ("hostID", "'odd'"),
        ("address", "'odd'"),
        ("address", "''"),
        ("msID", "'odd'"),
        ("imageID", "1.5"),
        ("port", "'odd'"),
        ("port", "70000"),
        ("arguments", "'odd'"),
        ("ticket", "'odd'"),
        ("at", "'odd'"),
        ("since", "'odd'"),
    ] {
        let store = Sqlite::in_memory().await.unwrap();
        store
            .add_host(NOW, conformance::new_host(50))
            .await
            .unwrap();
        let world = World::new(&store, 2).await;
        for number in [1, 2] {
            run(&store, &world, "hand_out", number).await.unwrap();
        }
        let own = format!("mac = '00:1b:21:00:00:32', hostID = ({host})");
        for sql in [own, format!("{column} = {value}")] {
            store
                .raw(&format!("UPDATE fos_handouts SET {sql} WHERE id = 1"))
                .await;
        }
        let rows = store.handouts().await.unwrap();
        let [
            StoredRow::Unreadable {
                mac,
                address,
                broken,
                ..
            },
            StoredRow::Told(other),
        ] = &rows[..]
        else {
            panic!("{column}: {rows:?}");
        };
        assert_eq!(*mac, conformance::mac(50), "{column}");
        assert_eq!(address.is_none(), column == "address");
        assert_eq!(
            (
                broken.table.as_str(),
                broken.row.as_str(),
                broken.column.as_str()
            ),
            ("fos_handouts", "id 1", column)
        );
        assert_eq!(other.id, 2);
    }
}

/// Each is read by its key; what makes no sense has no effect, and is named.
#[tokio::test]
async fn settings_that_make_no_sense_are_named_and_their_defaults_count() {
    let store = Sqlite::in_memory().await.unwrap();
    let default = Settings {
        multicast: Multicast::default(),
        is_name_changed_early: true,
        odd: Vec::new(),
    };
    assert_eq!(store.settings().await.unwrap(), default);
    let keys = multicast::KEYS.into_iter().skip(1);
    for key in keys.chain(["FOG_CHANGE_HOSTNAME_EARLY"]) {
        store
            .raw(&format!(
                "INSERT INTO globalSettings (settingKey, settingValue) VALUES ('{key}', '')"
            ))
            .await;
        assert_eq!(store.settings().await.unwrap(), default, "{key}");
        for odd in ["'abc'", "'-1'", "'1.5'", "'4294967296'", "x'ff'"] {
            store
                .raw(&format!(
                    "UPDATE globalSettings SET settingValue = {odd} WHERE settingKey = '{key}'"
                ))
                .await;
            let found = store.settings().await.unwrap();
            let keys: Vec<&str> = found.odd.iter().map(|odd| odd.key.as_str()).collect();
            assert_eq!(keys, [key], "{odd}");
            assert_eq!(found.multicast, default.multicast);
            assert!(found.is_name_changed_early);
        }
        store.raw("DELETE FROM globalSettings").await;
    }
    for (key, value) in [
        ("FOG_MULTICAST_MAX_SESSIONS", "' 0 '"),
        ("FOG_CHANGE_HOSTNAME_EARLY", "'0'"),
        ("FOG_UDPCAST_MAXWAIT", "7"),
    ] {
        store
            .raw(&format!(
                "INSERT INTO globalSettings (settingKey, settingValue) VALUES ('{key}', {value})"
            ))
            .await;
    }
    let found = store.settings().await.unwrap();
    assert_eq!(
        (found.multicast.max_sessions, found.is_name_changed_early),
        (0, false)
    );
    assert_eq!(found.multicast.max_wait, Duration::from_secs(420));
    assert_eq!(found.odd, []);
}
