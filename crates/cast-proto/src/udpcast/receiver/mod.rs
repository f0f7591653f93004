//! The receiving end.

mod config;
mod event;

use std::net::SocketAddrV4;
use std::time::Instant;

pub use config::{ConfigError, ConnectRetry, MIN_WINDOW_BLOCKS, ReceiverConfig};
pub use event::{ReceiveFailure, ReceiverEvent, ReceiverStatistics};

use crate::udpcast::Transmit;

/// The receiver's state machine.
pub struct Receiver {
    config: ReceiverConfig,
}

impl Receiver {
    /// A receiver in rendezvous; the first request is due at once.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: ReceiverConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let _ = now;
        Ok(Self { config })
    }
    /// Takes in a datagram that came from `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, datagram: &[u8]) {
        let _ = (now, from, datagram, &self.config);
    }
    /// Serves the timers; call when [`poll_timeout`](Self::poll_timeout) is reached.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
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
    pub fn poll_event(&mut self) -> Option<ReceiverEvent> {
        None
    }
    /// Asks the sender to start (GO), once, between connection and first data.
    pub fn go(&mut self, now: Instant) {
        let _ = now;
    }
    /// The next complete slice, in order. Taking it makes room: poll for transmits afterwards.
    pub fn take_slice(&mut self) -> Option<Vec<u8>> {
        None
    }
    /// Gives back the memory of a slice for the next.
    pub fn return_buffer(&mut self, buffer: Vec<u8>) {
        let _ = buffer;
    }
    /// Leaves the transfer (DISCONNECT); the failure is `Aborted`.
    pub fn abort(&mut self, now: Instant) {
        let _ = now;
    }
    /// Nothing is left to do: failed, or complete and no longer lingering.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        false
    }
    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> ReceiverStatistics {
        ReceiverStatistics::default()
    }
}
