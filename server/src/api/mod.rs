//! What people ask of the server: by the command line over the server's own socket, or within its
//! process if no server runs.

mod accounts;
mod error;
mod images;
mod inspection;
mod local;
mod site;
mod view;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use fog::Mac;
use fog::task::State;
use fos_api::{Stage, StreamNow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use accounts::{AccountRow, Me, Token, TokenAdd, UserAdd, UserChange};
pub use error::{ApiError, ApiErrorKind, ApiResult, Problem};
pub use images::{
    Capture, ImageAdd, ImageCopy, ImageDescribe, ImageRevert, ImageRoot, ImageShown, ImageUpdate,
    ImageVerification, ReplicaState, ReplicaStatus, Replicate, RootQuery, VerificationState,
    VersionRow,
};
pub use inspection::{
    DiskInspection, FileInspection, ImageInspection, PartitionInspection, StreamInspection,
    image_inspection,
};
pub use site::{FailureRow, NodeList, NodeRow, ServerRow, SlotRow, node_list};
pub use view::{agent_view, image_verification, session_status, task_status};

use crate::domain::doctor::DatabaseLook;
use crate::domain::host::{HostName, TargetDisk};
use crate::domain::multicast::OddSetting;
use crate::session::ClientReport;

/// Everything that people can ask.
#[async_trait]
pub trait Api: Send + Sync {
    /// Registers a machine.
    async fn host_add(&self, request: HostAdd) -> ApiResult<Added>;
    /// Makes a machine another one.
    async fn host_edit(&self, host: &str, request: HostAdd) -> ApiResult<Named>;
    /// The registered machines.
    async fn host_list(&self) -> ApiResult<Vec<HostRow>>;
    /// Takes a machine out.
    async fn host_remove(&self, host: &str) -> ApiResult<Named>;
    /// Forgets what machines of a host were told, which are switched off.
    async fn host_forget(&self, host: &str) -> ApiResult<Named>;
    /// Machines that asked and are not registered.
    async fn host_pending(&self) -> ApiResult<Vec<PendingHost>>;
    /// Registers a machine that asked.
    async fn host_accept(&self, mac: Mac, request: HostAccept) -> ApiResult<Named>;
    /// Forgets a machine that asked, or all of them.
    async fn pending_forget(&self, mac: Option<Mac>) -> ApiResult<Done>;
    /// The groups of hosts.
    async fn group_list(&self) -> ApiResult<Vec<GroupRow>>;
    /// Puts hosts into a group, which is made if it is not there.
    async fn group_add(&self, group: &str, request: GroupHosts) -> ApiResult<Named>;
    /// Takes hosts out of a group.
    async fn group_take(&self, group: &str, request: GroupHosts) -> ApiResult<Named>;
    /// Removes a group; its hosts stay.
    async fn group_remove(&self, group: &str) -> ApiResult<Named>;
    /// Where the images are; refused if they are said to be elsewhere.
    async fn image_root(&self, request: RootQuery) -> ApiResult<ImageRoot>;
    /// Registers an image that was verified.
    async fn image_add(&self, request: ImageAdd) -> ApiResult<Added>;
    /// Replaces what is known of an image's files.
    async fn image_update(&self, image: &str, request: ImageUpdate) -> ApiResult<Named>;
    /// An image and what is known of its files.
    async fn image_show(&self, image: &str) -> ApiResult<ImageShown>;
    /// An image looked at: its disks, streams, files, and what is wrong with it.
    async fn image_inspect(&self, image: &str) -> ApiResult<ImageInspection>;
    /// The images.
    async fn image_list(&self) -> ApiResult<Vec<ImageShown>>;
    /// Whether the files of an image are those that were verified, by size and date.
    async fn image_check(&self, image: &str) -> ApiResult<Done>;
    /// The versions of an image, the present one first.
    async fn image_versions(&self, image: &str) -> ApiResult<Vec<VersionRow>>;
    /// Brings a former version of an image back.
    async fn image_revert(&self, image: &str, version: u32) -> ApiResult<Named>;
    /// Changes name or note of an image.
    async fn image_describe(&self, image: &str, request: ImageDescribe) -> ApiResult<Named>;
    /// Forgets an image, and removes its files and versions.
    async fn image_delete(&self, image: &str) -> ApiResult<Named>;
    /// Has an image copied to a server, or to all that lack it.
    async fn image_replicate(&self, image: &str, request: Replicate) -> ApiResult<Named>;
    /// An image at each of the servers.
    async fn image_replicas(&self, image: &str) -> ApiResult<Vec<ReplicaStatus>>;
    /// Forgets an image.
    async fn image_remove(&self, image: &str) -> ApiResult<Named>;
    /// Creates a session.
    async fn deploy(&self, request: Deploy) -> ApiResult<Deployed>;
    /// Creates a task for each of some hosts, which are deployed one by one.
    async fn deploy_alone(&self, request: DeployAlone) -> ApiResult<TasksCreated>;
    /// Creates a task that captures the disk of a host.
    async fn capture(&self, request: Capture) -> ApiResult<TasksCreated>;
    /// Cancels a task of a host that is deployed alone.
    async fn cancel_task(&self, task: i64) -> ApiResult<Done>;
    /// The tasks of hosts that are deployed alone, and how the storage nodes are used.
    async fn tasks(&self) -> ApiResult<TaskList>;
    /// Servers and storage nodes: who serves whom.
    async fn node_list(&self) -> ApiResult<NodeList>;
    /// Keeps a deploy that begins later.
    async fn schedule_add(&self, request: ScheduleAdd) -> ApiResult<ScheduleRow>;
    /// Deploys that begin later, or did.
    async fn schedule_list(&self) -> ApiResult<Vec<ScheduleRow>>;
    /// Removes a deploy that begins later; sessions that it has made go on.
    async fn schedule_remove(&self, schedule: i64) -> ApiResult<Done>;
    /// Switches machines on.
    async fn wake(&self, request: GroupHosts) -> ApiResult<Done>;
    /// Starts a session with the hosts that are connected.
    async fn start(&self, session: i64) -> ApiResult<Done>;
    /// Cancels a session, or one host of it.
    async fn cancel(&self, session: i64, host: Option<&str>) -> ApiResult<Done>;
    /// Cancels every active session, and every task of a host that is deployed alone.
    async fn cancel_all(&self) -> ApiResult<Done>;
    /// What the sessions do, or one of them; nothing if there is none of this number.
    async fn status(&self, session: Option<i64>) -> ApiResult<ServerStatus>;
    /// What happened in a session.
    async fn events(&self, session: i64, request: EventsQuery) -> ApiResult<Vec<EventLine>>;
    /// The accounts of people.
    async fn user_list(&self) -> ApiResult<Vec<AccountRow>>;
    /// Makes an account for a person.
    async fn user_add(&self, request: UserAdd) -> ApiResult<Named>;
    /// Changes role or password of a person.
    async fn user_change(&self, user: &str, request: UserChange) -> ApiResult<Named>;
    /// Removes the account of a person, who is logged out at once.
    async fn user_remove(&self, user: &str) -> ApiResult<Named>;
    /// The accounts of programs.
    async fn token_list(&self) -> ApiResult<Vec<AccountRow>>;
    /// Makes an account for a program; its token is shown this once.
    async fn token_add(&self, request: TokenAdd) -> ApiResult<Token>;
    /// Removes the account of a program, whose token is good for nothing from now on.
    async fn token_remove(&self, token: &str) -> ApiResult<Named>;
}

/// The number of what was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    /// Number.
    pub id: i64,
}

/// The name of what was changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// Name.
    pub name: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// A sentence.
    pub text: String,
}

/// A machine that asked and is not registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingHost {
    /// Its address.
    #[schema(value_type = String, example = "00:1b:21:aa:bb:cc")]
    pub mac: Mac,
    /// The name that it gets if it is accepted without one.
    pub proposal: String,
    /// Manufacturer and product as the machine says; empty if it does not.
    pub about: String,
    /// Whether somebody at the machine wants it to be registered.
    pub is_wish: bool,
    /// From where it asked, if that is known.
    #[schema(value_type = Option<String>, example = "10.0.0.17")]
    pub address: Option<IpAddr>,
    /// When it asked first, UTC.
    pub first_at: String,
    /// When it asked last, UTC.
    pub last_at: String,
    /// How often it asked.
    pub requests: u64,
}

/// A new host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostAdd {
    /// Name: 1 to 15 letters, digits or hyphens.
    #[schema(value_type = String, example = "LAB-01", pattern = "^[A-Za-z0-9][A-Za-z0-9-]{0,14}$")]
    pub name: HostName,
    /// Addresses, the first is the primary one; at least one.
    #[schema(value_type = Vec<String>, min_items = 1)]
    pub macs: Vec<Mac>,
    /// Image, by name or number.
    #[serde(default)]
    pub image: Option<String>,
    /// Target disk, FOG's `fdrive` syntax; empty for the automatic choice.
    #[serde(default)]
    #[schema(value_type = String)]
    pub device: TargetDisk,
}

/// What becomes of a machine that asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct HostAccept {
    /// Name: 1 to 15 letters, digits or hyphens; its proposal if not given.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "LAB-01", pattern = "^[A-Za-z0-9][A-Za-z0-9-]{0,14}$")]
    pub name: Option<HostName>,
    /// Image, by name or number.
    #[serde(default)]
    pub image: Option<String>,
    /// Target disk, FOG's `fdrive` syntax; empty for the automatic choice.
    #[serde(default)]
    #[schema(value_type = String)]
    pub device: TargetDisk,
}

/// A host in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostRow {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Addresses.
    #[schema(value_type = Vec<String>)]
    pub macs: Vec<Mac>,
    /// Number of its image.
    pub image: Option<i64>,
    /// Target disk; empty for the automatic choice.
    pub device: String,
    /// End of the last deploy, UTC.
    pub last_deploy: Option<String>,
    /// The session that it is in.
    pub session: Option<i64>,
    /// What it does, or how its last session ended.
    pub state: String,
}

/// A group of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupRow {
    /// Name.
    pub name: String,
    /// Names of its hosts, in its order.
    pub hosts: Vec<String>,
}

/// Hosts that people mean.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupHosts {
    /// Their names; `@NAME` stands for all hosts of another group.
    pub hosts: Vec<String>,
}

/// A new session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deploy {
    /// Image, by name or number.
    pub image: String,
    /// Hosts, by name; `@NAME` stands for all hosts of a group. They may be left out if `expected` is given.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Name; the image's if not given. A session that hosts join needs one.
    #[serde(default)]
    pub name: Option<String>,
    /// Wait for missing hosts; FOG's setting if not given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400)]
    pub max_wait_seconds: Option<u64>,
    /// Whether the machines are switched off afterwards.
    #[serde(default)]
    pub is_shutdown: bool,
    /// Whether the machines boot to a shell, in which a person starts the task.
    #[serde(default)]
    pub is_debug: bool,
    /// Whether the machines are switched on by Wake-on-LAN.
    #[serde(default)]
    pub is_woken: bool,
    /// Hosts that the session waits for, which join it by its name from the boot menu; those that are named are among
    /// them. 0: the hosts that are named, and no others.
    #[serde(default)]
    #[schema(maximum = 2000)]
    pub expected: u32,
    /// Follow-up sessions that may come of it, for hosts that come late, are left behind or dropped; what the server is
    /// set to if not given.
    #[serde(default)]
    #[schema(maximum = 9)]
    pub follow_ups: Option<u32>,
}

/// A deploy that begins later. Its machines are switched on by Wake-on-LAN then.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScheduleAdd {
    /// What is deployed.
    pub deploy: Deploy,
    /// When, once: a time on the clock of the zone. Either this or `cron` is given.
    #[serde(default)]
    #[schema(example = "2026-12-01 18:00")]
    pub at: Option<String>,
    /// When, again and again: minute, hour, day of the month, month, day of the week.
    #[serde(default)]
    #[schema(example = "0 18 * * 5")]
    pub cron: Option<String>,
    /// Name of the time zone; the server's if not given.
    #[serde(default)]
    #[schema(example = "Europe/Berlin")]
    pub zone: Option<String>,
}

/// A deploy that begins later, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleRow {
    /// Number.
    pub id: i64,
    /// Image, by name or number.
    pub image: String,
    /// Hosts, by name, and groups.
    pub hosts: Vec<String>,
    /// When it begins.
    pub when: String,
    /// The next start, UTC; nothing if there is none.
    pub next_at: Option<String>,
    /// The session of the last start.
    pub session: Option<i64>,
    /// What became of the last start; empty before the first.
    pub last: String,
}

/// The session that was created.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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

/// New tasks of hosts that are deployed alone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeployAlone {
    /// Image, by name or number.
    pub image: String,
    /// Hosts, by name.
    pub hosts: Vec<String>,
    /// Name; the image's if not given.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether the machines are switched off afterwards.
    #[serde(default)]
    pub is_shutdown: bool,
    /// Whether the machines boot to a shell, in which a person starts the task.
    #[serde(default)]
    pub is_debug: bool,
    /// Whether the machines need not wait for a slot of their storage node.
    #[serde(default)]
    pub is_forced: bool,
    /// Whether the machines are switched on by Wake-on-LAN.
    #[serde(default)]
    pub is_woken: bool,
}

/// Tasks that were created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TasksCreated {
    /// Their numbers, in the order of the hosts.
    pub tasks: Vec<i64>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// The hosts that are deployed alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskList {
    /// The active tasks and the newest, newest first.
    pub tasks: Vec<TaskStatus>,
    /// How the storage nodes are used; nothing if no task is active.
    pub nodes: Vec<NodeStatus>,
}

/// A task of a host that is deployed alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskStatus {
    /// Number.
    pub task: i64,
    /// Name of the host.
    pub host: String,
    /// Name of the image.
    pub image: String,
    /// Whether its disk is captured; else it is deployed.
    #[serde(default)]
    pub is_capture: bool,
    /// Number of the storage node that serves it.
    pub node: i64,
    /// State in FOG's words.
    #[schema(value_type = String)]
    pub state: State,
    /// Whether it need not wait for a slot.
    pub is_forced: bool,
    /// Machines that wait before it, if it waits.
    pub in_front: Option<u32>,
    /// Since when it waits in line, or did, UTC.
    pub in_line_since: Option<String>,
    /// Since when it has its slot, or had, UTC.
    pub slot_since: Option<String>,
    /// Address that it checked in from.
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// Program and version of the client; empty for stock clients.
    pub agent: String,
    /// What the client says of itself.
    #[schema(value_type = Object)]
    pub client: ClientReport,
    /// How much of the partition that is written is done, in percent.
    pub percent: u8,
    /// Seconds since its last request.
    pub silent_seconds: Option<u64>,
    /// Creation, UTC.
    pub created_at: String,
    /// End, UTC; `None` while active.
    pub ended_at: Option<String>,
    /// Code of why it ended; empty while it has not.
    pub reason: String,
    /// A sentence: what it does or waits for, or why it ended.
    pub text: String,
}

/// How a storage node is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Number.
    pub node: i64,
    /// Machines that it serves alone at a time.
    pub slots: u32,
    /// Machines that it serves; more than slots where some were forced.
    pub used: u32,
    /// Machines that wait for a slot.
    pub waiting: u32,
}

/// Newest tasks in an answer; the active ones are in it as well.
pub const MAX_TASKS: u32 = 50;

/// Which events to show.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Those after the one with this number.
    #[serde(default)]
    #[param(required = false)]
    pub after: i64,
    /// At most so many; 1000 at most.
    #[serde(default = "all_events")]
    #[param(required = false)]
    pub limit: u32,
    /// How long to wait for one, in seconds; 20 at most.
    #[serde(default)]
    #[param(required = false)]
    pub wait_seconds: u64,
}

/// Events in an answer.
pub const MAX_EVENTS: u32 = 1000;

fn all_events() -> u32 {
    MAX_EVENTS
}

/// Longest wait for events.
pub const MAX_EVENT_WAIT: Duration = Duration::from_secs(20);

/// Newest sessions in an answer; the active ones are in it as well.
pub const MAX_SESSIONS: u32 = 50;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// Which lines of the server's log to show.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Those after so many bytes of it, `next` of an earlier answer.
    #[serde(default)]
    pub after: Option<u64>,
}

/// Lines of the server's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLines {
    /// The oldest first.
    pub lines: Vec<String>,
    /// Where the next ones begin.
    pub next: u64,
}

/// State of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerStatus {
    /// Version of the server; empty if none is running.
    pub version: String,
    /// Time of the answer, UTC.
    pub now: String,
    /// Sessions, newest first.
    pub sessions: Vec<SessionStatus>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionStatus {
    /// Number.
    pub session: i64,
    /// Name.
    pub name: String,
    /// Name of the image.
    pub image: String,
    /// State in FOG's words.
    #[schema(value_type = String)]
    pub state: State,
    /// What it does now: gathering, sending, finishing, or ended.
    #[schema(value_type = String)]
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
    #[schema(value_type = Option<Object>)]
    pub stream: Option<StreamNow>,
    /// Bytes per second, acknowledged by all.
    pub rate: u64,
    /// The same from the first byte on; empty where no server runs, and a restart of the server begins anew.
    #[serde(default)]
    pub course: RateCourse,
    /// Share of blocks sent again, in percent.
    pub repeated_percent: f64,
    /// The host that slows the others down most, while a stream is sent.
    #[serde(default)]
    pub slowest: Option<SlowestHost>,
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
    /// The session that this one follows: it is for hosts that missed that one.
    #[serde(default)]
    pub follows: Option<i64>,
    /// The session that follows this one.
    #[serde(default)]
    pub followed_by: Option<i64>,
    /// Whether a session is still to be made that follows this one.
    #[serde(default)]
    pub is_follow_up_due: bool,
    /// The hosts by name.
    pub hosts: Vec<HostStatus>,
}

/// A host that slows others down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlowestHost {
    /// Number.
    pub host: i64,
    /// Name.
    pub name: String,
    /// A sentence: how.
    pub text: String,
}

/// A rate over time, in at most 120 points.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateCourse {
    /// Seconds of a point.
    pub step_seconds: u32,
    /// Mean of each point, the first one first.
    pub bytes_per_second: Vec<u64>,
}

/// A host that asked what to boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostStatus {
    /// Number.
    pub host: i64,
    /// Name.
    pub name: String,
    /// Address that it checked in from.
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// Program and version of the client; empty for stock clients.
    pub agent: String,
    /// State of its task.
    #[schema(value_type = String)]
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
    /// Blocks of the present stream that it asked for again, in percent of those that the stream has had so far; `None` if
    /// it does not receive. Between 0 and 100, or more if it lost blocks again and again.
    #[serde(default)]
    pub again_percent: Option<f64>,
    /// What the client says of itself.
    #[schema(value_type = Object)]
    pub client: ClientReport,
    /// Seconds since its last request.
    pub silent_seconds: Option<u64>,
}

/// What the doctor asks of a running server, over the socket alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServerLook {
    /// Its database.
    pub database: DatabaseLook,
    /// Where its images are.
    pub images: PathBuf,
    /// Settings that make no sense.
    #[serde(default)]
    pub odd_settings: Vec<OddSetting>,
    /// The card that FOG's page names; empty if it names none.
    #[serde(default)]
    pub interface_setting: String,
}

/// The link for the first account, told over the socket alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetupLink {
    /// Nothing if there are accounts.
    pub code: Option<String>,
}
