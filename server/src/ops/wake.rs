//! Switching machines on.

use std::sync::Arc;

use fog::Mac;

use super::groups::NameError;
use super::{Ops, blocking};
use crate::domain::host::Host;

/// What was sent.
#[derive(Debug, Clone)]
pub struct Woken {
    /// Hosts that it was for.
    pub hosts: usize,
    /// Cards that it was sent by.
    pub cards: Vec<String>,
}

/// Why no machine was switched on.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// A name is wrong.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It was not sent.
    #[error(
        "no machine was switched on: {0}; look at the network card, and at fos-server serve --interface"
    )]
    NotSent(String),
}

impl Ops {
    /// Switches hosts on, by name or group, as far as they listen to Wake-on-LAN: nothing answers.
    ///
    /// # Errors
    /// If a name is wrong, or nothing can be sent.
    pub async fn wake(&self, names: &[String]) -> Result<Woken, WakeError> {
        let hosts = self.named_hosts(names).await?;
        self.wake_hosts(&hosts).await
    }

    pub(super) async fn wake_hosts(&self, hosts: &[Arc<Host>]) -> Result<Woken, WakeError> {
        let macs = hosts.iter().flat_map(|host| host.macs.iter().copied());
        let macs: Vec<Mac> = macs.collect();
        let sender = Arc::clone(&self.sessions.around().sender);
        let config = Arc::clone(&self.config);
        let send = move || {
            let card = config.known_interface()?;
            sender.wake(&macs, card.as_ref())
        };
        let sent = blocking(&self.wakers, send).await;
        let sent = sent.map_err(|error| WakeError::NotSent(error.to_string()))?;
        let cards = sent.map_err(|error| WakeError::NotSent(readable::chain(error.as_ref())))?;
        Ok(Woken {
            hosts: hosts.len(),
            cards,
        })
    }
}

/// At a time: each is a few packets of a few machines.
pub(super) const WAKERS: usize = 2;
