//! Sessions as people make and end them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog::task::State;

use super::boot::BootFiles;
use super::groups::NameError;
use super::{Ops, blocking};
use crate::clock;
use crate::config::Origin;
use crate::domain::host::Host;
use crate::domain::image::{Facts, Image, SettingChanged};
use crate::domain::reason::BrokenRow;
use crate::domain::refusal::AskAgain;
use crate::domain::session::Note;
use crate::domain::session::core::{Core, facts_of};
use crate::domain::{HostId, Reason, SessionId, Timestamp};
use crate::imagestore;
use crate::session::Handle;
use crate::store::{CreateError, NewSession, StoreError};

/// What is wanted of a new session.
#[derive(Debug, Clone)]
pub struct DeployRequest {
    /// Image, by name or number.
    pub image: String,
    /// Hosts, by name, or groups (`@room101`).
    pub hosts: Vec<String>,
    /// Name; the image's if not given.
    pub name: Option<String>,
    /// Wait for missing hosts; FOG's setting if not given.
    pub max_wait: Option<Duration>,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
    /// Whether the machines boot to a shell, in which a person starts the task.
    pub is_debug: bool,
    /// Whether the machines are switched on by Wake-on-LAN.
    pub is_woken: bool,
    /// Hosts that join it by its name, from the boot menu; 0 for a session of the hosts that are named.
    pub expected: u32,
    /// Follow-up sessions that may come of it; what the server is told if not given.
    pub follow_ups: Option<u32>,
}

/// What a session is, besides its image and hosts.
pub(super) struct Wanted {
    pub(super) name: Option<String>,
    pub(super) max_wait: Option<Duration>,
    pub(super) is_shutdown: bool,
    pub(super) is_debug: bool,
    pub(super) expected: u32,
    pub(super) follows: Option<SessionId>,
    pub(super) follow_ups: Option<u32>,
    /// The base port that it has if it can.
    pub(super) port: Option<u16>,
}

/// What is known before something is created.
pub(super) struct Prepared {
    pub(super) image: Image,
    /// When its files were verified.
    pub(super) checked_at: Timestamp,
    /// Each once.
    pub(super) hosts: Vec<Arc<Host>>,
    pub(super) warnings: Vec<DeployWarning>,
}

/// A new session.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// Number.
    pub session: SessionId,
    /// Name.
    pub name: String,
    /// Hosts.
    pub hosts: usize,
    /// Base port.
    pub port: u16,
    /// Wait for missing hosts.
    pub max_wait: Duration,
    /// What people should know.
    pub warnings: Vec<DeployWarning>,
}

/// Something about a new session.
#[derive(Debug, Clone)]
pub enum DeployWarning {
    /// The image's streams were never decoded to their ends.
    NotVerified,
    /// No machine can boot: this file is missing.
    NoBootFile(PathBuf),
    /// A port pair was passed over: who holds it.
    PortHeld(String),
    /// The machines are not switched on: why.
    NotWoken(String),
    /// A setting of the database makes no sense.
    Setting(String),
    /// A script of the image store, which `fos-agent` does not run.
    Script(String),
}

/// Why there is no new session.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// No such image.
    #[error("there is no image {0}; fos-server image list shows them")]
    NoImage(String),
    /// The image was never verified here.
    #[error("image {0} was never verified; read and verify it with fos-server image update {0}")]
    NeverVerified(String),
    /// Its row was changed, by other means than ours, since its files were verified.
    #[error(
        "image {image} was changed after it was verified: {changed}; undo that, or verify the image as it \
         is now with fos-server image update {image}"
    )]
    OtherSettings {
        /// Name.
        image: String,
        /// What of it.
        changed: SettingChanged,
    },
    /// Its files are not as they were.
    #[error(transparent)]
    Changed(#[from] imagestore::ChangedError),
    /// The image store does not answer.
    #[error(
        "the image store {} has not answered for {} s; look whether its disk or mount hangs",
        .0.display(), STORE_LIMIT.as_secs()
    )]
    StoreHangs(PathBuf),
    /// The boot directory does not answer.
    #[error(
        "the boot directory {} does not answer; look whether its disk or mount hangs", .0.display()
    )]
    BootHangs(PathBuf),
    /// A name is none of a host or a group.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A session that is joined by name was given none.
    #[error("hosts join the session by its name: give it one")]
    NoName,
    /// It cannot be typed at every machine.
    #[error(
        "{0:?} cannot be the name of a session that hosts join by it: use letters of ASCII, digits, blanks, dots, \
         hyphens and underscores, {MAX_NAME} at most"
    )]
    OddName(String),
    /// The name is taken.
    #[error("{0} is the name of {taken}; choose another one", taken = match .1 {
        Some(session) => format!("session {session}, which is active"),
        None => "a host".to_owned(),
    })]
    NameTaken(String, Option<SessionId>),
    /// Sessions and other programs hold all ports.
    #[error(
        "no pair of ports from {first} on is free ({pairs} pairs were tried){}; cancel a session, end \
         the programs, or give another range with fos-server serve --ports",
        held.iter().map(|held| format!("; {held}")).collect::<String>()
    )]
    NoPort {
        /// First port.
        first: u16,
        /// Pairs.
        pairs: usize,
        /// Holders, as far as they are known; at most 5.
        held: Vec<String>,
    },
    /// It was not created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A programming error.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Why nothing was cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// No such session.
    #[error("there is no session {0}; fos-server status lists them")]
    NoSession(SessionId),
    /// It is over.
    #[error("session {0} is already over: {1}")]
    Over(SessionId, State),
    /// The host is not in it.
    #[error("host {1} is not in session {0}; fos-server status {0} lists its hosts")]
    NoHost(SessionId, String),
    /// The host's part is over.
    #[error("host {1} is already out of session {0}: {2}")]
    HostOver(SessionId, String, State),
    /// It is cancelled, but that is not stored yet.
    #[error(
        "it is cancelled, but that cannot be stored at present: it will be tried again; fos-server \
         status {0} shows why"
    )]
    NotStored(SessionId),
    /// The session did not answer.
    #[error(
        "session {0} does not answer, so it may not be cancelled: look at fos-server status {0}, and \
         cancel it again if it still runs"
    )]
    NoAnswer(SessionId),
    /// Another program changed it meanwhile.
    #[error(
        "session {0} was changed by another program meanwhile: look at fos-server status {0}, and \
         cancel it again if it is not over"
    )]
    Changed(SessionId),
    /// Its rows make no sense, so its hosts cannot be told apart.
    #[error(
        "{1}. So no single host can be cancelled; correct the row, or cancel the whole session \
         (fos-server cancel {0})"
    )]
    BrokenHosts(SessionId, Box<BrokenRow>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ops {
    /// Checks everything that can be checked, then creates session and tasks in one step.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is created then.
    pub async fn deploy(&self, wanted: &DeployRequest) -> Result<Deployed, DeployError> {
        let prepared = self.prepare(wanted).await?;
        if wanted.expected > 0 {
            self.check_name(wanted.name.as_deref()).await?;
        }
        let hosts = prepared.hosts.clone();
        let what = Wanted {
            name: wanted.name.clone(),
            max_wait: wanted.max_wait,
            is_shutdown: wanted.is_shutdown,
            is_debug: wanted.is_debug,
            expected: wanted.expected,
            follows: None,
            follow_ups: wanted.follow_ups,
            port: None,
        };
        let mut deployed = self.create(prepared, what).await?;
        if wanted.is_woken
            && let Err(error) = self.wake_hosts(&hosts).await
        {
            let warning = DeployWarning::NotWoken(error.to_string());
            deployed.warnings.push(warning);
        }
        Ok(deployed)
    }

    /// A session that people join by its name needs one that is its own, also beside FOG, where hosts and sessions have
    /// no name in common.
    async fn check_name(&self, name: Option<&str>) -> Result<(), DeployError> {
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let name = name.ok_or(DeployError::NoName)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
        if name.len() > MAX_NAME || !name.chars().all(is_plain) {
            let name = fog::encoding::printable(name, 60);
            return Err(DeployError::OddName(name));
        }
        let mut open = self.store.open_sessions().await?.into_iter();
        if let Some(open) = open.find(|open| open.name.eq_ignore_ascii_case(name)) {
            return Err(DeployError::NameTaken(open.name, Some(open.session)));
        }
        match self.directory.by_name(name) {
            Some(host) => Err(DeployError::NameTaken(host.name.clone(), None)),
            None => Ok(()),
        }
    }

    /// Creates a session of what was looked up and checked.
    pub(super) async fn create(
        &self,
        prepared: Prepared,
        wanted: Wanted,
    ) -> Result<Deployed, DeployError> {
        let Prepared {
            image,
            checked_at,
            hosts,
            mut warnings,
        } = prepared;
        let settings = self.settings().await?;
        let odd = settings.odd.iter().map(ToString::to_string);
        warnings.extend(odd.map(DeployWarning::Setting));
        let settings = self.config.multicast(settings.multicast);
        let max_wait = wanted.max_wait.unwrap_or(settings.max_wait);
        let pool = settings.ports();
        let name = wanted.name.unwrap_or_else(|| image.name.clone());
        let mut passed_over = Vec::new();
        let mut held = Vec::new();
        loop {
            let port = self
                .free_port(&pool, wanted.port, &mut passed_over, &mut held)
                .await?;
            let session = NewSession {
                name: fog::encoding::printable(&name, 250),
                image: image.id,
                checked_at,
                hosts: hosts.iter().map(|host| host.id).collect(),
                port,
                max_sessions: settings.max_sessions,
                max_wait,
                is_shutdown: wanted.is_shutdown,
                is_debug: wanted.is_debug,
                expected: wanted.expected,
                follows: wanted.follows,
                follow_ups: wanted.follow_ups,
            };
            match self.store.create_session(clock::now(), session).await {
                Ok(session) => {
                    self.note_held_ports(session, &held).await;
                    let held = held.into_iter().map(DeployWarning::PortHeld);
                    warnings.extend(held);
                    return Ok(Deployed {
                        session,
                        name,
                        hosts: hosts.len(),
                        port,
                        max_wait,
                        warnings,
                    });
                }
                Err(CreateError::PortTaken(port)) => passed_over.push(port),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What of a deploy is looked up and checked, whichever way the data go.
    pub(super) async fn prepare(&self, wanted: &DeployRequest) -> Result<Prepared, DeployError> {
        let image = self.store.find_image(&wanted.image).await?;
        let image = image.ok_or_else(|| no_image(&wanted.image))?;
        let hosts = self.named_hosts(&wanted.hosts).await?;
        let (checked_at, warnings) = self.check_deployable(&image).await?;
        Ok(Prepared {
            image,
            checked_at,
            hosts,
            warnings,
        })
    }

    /// What of an image and of the boot files is checked before a deploy; when the files were verified, and what people
    /// should know.
    pub(super) async fn check_deployable(
        &self,
        image: &Image,
    ) -> Result<(Timestamp, Vec<DeployWarning>), DeployError> {
        let facts = self.usable_facts(image).await?;
        let mut warnings = Vec::new();
        if !facts.is_verified {
            warnings.push(DeployWarning::NotVerified);
        }
        let checked_at = facts.checked_at;
        self.check_files(image, facts).await?;
        // Whether the store hangs was just seen; what it says now is only a warning.
        let scripts = self.scripts().await.unwrap_or_default();
        warnings.extend(scripts.into_iter().map(DeployWarning::Script));
        // No guess: where a server that was never started will have them is not known.
        if self.config.origin != Origin::Defaults {
            match self.missing_file(["bzImage", "init.xz"]).await {
                BootFiles::Complete => {}
                BootFiles::Missing(path) => warnings.push(DeployWarning::NoBootFile(path)),
                BootFiles::Hang(dir) => return Err(DeployError::BootHangs(dir)),
            }
        }
        Ok((checked_at, warnings))
    }

    /// Whether the files of an image are those that were verified, by size and date; answers its name.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn check_image(&self, wanted: &str) -> Result<String, DeployError> {
        let image = self.store.find_image(wanted).await?;
        let image = image.ok_or_else(|| no_image(wanted))?;
        let facts = self.usable_facts(&image).await?;
        self.check_files(&image, facts).await?;
        Ok(image.name)
    }

    /// What is known of the files of an image, if it was found out for its present settings.
    async fn usable_facts(&self, image: &Image) -> Result<Facts, DeployError> {
        let facts = self.store.facts(image.id).await?;
        let facts = facts
            .ok_or_else(|| DeployError::NeverVerified(fog::encoding::printable(&image.name, 60)))?;
        if let Some(verified) = &facts.settings
            && let Some(changed) = verified.difference(&image.settings())
        {
            let image = fog::encoding::printable(&image.name, 60);
            return Err(DeployError::OtherSettings { image, changed });
        }
        Ok(facts)
    }

    /// Who looks at the session later sees as well why it has these ports.
    async fn note_held_ports(&self, session: SessionId, held: &[String]) {
        for text in held {
            let note = Note::PortHeld { text: text.clone() };
            let stored = self
                .store
                .add_event(clock::now(), Some(session), None, note);
            if let Err(error) = stored.await {
                tracing::warn!(session = session.0, "noting held ports: {error}");
            }
        }
    }

    async fn check_files(&self, image: &Image, facts: Facts) -> Result<(), DeployError> {
        let dir = self.config.images.join(&image.path);
        let look = {
            let dir = dir.clone();
            // Held as long as the file system holds the thread.
            blocking(&self.readers, move || {
                imagestore::check_unchanged(&dir, &facts)
            })
        };
        match tokio::time::timeout(STORE_LIMIT, look).await {
            Ok(Ok(checked)) => Ok(checked?),
            Ok(Err(error)) => Err(DeployError::Internal(error.to_string())),
            Err(_) => Err(DeployError::StoreHangs(dir)),
        }
    }

    /// The lowest base port that neither a session nor another program holds.
    async fn free_port(
        &self,
        pool: &[u16],
        preferred: Option<u16>,
        passed_over: &mut Vec<u16>,
        held: &mut Vec<String>,
    ) -> Result<u16, DeployError> {
        let of_sessions = self.store.held_ports().await?;
        let sender = Arc::clone(&self.sessions.around().sender);
        // Of the card that the session will send on, if that is known already.
        let card = self.config.known_interface().ok().flatten();
        let address = card.map_or(Ipv4Addr::UNSPECIFIED, |card| card.addr);
        let preferred = preferred.filter(|port| pool.contains(port));
        for port in preferred.into_iter().chain(pool.iter().copied()) {
            if of_sessions.contains(&i64::from(port)) || passed_over.contains(&port) {
                continue;
            }
            let sender = Arc::clone(&sender);
            let probe =
                tokio::task::spawn_blocking(move || sender.probe_ports(address, port)).await;
            match probe.map_err(|error| DeployError::Internal(error.to_string()))? {
                Ok(()) => return Ok(port),
                Err(holder) => {
                    passed_over.push(port);
                    if held.len() < MAX_HELD {
                        held.push(holder);
                    }
                }
            }
        }
        Err(DeployError::NoPort {
            first: pool.first().copied().unwrap_or_default(),
            pairs: pool.len(),
            held: held.clone(),
        })
    }

    /// Cancels every active session; answers those that were, and why others were not.
    ///
    /// # Errors
    /// If the database does not say which there are.
    pub async fn cancel_all(&self) -> Result<(Vec<SessionId>, Vec<CancelError>), StoreError> {
        let (mut cancelled, mut failed) = (Vec::new(), Vec::new());
        for session in self.store.active_sessions().await? {
            match self.cancel(session, None).await {
                Ok(()) => cancelled.push(session),
                // It has ended by itself meanwhile.
                Err(CancelError::Over(..) | CancelError::NoSession(_)) => {}
                Err(error) => failed.push(error),
            }
        }
        Ok((cancelled, failed))
    }

    /// Cancels a session, or one host of it. When this returns, it is stored.
    ///
    /// # Errors
    /// If there is nothing to cancel, or it is not stored yet.
    pub async fn cancel(&self, id: SessionId, host: Option<&str>) -> Result<(), CancelError> {
        // A session that is just being started does not know what is stored meanwhile.
        let idle = self.sessions.keep_idle(id).await;
        let session = match self.store.session(id).await {
            Ok(session) => session.ok_or(CancelError::NoSession(id))?,
            Err(StoreError::Broken(row)) => {
                if host.is_some() {
                    return Err(CancelError::BrokenHosts(id, row));
                }
                return self.cancel_broken(id, row, idle).await;
            }
            Err(error) => return Err(error.into()),
        };
        if !session.state.is_active() {
            return Err(CancelError::Over(id, session.state));
        }
        let name = host.map(|name| fog::encoding::printable(name, 60));
        let host = match &name {
            None => None,
            Some(name) => {
                let mut members = session.members.iter();
                let member = members.find(|member| member.name.eq_ignore_ascii_case(name));
                let member = member.ok_or_else(|| CancelError::NoHost(id, name.clone()))?;
                if !member.state.is_active() {
                    return Err(CancelError::HostOver(id, name.clone(), member.state));
                }
                Some(member.host)
            }
        };
        let handle = match idle {
            Ok(_idle) => return self.cancel_idle(&session, host).await,
            Err(handle) => handle,
        };
        let answer = handle.cancel(host).await;
        // It may have ended by itself just before.
        let session = self.store.session(id).await?;
        let over = session.and_then(|session| match host {
            None => Some(session.state),
            Some(host) => {
                let mut members = session.members.iter();
                members
                    .find(|member| member.host == host)
                    .map(|member| member.state)
            }
        });
        match (over, answer) {
            (Some(state @ (State::Complete | State::Failed)), _) => Err(match name {
                Some(name) => CancelError::HostOver(id, name, state),
                None => CancelError::Over(id, state),
            }),
            (Some(State::Cancelled), _) | (_, Ok(())) => Ok(()),
            (_, Err(unanswered)) => Err(not_cancelled(id, &unanswered)),
        }
    }

    /// A session of which a row cannot be read: it is ended by its states alone.
    async fn cancel_broken(
        &self,
        id: SessionId,
        row: Box<BrokenRow>,
        idle: Result<crate::session::Idle<'_>, Handle>,
    ) -> Result<(), CancelError> {
        match idle {
            Ok(_idle) => {
                let reason = Reason::SessionCancelled;
                if !self.store.fail_broken(clock::now(), id, reason).await? {
                    return Err(StoreError::Broken(row).into());
                }
                self.sessions.askers().all_changed();
                let line = format!("is cancelled, though a row of it makes no sense: {row}");
                self.log.session(clock::now(), id.0, "", &line);
                Ok(())
            }
            Err(handle) => match handle.cancel(None).await {
                Ok(()) => Ok(()),
                // Its journal found the row too, and ended it.
                Err(_) if !self.store.active_sessions().await?.contains(&id) => Ok(()),
                Err(unanswered) => Err(not_cancelled(id, &unanswered)),
            },
        }
    }

    /// No driver runs it: the same state machine decides.
    async fn cancel_idle(
        &self,
        session: &crate::domain::session::Session,
        host: Option<HostId>,
    ) -> Result<(), CancelError> {
        let now = Instant::now();
        let mut core = Core::resume(super::idle_plan(session), now, session);
        match host {
            Some(host) => core.host_cancelled(now, host),
            None => core.cancelled(now),
        }
        let (id, at) = (session.id, clock::now());
        let conflicts = self.store.apply(at, id, facts_of(core)).await?;
        if !conflicts.is_empty() {
            return Err(CancelError::Changed(id));
        }
        let members = session.members.iter();
        let hosts = members.map(|member| member.host);
        self.sessions.askers().changed(hosts);
        let what = match host.and_then(|host| self.directory.host(host)) {
            Some(host) => format!("host {} is cancelled", host.name),
            None => "is cancelled".to_owned(),
        };
        self.log.session(at, id.0, &session.name, &what);
        Ok(())
    }
}

pub(super) fn no_image(wanted: &str) -> DeployError {
    DeployError::NoImage(fog::encoding::printable(wanted, 60))
}

/// What a running session said instead of "stored".
fn not_cancelled(id: SessionId, unanswered: &AskAgain) -> CancelError {
    match unanswered {
        AskAgain::NotStored => CancelError::NotStored(id),
        _ => CancelError::NoAnswer(id),
    }
}

/// Characters of a name that is typed at a machine.
const MAX_NAME: usize = 60;

/// How long the image store may take to show its files.
const STORE_LIMIT: Duration = Duration::from_secs(20);

/// Holders of ports that are named.
const MAX_HELD: usize = 5;
