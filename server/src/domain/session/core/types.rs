//! What goes into the state machine of a session, and what comes out.

use std::net::Ipv4Addr;
use std::time::Duration;

use fog::store::StreamName;
use fog::task::State;

use crate::domain::handout::Ticket;
use crate::domain::session::record::Fact;
use crate::domain::session::seat::{Seat, SeatStatus};
use crate::domain::{HostId, Reason, Refusal};

/// What a session has to do, fixed when it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The streams in sending order.
    pub streams: Vec<StreamName>,
    /// Expected hosts with their names.
    pub hosts: Vec<(HostId, String)>,
    /// The first stream waits for so many hosts at least: those that are not in `hosts` may still join.
    pub expected: u32,
    /// Whether hosts that miss the session get another one.
    pub is_followed: bool,
    /// When streams begin with a record.
    pub records: Records,
    /// From the first connection until the first stream starts without the missing hosts.
    pub max_wait: Duration,
    /// From the first check-in, or the end of the last connection, until the session fails if no host
    /// connects.
    pub connect_wait: Duration,
    /// As `max_wait`, between two streams.
    pub stream_wait: Duration,
    /// From the last sign of a client until it is given up after the last stream.
    pub grace: Duration,
    /// How long a client of ours, which asks for the session every few seconds, may be silent
    /// between two streams before it is given up, if another host is heard.
    pub agent_silence: Duration,
    /// How long a host must have been silent before another address is taken for it.
    pub rebind_after: Duration,
    /// How long a stream may stand still until those who hold it up are dropped, or the session
    /// fails if it is not some of its hosts.
    pub stall_limit: Duration,
}

impl Plan {
    /// How long the machine of a host may be silent before another one takes its place. One of FOG's that
    /// was told to go is silent until its receiver runs: meanwhile it writes the partition table.
    pub(super) fn rebind_after(&self, seat: &Seat) -> Duration {
        let was_connected = seat.first_connected.is_some();
        match seat.status {
            SeatStatus::CheckedIn if !seat.is_agent() && !was_connected => {
                self.rebind_after.max(self.connect_wait)
            }
            _ => self.rebind_after,
        }
    }
}

/// When streams begin with the record that names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// If every client of the session is one of ours.
    Auto,
    /// As it was decided.
    Fixed(bool),
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where from.
    pub address: Ipv4Addr,
    /// With which ticket.
    pub ticket: Option<Ticket>,
    /// Whether its kernel arguments are those of this session and no other machine was told them: it
    /// may take the place of one of which that is not known.
    pub is_proved: bool,
}

/// Counters of which one grows while a stream goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Movement {
    /// Bytes read from the image.
    pub read: u64,
    /// Blocks sent for the first time.
    pub sent: u64,
    /// Bytes acknowledged by all.
    pub acked: u64,
}

/// How a participant of a stream ended, as the sender saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOutcome {
    /// Acknowledged everything.
    Completed,
    /// Said goodbye before the end.
    Left,
    /// Did not answer any more, or was dropped.
    Dropped,
}

/// What the surroundings must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open the rendezvous of the stream with this index.
    OpenStream(usize),
    /// Let in receivers at these addresses and no others; in force until the next of its kind.
    Admit(Vec<Ipv4Addr>),
    /// Start the transfer with the receivers that are connected, once all facts before are stored.
    StartTransfer {
        /// Whether the stream begins with a record.
        has_record: bool,
    },
    /// Drop a participant: its host is out of the session, or begins anew.
    Remove(Ipv4Addr),
    /// End the sender, whatever it does.
    StopSender(StopKind),
    /// Store this.
    Store(Fact),
}

/// How a sender is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// At once. Our agents hear of it over HTTP.
    Plain,
    /// So that clients that know nothing but the stream see it end too early, and report. None of
    /// them is removed before. Perhaps the stream has not begun yet.
    EndStream,
}

/// Answer to a completion report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// The task is complete.
    Accepted,
    /// The sender has not yet seen the end of the last stream: answer after its end.
    NotYet,
    /// It is refused.
    Refused(Refusal),
}

/// What the session does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The receivers of a stream are awaited.
    Gathering {
        /// Its index.
        stream: usize,
    },
    /// The order to start was given; the sender has not confirmed it.
    Starting {
        /// Index of the stream.
        stream: usize,
    },
    /// A stream is being sent.
    Sending {
        /// Its index.
        stream: usize,
    },
    /// All is sent; reports are awaited.
    Finishing,
    /// Over.
    Ended {
        /// State of the session.
        state: State,
        /// Why.
        reason: Reason,
    },
}

/// Why a session is not started by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStarted {
    /// It is over.
    Over,
    /// It has begun.
    Started,
    /// No host is at the rendezvous.
    NobodyConnected,
}
