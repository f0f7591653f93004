//! Runs the state machine of one session: requests, sender events and time in; sender, database
//! and logs out.

mod actions;
mod publish;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fog::task::State;
use tokio::sync::{mpsc, oneshot, watch};

use super::core::{CheckIn, Completion, Core, Movement};
use super::persist::{Member, Record};
use super::rate::Rate;
use super::status::{ClientReport, SessionStatus};
use super::transmit::{
    Events, SharedCounters, StreamEvent, Transmission, TransmitEvent, Transmitter,
};
use crate::clock::Timestamp;
use crate::config::{Config, StreamRecords};
use crate::imagestore::source::Gate;
use crate::logs::MulticastLog;
use crate::store::images::Facts;
use crate::store::session_hosts::SessionHost;
use crate::store::sessions::Session;
use crate::store::{HostId, Store, sessions, tasks};

/// A request of a client to its session.
#[derive(Debug)]
pub enum Command {
    /// Check-in.
    CheckIn {
        /// Host.
        host: HostId,
        /// Where from.
        address: Ipv4Addr,
        /// What the client calls itself.
        agent: String,
        /// Answer.
        reply: oneshot::Sender<CheckIn>,
    },
    /// Completion report; answered when the sender has seen the end.
    Complete {
        /// Host.
        host: HostId,
        /// Answer.
        reply: oneshot::Sender<Completion>,
    },
    /// Progress report.
    Progress {
        /// Host.
        host: HostId,
        /// What it says; fields left empty keep their value.
        report: ClientReport,
    },
    /// Any other request.
    Contact {
        /// Host.
        host: HostId,
    },
    /// Failure report.
    Failed {
        /// Host.
        host: HostId,
        /// What it says.
        text: String,
    },
    /// The client cannot use the image share.
    Blamed {
        /// Host.
        host: HostId,
    },
}

/// Everything that a session needs from its surroundings.
#[derive(Clone)]
pub struct Surroundings {
    /// Database.
    pub store: Store,
    /// Settings.
    pub config: Arc<Config>,
    /// Sender.
    pub transmitter: Arc<dyn Transmitter>,
    /// Logs.
    pub log: MulticastLog,
}

/// What a session is, from the database.
#[derive(Debug, Clone)]
pub(super) struct Subjects {
    /// Its row.
    pub session: Session,
    /// Display name of the image.
    pub image_name: String,
    /// What is known of the image.
    pub facts: Arc<Facts>,
    /// Hosts with task and name.
    pub members: BTreeMap<HostId, (crate::store::TaskId, String)>,
}

/// The driver of one session.
pub(super) struct Driver {
    around: Surroundings,
    subjects: Subjects,
    core: Core,
    reports: BTreeMap<HostId, ClientReport>,
    open: Option<OpenStream>,
    counters: SharedCounters,
    rate: Rate,
    records: Option<bool>,
    /// Receivers that hold the others up: when that was said, and their silence.
    slow: BTreeMap<Ipv4Addr, (Instant, Duration)>,
    unsaved: VecDeque<Record>,
    is_save_failing: bool,
    /// Lines that may still be written into the session's log.
    details_left: u32,
    waiting: Vec<(HostId, oneshot::Sender<Completion>)>,
    events_in: Events,
    status: watch::Sender<Arc<SessionStatus>>,
    state: State,
}

struct OpenStream {
    index: usize,
    gate: Gate,
    bytes_read: Arc<AtomicU64>,
    transmission: Box<dyn Transmission>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.gate.close();
        self.transmission.stop();
    }
}

impl Driver {
    pub(super) fn new(
        around: Surroundings,
        subjects: Subjects,
        core: Core,
    ) -> (
        Self,
        watch::Receiver<Arc<SessionStatus>>,
        mpsc::Receiver<StreamEvent>,
    ) {
        let rows = SessionStatus::from_rows(&subjects.session, &subjects.image_name, &[]);
        let (status, watcher) = watch::channel(Arc::new(rows));
        let (events_in, events) = Events::channel();
        let records = match around.config.stream_records {
            StreamRecords::Auto => None,
            StreamRecords::Always => Some(true),
            StreamRecords::Never => Some(false),
        };
        let driver = Self {
            state: subjects.session.state,
            around,
            subjects,
            core,
            reports: BTreeMap::new(),
            open: None,
            counters: SharedCounters::default(),
            rate: Rate::default(),
            records,
            slow: BTreeMap::new(),
            unsaved: VecDeque::new(),
            is_save_failing: false,
            details_left: MAX_DETAILS,
            waiting: Vec::new(),
            events_in,
            status,
        };
        (driver, watcher, events)
    }

    /// Puts the hosts back to where they were before the server was restarted.
    pub(super) fn resume(&mut self, rows: &[SessionHost]) {
        let now = Instant::now();
        for row in rows {
            self.reports
                .entry(row.host)
                .or_default()
                .agent
                .clone_from(&row.agent);
            let state = [State::Complete, State::Cancelled, State::Failed]
                .into_iter()
                .find(|state| state.to_string() == row.state);
            if let Some(state) = state {
                self.core
                    .restore_ended(now, row.host, state, row.result.clone());
            } else if let (Ok(address), Some(_)) = (row.ip.parse(), &row.checked_in_at) {
                self.core
                    .restore(now, row.host, address, is_agent(&row.agent));
            }
        }
        self.publish(now);
    }

    /// Runs until the session is over and stored, or the server shuts down.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: mpsc::Receiver<StreamEvent>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Contact { host }) => {
                        self.core.contact(Instant::now(), host);
                        continue;
                    }
                    // Hundreds of clients report every few seconds: shown with the next tick.
                    Some(Command::Progress { host, report }) => {
                        self.core.contact(Instant::now(), host);
                        self.take_report(host, report);
                        continue;
                    }
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some((index, event)) = events.recv() => self.sender_event(index, event),
                _ = ticker.tick() => {
                    self.look().await;
                    self.watch_stream();
                    self.core.tick(Instant::now());
                }
                _ = shutdown.changed() => {
                    self.shut_down().await;
                    return;
                }
            }
            self.carry_out().await;
            self.save().await;
            self.publish(Instant::now());
            if self.core.is_ended() && self.unsaved.is_empty() {
                return;
            }
        }
    }

    async fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::CheckIn {
                host,
                address,
                agent,
                reply,
            } => {
                if self.open.is_none() && self.core.awaits_check_ins() {
                    self.check_files(now).await;
                }
                self.reports.entry(host).or_default().agent = agent.clone();
                let answer = self.core.check_in(now, host, address, is_agent(&agent));
                self.carry_out().await;
                self.save().await;
                // Whoever asked may have gone; it asks again.
                drop(reply.send(answer));
            }
            Command::Complete { host, reply } => match self.core.complete(now, host) {
                Completion::NotYet => {
                    // Whoever has gone meanwhile asks again.
                    self.waiting.retain(|(_, waiter)| !waiter.is_closed());
                    self.waiting.push((host, reply));
                    let name = self.member(host).map(|member| member.name);
                    self.detail(&format!(
                        "{} reports its end; waiting for the last acknowledgements",
                        name.unwrap_or_default()
                    ));
                }
                answer => {
                    self.carry_out().await;
                    self.save().await;
                    drop(reply.send(answer));
                }
            },
            // Served before: nothing follows from them.
            Command::Progress { .. } | Command::Contact { .. } => {}
            Command::Failed { host, text } => {
                self.core.client_failed(now, host, &text);
            }
            Command::Blamed { host } => self.core.client_blamed(now, host),
        }
    }

    fn take_report(&mut self, host: HostId, report: ClientReport) {
        if !self.subjects.members.contains_key(&host) {
            return;
        }
        let kept = self.reports.entry(host).or_default();
        if !report.phase.is_empty() {
            (kept.phase, kept.stream, kept.detail) = (report.phase, report.stream, report.detail);
        }
        if !report.rate.is_empty() {
            (kept.percent, kept.rate) = (report.percent, report.rate);
        }
    }

    fn sender_event(&mut self, index: usize, event: TransmitEvent) {
        if self.open.as_ref().is_none_or(|open| open.index != index) {
            // A sender that was stopped says its last words.
            return;
        }
        let now = Instant::now();
        match event {
            TransmitEvent::Joined(address) => {
                self.detail(&format!("New connection from {address}"));
                self.core.joined(now, address);
            }
            TransmitEvent::Departed(address, silent) => self.core.departed(now, address, silent),
            TransmitEvent::Started => self.core.transfer_started(now),
            TransmitEvent::Ended(participants) => {
                self.open = None;
                self.core.stream_ended(now, &participants);
                for (host, reply) in std::mem::take(&mut self.waiting) {
                    drop(reply.send(self.core.complete(now, host)));
                }
            }
            TransmitEvent::Failed(text) => {
                self.open = None;
                self.core.sender_failed(now, &text);
                self.waiting.clear();
            }
            TransmitEvent::Slow(waiting_for) => {
                let timing = self.around.config.timing;
                let limit = match self.core.are_all_agents() {
                    true => timing.drop_agents,
                    false => timing.drop_others,
                };
                for (address, silent) in &waiting_for {
                    self.core.slow(now, *address, *silent, limit);
                }
                self.core.behind(waiting_for.iter().map(|(addr, _)| *addr));
                let new = waiting_for
                    .into_iter()
                    .map(|(addr, silent)| (addr, (now, silent)));
                self.slow = new.collect();
            }
            TransmitEvent::Note(text) => self.detail(&text),
        }
    }

    fn watch_stream(&mut self) {
        if let Some(open) = &self.open {
            let counters = self.counters.get();
            let movement = Movement {
                read: open.bytes_read.load(Ordering::Relaxed),
                sent: counters
                    .blocks_sent
                    .saturating_sub(counters.blocks_repeated),
                acked: counters.bytes_acked,
            };
            self.core.moved(Instant::now(), movement);
        }
    }

    /// Looks whether other programs cancelled the session or one of its tasks.
    async fn look(&mut self) {
        if let Err(error) = self.try_look().await {
            tracing::warn!(session = self.id(), "reading the session's state: {error}");
        }
    }

    async fn try_look(&mut self) -> sqlx::Result<()> {
        if self.core.is_ended() {
            return Ok(());
        }
        let now = Instant::now();
        let id = self.subjects.session.id;
        let mut conn = self.around.store.conn().await?;
        let row = sessions::by_id(&mut conn, id).await?;
        if !row.is_some_and(|session| session.state.is_active()) {
            self.core.cancelled(now);
            return Ok(());
        }
        sessions::update_percent(&mut conn, id).await?;
        let associated = sessions::task_ids(&mut conn, id).await?;
        let mut gone = Vec::new();
        for (host, (task, _)) in &self.subjects.members {
            let row = tasks::by_id(&mut conn, *task).await?;
            let is_cancelled = row.is_none_or(|task| task.state == State::Cancelled);
            if is_cancelled || !associated.contains(task) {
                gone.push(*host);
            }
        }
        for host in gone {
            self.core.host_cancelled(now, host);
        }
        Ok(())
    }

    /// Checks all files before the first host is told to go.
    async fn check_files(&mut self, now: Instant) {
        let dir = self.dir();
        let facts = Arc::clone(&self.subjects.facts);
        let checked =
            tokio::task::spawn_blocking(move || crate::imagestore::check_unchanged(&dir, &facts))
                .await;
        let problem = match checked {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => format!("checking the image's files: {error}"),
        };
        self.core.fail(now, &problem);
    }

    /// The server ends: the sender too. A session that had started is told as failed by the next
    /// start of the server; one that waits goes on then.
    async fn shut_down(&mut self) {
        if self.core.is_under_way() {
            self.core
                .fail(Instant::now(), "the server was shut down while sending");
        }
        self.carry_out().await;
        self.save().await;
        self.open = None;
        self.publish(Instant::now());
    }

    fn member(&self, host: HostId) -> Option<Member> {
        let (task, name) = self.subjects.members.get(&host)?;
        Some(Member {
            task: *task,
            name: name.clone(),
        })
    }

    fn address(&self, host: HostId) -> Option<Ipv4Addr> {
        self.core.address_of(host)
    }

    fn dir(&self) -> PathBuf {
        self.around.config.images.join(&self.subjects.session.path)
    }

    fn id(&self) -> i64 {
        self.subjects.session.id.0
    }

    fn log(&self, text: &str) {
        let session = &self.subjects.session;
        self.around
            .log
            .session(Timestamp::now(), session.id, &session.name, text);
    }

    /// A line for the session's own log. Whoever is on the network can cause such lines: there is
    /// an end to them.
    fn detail(&mut self, text: &str) {
        let text = match self.details_left {
            0 => return,
            1 => "too many lines; what follows is left out",
            _ => text,
        };
        self.details_left -= 1;
        self.around
            .log
            .detail(Timestamp::now(), self.subjects.session.id, text);
    }
}

/// Most lines of details in the log of a session.
const MAX_DETAILS: u32 = 20_000;

const TICK: Duration = Duration::from_millis(500);

/// Whether a client's own name is that of our agent.
fn is_agent(agent: &str) -> bool {
    agent.starts_with("fos-agent/")
}
