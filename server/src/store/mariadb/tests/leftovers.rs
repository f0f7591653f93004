//! What is left in FOG's tables: of hosts and sessions that are gone, of operations that were cut off.

use sqlx::Executor as _;

use super::conformance::{NOW, new_host, session_of};
use super::*;
use crate::domain::Reason;
use crate::domain::host::HostActivity;
use crate::store::Change;

async fn by_hand(server: &Server, location: &Location, statements: &[&str]) {
    let mut admin = server.admin().await;
    let begin = format!("USE {}", location.database());
    for sql in std::iter::once(begin.as_str()).chain(statements.iter().copied()) {
        admin.execute(sqlx::raw_sql(sql)).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_of_sessions_that_were_emptied_has_no_last_one() {
    let Some(server) = server() else { return };
    let location = server.fogs("").await;
    let store = open(&location, None).await.unwrap();
    let (id, _, hosts) = session_of(&store, 1).await;
    let reason = Reason::AllCancelled;
    assert!(store.fail_broken(NOW, id, reason).await.unwrap());
    let of_host = async || {
        let all = store.activity().await.unwrap();
        let (_, activity) = all.into_iter().find(|(host, _)| *host == hosts[0]).unwrap();
        activity
    };
    assert!(matches!(of_host().await, HostActivity::Last { .. }));
    let cure = [
        "TRUNCATE TABLE multicastSessions",
        "TRUNCATE TABLE multicastSessionsAssoc",
        "DELETE FROM tasks WHERE taskTypeID = 8",
    ];
    by_hand(&server, &location, &cure).await;
    let found = of_host().await;
    assert!(matches!(found, HostActivity::Idle), "{found:?}");
}

#[tokio::test]
async fn a_value_that_is_none_is_another_one_than_what_stands_beside_it() {
    let Some(server) = server() else { return };
    let nullable =
        "ALTER TABLE hosts MODIFY hostImage INT NULL, MODIFY hostKernelArgs VARCHAR(250) NULL";
    let location = server.fogs(nullable).await;
    let store = open(&location, None).await.unwrap();
    store.add_host(NOW, new_host(1)).await.unwrap();
    by_hand(
        &server,
        &location,
        &["UPDATE hosts SET hostImage = NULL, hostKernelArgs = '5'"],
    )
    .await;
    assert_eq!(store.hosts().await.unwrap().0[0].image, None);
    let before = watch::look(&store.engine).await.unwrap();
    by_hand(
        &server,
        &location,
        &["UPDATE hosts SET hostImage = 5, hostKernelArgs = NULL"],
    )
    .await;
    let now = watch::look(&store.engine).await.unwrap();
    assert_eq!(before.changes(&now), [Change::Hosts]);
}

#[tokio::test]
async fn a_new_host_gets_nothing_of_a_former_one_of_its_number() {
    let Some(server) = server() else { return };
    let location = server.fogs("").await;
    let store = open(&location, None).await.unwrap();
    let former = store.add_host(NOW, new_host(1)).await.unwrap();
    let fields = vec![("iMem", "1".to_owned())];
    store.store_inventory(NOW, former, fields).await.unwrap();
    by_hand(&server, &location, &["TRUNCATE TABLE hosts"]).await;
    let new = store.add_host(NOW, new_host(2)).await.unwrap();
    assert_eq!(new, former);
    let macs = store.hosts().await.unwrap().0[0].macs.clone();
    assert_eq!(macs, [conformance::mac(2)]);
    assert_eq!(store.number("SELECT COUNT(*) FROM inventory").await, 0);
}

#[tokio::test]
async fn a_host_whose_removal_was_cut_off_is_there_or_its_name_is_free() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, "").await;
    for statements in 0_u32.. {
        let id = store.add_host(NOW, new_host(1)).await.unwrap();
        store.engine.fuse().set(Some(statements));
        let removed = store.remove_host(id).await;
        store.engine.fuse().set(None);
        let (hosts, _) = store.hosts().await.unwrap();
        if let Some(host) = hosts.first() {
            assert_eq!(host.macs.len(), 1, "{statements}: it has lost its address");
            store.remove_host(id).await.unwrap();
        }
        if removed.is_ok() {
            assert!(statements > 4, "{statements}");
            break;
        }
    }
}
