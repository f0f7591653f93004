//! A store for tests that fails or hangs when it is told to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fog::Mac;
use fog::status::ReceivedStatus;
use tokio::sync::{broadcast, watch};

use super::{
    AddAccountError, AddHostError, AddImageError, AddScheduleError, Change, ChangeError, Conflict,
    CreateError, Decided, DescribeError, EditHostError, GroupError, InventoryFields, JoinError,
    ManagerLog, NewCapture, NewSession, NewUnicast, OpenSession, QueueApplied, QueueLook,
    QueueSigns, Result, Settings, SharedStore, Store, StoreError, UnicastQuery,
};
use crate::domain::account::{Account, AccountKind, AccountName, Role, StoredSecret};
use crate::domain::groups::{Group, GroupChange, GroupName};
use crate::domain::handout::Ticket;
use crate::domain::handouts::{self, StoredRow};
use crate::domain::host::{
    About, Host, HostActivity, NewHost, PendingHost, StationMac, Stranger, Wish,
};
use crate::domain::image::{Facts, Image, ImageName, NewImage};
use crate::domain::node::{Claim, Fence, OtherClaim, Renewal, Shown};
use crate::domain::queue::{NodeFailure, Rules};
use crate::domain::reason::BrokenRow;
use crate::domain::schedule::{Outcome, Planned, Schedule, When};
use crate::domain::session::{Event, Fact, Note, Session};
use crate::domain::site::Site;
use crate::domain::unicast::{UnicastFact, UnicastTask};
use crate::domain::{HostId, ImageId, Reason, ScheduleId, SessionId, TaskId, Timestamp};

/// What becomes of operations that change something. Those that only read always work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Works,
    Fails,
    Hangs,
    /// As a statement would that is wrong.
    Breaks,
}

/// What becomes of one operation, or of all.
type Fault = (Mode, Option<&'static str>);

/// A store in front of another one.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: SharedStore,
    mode: watch::Sender<Fault>,
    calls: Mutex<BTreeMap<&'static str, usize>>,
    /// Whether claims and their renewals are operations of the database.
    has_claims: bool,
}

impl Faulty {
    /// In front of this store; works until told otherwise.
    pub(crate) fn new(inner: SharedStore) -> Arc<Self> {
        Self::with(inner, false)
    }

    /// In front of one that several servers have.
    pub(crate) fn of_several(inner: SharedStore) -> Arc<Self> {
        Self::with(inner, true)
    }

    fn with(inner: SharedStore, has_claims: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            mode: watch::Sender::new((Mode::Works, None)),
            calls: Mutex::default(),
            has_claims,
        })
    }

    async fn gate_of_claims(&self, operation: &'static str) -> Result<()> {
        match self.has_claims {
            true => self.gate(operation).await,
            false => Ok(()),
        }
    }

    /// From now on nothing can be stored ([`StoreError::Unavailable`]); what hangs fails.
    pub(crate) fn fail(&self) {
        self.mode.send_replace((Mode::Fails, None));
    }

    /// From now on an operation that stores hangs, not begun, until [`Self::release`] or [`Self::fail`].
    pub(crate) fn hang(&self) {
        self.mode.send_replace((Mode::Hangs, None));
    }

    /// As [`Self::hang`], but this operation alone.
    pub(crate) fn hang_at(&self, operation: &'static str) {
        self.mode.send_replace((Mode::Hangs, Some(operation)));
    }

    /// From now on this operation is an error of ours ([`StoreError::Internal`]).
    pub(crate) fn break_at(&self, operation: &'static str) {
        self.mode.send_replace((Mode::Breaks, Some(operation)));
    }

    /// From now on everything works; what hangs goes on.
    pub(crate) fn release(&self) {
        self.mode.send_replace((Mode::Works, None));
    }

    /// How often an operation was called, by the name of its function, whatever became of it.
    pub(crate) fn calls(&self, operation: &str) -> usize {
        self.calls
            .lock()
            .unwrap()
            .get(operation)
            .copied()
            .unwrap_or(0)
    }

    /// How often anything was called that stores.
    pub(crate) fn writes(&self) -> usize {
        WRITES.iter().map(|operation| self.calls(operation)).sum()
    }

    fn count(&self, operation: &'static str) {
        *self.calls.lock().unwrap().entry(operation).or_default() += 1;
    }

    /// Counts an operation that stores, and waits while such ones hang.
    async fn gate(&self, operation: &'static str) -> Result<()> {
        self.count(operation);
        let mode_of = |(mode, only): Fault| match only {
            Some(only) if only != operation => Mode::Works,
            _ => mode,
        };
        let mut mode = self.mode.subscribe();
        let decided = mode.wait_for(|now| mode_of(*now) != Mode::Hangs).await;
        match decided.map(|now| mode_of(*now)) {
            Ok(Mode::Works) => Ok(()),
            Ok(Mode::Breaks) => Err(StoreError::Internal("told to break".into())),
            _ => Err(StoreError::Unavailable("told to fail".into())),
        }
    }
}

/// The operations that store.
pub(crate) const WRITES: [&str; 33] = [
    "add_host",
    "edit_host",
    "remove_host",
    "remember_stranger",
    "wish",
    "forget_pending",
    "change_group",
    "add_schedule",
    "remove_schedule",
    "claim_schedule",
    "end_schedule",
    "store_inventory",
    "add_image",
    "update_image",
    "replace_image",
    "describe_image",
    "create_capture",
    "remove_image",
    "create_session",
    "give_up_follow_up",
    "apply",
    "fail_broken",
    "store_progress",
    "add_event",
    "hand_out",
    "add_account",
    "change_account",
    "remove_account",
    "set_image_root",
    "create_unicast",
    "apply_unicast",
    "store_unicast_progress",
    "note_node_failure",
];

#[async_trait]
impl Store for Faulty {
    fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes()
    }

    async fn close(&self) {
        self.count("close");
        self.inner.close().await;
    }

    async fn manager_log(&self) -> Result<Option<ManagerLog>> {
        self.inner.manager_log().await
    }

    fn show(&self, shown: Shown) {
        self.inner.show(shown);
    }

    async fn register(&self, shown: Shown) -> Result<Option<i64>> {
        self.count("register");
        self.inner.register(shown).await
    }

    async fn claim(&self, session: SessionId) -> Result<Claim> {
        self.gate_of_claims("claim").await?;
        self.inner.claim(session).await
    }

    async fn left_sessions(&self) -> Result<Vec<SessionId>> {
        self.count("left_sessions");
        self.inner.left_sessions().await
    }

    async fn claimed_by(&self, session: SessionId) -> Result<Option<OtherClaim>> {
        self.count("claimed_by");
        self.inner.claimed_by(session).await
    }

    async fn release(&self, session: SessionId, fence: Fence) -> Result<()> {
        self.gate_of_claims("release").await?;
        self.inner.release(session, fence).await
    }

    async fn renew(&self) -> Result<Option<Renewal>> {
        self.gate_of_claims("renew").await?;
        self.inner.renew().await
    }

    async fn add_host(
        &self,
        at: Timestamp,
        host: NewHost,
    ) -> std::result::Result<HostId, AddHostError> {
        self.gate("add_host").await?;
        self.inner.add_host(at, host).await
    }

    async fn edit_host(
        &self,
        at: Timestamp,
        host: HostId,
        new: NewHost,
    ) -> std::result::Result<(), EditHostError> {
        self.gate("edit_host").await?;
        self.inner.edit_host(at, host, new).await
    }

    async fn remove_host(&self, host: HostId) -> std::result::Result<(), ChangeError> {
        self.gate("remove_host").await?;
        self.inner.remove_host(host).await
    }

    async fn remember_stranger(
        &self,
        at: Timestamp,
        mac: Mac,
        address: IpAddr,
        about: About,
    ) -> Result<()> {
        self.gate("remember_stranger").await?;
        self.inner.remember_stranger(at, mac, address, about).await
    }

    async fn wish(
        &self,
        at: Timestamp,
        mac: StationMac,
        address: IpAddr,
        about: About,
    ) -> Result<Wish> {
        self.gate("wish").await?;
        self.inner.wish(at, mac, address, about).await
    }

    async fn forget_pending(&self, mac: Option<Mac>) -> Result<u64> {
        self.gate("forget_pending").await?;
        self.inner.forget_pending(mac).await
    }

    async fn store_inventory(
        &self,
        at: Timestamp,
        host: HostId,
        fields: InventoryFields,
    ) -> Result<()> {
        self.gate("store_inventory").await?;
        self.inner.store_inventory(at, host, fields).await
    }

    async fn add_image(
        &self,
        image: NewImage,
        facts: Facts,
    ) -> std::result::Result<ImageId, AddImageError> {
        self.gate("add_image").await?;
        self.inner.add_image(image, facts).await
    }

    async fn update_image(
        &self,
        image: ImageId,
        format: u8,
        facts: Facts,
    ) -> std::result::Result<(), ChangeError> {
        self.gate("update_image").await?;
        self.inner.update_image(image, format, facts).await
    }

    async fn replace_image(
        &self,
        image: ImageId,
        facts: Facts,
        capture: Option<TaskId>,
    ) -> std::result::Result<(), ChangeError> {
        self.gate("replace_image").await?;
        self.inner.replace_image(image, facts, capture).await
    }

    async fn describe_image(
        &self,
        image: ImageId,
        name: Option<ImageName>,
        note: Option<String>,
    ) -> std::result::Result<(), DescribeError> {
        self.gate("describe_image").await?;
        self.inner.describe_image(image, name, note).await
    }

    async fn remove_image(&self, image: ImageId) -> std::result::Result<(), ChangeError> {
        self.gate("remove_image").await?;
        self.inner.remove_image(image).await
    }

    async fn create_session(
        &self,
        at: Timestamp,
        session: NewSession,
    ) -> std::result::Result<SessionId, CreateError> {
        self.gate("create_session").await?;
        self.inner.create_session(at, session).await
    }

    async fn apply(
        &self,
        at: Timestamp,
        session: SessionId,
        facts: Vec<Fact>,
    ) -> Result<Vec<Conflict>> {
        self.gate("apply").await?;
        self.inner.apply(at, session, facts).await
    }

    async fn fail_broken(&self, at: Timestamp, session: SessionId, reason: Reason) -> Result<bool> {
        self.gate("fail_broken").await?;
        self.inner.fail_broken(at, session, reason).await
    }

    async fn store_progress(
        &self,
        session: SessionId,
        progress: Vec<(TaskId, ReceivedStatus)>,
    ) -> Result<()> {
        self.gate("store_progress").await?;
        self.inner.store_progress(session, progress).await
    }

    async fn add_event(
        &self,
        at: Timestamp,
        session: Option<SessionId>,
        host: Option<HostId>,
        note: Note,
    ) -> Result<()> {
        self.gate("add_event").await?;
        self.inner.add_event(at, session, host, note).await
    }

    async fn create_unicast(
        &self,
        at: Timestamp,
        new: NewUnicast,
    ) -> std::result::Result<Vec<TaskId>, CreateError> {
        self.gate("create_unicast").await?;
        self.inner.create_unicast(at, new).await
    }

    async fn create_capture(
        &self,
        at: Timestamp,
        new: NewCapture,
    ) -> std::result::Result<TaskId, CreateError> {
        self.gate("create_capture").await?;
        self.inner.create_capture(at, new).await
    }

    async fn unicast(&self, query: UnicastQuery) -> Result<Vec<UnicastTask>> {
        self.count("unicast");
        self.inner.unicast(query).await
    }

    async fn apply_unicast(
        &self,
        at: Timestamp,
        facts: Vec<(TaskId, UnicastFact)>,
    ) -> Result<Vec<TaskId>> {
        self.gate("apply_unicast").await?;
        self.inner.apply_unicast(at, facts).await
    }

    async fn queue(&self) -> Result<QueueLook> {
        self.count("unicast");
        self.inner.queue().await
    }

    async fn apply_queue(
        &self,
        at: Timestamp,
        decided: Decided,
        facts: Vec<(TaskId, UnicastFact)>,
    ) -> Result<QueueApplied> {
        self.gate("apply_unicast").await?;
        self.inner.apply_queue(at, decided, facts).await
    }

    async fn queue_signs(&self) -> Result<Option<QueueSigns>> {
        self.inner.queue_signs().await
    }

    async fn hear_machines(&self, tasks: Vec<TaskId>) -> Result<()> {
        self.inner.hear_machines(tasks).await
    }

    async fn store_unicast_progress(&self, task: TaskId, status: ReceivedStatus) -> Result<()> {
        self.gate("store_unicast_progress").await?;
        self.inner.store_unicast_progress(task, status).await
    }

    async fn site(&self) -> Result<Site> {
        self.inner.site().await
    }

    async fn queue_rules(&self) -> Result<Rules> {
        self.inner.queue_rules().await
    }

    async fn hand_out(&self, change: handouts::Change) -> Result<()> {
        self.gate("hand_out").await?;
        self.inner.hand_out(change).await
    }

    async fn set_image_root(&self, path: String) -> Result<()> {
        self.gate("set_image_root").await?;
        self.inner.set_image_root(path).await
    }

    async fn hosts(&self) -> Result<(Vec<Host>, Vec<BrokenRow>)> {
        self.count("hosts");
        self.inner.hosts().await
    }

    async fn activity(&self) -> Result<Vec<(HostId, HostActivity)>> {
        self.count("activity");
        self.inner.activity().await
    }

    async fn active_task(&self, host: HostId) -> Result<Option<(TaskId, Option<SessionId>)>> {
        self.count("active_task");
        self.inner.active_task(host).await
    }

    async fn last_session(&self, host: HostId) -> Result<Option<Session>> {
        self.count("last_session");
        self.inner.last_session(host).await
    }

    async fn last_end(&self, host: HostId) -> Result<Option<(SessionId, Reason)>> {
        self.count("last_end");
        self.inner.last_end(host).await
    }

    async fn session_of_machine(
        &self,
        host: HostId,
        address: Ipv4Addr,
        ticket: Option<Ticket>,
    ) -> Result<Option<Session>> {
        self.count("session_of_machine");
        self.inner.session_of_machine(host, address, ticket).await
    }

    async fn strangers(&self) -> Result<Vec<Stranger>> {
        self.count("strangers");
        self.inner.strangers().await
    }

    async fn change_group(
        &self,
        name: GroupName,
        change: GroupChange,
    ) -> std::result::Result<(), GroupError> {
        self.gate("change_group").await?;
        self.inner.change_group(name, change).await
    }

    async fn add_schedule(
        &self,
        at: Timestamp,
        when: When,
        planned: Planned,
    ) -> std::result::Result<ScheduleId, AddScheduleError> {
        self.gate("add_schedule").await?;
        self.inner.add_schedule(at, when, planned).await
    }

    async fn remove_schedule(&self, id: ScheduleId) -> Result<bool> {
        self.gate("remove_schedule").await?;
        self.inner.remove_schedule(id).await
    }

    async fn claim_schedule(
        &self,
        id: ScheduleId,
        seen: Timestamp,
        until: Timestamp,
        outcome: Outcome,
    ) -> Result<bool> {
        self.gate("claim_schedule").await?;
        self.inner.claim_schedule(id, seen, until, outcome).await
    }

    async fn end_schedule(&self, id: ScheduleId, outcome: Outcome) -> Result<()> {
        self.gate("end_schedule").await?;
        self.inner.end_schedule(id, outcome).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        self.count("schedules");
        self.inner.schedules().await
    }

    async fn groups(&self) -> Result<Vec<Group>> {
        self.count("groups");
        self.inner.groups().await
    }

    async fn pending_hosts(&self) -> Result<Vec<PendingHost>> {
        self.count("pending_hosts");
        self.inner.pending_hosts().await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        self.count("images");
        self.inner.images().await
    }

    async fn find_image(&self, wanted: &str) -> Result<Option<Image>> {
        self.count("find_image");
        self.inner.find_image(wanted).await
    }

    async fn image(&self, image: ImageId) -> Result<Option<Image>> {
        self.count("image");
        self.inner.image(image).await
    }

    async fn facts(&self, image: ImageId) -> Result<Option<Facts>> {
        self.count("facts");
        self.inner.facts(image).await
    }

    async fn held_ports(&self) -> Result<Vec<i64>> {
        self.count("held_ports");
        self.inner.held_ports().await
    }

    async fn note_node_failure(
        &self,
        task: TaskId,
        until: Timestamp,
    ) -> Result<Option<NodeFailure>> {
        self.gate("note_node_failure").await?;
        self.inner.note_node_failure(task, until).await
    }

    async fn node_failures(&self) -> Result<Vec<NodeFailure>> {
        self.count("node_failures");
        self.inner.node_failures().await
    }

    async fn open_sessions(&self) -> Result<Vec<OpenSession>> {
        self.count("open_sessions");
        self.inner.open_sessions().await
    }

    async fn join_session(
        &self,
        at: Timestamp,
        session: SessionId,
        host: HostId,
        address: IpAddr,
    ) -> std::result::Result<(), JoinError> {
        self.gate("join_session").await?;
        self.inner.join_session(at, session, host, address).await
    }

    async fn due_follow_ups(&self) -> Result<Vec<SessionId>> {
        self.count("due_follow_ups");
        self.inner.due_follow_ups().await
    }

    async fn awaited_follow_up(&self, host: HostId) -> Result<Option<SessionId>> {
        self.count("awaited_follow_up");
        self.inner.awaited_follow_up(host).await
    }

    async fn give_up_follow_up(
        &self,
        at: Timestamp,
        session: SessionId,
        why: Option<String>,
    ) -> Result<bool> {
        self.gate("give_up_follow_up").await?;
        self.inner.give_up_follow_up(at, session, why).await
    }

    async fn active_sessions(&self) -> Result<Vec<SessionId>> {
        self.count("active_sessions");
        self.inner.active_sessions().await
    }

    async fn newest_sessions(&self, limit: u32) -> Result<Vec<SessionId>> {
        self.count("newest_sessions");
        self.inner.newest_sessions(limit).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>> {
        self.count("session");
        self.inner.session(id).await
    }

    async fn events(&self, session: SessionId, after: i64, limit: u32) -> Result<Vec<Event>> {
        self.count("events");
        self.inner.events(session, after, limit).await
    }

    async fn handouts(&self) -> Result<Vec<StoredRow>> {
        self.count("handouts");
        self.inner.handouts().await
    }

    async fn add_account(&self, account: Account) -> std::result::Result<(), AddAccountError> {
        self.gate("add_account").await?;
        self.inner.add_account(account).await
    }

    async fn change_account(
        &self,
        kind: AccountKind,
        name: AccountName,
        role: Option<Role>,
        secret: Option<StoredSecret>,
    ) -> Result<bool> {
        self.gate("change_account").await?;
        self.inner.change_account(kind, name, role, secret).await
    }

    async fn remove_account(&self, kind: AccountKind, name: AccountName) -> Result<bool> {
        self.gate("remove_account").await?;
        self.inner.remove_account(kind, name).await
    }

    async fn accounts(&self) -> Result<(Vec<Account>, Vec<BrokenRow>)> {
        self.count("accounts");
        self.inner.accounts().await
    }

    async fn settings(&self) -> Result<Settings> {
        self.count("settings");
        self.inner.settings().await
    }

    async fn image_root(&self) -> Result<Option<String>> {
        self.count("image_root");
        self.inner.image_root().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::Sqlite;

    #[tokio::test]
    async fn it_fails_hangs_and_counts() {
        let inner = Arc::new(Sqlite::in_memory().await.unwrap());
        let store = Faulty::new(inner);
        store.fail();
        let failed = store.set_image_root("/a".into()).await;
        assert!(matches!(failed, Err(StoreError::Unavailable(_))));
        store.hang();
        let mut hanging = Box::pin(store.set_image_root("/b".into()));
        let polled = tokio::select! {
            biased;
            _ = &mut hanging => true,
            () = std::future::ready(()) => false,
        };
        assert!(!polled);
        assert_eq!(store.image_root().await.unwrap(), None);
        store.release();
        hanging.await.unwrap();
        assert_eq!(store.image_root().await.unwrap().as_deref(), Some("/b"));
        assert_eq!((store.calls("set_image_root"), store.writes()), (2, 2));
    }
}
