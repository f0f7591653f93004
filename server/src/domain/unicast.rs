//! A machine that is deployed alone, or whose disk is captured: its task, and what becomes of it.

use std::net::Ipv4Addr;

use fog::task::State;

use super::handout::Ticket;
use super::queue::{Stage, Step, Stored};
use super::session::Client;
use super::{HostId, ImageId, NodeId, Reason, TaskId, Timestamp};

/// What a machine does alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// It is deployed: FOG's types 1, 15 and 17.
    Deploy,
    /// Its disk is captured: FOG's types 2 and 16.
    Capture,
}

impl TaskKind {
    /// How FOG's clients call it (`type=`).
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy => "down",
            Self::Capture => "up",
        }
    }
}

/// A task of FOG's types 1, 2, 15, 16 and 17.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnicastTask {
    /// Number.
    pub id: TaskId,
    /// What is done.
    pub kind: TaskKind,
    /// Its host.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// Image.
    pub image: ImageId,
    /// The image's name; empty if it is gone.
    pub image_name: String,
    /// The storage node that serves it.
    pub node: NodeId,
    /// State.
    pub state: State,
    /// Whether it need not wait for a slot.
    pub is_forced: bool,
    /// Whether the machine is switched off afterwards.
    pub is_shutdown: bool,
    /// Whether the machine boots to a shell.
    pub is_debug: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its place in line; lower ones are first.
    pub place: u64,
    /// When the machine got in line.
    pub entered_at: Option<Timestamp>,
    /// Since when it has its slot, or when it had one last.
    pub went_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<Reason>,
    /// The machine that asked for it.
    pub machine: Option<Machine>,
    /// How far the machine is, in percent of the partition that it writes.
    pub percent: u8,
}

/// Where a machine asked from, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Address.
    pub address: Ipv4Addr,
    /// What only it was told.
    pub ticket: Option<Ticket>,
    /// Which program it runs.
    pub client: Client,
}

impl UnicastTask {
    /// As its queue sees it.
    #[must_use]
    pub fn stored(&self) -> Stored {
        Stored {
            task: self.id,
            node: self.node,
            is_forced: self.is_forced,
            takes_slot: self.kind == TaskKind::Deploy,
            stage: match self.state {
                State::CheckedIn => Stage::Waiting { place: self.place },
                State::InProgress => Stage::Going,
                _ => Stage::Absent,
            },
        }
    }

    /// Carries out a fact that is stored by now.
    pub fn apply(&mut self, at: Timestamp, fact: &UnicastFact) {
        let before = self.state;
        self.state = fact.state();
        match fact {
            UnicastFact::Entered { place, machine } => {
                // Who takes the place of another machine has waited as long as that one.
                if before != State::CheckedIn || self.place != *place || self.entered_at.is_none() {
                    self.entered_at = Some(at);
                }
                self.place = *place;
                self.went_at = None;
                self.machine = Some(machine.clone());
            }
            UnicastFact::Went { machine } => {
                if before != State::InProgress || self.went_at.is_none() {
                    self.went_at = Some(at);
                }
                self.machine = Some(machine.clone());
            }
            UnicastFact::Left | UnicastFact::Resumed => {}
            UnicastFact::Ended { state, reason } => {
                self.ended_at = Some(at);
                self.reason = Some(reason.clone());
                if *state == State::Complete {
                    self.percent = 100;
                }
            }
        }
    }

    /// Whether its machine was told to go, whatever became of its slot since.
    #[must_use]
    pub fn has_gone(&self) -> bool {
        match self.state {
            State::InProgress => true,
            // In line again, it was restarted.
            State::Queued | State::New => self.went_at.is_some(),
            _ => false,
        }
    }
}

/// Something that becomes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnicastFact {
    /// Its machine gets in line, or another machine takes its place there.
    Entered {
        /// Place.
        place: u64,
        /// Which machine.
        machine: Machine,
    },
    /// Its machine is told to go.
    Went {
        /// Which.
        machine: Machine,
    },
    /// Its machine has neither a place nor a slot any more.
    Left,
    /// Its machine has a slot again.
    Resumed,
    /// It is over.
    Ended {
        /// How.
        state: State,
        /// Why.
        reason: Reason,
    },
}

impl UnicastFact {
    /// What a step of the queue makes of a task, whose machine this is.
    #[must_use]
    pub fn of_step(step: &Step, machine: &Machine) -> Self {
        match step {
            Step::Entered { place, .. } => Self::Entered {
                place: *place,
                machine: machine.clone(),
            },
            Step::Went { .. } => Self::Went {
                machine: machine.clone(),
            },
            Step::Left { .. } | Step::Freed { .. } => Self::Left,
            Step::Resumed { .. } => Self::Resumed,
        }
    }

    /// The state that a task has after it.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Entered { .. } => State::CheckedIn,
            Self::Went { .. } | Self::Resumed => State::InProgress,
            Self::Left => State::Queued,
            Self::Ended { state, .. } => *state,
        }
    }

    /// The states from which it may come. Unlike in a session a machine may lose its place, and its slot.
    #[must_use]
    pub fn sources(&self) -> &'static [State] {
        use State::{CheckedIn, Complete, InProgress, New, Queued};
        match self {
            Self::Entered { .. } => &[New, Queued, CheckedIn],
            Self::Went { .. } => &[New, Queued, CheckedIn, InProgress],
            Self::Left => &[CheckedIn, InProgress],
            Self::Resumed => &[New, Queued],
            Self::Ended { state, .. } => match state {
                Complete => &[InProgress],
                // A failure that is reported after the end is never ignored.
                State::Failed => &[New, Queued, CheckedIn, InProgress, Complete],
                _ => &[New, Queued, CheckedIn, InProgress],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            address: Ipv4Addr::new(10, 0, 0, 7),
            ticket: None,
            client: Client::default(),
        }
    }

    #[test]
    fn what_is_over_stays_over_but_for_a_failure() {
        let machine = machine();
        let ended = |state| UnicastFact::Ended {
            state,
            reason: Reason::Written,
        };
        let facts = [
            UnicastFact::Entered {
                place: 1,
                machine: machine.clone(),
            },
            UnicastFact::Went { machine },
            UnicastFact::Left,
            UnicastFact::Resumed,
            ended(State::Complete),
            ended(State::Cancelled),
        ];
        let is_over = |state: &&State| !state.is_active();
        for fact in facts {
            assert_eq!(fact.sources().iter().find(is_over), None, "{fact:?}");
        }
        let failed = ended(State::Failed);
        assert_eq!(
            failed.sources().iter().find(is_over),
            Some(&State::Complete)
        );
    }
}
