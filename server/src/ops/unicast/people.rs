//! What people do with these tasks.

use std::sync::Arc;
use std::time::Instant;

use fog::task::State;

use crate::clock;
use crate::domain::queue::Use;
use crate::domain::unicast::{UnicastFact, UnicastTask};
use crate::domain::{NodeId, Reason, TaskId};
use crate::ops::clients::ClientError;
use crate::ops::deploy::Prepared;
use crate::ops::{DeployError, DeployRequest, DeployWarning, Ops};
use crate::session::ClientReport;
use crate::store::{NewUnicast, StoreError, UnicastQuery};

/// What is wanted of new tasks.
#[derive(Debug, Clone)]
pub struct UnicastRequest {
    /// Image, hosts, and what becomes of the machines; the wait does not count.
    pub deploy: DeployRequest,
    /// Whether the machines need not wait for a slot.
    pub is_forced: bool,
}

/// New tasks.
#[derive(Debug, Clone)]
pub struct TasksCreated {
    /// Their numbers, in the order of the hosts.
    pub tasks: Vec<TaskId>,
    /// What people should know.
    pub warnings: Vec<DeployWarning>,
}

/// A task for whoever asks.
#[derive(Debug, Clone)]
pub struct TaskState {
    /// The task.
    pub task: Arc<UnicastTask>,
    /// How many wait before it, if it waits.
    pub in_front: Option<u32>,
    /// What its machine says of itself.
    pub report: ClientReport,
    /// Seconds since its machine was heard last, if it was.
    pub silent_seconds: Option<u64>,
}

/// All tasks and nodes for whoever asks.
#[derive(Debug, Clone, Default)]
pub struct UnicastStatus {
    /// The active ones and the newest, newest first.
    pub tasks: Vec<TaskState>,
    /// How each node is used.
    pub nodes: Vec<(NodeId, Use)>,
}

/// Why a task was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelTaskError {
    /// No such task.
    #[error("there is no task {0} of a machine alone; fos-server status lists them")]
    NoTask(TaskId),
    /// It is over.
    #[error("task {0} is already over: {1}")]
    Over(TaskId, State),
    /// Another program changed it, or the database does not answer.
    #[error(
        "task {0} was changed by another program meanwhile, or the database does not answer: look at \
         fos-server status, and cancel it again if it is not over"
    )]
    Changed(TaskId),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ops {
    /// Checks everything that can be checked, then creates a task for each host.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is created then.
    pub async fn deploy_alone(&self, wanted: &UnicastRequest) -> Result<TasksCreated, DeployError> {
        let Prepared {
            image,
            checked_at,
            hosts,
            mut warnings,
        } = self.prepare(&wanted.deploy).await?;
        let name = wanted.deploy.name.as_ref().unwrap_or(&image.name);
        let new = NewUnicast {
            name: fog::encoding::printable(name, 200),
            image: image.id,
            checked_at,
            hosts: hosts.iter().map(|host| host.id).collect(),
            is_shutdown: wanted.deploy.is_shutdown,
            is_debug: wanted.deploy.is_debug,
            is_forced: wanted.is_forced,
        };
        let tasks = self.store.create_unicast(clock::now(), new).await?;
        self.read_unicasts_soon().await;
        let ids = hosts.iter().map(|host| host.id);
        self.sessions.askers().changed(ids);
        if wanted.deploy.is_woken
            && let Err(error) = self.wake_hosts(&hosts).await
        {
            warnings.push(DeployWarning::NotWoken(error.to_string()));
        }
        Ok(TasksCreated { tasks, warnings })
    }

    /// They are stored: whoever needs them reads them, if it is not possible now.
    pub(in crate::ops) async fn read_unicasts_soon(&self) {
        let mut held = self.unicasts.held.lock().await;
        held.is_stale = true;
        if let Err(error) = self.read_unicasts(&mut held).await {
            tracing::warn!("server: reading the tasks of machines alone: {error}");
        }
    }

    /// Cancels a task. When this returns, it is stored.
    ///
    /// # Errors
    /// If there is nothing to cancel, or it is not stored yet.
    pub async fn cancel_task(&self, id: TaskId) -> Result<(), CancelTaskError> {
        let found = self.store.unicast(UnicastQuery::One(id)).await?;
        let task = found.into_iter().next();
        let task = task.ok_or(CancelTaskError::NoTask(id))?;
        if !task.state.is_active() {
            return Err(CancelTaskError::Over(id, task.state));
        }
        let ended = UnicastFact::Ended {
            state: State::Cancelled,
            reason: Reason::TaskCancelled,
        };
        let stored = async {
            let mut held = self.unicasts().await?;
            let facts = vec![(id, ended)];
            self.store_unicast(&mut held, facts, &[]).await
        };
        match stored.await {
            Ok(()) => Ok(()),
            Err(ClientError::Store(error)) => Err(error.into()),
            Err(ClientError::Refused(_) | ClientError::Internal(_)) => {
                Err(CancelTaskError::Changed(id))
            }
        }
    }

    /// Cancels every active task; answers those that were, and why others were not.
    ///
    /// # Errors
    /// If the database does not say which there are.
    pub async fn cancel_all_tasks(
        &self,
    ) -> Result<(Vec<TaskId>, Vec<CancelTaskError>), StoreError> {
        let (mut cancelled, mut failed) = (Vec::new(), Vec::new());
        for task in self.store.unicast(UnicastQuery::Active).await? {
            match self.cancel_task(task.id).await {
                Ok(()) => cancelled.push(task.id),
                // It has ended by itself meanwhile.
                Err(CancelTaskError::Over(..) | CancelTaskError::NoTask(_)) => {}
                Err(error) => failed.push(error),
            }
        }
        Ok((cancelled, failed))
    }

    /// The active tasks and the newest, and how the nodes are used.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn unicast_status(&self, limit: u32) -> Result<UnicastStatus, StoreError> {
        let newest = self.store.unicast(UnicastQuery::Newest(limit)).await?;
        let active = self.store.unicast(UnicastQuery::Active).await?;
        let now = Instant::now();
        // What the database says; a queue that waits for it keeps nobody from looking.
        let held = self.unicasts.held.try_lock().ok();
        let mut tasks: Vec<TaskState> = newest
            .into_iter()
            .chain(active)
            .map(|task| {
                let held = held.as_ref();
                let in_front = held.and_then(|held| held.queue.in_front(task.id));
                let heard = held.and_then(|held| held.queue.last_heard(task.id));
                let known = held.and_then(|held| held.tasks.get(&task.id));
                TaskState {
                    in_front,
                    report: known.map(|known| known.report.clone()).unwrap_or_default(),
                    silent_seconds: heard
                        .filter(|_| task.machine.is_some())
                        .map(|heard| now.saturating_duration_since(heard).as_secs()),
                    task: Arc::new(task),
                }
            })
            .collect();
        tasks.sort_by_key(|state| std::cmp::Reverse(state.task.id));
        tasks.dedup_by_key(|state| state.task.id);
        let nodes = match (
            &held,
            tasks.iter().any(|state| state.task.state.is_active()),
        ) {
            (Some(held), true) => held.queue.uses().into_iter().collect(),
            _ => Vec::new(),
        };
        Ok(UnicastStatus { tasks, nodes })
    }
}
