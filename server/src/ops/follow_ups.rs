//! Follow-up sessions: who came late to a multicast session, was left behind or was dropped, is deployed once more when
//! that session has ended, all of them together.
//!
//! That there is to be one is stored with the end of the session, and stays until it is made or given up: a restart in
//! between loses nothing. It is made in one transaction that finds it still to be made, so it is made once.

use std::sync::Arc;
use std::time::Duration;

use super::Ops;
use super::deploy::{DeployError, Prepared, Wanted};
use crate::clock;
use crate::domain::follow_up;
use crate::domain::host::Host;
use crate::domain::session::Session;
use crate::domain::{HostId, SessionId, Timestamp};
use crate::logs::{Level, Subject};
use crate::store::{CreateError, StoreError};

impl Ops {
    /// Makes follow-up sessions, for as long as the server runs.
    pub async fn follow_up(&self) {
        loop {
            if let Err(error) = self.make_follow_ups().await {
                let line =
                    format!("looking which sessions are to be followed up: {error}; trying again");
                let what = "looks at what is to be followed up that failed";
                let now = clock::now();
                self.log
                    .repeated(now, Level::Error, &Subject::Server, what, &line);
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Makes those that are due.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn make_follow_ups(&self) -> Result<(), StoreError> {
        for id in self.store.due_follow_ups().await? {
            let session = match self.store.session(id).await {
                Ok(Some(session)) => session,
                Ok(None) => continue,
                Err(StoreError::Broken(row)) => {
                    self.give_up(id, "", Some(row.to_string())).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // What its hosts are told comes first.
            if !session.state.is_active() && self.sessions.running(id).is_none() {
                self.make_follow_up(&session).await?;
            }
        }
        Ok(())
    }

    async fn make_follow_up(&self, former: &Session) -> Result<(), StoreError> {
        let hosts = self.free_hosts(follow_up::hosts(former)).await?;
        if hosts.is_empty() {
            // They have something else to do by now, or are not registered any more.
            return self.give_up(former.id, &former.name, None).await;
        }
        let error = match self.deploy_again(former, hosts).await {
            Ok(session) => {
                let line = format!("session {session} follows, for hosts that missed this one");
                self.log
                    .session(clock::now(), former.id.0, &former.name, &line);
                return Ok(());
            }
            // Another server was faster.
            Err(DeployError::Create(CreateError::Followed(_))) => return Ok(()),
            Err(error) => error,
        };
        let is_over = match &error {
            // These pass, however long it takes.
            DeployError::NoPort { .. }
            | DeployError::Store(_)
            | DeployError::Create(
                CreateError::TooMany { .. }
                | CreateError::PortTaken(_)
                | CreateError::HostBusy { .. }
                | CreateError::Store(_),
            ) => false,
            // An image that is being changed, a share that hangs, another server that has the files.
            _ => former.ended_at.is_none_or(|at| is_late(at, clock::now())),
        };
        let text = fog::encoding::printable(&error.to_string(), MAX_TEXT);
        if is_over {
            return self.give_up(former.id, &former.name, Some(text)).await;
        }
        let line =
            format!("the session that is to follow it is not made yet: {text}; trying again");
        let subject = Subject::Session {
            id: former.id.0,
            name: former.name.clone(),
        };
        let what = "tries to make a follow-up session that failed";
        self.log
            .repeated(clock::now(), Level::Warn, &subject, what, &line);
        Ok(())
    }

    /// Those of the hosts that are registered and have nothing else to do.
    async fn free_hosts(&self, hosts: Vec<HostId>) -> Result<Vec<Arc<Host>>, StoreError> {
        let mut free = Vec::new();
        for id in hosts {
            if let Some(host) = self.directory.host(id)
                && self.store.active_task(id).await?.is_none()
            {
                free.push(host);
            }
        }
        Ok(free)
    }

    async fn deploy_again(
        &self,
        former: &Session,
        hosts: Vec<Arc<Host>>,
    ) -> Result<SessionId, DeployError> {
        let image = self.store.image(former.image).await?;
        let image = image.ok_or_else(|| DeployError::NoImage(former.image_name.clone()))?;
        let (checked_at, warnings) = self.check_deployable(&image).await?;
        let prepared = Prepared {
            image,
            checked_at,
            hosts,
            warnings,
        };
        let left = former.follow_ups.unwrap_or(self.config.follow_ups);
        let wanted = Wanted {
            name: Some(former.name.clone()),
            max_wait: Some(former.max_wait),
            is_shutdown: former.is_shutdown,
            is_debug: former.is_debug,
            expected: 0,
            follows: Some(former.id),
            follow_ups: Some(left.saturating_sub(1)),
            // A machine that waits in the former session's check-in goes on with this one.
            port: u16::try_from(former.port).ok(),
        };
        let deployed = self.create(prepared, wanted).await?;
        Ok(deployed.session)
    }

    async fn give_up(
        &self,
        session: SessionId,
        name: &str,
        why: Option<String>,
    ) -> Result<(), StoreError> {
        let now = clock::now();
        let is_news = self
            .store
            .give_up_follow_up(now, session, why.clone())
            .await?;
        if let Some(why) = why.filter(|_| is_news) {
            let line = format!("no session follows for the hosts that missed this one: {why}");
            let (id, name) = (session.0, name.to_owned());
            self.log.warn(now, &Subject::Session { id, name }, &line);
        }
        Ok(())
    }
}

/// Whether nobody expects any more that a session that ended then is followed up.
fn is_late(ended_at: Timestamp, now: Timestamp) -> bool {
    now.seconds_since(ended_at) > PATIENCE.as_secs()
}

/// Between two looks at what is to be made.
const PERIOD: Duration = Duration::from_secs(3);

/// How long a follow-up is tried to be made that fails.
const PATIENCE: Duration = Duration::from_secs(600);

/// Characters of a cause that are kept.
const MAX_TEXT: usize = 1000;
