//! What a driver needs of a protocol core, whatever the protocol.

use std::net::SocketAddrV4;
use std::time::Instant;

/// A protocol as a state machine. Sockets, clocks and threads are the driver's.
///
/// After any `handle_*`: [`poll_transmit`](Self::poll_transmit) until there is `None`, then
/// [`poll_timeout`](Self::poll_timeout).
pub trait Core {
    /// Takes in a datagram that came from `from`.
    fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, datagram: &[u8]);

    /// Serves the timers that are due.
    fn handle_timeout(&mut self, now: Instant);

    /// Clears `buffer` and writes the next datagram into it; `None` if there is none.
    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit>;

    /// When to call [`handle_timeout`](Self::handle_timeout).
    fn poll_timeout(&self) -> Option<Instant>;
}

/// A socket of the driver, by its position in the list that the driver was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketNo(pub usize);

impl SocketNo {
    /// The one that is bound to the port of the role. Every driver has it.
    pub const MAIN: Self = Self(0);
}

/// Where the datagram just written into the caller's buffer has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the datagram is in the buffer and counts as sent"]
pub struct Transmit {
    /// The socket that it leaves by.
    pub by: SocketNo,
    /// Unicast, broadcast or multicast destination.
    pub to: SocketAddrV4,
}

impl Transmit {
    /// By the socket of the role.
    pub fn main(to: SocketAddrV4) -> Self {
        Self {
            by: SocketNo::MAIN,
            to,
        }
    }
}

/// Makes a [`Core`] of a state machine that has the same methods of its own, so that whoever drives one by
/// hand need not know the trait.
macro_rules! core_of {
    ($machine:ty) => {
        impl $crate::core::Core for $machine {
            fn handle_datagram(
                &mut self,
                now: ::std::time::Instant,
                from: ::std::net::SocketAddrV4,
                datagram: &[u8],
            ) {
                Self::handle_datagram(self, now, from, datagram);
            }

            fn handle_timeout(&mut self, now: ::std::time::Instant) {
                Self::handle_timeout(self, now);
            }

            fn poll_transmit(
                &mut self,
                now: ::std::time::Instant,
                buffer: &mut Vec<u8>,
            ) -> Option<$crate::core::Transmit> {
                Self::poll_transmit(self, now, buffer)
            }

            fn poll_timeout(&self) -> Option<::std::time::Instant> {
                Self::poll_timeout(self)
            }
        }
    };
}

pub(crate) use core_of;
