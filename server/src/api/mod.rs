//! What people ask of the server: by the command line over the server's own socket, or within its
//! process if no server runs.

mod local;
mod view;

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use fog::Mac;
use fog::task::{ImageType, State};
use fos_api::{Stage, StreamNow};
use serde::{Deserialize, Serialize};

pub use view::{agent_view, session_status};

pub use crate::domain::host::Stranger;

use crate::domain::host::{HostName, TargetDisk};
use crate::domain::image::{Facts, NewImage};
use crate::session::ClientReport;

/// Calls a macro with every operation: its name, what is asked, what is answered, its path.
macro_rules! operations {
    ($callback:ident) => {
        $callback! {
            /// Registers a machine.
            host_add(HostAdd) -> i64 = "/host/add";
            /// The registered machines.
            host_list(Nothing) -> Vec<HostRow> = "/host/list";
            /// Takes a machine out.
            host_remove(Named) -> String = "/host/remove";
            /// Forgets what machines of a host were told, which are switched off.
            host_forget(Named) -> String = "/host/forget";
            /// Machines that asked and are not registered.
            host_pending(Nothing) -> Vec<Stranger> = "/host/pending";
            /// Where the images are; refused if they are said to be elsewhere.
            image_root(ImageRoot) -> String = "/image/root";
            /// Registers an image that was verified.
            image_add(ImageAdd) -> i64 = "/image/add";
            /// Replaces what is known of an image's files.
            image_update(ImageUpdate) -> String = "/image/update";
            /// An image and what is known of its files.
            image_show(Named) -> ImageShown = "/image/show";
            /// The images.
            image_list(Nothing) -> Vec<ImageShown> = "/image/list";
            /// Forgets an image.
            image_remove(Named) -> String = "/image/remove";
            /// Creates a session.
            deploy(Deploy) -> Deployed = "/deploy";
            /// Cancels a session, or one host of it.
            cancel(Cancel) -> String = "/cancel";
            /// What the sessions do.
            status(StatusQuery) -> ServerStatus = "/status";
            /// What happened in a session.
            events(EventsQuery) -> Vec<EventLine> = "/events";
        }
    };
}
pub(crate) use operations;

macro_rules! define_trait {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $answer:ty = $path:literal;)*) => {
        /// Everything that people can ask.
        #[async_trait]
        pub trait Api: Send + Sync {
            $($(#[$doc])* async fn $name(&self, request: $request) -> ApiResult<$answer>;)*
        }
    };
}
operations!(define_trait);

/// Answer to a person.
pub type ApiResult<T> = Result<T, ApiError>;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct ApiError {
    /// What kind of trouble it is.
    pub kind: ApiErrorKind,
    /// For people.
    pub text: String,
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiErrorKind {
    /// Something named does not exist.
    NotFound,
    /// It does not go together with what there is.
    Conflict,
    /// It makes no sense.
    Invalid,
    /// The database or the image store cannot do it now.
    Unavailable,
    /// A programming error.
    Internal,
}

/// No further words.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Nothing {}

/// Something by its name or number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Named {
    /// Name or number.
    pub name: String,
}

/// A new host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostAdd {
    /// Name.
    pub name: HostName,
    /// Addresses, the first is the primary one.
    pub macs: Vec<Mac>,
    /// Image, by name or number.
    pub image: Option<String>,
    /// Target disk, FOG's `fdrive` syntax.
    pub device: TargetDisk,
}

/// A host in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostRow {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Addresses.
    pub macs: Vec<Mac>,
    /// End of the last deploy, UTC.
    pub last_deploy: Option<String>,
    /// What it does, or how its last session ended.
    pub state: String,
}

/// Where the images are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageRoot {
    /// As a person said, absolute.
    pub given: Option<String>,
}

/// A new image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageAdd {
    /// The image.
    pub image: NewImage,
    /// What was found out.
    pub facts: Facts,
}

/// An image that was verified again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageUpdate {
    /// Number.
    pub image: i64,
    /// `imgFormat`.
    pub format: u8,
    /// What was found out.
    pub facts: Facts,
}

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageShown {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system.
    pub os_id: i64,
    /// Bytes in the store.
    pub stored_size: u64,
    /// What is known of its files; `None` if it was added by another program.
    pub facts: Option<Facts>,
}

/// A new session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deploy {
    /// Image, by name or number.
    pub image: String,
    /// Hosts, by name.
    pub hosts: Vec<String>,
    /// Name; the image's if not given.
    pub name: Option<String>,
    /// Wait for missing hosts; FOG's setting if not given.
    pub max_wait_seconds: Option<u64>,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
}

/// The session that was created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deployed {
    /// Number.
    pub session: i64,
    /// Name.
    pub name: String,
    /// Hosts.
    pub hosts: usize,
    /// Base port.
    pub port: u16,
    /// Wait for missing hosts.
    pub max_wait_seconds: u64,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// What to cancel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancel {
    /// Session.
    pub session: i64,
    /// One host of it, by name.
    pub host: Option<String>,
}

/// Which sessions to show.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct StatusQuery {
    /// One session; the newest if not given.
    pub session: Option<i64>,
}

/// Which events to show.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Session.
    pub session: i64,
    /// Those after the one with this number.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
    /// How long to wait for one, in seconds; at most [`MAX_EVENT_WAIT`].
    pub wait_seconds: u64,
}

/// Longest wait for events.
pub const MAX_EVENT_WAIT: Duration = Duration::from_secs(20);

/// Newest sessions in an answer; the active ones are in it as well.
pub const MAX_SESSIONS: u32 = 50;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// Number; grows.
    pub id: i64,
    /// Time, UTC.
    pub at: String,
    /// Code of what happened.
    pub code: String,
    /// A sentence.
    pub text: String,
}

/// State of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Version of the server; empty if none is running.
    pub version: String,
    /// Time of the answer, UTC.
    pub now: String,
    /// Sessions, newest first.
    pub sessions: Vec<SessionStatus>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Number.
    pub session: i64,
    /// Name.
    pub name: String,
    /// Name of the image.
    pub image: String,
    /// State in FOG's words.
    pub state: State,
    /// What it does now.
    pub stage: Stage,
    /// Base port.
    pub port: i64,
    /// Hosts that are still part of it.
    pub expected: u32,
    /// Of these, hosts that checked in.
    pub checked_in: u32,
    /// Of these, hosts at the rendezvous or receiving.
    pub connected: u32,
    /// Names of hosts that are waited for.
    pub missing: Vec<String>,
    /// The stream waited for, sent or last sent.
    pub stream: Option<StreamNow>,
    /// Bytes per second, acknowledged by all.
    pub rate: u64,
    /// Share of blocks sent again, in percent.
    pub repeated_percent: f64,
    /// Whether streams begin with a record; `None` until decided.
    pub records: Option<bool>,
    /// Seconds since the stage began.
    pub stage_seconds: u64,
    /// Seconds until the wait for missing hosts ends.
    pub starts_in_seconds: Option<u64>,
    /// Code of why it ended; empty while it has not.
    pub reason: String,
    /// A sentence: what is going on or why it ended.
    pub text: String,
    /// Creation, UTC.
    pub created_at: String,
    /// End, UTC; `None` while active.
    pub ended_at: Option<String>,
    /// The hosts by name.
    pub hosts: Vec<HostStatus>,
}

/// A host that asked what to boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootStatus {
    /// Seconds since it asked last.
    pub seconds: u64,
    /// How often it has asked.
    pub count: u32,
    /// Whether it was given a kernel.
    pub is_given: bool,
    /// What it was answered.
    pub text: String,
}

/// A host in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Number.
    pub host: i64,
    /// Name.
    pub name: String,
    /// Address that it checked in from.
    pub ip: Option<IpAddr>,
    /// Program and version of the client; empty for stock clients.
    pub agent: String,
    /// State of its task.
    pub state: State,
    /// Code of why it ended; empty while it has not.
    pub reason: String,
    /// What it does or waits for, or why it ended.
    pub text: String,
    /// Seconds since that began.
    pub seconds: Option<u64>,
    /// When it last asked what to boot, as long as it has not checked in; not kept over a restart of
    /// the server.
    pub boot: Option<BootStatus>,
    /// Streams acknowledged to the end.
    pub streams_done: u32,
    /// What the client says of itself.
    pub client: ClientReport,
    /// Seconds since its last request.
    pub silent_seconds: Option<u64>,
}
