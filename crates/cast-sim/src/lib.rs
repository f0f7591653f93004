//! Networks in virtual time, for the tests and benches of protocol cores.
//!
//! [`Host`] runs any [`Core`](cast_proto::core::Core), [`Wire`] carries datagrams between hosts: with
//! delay, loss, duplicates, damage, rates and queues. [`udpcast`] puts a sender and receivers of that
//! protocol together, [`native`] those of our own. Nothing here reads a clock, and all chance comes from one seed.

mod host;
pub mod native;
mod rng;
pub mod udpcast;
mod wire;

use std::time::Instant;

pub use host::Host;
pub use rng::{Rng, seeds};
pub use wire::{Delivery, Link, Wire};

/// The stream that the captures of the original programs carry, and that the tests send.
#[must_use]
pub fn payload(len: usize) -> Vec<u8> {
    let byte = |i: usize| (7 * i + 13 * (i / 256) + 3).to_le_bytes()[0];
    (0..len).map(byte).collect()
}

/// Some instant. Only differences count.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the beginning of time"
)]
pub fn epoch() -> Instant {
    Instant::now()
}
