//! Which sessions are this server's, where several servers have one database.
//!
//! A session is claimed before it is run. The claim is renewed while its driver runs; a driver whose claim is not
//! sure any more stops its sender and ends, before another server can have the session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Sessions;
use crate::clock;
use crate::domain::SessionId;
use crate::domain::node::{Claim, Fence, Leases, NotHere, RENEW, Server};
use crate::imagestore;
use crate::logs::{Level, Subject};
use crate::store::StoreError;

/// What is known of the claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    leases: Mutex<Leases>,
    /// Active sessions that do not run here: why, and when that was found out.
    not_here: Mutex<BTreeMap<SessionId, (Instant, NotHere)>>,
    /// Why no session is claimed.
    held: Mutex<Option<String>>,
    /// The other servers that were seen a moment ago.
    others: Mutex<Vec<Server>>,
    /// Whether other servers were seen.
    has_others: std::sync::atomic::AtomicBool,
}

/// The claim of a driver.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    claims: Arc<Claims>,
    session: SessionId,
    fence: Option<Fence>,
}

impl Claimed {
    /// Whether another server may have the session.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        let leases = lock(&self.claims.leases);
        self.fence
            .is_some_and(|fence| !leases.has(now, self.session, fence))
    }

    /// `None` where there can be no other server.
    pub(super) fn fence(&self) -> Option<Fence> {
        self.fence
    }
}

impl Sessions {
    /// From now on no session is claimed, for this reason; those that run go on. `None`: they are again.
    pub fn hold(&self, why: Option<String>) {
        *lock(&self.claims.held) = why;
        lock(&self.claims.not_here).clear();
    }

    /// Why an active session does not run here, if that is known.
    #[must_use]
    pub fn not_here(&self, session: SessionId) -> Option<NotHere> {
        let not_here = lock(&self.claims.not_here);
        not_here.get(&session).map(|(_, why)| why.clone())
    }

    /// The other servers that were seen a moment ago.
    #[must_use]
    pub fn others(&self) -> Vec<Server> {
        lock(&self.claims.others).clone()
    }

    async fn look_for_others(&self) {
        match self.around().store.servers().await {
            Ok(others) => *lock(&self.claims.others) = others,
            // Those that were known are as good.
            Err(error) => tracing::debug!("looking for other servers: {error}"),
        }
    }

    /// Claims a session, if this server may run it; `None` if not.
    pub(super) async fn claim(&self, session: SessionId) -> Result<Option<Claimed>, StoreError> {
        let known = lock(&self.claims.not_here).get(&session).cloned();
        // Clients ask again and again.
        if known.is_some_and(|(at, _)| at.elapsed() < ASK_AGAIN) {
            return Ok(None);
        }
        let other = self.around().store.claimed_by(session).await?;
        if let Some(text) = self.why_not(session, other.is_some()).await? {
            let why = match other {
                Some(other) if other.lasts => NotHere::OtherServer(other.server),
                _ => NotHere::Held { text },
            };
            self.is_not_here(session, why);
            return Ok(None);
        }
        let asked = Instant::now();
        let fence = match self.around().store.claim(session).await? {
            Claim::Ours(fence) => fence,
            Claim::Theirs(server) => {
                self.is_not_here(session, NotHere::OtherServer(server));
                return Ok(None);
            }
        };
        if let Some(fence) = fence {
            lock(&self.claims.leases).claimed(asked, session, fence);
        }
        lock(&self.claims.not_here).remove(&session);
        Ok(Some(Claimed {
            claims: Arc::clone(&self.claims),
            session,
            fence,
        }))
    }

    fn is_not_here(&self, session: SessionId, why: NotHere) {
        let mut not_here = lock(&self.claims.not_here);
        let former = not_here.insert(session, (Instant::now(), why.clone()));
        if former.is_none_or(|(_, former)| former != why) {
            let line = crate::text::not_here(session, &why);
            let subject = Subject::Session {
                id: session.0,
                name: String::new(),
            };
            let log = &self.around().log;
            log.line(clock::now(), Level::Info, &subject, &line);
        }
    }

    /// Why this server may not run a session. One that other servers may run, or have begun, is left to one that has
    /// its image.
    async fn why_not(
        &self,
        session: SessionId,
        was_others: bool,
    ) -> Result<Option<String>, StoreError> {
        let held = lock(&self.claims.held).clone();
        if held.is_some() {
            return Ok(held);
        }
        if !self.claims.has_others() && !was_others {
            return Ok(None);
        }
        let around = self.around();
        // The address by which clients know the servers moves to the one that runs the sessions.
        if let Err(error) = around.config.known_interface() {
            return Ok(Some(readable::chain(error.as_ref())));
        }
        let (session, facts) = match around.store.session(session).await {
            Ok(Some(found)) => {
                let facts = around.store.facts(found.image).await;
                (found, facts)
            }
            // Whoever runs it says what is wrong with it.
            Ok(None) | Err(StoreError::Broken(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(Some(facts)) = facts else {
            return Ok(None);
        };
        let dir = around.config.images.join(&session.path);
        let shown = dir.display().to_string();
        let look = tokio::task::spawn_blocking(move || imagestore::check_unchanged(&dir, &facts));
        Ok(match tokio::time::timeout(LOOK_LIMIT, look).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(readable::chain(&error)),
            Ok(Err(_)) | Err(_) => {
                let seconds = LOOK_LIMIT.as_secs();
                Some(format!("{shown} does not answer for {seconds} s"))
            }
        })
    }

    /// Gives a claim back, so that other servers can have the session at once.
    pub(super) async fn give_back(&self, claimed: &Claimed) {
        let Some(fence) = claimed.fence else { return };
        lock(&self.claims.leases).released(claimed.session, fence);
        let released = self.around().store.release(claimed.session, fence);
        match tokio::time::timeout(RELEASE_LIMIT, released).await {
            Ok(Ok(())) => {}
            // It ends by itself.
            Ok(Err(error)) => {
                tracing::debug!(
                    session = claimed.session.0,
                    "giving the claim back: {error}"
                );
            }
            Err(_) => tracing::debug!(
                session = claimed.session.0,
                "giving the claim back takes long"
            ),
        }
    }

    /// Renews the claims, and starts what other servers have left, for ever.
    pub(super) async fn keep_claims(self: &Arc<Self>) {
        let mut ticks = tokio::time::interval(RENEW);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            // A certificate may have been renewed with another key.
            self.around().store.show(self.around().config.shown());
            let renewal = match self.around().store.renew().await {
                Ok(Some(renewal)) => renewal,
                Ok(None) => return std::future::pending().await,
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let what = "the claims of the sessions cannot be renewed; without that they stop soon";
                        self.server_log(Level::Error, &format!("{what}: {error}"));
                    }
                    continue;
                }
            };
            if std::mem::take(&mut is_failing) {
                self.server_log(Level::Info, "the claims of the sessions are renewed again");
            }
            lock(&self.claims.leases).renewed(asked, &renewal);
            self.claims.set_others(renewal.others > 0);
            self.look_for_others().await;
            // The address by which clients know the servers has moved to another one.
            if renewal.others > 0 && self.around().config.known_interface().is_err() {
                lock(&self.claims.leases).lose_all();
            }
            // What is being started takes care of itself.
            if !self.is_starting() {
                tokio::spawn(Arc::clone(self).take_over(renewal.held));
            }
        }
    }

    /// Starts what other servers have left, and gives back what is held and does not run: a request that began it may
    /// have been dropped.
    async fn take_over(self: Arc<Self>, held: Vec<(SessionId, Fence)>) {
        for (session, fence) in held {
            if self.running(session).is_none() {
                let claims = Arc::clone(&self.claims);
                let fence = Some(fence);
                let claimed = Claimed {
                    claims,
                    session,
                    fence,
                };
                self.give_back(&claimed).await;
            }
        }
        let left = match self.around().store.left_sessions().await {
            Ok(left) => left,
            Err(error) => {
                tracing::debug!("looking for sessions that other servers have left: {error}");
                return;
            }
        };
        for id in left {
            if self.running(id).is_none()
                && let Err(error) = self.handle(id).await
            {
                tracing::warn!(session = id.0, "taking the session over: {error}");
            }
        }
    }

    fn server_log(&self, level: Level, text: &str) {
        let log = &self.around().log;
        log.line(clock::now(), level, &Subject::Server, text);
    }

    /// Forgets those that are over.
    pub(super) fn only_active(&self, active: &[SessionId]) {
        lock(&self.claims.not_here).retain(|id, _| active.contains(id));
    }
}

impl Claims {
    fn has_others(&self) -> bool {
        self.has_others.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn set_others(&self, has_others: bool) {
        self.has_others
            .store(has_others, std::sync::atomic::Ordering::Relaxed);
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until a claim that was refused is tried again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How long the image directory may take to show its files.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// How long the database may take to store that a claim is given back; it ends by itself soon after.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);
