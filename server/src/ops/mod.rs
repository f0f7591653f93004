//! Everything that can be asked of the server, by clients and by people. Besides the sessions, only
//! this calls the store.

mod accounts;
mod boot;
mod boot_file;
mod capture;
mod clients;
mod deploy;
mod directory;
mod follow_ups;
mod groups;
mod hosts;
mod image_root;
mod images;
mod inspection;
mod jobs;
mod joining;
mod log_tail;
mod memory;
mod replication;
mod reports;
mod schedules;
mod site;
mod start;
mod status;
mod unicast;
mod verification;
mod wake;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fog::Mac;
use tokio::sync::{Semaphore, broadcast};

pub use accounts::{Caller, Cookie, LoginError, Who};
pub use boot::{BootAnswer, BootJob, DebugBoot};
pub(crate) use boot_file::{BootFile, BootFileError};
pub use capture::{
    Arrival, CaptureError, CaptureRequest, CaptureTaskError, CaptureWarning, ImageVersion,
    RevertError, Sender as CaptureSender, Sharer,
};
pub use clients::{CheckInRequest, ClientError, ClientRequest, ClientResult, Known};
pub use deploy::{CancelError, DeployError, DeployRequest, DeployWarning, Deployed};
pub use directory::Directory;
pub use groups::{ChangeGroupError, Membership, NameError};
pub use hosts::{AcceptError, Accepted};
pub use image_root::image_root;
pub use images::TaskImage;
pub use inspection::ImageState;
pub use joining::Joined;
pub use log_tail::LogError;
pub use replication::{PeerError, PeerState, ReplicaStage, ReplicateError, Replication};
pub use schedules::ScheduleError;
pub use site::{NodeState, ServerState, SiteState};
pub use start::StartError;
pub use status::SessionState;
pub use unicast::{
    CancelTaskError, DataFile, TaskState, TasksCreated, UnicastRequest, UnicastStatus,
};
pub use verification::{Verification, VerifyRefused, VerifyStage};
pub use wake::{WakeError, Woken};

use crate::api::ServerLook;
use crate::clock;
use crate::config::{Config, Origin};
use crate::domain::Timestamp;
use crate::domain::doctor::DatabaseLook;
use crate::domain::host::About;
use crate::domain::session::core::Plan;
use crate::logs::{Level, MulticastLog, Subject};
use crate::session::Sessions;
use crate::store::{Change, Settings, SharedStore, StoreError};

/// The server without its edges.
pub struct Ops {
    store: SharedStore,
    config: Arc<Config>,
    sessions: Arc<Sessions>,
    directory: Directory,
    jobs: jobs::Jobs,
    memory: memory::Memory,
    strangers: Mutex<directory::Seen>,
    /// Machines that asked to be registered a moment ago.
    wishes: Mutex<directory::Seen>,
    /// Whether clients are to change the computer name early, as it was read last: they ask too often to read it
    /// each time.
    is_name_changed_early: AtomicBool,
    log: MulticastLog,
    /// When this process began to serve, or to ask.
    began_at: Timestamp,
    /// Reports that come after the end of their session change its result: one after the other.
    late: tokio::sync::Mutex<()>,
    unicasts: unicast::Unicasts,
    accounts: accounts::Accounts,
    verifications: verification::Verifications,
    captures: capture::Captures,
    replications: replication::Replications,
    /// The status of all sessions is read for one at a time.
    status: tokio::sync::Mutex<()>,
    /// Places for those who read the log.
    log_readers: Arc<Semaphore>,
    /// Places for those who switch machines on.
    wakers: Arc<Semaphore>,
    /// Places for those who look at images.
    readers: Arc<Semaphore>,
    /// Places for other servers that read an image's files.
    peer_readers: Arc<Semaphore>,
    /// Places for those who look at the boot directory.
    boot_readers: Arc<Semaphore>,
}

impl Ops {
    /// Reads what it keeps in memory.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn new(sessions: Arc<Sessions>) -> Result<Arc<Self>, StoreError> {
        let around = sessions.around();
        let store = Arc::clone(&around.store);
        // Commands run no sessions.
        let number = match around.config.origin {
            Origin::Running => store.register(around.config.shown()).await?,
            _ => None,
        };
        let secret = match number {
            Some(_) => store.site_secret().await?,
            None => None,
        };
        let memory = memory::Memory::load(&store, number).await?;
        let ops = Self {
            config: Arc::clone(&around.config),
            log: around.log.clone(),
            began_at: clock::now(),
            store,
            sessions,
            directory: Directory::default(),
            jobs: jobs::Jobs::default(),
            memory,
            strangers: Mutex::default(),
            wishes: Mutex::default(),
            is_name_changed_early: AtomicBool::new(true),
            late: tokio::sync::Mutex::default(),
            unicasts: unicast::Unicasts::default(),
            accounts: accounts::Accounts::default(),
            verifications: verification::Verifications::default(),
            captures: capture::Captures::default(),
            replications: replication::Replications::default(),
            status: tokio::sync::Mutex::default(),
            log_readers: Arc::new(Semaphore::new(log_tail::LOG_READERS)),
            wakers: Arc::new(Semaphore::new(wake::WAKERS)),
            readers: Arc::new(Semaphore::new(images::READERS)),
            peer_readers: Arc::new(Semaphore::new(replication::PEER_READERS)),
            boot_readers: Arc::new(Semaphore::new(boot::BOOT_READERS)),
        };
        if let Some(secret) = secret {
            ops.replications.know(secret);
        }
        ops.refresh_directory().await?;
        ops.is_name_changed_early().await?;
        ops.begin_unicasts().await?;
        Ok(Arc::new(ops))
    }

    /// Settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The sessions that run.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Logs.
    #[must_use]
    pub fn log(&self) -> &MulticastLog {
        &self.log
    }

    /// What kind of database there is, and where the images are.
    #[must_use]
    pub async fn look(&self) -> ServerLook {
        // A database that does not answer is seen otherwise.
        let settings = self.store.settings().await;
        let (odd, multicast) =
            settings.map_or_else(|_| Default::default(), |found| (found.odd, found.multicast));
        ServerLook {
            odd_settings: odd,
            interface_setting: multicast.interface,
            database: DatabaseLook {
                is_fogs: self.store.is_shared_with_fog(),
                undoes: self.store.undoes_everything(),
                cluster: self.store.cluster(),
            },
            images: self.config.images.clone(),
        }
    }

    /// Follows changes of the hosts that others make; ends with the store.
    pub async fn follow_changes(&self) {
        let mut changes = self.store.changes();
        loop {
            match changes.recv().await {
                Ok(Change::Hosts) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    // Hundreds of hosts end at a time, each of them a change: read once for all.
                    while !changes.is_empty() {
                        drop(changes.try_recv());
                    }
                    while let Err(error) = self.refresh_directory().await {
                        tracing::error!("server: reading the hosts anew: {error}; trying again");
                        tokio::time::sleep(READ_AGAIN).await;
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// The settings of the database.
    async fn settings(&self) -> Result<Settings, StoreError> {
        let settings = self.store.settings().await?;
        for odd in &settings.odd {
            let what = "looks at settings of which one makes no sense";
            let now = clock::now();
            self.log
                .repeated(now, Level::Warn, &Subject::Server, what, &odd.to_string());
        }
        self.is_name_changed_early
            .store(settings.is_name_changed_early, Ordering::Relaxed);
        Ok(settings)
    }

    async fn refresh_directory(&self) -> Result<(), StoreError> {
        let (hosts, broken) = self.store.hosts().await?;
        for row in broken {
            tracing::error!("server: a host cannot be used: {row}");
        }
        self.directory.replace(hosts);
        self.jobs.clear();
        Ok(())
    }

    /// Whether a wish to be registered is to be stored: it may come again and again.
    fn is_news_of_wish(&self, mac: Mac, address: IpAddr) -> bool {
        is_news(&self.wishes, mac, address)
    }

    /// Remembers a machine that is not registered; now and then, as it may ask for ever.
    async fn remember_stranger(&self, mac: Mac, address: IpAddr, about: About) {
        if !is_news(&self.strangers, mac, address) {
            return;
        }
        let now = clock::now();
        self.log.info(
            now,
            &Subject::Host(mac.to_string()),
            &format!("asked from {address} and is not registered"),
        );
        let stored = self.store.remember_stranger(now, mac, address, about);
        if let Err(error) = stored.await {
            tracing::warn!("host {mac}: remembering it: {error}");
        }
    }
}

fn is_news(seen: &Mutex<directory::Seen>, mac: Mac, address: IpAddr) -> bool {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.is_news(std::time::Instant::now(), mac, address)
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

/// Runs something that a file system may hold for ever, in one of these places: the place is as long
/// in use as the thread, even if nobody waits any more.
pub(crate) async fn blocking<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    let place = Arc::clone(places).acquire_owned().await;
    let work = move || {
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work).await
}

/// Until the hosts are read again after that has failed.
const READ_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// A plan that is only good for cancelling: nothing of it is waited for.
fn idle_plan(session: &crate::domain::session::Session) -> Plan {
    let members = session.members.iter();
    Plan {
        streams: Vec::new(),
        hosts: members
            .map(|member| (member.host, member.name.clone()))
            .collect(),
        expected: 0,
        is_followed: false,
        records: crate::domain::session::core::Records::Auto,
        max_wait: std::time::Duration::MAX,
        connect_wait: std::time::Duration::MAX,
        stream_wait: std::time::Duration::MAX,
        grace: std::time::Duration::MAX,
        agent_silence: std::time::Duration::MAX,
        rebind_after: std::time::Duration::MAX,
        stall_limit: std::time::Duration::MAX,
    }
}
