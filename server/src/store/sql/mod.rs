//! What the stores of SQL databases have in common: statements and what their answers mean.
//!
//! Statements use FOG's names, and only what SQLite and MariaDB have in common.

mod accounts;
mod apply;
mod claims;
mod events;
mod failures;
mod follow_ups;
mod groups;
mod handouts;
mod hosts;
mod images;
mod joining;
mod pending;
mod queue;
pub(super) mod row;
mod schedules;
pub(super) mod sessions;
pub(super) mod settings;
mod site;
pub(super) mod tx;
mod unicast;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use fog::Mac;
use fog::status::ReceivedStatus;
use tokio::sync::broadcast;

use self::tx::{Boxed, Tx};
use super::node::{Held, Node};
use super::{
    AddAccountError, AddHostError, AddImageError, AddScheduleError, Change, ChangeError, Conflict,
    CreateError, Decided, DescribeError, EditHostError, GroupError, InventoryFields, JoinError,
    ManagerLog, NewCapture, NewSession, NewUnicast, OpenSession, QueueApplied, QueueLook,
    QueueSigns, Result, Settings, Store, StoreError, UnicastQuery,
};
use crate::domain::account::{Account, AccountKind, AccountName, Role, StoredSecret};
use crate::domain::doctor::ClusterLook;
use crate::domain::groups::{Group, GroupChange, GroupName};
use crate::domain::handout::Ticket;
use crate::domain::handouts::{Change as HandoutChange, StoredRow};
use crate::domain::host::{
    About, Host, HostActivity, NewHost, PendingHost, StationMac, Stranger, Wish,
};
use crate::domain::image::{Facts, Image, ImageName, NewImage};
use crate::domain::node::{Claim, Fence, MAX_NODES, OtherClaim, Renewal, Server, Shown};
use crate::domain::peer::{Peer, SiteSecret};
use crate::domain::queue::{NodeFailure, Rules};
use crate::domain::reason::BrokenRow;
use crate::domain::schedule::{Outcome, Planned, Schedule, When};
use crate::domain::session::{Event, Fact, Note, Session};
use crate::domain::site::Site;
use crate::domain::unicast::{UnicastFact, UnicastTask};
use crate::domain::{HostId, ImageId, Reason, ScheduleId, SessionId, TaskId, Timestamp};

/// Connections and transactions of a database: each operation in a task of its own.
pub(crate) trait Engine: std::fmt::Debug + Send + Sync + 'static {
    /// Tells changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Whether the database is FOG's.
    fn is_fogs(&self) -> bool;

    /// Whether what fails in the middle is undone in every table.
    fn undoes_everything(&self) -> bool {
        true
    }

    /// The cluster of databases that it is, as the node sees it that is used.
    fn cluster(&self) -> Option<ClusterLook> {
        None
    }

    /// This server among those with the same database; `None` where there can be no others.
    fn node(&self) -> Option<&Node> {
        None
    }

    /// Lets what runs finish, and refuses everything else.
    fn close(self: &Arc<Self>) -> impl Future<Output = ()> + Send;

    /// Runs an operation that writes: one transaction, in a task of its own, after those that came before.
    /// Where the database undoes it for the sake of another one, it is run again.
    fn write<T, X, F>(
        self: &Arc<Self>,
        work: F,
    ) -> impl Future<Output = std::result::Result<T, X>> + Send
    where
        T: Send + 'static,
        X: From<StoreError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, std::result::Result<T, X>>
            + Clone
            + Send
            + 'static;

    /// Runs an operation that reads: it sees one state of the database.
    fn read<T, F>(self: &Arc<Self>, work: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static;

    /// Runs an operation that reads with one statement, which sees one state by itself.
    fn look<T, F>(self: &Arc<Self>, work: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static;

    /// Runs statements, each by itself, that wait for no other operation.
    fn aside<T, F>(self: &Arc<Self>, work: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Boxed<'t, Result<T>> + Clone + Send + 'static,
    {
        self.look(work)
    }
}

/// A store behind which is an SQL database. Clones are the same database.
#[derive(Debug)]
pub(crate) struct SqlStore<E> {
    pub(super) engine: Arc<E>,
}

impl<E> Clone for SqlStore<E> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
        }
    }
}

impl<E: Engine> SqlStore<E> {
    /// The claim by which something of a session is stored.
    fn held(&self, session: SessionId) -> Option<Held> {
        self.engine.node()?.held(session)
    }

    /// By which clock leases are over. The nodes of a cluster have one each: there it is this server's own.
    async fn clock(&self, node: &Node) -> Result<claims::Clock> {
        if self.engine.cluster().is_none() {
            return Ok(claims::Clock::Database);
        }
        let claims = self.engine.look(|tx| Box::pin(claims::seen(tx))).await?;
        Ok(claims::Clock::Own(
            node.see(std::time::Instant::now(), &claims),
        ))
    }

    /// This server, as it shows itself to others.
    fn sign(node: &Node) -> claims::Sign {
        claims::Sign {
            name: node.name().to_owned(),
            holder: node.holder().to_owned(),
            run: node.run().to_owned(),
            shown: node.shown(),
        }
    }
}

/// The outcome of an operation's task.
pub(super) async fn finish<T, X: From<StoreError>>(
    task: tokio::task::JoinHandle<std::result::Result<T, X>>,
) -> std::result::Result<T, X> {
    task.await.unwrap_or_else(|error| {
        let error = if error.is_panic() {
            StoreError::Internal(error.to_string())
        } else {
            StoreError::Unavailable("the server ends".into())
        };
        Err(error.into())
    })
}

#[async_trait]
impl<E: Engine> Store for SqlStore<E> {
    fn changes(&self) -> broadcast::Receiver<Change> {
        self.engine.changes()
    }

    async fn close(&self) {
        self.engine.close().await;
    }

    fn is_shared_with_fog(&self) -> bool {
        self.engine.is_fogs()
    }

    fn undoes_everything(&self) -> bool {
        self.engine.undoes_everything()
    }

    fn cluster(&self) -> Option<ClusterLook> {
        self.engine.cluster()
    }

    async fn manager_log(&self) -> Result<Option<ManagerLog>> {
        if !self.engine.is_fogs() {
            return Ok(None);
        }
        let log = self.engine.read(|tx| Box::pin(settings::manager_log(tx)));
        log.await.map(Some)
    }

    fn node_name(&self) -> Option<String> {
        self.engine.node().map(|node| node.name().to_owned())
    }

    async fn servers(&self) -> Result<Vec<Server>> {
        let Some(node) = self.engine.node() else {
            return Ok(Vec::new());
        };
        let holder = node.holder().to_owned();
        let is_cluster = self.engine.cluster().is_some();
        self.engine
            .look(move |tx| Box::pin(claims::servers(tx, holder, is_cluster)))
            .await
    }

    async fn peers(&self) -> Result<Vec<Peer>> {
        let Some(node) = self.engine.node() else {
            return Ok(Vec::new());
        };
        let holder = node.holder().to_owned();
        let is_cluster = self.engine.cluster().is_some();
        self.engine
            .look(move |tx| Box::pin(claims::peers(tx, holder, is_cluster)))
            .await
    }

    async fn site_secret(&self) -> Result<Option<SiteSecret>> {
        if self.engine.node().is_none() {
            return Ok(None);
        }
        let mut new = [0; 32];
        getrandom::fill(&mut new)
            .map_err(|error| StoreError::Internal(format!("drawing a secret: {error}")))?;
        let new = blake3::Hash::from(new).to_hex().to_string();
        let secret = self
            .engine
            .write::<_, StoreError, _>(move |tx| Box::pin(settings::site_secret(tx, new)))
            .await?;
        Ok(Some(secret))
    }

    fn show(&self, shown: Shown) {
        if let Some(node) = self.engine.node() {
            node.show(shown);
        }
    }

    async fn register(&self, shown: Shown) -> Result<Option<i64>> {
        let Some(node) = self.engine.node() else {
            return Ok(None);
        };
        node.show(shown);
        let sign = Self::sign(node);
        let number = self
            .engine
            .write::<_, StoreError, _>(move |tx| Box::pin(claims::register(tx, sign)))
            .await?;
        Ok(Some(number.rem_euclid(MAX_NODES)))
    }

    async fn claim(&self, session: SessionId) -> Result<Claim> {
        let Some(node) = self.engine.node() else {
            return Ok(Claim::Ours(None));
        };
        let holder = node.holder().to_owned();
        let clock = self.clock(node).await?;
        let claim = self
            .engine
            .write::<_, StoreError, _>(move |tx| {
                Box::pin(claims::claim(tx, session, holder, clock))
            })
            .await?;
        if let Claim::Ours(Some(fence)) = &claim {
            node.claimed(session, *fence);
        }
        Ok(claim)
    }

    async fn left_sessions(&self) -> Result<Vec<SessionId>> {
        match self.engine.node() {
            Some(node) => {
                let clock = self.clock(node).await?;
                self.engine
                    .look(move |tx| Box::pin(claims::left(tx, clock)))
                    .await
            }
            None => Ok(Vec::new()),
        }
    }

    async fn claimed_by(&self, session: SessionId) -> Result<Option<OtherClaim>> {
        let Some(node) = self.engine.node() else {
            return Ok(None);
        };
        let holder = node.holder().to_owned();
        let clock = self.clock(node).await?;
        self.engine
            .look(move |tx| Box::pin(claims::by_another(tx, session, holder, clock)))
            .await
    }

    async fn release(&self, session: SessionId, fence: Fence) -> Result<()> {
        let Some(held) = self.held(session).filter(|held| held.fence == fence) else {
            return Ok(());
        };
        if let Some(node) = self.engine.node() {
            node.released(session, fence);
        }
        self.engine
            .write(move |tx| Box::pin(claims::release(tx, session, held)))
            .await
    }

    async fn renew(&self) -> Result<Option<Renewal>> {
        let Some(node) = self.engine.node() else {
            return Ok(None);
        };
        let (sign, sessions) = (Self::sign(node), node.sessions());
        let is_cluster = self.engine.cluster().is_some();
        let renewed = self
            .engine
            .aside(move |tx| Box::pin(claims::renew(tx, sign, sessions, is_cluster)))
            .await;
        renewed.map(Some)
    }

    async fn add_host(
        &self,
        at: Timestamp,
        host: NewHost,
    ) -> std::result::Result<HostId, AddHostError> {
        self.engine
            .write(move |tx| Box::pin(hosts::add(tx, at, host)))
            .await
    }

    async fn edit_host(
        &self,
        at: Timestamp,
        host: HostId,
        new: NewHost,
    ) -> std::result::Result<(), EditHostError> {
        self.engine
            .write(move |tx| Box::pin(hosts::edit(tx, at, host, new)))
            .await
    }

    async fn remove_host(&self, host: HostId) -> std::result::Result<(), ChangeError> {
        self.engine
            .write(move |tx| Box::pin(hosts::remove(tx, host)))
            .await
    }

    async fn hosts(&self) -> Result<(Vec<Host>, Vec<BrokenRow>)> {
        self.engine.read(|tx| Box::pin(hosts::all(tx))).await
    }

    async fn activity(&self) -> Result<Vec<(HostId, HostActivity)>> {
        self.engine.read(|tx| Box::pin(hosts::activity(tx))).await
    }

    async fn active_task(&self, host: HostId) -> Result<Option<(TaskId, Option<SessionId>)>> {
        self.engine
            .look(move |tx| Box::pin(hosts::active_task(tx, host)))
            .await
    }

    async fn last_session(&self, host: HostId) -> Result<Option<Session>> {
        self.engine
            .read(move |tx| Box::pin(sessions::last_of_host(tx, host)))
            .await
    }

    async fn last_end(&self, host: HostId) -> Result<Option<(SessionId, Reason)>> {
        self.engine
            .look(move |tx| Box::pin(sessions::last_end(tx, host)))
            .await
    }

    async fn session_of_machine(
        &self,
        host: HostId,
        address: Ipv4Addr,
        ticket: Option<Ticket>,
    ) -> Result<Option<Session>> {
        self.engine
            .read(move |tx| Box::pin(sessions::of_machine(tx, host, address, ticket)))
            .await
    }

    async fn remember_stranger(
        &self,
        at: Timestamp,
        mac: Mac,
        address: IpAddr,
        about: About,
    ) -> Result<()> {
        self.engine
            .write(move |tx| Box::pin(pending::remember(tx, at, mac, address, about)))
            .await
    }

    async fn strangers(&self) -> Result<Vec<Stranger>> {
        self.engine
            .read(|tx| Box::pin(pending::strangers(tx)))
            .await
    }

    async fn wish(
        &self,
        at: Timestamp,
        mac: StationMac,
        address: IpAddr,
        about: About,
    ) -> Result<Wish> {
        self.engine
            .write(move |tx| Box::pin(pending::wish(tx, at, mac, address, about)))
            .await
    }

    async fn pending_hosts(&self) -> Result<Vec<PendingHost>> {
        self.engine.read(|tx| Box::pin(pending::hosts(tx))).await
    }

    async fn forget_pending(&self, mac: Option<Mac>) -> Result<u64> {
        self.engine
            .write(move |tx| Box::pin(pending::forget(tx, mac)))
            .await
    }

    async fn store_inventory(
        &self,
        at: Timestamp,
        host: HostId,
        fields: InventoryFields,
    ) -> Result<()> {
        self.engine
            .write(move |tx| Box::pin(hosts::store_inventory(tx, at, host, fields)))
            .await
    }

    async fn change_group(
        &self,
        name: GroupName,
        change: GroupChange,
    ) -> std::result::Result<(), GroupError> {
        self.engine
            .write(move |tx| Box::pin(groups::change(tx, name, change)))
            .await
    }

    async fn groups(&self) -> Result<Vec<Group>> {
        self.engine.read(|tx| Box::pin(groups::all(tx))).await
    }

    async fn add_image(
        &self,
        image: NewImage,
        facts: Facts,
    ) -> std::result::Result<ImageId, AddImageError> {
        self.engine
            .write(move |tx| Box::pin(images::add(tx, image, facts)))
            .await
    }

    async fn update_image(
        &self,
        image: ImageId,
        format: u8,
        facts: Facts,
    ) -> std::result::Result<(), ChangeError> {
        self.engine
            .write(move |tx| Box::pin(images::update(tx, image, format, facts)))
            .await
    }

    async fn replace_image(
        &self,
        image: ImageId,
        facts: Facts,
        capture: Option<TaskId>,
    ) -> std::result::Result<(), ChangeError> {
        self.engine
            .write(move |tx| Box::pin(images::replace(tx, image, facts, capture)))
            .await
    }

    async fn describe_image(
        &self,
        image: ImageId,
        name: Option<ImageName>,
        note: Option<String>,
    ) -> std::result::Result<(), DescribeError> {
        self.engine
            .write(move |tx| Box::pin(images::describe(tx, image, name, note)))
            .await
    }

    async fn remove_image(&self, image: ImageId) -> std::result::Result<(), ChangeError> {
        self.engine
            .write(move |tx| Box::pin(images::remove(tx, image)))
            .await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        self.engine.read(|tx| Box::pin(images::all(tx))).await
    }

    async fn find_image(&self, wanted: &str) -> Result<Option<Image>> {
        let wanted = wanted.to_owned();
        self.engine
            .read(move |tx| Box::pin(images::find(tx, wanted)))
            .await
    }

    async fn image(&self, image: ImageId) -> Result<Option<Image>> {
        self.engine
            .read(move |tx| Box::pin(images::by_id(tx, image)))
            .await
    }

    async fn facts(&self, image: ImageId) -> Result<Option<Facts>> {
        self.engine
            .read(move |tx| Box::pin(images::facts(tx, image)))
            .await
    }

    async fn held_ports(&self) -> Result<Vec<i64>> {
        self.engine
            .read(|tx| Box::pin(sessions::held_ports(tx)))
            .await
    }

    async fn create_session(
        &self,
        at: Timestamp,
        session: NewSession,
    ) -> std::result::Result<SessionId, CreateError> {
        self.engine
            .write(move |tx| Box::pin(sessions::create(tx, at, session)))
            .await
    }

    async fn open_sessions(&self) -> Result<Vec<OpenSession>> {
        self.engine.look(|tx| Box::pin(joining::open(tx))).await
    }

    async fn join_session(
        &self,
        at: Timestamp,
        session: SessionId,
        host: HostId,
        address: IpAddr,
    ) -> std::result::Result<(), JoinError> {
        self.engine
            .write(move |tx| Box::pin(joining::join(tx, at, session, host, address)))
            .await
    }

    async fn due_follow_ups(&self) -> Result<Vec<SessionId>> {
        self.engine.look(|tx| Box::pin(follow_ups::due(tx))).await
    }

    async fn awaited_follow_up(&self, host: HostId) -> Result<Option<SessionId>> {
        self.engine
            .look(move |tx| Box::pin(follow_ups::awaited_by(tx, host)))
            .await
    }

    async fn give_up_follow_up(
        &self,
        at: Timestamp,
        session: SessionId,
        why: Option<String>,
    ) -> Result<bool> {
        self.engine
            .write(move |tx| Box::pin(follow_ups::give_up(tx, at, session, why)))
            .await
    }

    async fn active_sessions(&self) -> Result<Vec<SessionId>> {
        self.engine.read(|tx| Box::pin(sessions::active(tx))).await
    }

    async fn newest_sessions(&self, limit: u32) -> Result<Vec<SessionId>> {
        self.engine
            .read(move |tx| Box::pin(sessions::newest(tx, limit)))
            .await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>> {
        self.engine
            .read(move |tx| Box::pin(sessions::by_id(tx, id)))
            .await
    }

    async fn apply(
        &self,
        at: Timestamp,
        session: SessionId,
        facts: Vec<Fact>,
    ) -> Result<Vec<Conflict>> {
        let held = self.held(session);
        self.engine
            .write(move |tx| Box::pin(apply::apply(tx, at, session, held, facts)))
            .await
    }

    async fn fail_broken(&self, at: Timestamp, session: SessionId, reason: Reason) -> Result<bool> {
        let held = self.held(session);
        self.engine
            .write(move |tx| Box::pin(apply::fail_broken(tx, at, session, held, reason)))
            .await
    }

    async fn store_progress(
        &self,
        session: SessionId,
        progress: Vec<(TaskId, ReceivedStatus)>,
    ) -> Result<()> {
        let held = self.held(session);
        self.engine
            .write(move |tx| Box::pin(sessions::store_progress(tx, session, held, progress)))
            .await
    }

    async fn add_event(
        &self,
        at: Timestamp,
        session: Option<SessionId>,
        host: Option<HostId>,
        note: Note,
    ) -> Result<()> {
        self.engine
            .write(move |tx| Box::pin(events::add_note(tx, at, session, host, note)))
            .await
    }

    async fn events(&self, session: SessionId, after: i64, limit: u32) -> Result<Vec<Event>> {
        self.engine
            .read(move |tx| Box::pin(events::of_session(tx, session, after, limit)))
            .await
    }

    async fn create_unicast(
        &self,
        at: Timestamp,
        new: NewUnicast,
    ) -> std::result::Result<Vec<TaskId>, CreateError> {
        self.engine
            .write(move |tx| Box::pin(unicast::create(tx, at, new)))
            .await
    }

    async fn create_capture(
        &self,
        at: Timestamp,
        new: NewCapture,
    ) -> std::result::Result<TaskId, CreateError> {
        self.engine
            .write(move |tx| Box::pin(unicast::create_capture(tx, at, new)))
            .await
    }

    async fn unicast(&self, query: UnicastQuery) -> Result<Vec<UnicastTask>> {
        self.engine
            .look(move |tx| Box::pin(unicast::find(tx, query)))
            .await
    }

    async fn apply_unicast(
        &self,
        at: Timestamp,
        facts: Vec<(TaskId, UnicastFact)>,
    ) -> Result<Vec<TaskId>> {
        self.engine
            .write(move |tx| Box::pin(unicast::apply(tx, at, facts)))
            .await
    }

    async fn queue(&self) -> Result<QueueLook> {
        self.engine.read(|tx| Box::pin(queue::look(tx))).await
    }

    async fn apply_queue(
        &self,
        at: Timestamp,
        decided: Decided,
        facts: Vec<(TaskId, UnicastFact)>,
    ) -> Result<QueueApplied> {
        let holder = self.engine.node().map(|node| node.holder().to_owned());
        self.engine
            .write(move |tx| Box::pin(queue::apply(tx, at, decided, holder, facts)))
            .await
    }

    async fn queue_signs(&self) -> Result<Option<QueueSigns>> {
        let Some(node) = self.engine.node() else {
            return Ok(None);
        };
        let own = node.holder().to_owned();
        let signs = self.engine.read(move |tx| Box::pin(queue::signs(tx, own)));
        signs.await.map(Some)
    }

    async fn hear_machines(&self, tasks: Vec<TaskId>) -> Result<()> {
        let Some(node) = self.engine.node() else {
            return Ok(());
        };
        let holder = node.holder().to_owned();
        self.engine
            .write(move |tx| Box::pin(queue::hear(tx, holder, tasks)))
            .await
    }

    async fn store_unicast_progress(&self, task: TaskId, status: ReceivedStatus) -> Result<()> {
        self.engine
            .write(move |tx| Box::pin(unicast::store_progress(tx, task, status)))
            .await
    }

    async fn site(&self) -> Result<Site> {
        let own = self.engine.node().map(|node| node.holder().to_owned());
        self.engine
            .read(move |tx| Box::pin(site::look(tx, own)))
            .await
    }

    async fn note_node_failure(
        &self,
        task: TaskId,
        until: Timestamp,
    ) -> Result<Option<NodeFailure>> {
        self.engine
            .write(move |tx| Box::pin(failures::note(tx, task, until)))
            .await
    }

    async fn node_failures(&self) -> Result<Vec<NodeFailure>> {
        self.engine.look(|tx| Box::pin(failures::newest(tx))).await
    }

    async fn queue_rules(&self) -> Result<Rules> {
        self.engine.read(|tx| Box::pin(unicast::rules(tx))).await
    }

    async fn hand_out(&self, change: HandoutChange) -> Result<()> {
        self.engine
            .write(move |tx| Box::pin(handouts::change(tx, change)))
            .await
    }

    async fn handouts(&self) -> Result<Vec<StoredRow>> {
        self.engine.read(|tx| Box::pin(handouts::all(tx))).await
    }

    async fn add_schedule(
        &self,
        at: Timestamp,
        when: When,
        planned: Planned,
    ) -> std::result::Result<ScheduleId, AddScheduleError> {
        self.engine
            .write(move |tx| Box::pin(schedules::add(tx, at, when, planned)))
            .await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        self.engine.look(|tx| Box::pin(schedules::all(tx))).await
    }

    async fn remove_schedule(&self, id: ScheduleId) -> Result<bool> {
        self.engine
            .write(move |tx| Box::pin(schedules::remove(tx, id)))
            .await
    }

    async fn claim_schedule(
        &self,
        id: ScheduleId,
        seen: Timestamp,
        until: Timestamp,
        outcome: Outcome,
    ) -> Result<bool> {
        self.engine
            .write(move |tx| Box::pin(schedules::claim(tx, id, seen, until, outcome)))
            .await
    }

    async fn end_schedule(&self, id: ScheduleId, outcome: Outcome) -> Result<()> {
        self.engine
            .write(move |tx| Box::pin(schedules::end(tx, id, outcome)))
            .await
    }

    async fn add_account(&self, account: Account) -> std::result::Result<(), AddAccountError> {
        self.engine
            .write(move |tx| Box::pin(accounts::add(tx, account)))
            .await
    }

    async fn change_account(
        &self,
        kind: AccountKind,
        name: AccountName,
        role: Option<Role>,
        secret: Option<StoredSecret>,
    ) -> Result<bool> {
        self.engine
            .write(move |tx| Box::pin(accounts::change(tx, kind, name, role, secret)))
            .await
    }

    async fn remove_account(&self, kind: AccountKind, name: AccountName) -> Result<bool> {
        self.engine
            .write(move |tx| Box::pin(accounts::remove(tx, kind, name)))
            .await
    }

    async fn accounts(&self) -> Result<(Vec<Account>, Vec<BrokenRow>)> {
        self.engine.look(|tx| Box::pin(accounts::all(tx))).await
    }

    async fn settings(&self) -> Result<Settings> {
        self.engine.read(|tx| Box::pin(settings::all(tx))).await
    }

    async fn image_root(&self) -> Result<Option<String>> {
        self.engine
            .read(|tx| Box::pin(settings::image_root(tx)))
            .await
    }

    async fn set_image_root(&self, path: String) -> Result<()> {
        self.engine
            .write(move |tx| Box::pin(settings::set_image_root(tx, path)))
            .await
    }
}

#[cfg(test)]
impl<E: Engine> SqlStore<E> {
    /// Runs a statement of a test.
    pub(super) async fn raw(&self, sql: &str) {
        let sql = sql.to_owned();
        let work = self.engine.write::<_, StoreError, _>(|tx| {
            Box::pin(async move { tx.rows(&sql, Vec::new()).await })
        });
        work.await.unwrap();
    }

    /// The first value of a statement's answer.
    pub(super) async fn value(&self, sql: &str) -> row::Value {
        let sql = sql.to_owned();
        let work = self
            .engine
            .read(|tx| Box::pin(async move { tx.row(&sql, Vec::new()).await }));
        work.await.unwrap().unwrap().columns[0].1.clone()
    }

    pub(super) async fn number(&self, sql: &str) -> i64 {
        match self.value(sql).await {
            row::Value::Int(number) => number,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn text(&self, sql: &str) -> String {
        match self.value(sql).await {
            row::Value::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }
}
