//! Sessions that machines join by name, from the boot menu.

use super::Ops;
use super::clients::{ClientError, ClientResult, Known};
use crate::clock;
use crate::domain::SessionId;
use crate::store::{JoinError, OpenSession, StoreError};

/// What became of the wish to join a session.
#[derive(Debug)]
pub enum Joined {
    /// The host is in it.
    Yes(SessionId),
    /// No session of this name can be joined; these can.
    NoSuch(Vec<OpenSession>),
    /// Why not.
    No(JoinError),
}

impl Ops {
    /// Sessions that can still be joined by name.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn joinable(&self) -> Result<Vec<OpenSession>, StoreError> {
        let mut open = self.store.open_sessions().await?;
        open.retain(|session| !session.has_started && !session.name.is_empty());
        Ok(open)
    }

    /// Puts a host into the session of this name. Letter case does not matter.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn join(&self, known: &Known, name: &str) -> ClientResult<Joined> {
        let name = name.trim();
        let open = self.store.open_sessions().await?;
        let mut named = open
            .iter()
            .filter(|open| !open.name.is_empty() && open.name.eq_ignore_ascii_case(name));
        // Of two with one name, which a name that was given twice at a time can make, the one that waits.
        let first = named.clone().next();
        let found = named.find(|open| !open.has_started).or(first);
        let Some(found) = found else {
            return Ok(Joined::NoSuch(self.joinable().await?));
        };
        let id = found.session;
        let (host, address) = (known.host.id, known.request.address);
        match self
            .store
            .join_session(clock::now(), id, host, address)
            .await
        {
            Ok(()) => {}
            Err(JoinError::Store(error)) => return Err(ClientError::Store(error)),
            Err(error) => return Ok(Joined::No(error)),
        }
        self.sessions.joined(id).await?;
        self.sessions.askers().changed([host]);
        let line = format!(
            "host {} joined by its name, from {address}",
            known.host.name
        );
        self.log.session(clock::now(), id.0, &found.name, &line);
        Ok(Joined::Yes(id))
    }
}
