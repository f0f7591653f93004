//! Servers that have one database by way of different nodes of a Galera cluster.

use super::conformance::{NOW, new_host, session_of};
use super::nodes::{are_given_once, node};
use super::*;
use crate::domain::SessionId;
use crate::domain::node::{Claim, Fence, LEASE_CLUSTER};
use crate::store::mariadb::testing::cluster;

#[tokio::test]
async fn every_table_of_ours_is_one_that_a_cluster_has_at_each_node() {
    let Some(server) = server() else { return };
    let store = ours(&server).await;
    let odd = "SELECT COALESCE(GROUP_CONCAT(t.table_name), '') FROM information_schema.tables t \
        LEFT JOIN information_schema.table_constraints c ON c.table_schema = t.table_schema \
        AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY' \
        WHERE t.table_schema = DATABASE() AND (t.engine <> 'InnoDB' OR c.constraint_name IS NULL)";
    assert_eq!(store.text(odd).await, "");
}

#[tokio::test]
async fn servers_that_are_started_at_the_same_time_at_different_nodes_make_the_tables_once() {
    let Some(cluster) = cluster() else { return };
    let nodes = cluster.database("");
    let (one, two, three) = tokio::join!(
        open(&nodes[0], None),
        open(&nodes[1], None),
        open(&nodes[2], None)
    );
    for store in [one.unwrap(), two.unwrap(), three.unwrap()] {
        assert_eq!(store.number("SELECT COUNT(*) FROM imageTypes").await, 4);
        let look = store.cluster().unwrap();
        assert_eq!((look.is_primary, look.size), (true, 3));
    }
}

#[tokio::test]
async fn a_port_and_a_host_are_given_once_by_servers_at_different_nodes() {
    let Some(cluster) = cluster() else { return };
    let nodes = cluster.database("");
    let first = node(&nodes[0], "a").await;
    let second = node(&nodes[1], "b").await;
    are_given_once(&first, &second).await;
}

#[tokio::test]
async fn what_was_stored_at_one_node_is_seen_at_another_at_once() {
    let Some(cluster) = cluster() else { return };
    let nodes = cluster.database("");
    let first = open(&nodes[0], None).await.unwrap();
    let second = open(&nodes[2], None).await.unwrap();
    for number in 1..=40 {
        let host = first.add_host(NOW, new_host(number)).await.unwrap();
        let (hosts, _) = second.hosts().await.unwrap();
        assert!(hosts.iter().any(|found| found.id == host), "{number}");
        let text = number.to_string();
        second.set_image_root(text.clone()).await.unwrap();
        assert_eq!(first.image_root().await.unwrap(), Some(text));
    }
}

#[tokio::test]
async fn all_that_many_servers_store_at_the_same_time_is_stored() {
    let Some(cluster) = cluster() else { return };
    let nodes = cluster.database("");
    let mut adding = Vec::new();
    for (place, location) in (0_u16..).zip(&nodes) {
        let store = open(location, None).await.unwrap();
        adding.push(tokio::spawn(async move {
            for number in 0..20 {
                let host = new_host(1 + place * 20 + number);
                store.add_host(NOW, host).await.unwrap();
            }
            store
        }));
    }
    for store in adding {
        store.await.unwrap();
    }
    let store = open(&nodes[0], None).await.unwrap();
    assert_eq!(store.hosts().await.unwrap().0.len(), 60);
}

async fn claim(store: &MariaDb, session: SessionId) -> Fence {
    match store.claim(session).await.unwrap() {
        Claim::Ours(Some(fence)) => fence,
        other => panic!("{other:?}"),
    }
}

/// Clocks of nodes are of no account: what one of them says of the end of a lease means nothing to another.
#[tokio::test]
async fn a_claim_is_not_over_because_a_node_has_another_clock() {
    let Some(cluster) = cluster() else { return };
    let nodes = cluster.database("");
    let first = node(&nodes[0], "a").await;
    let second = node(&nodes[1], "b").await;
    let (id, ..) = session_of(&first, 1).await;
    assert_eq!(claim(&first, id).await, Fence(1));
    let renewal = first.renew().await.unwrap().unwrap();
    assert_eq!((renewal.lease, renewal.others), (LEASE_CLUSTER, 1));
    for end in ["1", "9999999999999"] {
        first
            .raw(&format!("UPDATE fos_claims SET leaseEnd = {end}"))
            .await;
        assert_eq!(second.left_sessions().await.unwrap(), []);
        assert!(second.claimed_by(id).await.unwrap().unwrap().lasts);
        assert!(matches!(second.claim(id).await.unwrap(), Claim::Theirs(_)));
    }
    first.release(id, Fence(1)).await.unwrap();
    assert_eq!(second.left_sessions().await.unwrap(), [id]);
    assert_eq!(claim(&second, id).await, Fence(2));
}

#[tokio::test]
async fn addresses_that_are_of_no_cluster_are_refused() {
    let Some(server) = server() else { return };
    let alone = server.empty().await;
    let two = Location::joined(&[&alone, &alone]);
    let text = format!("{:#}", open(&two, None).await.unwrap_err());
    assert!(text.contains("it is of no cluster"), "{text}");
}

#[tokio::test]
async fn fogs_tables_that_are_not_the_same_at_each_node_are_refused() {
    let Some(cluster) = cluster() else { return };
    let nodes = cluster.fogs("");
    let text = format!("{:#}", open(&nodes[0], None).await.unwrap_err());
    assert!(text.contains("Change them all to InnoDB"), "{text}");
}
