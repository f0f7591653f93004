//! Who serves machines.

use super::*;
use crate::domain::NodeId;

/// A server of its own has one storage node once it knows where its images are, and none that failed.
pub(super) async fn a_storage_node_is_there(store: SharedStore) {
    store.set_image_root("/images".to_owned()).await.unwrap();
    let site = store.site().await.unwrap();
    let nodes = store.queue_rules().await.unwrap().slots;
    let found: Vec<NodeId> = site.storage.iter().map(|node| node.id).collect();
    assert_eq!(found, nodes.into_keys().collect::<Vec<_>>());
    for node in &site.storage {
        assert!(node.is_master && node.is_enabled, "{node:?}");
        assert!(!node.name.is_empty(), "{node:?}");
        assert!(!node.group_name.is_empty(), "{node:?}");
    }
    assert_eq!(site.failures, []);
}
