//! Against a real MariaDB that the test starts.

mod cluster;
mod faults;
mod fogs;
mod leftovers;
mod nodes;
mod opening;
mod prefixes;
mod retries;

use std::sync::Arc;

use super::engine::Limits;
use super::testing::{Server, server};
use super::*;
use crate::domain::node::NodeName;
use crate::store::node::Node;
use crate::store::sql::Engine as _;
use crate::store::{SharedStore, Store as _, StoreError, conformance};

async fn open(location: &Location, password: Option<&str>) -> anyhow::Result<MariaDb> {
    open_with(location, password, Limits::DEFAULT).await
}

/// As a server that was not there before.
async fn open_with(
    location: &Location,
    password: Option<&str>,
    limits: Limits,
) -> anyhow::Result<MariaDb> {
    let node = Node::passing(&NodeName::default())?;
    MariaDb::open_with(location, password, limits, node).await
}

async fn ours(server: &Server) -> MariaDb {
    open(&server.empty().await, None).await.unwrap()
}

/// In a database of FOG's, with these further rows.
async fn in_fogs(server: &Server, sql: &str) -> MariaDb {
    open(&server.fogs(sql).await, None).await.unwrap()
}

#[tokio::test]
async fn in_a_database_of_ours_it_conforms() {
    let Some(server) = server() else { return };
    conformance::all(|| async { Arc::new(ours(&server).await) as SharedStore }).await;
}

#[tokio::test]
async fn in_fogs_database_it_conforms() {
    let Some(server) = server() else { return };
    conformance::all(|| async { Arc::new(in_fogs(&server, "").await) as SharedStore }).await;
}

#[test]
fn in_a_database_of_ours_it_does_what_the_model_does() {
    let Some(server) = server() else { return };
    conformance::random(12, || async {
        Arc::new(ours(&server).await) as SharedStore
    });
}

#[test]
fn in_fogs_database_it_does_what_the_model_does() {
    let Some(server) = server() else { return };
    conformance::random(12, || async {
        Arc::new(in_fogs(&server, "").await) as SharedStore
    });
}

/// FOG's tables where somebody has made InnoDB of them.
#[test]
fn in_fogs_database_on_innodb_it_does_what_the_model_does() {
    let Some(server) = server() else { return };
    conformance::random(6, || async {
        let location = server.fogs("").await;
        let tables = "SELECT GROUP_CONCAT(CONCAT('ALTER TABLE ', table_name, ' ENGINE=InnoDB') SEPARATOR ';') \
            FROM information_schema.tables WHERE table_schema = DATABASE()";
        let mut admin = server.admin().await;
        let database = location.database();
        sqlx::Executor::execute(
            &mut admin,
            sqlx::raw_sql(&format!("USE {database}; SET group_concat_max_len = 9999")),
        )
        .await
        .unwrap();
        let alter: String = sqlx::query_scalar(tables)
            .fetch_one(&mut admin)
            .await
            .unwrap();
        sqlx::Executor::execute(&mut admin, sqlx::raw_sql(&alter))
            .await
            .unwrap();
        let store = open(&location, None).await.unwrap();
        assert!(store.engine.layout().is_transactional());
        Arc::new(store) as SharedStore
    });
}
