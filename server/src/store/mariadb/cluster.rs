//! The nodes of a database: one, or those of a Galera cluster. Which of them is used, and what it says of the cluster.
//!
//! All connections are to one node at a time. It is left when it does not answer, or is cut off from the others; then
//! what was begun there is begun again at the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use tokio::sync::watch;

use super::connection::{Connection, show};
use crate::domain::doctor::ClusterLook;
use crate::store::{Result, StoreError};

/// The nodes that were named. Clones are the same.
#[derive(Clone)]
pub(super) struct Nodes {
    nodes: Arc<[Node]>,
    /// The position of the one that is used.
    used: Arc<watch::Sender<usize>>,
    seen: Arc<Mutex<Option<Seen>>>,
}

struct Node {
    place: Arc<str>,
    options: MySqlConnectOptions,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of the cluster.
    id: String,
    /// `Primary` where it has the majority.
    status: String,
    is_ready: bool,
    size: u32,
    /// What the node does.
    state: String,
}

impl Nodes {
    /// In this order; not empty.
    pub(super) fn new(nodes: Vec<(String, MySqlConnectOptions)>) -> Self {
        assert!(!nodes.is_empty(), "a location names a node");
        let node = |(place, options): (String, MySqlConnectOptions)| Node {
            place: place.into(),
            options,
        };
        Self {
            nodes: nodes.into_iter().map(node).collect(),
            used: Arc::new(watch::channel(0).0),
            seen: Arc::default(),
        }
    }

    /// How many were named.
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The position of the one that is used.
    pub(super) fn used(&self) -> usize {
        *self.used.borrow()
    }

    /// What a node is called in errors.
    pub(super) fn place(&self, at: usize) -> &Arc<str> {
        &self.node(at).place
    }

    pub(super) fn options(&self, at: usize) -> &MySqlConnectOptions {
        &self.node(at).options
    }

    fn node(&self, at: usize) -> &Node {
        &self.nodes[at % self.nodes.len()]
    }

    /// From now on the next node is used in place of this one; nothing where there is no other.
    pub(super) fn leave(&self, at: usize) {
        let next = (at + 1) % self.nodes.len();
        let has_moved = self.used.send_if_modified(|used| {
            let moves = *used == at && next != at;
            if moves {
                *used = next;
            }
            moves
        });
        if has_moved {
            let (left, taken) = (self.place(at), self.place(next));
            tracing::warn!("server: {left} cannot be used; from now on it is {taken}");
        }
    }

    /// Ends when a node is not used any more, and what was asked there has had some time to end.
    pub(super) async fn left(&self, at: usize) {
        let mut used = self.used.subscribe();
        if used.wait_for(|used| *used != at).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LAST_WORDS).await;
    }

    /// Leaves a node unless [`Trial::succeed`] is called: whoever tries it may be dropped meanwhile.
    pub(super) fn on_trial(&self, at: usize) -> Trial<'_> {
        Trial {
            nodes: Some(self),
            at,
        }
    }

    /// Whether the database is a cluster's.
    pub(super) fn is_cluster(&self) -> bool {
        self.lock().is_some()
    }

    /// What is known of the cluster.
    pub(super) fn look(&self) -> Option<ClusterLook> {
        let seen = self.lock().clone()?;
        Some(ClusterLook {
            node: self.place(self.used()).to_string(),
            is_primary: seen.is_usable(),
            state: format!("{}, {}", seen.status, seen.state),
            size: seen.size,
        })
    }

    /// Asks a node whether it is of a cluster and may be used.
    ///
    /// # Errors
    /// If it may not; then it is nevertheless noted what it said.
    pub(super) async fn examine(&self, connection: &mut Connection, at: usize) -> Result<()> {
        let place = Arc::clone(self.place(at));
        let seen = Seen::ask(connection, &place).await?;
        let known = self.lock().as_ref().map(|known| known.id.clone());
        let fault = |text: &str| Err(StoreError::Unavailable(format!("{place}: {text}")));
        let Some(seen) = seen else {
            if self.count() > 1 {
                return fault(
                    "it is of no cluster (wsrep_on is OFF). Several addresses have to be of the nodes of one Galera \
                     cluster: name one of them, or start them as a cluster",
                );
            }
            if known.is_some() {
                return fault("it was a node of a cluster and is none any more (wsrep_on is OFF)");
            }
            return Ok(());
        };
        // A node that is cut off from the others does not say which cluster it is of.
        if known.is_some_and(|known| seen.is_usable() && known != seen.id) {
            return fault(
                "it is of another cluster than the nodes that were used before; check the addresses of --database, and \
                 whether the cluster was begun anew",
            );
        }
        let is_usable = seen.is_usable();
        let state = format!("{}, {}", seen.status, seen.state);
        self.note(seen);
        match is_usable {
            true => Ok(()),
            false => fault(&format!(
                "this node of the cluster takes nothing: {state}. It is cut off from most of the others, or joins them \
                 just now"
            )),
        }
    }

    /// What a node says now, for people.
    pub(super) async fn look_again(&self, connection: &mut Connection, at: usize) -> Result<()> {
        let place = Arc::clone(self.place(at));
        if let Some(seen) = Seen::ask(connection, &place).await? {
            self.note(seen);
        }
        Ok(())
    }

    fn note(&self, seen: Seen) {
        let mut known = self.lock();
        // What it is called is kept while the node does not know it.
        let id = match (&*known, seen.is_usable()) {
            (Some(known), false) => known.id.clone(),
            _ => seen.id.clone(),
        };
        *known = Some(Seen { id, ..seen });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seen>> {
        // Whole at any time.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node that is tried.
#[must_use]
pub(super) struct Trial<'a> {
    nodes: Option<&'a Nodes>,
    at: usize,
}

impl Trial<'_> {
    pub(super) fn succeed(mut self) {
        self.nodes = None;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(nodes) = self.nodes {
            nodes.leave(self.at);
        }
    }
}

impl Seen {
    /// `None` where there is no cluster.
    async fn ask(connection: &mut Connection, place: &str) -> Result<Option<Self>> {
        // Such questions are answered by a node that takes nothing else, too.
        let on = show(connection, place, "SHOW GLOBAL VARIABLES LIKE 'wsrep_on'");
        let is_on = on.await?.iter().any(|(_, value)| value == "ON");
        if !is_on {
            return Ok(None);
        }
        let sql = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_state_uuid', 'wsrep_cluster_status', \
                   'wsrep_cluster_size', 'wsrep_local_state_comment', 'wsrep_ready')";
        let said = show(connection, place, sql).await?;
        let of = |name: &str| {
            let found = said
                .iter()
                .find(|(given, _)| given.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.as_str())
        };
        let text = |name: &str| fog::encoding::printable(of(name), MAX_WORD);
        Ok(Some(Self {
            id: text("wsrep_cluster_state_uuid"),
            status: text("wsrep_cluster_status"),
            is_ready: of("wsrep_ready") == "ON",
            size: of("wsrep_cluster_size").parse().unwrap_or(0),
            state: text("wsrep_local_state_comment"),
        }))
    }

    fn is_usable(&self) -> bool {
        self.is_ready && self.status == "Primary"
    }
}

/// Characters of a word of a node.
const MAX_WORD: usize = 60;

/// What has been asked at a node may take so long after the node is not used any more.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Nodes {
        let node = |number| (format!("node {number}"), MySqlConnectOptions::new());
        Nodes::new((0..count).map(node).collect())
    }

    #[test]
    fn the_next_node_is_used_in_place_of_one_that_was_left() {
        let three = nodes(3);
        three.leave(0);
        assert_eq!(three.used(), 1);
        // Whoever met the same trouble at the same node leaves nothing more.
        three.leave(0);
        assert_eq!(three.used(), 1);
        three.leave(1);
        three.leave(2);
        assert_eq!(three.used(), 0);
        let one = nodes(1);
        one.leave(0);
        assert_eq!(one.used(), 0);
    }

    #[test]
    fn a_trial_that_is_dropped_leaves_the_node() {
        let two = nodes(2);
        two.on_trial(0).succeed();
        assert_eq!(two.used(), 0);
        drop(two.on_trial(0));
        assert_eq!(two.used(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_at_a_node_ends_after_it_was_left() {
        let two = nodes(2);
        let left = two.left(0);
        tokio::pin!(left);
        let still = tokio::time::timeout(Duration::from_secs(3600), &mut left);
        still.await.unwrap_err();
        two.leave(0);
        left.await;
    }

    #[test]
    fn a_node_that_is_cut_off_keeps_the_name_of_its_cluster() {
        let one = nodes(1);
        assert_eq!(one.look(), None);
        let seen = |id: &str, status: &str, is_ready| Seen {
            id: id.into(),
            status: status.into(),
            is_ready,
            size: 3,
            state: "Synced".into(),
        };
        one.note(seen("a", "Primary", true));
        assert!(one.look().unwrap().is_primary);
        one.note(seen("", "non-Primary", false));
        assert!(!one.look().unwrap().is_primary);
        assert_eq!(one.lock().as_ref().unwrap().id, "a");
    }
}
