//! Rows that FOG's own programs write and read.

use fog::task::State;

use super::conformance::{NOW, at, checked_in, member_ended};
use super::*;
use crate::store::conformance::operations::{World, run};
use crate::store::{AddHostError, Found, StoreError};

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
    let conflict = |fact, found| Conflict {
        fact,
        found: Found::Task(found),
    };
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

/// Its machine may still run with it, and be another host by then.
#[tokio::test]
async fn what_a_removed_host_was_told_is_kept_for_long() {
    let store = Sqlite::in_memory().await.unwrap();
    let world = World::new(&store, 1).await;
    run(&store, &world, "hand_out", 1).await.unwrap();
    let before = store.handouts().await.unwrap();
    assert_eq!(before.len(), 1);
    store.remove_host(world.free_hosts[0]).await.unwrap();
    assert_eq!(store.handouts().await.unwrap(), before);
    // Not for ever: nothing else would ever delete it.
    for (days, kept) in [(89, 1), (91, 0)] {
        let host = conformance::new_host(700 + u16::try_from(days).unwrap());
        store.add_host(at(days * 24 * 3600), host).await.unwrap();
        assert_eq!(store.handouts().await.unwrap().len(), kept);
    }
}

#[tokio::test]
async fn addresses_of_a_host_that_another_program_removed_are_free() {
    let store = Sqlite::in_memory().await.unwrap();
    let host = conformance::new_host(1);
    store.add_host(NOW, host.clone()).await.unwrap();
    store.raw("UPDATE hostMAC SET hmMAC = UPPER(hmMAC)").await;
    let mut other = conformance::new_host(2);
    other.macs = host.macs.clone();
    let taken = store.add_host(NOW, other.clone()).await;
    assert!(matches!(taken, Err(AddHostError::MacTaken { host, .. }) if host == "pc001"));
    store.raw("DELETE FROM hosts").await;
    store.add_host(NOW, other).await.unwrap();
    assert_eq!(store.number("SELECT COUNT(*) FROM hostMAC").await, 1);
}
