//! The sessions that run: found in the database, each with a driver of its own, so that trouble
//! in one does not reach the others.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fog::task::State;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::core::{CheckIn, Completion, Core, Plan};
use super::driver::{Command, Driver, Subjects, Surroundings};
use super::persist::{self, Fact, Member, Record, Subject};
use super::status::{ClientReport, SessionStatus};
use crate::clock::Timestamp;
use crate::store::session_hosts::SessionHost;
use crate::store::sessions::Session;
use crate::store::{HostId, SessionId, images, session_hosts, sessions};

/// All sessions.
pub struct Sessions {
    around: Surroundings,
    running: Mutex<HashMap<SessionId, Running>>,
    starting: Mutex<()>,
    shutdown: watch::Sender<bool>,
}

struct Running {
    handle: Handle,
    task: JoinHandle<()>,
}

/// A running session.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Arc<SessionStatus>>,
}

/// How long a client's request waits for its session before it is told to ask again: less than
/// clients wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

impl Handle {
    /// A check-in; `None` if the session does not answer.
    pub async fn check_in(
        &self,
        host: HostId,
        address: Ipv4Addr,
        agent: String,
    ) -> Option<CheckIn> {
        let (reply, answer) = oneshot::channel();
        let command = Command::CheckIn {
            host,
            address,
            agent,
            reply,
        };
        self.ask(command, answer).await
    }

    /// A completion report; `None` if the sender has not seen the end in time.
    pub async fn complete(&self, host: HostId) -> Option<Completion> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Complete { host, reply }, answer).await
    }

    /// A progress report.
    pub async fn progress(&self, host: HostId, report: ClientReport) {
        self.tell(Command::Progress { host, report }).await;
    }

    /// Any other request of a client.
    pub async fn contact(&self, host: HostId) {
        self.tell(Command::Contact { host }).await;
    }

    /// A failure report.
    pub async fn failed(&self, host: HostId, text: String) {
        self.tell(Command::Failed { host, text }).await;
    }

    /// The client cannot use the image share.
    pub async fn blamed(&self, host: HostId) {
        self.tell(Command::Blamed { host }).await;
    }

    /// The present state.
    #[must_use]
    pub fn status(&self) -> Arc<SessionStatus> {
        Arc::clone(&self.status.borrow())
    }

    /// Waits for a state that fulfils a condition; `None` if the session ends first.
    pub async fn wait_for(
        &mut self,
        condition: impl FnMut(&Arc<SessionStatus>) -> bool,
    ) -> Option<Arc<SessionStatus>> {
        let found = self.status.wait_for(condition).await;
        found.ok().map(|status| Arc::clone(&status))
    }

    async fn ask<T>(&self, command: Command, answer: oneshot::Receiver<T>) -> Option<T> {
        self.commands.send(command).await.ok()?;
        tokio::time::timeout(ANSWER_LIMIT, answer).await.ok()?.ok()
    }

    async fn tell(&self, command: Command) {
        // A session that is over wants to know nothing more.
        drop(self.commands.send(command).await);
    }
}

impl Sessions {
    /// No sessions yet; [`Self::supervise`] finds them.
    #[must_use]
    pub fn new(around: Surroundings) -> Arc<Self> {
        Arc::new(Self {
            around,
            running: Mutex::default(),
            starting: Mutex::default(),
            shutdown: watch::channel(false).0,
        })
    }

    /// Starts what is to be started and looks after what runs, until [`Self::shut_down`].
    pub async fn supervise(&self) {
        let mut shutdown = self.shutdown.subscribe();
        loop {
            if let Err(error) = self.look().await {
                tracing::error!("looking for multicast sessions: {error:#}; trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// The running session of this number, started if it is to run.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn handle(&self, id: SessionId) -> anyhow::Result<Option<Handle>> {
        let is_lost = match self.running.lock().await.get(&id) {
            Some(found) if !found.task.is_finished() => return Ok(Some(found.handle.clone())),
            found => found.is_some(),
        };
        if is_lost {
            self.bury(id).await?;
        }
        self.start(id).await
    }

    /// Ends all drivers and waits for them.
    pub async fn shut_down(&self) {
        let running = {
            let mut running = self.running.lock().await;
            // Under the lock: nothing is started behind it.
            self.shutdown.send_replace(true);
            std::mem::take(&mut *running)
        };
        for (id, Running { task, .. }) in running {
            if let Err(error) = task.await {
                tracing::error!(session = id.0, "the session's driver: {error}");
            }
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        let finished: Vec<SessionId> = self
            .running
            .lock()
            .await
            .iter()
            .filter(|(_, running)| running.task.is_finished())
            .map(|(id, _)| *id)
            .collect();
        for id in finished {
            self.bury(id).await?;
        }
        let mut conn = self.around.store.conn().await?;
        let active = sessions::active(&mut conn).await?;
        drop(conn);
        for Session { id, .. } in active {
            if self.running.lock().await.contains_key(&id) {
                continue;
            }
            match self.start(id).await {
                Ok(_) => {}
                Err(error) if is_broken_row(&error) => {
                    self.fail(id, &format!("{error:#}")).await?;
                }
                // Trouble of the database itself passes; other sessions may still come through.
                Err(error) => tracing::error!(session = id.0, "starting the session: {error:#}"),
            }
        }
        Ok(())
    }

    /// Takes out a session whose driver has ended. If it panicked, the session is lost: what its
    /// state was nobody knows.
    async fn bury(&self, id: SessionId) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        if !running
            .get(&id)
            .is_some_and(|found| found.task.is_finished())
        {
            return Ok(());
        }
        let Some(Running { task, .. }) = running.remove(&id) else {
            return Ok(());
        };
        // It has finished: this does not wait.
        let ended = task.await;
        drop(running);
        if let Err(error) = ended {
            let text = format!("internal error of the server: {error}");
            tracing::error!(session = id.0, "{text}");
            self.fail(id, &text).await?;
        }
        Ok(())
    }

    /// Starts the driver of a session that is to run, or fails the session if it cannot be sent. The
    /// list of those that run is not locked while the database is asked: everybody needs it.
    async fn start(&self, id: SessionId) -> anyhow::Result<Option<Handle>> {
        let _one_at_a_time = self.starting.lock().await;
        if let Some(found) = self.running.lock().await.get(&id) {
            // Somebody else was faster.
            return Ok(Some(found.handle.clone()));
        }
        let mut conn = self.around.store.conn().await?;
        let session = sessions::by_id(&mut conn, id).await?;
        let Some(session) = session.filter(|session| session.state.is_active()) else {
            return Ok(None);
        };
        let image = images::by_id(&mut conn, session.image).await?;
        let facts = images::facts(&mut conn, session.image).await?;
        let rows = session_hosts::of_session(&mut conn, id).await?;
        drop(conn);
        let problem = match (&image, &facts) {
            (None, _) => Some("its image is not in the database any more".to_owned()),
            (_, None) => {
                Some("its image was never verified; add it with fos-server image add".into())
            }
            _ if rows.is_empty() => Some("it has no hosts".to_owned()),
            _ if session.port == 0 || session.port % 2 == 1 => Some(format!(
                "its base port {} is not an even number",
                session.port
            )),
            _ => unfinished(
                &session,
                &rows,
                facts.as_ref().map_or(0, |f| f.streams.len()),
            ),
        };
        if let Some(problem) = problem {
            self.fail(id, &problem).await?;
            return Ok(None);
        }
        let (Some(image), Some(facts)) = (image, facts) else {
            return Ok(None);
        };
        let now = Instant::now();
        let plan = self.plan(&session, &facts, &rows);
        let members: BTreeMap<_, _> = rows
            .iter()
            .map(|row| (row.host, (row.task, row.name.clone())))
            .collect();
        let core = match session.started_at {
            Some(_) => Core::finishing(plan, now),
            None => Core::new(plan, now),
        };
        let subjects = Subjects {
            session,
            image_name: image.name,
            facts: Arc::new(facts),
            members,
        };
        let mut running = self.running.lock().await;
        if *self.shutdown.borrow() {
            return Ok(None);
        }
        let (mut driver, status, events) = Driver::new(self.around.clone(), subjects, core);
        driver.resume(&rows);
        let (commands, inbox) = mpsc::channel(64);
        let task = tokio::spawn(driver.run(inbox, events, self.shutdown.subscribe()));
        let handle = Handle { commands, status };
        let kept = handle.clone();
        running.insert(id, Running { handle, task });
        Ok(Some(kept))
    }

    fn plan(&self, session: &Session, facts: &images::Facts, rows: &[SessionHost]) -> Plan {
        let timing = self.around.config.timing;
        let max_wait = Duration::from_secs(u64::from(session.max_wait_seconds));
        Plan {
            streams: facts
                .streams
                .iter()
                .map(|stream| stream.name.clone())
                .collect(),
            hosts: rows
                .iter()
                .map(|row| (row.host, row.name.clone()))
                .collect(),
            max_wait,
            stream_wait: timing.stream_wait.max(max_wait),
            grace: timing.grace,
            agent_silence: timing.agent_silence,
            stall_limit: timing.stall_limit,
        }
    }

    /// Ends a session that has no driver.
    async fn fail(&self, id: SessionId, problem: &str) -> anyhow::Result<()> {
        let store = &self.around.store;
        let mut conn = store.conn().await?;
        let session = sessions::by_id(&mut conn, id)
            .await?
            .context("the session is gone")?;
        // What cannot be read may be the problem.
        let rows = session_hosts::of_session(&mut conn, id).await;
        let rows = readable(rows)?.unwrap_or_default();
        let image = readable(images::by_id(&mut conn, session.image).await)?.flatten();
        drop(conn);
        if !session.state.is_active() {
            return Ok(());
        }
        let now = Timestamp::now();
        let text = format!("is now failed: {problem}");
        self.around.log.session(now, id, &session.name, &text);
        let subject = Subject {
            session: id,
            image: session.image,
            image_name: image.map(|image| image.name).unwrap_or_default(),
        };
        let text = format!("the session failed: {problem}");
        let mut facts: Vec<Fact> = rows
            .into_iter()
            .filter(|row| row.result.is_empty())
            .map(|row| Fact::HostEnded {
                host: row.host,
                member: Member {
                    task: row.task,
                    name: row.name,
                },
                address: row.ip,
                state: State::Failed,
                text: text.clone(),
            })
            .collect();
        facts.push(Fact::Ended {
            state: State::Failed,
            text: problem.to_owned(),
        });
        for fact in facts {
            persist::store(store, &subject, &Record { at: now, fact }).await?;
        }
        Ok(())
    }
}

/// Whether an error lies in what is stored, so that trying again cannot help.
fn is_broken_row(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(is_decode_error)
}

fn is_decode_error(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
    )
}

/// Nothing in place of rows that cannot be decoded.
fn readable<T>(found: sqlx::Result<T>) -> sqlx::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_decode_error(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is wrong with a session that a server before this one had started. If all that was left
/// were the clients' reports, nothing is.
fn unfinished(session: &Session, rows: &[SessionHost], streams: usize) -> Option<String> {
    let started = session.started_at.as_ref()?;
    let is_sent = rows
        .iter()
        .filter(|row| row.result.is_empty())
        .all(|row| usize::try_from(row.streams_done).unwrap_or(0) >= streams);
    if is_sent {
        return None;
    }
    Some(format!(
        "the server stopped while it was sending (start was at {started}); the disks of its hosts \
         are not complete. Deploy them again"
    ))
}

const POLL: Duration = Duration::from_secs(1);
