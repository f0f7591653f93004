//! Both ends over sealed datagrams: the state machines of [`sender`](super::sender) and
//! [`receiver`](super::receiver) with keys and bytes.

mod assembly;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

pub use assembly::Frame;
pub use receiver::{ReceiverEndpoint, ReceiverEndpointConfig, ReceiverEvent};
pub use sender::{SenderEndpoint, SenderEndpointConfig, Symbols};

/// Datagrams that were not taken in, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of another version, type, length, session or sender.
    pub foreign: u64,
    /// Of an epoch whose key is not there.
    pub epoch: u64,
    /// Did not open, or has a wrong signature.
    pub forged: u64,
    /// Of a client that is not known.
    pub unknown: u64,
    /// Is not newer than the last.
    pub replayed: u64,
    /// Opened, and did not make sense.
    pub malformed: u64,
}
