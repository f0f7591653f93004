//! What the server remembers: operations, not rows.
//!
//! An operation is one transaction, finished or not begun: it runs in a task of its own, so that a
//! caller that is dropped at any await leaves nothing open. It returns when what it did survives a
//! power cut. States change by compare and set ([`crate::domain::task`]).

#[cfg(test)]
pub(crate) mod conformance;
pub mod inventory;
mod mariadb;
mod node;
mod sql;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fog::Mac;
use fog::status::ReceivedStatus;
use tokio::sync::broadcast;

use self::mariadb::MariaDb;
#[cfg(test)]
pub(crate) use self::mariadb::testing as mariadb_of_tests;
pub use self::mariadb::{BadLocation, Database, Location};
use self::node::Node;
use self::sqlite::Sqlite;
use crate::domain::account::{Account, AccountKind, AccountName, Role, StoredSecret};
use crate::domain::doctor::ClusterLook;
use crate::domain::groups::{Group, GroupChange, GroupName};
use crate::domain::handout::Ticket;
use crate::domain::handouts::{self, StoredRow};
use crate::domain::host::{
    About, Host, HostActivity, NewHost, PendingHost, StationMac, Stranger, Wish,
};
use crate::domain::image::{Facts, Image, ImageName, NewImage};
use crate::domain::multicast::{Multicast, OddSetting};
use crate::domain::node::{Claim, Fence, NodeName, OtherClaim, Renewal, Server, Shown};
use crate::domain::peer::{Peer, SiteSecret};
use crate::domain::queue::{NodeFailure, Rules, Turn};
use crate::domain::reason::BrokenRow;
use crate::domain::schedule::{Outcome, Planned, Schedule, When};
use crate::domain::session::{Event, Fact, Note, Session};
use crate::domain::site::Site;
use crate::domain::unicast::{UnicastFact, UnicastTask};
use crate::domain::{HostId, ImageId, Reason, ScheduleId, SessionId, TaskId, Timestamp};

/// A shared store.
pub type SharedStore = Arc<dyn Store>;

/// Opens a store: this database, which other servers may have, too, else the file in the directory `data`. What is
/// missing of it is made.
///
/// # Errors
/// If it cannot be used.
pub async fn open(
    data: &Path,
    database: Option<&Database>,
    name: &NodeName,
) -> anyhow::Result<SharedStore> {
    match database {
        Some(database) => {
            let node = Node::load(data, name)?;
            Ok(Arc::new(MariaDb::open(database, node).await?))
        }
        None => Ok(Arc::new(Sqlite::open(data).await?)),
    }
}

/// Why an operation did not happen. Nothing of it is stored, with one exception: if the disk hangs in
/// the very commit, it shows when it answers again, and the text says so.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot do it now: disk full, locked by another program, unreachable, closed.
    #[error("the database cannot be used: {0}")]
    Unavailable(String),
    /// A value makes no sense. Nothing else is harmed by it.
    #[error(transparent)]
    Broken(#[from] Box<BrokenRow>),
    /// A programming error.
    #[error("internal error of the database layer: {0}")]
    Internal(String),
}

/// Result of an operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a host was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddHostError {
    /// Another host has the name.
    #[error("there is already a host called {0}; choose another name or remove that host first")]
    NameTaken(String),
    /// Another host has the address.
    #[error("{mac} already belongs to host {host}; remove that host first or check the address")]
    MacTaken {
        /// The address.
        mac: Mac,
        /// Who has it.
        host: String,
    },
    /// There is no such image.
    #[error("there is no image {0}; fos-server image list shows them")]
    NoImage(ImageId),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a host or image was not removed, or an image not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It does not exist.
    #[error("it does not exist any more")]
    Gone,
    /// An active session uses it.
    #[error("session {0} uses it; cancel that first (fos-server cancel {0})")]
    InUse(SessionId),
    /// An active task without a session uses it.
    #[error("task {0} uses it")]
    InTask(TaskId),
    /// The task that it is done for is over.
    #[error("task {0} is over")]
    TaskOver(TaskId),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a host was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditHostError {
    /// It does not exist any more, or has an active task, which began with what it was.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// What it shall be is not possible.
    #[error(transparent)]
    New(#[from] AddHostError),
}

impl From<StoreError> for EditHostError {
    fn from(error: StoreError) -> Self {
        Self::Change(error.into())
    }
}

/// Why a group is as it was.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// There is no such group.
    #[error("there is no group {0}; fos-server group list shows them")]
    NoGroup(GroupName),
    /// A host is not registered any more.
    #[error("host {0} does not exist any more, or has no MAC address")]
    NoHost(HostId),
    /// There are as many as are kept.
    #[error("there are {MAX_GROUPS} groups, more are not kept; remove one first")]
    TooMany,
    /// It has as many hosts as a group can have.
    #[error("a group has {MAX_GROUP_MEMBERS} hosts at most; make another one")]
    Full,
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nothing is begun later.
#[derive(Debug, thiserror::Error)]
pub enum AddScheduleError {
    /// There are as many as are kept.
    #[error(
        "there are {MAX_SCHEDULES} deploys that begin later, or did, more are not kept; remove one first \
         (fos-server schedule remove)"
    )]
    TooMany,
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an account was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddAccountError {
    /// The name is taken.
    #[error(
        "there is already a {kind} called {name}; choose another name or remove that one first"
    )]
    NameTaken {
        /// Kind.
        kind: AccountKind,
        /// Name.
        name: AccountName,
    },
    /// There are as many as are kept.
    #[error("there are {MAX_ACCOUNTS} accounts, more are not kept; remove one first")]
    TooMany,
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an image was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddImageError {
    /// The name is taken.
    #[error("there is already an image called {0}; choose another name or remove that image first")]
    NameTaken(String),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an image is called what it was called.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The name is taken.
    #[error("there is already an image called {0}; choose another name or remove that image first")]
    NameTaken(String),
    /// It does not exist.
    #[error("it does not exist any more")]
    Gone,
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a session was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A host has another active task.
    #[error("host {host} already has a task, in {}", match session {
        Some(id) => format!("session {id} (end it with fos-server cancel {id})"),
        None => format!("no session, task {task}"),
    })]
    HostBusy {
        /// Host.
        host: String,
        /// Its task.
        task: TaskId,
        /// Its session, if it is in one.
        session: Option<SessionId>,
    },
    /// A host is not registered any more.
    #[error("host {0} does not exist any more")]
    NoHost(HostId),
    /// The image is not there any more, or was changed since it was looked up.
    #[error("image {0} does not exist any more, or was changed just now; try again")]
    NoImage(ImageId),
    /// Another machine is to be captured into the image.
    #[error(
        "image {image} is being captured already, by task {task} (end it with fos-server cancel --task {task})"
    )]
    Captured {
        /// Image.
        image: String,
        /// The other task.
        task: TaskId,
    },
    /// An active session took the port meanwhile.
    #[error("port {0} was taken by another session meanwhile")]
    PortTaken(u16),
    /// As many sessions as allowed are active.
    #[error(
        "{active} multicast sessions are active and FOG_MULTICAST_MAX_SESSIONS allows {limit}; wait \
         for one to end or cancel one (fos-server status lists them)"
    )]
    TooMany {
        /// Active sessions.
        active: u32,
        /// The setting.
        limit: u32,
    },
    /// The session that it is to follow has its follow-up already, or is not to have one any more.
    #[error("session {0} is not to be followed up any more")]
    Followed(SessionId),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a host has not joined a session.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It is over, or was never there, or its hosts are known.
    #[error("session {0} cannot be joined")]
    NotOpen(SessionId),
    /// Data have flowed.
    #[error("session {0} has started already")]
    Started(SessionId),
    /// The host's part in it is over.
    #[error("this host was in session {0}, and its part in it is over")]
    Over(SessionId),
    /// The host has another active task.
    #[error("this host has a task already, {}", match session {
        Some(id) => format!("in session {id}"),
        None => format!("task {task}"),
    })]
    Busy {
        /// Its task.
        task: TaskId,
        /// Its session, if it is in one.
        session: Option<SessionId>,
    },
    /// It has as many hosts as a session can have.
    #[error("session {0} has {MAX_JOINED} hosts, which is the limit")]
    Full(SessionId),
    /// The host is not registered any more.
    #[error("this host is not registered any more")]
    NoHost,
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session that hosts join by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Number.
    pub session: SessionId,
    /// Name.
    pub name: String,
    /// Display name of the image.
    pub image_name: String,
    /// Hosts that its first stream waits for.
    pub expected: u32,
    /// Hosts that have joined.
    pub joined: u32,
    /// Whether it is too late.
    pub has_started: bool,
}

/// What a new session is.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Name.
    pub name: String,
    /// Image.
    pub image: ImageId,
    /// When its files were verified: the session is for these files.
    pub checked_at: Timestamp,
    /// Hosts, each once.
    pub hosts: Vec<HostId>,
    /// Base port.
    pub port: u16,
    /// Sessions that may be active, this one included; 0 for any number.
    pub max_sessions: u32,
    /// See [`Session::max_wait`]; whole seconds.
    pub max_wait: Duration,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
    /// See [`Session::is_debug`].
    pub is_debug: bool,
    /// See [`Session::expected`]; with hosts 0.
    pub expected: u32,
    /// See [`Session::follows`].
    pub follows: Option<SessionId>,
    /// See [`Session::follow_ups`].
    pub follow_ups: Option<u32>,
}

/// What new tasks of machines that are deployed alone are.
#[derive(Debug, Clone)]
pub struct NewUnicast {
    /// Name.
    pub name: String,
    /// Image.
    pub image: ImageId,
    /// When its files were verified: the tasks are for these files.
    pub checked_at: Timestamp,
    /// Hosts, each once.
    pub hosts: Vec<HostId>,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
    /// Whether the machines boot to a shell.
    pub is_debug: bool,
    /// Whether they need not wait for a slot.
    pub is_forced: bool,
}

/// What the task of a capture is.
#[derive(Debug, Clone)]
pub struct NewCapture {
    /// Host.
    pub host: HostId,
    /// Image.
    pub image: CapturedImage,
    /// Whether the machine is switched off afterwards.
    pub is_shutdown: bool,
    /// Whether the machine boots to a shell.
    pub is_debug: bool,
}

/// The image that a capture is for.
#[derive(Debug, Clone)]
pub struct CapturedImage {
    /// As it is, or as it is to be made.
    pub image: NewImage,
    /// Level of compression, to be kept for later captures; as it is if not given.
    pub compression: Option<u8>,
}

/// Which tasks of machines that are deployed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnicastQuery {
    /// Those in states 0 to 3, the oldest first.
    Active,
    /// The newest, at most so many, newest first.
    Newest(u32),
    /// The one with this number.
    One(TaskId),
    /// The newest that a host's machine asked for from this address with this ticket, or without one.
    OfMachine {
        /// Host.
        host: HostId,
        /// Address.
        address: Ipv4Addr,
        /// Ticket.
        ticket: Option<Ticket>,
    },
}

/// The log of FOG's own multicast manager, as FOG's settings have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerLog {
    /// The file.
    pub path: PathBuf,
    /// Between two of its lines while it has nothing to do.
    pub period: Duration,
}

impl ManagerLog {
    /// After which silence it is not written to any more.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.period * 2 + Duration::from_secs(5)
    }
}

/// The queue of machines that are deployed alone, as it is stored.
#[derive(Debug, Clone)]
pub struct QueueLook {
    /// How often it was changed until then.
    pub turn: Turn,
    /// The active tasks, the oldest first.
    pub tasks: Vec<UnicastTask>,
}

/// By what it was decided what becomes of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// By the tasks themselves, whatever becomes of others.
    ByTask,
    /// By the queue as it was then.
    In(Turn),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueApplied {
    /// It is stored.
    Stored {
        /// But for these tasks, of which the state does not allow it.
        conflicts: Vec<TaskId>,
        /// The turn that it was before.
        before: Turn,
        /// The turn that it is now.
        after: Turn,
    },
    /// Another server has changed the queue since it was decided. Nothing of it is stored.
    Behind,
}

/// What the servers with one database see of each other.
#[derive(Debug, Clone)]
pub struct QueueSigns {
    /// How often the queue was changed until then.
    pub turn: Turn,
    /// What names this server.
    pub own: String,
    /// A number for each server, which it changes every few seconds.
    pub shown: BTreeMap<String, i64>,
    /// The server that hears the machine of a task, for active tasks whose machines were heard.
    pub hearers: BTreeMap<TaskId, String>,
}

/// `globalSettings`, as far as they are used. An absent or empty row means the default, and so does one that makes no
/// sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Those of FOG's page "multicast".
    pub multicast: Multicast,
    /// `FOG_CHANGE_HOSTNAME_EARLY` (yes).
    pub is_name_changed_early: bool,
    /// Those that make no sense.
    pub odd: Vec<OddSetting>,
}

/// A fact that was not stored, because its row is not in a state that allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// Position in the facts of the call.
    pub fact: usize,
    /// What is in its way.
    pub found: Found,
}

/// The row that does not allow a fact, with its state; `None` if it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The session's.
    Session(Option<fog::task::State>),
    /// That of the host's task, or its place in the session.
    Task(Option<fog::task::State>),
    /// This server ran the session, and another one has claimed it since.
    OtherServer,
}

/// What changed in the store, told after it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Hosts were added, changed or removed.
    Hosts,
    /// Images were added, changed or removed.
    Images,
    /// A session was created, or something of it was stored.
    Session(SessionId),
    /// Another program, or another server, may have changed a session.
    Foreign(SessionId),
    /// Tasks of machines that are deployed alone were created, or something of them was stored.
    Tasks,
}

/// Fields of an inventory by column, from [`crate::store::inventory`].
pub type InventoryFields = Vec<(&'static str, String)>;

/// A database.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Tells changes from now on. Whoever lags behind looks at everything anew.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Ends: what is being stored is finished, nothing more is.
    async fn close(&self);

    /// Whether FOG's own programs use the database, too.
    fn is_shared_with_fog(&self) -> bool {
        false
    }

    /// Whether what fails in the middle is undone in every table.
    fn undoes_everything(&self) -> bool {
        true
    }

    /// The cluster of databases that it is, as the node sees it that is used; `None` for any other database.
    fn cluster(&self) -> Option<ClusterLook> {
        None
    }

    /// What FOG's own multicast manager writes to on its machine; `None` where the database is not FOG's.
    async fn manager_log(&self) -> Result<Option<ManagerLog>> {
        Ok(None)
    }

    // Servers.

    /// Shows this server to others with the same database. Its number among them, below
    /// [`node::MAX_NODES`](crate::domain::node::MAX_NODES); `None` where there can be no others.
    async fn register(&self, shown: Shown) -> Result<Option<i64>> {
        drop(shown);
        Ok(None)
    }
    /// It shows itself so from the next renewal of its claims on.
    fn show(&self, shown: Shown) {
        drop(shown);
    }
    /// What this server is called among others; `None` where there can be no others.
    fn node_name(&self) -> Option<String> {
        None
    }
    /// The other servers that were seen a moment ago, the last one first.
    async fn servers(&self) -> Result<Vec<Server>> {
        Ok(Vec::new())
    }
    /// The other servers that say where they are reached by servers.
    async fn peers(&self) -> Result<Vec<Peer>> {
        Ok(Vec::new())
    }
    /// What all servers with this database know; made by the first one that asks. `None` where there can be no others.
    async fn site_secret(&self) -> Result<Option<SiteSecret>> {
        Ok(None)
    }
    /// Claims a session for this server. From then on what is stored of the session is stored only if no other
    /// server has claimed it since.
    async fn claim(&self, session: SessionId) -> Result<Claim> {
        let _ = session;
        Ok(Claim::Ours(None))
    }
    /// The last claim of a session, if it is another server's.
    async fn claimed_by(&self, session: SessionId) -> Result<Option<OtherClaim>> {
        let _ = session;
        Ok(None)
    }
    /// Active sessions whose server has given them back, or did not renew its claim.
    async fn left_sessions(&self) -> Result<Vec<SessionId>> {
        Ok(Vec::new())
    }
    /// Gives a claim back: other servers can have it at once.
    async fn release(&self, session: SessionId, fence: Fence) -> Result<()> {
        let _ = (session, fence);
        Ok(())
    }
    /// Renews the claims of this server; waits for no other operation. `None` where there can be no others.
    async fn renew(&self) -> Result<Option<Renewal>> {
        Ok(None)
    }

    // Hosts.

    /// Adds a host; its addresses are no strangers any more. A machine that has one of them and waits to be accepted
    /// becomes this host, and keeps its number and its other addresses.
    async fn add_host(
        &self,
        at: Timestamp,
        host: NewHost,
    ) -> std::result::Result<HostId, AddHostError>;
    /// Makes a host what `new` says: name, addresses, image, disk; everything else of it stays.
    async fn edit_host(
        &self,
        at: Timestamp,
        host: HostId,
        new: NewHost,
    ) -> std::result::Result<(), EditHostError>;
    /// Renames nothing, moves nothing: takes a host out with its addresses and inventory. Tasks and
    /// events stay.
    async fn remove_host(&self, host: HostId) -> std::result::Result<(), ChangeError>;
    /// All hosts by name, without those that are pending. A host of which a row is broken is left out
    /// of the list and told in the second part.
    async fn hosts(&self) -> Result<(Vec<Host>, Vec<BrokenRow>)>;
    /// What each host does.
    async fn activity(&self) -> Result<Vec<(HostId, HostActivity)>>;
    /// The session of a host's active task (states 0 to 3; the oldest task, and of it the session with
    /// the lowest number, as FOG chooses).
    async fn active_task(&self, host: HostId) -> Result<Option<(TaskId, Option<SessionId>)>>;
    /// The newest session that a host was in.
    async fn last_session(&self, host: HostId) -> Result<Option<Session>>;
    /// How the newest session that a host was in ended for it; `None` if there is none, or no reason. Cheap
    /// however many hosts that session had: machines without a task ask for it again and again.
    async fn last_end(&self, host: HostId) -> Result<Option<(SessionId, Reason)>>;
    /// The newest session that a host's machine checked in for from this address with this ticket, or without
    /// one.
    async fn session_of_machine(
        &self,
        host: HostId,
        address: Ipv4Addr,
        ticket: Option<Ticket>,
    ) -> Result<Option<Session>>;
    /// Remembers a machine that asked and is not registered. At most [`MAX_STRANGERS_OF_ADDRESS`] of one address: its
    /// oldest goes. At most [`MAX_STRANGERS`]: of the address that has most of them, the oldest goes.
    async fn remember_stranger(
        &self,
        at: Timestamp,
        mac: Mac,
        address: IpAddr,
        about: About,
    ) -> Result<()>;
    /// These machines, the last one that asked first.
    async fn strangers(&self) -> Result<Vec<Stranger>>;
    /// Keeps the wish of a machine to be registered, as FOG does: as a host that is pending. At most [`MAX_PENDING`],
    /// and [`MAX_PENDING_OF_ADDRESS`] of one address.
    async fn wish(
        &self,
        at: Timestamp,
        mac: StationMac,
        address: IpAddr,
        about: About,
    ) -> Result<Wish>;
    /// The hosts that are pending, the oldest first. One that makes no sense is left out.
    async fn pending_hosts(&self) -> Result<Vec<PendingHost>>;
    /// Forgets a machine that is not registered; without an address all that asked here: pending hosts of other
    /// programs stay. Answers how many there were.
    async fn forget_pending(&self, mac: Option<Mac>) -> Result<u64>;
    /// Stores fields of a host's inventory; others keep their value. Nothing if the host is gone.
    async fn store_inventory(
        &self,
        at: Timestamp,
        host: HostId,
        fields: InventoryFields,
    ) -> Result<()>;

    // Groups of hosts.

    /// Changes a group; letter case of its name does not matter.
    async fn change_group(
        &self,
        name: GroupName,
        change: GroupChange,
    ) -> std::result::Result<(), GroupError>;
    /// All groups by name. Hosts that are not registered any more are not in them.
    async fn groups(&self) -> Result<Vec<Group>>;

    // Images.

    /// Adds an image.
    async fn add_image(
        &self,
        image: NewImage,
        facts: Facts,
    ) -> std::result::Result<ImageId, AddImageError>;
    /// Replaces what is known of an image's files, and its format.
    async fn update_image(
        &self,
        image: ImageId,
        format: u8,
        facts: Facts,
    ) -> std::result::Result<(), ChangeError>;
    /// Puts what was captured, or an earlier version, in the place of what is known of an image's files and of its
    /// settings. `capture` is the task that it is done for, which must be active. May be done again.
    async fn replace_image(
        &self,
        image: ImageId,
        facts: Facts,
        capture: Option<TaskId>,
    ) -> std::result::Result<(), ChangeError>;
    /// Changes what people call an image, and what they say of it.
    async fn describe_image(
        &self,
        image: ImageId,
        name: Option<ImageName>,
        note: Option<String>,
    ) -> std::result::Result<(), DescribeError>;
    /// Forgets an image; it is no host's default any more.
    async fn remove_image(&self, image: ImageId) -> std::result::Result<(), ChangeError>;
    /// All images by name, without those of which the row is broken (the log says so).
    async fn images(&self) -> Result<Vec<Image>>;
    /// The image that a person means: its name, else its number.
    async fn find_image(&self, wanted: &str) -> Result<Option<Image>>;
    /// The image of this number.
    async fn image(&self, image: ImageId) -> Result<Option<Image>>;
    /// What is known of its files; `None` if it was added by another program.
    async fn facts(&self, image: ImageId) -> Result<Option<Facts>>;

    // Sessions.

    /// Base ports that active sessions hold.
    async fn held_ports(&self) -> Result<Vec<i64>>;
    /// Creates a session with a task for each host.
    async fn create_session(
        &self,
        at: Timestamp,
        session: NewSession,
    ) -> std::result::Result<SessionId, CreateError>;
    /// Sessions that can be joined by their names, the oldest first, at most [`MAX_OPEN_SESSIONS`].
    async fn open_sessions(&self) -> Result<Vec<OpenSession>>;
    /// Puts a host into a session; nothing if it is in it.
    async fn join_session(
        &self,
        at: Timestamp,
        session: SessionId,
        host: HostId,
        address: IpAddr,
    ) -> std::result::Result<(), JoinError>;
    /// Sessions that are to be followed by another one when they have ended, the oldest first.
    async fn due_follow_ups(&self) -> Result<Vec<SessionId>>;
    /// The session that a host was in last, if another one is to be made that follows it.
    async fn awaited_follow_up(&self, host: HostId) -> Result<Option<SessionId>>;
    /// No session is to follow this one, for a reason that people should know, if there is one; whether it was still to
    /// be made.
    async fn give_up_follow_up(
        &self,
        at: Timestamp,
        session: SessionId,
        why: Option<String>,
    ) -> Result<bool>;
    /// Numbers of the sessions in states 0 to 3, whatever else is in their rows.
    async fn active_sessions(&self) -> Result<Vec<SessionId>>;
    /// Numbers of the newest sessions, newest first.
    async fn newest_sessions(&self, limit: u32) -> Result<Vec<SessionId>>;
    /// A session with its hosts.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if a row of it makes no sense.
    async fn session(&self, id: SessionId) -> Result<Option<Session>>;
    /// Stores what a session decided, in this order, all or nothing but for the conflicts, each with an
    /// event where it is worth one. A state that does not allow a fact is a conflict: that fact alone is
    /// not stored. A fact that is stored already is no conflict.
    async fn apply(
        &self,
        at: Timestamp,
        session: SessionId,
        facts: Vec<Fact>,
    ) -> Result<Vec<Conflict>>;
    /// Fails a session whose rows cannot be read, with all its active tasks: touches nothing but states
    /// and reasons. Answers whether anything of it was not over; if not, no change is announced: its
    /// rows stay as odd as they are, and whoever follows changes would fail it again and again.
    async fn fail_broken(&self, at: Timestamp, session: SessionId, reason: Reason) -> Result<bool>;
    /// Stores what clients say of their progress. Loss of it does no harm.
    async fn store_progress(
        &self,
        session: SessionId,
        progress: Vec<(TaskId, ReceivedStatus)>,
    ) -> Result<()>;
    /// Stores an event. More than [`MAX_EVENTS_OF_HOST`] of one host in one session, or of no host in
    /// it, are not kept. What the session decided ([`Self::apply`]) takes the place of the newest
    /// others.
    async fn add_event(
        &self,
        at: Timestamp,
        session: Option<SessionId>,
        host: Option<HostId>,
        note: Note,
    ) -> Result<()>;
    /// Events of a session after the one with the number `after`, oldest first, at most `limit`: the
    /// newest ones if there are more.
    async fn events(&self, session: SessionId, after: i64, limit: u32) -> Result<Vec<Event>>;

    // Machines that are deployed alone.

    /// Creates a task for each host.
    async fn create_unicast(
        &self,
        at: Timestamp,
        new: NewUnicast,
    ) -> std::result::Result<Vec<TaskId>, CreateError>;
    /// Creates the task of a capture, and its image if there is none of that name. One capture into one image at a
    /// time.
    async fn create_capture(
        &self,
        at: Timestamp,
        new: NewCapture,
    ) -> std::result::Result<TaskId, CreateError>;
    /// Tasks of machines that are deployed alone or captured, also those that FOG's page made. One of which a row makes no
    /// sense is left out (the log says so).
    async fn unicast(&self, query: UnicastQuery) -> Result<Vec<UnicastTask>>;
    /// Stores what becomes of tasks, in this order. Of a task whose state does not allow it nothing is stored; these
    /// are answered.
    async fn apply_unicast(
        &self,
        at: Timestamp,
        facts: Vec<(TaskId, UnicastFact)>,
    ) -> Result<Vec<TaskId>>;
    /// The active tasks, as all servers with this database have them.
    async fn queue(&self) -> Result<QueueLook>;
    /// Stores what becomes of tasks, as [`Self::apply_unicast`] does. What was decided by the queue as it was is stored only
    /// if it still is.
    async fn apply_queue(
        &self,
        at: Timestamp,
        decided: Decided,
        facts: Vec<(TaskId, UnicastFact)>,
    ) -> Result<QueueApplied>;
    /// Who hears the machines of active tasks. `None` where there can be no other server.
    async fn queue_signs(&self) -> Result<Option<QueueSigns>> {
        Ok(None)
    }
    /// This server hears the machines of these tasks from now on.
    async fn hear_machines(&self, tasks: Vec<TaskId>) -> Result<()> {
        let _ = tasks;
        Ok(())
    }
    /// Stores what a client says of its progress, if its task is active. Loss of it does no harm.
    async fn store_unicast_progress(&self, task: TaskId, status: ReceivedStatus) -> Result<()>;
    /// Keeps that the host of a task could not use the share of its storage node, which is not asked again until then;
    /// `None` if the task is gone.
    async fn note_node_failure(
        &self,
        task: TaskId,
        until: Timestamp,
    ) -> Result<Option<NodeFailure>>;
    /// The newest of these; most of them are over.
    async fn node_failures(&self) -> Result<Vec<NodeFailure>>;
    /// What the queue of these machines goes by.
    ///
    /// # Errors
    /// [`StoreError::Broken`] for a setting that is no number.
    async fn queue_rules(&self) -> Result<Rules>;
    /// Storage nodes, servers, and what failed of them; at most [`MAX_SHOWN`](crate::domain::site::MAX_SHOWN) of each.
    /// One that makes no sense is left out.
    async fn site(&self) -> Result<Site>;

    // What machines were told.

    /// Changes what is remembered of what machines were told.
    async fn hand_out(&self, change: handouts::Change) -> Result<()>;
    /// Everything that machines were told and may still act on, the oldest first, with what cannot be
    /// understood of it.
    async fn handouts(&self) -> Result<Vec<StoredRow>>;

    // Deploys that begin later.

    /// Adds one; at most [`MAX_SCHEDULES`].
    async fn add_schedule(
        &self,
        at: Timestamp,
        when: When,
        planned: Planned,
    ) -> std::result::Result<ScheduleId, AddScheduleError>;
    /// All of them, the oldest first. One that makes no sense is left out.
    async fn schedules(&self) -> Result<Vec<Schedule>>;
    /// Removes one; `false` if there is none.
    async fn remove_schedule(&self, id: ScheduleId) -> Result<bool>;
    /// Its starts up to `until` are dealt with, if they were up to `seen` only: whoever gets `true` does so.
    async fn claim_schedule(
        &self,
        id: ScheduleId,
        seen: Timestamp,
        until: Timestamp,
        outcome: Outcome,
    ) -> Result<bool>;
    /// Stores what became of its last start. Nothing if it was removed.
    async fn end_schedule(&self, id: ScheduleId, outcome: Outcome) -> Result<()>;

    // Accounts.

    /// Adds an account; at most [`MAX_ACCOUNTS`].
    async fn add_account(&self, account: Account) -> std::result::Result<(), AddAccountError>;
    /// Changes role and secret of an account, as far as they are given; `false` if there is none.
    async fn change_account(
        &self,
        kind: AccountKind,
        name: AccountName,
        role: Option<Role>,
        secret: Option<StoredSecret>,
    ) -> Result<bool>;
    /// Removes an account; `false` if there is none.
    async fn remove_account(&self, kind: AccountKind, name: AccountName) -> Result<bool>;
    /// All accounts by kind and name. One of which the row is broken is left out of the list and told in the second
    /// part: it opens nothing.
    ///
    /// # Errors
    /// If the database fails.
    async fn accounts(&self) -> Result<(Vec<Account>, Vec<BrokenRow>)>;

    // Settings.

    /// FOG's settings.
    async fn settings(&self) -> Result<Settings>;
    /// Where the images are; `None` if that was never said.
    async fn image_root(&self) -> Result<Option<String>>;
    /// Stores where the images are.
    async fn set_image_root(&self, path: String) -> Result<()>;
}

/// Sessions to be joined by name that a person at a machine is shown, some 200 bytes each.
pub const MAX_OPEN_SESSIONS: u32 = 64;

/// Hosts that can join a session.
pub const MAX_JOINED: u32 = 2000;

/// Machines that asked without being registered: some 200 bytes each.
pub const MAX_STRANGERS: u32 = 1000;

/// Of these, machines that asked from one address. Behind a proxy all machines have one: a few rooms of them have a
/// place, a flood has not.
pub const MAX_STRANGERS_OF_ADDRESS: u32 = 100;

/// Machines that wait to be accepted, some 500 bytes each.
pub const MAX_PENDING: u32 = 500;

/// Of these, machines that asked from one address.
pub const MAX_PENDING_OF_ADDRESS: u32 = 50;

/// Groups of hosts, and hosts of each, some 100 bytes each.
pub const MAX_GROUPS: u32 = 500;

/// See [`MAX_GROUPS`].
pub const MAX_GROUP_MEMBERS: u32 = 2000;

/// Deploys that begin later, some 300 bytes each, and 16 for each host: all of them are read every few seconds.
pub const MAX_SCHEDULES: u32 = 200;

/// Accounts of people and programs, some 300 bytes each: all of them are read whenever somebody logs in.
pub const MAX_ACCOUNTS: u32 = 500;

/// Events of one host in one session (or outside of any) that are kept, at most 8 KiB each.
pub const MAX_EVENTS_OF_HOST: u32 = 200;
