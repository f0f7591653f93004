//! Tests of what is particular to SQLite.

use super::*;
use crate::store::{SharedStore, conformance};

#[tokio::test]
async fn in_memory_it_conforms() {
    conformance::all(|| async { Arc::new(Sqlite::in_memory().await.unwrap()) as SharedStore })
        .await;
}
