//! Deploys that begin later.

use std::time::Duration;

use super::deploy::{DeployError, DeployRequest};
use super::groups::NameError;
use super::{Ops, deploy};
use crate::clock;
use crate::domain::schedule::{BadWhen, Due, Outcome, Planned, Schedule, When, due};
use crate::domain::{ScheduleId, Timestamp};
use crate::logs::{Level, Subject};
use crate::store::{AddScheduleError, StoreError};

/// Why nothing is begun later.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The time is none.
    #[error(transparent)]
    When(#[from] BadWhen),
    /// A host or group is not there.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The image cannot be deployed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// It was not kept.
    #[error(transparent)]
    Add(#[from] AddScheduleError),
}

impl Ops {
    /// Keeps a deploy that begins later; image and hosts are looked up now, so that mistakes are seen, and again when it
    /// begins.
    ///
    /// # Errors
    /// If it could not be done now, or never begins.
    pub async fn add_schedule(
        &self,
        when: When,
        planned: Planned,
    ) -> Result<Schedule, ScheduleError> {
        let now = clock::now();
        if when.next(now).is_none() {
            return Err(match &when {
                When::Once(at) => BadWhen::Over(*at),
                When::Cron(cron) => BadWhen::Never(cron.fields().to_owned()),
            }
            .into());
        }
        self.named_hosts(&planned.hosts).await?;
        let image = self.store.find_image(&planned.image).await;
        let image = image.map_err(DeployError::Store)?;
        image.ok_or_else(|| deploy::no_image(&planned.image))?;
        let id = self
            .store
            .add_schedule(now, when.clone(), planned.clone())
            .await?;
        Ok(Schedule {
            id,
            when,
            planned,
            created_at: now,
            done_until: now,
            outcome: None,
        })
    }

    /// All of them, the oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, StoreError> {
        self.store.schedules().await
    }

    /// Removes one; `false` if there is none. A session that it has made goes on.
    ///
    /// # Errors
    /// If it is not stored.
    pub async fn remove_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        self.store.remove_schedule(id).await
    }

    /// Begins whatever is due, for as long as the server runs.
    pub async fn follow_schedules(&self) {
        loop {
            if let Err(error) = self.begin_due(clock::now()).await {
                let line = format!("looking what is to begin: {error}; trying again");
                let what = "looks at what is to begin that failed";
                let now = clock::now();
                self.log
                    .repeated(now, Level::Error, &Subject::Server, what, &line);
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Begins whatever is due at this time.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn begin_due(&self, now: Timestamp) -> Result<(), StoreError> {
        for schedule in self.store.schedules().await? {
            if let Some(due) = due(&schedule, now) {
                self.begin_one(&schedule, due, now).await?;
            }
        }
        Ok(())
    }

    /// First it is stored that it is dealt with: a crash in the middle loses a start rather than doing it twice.
    async fn begin_one(
        &self,
        schedule: &Schedule,
        due: Due,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = schedule.id;
        let outcome = match due {
            Due::Start(_) => Outcome::Begun { at: now },
            Due::Missed(at) => Outcome::Missed { at },
        };
        let claimed = self
            .store
            .claim_schedule(id, schedule.done_until, now, outcome);
        if !claimed.await? {
            return Ok(());
        }
        let image = &schedule.planned.image;
        if let Due::Missed(at) = due {
            let line = format!(
                "deploy {id} of {image} should have begun at {at} (UTC), when this server did not run; it is too late for \
                 it now: deploy it by hand if it is wanted"
            );
            self.log.warn(now, &Subject::Server, &line);
            return Ok(());
        }
        let outcome = match self.deploy(&request(&schedule.planned)).await {
            Ok(deployed) => {
                let session = deployed.session;
                let line = format!("deploy {id} of {image} begins as session {session}");
                self.log.info(now, &Subject::Server, &line);
                Outcome::Session { at: now, session }
            }
            Err(error) => {
                let text = fog::encoding::printable(&error.to_string(), MAX_TEXT);
                let line = format!("deploy {id} of {image} did not begin: {text}");
                self.log.error(now, &Subject::Server, &line);
                Outcome::Failed { at: now, text }
            }
        };
        self.store.end_schedule(id, outcome).await
    }
}

fn request(planned: &Planned) -> DeployRequest {
    DeployRequest {
        image: planned.image.clone(),
        hosts: planned.hosts.clone(),
        name: planned.name.clone(),
        max_wait: planned.max_wait_seconds.map(Duration::from_secs),
        is_shutdown: planned.is_shutdown,
        is_debug: planned.is_debug,
        // Nobody stands before them.
        is_woken: true,
        expected: 0,
        follow_ups: planned.follow_ups,
    }
}

/// Between two looks at what is due.
const PERIOD: Duration = Duration::from_secs(5);

/// Characters of a cause that are kept.
const MAX_TEXT: usize = 1000;
