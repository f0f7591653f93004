//! The queue of the machines that are deployed alone: a node serves as many at a time as it has slots, and who asks
//! first goes first.
//!
//! Decisions are steps, which change nothing by themselves: the caller stores them, and then has them
//! [applied](Queue::apply). So what a machine was told is never more than what is stored.
//!
//! Several servers may have the same queue. Each knows only the machines that ask it: of those that ask another one
//! it judges no silence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{HostId, NodeId, TaskId, Timestamp};

/// Who is served, and who waits.
#[derive(Debug, Clone)]
pub struct Queue {
    /// See [`Rules::timeout`].
    timeout: Duration,
    slots: BTreeMap<NodeId, u32>,
    /// One for each active task, some 60 bytes each.
    entries: BTreeMap<TaskId, Entry>,
}

/// What a queue goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// A machine that was silent for so long loses its place in line, or its slot (`FOG_CHECKIN_TIMEOUT`).
    pub timeout: Duration,
    /// Machines that each node serves at a time (`ngmMaxClients`).
    pub slots: BTreeMap<NodeId, u32>,
}

impl Rules {
    /// Machines that a node serves at a time if nothing else is said.
    pub const SLOTS: u32 = 10;
    /// Silence that costs the place if nothing else is said.
    pub const TIMEOUT: Duration = Duration::from_secs(600);
    /// The least that counts.
    pub const LEAST_TIMEOUT: Duration = Duration::from_secs(180);
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            timeout: Self::TIMEOUT,
            slots: BTreeMap::new(),
        }
    }
}

/// A storage node whose share a host could not use, which is not asked again for a while (`nfsFailures`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeFailure {
    /// The node.
    pub node: NodeId,
    /// The host.
    pub host: HostId,
    /// Until when it is not asked.
    pub until: Timestamp,
}

impl NodeFailure {
    /// How long a node is not asked, in seconds, as FOG has it.
    pub const SECONDS: i64 = 300;
}

/// How far a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has not asked, or has been silent for too long since.
    Absent,
    /// It waits. Who has a lower place goes first; of two with the same one the older task.
    Waiting {
        /// Number.
        place: u64,
    },
    /// It was told to go and has a slot.
    Going,
}

/// A task as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub task: TaskId,
    /// The node that serves it.
    pub node: NodeId,
    /// Whether it need not wait for a slot.
    pub is_forced: bool,
    /// Whether it needs a slot at all: FOG counts deploys only.
    pub takes_slot: bool,
    /// How far it is.
    pub stage: Stage,
}

/// How often the queue was changed, on whichever server. What is decided counts only for the turn that it was decided in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn(pub i64);

/// Which server hears the machine of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearer {
    /// It has asked no server that said so.
    Unknown,
    /// This one.
    Here,
    /// Another one.
    Elsewhere,
    /// Another one that is gone: what it sent has ended.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    node: NodeId,
    is_forced: bool,
    takes_slot: bool,
    stage: Stage,
    /// When its machine was heard last; when this server began, or when that which heard it was gone, if it was not
    /// heard since.
    heard: Instant,
    hearer: Hearer,
    /// Whether other servers are to learn that it is heard here.
    has_moved: bool,
}

/// Something that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A machine gets in line.
    Entered {
        /// Its task.
        task: TaskId,
        /// Its place.
        place: u64,
    },
    /// A machine is told to go.
    Went {
        /// Its task.
        task: TaskId,
    },
    /// A machine that waited has been silent: its place is lost.
    Left {
        /// Its task.
        task: TaskId,
    },
    /// A machine that had a slot has been silent: the slot is free.
    Freed {
        /// Its task.
        task: TaskId,
    },
    /// A machine that lost its slot is at work all the same: it has one again.
    Resumed {
        /// Its task.
        task: TaskId,
    },
}

impl Step {
    /// The task that it is about.
    #[must_use]
    pub fn task(&self) -> TaskId {
        match self {
            Self::Entered { task, .. }
            | Self::Went { task }
            | Self::Left { task }
            | Self::Freed { task }
            | Self::Resumed { task } => *task,
        }
    }
}

/// What a machine that asks is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Begin.
    Go,
    /// All slots are in use.
    NoSlot {
        /// Machines that wait before it.
        in_front: u32,
    },
    /// There are slots, but others are first.
    Behind {
        /// Machines that wait before it.
        in_front: u32,
        /// Free slots.
        open: u32,
    },
}

/// An answer, and what has to be stored before it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// What changes, in this order.
    pub steps: Vec<Step>,
}

/// How a node is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Machines that it serves at a time.
    pub slots: u32,
    /// Machines that it serves; more than it has slots where some were forced.
    pub used: u32,
    /// Machines that wait.
    pub waiting: u32,
}

impl Queue {
    /// With these tasks. None of their machines has been heard: each has its whole time from now on.
    #[must_use]
    pub fn new(now: Instant, rules: Rules, stored: &[Stored]) -> Self {
        let mut queue = Self {
            timeout: rules.timeout,
            slots: rules.slots,
            entries: BTreeMap::new(),
        };
        queue.entries.extend(stored.iter().map(|stored| {
            let entry = Entry::new(stored, now);
            (stored.task, entry)
        }));
        queue
    }

    /// Takes over what is stored now. Whose machine was heard stays known.
    pub fn replace(&mut self, now: Instant, rules: Rules, stored: &[Stored]) {
        let mut next = Self::new(now, rules, stored);
        for (task, entry) in &mut next.entries {
            if let Some(old) = self.entries.get(task) {
                entry.heard = old.heard;
                entry.hearer = old.hearer;
                entry.has_moved = old.has_moved;
            }
        }
        *self = next;
    }

    /// A machine asks whether it may begin; `None` if the queue does not have its task. One that was told to go is
    /// told so again, however often it asks.
    #[must_use]
    pub fn check_in(&self, now: Instant, task: TaskId) -> Option<Decision> {
        let own = self.entries.get(&task)?;
        // It speaks just now, so it is not one of those that are silent.
        let mut steps = self.lost(now);
        let was_lost = steps.iter().any(|step| step.task() == task);
        steps.retain(|step| step.task() != task);
        let place = match own.stage {
            Stage::Going => {
                return Some(Decision {
                    answer: Answer::Go,
                    steps: Vec::new(),
                });
            }
            Stage::Waiting { place } if !was_lost => place,
            // It was silent for too long: it stands behind all others.
            Stage::Waiting { .. } | Stage::Absent => {
                let place = self.next_place();
                steps.push(Step::Entered { task, place });
                place
            }
        };
        let is_lost = |other: &TaskId| steps.iter().any(|step| step.task() == *other);
        let others = self.entries.iter();
        let others = others.filter(|(id, entry)| {
            **id != task && entry.takes_slot && entry.node == own.node && !is_lost(id)
        });
        let (mut used, mut in_front) = (0_u32, 0_u32);
        for (id, entry) in others {
            match entry.stage {
                Stage::Going => used = used.saturating_add(1),
                Stage::Waiting { place: other } if (other, *id) < (place, task) => {
                    in_front = in_front.saturating_add(1);
                }
                Stage::Waiting { .. } | Stage::Absent => {}
            }
        }
        let open = self.slots_of(own.node).saturating_sub(used);
        let answer = if own.is_forced || !own.takes_slot || open > in_front {
            Answer::Go
        } else if open == 0 {
            Answer::NoSlot { in_front }
        } else {
            Answer::Behind { in_front, open }
        };
        if answer == Answer::Go {
            steps.push(Step::Went { task });
        }
        Some(Decision { answer, steps })
    }

    /// A machine is at work, whatever became of its slot.
    #[must_use]
    pub fn at_work(&self, task: TaskId) -> Option<Step> {
        let own = self.entries.get(&task)?;
        (own.stage == Stage::Absent).then_some(Step::Resumed { task })
    }

    /// A machine was heard.
    pub fn heard(&mut self, now: Instant, task: TaskId) {
        if let Some(entry) = self.entries.get_mut(&task) {
            entry.heard = now;
            entry.has_moved |= entry.hearer != Hearer::Here;
            entry.hearer = Hearer::Here;
        }
    }

    /// The tasks whose machines are heard here, while other servers do not know that. They are answered once.
    pub fn take_moved(&mut self) -> Vec<TaskId> {
        let moved = self.entries.iter_mut().filter(|(_, entry)| entry.has_moved);
        moved
            .map(|(task, entry)| {
                entry.has_moved = false;
                *task
            })
            .collect()
    }

    /// Which servers hear the machines, as they have stored it.
    pub fn hear_of(&mut self, now: Instant, hearer: impl Fn(TaskId) -> Hearer) {
        for (task, entry) in &mut self.entries {
            // It has spoken to this one since.
            if entry.has_moved {
                continue;
            }
            let former = std::mem::replace(&mut entry.hearer, hearer(*task));
            // One whose server is gone has its whole time to ask another one.
            if entry.hearer != former && entry.hearer != Hearer::Here {
                entry.heard = now;
            }
        }
    }

    /// When a machine was heard last.
    #[must_use]
    pub fn last_heard(&self, task: TaskId) -> Option<Instant> {
        self.entries.get(&task).map(|entry| entry.heard)
    }

    /// What those lose that have been silent for too long.
    #[must_use]
    pub fn lost(&self, now: Instant) -> Vec<Step> {
        let lost = self.entries.iter().filter_map(|(task, entry)| {
            let silence = now.saturating_duration_since(entry.heard);
            match (entry.stage, entry.hearer) {
                (Stage::Absent, _) | (_, Hearer::Elsewhere) => None,
                // It goes on at another server, or not at all: until then nothing is sent to it.
                (Stage::Going, Hearer::Gone) => Some(Step::Freed { task: *task }),
                _ if silence < self.timeout => None,
                (Stage::Waiting { .. }, _) => Some(Step::Left { task: *task }),
                (Stage::Going, _) => Some(Step::Freed { task: *task }),
            }
        });
        lost.collect()
    }

    /// Carries out what is stored by now.
    pub fn apply(&mut self, steps: &[Step]) {
        for step in steps {
            if let Some(entry) = self.entries.get_mut(&step.task()) {
                entry.stage = match *step {
                    Step::Entered { place, .. } => Stage::Waiting { place },
                    Step::Went { .. } | Step::Resumed { .. } => Stage::Going,
                    Step::Left { .. } | Step::Freed { .. } => Stage::Absent,
                };
            }
        }
    }

    /// A task is over.
    pub fn remove(&mut self, task: TaskId) {
        self.entries.remove(&task);
    }

    /// How many wait before a machine that waits itself.
    #[must_use]
    pub fn in_front(&self, task: TaskId) -> Option<u32> {
        let own = self.entries.get(&task)?;
        let Stage::Waiting { place } = own.stage else {
            return None;
        };
        let before = self.entries.iter().filter(|(id, entry)| {
            let is_before =
                matches!(entry.stage, Stage::Waiting { place: at } if (at, **id) < (place, task));
            is_before && entry.takes_slot && entry.node == own.node
        });
        u32::try_from(before.count()).ok()
    }

    /// How each node is used that has slots or tasks.
    #[must_use]
    pub fn uses(&self) -> BTreeMap<NodeId, Use> {
        let of_node = |node: &NodeId| Use {
            slots: self.slots_of(*node),
            ..Use::default()
        };
        let mut uses: BTreeMap<NodeId, Use> = self
            .slots
            .keys()
            .map(|node| (*node, of_node(node)))
            .collect();
        for entry in self.entries.values().filter(|entry| entry.takes_slot) {
            let node = uses
                .entry(entry.node)
                .or_insert_with(|| of_node(&entry.node));
            match entry.stage {
                Stage::Going => node.used = node.used.saturating_add(1),
                Stage::Waiting { .. } => node.waiting = node.waiting.saturating_add(1),
                Stage::Absent => {}
            }
        }
        uses
    }

    fn slots_of(&self, node: NodeId) -> u32 {
        self.slots.get(&node).copied().unwrap_or(Rules::SLOTS)
    }

    /// Behind all that wait.
    fn next_place(&self) -> u64 {
        let places = self.entries.values().filter_map(|entry| match entry.stage {
            Stage::Waiting { place } => Some(place),
            Stage::Absent | Stage::Going => None,
        });
        places.max().unwrap_or(0).saturating_add(1)
    }
}

impl Entry {
    fn new(stored: &Stored, heard: Instant) -> Self {
        Self {
            node: stored.node,
            is_forced: stored.is_forced,
            takes_slot: stored.takes_slot,
            stage: stored.stage,
            heard,
            hearer: Hearer::Unknown,
            has_moved: false,
        }
    }
}

#[cfg(test)]
mod tests;
