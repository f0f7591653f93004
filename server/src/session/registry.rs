//! The sessions that run: found in the database, each with a driver of its own, so that trouble
//! in one does not reach the others.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fog::task::State;
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};
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
    wake: Notify,
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

/// How long a client's request waits for its session before it is told to ask again.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

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
            wake: Notify::new(),
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
                () = self.wake.notified() => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Looks into the database at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The running session of this number, started if it is to run.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn handle(&self, id: SessionId) -> anyhow::Result<Option<Handle>> {
        let mut running = self.running.lock().await;
        if let Some(found) = running.get(&id).filter(|found| !found.task.is_finished()) {
            return Ok(Some(found.handle.clone()));
        }
        let mut conn = self.around.store.conn().await?;
        let session = sessions::by_id(&mut conn, id).await?;
        drop(conn);
        match session {
            Some(session) if session.state.is_active() => self.start(&mut running, session).await,
            _ => Ok(None),
        }
    }

    /// The running sessions.
    pub async fn running(&self) -> Vec<Handle> {
        let running = self.running.lock().await;
        running
            .values()
            .map(|running| running.handle.clone())
            .collect()
    }

    /// Ends all drivers and waits for them.
    pub async fn shut_down(&self) {
        self.shutdown.send_replace(true);
        let running = std::mem::take(&mut *self.running.lock().await);
        for (id, Running { task, .. }) in running {
            if let Err(error) = task.await {
                tracing::error!(session = id.0, "the session's driver: {error}");
            }
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        let finished: Vec<SessionId> = running
            .iter()
            .filter(|(_, running)| running.task.is_finished())
            .map(|(id, _)| *id)
            .collect();
        for id in finished {
            if let Some(Running { task, .. }) = running.remove(&id)
                && let Err(error) = task.await
            {
                // A panic: the session is lost, the others are not.
                let text = format!("internal error of the server: {error}");
                tracing::error!(session = id.0, "{text}");
                self.fail(id, &text).await?;
            }
        }
        let mut conn = self.around.store.conn().await?;
        let active = sessions::active(&mut conn).await?;
        drop(conn);
        for session in active {
            if !running.contains_key(&session.id) {
                self.start(&mut running, session).await?;
            }
        }
        Ok(())
    }

    async fn start(
        &self,
        running: &mut HashMap<SessionId, Running>,
        session: Session,
    ) -> anyhow::Result<Option<Handle>> {
        let id = session.id;
        let mut conn = self.around.store.conn().await?;
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
        let (mut driver, status, events) = Driver::new(self.around.clone(), subjects, core);
        driver.resume(&rows);
        let (commands, inbox) = mpsc::channel(64);
        let task = tokio::spawn(driver.run(inbox, events, self.shutdown.subscribe()));
        let handle = Handle { commands, status };
        running.insert(
            id,
            Running {
                handle: handle.clone(),
                task,
            },
        );
        Ok(Some(handle))
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
        let rows = session_hosts::of_session(&mut conn, id).await?;
        let image = images::by_id(&mut conn, session.image).await?;
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
