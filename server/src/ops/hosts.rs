//! Hosts as people have them.

use std::sync::Arc;

use fog::Mac;

use super::Ops;
use crate::clock;
use crate::domain::host::{
    self, BadHostName, BadStationMac, Host, HostActivity, HostName, NewHost, StationMac, Waiting,
};
use crate::domain::{HostId, ImageId};
use crate::store::{AddHostError, ChangeError, EditHostError, StoreError};

/// What a machine becomes that is accepted.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// Name; the one that it waits with if not given.
    pub name: Option<HostName>,
    /// Default image.
    pub image: Option<ImageId>,
    /// Target disk.
    pub device: String,
}

/// Why a machine was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It does not wait.
    #[error(
        "no machine with the address {0} waits to be accepted; fos-server host pending shows those that do, and \
         fos-server host add registers any"
    )]
    NotWaiting(Mac),
    /// Its name, which another program gave it, is none.
    #[error("{0}; give another name")]
    Name(#[from] BadHostName),
    /// Its addresses, which another program noted, are none.
    #[error(transparent)]
    Station(#[from] BadStationMac),
    /// It cannot be registered.
    #[error(transparent)]
    Add(AddHostError),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AddHostError> for AcceptError {
    fn from(error: AddHostError) -> Self {
        match error {
            AddHostError::Store(error) => Self::Store(error),
            error => Self::Add(error),
        }
    }
}

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

    /// Machines that asked, or asked to be registered, and are not.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let pending = self.store.pending_hosts().await?;
        let strangers = self.store.strangers().await?;
        let mut waiting = host::waiting(pending, strangers);
        waiting.retain(|machine| self.directory.find(&machine.macs).is_none());
        Ok(waiting)
    }

    /// Registers a machine that waits, with all addresses that are known of it; its name.
    ///
    /// # Errors
    /// If it does not wait, or cannot be registered.
    pub async fn accept_host(&self, mac: Mac, wanted: Accepted) -> Result<HostName, AcceptError> {
        let waiting = self.waiting().await?;
        let mut waiting = waiting.into_iter();
        let machine = waiting.find(|machine| machine.macs.contains(&mac));
        let machine = machine.ok_or(AcceptError::NotWaiting(mac))?;
        let name = match wanted.name {
            Some(name) => name,
            None => machine.proposal.parse()?,
        };
        let macs = machine.macs.into_iter().map(StationMac::try_from);
        let host = NewHost {
            name: name.clone(),
            macs: macs.collect::<Result<_, _>>()?,
            image: wanted.image,
            device: wanted.device,
        };
        self.add_host(host).await?;
        Ok(name)
    }

    /// Forgets a machine that waits, or all that asked here; how many there were.
    ///
    /// # Errors
    /// If it is not stored.
    pub async fn forget_waiting(&self, mac: Option<Mac>) -> Result<u64, StoreError> {
        self.store.forget_pending(mac).await
    }
}
