//! What a session tells clients and people.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::store::StreamName;
use fog::task::State;
use fos_api::Stage;

use super::core::{Core, Phase};
use super::host::{Host, HostStatus};
use crate::store::HostId;

/// A snapshot of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it does.
    pub stage: Stage,
    /// Hosts that are expected or present at this stage.
    pub expected: u32,
    /// Of these, hosts that checked in.
    pub checked_in: u32,
    /// Of these, hosts at the rendezvous or receiving.
    pub connected: u32,
    /// Names of hosts that are waited for.
    pub missing: Vec<String>,
    /// Age of the stage.
    pub stage_age: Duration,
    /// Time left until the wait for missing hosts ends.
    pub starts_in: Option<Duration>,
    /// A sentence.
    pub text: String,
    /// The hosts by name.
    pub hosts: Vec<HostView>,
}

/// A host in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// Number.
    pub id: HostId,
    /// Name.
    pub name: String,
    /// Address that it checked in from.
    pub address: Option<Ipv4Addr>,
    /// State of its task.
    pub state: State,
    /// What it does, or why it ended.
    pub text: String,
    /// Age of that.
    pub age: Duration,
    /// Streams acknowledged to the end.
    pub streams_done: usize,
    /// Time since its last request or rendezvous.
    pub silent: Option<Duration>,
}

impl Core {
    /// A snapshot.
    #[must_use]
    pub fn view(&self, now: Instant) -> View {
        let mut hosts: Vec<HostView> = self
            .hosts
            .iter()
            .map(|(id, host)| self.host_view(now, *id, host))
            .collect();
        hosts.sort_by(|a, b| fog::store::natural_cmp(&a.name, &b.name));
        View {
            stage: self.stage(),
            expected: count(self.hosts.values().filter(|host| host.is_live()).count()),
            checked_in: self.checked_in_count(),
            connected: count(self.connected_count()),
            missing: self.missing(),
            stage_age: now.duration_since(self.since),
            starts_in: self.starts_in(now),
            text: self.text(now),
            hosts,
        }
    }

    pub(super) fn checked_in_count(&self) -> u32 {
        count(
            self.hosts
                .values()
                .filter(|host| host.is_checked_in())
                .count(),
        )
    }

    pub(super) fn connected_count(&self) -> usize {
        self.hosts
            .values()
            .filter(|host| host.is_connected())
            .count()
    }

    /// Names of live hosts that are not connected, in natural order.
    pub(super) fn missing(&self) -> Vec<String> {
        let missing = self
            .hosts
            .values()
            .filter(|host| host.is_live() && !host.is_connected());
        let mut names: Vec<String> = missing.map(|host| host.name.clone()).collect();
        names.sort_by(|a, b| fog::store::natural_cmp(a, b));
        names
    }

    /// Name of the stream that is waited for, being sent or was sent last.
    pub(super) fn stream_name(&self) -> StreamName {
        let name = self.plan.streams.get(self.stream_index());
        name.cloned().unwrap_or_else(|| StreamName::of_file(""))
    }

    /// State and text of the end: complete only if every host that was not cancelled by a person
    /// is complete.
    pub(super) fn summary(&self) -> (State, String) {
        let endings = self.hosts.values().filter_map(|host| match &host.status {
            HostStatus::Ended(ending) => Some((host, ending)),
            _ => None,
        });
        let mut complete = 0;
        let mut wishes = 0;
        let mut troubles = Vec::new();
        for (host, ending) in endings {
            match ending.state {
                State::Complete => complete += 1,
                _ if ending.is_wish => wishes += 1,
                _ => troubles.push(format!("{}: {}", host.name, ending.text)),
            }
        }
        let total = self.hosts.len();
        if troubles.is_empty() && complete == 0 {
            return (State::Cancelled, "every host was cancelled".into());
        }
        let mut text = format!("{complete} of {total} hosts complete");
        if wishes > 0 {
            text.push_str(&format!(", {wishes} cancelled"));
        }
        if troubles.is_empty() {
            return (State::Complete, text);
        }
        let shown: Vec<String> = troubles.iter().take(MAX_TROUBLES).cloned().collect();
        text.push_str(&format!(". {}", shown.join("; ")));
        if troubles.len() > shown.len() {
            text.push_str(&format!("; and {} more", troubles.len() - shown.len()));
        }
        (State::Failed, text)
    }

    fn starts_in(&self, now: Instant) -> Option<Duration> {
        let (from, wait) = match self.phase {
            Phase::Gathering { stream: 0 } => (self.first_check_in?, self.plan.max_wait),
            Phase::Gathering { .. } => (self.since, self.plan.stream_wait),
            _ => return None,
        };
        Some((from + wait).saturating_duration_since(now))
    }

    fn text(&self, now: Instant) -> String {
        let name = self.stream_name();
        let number = self.stream_index() + 1;
        let total = self.plan.streams.len();
        match &self.phase {
            Phase::Gathering { stream: 0 } if self.first_check_in.is_none() => {
                "waiting for the first host to check in: boot the machines from the network".into()
            }
            Phase::Gathering { .. } | Phase::Starting { .. } => {
                let missing = self.missing();
                if missing.is_empty() {
                    return format!("starting {name} (stream {number} of {total})");
                }
                let shown = missing
                    .iter()
                    .take(10)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                let more = match missing.len().saturating_sub(10) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let wait = match self.starts_in(now) {
                    Some(left) if number == 1 => {
                        format!("; starts without them in {} s", left.as_secs())
                    }
                    Some(left) => format!("; goes on without them in {} s", left.as_secs()),
                    None => String::new(),
                };
                format!(
                    "waiting for {} of {} hosts before {name} (stream {number} of {total}): \
                     {shown}{more}{wait}",
                    missing.len(),
                    self.hosts.values().filter(|host| host.is_live()).count(),
                )
            }
            Phase::Sending { .. } => format!("sending {name} (stream {number} of {total})"),
            Phase::Finishing => {
                let left = self.hosts.values().filter(|host| host.is_live()).count();
                format!("all {total} streams are sent; waiting for the reports of {left} hosts")
            }
            Phase::Ended { state, text } => format!("{state}: {text}"),
        }
    }

    fn host_view(&self, now: Instant, id: HostId, host: &Host) -> HostView {
        let name = self.stream_name();
        let (state, text) = match &host.status {
            HostStatus::Expected => (State::Queued, "not checked in".into()),
            HostStatus::CheckedIn => (
                State::InProgress,
                "checked in; not yet connected to the sender".to_owned(),
            ),
            HostStatus::Connected => (State::InProgress, format!("connected for {name}")),
            HostStatus::Receiving => (State::InProgress, format!("receiving {name}")),
            HostStatus::Between if matches!(self.phase, Phase::Finishing) => (
                State::InProgress,
                "received everything; has not reported its end".to_owned(),
            ),
            HostStatus::Between => (State::InProgress, format!("not yet back for {name}")),
            HostStatus::Leaving { text } => {
                (State::InProgress, format!("{text}; waiting for its report"))
            }
            HostStatus::Ended(ending) => (ending.state, ending.text.clone()),
        };
        HostView {
            id,
            name: host.name.clone(),
            address: host.address,
            state,
            text,
            age: now.duration_since(host.since),
            streams_done: host.streams_done,
            silent: host.last_contact.map(|at| now.duration_since(at)),
        }
    }
}

/// Hosts whose trouble is told in the session's result; all are in the status.
const MAX_TROUBLES: usize = 20;

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
