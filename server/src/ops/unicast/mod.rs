//! Machines that are deployed alone: their tasks, the queue that they wait in, what they ask and report.
//!
//! Tasks and queue are in memory as they are stored: one change after the other, each stored before it counts.
//! After a change of which it is not known whether it is stored, all is read again; also after one that another server
//! stored, as the queue is the same for all servers with one database.

mod clients;
mod people;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{MutexGuard, Semaphore};

pub use self::clients::DataFile;
pub(super) use self::clients::base_job;
pub use self::people::{CancelTaskError, TaskState, TasksCreated, UnicastRequest, UnicastStatus};
use super::Ops;
use super::clients::ClientResult;
use crate::clock;
use crate::domain::handout::Job;
use crate::domain::node::Presence;
use crate::domain::queue::{Hearer, Queue, Rules, Step, Stored, Turn};
use crate::domain::refusal::AskAgain;
use crate::domain::unicast::{UnicastFact, UnicastTask};
use crate::domain::{HostId, NodeId, Reason, TaskId, Timestamp};
use crate::logs::{Level, Subject};
use crate::session::ClientReport;
use crate::store::{Decided, QueueApplied, QueueSigns, StoreError};
use crate::text;

/// The tasks of these machines.
#[derive(Debug)]
pub(super) struct Unicasts {
    held: tokio::sync::Mutex<Held>,
    /// The active task of each host, for whoever must not wait: clients of sessions are asked for here, too.
    of_host: Mutex<HashMap<HostId, Arc<UnicastTask>>>,
    /// Places for those who read an image's data.
    streams: Arc<Semaphore>,
}

/// All of them, one who changes something at a time.
#[derive(Debug)]
struct Held {
    queue: Queue,
    /// What the queue is as it was read or stored.
    turn: Turn,
    /// The servers that have the same queue.
    presence: Presence,
    /// The active ones, some 500 bytes each.
    tasks: BTreeMap<TaskId, Task>,
    /// Nodes that hosts could not use, until when; at most as many as are read, 40 bytes each.
    failures: HashMap<(NodeId, HostId), Timestamp>,
    /// Whether all is to be read again first.
    is_stale: bool,
}

/// An active task.
#[derive(Debug)]
struct Task {
    is: Arc<UnicastTask>,
    /// What belongs to task and image alone of what its machine is told, once it was worked out.
    job: Option<Job>,
    /// What its machine says of itself.
    report: ClientReport,
    /// When that was stored last.
    stored: Option<Instant>,
}

impl Default for Unicasts {
    fn default() -> Self {
        Self {
            held: tokio::sync::Mutex::new(Held {
                queue: Queue::new(Instant::now(), Rules::default(), &[]),
                turn: Turn::default(),
                presence: Presence::default(),
                tasks: BTreeMap::new(),
                failures: HashMap::new(),
                is_stale: true,
            }),
            of_host: Mutex::default(),
            streams: Arc::new(Semaphore::new(DATA_READERS)),
        }
    }
}

impl Unicasts {
    fn of_host(&self) -> std::sync::MutexGuard<'_, HashMap<HostId, Arc<UnicastTask>>> {
        self.of_host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others may read without waiting.
    fn publish(&self, held: &Held) {
        let mut of_host = HashMap::with_capacity(held.tasks.len());
        for task in held.tasks.values() {
            // Of several the oldest, as FOG chooses.
            of_host
                .entry(task.is.host)
                .or_insert_with(|| Arc::clone(&task.is));
        }
        *self.of_host() = of_host;
    }
}

impl Ops {
    /// The active task of a host that is to be deployed alone; `None` if it has none, or is in a session that runs.
    pub(super) async fn alone(&self, host: HostId) -> ClientResult<Option<Arc<UnicastTask>>> {
        let running = self.sessions.of_host(host);
        if running
            .as_ref()
            .is_some_and(|handle| handle.is_active(host))
        {
            return Ok(None);
        }
        let known = self.unicasts.of_host().get(&host).cloned();
        let has_others = self.store.node_name().is_some();
        if known.is_some() || running.is_some() || !has_others {
            return Ok(known);
        }
        // FOG's page, or another server, may just have made one.
        if let Some((task, None)) = self.store.active_task(host).await? {
            let mut held = self.unicasts().await?;
            if !held.tasks.contains_key(&task) {
                self.read_unicasts(&mut held).await?;
            }
        }
        Ok(self.unicasts.of_host().get(&host).cloned())
    }

    /// Reads them at the start.
    pub(super) async fn begin_unicasts(&self) -> Result<(), StoreError> {
        let mut held = self.unicasts.held.lock().await;
        self.read_unicasts(&mut held).await
    }

    /// The right to change something, with everything as it is stored.
    async fn unicasts(&self) -> ClientResult<MutexGuard<'_, Held>> {
        let held = tokio::time::timeout(TURN_LIMIT, self.unicasts.held.lock()).await;
        // Behind a database that hangs: a client has less patience than those before it would take together.
        let mut held = held.map_err(|_| AskAgain::NotStored)?;
        if held.is_stale {
            self.read_unicasts(&mut held).await?;
        }
        Ok(held)
    }

    /// Reads tasks and queue as they are stored.
    async fn read_unicasts(&self, held: &mut Held) -> Result<(), StoreError> {
        let look = self.store.queue().await?;
        let rules = self.queue_rules().await?;
        let failures = self.store.node_failures().await?;
        held.failures.clear();
        for failure in failures {
            let known = held.failures.entry((failure.node, failure.host));
            let until = known.or_insert(failure.until);
            *until = failure.until.max(*until);
        }
        let stored: Vec<Stored> = look.tasks.iter().map(UnicastTask::stored).collect();
        held.queue.replace(Instant::now(), rules, &stored);
        held.turn = look.turn;
        let mut former = std::mem::take(&mut held.tasks);
        for task in look.tasks {
            let old = former.remove(&task.id);
            let (report, stored) = old.map(|old| (old.report, old.stored)).unwrap_or_default();
            let task = Task {
                is: Arc::new(task),
                // Image or host may be others by now.
                job: None,
                report,
                stored,
            };
            held.tasks.insert(task.is.id, task);
        }
        held.is_stale = false;
        self.unicasts.publish(held);
        if !former.is_empty() {
            // Somebody else ended these: there may be a slot for another one.
            self.sessions.askers().all_changed();
        }
        Ok(())
    }

    pub(super) async fn queue_rules(&self) -> Result<Rules, StoreError> {
        let mut rules = match self.store.queue_rules().await {
            Ok(rules) => rules,
            // One odd setting must not keep all machines waiting.
            Err(StoreError::Broken(row)) => {
                let line = format!("{row}; the queue goes by the defaults");
                let (now, what) = (clock::now(), "looks at the settings of the queue");
                self.log
                    .repeated(now, Level::Warn, &Subject::Server, what, &line);
                Rules::default()
            }
            Err(error) => return Err(error),
        };
        if let Some(slots) = self.config.slots {
            rules
                .slots
                .values_mut()
                .for_each(|of_node| *of_node = slots);
            rules.slots.entry(NodeId(1)).or_insert(slots);
        }
        Ok(rules)
    }

    /// Stores facts that hold whatever becomes of other tasks, and carries them out. `steps` are what the queue makes of
    /// them.
    async fn store_unicast(
        &self,
        held: &mut Held,
        facts: Vec<(TaskId, UnicastFact)>,
        steps: &[Step],
    ) -> ClientResult<()> {
        let decided = Decided::ByTask;
        let stored = self.store_decided(held, decided, facts, steps).await?;
        stored.map_err(|Behind| AskAgain::NotStored.into())
    }

    /// Stores facts, and carries them out; not if they were decided by a queue that another server has changed since.
    async fn store_decided(
        &self,
        held: &mut Held,
        decided: Decided,
        facts: Vec<(TaskId, UnicastFact)>,
        steps: &[Step],
    ) -> ClientResult<Result<(), Behind>> {
        if facts.is_empty() {
            return Ok(Ok(()));
        }
        let at = clock::now();
        // Until it is known what became of it: whoever asked may go away meanwhile.
        held.is_stale = true;
        let applied = self.store.apply_queue(at, decided, facts.clone()).await?;
        let QueueApplied::Stored {
            conflicts,
            before,
            after,
        } = applied
        else {
            return Ok(Err(Behind));
        };
        if !conflicts.is_empty() {
            // Another program was faster.
            return Err(AskAgain::NotStored.into());
        }
        let is_known = before == held.turn;
        held.turn = after;
        held.queue.apply(steps);
        for (id, fact) in &facts {
            let Some(task) = held.tasks.get_mut(id) else {
                continue;
            };
            Arc::make_mut(&mut task.is).apply(at, fact);
            let line = format!("task {id}: {}", text::unicast_fact(fact));
            let subject = Subject::Host(task.is.host_name.clone());
            let level = match fact {
                UnicastFact::Ended {
                    reason: Reason::ClientFailed { .. },
                    ..
                } => Level::Warn,
                _ => Level::Info,
            };
            self.log.line(at, level, &subject, &line);
            if let UnicastFact::Ended { .. } = fact {
                held.tasks.remove(id);
                held.queue.remove(*id);
            }
        }
        held.is_stale = !is_known;
        self.unicasts.publish(held);
        self.sessions.askers().all_changed();
        Ok(Ok(()))
    }

    /// Takes places and slots from those that are silent, and looks what other programs have changed, until the server
    /// ends.
    pub async fn follow_unicasts(&self) {
        let mut tick = tokio::time::interval(LOOK_PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.sweep_unicasts().await {
                tracing::warn!("server: looking after the queue: {error:?}; trying again");
            }
        }
    }

    async fn sweep_unicasts(&self) -> ClientResult<()> {
        let mut held = self.unicasts().await?;
        let moved = held.queue.take_moved();
        if !moved.is_empty() {
            self.store.hear_machines(moved).await?;
        }
        let signs = self.store.queue_signs().await?;
        let is_behind = signs.as_ref().is_some_and(|signs| signs.turn != held.turn);
        if is_behind || self.store.is_shared_with_fog() {
            self.read_unicasts(&mut held).await?;
        }
        if let Some(signs) = signs {
            hear_of(&mut held, &signs);
            if is_behind {
                // There may be a slot for one that waits here.
                self.sessions.askers().all_changed();
            }
        }
        let steps = held.queue.lost(Instant::now());
        let facts = steps.iter().map(|step| (step.task(), UnicastFact::Left));
        let (decided, facts) = (Decided::In(held.turn), facts.collect());
        let stored = self.store_decided(&mut held, decided, facts, &steps);
        if let Err(Behind) = stored.await? {
            tracing::debug!("server: another server was faster; the next look finds what is left");
        }
        Ok(())
    }
}

/// Another server has changed the queue.
#[derive(Debug)]
struct Behind;

/// Takes in which servers hear the machines.
fn hear_of(held: &mut Held, signs: &QueueSigns) {
    held.presence.look(&signs.shown);
    let presence = &held.presence;
    let hearer = |task: TaskId| match signs.hearers.get(&task) {
        None => Hearer::Unknown,
        Some(holder) if *holder == signs.own => Hearer::Here,
        Some(holder) if presence.is_gone(holder) => Hearer::Gone,
        Some(_) => Hearer::Elsewhere,
    };
    held.queue.hear_of(Instant::now(), hearer);
}

/// How long somebody waits for their turn.
const TURN_LIMIT: Duration = Duration::from_secs(8);

/// Between two looks at the queue.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Files of images that are sent over HTTP at a time: a thread and 128 KiB each while it is read.
const DATA_READERS: usize = 128;
