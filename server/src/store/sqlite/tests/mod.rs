//! Tests of what is particular to SQLite.

mod broken;
mod faults;
mod foreign;
mod operations;
mod upgrade;

use super::engine::Limits;
use super::row::{Arg, Value};
use super::*;
use crate::store::{SharedStore, conformance};

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
    /// Runs a statement of a test.
    async fn raw(&self, sql: &str) {
        let sql = sql.to_owned();
        let work = self.engine.write::<_, crate::store::StoreError, _>(|tx| {
            Box::pin(async move { tx.rows(&sql, Vec::new()).await })
        });
        work.await.unwrap();
    }

    /// The first value of a statement's answer.
    async fn value(&self, sql: &str) -> Value {
        let sql = sql.to_owned();
        let work = self
            .engine
            .read(|tx| Box::pin(async move { tx.row(&sql, Vec::<Arg>::new()).await }));
        work.await.unwrap().unwrap().columns[0].1.clone()
    }

    async fn number(&self, sql: &str) -> i64 {
        match self.value(sql).await {
            Value::Int(number) => number,
            other => panic!("{other:?}"),
        }
    }

    async fn text(&self, sql: &str) -> String {
        match self.value(sql).await {
            Value::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

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
