//! Several servers with one database.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use fog::task::State;
use sqlx::Executor as _;

use super::conformance::{
    NOW, checked_in, member_ended, new_host, new_image, new_session, new_unicast, session_of,
};
use super::*;
use crate::domain::image::tests::sample_facts;
use crate::domain::node::{Claim, Fence, LEASE, LEASE_ALONE, Shown};
use crate::domain::session::Client;
use crate::domain::unicast::{Machine, UnicastFact, UnicastTask};
use crate::domain::{HostId, Reason, SessionId};
use crate::store::{Conflict, CreateError, Decided, Found, QueueApplied};

/// Databases of both kinds.
async fn both(server: &Server) -> [Location; 2] {
    [server.fogs("").await, server.empty().await]
}

/// A server of this name.
pub(super) async fn node(location: &Location, name: &str) -> MariaDb {
    let node = Node::passing(&name.parse().unwrap()).unwrap();
    let store = MariaDb::open_with(location, None, Limits::DEFAULT, node);
    let store = store.await.unwrap();
    store.register(shown(name)).await.unwrap();
    store
}

fn shown(name: &str) -> Shown {
    Shown {
        url: format!("http://{name}/fog/"),
        client_url: format!("https://{name}/fog/"),
        key: format!("key of {name}"),
        peer: format!("http://{name}:81"),
    }
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
        let theirs = shown(&name.name);
        assert_eq!(
            (&name.url, &name.client_url, &name.key),
            (&theirs.url, &theirs.client_url, &theirs.key)
        );
        // One that shows another key from now on.
        loser.show(Shown {
            key: "new".to_owned(),
            ..theirs
        });
        loser.renew().await.unwrap();
        assert_eq!(loser.servers().await.unwrap().len(), 1);
        let seen = winner.servers().await.unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].key, "new");
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

fn entered(place: u64) -> UnicastFact {
    UnicastFact::Entered {
        place,
        machine: Machine {
            address: Ipv4Addr::new(10, 0, 0, 7),
            ticket: None,
            client: Client::default(),
        },
    }
}

#[tokio::test]
async fn what_is_decided_by_a_queue_that_another_server_has_changed_is_not_stored() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let (first, second) = (node(&location, "a").await, node(&location, "b").await);
        let facts = sample_facts(&["d1p1.img"]);
        let image = first.add_image(new_image("win"), facts).await.unwrap();
        let mut hosts = Vec::new();
        for number in 1..=3 {
            hosts.push(first.add_host(NOW, new_host(number)).await.unwrap());
        }
        let before = second.queue().await.unwrap().turn;
        let new = new_unicast(image, &hosts);
        let tasks = first.create_unicast(NOW, new).await.unwrap();
        let look = second.queue().await.unwrap();
        assert_eq!(look.tasks.len(), 3);
        // A new task changes the queue, too.
        assert_ne!(look.turn, before);
        let decided = Decided::In(look.turn);
        let apply = |store: MariaDb, decided, task, fact| async move {
            store.apply_queue(NOW, decided, vec![(task, fact)]).await
        };
        let (one, other) = tokio::join!(
            apply(first.clone(), decided, tasks[0], entered(1)),
            apply(second.clone(), decided, tasks[1], entered(1)),
        );
        let (is_first, after) = match (one.unwrap(), other.unwrap()) {
            (QueueApplied::Stored { before, after, .. }, QueueApplied::Behind) => {
                assert_eq!(before, look.turn);
                (true, after)
            }
            (QueueApplied::Behind, QueueApplied::Stored { before, after, .. }) => {
                assert_eq!(before, look.turn);
                (false, after)
            }
            found => panic!("{found:?}"),
        };
        let states = |tasks: Vec<UnicastTask>| tasks.iter().map(|task| task.state).collect();
        let mut expected = [State::CheckedIn, State::Queued, State::Queued];
        if !is_first {
            expected.swap(0, 1);
        }
        let look = second.queue().await.unwrap();
        assert_eq!(look.turn, after);
        let found: Vec<State> = states(look.tasks);
        assert_eq!(found, expected);
        // The one that stored it hears the machine, until it comes to the other server.
        let (task, winner, loser) = match is_first {
            true => (tasks[0], &first, &second),
            false => (tasks[1], &second, &first),
        };
        let signs = |store: MariaDb| async move { store.queue_signs().await.unwrap().unwrap() };
        let (mine, theirs) = (signs(winner.clone()).await, signs(loser.clone()).await);
        assert_eq!(mine.hearers, BTreeMap::from([(task, mine.own.clone())]));
        assert_eq!(mine.hearers, theirs.hearers);
        assert_eq!(mine.shown.len(), 2);
        loser.hear_machines(vec![task]).await.unwrap();
        let now = signs(winner.clone()).await;
        assert_eq!(now.hearers, BTreeMap::from([(task, theirs.own)]));
        assert_eq!(now.turn, after);
        // What holds whatever others do is stored by whoever knows it.
        let end = UnicastFact::Ended {
            state: State::Cancelled,
            reason: Reason::TaskCancelled,
        };
        let stored = apply(loser.clone(), Decided::ByTask, tasks[2], end.clone());
        let QueueApplied::Stored { before, after, .. } = stored.await.unwrap() else {
            panic!("it was not stored");
        };
        assert!(before == look.turn && after != before);
        let again = apply(loser.clone(), Decided::ByTask, tasks[2], end);
        let QueueApplied::Stored { conflicts, .. } = again.await.unwrap() else {
            panic!("it was not tried");
        };
        assert_eq!(conflicts, [tasks[2]]);
    }
}

#[tokio::test]
async fn a_server_that_was_cut_off_while_it_changed_the_queue_lets_others_go_on() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let store = node(&location, "a").await;
        let facts = sample_facts(&["d1p1.img"]);
        let image = store.add_image(new_image("win"), facts).await.unwrap();
        let host = store.add_host(NOW, new_host(1)).await.unwrap();
        let new = new_unicast(image, &[host]);
        let tasks = store.create_unicast(NOW, new).await.unwrap();
        // As it was left where FOG's tables undo nothing.
        store.raw("UPDATE fos_queue SET turn = turn + 1").await;
        for is_whole in [false, true] {
            let look = store.queue().await.unwrap();
            let facts = vec![(tasks[0], entered(1))];
            let applied = store.apply_queue(NOW, Decided::In(look.turn), facts).await;
            let is_stored = matches!(applied.unwrap(), QueueApplied::Stored { .. });
            assert_eq!(is_stored, is_whole);
        }
        // Somebody has emptied it.
        store.raw("DELETE FROM fos_queue").await;
        let look = store.queue().await.unwrap();
        let facts = vec![(tasks[0], UnicastFact::Left)];
        let applied = store.apply_queue(NOW, Decided::In(look.turn), facts).await;
        assert!(matches!(applied.unwrap(), QueueApplied::Stored { .. }));
        assert_ne!(store.queue().await.unwrap().turn, look.turn);
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
        store.register(Shown::default()).await.unwrap();
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
        let registered = store.register(Shown::default());
        registered.await.unwrap().unwrap()
    };
    let numbers = [number(&first).await, number(&second).await];
    assert_ne!(numbers[0], numbers[1]);
    assert_eq!(number(&first).await, numbers[0]);
}

#[tokio::test]
async fn servers_are_seen_with_what_they_have_claimed_and_nodes_with_their_failures() {
    let Some(server) = server() else { return };
    for location in both(&server).await {
        let (first, second) = (node(&location, "a").await, node(&location, "b").await);
        let (id, ..) = session_of(&first, 1).await;
        claim(&second, id).await;
        let site = first.site().await.unwrap();
        let seen: Vec<_> = site
            .servers
            .iter()
            .map(|seen| (&*seen.name, seen.is_this, seen.is_alive(), &*seen.sessions))
            .collect();
        assert_eq!(
            seen,
            [("a", true, true, &[][..]), ("b", false, true, &[id])]
        );
        assert_eq!(site.servers[1].url, "http://b/fog/");
        let sql = "UPDATE fos_nodes SET seenAt = seenAt - 60000 WHERE name = 'b'";
        first.raw(sql).await;
        time_passes(&first).await;
        let site = first.site().await.unwrap();
        let late = &site.servers[1];
        assert!(!late.is_alive() && late.sessions.is_empty(), "{late:?}");
        let task = "SELECT MIN(taskID) FROM tasks";
        let task = first.number(task).await;
        let sql = format!(
            "INSERT INTO nfsFailures (nfNodeID, nfTaskID, nfHostID, nfGroupID, nfDateTime) VALUES \
             (1, {task}, (SELECT MIN(hostID) FROM hosts), 1, '2026-07-01 12:00:00'), \
             (1, {task}, 4711, 1, '2026-07-01 12:00:00')"
        );
        first.raw(&sql).await;
        let failures = second.site().await.unwrap().failures;
        let hosts: Vec<_> = failures.iter().map(|failure| &*failure.host).collect();
        assert_eq!(hosts, ["", "pc001"]);
    }
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
        second.register(Shown::default()).await.unwrap();
        assert_eq!(first.peers().await.unwrap(), []);
    }
}
