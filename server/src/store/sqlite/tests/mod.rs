//! Tests of what is particular to SQLite.

mod broken;
mod faults;
mod foreign;
mod upgrade;

use std::net::IpAddr;
use std::sync::Arc;

use super::engine::Limits;
use super::*;

use crate::domain::handouts::StoredRow;
use crate::domain::reason::BrokenRow;
use crate::domain::session::{Fact, Note};
use crate::domain::{HostId, ImageId, Reason, SessionId, TaskId};
use crate::store::sql::row::Value;
use crate::store::sql::{Engine as _, settings};
use crate::store::{Change, Conflict, Result, Settings, SharedStore, Store as _, conformance};

#[tokio::test]
async fn in_memory_it_conforms() {
    conformance::all(|| async { Arc::new(Sqlite::in_memory().await.unwrap()) as SharedStore })
        .await;
}

#[tokio::test]
async fn on_a_file_it_conforms() {
    let files = Files::new();
    conformance::all(|| files.next()).await;
}

#[test]
fn in_memory_it_does_what_the_model_does() {
    conformance::random(48, || async {
        Arc::new(Sqlite::in_memory().await.unwrap()) as SharedStore
    });
}

#[test]
fn on_a_file_it_does_what_the_model_does() {
    let files = Files::new();
    conformance::random(16, || files.next());
}

/// Databases in files.
struct Files {
    dir: tempfile::TempDir,
    count: std::cell::Cell<usize>,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            count: std::cell::Cell::new(0),
        }
    }

    async fn next(&self) -> SharedStore {
        self.count.set(self.count.get() + 1);
        let data = self.dir.path().join(self.count.get().to_string());
        Arc::new(Sqlite::open(&data).await.unwrap())
    }
}

impl Sqlite {
    /// Everything in the database, a line for each row.
    async fn dump(&self) -> Vec<String> {
        let work = self.engine.read(|tx| {
            Box::pin(async move {
                let sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
                let mut lines = Vec::new();
                for table in tx.rows(sql, Vec::new()).await? {
                    let name = table.of("sqlite_master", &[]).text("name")?;
                    for row in tx
                        .rows(&format!("SELECT * FROM {name}"), Vec::new())
                        .await?
                    {
                        lines.push(format!("{name} {:?}", row.columns));
                    }
                }
                Ok(lines)
            })
        });
        work.await.unwrap()
    }
}
