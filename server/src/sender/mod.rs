//! The sender of one stream: what a session asks of it, and what it tells.

mod rejecting;
pub mod udpcast;
mod wake;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cast_net::Interface;
use cast_net::udpcast::sender::SlowPolicy;
use fog::Mac;
use tokio::sync::mpsc;

use crate::domain::multicast::Duplex;
use crate::domain::session::Departure;
use crate::domain::session::core::{StopKind, StreamOutcome};
use crate::imagestore::Source;

/// How long after the end of a session its rendezvous rejects whoever comes: a client of FOG comes seconds or
/// minutes after it was told to go, as it writes the partition table first.
pub const REJECTING: Duration = Duration::from_secs(300);

/// What a sender is to do.
#[derive(Debug)]
pub struct StreamJob {
    /// Position of the stream; comes back with every event.
    pub index: usize,
    /// Base port.
    pub port: u16,
    /// Where to send.
    pub interface: Interface,
    /// Receivers that are let in.
    pub admitted: Vec<Ipv4Addr>,
    /// The bytes; read only after [`Transmission::start`].
    pub source: Source,
    /// Silence after which receivers are dropped even if nobody answers.
    pub silence_limit: Duration,
    /// How long the disk of one receiver may hold up all others; zero: without end.
    pub disk_limit: Duration,
    /// Whether a part of the stream never looks whole: then a source that fails ends it early.
    pub tells_its_length: bool,
    /// Limit in bit/s.
    pub max_bitrate: Option<u64>,
    /// The group of the data; `None` for udpcast's choice.
    pub group: Option<Ipv4Addr>,
    /// Whether a slice is sent while the one before is acknowledged.
    pub duplex: Duplex,
    /// What becomes of a receiver that is much slower than the others.
    pub slow: SlowPolicy,
}

/// What a sender tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderEvent {
    /// A new participant.
    Joined(Ipv4Addr),
    /// A participant is gone before the end.
    Departed(Ipv4Addr, Departure),
    /// Data flows.
    Started,
    /// All is acknowledged by those who are left.
    Ended(Vec<(Ipv4Addr, StreamOutcome)>),
    /// Nothing more will come.
    Failed(String),
    /// Nothing more will come: there was no place to send from, which may be there later.
    NotOpened(String),
    /// These have not acknowledged what all others have.
    Slow(Vec<SlowReceiver>),
    /// A line for the session's log.
    Note(String),
}

/// A receiver that the others wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowReceiver {
    /// Who.
    pub address: Ipv4Addr,
    /// How long it has been silent.
    pub silent: Duration,
    /// Whether it acknowledged anything of this stream.
    pub has_acknowledged: bool,
}

/// Counters of the present stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Stream bytes that every receiver has acknowledged.
    pub bytes_acked: u64,
    /// Data blocks sent, repeats included.
    pub blocks_sent: u64,
    /// Data blocks sent again.
    pub blocks_repeated: u64,
}

impl Counters {
    /// Share of the blocks that were sent again.
    #[must_use]
    pub fn repeated_percent(&self) -> f64 {
        if self.blocks_sent == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "for display only")]
        let share = self.blocks_repeated as f64 / self.blocks_sent as f64;
        share * 100.0
    }
}

impl Counters {
    /// A number of blocks in percent of those that were sent for the first time; `None` before the first one.
    #[must_use]
    pub fn share_of_new(&self, blocks: u64) -> Option<f64> {
        let new = self.blocks_sent.saturating_sub(self.blocks_repeated);
        #[expect(clippy::cast_precision_loss, reason = "for display only")]
        let share = blocks as f64 * 100.0 / new.max(1) as f64;
        (new > 0).then_some(share)
    }
}

/// What a receiver of the present stream got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Stream bytes that it has acknowledged.
    pub bytes_acked: u64,
    /// Data blocks that it asked for again.
    pub blocks_again: u64,
}

/// By address; as many as the protocol can have at most.
pub type Receivers = HashMap<Ipv4Addr, Received>;

/// Counters shared with the sender's thread.
#[derive(Debug, Clone, Default)]
pub struct SharedCounters(Arc<Mutex<(Counters, Receivers)>>);

impl SharedCounters {
    /// The counters now.
    #[must_use]
    pub fn get(&self) -> Counters {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The receivers now.
    #[must_use]
    pub fn receivers(&self) -> Receivers {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.1.clone()
    }

    /// Replaces them.
    pub fn set(&self, counters: Counters, receivers: Receivers) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (counters, receivers);
    }
}

/// An event with the index of its stream.
pub type StreamEvent = (usize, SenderEvent);

/// The way of events from a sender to its session. Bounded: whoever is on the network can cause
/// lines for the log, and a session may be slow while its database is.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<StreamEvent>,
    /// Lines left out because the session did not keep up.
    left_out: Arc<AtomicU64>,
}

/// Events that may wait, some 100 bytes each.
const QUEUE: usize = 4096;

impl Events {
    /// A new one with its other end.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<StreamEvent>) {
        let (queue, events) = mpsc::channel(QUEUE);
        let left_out = Arc::default();
        (Self { queue, left_out }, events)
    }

    /// Tells an event. What the session must know waits for a place in the queue; the rest is left
    /// out if there is none. Not for asynchronous code: it may block.
    pub fn tell(&self, index: usize, event: SenderEvent) {
        if event.is_dispensable() {
            if self.queue.try_send((index, event)).is_err() {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // An error means that the session is gone: nobody wants to know.
        drop(self.queue.blocking_send((index, event)));
    }

    /// Tells an event if there is a place for it.
    #[cfg(test)]
    pub(crate) fn try_tell(&self, index: usize, event: SenderEvent) {
        self.queue.try_send((index, event)).unwrap();
    }

    fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

impl SenderEvent {
    /// Whether it comes again, or is only for people.
    fn is_dispensable(&self) -> bool {
        matches!(self, Self::Slow(_) | Self::Note(_))
    }
}

/// Opens senders. The network, or a replacement in tests.
pub trait Sender: Send + Sync + 'static {
    /// The network card that leads to a client.
    ///
    /// # Errors
    /// If none does.
    fn route_to(&self, client: IpAddr) -> anyhow::Result<Interface>;

    /// Whether a port pair is free at one of our addresses.
    ///
    /// # Errors
    /// If it is not: who holds it, in words.
    fn probe_ports(&self, address: Ipv4Addr, base: u16) -> Result<(), String>;

    /// Rejects whoever comes to a rendezvous that is over, for so long or until the port is opened again:
    /// FOG's clients have no time-out.
    fn reject(&self, interface: Interface, base: u16, limit: Duration);

    /// Switches machines on (Wake-on-LAN), by this card or by all that there are; the names of the cards. It may block
    /// for a second.
    ///
    /// # Errors
    /// If nothing was sent.
    fn wake(&self, macs: &[Mac], card: Option<&Interface>) -> anyhow::Result<Vec<String>>;

    /// Opens the rendezvous of a stream; returns at once.
    ///
    /// # Errors
    /// If the system has no resources; trouble with the network comes as an event.
    fn open(
        &self,
        job: StreamJob,
        events: Events,
        counters: SharedCounters,
    ) -> anyhow::Result<Box<dyn Transmission>>;
}

/// A sender that was opened. Dropping it stops the sender.
pub trait Transmission: Send + 'static {
    /// Replaces the receivers that are let in; all others are told that they are not.
    fn admit(&self, addresses: Vec<Ipv4Addr>);
    /// Starts with the receivers that are connected.
    fn start(&self);
    /// Goes on without a receiver.
    fn remove(&self, address: Ipv4Addr);
    /// Ends.
    fn stop(&self, kind: StopKind);
}
