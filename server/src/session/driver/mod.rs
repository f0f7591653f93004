//! Runs the state machine of one session: requests, sender events and time in; sender, journal and
//! logs out.
//!
//! Nothing in its loop waits: files are looked at elsewhere, facts are stored by the journal, senders
//! have threads of their own.

mod command;
mod files;
mod publish;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cast_net::Interface;
use fog::status::ReceivedStatus;
use fog::task::State;
use tokio::sync::{mpsc, watch};

pub(crate) use command::{CheckIn, Command, Promise};

use self::files::{Files, FilesResult};
use self::stream::{OpenStream, Opening};
use super::askers::Askers;
use super::claims::Claimed;
use super::journal::{Journal, News};
use super::level::level_of;
use super::live::{Boot, ClientReport, Head, Live};
use super::rate::{Course, Rate};
use crate::clock;
use crate::config::Config;
use crate::domain::handout::Job;
use crate::domain::image::Facts;
use crate::domain::session::core::{Action, Core, StopKind};
use crate::domain::session::{Fact, Session};
use crate::domain::{HostId, TaskId, Timestamp};
use crate::logs::{Level, MulticastLog, Subject};
use crate::sender::{self, Events, Sender, SenderEvent, SharedCounters, StreamEvent};
use crate::store::{MAX_EVENTS_OF_HOST, SharedStore};
use crate::text;

/// Everything that a session needs from its surroundings.
#[derive(Clone)]
pub struct Surroundings {
    /// Database.
    pub store: SharedStore,
    /// Settings.
    pub config: Arc<Config>,
    /// Opens senders.
    pub sender: Arc<dyn Sender>,
    /// Logs.
    pub log: MulticastLog,
}

/// The driver of one session.
pub(super) struct Driver {
    around: Surroundings,
    askers: Arc<Askers>,
    /// Hosts whose clients may now be answered otherwise, once everybody sees why.
    changed: Vec<HostId>,
    head: Head,
    facts: Arc<Facts>,
    claimed: Claimed,
    /// Whether another server has the session.
    is_taken_over: bool,
    core: Core,
    journal: Journal,
    /// Orders that wait until what is before them is stored, each with its mark.
    deferred: VecDeque<(u64, Action)>,
    reports: BTreeMap<HostId, ClientReport>,
    boots: BTreeMap<HostId, Boot>,
    /// Status lines that are not stored yet.
    progress: BTreeMap<HostId, ReceivedStatus>,
    progress_stored: Instant,
    tasks: BTreeMap<HostId, TaskId>,
    files: Files,
    /// A start for which the files are looked at once more.
    start: Option<Action>,
    /// The card that the session sends on, decided by the first check-in.
    interface: Option<Interface>,
    open: Option<OpenStream>,
    /// A stream that cannot be opened yet.
    opening: Option<Opening>,
    /// When the end was decided; it may be stored later.
    ended_at: Option<Timestamp>,
    counters: SharedCounters,
    rate: Rate,
    course: Course,
    /// Receivers that hold the others up: when that was said, and their silence.
    slow: BTreeMap<Ipv4Addr, (Instant, Duration)>,
    /// Since when nothing can be stored, and why.
    unstored: Option<(Instant, String)>,
    /// Lines of details that may still be written.
    details_left: u32,
    /// Lines that a host has caused in the logs, and the rest of those that belong to none.
    lines_of: BTreeMap<Option<HostId>, u32>,
    /// Completion reports that wait for the end of the last stream.
    completions: Vec<command::Waiting>,
    events_in: Events,
    /// What was found out about the files.
    checked_in: mpsc::Sender<FilesResult>,
    checked: mpsc::Receiver<FilesResult>,
    live: watch::Sender<Arc<Live>>,
    /// When `live` was last replaced, and whether it is behind.
    published: Instant,
    is_dirty: bool,
}

/// The ends of a driver that its registry keeps.
pub(super) struct Ends {
    pub(super) live: watch::Receiver<Arc<Live>>,
    pub(super) events: mpsc::Receiver<StreamEvent>,
    pub(super) news: mpsc::UnboundedReceiver<News>,
    pub(super) journal: tokio::task::JoinHandle<()>,
}

impl Driver {
    pub(super) fn new(
        around: Surroundings,
        askers: Arc<Askers>,
        head: Head,
        facts: Arc<Facts>,
        core: Core,
        tasks: BTreeMap<HostId, TaskId>,
        claimed: Claimed,
    ) -> (Self, Ends) {
        let now = Instant::now();
        let (events_in, events) = Events::channel();
        let (checked_in, checked) = mpsc::channel(1);
        let (journal, news, journal_task) = Journal::start(Arc::clone(&around.store), head.id);
        let first = Live::new(
            &head,
            core.snapshot(now),
            0,
            sender::Counters::default(),
            (0, Course::default()),
            vec![Default::default(); core.snapshot(now).members.len()],
            Vec::new(),
            now,
        );
        let (live, watcher) = watch::channel(Arc::new(first));
        let driver = Self {
            around,
            askers,
            changed: Vec::new(),
            head,
            facts,
            claimed,
            is_taken_over: false,
            core,
            journal,
            deferred: VecDeque::new(),
            reports: BTreeMap::new(),
            boots: BTreeMap::new(),
            progress: BTreeMap::new(),
            progress_stored: now,
            tasks,
            files: Files::Idle,
            start: None,
            interface: None,
            open: None,
            opening: None,
            ended_at: None,
            counters: SharedCounters::default(),
            rate: Rate::default(),
            course: Course::default(),
            slow: BTreeMap::new(),
            unstored: None,
            details_left: MAX_DETAILS,
            lines_of: BTreeMap::new(),
            completions: Vec::new(),
            events_in,
            checked_in,
            checked,
            live,
            published: now,
            is_dirty: true,
        };
        let ends = Ends {
            live: watcher,
            events,
            news,
            journal: journal_task,
        };
        (driver, ends)
    }

    /// The job that kernel arguments of this session tell.
    pub(super) fn job(&self) -> Job {
        Job {
            session: self.head.id,
            task: None,
            image: self.head.image,
            port: self.head.port,
            arguments: self.head.arguments,
        }
    }

    /// Runs until the session is over and stored, or the server shuts down.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: mpsc::Receiver<StreamEvent>,
        mut news: mpsc::UnboundedReceiver<News>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.carry_out();
        loop {
            let mut is_urgent = true;
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    self.events_so_far(&mut events);
                    is_urgent = self.command(command);
                    // Hundreds of clients ask at a time: one round for all of them.
                    for _ in 0..MAX_ROUND {
                        let Ok(command) = commands.try_recv() else { break };
                        self.events_so_far(&mut events);
                        is_urgent |= self.command(command);
                    }
                }
                Some((index, event)) = events.recv() => self.sender_event(index, event),
                Some(news) = news.recv() => self.journal_news(news),
                Some(result) = self.checked.recv() => is_urgent = self.files_checked(result),
                _ = ticker.tick() => {
                    self.watch_stream();
                    self.open_again();
                    if !self.deferred.is_empty() {
                        self.core.start_waits(Instant::now());
                    }
                    self.core.tick(Instant::now());
                    self.store_progress();
                    self.is_dirty = true;
                }
                _ = shutdown.changed() => return self.shut_down(events).await,
            }
            if self.is_taken_over || self.claimed.is_lost(Instant::now()) {
                let what = "another server may run it now: this one stops";
                self.log_at(Level::Warn, what);
                return self.shut_down(events).await;
            }
            self.carry_out();
            self.publish(is_urgent);
            if self.core.is_ended() {
                self.reject_latecomers();
                return self.last_words(commands, news, shutdown).await;
            }
        }
    }

    /// A client of FOG that was told to go waits for ever where nobody answers.
    fn reject_latecomers(&mut self) {
        if let Some(interface) = self.interface.clone()
            && self.core.has_latecomers()
        {
            self.detail(
                "clients that come only now are rejected for some minutes, so that they fail",
            );
            let port = self.head.port;
            self.around
                .sender
                .reject(interface, port, sender::REJECTING);
        }
    }

    /// What a client says may rest on what the sender has told before: the report of its end follows
    /// the end of a stream.
    fn events_so_far(&mut self, events: &mut mpsc::Receiver<StreamEvent>) {
        // Not more than wait now: they may come without end.
        for _ in 0..events.len() {
            let Ok((index, event)) = events.try_recv() else {
                return;
            };
            self.sender_event(index, event);
            self.carry_out();
        }
    }

    /// The session is over: nothing more is decided, but what was is still being stored, and its
    /// answers go out.
    async fn last_words(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut news: mpsc::UnboundedReceiver<News>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        self.publish(true);
        let mark = self.journal.mark();
        loop {
            tokio::select! {
                found = news.recv() => match found {
                    Some(News::Reached(reached)) if reached >= mark => return,
                    Some(news) => {
                        self.journal_news(news);
                        // The end may look otherwise by it.
                        self.carry_out();
                    }
                    None => return,
                },
                Some(command) = commands.recv() => {
                    self.command(command);
                    self.carry_out();
                }
                // The journal goes on for a moment.
                _ = shutdown.changed() => return,
            }
            self.publish(true);
        }
    }

    /// Carries out what the state machine decided.
    fn carry_out(&mut self) {
        while let Some(action) = self.core.poll_action() {
            self.is_dirty = true;
            if let Action::StartTransfer { .. } = action {
                let mark = self.journal.mark();
                self.deferred.push_back((mark, action));
                continue;
            }
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::OpenStream(index) => {
                // An order to start was for the sender before.
                self.deferred.clear();
                self.start = None;
                self.opening = None;
                self.open_stream(index);
            }
            Action::Admit(addresses) => {
                if let Some(open) = &self.open {
                    open.transmission.admit(addresses);
                }
            }
            Action::StartTransfer { has_record } => {
                if let Some(open) = &self.open {
                    open.gate.open(has_record);
                    open.transmission.start();
                }
            }
            Action::Remove(address) => {
                if let Some(open) = &self.open {
                    open.transmission.remove(address);
                }
            }
            Action::StopSender(kind) => {
                self.deferred.clear();
                self.start = None;
                self.opening = None;
                let kind = self.possible(kind);
                if let Some(open) = self.open.take() {
                    open.end(kind);
                }
            }
            Action::Store(fact) => self.record(fact),
        }
    }

    fn record(&mut self, fact: Fact) {
        match &fact {
            Fact::CheckedIn { host, .. } | Fact::MemberEnded { host, .. } => {
                self.changed.push(*host)
            }
            Fact::StreamStarting { .. } | Fact::Ended { .. } => {
                self.changed.extend(self.tasks.keys().copied());
            }
            _ => {}
        }
        let is_shown = match &fact {
            Fact::Noted { host, .. } => self.has_line(*host),
            Fact::CheckedIn { host, .. } => self.has_line(Some(*host)),
            _ => true,
        };
        let name = |host: HostId| self.live.borrow().member(host).map(|(m, _)| m.name.clone());
        match &fact {
            // The database keeps no more events of a host either.
            Fact::Noted { .. } if !is_shown => return,
            Fact::CheckedIn { .. } if !is_shown => {}
            Fact::CheckedIn {
                host,
                address,
                count,
                ..
            } => self.log(&format!(
                "host {} checked in from {address} ({count} of {})",
                name(*host).unwrap_or_default(),
                self.live.borrow().members.len()
            )),
            Fact::StreamStarting { stream: 0, .. } if !self.core.has_started() => {
                self.log("has started");
            }
            Fact::StartRevoked { .. } => {
                self.log_at(
                    Level::Warn,
                    "found no receiver at its start; it waits again",
                );
            }
            Fact::MemberEnded {
                host,
                state,
                reason,
            } => {
                let member = self.core.member(Instant::now(), *host);
                let streams = self.facts.streams.len();
                let end = member.map(|member| text::member_end(&member, streams, reason));
                let name = name(*host).unwrap_or_default();
                let line = format!("host {name}: {state}: {}", end.unwrap_or_default());
                self.log_end(*state, &line);
            }
            Fact::Ended { state, reason } => {
                self.ended_at = Some(clock::now());
                let line = format!("is now {state}: {}", text::reason(reason));
                self.log_end(*state, &line);
            }
            Fact::Noted { host, note } => {
                let line = text::note(note);
                let line = match host.and_then(name) {
                    Some(name) => format!("host {name}: {line}"),
                    None => line,
                };
                self.log_at(level_of(note), &line);
            }
            Fact::StreamStarting { .. } | Fact::StreamsDone { .. } | Fact::FollowUpDue => {}
        }
        self.journal.store(fact);
    }

    /// Whether a client, which may ask for ever, may cause one more line.
    fn has_line(&mut self, host: Option<HostId>) -> bool {
        let lines = self.lines_of.entry(host).or_default();
        *lines = lines.saturating_add(1);
        *lines <= MAX_EVENTS_OF_HOST
    }

    /// Status lines are for people who look into the database: now and then is enough, and no harm is
    /// done if one is lost.
    fn store_progress(&mut self) {
        let now = Instant::now();
        if self.progress.is_empty() || now.duration_since(self.progress_stored) < PROGRESS_PERIOD {
            return;
        }
        self.progress_stored = now;
        let of_tasks = std::mem::take(&mut self.progress)
            .into_iter()
            .filter_map(|(host, status)| Some((*self.tasks.get(&host)?, status)))
            .collect();
        let (store, session) = (Arc::clone(&self.around.store), self.head.id);
        tokio::spawn(async move {
            if let Err(error) = store.store_progress(session, of_tasks).await {
                tracing::debug!(session = session.0, "storing progress: {error}");
            }
        });
    }

    fn journal_news(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Reached(mark) => {
                while let Some((_, action)) = self.deferred.pop_front_if(|(at, _)| *at <= mark) {
                    self.start = Some(action);
                    self.core.start_waits_for_files(true);
                    self.check_files();
                }
            }
            News::Overruled { host, found } => self.core.overruled(now, host, found),
            News::TakenOver => self.is_taken_over = true,
            News::Over { found } => self.core.session_overruled(now, found),
            News::Failing(text) => {
                let what = "what the session decides cannot be stored; it waits and tries again";
                self.log_at(Level::Error, &format!("{what}: {text}"));
                self.unstored = Some((now, text));
            }
            News::Recovered => {
                self.log("the database stores again");
                self.unstored = None;
            }
            News::Lost(reason) => self.core.fail(now, reason),
        }
        self.is_dirty = true;
    }

    /// The server ends: so does the sender. What was decided is stored; the rest goes on, or fails, at
    /// the next start.
    async fn shut_down(mut self, mut events: mpsc::Receiver<StreamEvent>) {
        self.carry_out();
        let kind = self.possible(self.core.shutdown_kind());
        let index = self.open.as_ref().map(|open| open.index);
        if let Some(open) = self.open.take() {
            open.end(kind);
        }
        self.publish(true);
        if kind == StopKind::EndStream {
            // Its thread ends with this process.
            let ended = async {
                while let Some((of, event)) = events.recv().await {
                    let is_over = matches!(event, SenderEvent::Failed(_) | SenderEvent::Ended(_));
                    if is_over && Some(of) == index {
                        return;
                    }
                }
            };
            drop(tokio::time::timeout(LAST_STREAM, ended).await);
        }
    }

    /// Compares with what is stored: rows of other programs may have changed.
    fn compare(&mut self, stored: Option<&Session>) {
        let members = stored.into_iter().flat_map(|session| &session.members);
        for member in members.filter(|member| member.state.is_active()) {
            self.tasks.insert(member.host, member.task);
        }
        self.core.compare(Instant::now(), stored);
    }

    fn log(&self, text: &str) {
        self.log_at(Level::Info, text);
    }

    fn log_at(&self, level: Level, text: &str) {
        let subject = Subject::Session {
            id: self.head.id.0,
            name: self.head.name.clone(),
        };
        self.around.log.line(clock::now(), level, &subject, text);
    }

    fn log_end(&self, state: State, text: &str) {
        let level = match state {
            State::Failed => Level::Warn,
            _ => Level::Info,
        };
        self.log_at(level, text);
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
        self.around.log.detail(clock::now(), self.head.id.0, text);
    }
}

/// Most lines of details in the log of a session, 100 bytes each.
const MAX_DETAILS: u32 = 20_000;

/// Commands that are served before anything else is looked at.
const MAX_ROUND: usize = 256;

/// How long the end of the server waits for that of a stream.
const LAST_STREAM: Duration = Duration::from_secs(4);

const TICK: Duration = Duration::from_millis(500);

/// Between two times that status lines are stored.
const PROGRESS_PERIOD: Duration = Duration::from_secs(5);
