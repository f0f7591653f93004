//! Hosts as people have them.

use std::sync::Arc;

use super::Ops;
use crate::clock;
use crate::domain::HostId;
use crate::domain::host::{Host, HostActivity, NewHost, Stranger};
use crate::store::{AddHostError, ChangeError, EditHostError, StoreError};

impl Ops {
    /// Registers a host.
    ///
    /// # Errors
    /// If its name or an address is taken.
    pub async fn add_host(&self, host: NewHost) -> Result<HostId, AddHostError> {
        let id = self.store.add_host(clock::now(), host).await?;
        self.hosts_changed().await;
        Ok(id)
    }

    /// It is stored already, so it has not failed if reading fails: that is tried again.
    async fn hosts_changed(&self) {
        if let Err(error) = self.refresh_directory().await {
            tracing::warn!("server: reading the hosts anew: {error}");
        }
    }

    /// All hosts with what they do.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn hosts(&self) -> Result<Vec<(Arc<Host>, HostActivity)>, StoreError> {
        let activity = self.store.activity().await?;
        let of = |id| {
            let found = activity.iter().find(|(host, _)| *host == id);
            found.map_or(HostActivity::Idle, |(_, activity)| activity.clone())
        };
        let hosts = self.directory.all().into_iter();
        Ok(hosts.map(|host| (Arc::clone(&host), of(host.id))).collect())
    }

    /// Makes a host what `new` says; `false` if there is none of this name.
    ///
    /// # Errors
    /// If it has an active task, or `new` is not possible.
    pub async fn edit_host(&self, name: &str, new: NewHost) -> Result<bool, EditHostError> {
        let Some(host) = self.directory.by_name(name) else {
            return Ok(false);
        };
        self.store.edit_host(clock::now(), host.id, new).await?;
        self.hosts_changed().await;
        Ok(true)
    }

    /// Takes a host out; `None` if there is none of this name. Its machine may run on: what that was told is
    /// not forgotten.
    ///
    /// # Errors
    /// If it has an active task.
    pub async fn remove_host(&self, name: &str) -> Result<Option<Arc<Host>>, ChangeError> {
        let Some(host) = self.directory.by_name(name) else {
            return Ok(None);
        };
        self.store.remove_host(host.id).await?;
        self.hosts_changed().await;
        Ok(Some(host))
    }

    /// Forgets what machines of a host were told when they booted: a person says that they are switched off. The
    /// one that takes part in a session is not forgotten. `None` if there is no host of this name.
    ///
    /// # Errors
    /// If it is not stored.
    pub async fn forget_boots(&self, name: &str) -> Result<Option<Arc<Host>>, StoreError> {
        let Some(host) = self.directory.by_name(name) else {
            return Ok(None);
        };
        self.forget(&host).await?;
        self.sessions.askers().changed([host.id]);
        Ok(Some(host))
    }

    /// Machines that asked and are not registered.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn strangers(&self) -> Result<Vec<Stranger>, StoreError> {
        let strangers = self.store.strangers().await?;
        let is_unknown = |stranger: &Stranger| self.directory.find(&[stranger.mac]).is_none();
        Ok(strangers.into_iter().filter(is_unknown).collect())
    }
}
