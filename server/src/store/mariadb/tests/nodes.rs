//! Several servers with one database.

use std::time::Duration;

use fog::task::State;
use sqlx::Executor as _;

use super::conformance::{
    NOW, checked_in, member_ended, new_host, new_image, new_session, session_of,
};
use super::*;
use crate::domain::image::tests::sample_facts;
use crate::domain::node::{Claim, Fence, LEASE, LEASE_ALONE};
use crate::domain::{HostId, Reason, SessionId};
use crate::store::{Conflict, CreateError, Found};

/// Databases of both kinds.
async fn both(server: &Server) -> [Location; 2] {
    [server.fogs("").await, server.empty().await]
}

/// A server of this name.
pub(super) async fn node(location: &Location, name: &str) -> MariaDb {
    let node = Node::passing(&name.parse().unwrap()).unwrap();
    let store = MariaDb::open_with(location, None, Limits::DEFAULT, node);
    let store = store.await.unwrap();
    let url = format!("http://{name}/fog/");
    let peer = format!("http://{name}:81");
    store.register(url, peer).await.unwrap();
    store
}

async fn claim(store: &MariaDb, session: SessionId) -> Fence {
    match store.claim(session).await.unwrap() {
        Claim::Ours(Some(fence)) => fence,
        other => panic!("{other:?}"),
    }
}

/// As if so much time had passed that every lease is over.
async fn time_passes(store: &MariaDb) {
    store.raw("UPDATE fos_claims SET leaseEnd = 1").await;
}

#[tokio::test]
async fn a_port_and_a_host_are_given_once_by_servers_that_ask_at_the_same_time() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let (first, second) = (node(&location, "a").await, node(&location, "b").await);
        are_given_once(&first, &second).await;
    }
}

pub(super) async fn are_given_once(first: &MariaDb, second: &MariaDb) {
    let facts = sample_facts(&["d1p1.img"]);
    let image = first.add_image(new_image("win"), facts).await.unwrap();
    for round in 0..8 {
        let mut hosts: Vec<HostId> = Vec::new();
        for number in 0..2 {
            let host = new_host(1 + round * 2 + number);
            hosts.push(first.add_host(NOW, host).await.unwrap());
        }
        let (one, other) = (hosts[0], hosts[1]);
        let new = |host| new_session(image, &[host], 63100);
        let (one, other) = tokio::join!(
            first.create_session(NOW, new(one)),
            second.create_session(NOW, new(other)),
        );
        let id = match (one, other) {
            (Ok(id), Err(CreateError::PortTaken(63100)))
            | (Err(CreateError::PortTaken(63100)), Ok(id)) => id,
            found => panic!("{found:?}"),
        };
        assert!(
            first
                .fail_broken(NOW, id, Reason::AllCancelled)
                .await
                .unwrap()
        );
        let twice = new_host(100 + round);
        let (one, other) = tokio::join!(
            first.add_host(NOW, twice.clone()),
            second.add_host(NOW, twice),
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?}, {other:?}");
    }
}

#[tokio::test]
async fn a_session_is_claimed_by_one_server_until_its_lease_is_over() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let (first, second) = (node(&location, "a").await, node(&location, "b").await);
        let (id, ..) = session_of(&first, 1).await;
        let (one, other) = tokio::join!(first.claim(id), second.claim(id));
        let (winner, loser, name) = match (one.unwrap(), other.unwrap()) {
            (Claim::Ours(Some(Fence(1))), Claim::Theirs(server)) => (&first, &second, server),
            (Claim::Theirs(server), Claim::Ours(Some(Fence(1)))) => (&second, &first, server),
            found => panic!("{found:?}"),
        };
        assert_eq!(name.url, format!("http://{}/fog/", name.name));
        // It may ask again.
        assert_eq!(claim(winner, id).await, Fence(2));
        let renewal = winner.renew().await.unwrap().unwrap();
        assert_eq!(renewal.held, [(id, Fence(2))]);
        assert_eq!((renewal.lease, renewal.others), (LEASE, 1));
        assert_eq!(loser.left_sessions().await.unwrap(), []);
        let by = loser.claimed_by(id).await.unwrap().unwrap();
        assert_eq!((by.server, by.lasts), (name, true));
        assert_eq!(winner.claimed_by(id).await.unwrap(), None);
        time_passes(winner).await;
        assert!(loser.renew().await.unwrap().unwrap().held.is_empty());
        assert_eq!(loser.left_sessions().await.unwrap(), [id]);
        assert!(!loser.claimed_by(id).await.unwrap().unwrap().lasts);
        assert_eq!(claim(loser, id).await, Fence(3));
        assert!(matches!(winner.claim(id).await.unwrap(), Claim::Theirs(_)));
        assert!(winner.renew().await.unwrap().unwrap().held.is_empty());
        loser.release(id, Fence(3)).await.unwrap();
        assert_eq!(claim(winner, id).await, Fence(4));
    }
}

#[tokio::test]
async fn what_a_server_decides_that_has_lost_its_claim_is_not_stored() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let (first, second) = (node(&location, "a").await, node(&location, "b").await);
        let (id, _, hosts) = session_of(&first, 2).await;
        let fence = claim(&first, id).await;
        let check_in = vec![checked_in(hosts[0], 1, 1)];
        assert_eq!(first.apply(NOW, id, check_in).await.unwrap(), []);
        time_passes(&first).await;
        // As long as nobody else has it, it counts.
        let check_in = vec![checked_in(hosts[1], 2, 2)];
        assert_eq!(first.apply(NOW, id, check_in).await.unwrap(), []);
        claim(&second, id).await;
        let ended = member_ended(hosts[0], State::Failed, Reason::Missing);
        let found = first.apply(NOW, id, vec![ended]).await.unwrap();
        let conflict = Conflict {
            fact: 0,
            found: Found::OtherServer,
        };
        assert_eq!(found, [conflict]);
        assert!(
            !first
                .fail_broken(NOW, id, Reason::AllCancelled)
                .await
                .unwrap()
        );
        let session = second.session(id).await.unwrap().unwrap();
        assert!(session.state.is_active());
        assert!(
            session
                .members
                .iter()
                .all(|member| member.state.is_active())
        );
        // A person may cancel it on any server.
        first.release(id, fence).await.unwrap();
        let ended = member_ended(hosts[0], State::Cancelled, Reason::TaskCancelled);
        assert_eq!(first.apply(NOW, id, vec![ended]).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_server_that_is_started_again_has_its_claims_at_once_and_a_copy_of_it_is_detected() {
    let Some(server) = server() else { return };
    let location = server.empty().await;
    let data = tempfile::tempdir().unwrap();
    let open = async || {
        let node = Node::load(data.path(), &NodeName::default()).unwrap();
        let store = MariaDb::open_with(&location, None, Limits::DEFAULT, node);
        let store = store.await.unwrap();
        store.register(String::new(), String::new()).await.unwrap();
        store
    };
    let first = open().await;
    let (id, ..) = session_of(&first, 1).await;
    assert_eq!(claim(&first, id).await, Fence(1));
    let renewal = first.renew().await.unwrap().unwrap();
    assert_eq!((renewal.lease, renewal.others), (LEASE_ALONE, 0));
    let again = open().await;
    assert_eq!(claim(&again, id).await, Fence(2));
    let error = first.renew().await.unwrap_err().to_string();
    assert!(error.contains("the same node-id"), "{error}");
    let found = first.apply(NOW, id, vec![checked_in(HostId(1), 1, 1)]);
    assert_eq!(found.await.unwrap()[0].found, Found::OtherServer);
}

#[tokio::test]
async fn a_renewal_waits_for_no_other_operation() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let store = node(&location, "a").await;
        let (id, ..) = session_of(&store, 1).await;
        let fence = claim(&store, id).await;
        let mut backup = server.admin().await;
        let sql = format!(
            "USE {}; LOCK TABLES tasks READ, multicastSessions WRITE",
            location.database()
        );
        backup.execute(sqlx::raw_sql(&sql)).await.unwrap();
        let waits = store.clone();
        let waits = tokio::spawn(async move {
            let facts = vec![checked_in(HostId(1), 1, 1)];
            waits.apply(NOW, id, facts).await
        });
        tokio::task::yield_now().await;
        let renewal = store.renew().await.unwrap().unwrap();
        assert_eq!(renewal.held, [(id, fence)]);
        backup
            .execute(sqlx::raw_sql("UNLOCK TABLES"))
            .await
            .unwrap();
        waits.await.unwrap().unwrap();
    }
}

/// What is locked by a machine that lost its power: its connection stays, and says nothing more.
#[tokio::test]
async fn a_machine_without_power_keeps_nobody_from_writing() {
    let Some(server) = server() else { return };
    let limits = Limits {
        hang: Duration::from_secs(2),
        lock: Duration::from_secs(30),
        ..Limits::DEFAULT
    };
    for location in both(&server).await {
        let dark = open_with(&location, None, limits).await.unwrap();
        let mut connection = dark.engine.one_more().await;
        let sql = format!(
            "DO GET_LOCK('fos-server {}', 1); START TRANSACTION; UPDATE fos_turn SET turn = turn + 1",
            location.database()
        );
        connection.script("", &sql).await.unwrap();
        let limits = Limits {
            hang: Duration::from_secs(60),
            ..limits
        };
        let other = open_with(&location, None, limits).await.unwrap();
        other.set_image_root("/a".into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_strangers_connection_is_not_ended_for_its_number() {
    let Some(server) = server() else { return };
    let location = server.empty().await;
    let store = open(&location, None).await.unwrap();
    // After a restart of the database a number may be that of another server's connection.
    let mut stranger = server.admin().await;
    let sql = format!("DO GET_LOCK('fos-server {}', 1)", location.database());
    stranger.execute(sqlx::raw_sql(&sql)).await.unwrap();
    let id: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
        .fetch_one(&mut stranger)
        .await
        .unwrap();
    store.engine.abandon(id).await;
    store.set_image_root("/a".into()).await.unwrap();
    let lives: i64 = sqlx::query_scalar("SELECT 1")
        .fetch_one(&mut stranger)
        .await
        .unwrap();
    assert_eq!(lives, 1);
}

#[tokio::test]
async fn servers_have_numbers_of_their_own() {
    let Some(server) = server() else { return };
    let location = server.empty().await;
    let (first, second) = (node(&location, "a").await, node(&location, "b").await);
    let number = async |store: &MariaDb| {
        let registered = store.register(String::new(), String::new());
        registered.await.unwrap().unwrap()
    };
    let numbers = [number(&first).await, number(&second).await];
    assert_ne!(numbers[0], numbers[1]);
    assert_eq!(number(&first).await, numbers[0]);
}

#[tokio::test]
async fn servers_know_one_secret_and_where_the_others_are() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let (first, second) = (node(&location, "a").await, node(&location, "b").await);
        let (one, other) = tokio::join!(first.site_secret(), second.site_secret());
        let secret = one.unwrap().unwrap();
        assert_eq!(other.unwrap(), Some(secret.clone()));
        assert_eq!(first.site_secret().await.unwrap(), Some(secret));
        let found = first.peers().await.unwrap();
        let expected = crate::domain::peer::Peer {
            name: "b".to_owned(),
            url: "http://b:81".to_owned(),
            is_there: true,
        };
        assert_eq!(found, std::slice::from_ref(&expected));
        first.raw("UPDATE fos_nodes SET seenAt = 1").await;
        let gone = crate::domain::peer::Peer {
            is_there: false,
            ..expected
        };
        assert_eq!(first.peers().await.unwrap(), [gone]);
        second.register(String::new(), String::new()).await.unwrap();
        assert_eq!(first.peers().await.unwrap(), []);
    }
}
