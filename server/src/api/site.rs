//! Who serves machines, as people see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::unicast::UnicastTask;
use crate::ops::{NodeState, ServerState, SiteState};

/// Servers and storage nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    /// The servers that have this database, by name; nothing if none runs.
    pub servers: Vec<ServerRow>,
    /// The storage nodes, by group.
    pub nodes: Vec<NodeRow>,
    /// Machines that could not use a storage node, the newest first.
    pub failures: Vec<FailureRow>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerRow {
    /// Name.
    pub name: String,
    /// Where clients reach it, ending with `/`; empty where that depends on the client.
    pub url: String,
    /// Whether it is the one that answers.
    pub is_this: bool,
    /// Whether it has shown itself a moment ago.
    pub is_alive: bool,
    /// Since when it runs, UTC; known of the one that answers.
    pub alive_since: Option<String>,
    /// Seconds since it has shown itself.
    pub silent_seconds: u64,
    /// Active sessions that it runs.
    pub sessions: Vec<i64>,
}

/// A storage node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeRow {
    /// Number.
    pub node: i64,
    /// Name; empty if it was removed while tasks name it.
    pub name: String,
    /// Number of its group.
    pub group: i64,
    /// Name of its group; empty if that is gone.
    pub group_name: String,
    /// Name or address as FOG has it; empty if it is this server's own.
    pub address: String,
    /// Whether it serves its group.
    pub is_master: bool,
    /// Whether FOG uses it.
    pub is_enabled: bool,
    /// Machines that it serves alone at a time.
    pub slots: u32,
    /// Who has a slot, the longest first; more than slots where some were forced.
    pub served: Vec<SlotRow>,
    /// Who waits for one, in the order of the line.
    pub waiting: Vec<SlotRow>,
}

/// Who has a slot, or waits for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotRow {
    /// Number of the task.
    pub task: i64,
    /// Name of the host.
    pub host: String,
    /// Name of the image.
    pub image: String,
    /// Since when it has it, or waits, UTC.
    pub since: Option<String>,
    /// How much of the partition that is written is done, in percent.
    pub percent: u8,
}

/// A machine that could not use a storage node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureRow {
    /// Number of the node.
    pub node: i64,
    /// Name of the host; empty if it is gone.
    pub host: String,
    /// Number of its task.
    pub task: i64,
    /// When, UTC.
    pub at: String,
}

/// Servers and storage nodes for people.
#[must_use]
pub fn node_list(site: &SiteState) -> NodeList {
    let failures = site.failures.iter().map(|failure| FailureRow {
        node: failure.node.0,
        host: shown(&failure.host),
        task: failure.task.0,
        at: failure.at.to_string(),
    });
    NodeList {
        servers: site.servers.iter().map(server).collect(),
        nodes: site.nodes.iter().map(node).collect(),
        failures: failures.collect(),
    }
}

fn server(state: &ServerState) -> ServerRow {
    let seen = &state.seen;
    ServerRow {
        name: shown(&seen.name),
        url: shown(&seen.url),
        is_this: seen.is_this,
        is_alive: seen.is_alive(),
        alive_since: state.since.map(|since| since.to_string()),
        silent_seconds: seen.silence.as_secs(),
        sessions: seen.sessions.iter().map(|session| session.0).collect(),
    }
}

fn node(state: &NodeState) -> NodeRow {
    let node = &state.node;
    NodeRow {
        node: node.id.0,
        name: shown(&node.name),
        group: node.group,
        group_name: shown(&node.group_name),
        address: shown(&node.address),
        is_master: node.is_master,
        is_enabled: node.is_enabled,
        slots: state.slots,
        served: state.served.iter().map(|task| slot(task, true)).collect(),
        waiting: state.waiting.iter().map(|task| slot(task, false)).collect(),
    }
}

fn slot(task: &UnicastTask, is_served: bool) -> SlotRow {
    let since = match is_served {
        true => task.went_at,
        false => task.entered_at,
    };
    SlotRow {
        task: task.id.0,
        host: shown(&task.host_name),
        image: shown(&task.image_name),
        since: since.map(|since| since.to_string()),
        percent: task.percent,
    }
}

fn shown(text: &str) -> String {
    fog::encoding::printable(text, 250)
}
