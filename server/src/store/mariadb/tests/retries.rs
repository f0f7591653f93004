//! A connection that breaks in the middle of an operation: it is begun again, and recognises what it has left.

use fog::task::State;

use super::conformance::{NOW, new_host, new_image, new_session};
use super::*;
use crate::domain::host::{About, Wish};
use crate::domain::image::tests::sample_facts;
use crate::domain::{HostId, ImageId, Reason, Timestamp};
use crate::store::mariadb::connection::Burns;

const BOTH: [Burns; 2] = [Burns::Loses, Burns::LosesAnswer];

/// Databases of each kind for each way to break.
async fn in_both(server: &Server) -> Vec<(Burns, MariaDb)> {
    let mut stores = Vec::new();
    for how in BOTH {
        stores.push((how, in_fogs(server, "").await));
        stores.push((how, ours(server).await));
    }
    stores
}

/// Runs an operation again and again: its connection breaks at each of its statements but the commit, of which it is
/// not known whether it was stored.
async fn at_each_statement<T, E: std::fmt::Debug>(
    (how, store): &(Burns, MariaDb),
    mut run: impl AsyncFnMut(&MariaDb) -> Result<T, E>,
    mut check: impl AsyncFnMut(&MariaDb, T, &str),
) {
    for statements in 0_u32.. {
        store.engine.fuse().lose(statements, *how);
        let done = run(store).await;
        let has_lost = store.engine.fuse().has_lost();
        store.engine.fuse().set(None);
        let what = format!("{how:?} after {statements}");
        match done {
            Ok(value) => check(store, value, &what).await,
            Err(error) => {
                let error = format!("{error:?}");
                // The commit.
                assert!(error.contains("whether it was stored"), "{what}: {error}");
                assert!(statements > 3, "{what}: {error}");
                return;
            }
        }
        assert!(has_lost, "{what}: there is no commit");
    }
}

#[tokio::test]
async fn a_host_is_added_once() {
    let Some(server) = server() else { return };
    for of in in_both(&server).await {
        at_each_statement(
            &of,
            async |store: &MariaDb| store.add_host(NOW, new_host(1)).await,
            async |store: &MariaDb, id, what: &str| {
                let (hosts, _) = store.hosts().await.unwrap();
                let found: Vec<_> = hosts
                    .iter()
                    .map(|host| (host.id, host.macs.len()))
                    .collect();
                assert_eq!(found, [(id, new_host(1).macs.len())], "{what}");
                let macs = store.number("SELECT COUNT(*) FROM hostMAC").await;
                assert_eq!(
                    macs,
                    i64::try_from(new_host(1).macs.len()).unwrap(),
                    "{what}"
                );
                store.remove_host(id).await.unwrap();
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_machine_that_waits_is_accepted_once_and_who_accepts_it_is_told() {
    let Some(server) = server() else { return };
    for of in in_both(&server).await {
        let waits = std::sync::Mutex::new(HostId(0));
        at_each_statement(
            &of,
            async |store: &MariaDb| {
                let paused = store.engine.fuse().pause();
                let about = About::default();
                let wish = store.wish(NOW, new_host(1).macs[0], [10, 0, 0, 1].into(), about);
                assert_eq!(wish.await.unwrap(), Wish::Kept);
                let pending = store.number("SELECT MAX(hostID) FROM hosts").await;
                *waits.lock().unwrap() = HostId(pending);
                store.engine.fuse().go_on(paused);
                // Later than it asked to be registered.
                store.add_host(Timestamp(NOW.0 + 60), new_host(1)).await
            },
            async |store: &MariaDb, id, what: &str| {
                assert_eq!(id, *waits.lock().unwrap(), "{what}");
                let (hosts, _) = store.hosts().await.unwrap();
                let found: Vec<_> = hosts
                    .iter()
                    .map(|host| (host.id, host.macs.len()))
                    .collect();
                assert_eq!(found, [(id, new_host(1).macs.len())], "{what}");
                store.remove_host(id).await.unwrap();
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_host_is_removed_once() {
    let Some(server) = server() else { return };
    for of in in_both(&server).await {
        at_each_statement(
            &of,
            async |store: &MariaDb| {
                let paused = store.engine.fuse().pause();
                let id = store.add_host(NOW, new_host(1)).await.unwrap();
                store.engine.fuse().go_on(paused);
                store.remove_host(id).await
            },
            async |store: &MariaDb, (), what: &str| {
                assert_eq!(store.hosts().await.unwrap().0.len(), 0, "{what}");
                for table in ["hosts", "hostMAC", "inventory"] {
                    let sql = format!("SELECT COUNT(*) FROM {table}");
                    assert_eq!(store.number(&sql).await, 0, "{what}: {table}");
                }
            },
        )
        .await;
    }
}

#[tokio::test]
async fn an_image_is_added_once() {
    let Some(server) = server() else { return };
    for of in in_both(&server).await {
        let add = async |store: &MariaDb| {
            let facts = sample_facts(&["d1p1.img"]);
            store.add_image(new_image("win"), facts).await
        };
        at_each_statement(&of, add, async |store: &MariaDb, id, what: &str| {
            let images = store.images().await.unwrap();
            let found: Vec<ImageId> = images.iter().map(|image| image.id).collect();
            assert_eq!(found, [id], "{what}");
            assert!(store.facts(id).await.unwrap().is_some(), "{what}");
            store.remove_image(id).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_is_created_once_and_its_caller_is_told() {
    let Some(server) = server() else { return };
    for of in in_both(&server).await {
        let (_, store) = &of;
        let facts = sample_facts(&["d1p1.img"]);
        let image = store.add_image(new_image("win"), facts).await.unwrap();
        let mut hosts: Vec<HostId> = Vec::new();
        for number in 1..=2 {
            hosts.push(store.add_host(NOW, new_host(number)).await.unwrap());
        }
        let all = hosts.clone();
        let create = async |store: &MariaDb| {
            let new = new_session(image, &all, 63100);
            store.create_session(NOW, new).await
        };
        at_each_statement(&of, create, async |store: &MariaDb, id, what: &str| {
            assert_eq!(store.active_sessions().await.unwrap(), [id], "{what}");
            let session = store.session(id).await.unwrap().unwrap();
            assert_eq!(session.state, State::New, "{what}");
            let states: Vec<State> = session.members.iter().map(|member| member.state).collect();
            assert_eq!(states, [State::Queued; 2], "{what}");
            let reason = Reason::AllCancelled;
            assert!(store.fail_broken(NOW, id, reason).await.unwrap(), "{what}");
        })
        .await;
    }
}
