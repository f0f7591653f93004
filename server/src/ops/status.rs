//! What the sessions do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fos_api::Site;

use super::Ops;
use crate::config::Origin;
use crate::domain::node::NotHere;
use crate::domain::reason::BrokenRow;
use crate::domain::session::{Event, Session};
use crate::domain::{HostId, SessionId};
use crate::https::KeyHash;
use crate::session::Live;
use crate::store::{Change, StoreError};

/// A session for whoever asks.
#[derive(Debug, Clone)]
pub enum SessionState {
    /// It runs.
    Live(Arc<Live>),
    /// This server is about to run it: its driver is not there yet.
    Starting(Box<Session>),
    /// It is active, and does not run on this server.
    NotHere(Box<Session>, NotHere),
    /// It is over, or no server runs it.
    Stored(Box<Session>),
    /// A row of it makes no sense.
    Broken(SessionId, Box<BrokenRow>),
}

impl Ops {
    /// A turn for somebody who reads the sessions.
    pub(crate) async fn status_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.status.lock().await
    }

    /// A session; `None` if there is none of this number.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn session(&self, id: SessionId) -> Result<Option<SessionState>, StoreError> {
        if let Some(handle) = self.sessions.running(id) {
            return Ok(Some(SessionState::Live(handle.live())));
        }
        match self.store.session(id).await {
            Ok(session) => Ok(session.map(|found| self.without_driver(found))),
            Err(StoreError::Broken(row)) => Ok(Some(SessionState::Broken(id, row))),
            Err(error) => Err(error),
        }
    }

    /// The active sessions and the newest, newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn newest_sessions(&self, limit: u32) -> Result<Vec<SessionState>, StoreError> {
        let newest = self.store.newest_sessions(limit).await?;
        // One that runs for hours may be older than many that were cancelled since.
        let active = self.store.active_sessions().await?;
        let ids: BTreeSet<SessionId> = newest.into_iter().chain(active).collect();
        let mut found = Vec::new();
        for id in ids.into_iter().rev() {
            found.extend(self.session(id).await?);
        }
        Ok(found)
    }

    /// The session of a host: the one that runs, else the last one that it was in.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn session_of_host(&self, host: HostId) -> Result<Option<SessionState>, StoreError> {
        if let Some(handle) = self.sessions.of_host(host) {
            return Ok(Some(SessionState::Live(handle.live())));
        }
        let last = self.store.last_session(host).await?;
        Ok(last.map(|found| self.without_driver(found)))
    }

    /// The other servers of the site, for a client that would not find them by itself: they have other addresses.
    #[must_use]
    pub fn servers_of(&self, state: &SessionState) -> Option<Site> {
        let own = self.config.known_address();
        let own = own.map(|address| self.config.client_url(address));
        let is_other = |url: &String| !url.is_empty() && Some(url) != own.as_ref();
        let others = self.sessions.others().into_iter();
        let urls = others.map(|server| server.client_url).filter(is_other);
        let servers: Vec<String> = urls.take(MAX_OTHERS).collect();
        let run_by = match state {
            SessionState::NotHere(_, NotHere::OtherServer(server)) => {
                Some(server.client_url.clone())
            }
            _ => None,
        };
        let run_by = run_by.filter(is_other);
        let is_alone = servers.is_empty() && run_by.is_none();
        (!is_alone).then_some(Site { servers, run_by })
    }

    /// The keys by which clients are to know the servers of the site, this one's first; nothing where they are not led to
    /// HTTPS.
    #[must_use]
    pub fn client_keys(&self) -> Vec<KeyHash> {
        let Some(own) = self.config.client_key() else {
            return Vec::new();
        };
        let mut keys = vec![own];
        for other in self.sessions.others() {
            if let Ok(key) = other.key.parse()
                && !keys.contains(&key)
                && keys.len() <= MAX_OTHERS
            {
                keys.push(key);
            }
        }
        keys
    }

    /// A session that has no driver: one that was stored a moment ago gets it from the supervisor.
    fn without_driver(&self, found: Session) -> SessionState {
        let is_server = self.config.origin == Origin::Running && !self.sessions.is_ending();
        let found = Box::new(found);
        if !is_server || !found.state.is_active() {
            return SessionState::Stored(found);
        }
        match self.sessions.not_here(found.id) {
            Some(why) => SessionState::NotHere(found, why),
            None => SessionState::Starting(found),
        }
    }

    /// Events of a session after the one with the number `after`; waits for one at most `wait`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn events(
        &self,
        session: SessionId,
        after: i64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Event>, StoreError> {
        let mut changes = self.store.changes();
        let end = tokio::time::Instant::now() + wait;
        loop {
            let events = self.store.events(session, after, limit).await?;
            if !events.is_empty() || wait.is_zero() {
                return Ok(events);
            }
            loop {
                match tokio::time::timeout_at(end, changes.recv()).await {
                    Err(_) => return Ok(Vec::new()),
                    Ok(Ok(Change::Session(changed) | Change::Foreign(changed)))
                        if changed == session =>
                    {
                        break;
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(tokio::sync::broadcast::error::RecvError::Lagged(_))) => break,
                    Ok(Err(tokio::sync::broadcast::error::RecvError::Closed)) => {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }
}

/// Servers that a client is told.
const MAX_OTHERS: usize = 8;
