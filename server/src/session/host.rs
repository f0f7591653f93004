//! One host in a session.

use std::net::Ipv4Addr;
use std::time::Instant;

use fog::task::State;

/// How far a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostStatus {
    /// Nothing heard of it.
    Expected,
    /// Told to go; not yet at the rendezvous.
    CheckedIn,
    /// At the rendezvous.
    Connected,
    /// Receives the present stream.
    Receiving,
    /// Acknowledged the last stream; not yet at the next rendezvous, or finishing.
    Between,
    /// Went away by itself; its report is awaited for a moment.
    Leaving {
        /// The result, if none comes.
        text: String,
    },
    /// Out.
    Ended(Ending),
}

/// How and why a host's part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// State of the task.
    pub(super) state: State,
    /// A person cancelled it: no failure of the session.
    pub(super) is_wish: bool,
    /// A sentence.
    pub(super) text: String,
}

impl Ending {
    pub(super) fn complete() -> Self {
        Self {
            state: State::Complete,
            is_wish: false,
            text: "the client reported that all is written".into(),
        }
    }

    pub(super) fn failed(text: String) -> Self {
        Self {
            state: State::Failed,
            is_wish: false,
            text,
        }
    }

    /// FOG cancels the task of a host that never checked in; for the session it is a failure.
    pub(super) fn missing(text: String) -> Self {
        Self {
            state: State::Cancelled,
            is_wish: false,
            text,
        }
    }

    pub(super) fn cancelled(text: String) -> Self {
        Self {
            state: State::Cancelled,
            is_wish: true,
            text,
        }
    }
}

/// A host.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) status: HostStatus,
    /// When the status began.
    pub(super) since: Instant,
    /// Where it checked in from.
    pub(super) address: Option<Ipv4Addr>,
    /// Whether it called itself one of our agents.
    pub(super) is_agent: bool,
    /// Last request.
    pub(super) last_contact: Option<Instant>,
    /// Whether a stream began with it.
    pub(super) has_received: bool,
    /// Streams acknowledged to the end.
    pub(super) streams_done: usize,
    /// Times that it could not use the share.
    pub(super) blames: u32,
}

impl Host {
    pub(super) fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            status: HostStatus::Expected,
            since: now,
            address: None,
            is_agent: false,
            last_contact: None,
            has_received: false,
            streams_done: 0,
            blames: 0,
        }
    }

    pub(super) fn set_status(&mut self, now: Instant, status: HostStatus) {
        if self.status != status {
            self.status = status;
            self.since = now;
        }
    }

    /// Still takes part.
    pub(super) fn is_live(&self) -> bool {
        !matches!(
            self.status,
            HostStatus::Leaving { .. } | HostStatus::Ended(_)
        )
    }

    /// Has its result.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.status, HostStatus::Ended(_))
    }

    /// Checked in and still part of the session.
    pub(super) fn is_checked_in(&self) -> bool {
        self.is_live() && self.status != HostStatus::Expected
    }

    /// At the rendezvous or receiving.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.status, HostStatus::Connected | HostStatus::Receiving)
    }
}
