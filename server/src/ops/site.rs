//! Who serves machines, and whom: storage nodes with their slots, servers with their sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fog::task::State;

use super::Ops;
use crate::config::Origin;
use crate::domain::queue::Rules;
use crate::domain::site::{NodeFailure, ServerSeen, StorageNode};
use crate::domain::unicast::UnicastTask;
use crate::domain::{NodeId, SessionId, Timestamp};
use crate::machine;
use crate::store::{StoreError, UnicastQuery};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct SiteState {
    /// By name.
    pub servers: Vec<ServerState>,
    /// By their groups. A node that tasks name and that is not there any more is in it, with nothing but its number.
    pub nodes: Vec<NodeState>,
    /// The newest first.
    pub failures: Vec<NodeFailure>,
}

/// A server.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// As the database has it.
    pub seen: ServerSeen,
    /// Since when it runs, if it is this one.
    pub since: Option<Timestamp>,
}

/// A storage node.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// What it is.
    pub node: StorageNode,
    /// Machines that it serves alone at a time.
    pub slots: u32,
    /// Tasks that have a slot, the one that has it for the longest time first; more than slots where some were forced.
    pub served: Vec<Arc<UnicastTask>>,
    /// Tasks in line, in its order.
    pub waiting: Vec<Arc<UnicastTask>>,
}

impl Ops {
    /// Storage nodes and servers.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn site(&self) -> Result<SiteState, StoreError> {
        let mut found = self.store.site().await?;
        if found.storage.is_empty() && !self.store.is_shared_with_fog() {
            // Its row is written when its images are there for the first time.
            found.storage.push(StorageNode {
                name: machine::node_name().to_string(),
                group: 1,
                is_master: true,
                is_enabled: true,
                ..nameless(OWN_NODE)
            });
        }
        let rules = self.queue_rules().await?;
        let tasks = self.store.unicast(UnicastQuery::Active).await?;
        let mut nodes: BTreeMap<NodeId, NodeState> = BTreeMap::new();
        let state = |node: StorageNode| NodeState {
            slots: rules.slots.get(&node.id).copied().unwrap_or(Rules::SLOTS),
            node,
            served: Vec::new(),
            waiting: Vec::new(),
        };
        let order: Vec<NodeId> = found.storage.iter().map(|node| node.id).collect();
        nodes.extend(found.storage.into_iter().map(|node| (node.id, state(node))));
        for task in tasks {
            let unknown = || state(nameless(task.node));
            let node = nodes.entry(task.node).or_insert_with(unknown);
            match task.state {
                State::InProgress => node.served.push(Arc::new(task)),
                State::CheckedIn => node.waiting.push(Arc::new(task)),
                _ => {}
            }
        }
        for node in nodes.values_mut() {
            node.served.sort_by_key(|task| (task.went_at, task.id));
            node.waiting.sort_by_key(|task| (task.place, task.id));
        }
        let mut sorted: Vec<NodeState> = order.iter().filter_map(|id| nodes.remove(id)).collect();
        sorted.extend(nodes.into_values());
        Ok(SiteState {
            servers: self.servers(found.servers).await?,
            nodes: sorted,
            failures: found.failures,
        })
    }

    async fn servers(&self, seen: Vec<ServerSeen>) -> Result<Vec<ServerState>, StoreError> {
        let is_running = self.config.origin == Origin::Running;
        let since = is_running.then_some(self.began_at);
        let state = |seen: ServerSeen| ServerState {
            since: since.filter(|_| seen.is_this),
            seen,
        };
        if !seen.is_empty() || !is_running {
            return Ok(seen.into_iter().map(state).collect());
        }
        // There can be no other one.
        let mut sessions: Vec<SessionId> = self.store.active_sessions().await?;
        sessions.retain(|id| self.sessions.running(*id).is_some());
        let address = self.config.known_address();
        let url = address.map(|address| self.config.web_url(address));
        Ok(vec![state(ServerSeen {
            name: machine::node_name().to_string(),
            url: url.unwrap_or_default(),
            is_this: true,
            silence: Duration::ZERO,
            sessions,
        })])
    }
}

/// The storage node that a server is without FOG's groups.
const OWN_NODE: NodeId = NodeId(1);

/// A node of which nothing is known.
fn nameless(id: NodeId) -> StorageNode {
    StorageNode {
        id,
        name: String::new(),
        group: 0,
        group_name: String::new(),
        address: String::new(),
        is_master: false,
        is_enabled: false,
    }
}
