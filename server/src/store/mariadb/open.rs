//! Opening: what is there, what is missing, what is refused.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::MariaDb;
use super::cluster::Nodes;
use super::connection::Trouble;
use super::engine::{Access, Engine, Limits};
use super::layout::{Layout, Owner};
use super::location::{Database, Location};
use super::{migrations, watch};
use crate::store::node::Node;

impl MariaDb {
    /// Opens a database, and makes the tables of ours in it where they are missing.
    ///
    /// # Errors
    /// If it cannot be reached, or it is neither FOG's in a layout that is known, nor
    /// ours, nor empty.
    pub(crate) async fn open(database: &Database, node: Node) -> anyhow::Result<Self> {
        let password = database.password.as_deref();
        let location = &database.location;
        let store = Self::open_with(location, password, Limits::DEFAULT, node).await?;
        // FOG's programs tell nobody what they change, nor do other servers.
        watch::start(&store.engine).await?;
        Ok(store)
    }

    pub(super) async fn open_with(
        location: &Location,
        password: Option<&str>,
        limits: Limits,
        node: Node,
    ) -> anyhow::Result<Self> {
        let place = location.shown();
        let access = Access::new(
            &place,
            Nodes::new(location.nodes(password)),
            location.database(),
            limits,
            node,
        );
        let mut writer = access.open_writer(Arc::new(Layout::unknown())).await?;
        // Two servers that are started at the same time make the tables one after the other.
        access.lock_tables(&mut writer).await?;
        let found = Layout::read(&mut writer, &place).await;
        let found = found.with_context(|| format!("the tables of {place}"))?;
        let mut tries = 0;
        loop {
            writer.trouble = None;
            let prepared = migrations::run(&mut writer, &place, &found).await;
            tries += 1;
            match prepared {
                // The lock is that of one node: by way of another node of a cluster another server does the same.
                Err(_) if writer.trouble == Some(Trouble::Conflict) && tries < MAX_TRIES => {
                    tokio::time::sleep(AGAIN).await;
                }
                other => {
                    other.with_context(|| format!("preparing the tables of {place}"))?;
                    break;
                }
            }
        }
        access.unlock_tables(&mut writer).await?;
        // Those of ours are there now.
        let layout = Layout::read(&mut writer, &place).await;
        let layout = Arc::new(layout.with_context(|| format!("the tables of {place}"))?);
        writer.set_layout(Arc::clone(&layout));
        ensure!(
            layout.is_transactional() || !access.nodes.is_cluster(),
            "{place} is FOG's, and its tables are not InnoDB: the nodes of a Galera cluster do not have the same in them. \
             Change them all to InnoDB (ALTER TABLE ... ENGINE=InnoDB), or use a server that is of no cluster"
        );
        match layout.owner() {
            Owner::Ours => tracing::debug!("server: {place}"),
            Owner::Fog(step) => {
                tracing::info!("server: {place} is FOG's, at step {step} of its schema");
                if !layout.is_transactional() {
                    tracing::info!(
                        "server: FOG's tables are not InnoDB: what fails in the middle is not undone there"
                    );
                }
            }
        }
        Ok(Self {
            engine: Arc::new(Engine::new(access, layout, writer)),
        })
    }
}

/// Times that the tables are prepared, if other servers do so at the same time.
const MAX_TRIES: u32 = 20;

/// Between two of them.
const AGAIN: Duration = Duration::from_millis(250);
