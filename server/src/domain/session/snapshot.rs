//! What a session is doing, for whoever asks.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use fog::store::StreamName;
use fog::task::State;

use super::client::Client;
use super::core::{Core, Phase};
use super::seat::{Seat, SeatStatus};
use crate::domain::{HostId, Refusal};

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it does.
    pub phase: Phase,
    /// Position of the stream that is waited for, being sent or was sent last; from 0.
    pub stream: usize,
    /// Streams in all.
    pub streams: usize,
    /// Its name.
    pub stream_name: StreamName,
    /// Number of the present attempt to send it, over all streams.
    pub run: u32,
    /// Hosts that are still part of it.
    pub expected: u32,
    /// Of these, hosts that checked in.
    pub checked_in: u32,
    /// Of these, hosts at the rendezvous or receiving.
    pub connected: u32,
    /// Names of hosts that the present stream waits for.
    pub missing: Vec<String>,
    /// Hosts that are still to join the session by its name; they are among those that are expected.
    pub joiners: u32,
    /// Whether any host has checked in.
    pub has_check_in: bool,
    /// Age of the phase.
    pub age: Duration,
    /// Time left until the wait for missing hosts ends.
    pub starts_in: Option<Duration>,
    /// Time left until the first host is given up that does not report its end, unless it is heard.
    pub gives_up_in: Option<Duration>,
    /// Whether streams begin with a record; `None` until decided.
    pub has_records: Option<bool>,
    /// How long the stream that is being sent has stood still.
    pub stands_still: Duration,
    /// The hosts by name.
    pub members: Vec<MemberSnapshot>,
}

/// A host at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSnapshot {
    /// Number.
    pub host: HostId,
    /// Name.
    pub name: String,
    /// Address that it checked in from.
    pub address: Option<Ipv4Addr>,
    /// Which client it runs.
    pub agent: Client,
    /// How far it is.
    pub status: SeatStatus,
    /// Age of that.
    pub age: Duration,
    /// Whether data may have reached its disk: a stream began with it.
    pub has_received: bool,
    /// Whether its client may have written anything at all: those of FOG write the partition table as soon as
    /// they are told to go.
    pub may_have_written: bool,
    /// Streams acknowledged to the end.
    pub streams_done: usize,
    /// Time since its last request or rendezvous.
    pub silent: Option<Duration>,
    /// Where its last check-in came from and why it was refused, if it is still expected.
    pub refused: Option<(IpAddr, Refusal)>,
}

impl MemberSnapshot {
    /// State of its task.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.status {
            SeatStatus::Expected => State::Queued,
            SeatStatus::Ended(state, _) => *state,
            _ => State::InProgress,
        }
    }
}

impl Core {
    /// The session now.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let mut members: Vec<MemberSnapshot> = self
            .seats
            .iter()
            .map(|(id, seat)| member(now, *id, seat))
            .collect();
        members.sort_by(|a, b| fog::store::natural_cmp(&a.name, &b.name));
        let live = || self.seats.values().filter(|seat| seat.is_live());
        Snapshot {
            phase: self.phase.clone(),
            stream: self.stream_index(),
            streams: self.plan.streams.len(),
            stream_name: self.stream_name(),
            run: self.run,
            expected: count(live().count()).saturating_add(self.joiners()),
            joiners: self.joiners(),
            checked_in: self.checked_in_count(),
            connected: count(self.connected_count()),
            missing: self.missing(),
            has_check_in: self.first_check_in.is_some(),
            age: now.duration_since(self.since) + self.before,
            starts_in: self.starts_in(now),
            gives_up_in: self.gives_up_in(now),
            has_records: self.has_records,
            stands_still: self.stands_still(now),
            members,
        }
    }

    /// A host of the session now.
    #[must_use]
    pub fn member(&self, now: Instant, host: HostId) -> Option<MemberSnapshot> {
        let seat = self.seats.get(&host)?;
        Some(member(now, host, seat))
    }

    pub(super) fn checked_in_count(&self) -> u32 {
        count(
            self.seats
                .values()
                .filter(|seat| seat.is_checked_in())
                .count(),
        )
    }

    pub(super) fn connected_count(&self) -> usize {
        let connected = self.seats.values().filter(|seat| seat.is_connected());
        connected.count()
    }

    /// Names of the hosts that the present stream waits for, in natural order.
    pub(super) fn missing(&self) -> Vec<String> {
        let stream = self.stream_index();
        let missing = self
            .seats
            .values()
            .filter(|seat| seat.lacks(stream) && !seat.is_connected());
        let mut names: Vec<String> = missing.map(|seat| seat.name.clone()).collect();
        names.sort_by(|a, b| fog::store::natural_cmp(a, b));
        names
    }

    fn starts_in(&self, now: Instant) -> Option<Duration> {
        let (from, wait) = match self.phase {
            Phase::Gathering { .. } if self.awaits_check_ins() => {
                self.first_wait(self.first_check_in?)
            }
            Phase::Gathering { .. } => (self.since, self.plan.stream_wait),
            _ => return None,
        };
        Some(wait.saturating_sub(now.duration_since(from)))
    }

    fn gives_up_in(&self, now: Instant) -> Option<Duration> {
        if self.phase != Phase::Finishing {
            return None;
        }
        let live = self.seats.values().filter(|seat| seat.is_live());
        let first = live.map(|seat| self.report_awaited_since(seat)).min()?;
        Some(self.plan.grace.saturating_sub(now.duration_since(first)))
    }

    /// From when on the time of grace of a host counts.
    pub(super) fn report_awaited_since(&self, seat: &Seat) -> Instant {
        seat.heard().map_or(self.since, |at| at.max(self.since))
    }
}

fn member(now: Instant, host: HostId, seat: &Seat) -> MemberSnapshot {
    MemberSnapshot {
        host,
        name: seat.name.clone(),
        address: seat.address,
        agent: seat.agent.clone(),
        status: seat.status.clone(),
        age: now.duration_since(seat.since) + seat.before,
        has_received: seat.has_received,
        may_have_written: seat.has_received || seat.has_gone,
        streams_done: seat.streams_done,
        silent: seat.heard().map(|at| now.duration_since(at)),
        refused: match seat.status {
            SeatStatus::Expected => seat.refused.clone(),
            _ => None,
        },
    }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
