//! Runs the state machine of one session: requests, sender events and time in; sender, database
//! and logs out.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog::native::StreamNow;
use fog::task::State;
use tokio::sync::{mpsc, oneshot, watch};

use super::core::{Action, CheckIn, Completion, Core};
use super::persist::{self, Fact, Member, Record, Subject};
use super::rate::Rate;
use super::source::{Gate, Source};
use super::status::{ClientReport, HostStatus, SessionStatus};
use super::transmit::{Job, SharedCounters, Transmission, TransmitEvent, Transmitter};
use crate::clock::Timestamp;
use crate::config::{Config, StreamRecords};
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
    unsaved: VecDeque<Record>,
    waiting: Vec<(HostId, oneshot::Sender<Completion>)>,
    events_in: mpsc::UnboundedSender<(usize, TransmitEvent)>,
    status: watch::Sender<Arc<SessionStatus>>,
    state: State,
}

struct OpenStream {
    index: usize,
    gate: Gate,
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
        mpsc::UnboundedReceiver<(usize, TransmitEvent)>,
    ) {
        let rows = SessionStatus::from_rows(&subjects.session, &subjects.image_name, &[]);
        let (status, watcher) = watch::channel(Arc::new(rows));
        let (events_in, events) = mpsc::unbounded_channel();
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
            unsaved: VecDeque::new(),
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
        mut events: mpsc::UnboundedReceiver<(usize, TransmitEvent)>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some((index, event)) = events.recv() => self.sender_event(index, event),
                _ = ticker.tick() => {
                    self.look().await;
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
                if self.open.is_none() && !self.core.is_ended() && self.core.stream_index() == 0 {
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
                Completion::NotYet => self.waiting.push((host, reply)),
                answer => {
                    self.carry_out().await;
                    self.save().await;
                    drop(reply.send(answer));
                }
            },
            Command::Progress { host, report } => {
                self.core.contact(now, host);
                self.take_report(host, report);
            }
            Command::Contact { host } => self.core.contact(now, host),
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
            TransmitEvent::Note(text) => self.detail(&text),
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
            tokio::task::spawn_blocking(move || crate::imagedir::check_unchanged(&dir, &facts))
                .await;
        let problem = match checked {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => format!("checking the image's files: {error}"),
        };
        self.core.fail(now, &problem);
    }

    async fn carry_out(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::OpenStream(index) => self.open_stream(index).await,
                Action::StartTransfer => self.start_transfer(),
                Action::Remove(address) => {
                    if let Some(open) = &self.open {
                        open.transmission.remove(address);
                    }
                }
                Action::StopSender => self.open = None,
                action => self.record(action),
            }
        }
    }

    async fn open_stream(&mut self, index: usize) {
        let now = Instant::now();
        let address = self.core.addresses().first().copied();
        let peer = IpAddr::V4(address.unwrap_or(Ipv4Addr::UNSPECIFIED));
        if let Err(error) = self.try_open(index, peer) {
            self.core.sender_failed(now, &format!("{error:#}"));
        }
    }

    fn try_open(&mut self, index: usize, peer: IpAddr) -> anyhow::Result<()> {
        let config = &self.around.config;
        let interface = config.interface_for(peer)?;
        let gate = Gate::default();
        let source = Source::new(&self.dir(), &self.subjects.facts, index, gate.clone())?;
        let timing = config.timing;
        let job = Job {
            index,
            port: self.subjects.session.port,
            interface,
            source,
            drop_after: match self.core.are_all_agents() {
                true => timing.drop_agents,
                false => timing.drop_others,
            },
            max_bitrate: config.max_bitrate,
        };
        self.counters = SharedCounters::default();
        self.rate = Rate::default();
        let port = job.port;
        let transmission =
            self.around
                .transmitter
                .open(job, self.events_in.clone(), self.counters.clone())?;
        self.open = Some(OpenStream {
            index,
            gate,
            transmission,
        });
        if index == 0 {
            self.state = State::InProgress;
            self.log(&format!("sending on base port {port}"));
        }
        Ok(())
    }

    fn start_transfer(&mut self) {
        let all_agents = self.core.are_all_agents();
        let has_records = *self.records.get_or_insert(all_agents);
        if let Some(open) = &self.open {
            open.gate.open(has_records);
            open.transmission.start();
        }
    }

    /// Logs an action and puts it on the list of what is to be stored.
    fn record(&mut self, action: Action) {
        let fact = match action {
            Action::CheckedIn { host, count } => {
                let Some(member) = self.member(host) else {
                    return;
                };
                let address = self.address(host).unwrap_or(Ipv4Addr::UNSPECIFIED);
                let total = self.subjects.members.len();
                self.log(&format!(
                    "host {} checked in from {address} ({count} of {total})",
                    member.name
                ));
                let agent = self
                    .reports
                    .get(&host)
                    .map(|r| r.agent.clone())
                    .unwrap_or_default();
                Fact::CheckedIn {
                    host,
                    member,
                    address,
                    agent,
                    count,
                }
            }
            Action::Started => {
                self.log("has started");
                Fact::Started {
                    has_records: self.records.unwrap_or(false),
                }
            }
            Action::StreamsDone { host, count } => Fact::StreamsDone { host, count },
            Action::HostEnded { host, state, text } => {
                let Some(member) = self.member(host) else {
                    return;
                };
                self.log(&format!("host {}: {state}: {text}", member.name));
                let address = self
                    .address(host)
                    .map(|ip| ip.to_string())
                    .unwrap_or_default();
                Fact::HostEnded {
                    host,
                    member,
                    address,
                    state,
                    text,
                }
            }
            Action::End { state, text } => {
                self.state = state;
                self.log(&format!("is now {state}: {text}"));
                Fact::Ended { state, text }
            }
            Action::Note(text) => {
                self.log(&text);
                Fact::Note(text)
            }
            Action::OpenStream(_)
            | Action::StartTransfer
            | Action::Remove(_)
            | Action::StopSender => return,
        };
        self.unsaved.push_back(Record {
            at: Timestamp::now(),
            fact,
        });
    }

    /// Stores what is to be stored. What fails stays on the list for the next time.
    async fn save(&mut self) {
        let subject = Subject {
            session: self.subjects.session.id,
            image: self.subjects.session.image,
            image_name: self.subjects.image_name.clone(),
        };
        while let Some(record) = self.unsaved.front() {
            if let Err(error) = persist::store(&self.around.store, &subject, record).await {
                tracing::error!(session = self.id(), "storing the session's state: {error}");
                return;
            }
            self.unsaved.pop_front();
        }
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

    fn publish(&mut self, now: Instant) {
        let view = self.core.view(now);
        let counters = self.counters.get();
        let streams = &self.subjects.facts.streams;
        let index = self.core.stream_index();
        let stream = streams.get(index).map(|stream| StreamNow {
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            count: u32::try_from(streams.len()).unwrap_or(u32::MAX),
            name: stream.name.clone(),
            acked: counters.bytes_acked.min(stream.stored_len),
            len: stream.stored_len,
        });
        let hosts = view.hosts.into_iter().map(|host| HostStatus {
            host: host.id.0,
            name: host.name,
            ip: host.address.map(|ip| ip.to_string()),
            state: host.state,
            text: host.text,
            seconds: Some(host.age.as_secs()),
            streams_done: u32::try_from(host.streams_done).unwrap_or(u32::MAX),
            client: self.reports.get(&host.id).cloned().unwrap_or_default(),
            silent_seconds: host.silent.map(|age| age.as_secs()),
        });
        let session = &self.subjects.session;
        self.status.send_replace(Arc::new(SessionStatus {
            session: session.id.0,
            name: session.name.clone(),
            image: self.subjects.image_name.clone(),
            state: self.state,
            stage: view.stage,
            port: session.port,
            expected: view.expected,
            checked_in: view.checked_in,
            connected: view.connected,
            missing: view.missing,
            stream,
            rate: self.rate.sample(now, counters.bytes_acked),
            repeated_percent: counters.repeated_percent(),
            records: self.records,
            stage_seconds: view.stage_age.as_secs(),
            starts_in_seconds: view.starts_in.map(|left| left.as_secs()),
            text: view.text,
            created_at: session.created_at.clone(),
            ended_at: (!self.state.is_active()).then(|| Timestamp::now().to_string()),
            hosts: hosts.collect(),
        }));
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

    fn detail(&self, text: &str) {
        self.around
            .log
            .detail(Timestamp::now(), self.subjects.session.id, text);
    }
}

const TICK: Duration = Duration::from_millis(500);

/// Whether a client's own name is that of our agent.
fn is_agent(agent: &str) -> bool {
    agent.starts_with("fos-agent/")
}
