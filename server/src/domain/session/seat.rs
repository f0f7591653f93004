//! One host in a running session.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use fog::task::State;

use super::client::Client;
use crate::domain::handout::Ticket;
use crate::domain::{Reason, Refusal};

/// How far a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatStatus {
    /// Nothing heard of it.
    Expected,
    /// Told to go; not yet at the rendezvous.
    CheckedIn,
    /// At the rendezvous.
    Connected,
    /// Receives the present stream.
    Receiving,
    /// Acknowledged its last stream; not yet at the next rendezvous, or finishing.
    Between,
    /// Went away by itself; its report is awaited for a moment. The reason counts if none comes.
    Leaving(Reason),
    /// Out.
    Ended(State, Reason),
}

/// How a participant went away from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It said goodbye.
    Left,
    /// The sender dropped it after this time.
    Dropped(Duration, DropCause),
}

/// Why the sender dropped a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropCause {
    /// It did not answer.
    Silent {
        /// Whether it acknowledged anything of this stream.
        has_acknowledged: bool,
    },
    /// Its host said that no program listens.
    NotListening,
    /// It answered, but did not get on.
    NoProgress {
        /// Whether any data block of the stream ever reached it.
        has_data: bool,
    },
    /// Its path is much slower than that of the others.
    Slow {
        /// What it got.
        bytes_per_second: u64,
        /// Share of the time that the others waited for it.
        waited_percent: u8,
    },
    /// It answered, but took nothing.
    DiskStandsStill,
}

/// A host.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) name: String,
    pub(super) status: SeatStatus,
    /// When the status began.
    pub(super) since: Instant,
    /// How long it had lasted when the server was started; for people.
    pub(super) before: Duration,
    /// Where it checked in from: only from there anybody acts for it.
    pub(super) address: Option<Ipv4Addr>,
    /// What it checked in with.
    pub(super) ticket: Option<Ticket>,
    /// Whether its kernel arguments were proved at its check-in.
    pub(super) is_proved: bool,
    /// Which client it runs.
    pub(super) agent: Client,
    /// Last request over HTTP.
    pub(super) last_request: Option<Instant>,
    /// Last request or rendezvous.
    pub(super) last_sign: Option<Instant>,
    /// First connection for the first stream.
    pub(super) first_connected: Option<Instant>,
    /// Whether a stream began with it.
    pub(super) has_received: bool,
    /// Whether a client of FOG was told to go.
    pub(super) has_gone: bool,
    /// The stream that it lacked when the server was started, if it may have received a part of it
    /// before.
    pub(super) resumed_in: Option<usize>,
    /// Streams acknowledged to the end: the index of the one that it lacks next.
    pub(super) streams_done: usize,
    /// Times that it could not use the share.
    pub(super) blames: u32,
    /// Where its last check-in came from and why it was refused, if it was.
    pub(super) refused: Option<(IpAddr, Refusal)>,
    /// Notes of refused check-ins.
    pub(super) refusals: u32,
}

impl Seat {
    pub(super) fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            status: SeatStatus::Expected,
            since: now,
            before: Duration::ZERO,
            address: None,
            ticket: None,
            is_proved: false,
            agent: Client::default(),
            last_request: None,
            last_sign: None,
            first_connected: None,
            has_received: false,
            has_gone: false,
            resumed_in: None,
            streams_done: 0,
            blames: 0,
            refused: None,
            refusals: 0,
        }
    }

    pub(super) fn set_status(&mut self, now: Instant, status: SeatStatus) {
        if self.status != status {
            self.status = status;
            self.since = now;
            self.before = Duration::ZERO;
        }
    }

    /// Still takes part.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.status, SeatStatus::Leaving(_) | SeatStatus::Ended(..))
    }

    /// Has its result.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.status, SeatStatus::Ended(..))
    }

    /// Checked in and still part of the session.
    pub(super) fn is_checked_in(&self) -> bool {
        self.is_live() && self.status != SeatStatus::Expected
    }

    /// At the rendezvous or receiving.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.status, SeatStatus::Connected | SeatStatus::Receiving)
    }

    /// Whether it is let in for this stream.
    pub(super) fn awaits(&self, stream: usize) -> bool {
        self.is_checked_in() && self.streams_done == stream
    }

    /// Whether this stream is the next one for it.
    pub(super) fn lacks(&self, stream: usize) -> bool {
        self.is_live() && self.streams_done == stream
    }

    /// Whether it is one of our agents, which can begin a stream again.
    pub(super) fn is_agent(&self) -> bool {
        self.agent.is_agent()
    }

    /// Not at the rendezvous, and silent for so long. One that was restored was heard at that time.
    pub(super) fn is_gone(&self, now: Instant, limit: Duration) -> bool {
        let heard = self.heard().unwrap_or(self.since);
        !self.is_connected() && now.duration_since(heard) >= limit
    }

    /// Another host has its address now.
    pub(super) fn unbind(&mut self, now: Instant) {
        self.set_status(now, SeatStatus::Expected);
        self.address = None;
        self.ticket = None;
        self.first_connected = None;
    }

    /// When it was last heard, over HTTP or at the rendezvous.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.last_sign.max(self.last_request)
    }
}
