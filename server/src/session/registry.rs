//! The sessions that run: found in the database, each with a driver of its own, so that trouble in one
//! does not reach the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fog::status::ReceivedStatus;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::askers::Askers;
use super::claims::{Claimed, Claims};
use super::driver::{CheckIn, Command, Driver, Ends, Promise, Surroundings};
use super::journal::Stored;
use super::live::{ClientReport, Head, Live};
use crate::clock;
use crate::config::StreamRecords;
use crate::domain::handout::{Arguments, Job};
use crate::domain::image::{Facts, ImageSettings};
use crate::domain::multicast::Multicast;
use crate::domain::node::Fence;
use crate::domain::reason::Defect;
use crate::domain::refusal::AskAgain;
use crate::domain::session::core::{Core, NotStarted, Peer, Plan, Records};
use crate::domain::session::{Client, Session};
use crate::domain::{BootGiven, HostId, Reason, Refusal, SessionId};
use crate::logs::Subject;
use crate::sender;
use crate::store::{Change, StoreError};
use crate::text;

/// All sessions.
pub struct Sessions {
    around: Surroundings,
    running: Mutex<Drivers>,
    starting: tokio::sync::Mutex<()>,
    shutdown: watch::Sender<bool>,
    askers: Arc<Askers>,
    pub(super) claims: Arc<Claims>,
}

/// Those that run, and which of them a host is in: the newest.
#[derive(Default)]
struct Drivers {
    sessions: HashMap<SessionId, Driven>,
    of_host: HashMap<HostId, BTreeSet<SessionId>>,
}

/// As long as this is there, no session is started.
#[derive(Debug)]
pub struct Idle<'a>(#[expect(dead_code, reason = "held")] tokio::sync::MutexGuard<'a, ()>);

struct Driven {
    handle: Handle,
    hosts: Vec<HostId>,
    /// Ends when the driver has ended and everything is stored.
    ended: JoinHandle<()>,
}

/// A running session.
#[derive(Debug, Clone)]
pub struct Handle {
    /// What kernel arguments of it tell.
    pub job: Job,
    /// The settings of its image that they tell; `None` if they could not be read when it was started.
    pub(crate) settings: Option<Arc<ImageSettings>>,
    /// Its claim; `None` where there can be no other server.
    pub(crate) fence: Option<Fence>,
    /// Whether hosts that miss it get another session.
    pub(crate) is_followed: bool,
    commands: mpsc::Sender<Command>,
    live: watch::Receiver<Arc<Live>>,
}

/// How long a client's request waits for its session before it is told to ask again: less than
/// clients wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Between two tries to store a completion.
const COMPLETION_RETRY: Duration = Duration::from_millis(500);

impl Handle {
    /// A check-in; returns when it is stored.
    ///
    /// # Errors
    /// Why it is refused, or has to be asked again.
    pub(crate) async fn check_in(
        &self,
        host: HostId,
        peer: Peer,
        agent: Client,
        interface: Option<cast_net::Interface>,
    ) -> Result<(), Refusal> {
        self.ask(|reply| {
            Command::CheckIn(CheckIn {
                host,
                peer,
                agent,
                interface,
                reply,
            })
        })
        .await
    }

    /// A completion report; returns when it is stored.
    ///
    /// # Errors
    /// As [`Self::check_in`].
    pub(crate) async fn complete(&self, host: HostId, peer: Peer) -> Result<(), Refusal> {
        let end = tokio::time::Instant::now() + ANSWER_LIMIT;
        loop {
            let answer = self.ask(|reply| Command::Complete { host, peer, reply });
            match answer.await {
                // FOG's client asks a few times without a pause and gives up: it had better wait here.
                Err(Refusal::AskAgain(AskAgain::NotStored))
                    if tokio::time::Instant::now() < end =>
                {
                    tokio::time::sleep(COMPLETION_RETRY).await;
                }
                // The last stream goes on.
                Err(Refusal::AskAgain(AskAgain::NoAnswer(_))) => {
                    return Err(Refusal::AskAgain(AskAgain::LastStream));
                }
                answer => return answer,
            }
        }
    }

    /// A failure, or a warning; returns when it is stored.
    ///
    /// # Errors
    /// As [`Self::check_in`].
    pub(crate) async fn failed(
        &self,
        host: HostId,
        peer: Peer,
        text: String,
        is_warning: bool,
    ) -> Result<(), Refusal> {
        self.ask(|reply| Command::Failed {
            host,
            peer,
            text,
            is_warning,
            reply,
        })
        .await
    }

    /// The client cannot use the image share; returns when it is stored.
    ///
    /// # Errors
    /// As [`Self::check_in`].
    pub(crate) async fn blamed(&self, host: HostId, peer: Peer) -> Result<(), Refusal> {
        self.ask(|reply| Command::Blamed { host, peer, reply })
            .await
    }

    /// A progress report.
    pub(crate) async fn progress(
        &self,
        host: HostId,
        peer: Peer,
        report: ClientReport,
        status: Option<ReceivedStatus>,
    ) {
        self.tell(Command::Progress {
            host,
            peer,
            report,
            status,
        })
        .await;
    }

    /// A check-in was refused: people should see why.
    pub(crate) async fn refused(&self, host: HostId, address: IpAddr, why: Refusal) {
        self.tell(Command::Refused { host, address, why }).await;
    }

    /// What a machine that wants to boot was answered. Only people are interested: a session that has
    /// no time for it goes without.
    pub(crate) fn asked_to_boot(&self, host: HostId, given: BootGiven) {
        drop(self.commands.try_send(Command::Boot { host, given }));
    }

    /// Any other request of a client.
    pub(crate) async fn contact(&self, host: HostId, peer: Peer) {
        self.tell(Command::Contact { host, peer }).await;
    }

    /// Whether a request comes from the host's machine.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) async fn recognise(&self, host: HostId, peer: Peer) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let answer = async {
            self.tell(Command::Recognise { host, peer, reply }).await;
            answer.await
        };
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(result)) => result,
            _ => Err(Refusal::AskAgain(AskAgain::NoAnswer(self.job.session))),
        }
    }

    /// Cancels the session, or one host of it; returns when it is stored.
    ///
    /// # Errors
    /// If it is done, but not stored yet.
    pub(crate) async fn cancel(&self, host: Option<HostId>) -> Result<(), AskAgain> {
        let (reply, answer) = oneshot::channel();
        let answer = async {
            self.tell(Command::Cancel { host, reply }).await;
            answer.await.ok()?.await.ok()
        };
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Some(Stored::Yes)) => Ok(()),
            Ok(Some(Stored::NotYet)) => Err(AskAgain::NotStored),
            _ => Err(AskAgain::NoAnswer(self.job.session)),
        }
    }

    /// Starts the session with the hosts that are connected; returns when it is stored, or at least decided.
    ///
    /// # Errors
    /// If there is nothing to start; `None` if the session does not answer.
    pub(crate) async fn start(&self) -> Result<(), Option<NotStarted>> {
        let (reply, answer) = oneshot::channel();
        let answer = async {
            self.tell(Command::Start { reply }).await;
            match answer.await {
                // The stream begins once it is stored: whoever looks sees what is in its way.
                Ok(Ok(promise)) => {
                    drop(promise.await);
                    Ok(())
                }
                Ok(Err(why)) => Err(Some(why)),
                Err(_) => Err(None),
            }
        };
        let answered = tokio::time::timeout(ANSWER_LIMIT, answer).await;
        answered.unwrap_or(Err(None))
    }

    /// Whether a host's part in it is not over.
    #[must_use]
    pub fn is_active(&self, host: HostId) -> bool {
        let live = self.live.borrow();
        live.member(host)
            .is_some_and(|(member, _)| member.state().is_active())
    }

    /// The present state.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.borrow())
    }

    /// Waits for a state that fulfils a condition; `None` if the session ends first.
    pub async fn wait_for(
        &mut self,
        condition: impl FnMut(&Arc<Live>) -> bool,
    ) -> Option<Arc<Live>> {
        let found = self.live.wait_for(condition).await;
        found.ok().map(|live| Arc::clone(&live))
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<Promise, Refusal>>) -> Command,
    ) -> Result<(), Refusal> {
        let again = |what| Err(Refusal::AskAgain(what));
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(command(reply)).await.ok()?;
            match answer.await.ok()? {
                Ok(promise) => Some(Ok(promise.await.unwrap_or(Stored::NotYet))),
                Err(refusal) => Some(Err(refusal)),
            }
        };
        match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(Some(Ok(Stored::Yes))) => Ok(()),
            Ok(Some(Ok(Stored::NotYet))) => again(AskAgain::NotStored),
            Ok(Some(Err(refusal))) => Err(refusal),
            Err(_) if self.live().is_looking_at_files() => again(AskAgain::ImageStore),
            Ok(None) | Err(_) => again(AskAgain::NoAnswer(self.job.session)),
        }
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
            starting: tokio::sync::Mutex::default(),
            shutdown: watch::channel(false).0,
            askers: Arc::default(),
            claims: Arc::default(),
        })
    }

    /// What the sessions run with.
    #[must_use]
    pub fn around(&self) -> &Surroundings {
        &self.around
    }

    /// The clients that ask again and again whether they may begin.
    pub(crate) fn askers(&self) -> &Askers {
        &self.askers
    }

    /// Starts what is to be started and looks after what runs, until [`Self::shut_down`].
    pub async fn supervise(self: &Arc<Self>) {
        tokio::select! {
            () = self.start_and_compare() => {}
            () = self.keep_claims() => {}
        }
    }

    async fn start_and_compare(self: &Arc<Self>) {
        let mut shutdown = self.shutdown.subscribe();
        let mut changes = self.around.store.changes();
        let late = tokio::select! {
            _ = shutdown.changed() => return,
            late = self.reject_latecomers() => late,
        };
        if let Err(error) = late {
            tracing::warn!("looking for clients that come too late: {error}");
        }
        let mut compare = tokio::time::interval(COMPARE_PERIOD);
        compare.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // The first time at once.
            let found = tokio::select! {
                _ = shutdown.changed() => return,
                _ = compare.tick() => self.look().await,
                change = changes.recv() => match change {
                    Ok(Change::Session(id)) if self.running(id).is_none() => self.handle(id).await.map(drop),
                    Ok(Change::Foreign(id)) => match self.running(id) {
                        Some(handle) => {
                            self.compare(id, &handle).await;
                            Ok(())
                        }
                        None => self.handle(id).await.map(drop),
                    },
                    Ok(_) => Ok(()),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look().await,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            };
            if let Err(error) = found {
                tracing::error!("server: looking for multicast sessions: {error}; trying again");
            }
        }
    }

    /// Clients of FOG that were told to go before the server was started may come to a rendezvous that is
    /// over. Sessions that go on take their ports back.
    async fn reject_latecomers(&self) -> Result<(), StoreError> {
        let now = clock::now();
        let held = self.around.store.held_ports().await?;
        let mut done = BTreeSet::new();
        for id in self.around.store.newest_sessions(RECENT_SESSIONS).await? {
            let session = match self.around.store.session(id).await {
                Ok(Some(session)) => session,
                // The session is told of elsewhere; others may still have such clients.
                Ok(None) | Err(StoreError::Broken(_)) => continue,
                Err(error) => return Err(error),
            };
            let Some(ended_at) = session.ended_at else {
                continue;
            };
            let age = Duration::from_secs(now.seconds_since(ended_at));
            let left = sender::REJECTING.saturating_sub(age);
            let is_free = !held.contains(&session.port) && !done.contains(&session.port);
            if is_free && !left.is_zero() && self.reject_latecomers_of(&session, left) {
                done.insert(session.port);
            }
        }
        Ok(())
    }

    /// Rejects clients of a session that is over, if some may still come; whether it does.
    fn reject_latecomers_of(&self, session: &Session, left: Duration) -> bool {
        let (Some(client), Ok(port)) = (session.latecomer(), u16::try_from(session.port)) else {
            return false;
        };
        let around = &self.around;
        match around.config.interface_for(&*around.sender, client.into()) {
            Ok(interface) => {
                around.sender.reject(interface, port, left);
                true
            }
            Err(error) => {
                let error = readable::chain(error.as_ref());
                tracing::warn!(session = session.id.0, "rejecting {client}: {error}");
                false
            }
        }
    }

    /// The running session of this number.
    #[must_use]
    pub fn running(&self, id: SessionId) -> Option<Handle> {
        self.lock()
            .sessions
            .get(&id)
            .map(|entry| entry.handle.clone())
    }

    /// Whether nothing is started any more.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// The newest running session in which a host's part is not over, else the newest that it is in.
    #[must_use]
    pub fn of_host(&self, host: HostId) -> Option<Handle> {
        let running = self.lock();
        let sessions = running.of_host.get(&host)?.iter().rev();
        let mut handles = sessions.filter_map(|id| Some(&running.sessions.get(id)?.handle));
        let newest = handles.clone().next();
        handles
            .find(|handle| handle.is_active(host))
            .or(newest)
            .cloned()
    }

    /// The running session of this number, started if it is to run.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn handle(self: &Arc<Self>, id: SessionId) -> Result<Option<Handle>, StoreError> {
        match self.running(id) {
            Some(handle) => Ok(Some(handle)),
            None => self.start(id).await,
        }
    }

    /// Keeps a session that does not run from being started, as long as the answer is kept.
    ///
    /// # Errors
    /// The session, if it runs.
    pub async fn keep_idle(&self, id: SessionId) -> Result<Idle<'_>, Handle> {
        let idle = Idle(self.starting.lock().await);
        match self.running(id) {
            Some(handle) => Err(handle),
            None => Ok(idle),
        }
    }

    /// Ends all drivers and waits until what they decided is stored.
    pub async fn shut_down(&self) {
        let running = {
            let mut running = self.lock();
            // Under the lock: nothing is started behind it.
            self.shutdown.send_replace(true);
            std::mem::take(&mut *running)
        };
        self.askers.all_changed();
        for (id, entry) in running.sessions {
            if let Err(error) = entry.ended.await {
                tracing::error!(session = id.0, "ending the session: {error}");
            }
        }
    }

    /// Whether a session is being started.
    pub(super) fn is_starting(&self) -> bool {
        self.starting.try_lock().is_err()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Drivers> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what does not run, and compares what runs with what is stored.
    async fn look(self: &Arc<Self>) -> Result<(), StoreError> {
        let active = self.around.store.active_sessions().await?;
        self.only_active(&active);
        for id in active {
            if let Err(error) = self.handle(id).await {
                // Other sessions may still come through.
                tracing::error!(session = id.0, "starting the session: {error}");
            }
        }
        let running: Vec<_> = {
            let running = self.lock();
            let entries = running.sessions.iter();
            entries
                .map(|(id, entry)| (*id, entry.handle.clone()))
                .collect()
        };
        for (id, handle) in running {
            self.compare(id, &handle).await;
        }
        Ok(())
    }

    /// Compares a session that runs with what is stored.
    async fn compare(&self, id: SessionId, handle: &Handle) {
        match self.around.store.session(id).await {
            Ok(stored) => {
                if let Some(session) = &stored {
                    self.note_hosts(id, session);
                }
                handle.tell(Command::Compare(stored.map(Box::new))).await;
            }
            Err(error) => tracing::warn!(session = id.0, "comparing the session: {error}"),
        }
    }

    /// Hosts that were put into a running session since it was started are found by it from now on.
    fn note_hosts(&self, id: SessionId, session: &Session) {
        let mut running = self.lock();
        let Drivers { sessions, of_host } = &mut *running;
        let Some(entry) = sessions.get_mut(&id) else {
            return;
        };
        let members = session.members.iter();
        let active = members.filter(|member| member.state.is_active());
        for member in active {
            if of_host.entry(member.host).or_default().insert(id) {
                entry.hosts.push(member.host);
            }
        }
    }

    /// A host was put into a session: it is started if it does not run, else it takes the host in before this returns.
    ///
    /// # Errors
    /// If the database fails.
    pub(crate) async fn joined(self: &Arc<Self>, id: SessionId) -> Result<(), StoreError> {
        match self.running(id) {
            Some(handle) => self.compare(id, &handle).await,
            None => drop(self.handle(id).await?),
        }
        Ok(())
    }

    /// Starts the driver of a session that is to run, or fails the session if it cannot be run.
    async fn start(self: &Arc<Self>, id: SessionId) -> Result<Option<Handle>, StoreError> {
        let _one_at_a_time = self.starting.lock().await;
        if let Some(found) = self.running(id) {
            // Somebody else was faster.
            return Ok(Some(found));
        }
        let found = self.around.store.session(id).await;
        match &found {
            Ok(Some(session)) if session.is_unjoined() => return Ok(None),
            Ok(Some(session)) if session.state.is_active() => {}
            Ok(_) => return Ok(None),
            Err(StoreError::Broken(_)) => {}
            Err(_) => return found.map(|_| None),
        }
        let Some(claimed) = self.claim(id).await? else {
            return Ok(None);
        };
        let found = match claimed.fence() {
            // The server that had it may have stored something until it was claimed.
            Some(_) => self.around.store.session(id).await,
            None => found,
        };
        let started = self.start_claimed(id, found, &claimed).await;
        if !matches!(started, Ok(Some(_))) {
            self.give_back(&claimed).await;
        }
        started
    }

    async fn start_claimed(
        self: &Arc<Self>,
        id: SessionId,
        found: Result<Option<Session>, StoreError>,
        claimed: &Claimed,
    ) -> Result<Option<Handle>, StoreError> {
        let store = &self.around.store;
        let session = match found {
            Ok(Some(session)) if session.state.is_active() => session,
            Ok(_) => return Ok(None),
            Err(StoreError::Broken(row)) => {
                self.fail(id, Reason::BrokenRow(row)).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let facts = match store.facts(session.image).await {
            Ok(facts) => facts,
            Err(StoreError::Broken(row)) => {
                self.fail(id, Reason::BrokenRow(row)).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (port, facts) = match usable(&session, facts) {
            Ok(found) => found,
            Err(defect) => {
                self.fail(id, Reason::Unusable(defect)).await?;
                return Ok(None);
            }
        };
        let image = match store.image(session.image).await {
            Ok(image) => image,
            // Clients cannot be booted for it, but those that run may go on.
            Err(StoreError::Broken(_)) => None,
            Err(error) => return Err(error),
        };
        if image
            .as_ref()
            .is_some_and(|image| image.path != session.path)
        {
            // Clients would take the small files of the one, and the streams of the other.
            let defect = Defect::OtherDirectory;
            self.fail(id, Reason::Unusable(defect)).await?;
            return Ok(None);
        }
        let network = store.settings().await?.multicast;
        let network = self.around.config.multicast(network);
        // With these it was deployed.
        let verified = facts.settings.clone();
        let settings = verified.or_else(|| image.map(|image| image.settings()));
        let run = self.run(&session, (port, &network), settings, facts, claimed.clone());
        Ok(run)
    }

    fn run(
        self: &Arc<Self>,
        session: &Session,
        (port, network): (u16, &Multicast),
        settings: Option<ImageSettings>,
        facts: Facts,
        claimed: Claimed,
    ) -> Option<Handle> {
        let id = session.id;
        let arguments = settings
            .as_ref()
            .map(|settings| Arguments::new(settings, session.is_shutdown));
        let mut core = Core::resume(self.plan(session, &facts), Instant::now(), session);
        core.count_waits_from_before(clock::now(), session);
        let head = Head {
            id,
            name: session.name.clone(),
            image: session.image,
            image_name: session.image_name.clone(),
            path: session.path.clone(),
            port,
            arguments: arguments.unwrap_or_default(),
            created_at: session.created_at,
            follows: session.follows,
            is_followed: self.follow_ups(session) > 0,
            group: network.group(port, &network.ports()),
            duplex: network.duplex,
        };
        let tasks: BTreeMap<_, _> = session.members.iter().map(|m| (m.host, m.task)).collect();
        let hosts: Vec<HostId> = tasks.keys().copied().collect();
        let mut running = self.lock();
        if *self.shutdown.borrow() {
            return None;
        }
        let askers = Arc::clone(&self.askers);
        let (around, facts) = (self.around.clone(), Arc::new(facts));
        let claim = claimed.clone();
        let (driver, ends) = Driver::new(around, askers, head, facts, core, tasks, claim);
        let (commands, inbox) = mpsc::channel(QUEUE);
        let Ends {
            live,
            events,
            news,
            journal,
        } = ends;
        let handle = Handle {
            job: driver.job(),
            settings: settings.map(Arc::new),
            fence: claimed.fence(),
            is_followed: self.follow_ups(session) > 0,
            commands,
            live,
        };
        let driver = tokio::spawn(driver.run(inbox, events, news, self.shutdown.subscribe()));
        let this = Arc::clone(self);
        let ended = tokio::spawn(async move {
            let driver = driver.await;
            if let Err(error) = journal.await {
                tracing::error!(session = id.0, "the session's journal: {error}");
            }
            this.bury(id, driver.err(), &claimed).await;
        });
        for host in &hosts {
            running.of_host.entry(*host).or_default().insert(id);
        }
        let entry = Driven {
            handle: handle.clone(),
            hosts: hosts.clone(),
            ended,
        };
        running.sessions.insert(id, entry);
        drop(running);
        self.askers.changed(hosts);
        Some(handle)
    }

    /// Takes out a session whose driver has ended. If it panicked, the session is lost: its state is
    /// not known. It fails first, as nobody starts it as long as it is here.
    async fn bury(&self, id: SessionId, panic: Option<tokio::task::JoinError>, claimed: &Claimed) {
        if let Some(panic) = panic {
            let text = panic.to_string();
            tracing::error!(session = id.0, "internal error of the session: {text}");
            if let Err(error) = self.fail(id, Reason::Internal { text }).await {
                tracing::error!(session = id.0, "failing the session: {error}");
            }
        }
        self.give_back(claimed).await;
        let mut running = self.lock();
        let Some(entry) = running.sessions.remove(&id) else {
            return;
        };
        for host in &entry.hosts {
            if let Some(sessions) = running.of_host.get_mut(host) {
                sessions.remove(&id);
                if sessions.is_empty() {
                    running.of_host.remove(host);
                }
            }
        }
        drop(running);
        self.askers.changed(entry.hosts);
    }

    /// Follow-up sessions that may still come of a session.
    fn follow_ups(&self, session: &Session) -> u32 {
        let said = session.follow_ups;
        said.unwrap_or(self.around.config.follow_ups)
    }

    fn plan(&self, session: &Session, facts: &Facts) -> Plan {
        let timing = self.around.config.timing;
        let members = session.members.iter();
        Plan {
            streams: facts
                .streams
                .iter()
                .map(|stream| stream.name.clone())
                .collect(),
            hosts: members
                .map(|member| (member.host, member.name.clone()))
                .collect(),
            expected: session.expected,
            is_followed: self.follow_ups(session) > 0,
            records: match self.around.config.stream_records {
                StreamRecords::Auto => Records::Auto,
                StreamRecords::Always => Records::Fixed(true),
                StreamRecords::Never => Records::Fixed(false),
            },
            max_wait: session.max_wait,
            connect_wait: session.max_wait.max(timing.connect_wait),
            stream_wait: timing.stream_wait.max(session.max_wait),
            grace: timing.grace,
            agent_silence: timing.agent_silence,
            rebind_after: timing.rebind_after,
            stall_limit: timing.stall_limit,
        }
    }

    /// Ends a session that has no driver.
    async fn fail(&self, id: SessionId, reason: Reason) -> Result<(), StoreError> {
        let now = clock::now();
        let line = format!("is now failed: {}", text::reason(&reason));
        if !self.around.store.fail_broken(now, id, reason).await? {
            // Over already; only its rows are still odd.
            return Ok(());
        }
        self.askers.all_changed();
        // Those that were told to go wait for ever where nobody answers.
        let found = self.around.store.session(id).await;
        let (id, name) = (id.0, String::new());
        let subject = Subject::Session { id, name };
        self.around.log.error(now, &subject, &line);
        match found {
            Ok(Some(session)) => {
                self.reject_latecomers_of(&session, sender::REJECTING);
            }
            Ok(None) => {}
            Err(error) => {
                let line = format!(
                    "FOG's clients that were let in wait until they are restarted: where they wait is not known ({error})"
                );
                self.around.log.warn(now, &subject, &line);
            }
        }
        Ok(())
    }
}

/// Base port and image of a session, if it can be run with what is stored.
fn usable(session: &Session, facts: Option<Facts>) -> Result<(u16, Facts), Defect> {
    let facts = facts.ok_or(match session.image_name.is_empty() {
        true => Defect::NoImage,
        false => Defect::NotVerified,
    })?;
    if session.members.is_empty() {
        return Err(Defect::NoHosts);
    }
    let port = u16::try_from(session.port).ok();
    let port = port.filter(|port| *port >= 1024 && port % 2 == 0);
    let port = port.ok_or(Defect::Port { port: session.port })?;
    let has_more = |done: u32| usize::try_from(done).is_ok_and(|done| done > facts.streams.len());
    if session
        .members
        .iter()
        .any(|member| has_more(member.streams_done))
    {
        return Err(Defect::OtherStreams);
    }
    Ok((port, facts))
}

/// Sessions that are looked at for clients that come too late; more do not end within minutes.
const RECENT_SESSIONS: u32 = 32;

/// Requests that wait for a session.
const QUEUE: usize = 256;

/// Between two times that what runs is compared with what is stored.
const COMPARE_PERIOD: Duration = Duration::from_secs(30);
