//! The sending end.

mod config;
mod event;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

pub use config::{
    ConfigError, DataRouting, DropPolicy, Duplex, SenderConfig, SliceLimits, StartRule,
};
pub use event::{
    GiveUpReason, Outcome, Participant, RefuseReason, SenderEvent, SenderStatistics, StartReason,
};

use crate::udpcast::Transmit;

/// The sender's state machine.
pub struct Sender {
    config: SenderConfig,
}

impl Sender {
    /// A sender in rendezvous; the first HELLO is due at once.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: SenderConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let _ = now;
        Ok(Self { config })
    }
    /// Takes in a datagram that came from `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, datagram: &[u8]) {
        let _ = (now, from, datagram);
    }
    /// Serves the timers; call when [`poll_timeout`](Self::poll_timeout) is reached.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
    /// Starts the transfer with the participants there are.
    pub fn start(&mut self, now: Instant) {
        let _ = now;
    }
    /// Replaces the expected receivers; may start the transfer. Without effect after the start.
    pub fn set_expected(&mut self, now: Instant, expected: &[Ipv4Addr]) {
        let _ = (now, expected);
    }
    /// Gives a participant up.
    pub fn remove(&mut self, now: Instant, participant: Ipv4Addr) {
        let _ = (now, participant);
    }
    /// Bytes of input wanted now; 0 before the start and while enough is buffered.
    #[must_use]
    pub fn input_room(&self) -> usize {
        0
    }
    /// Takes the next bytes of the stream, at most [`input_room`](Self::input_room).
    pub fn push_input(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }
    /// There is no more input.
    pub fn finish_input(&mut self) {}
    /// Writes the next datagram into `buf` (cleared first); poll until `None`.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        let _ = now;
        buf.clear();
        None
    }
    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<SenderEvent> {
        None
    }
    /// Everything is over: the last event has been or can be polled.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        false
    }
    /// All who take or took part.
    pub fn participants(&self) -> impl Iterator<Item = Participant> {
        std::iter::empty()
    }
    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> SenderStatistics {
        SenderStatistics {
            slice_size: self.config.first_slice(),
            ..SenderStatistics::default()
        }
    }
}
