//! Who serves machines: FOG's storage nodes, and the servers that have this database.

use std::time::Duration;

use super::node::LEASE;
use super::{NodeId, SessionId, TaskId, Timestamp};

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// By their groups.
    pub storage: Vec<StorageNode>,
    /// By name; nothing where there can be one alone.
    pub servers: Vec<ServerSeen>,
    /// The newest first.
    pub failures: Vec<NodeFailure>,
}

/// A storage node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageNode {
    /// Number.
    pub id: NodeId,
    /// Name.
    pub name: String,
    /// Number of its group.
    pub group: i64,
    /// Name of its group; empty if that is gone.
    pub group_name: String,
    /// Name or address as FOG has it; empty if this server made it.
    pub address: String,
    /// Whether its group is served by it.
    pub is_master: bool,
    /// Whether FOG uses it.
    pub is_enabled: bool,
}

/// A server that has shown itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSeen {
    /// Name.
    pub name: String,
    /// Where clients reach it, ending with `/`; empty where that is not known.
    pub url: String,
    /// Whether it is this one.
    pub is_this: bool,
    /// Since its last sign.
    pub silence: Duration,
    /// Active sessions that it has claimed.
    pub sessions: Vec<SessionId>,
}

impl ServerSeen {
    /// Whether it is not silent for longer than it may be before others take its sessions.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.silence <= LEASE
    }
}

/// A machine could not use a storage node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFailure {
    /// Which node.
    pub node: NodeId,
    /// The name of the machine's host; empty if that is gone.
    pub host: String,
    /// Its task.
    pub task: TaskId,
    /// When.
    pub at: Timestamp,
}

/// Storage nodes, servers and failures that are shown, each some 200 bytes.
pub const MAX_SHOWN: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_alive_as_long_as_its_claims_last() {
        let seen = |silence| ServerSeen {
            name: "a".to_owned(),
            url: String::new(),
            is_this: false,
            silence,
            sessions: Vec::new(),
        };
        assert!(seen(LEASE).is_alive());
        assert!(!seen(LEASE + Duration::from_millis(1)).is_alive());
    }
}
