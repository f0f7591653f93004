//! Tests of what is particular to SQLite.

use super::*;
use crate::store::{SharedStore, conformance};

#[tokio::test]
async fn in_memory_it_conforms() {
    conformance::all(|| async { Arc::new(Sqlite::in_memory().await.unwrap()) as SharedStore })
        .await;
}

#[test]
fn in_memory_it_does_what_the_model_does() {
    conformance::random(48, || async {
        Arc::new(Sqlite::in_memory().await.unwrap()) as SharedStore
    });
}

#[test]
fn on_a_file_it_does_what_the_model_does() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::random(16, || async {
        count.set(count.get() + 1);
        let data = dir.path().join(count.get().to_string());
        Arc::new(Sqlite::open(&data).await.unwrap()) as SharedStore
    });
}
