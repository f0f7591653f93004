//! DHCP for IPv4, as far as a client needs it (RFC 2131, options of RFC 2132): messages, a survey of all servers of
//! a network, and a client that takes the answers of one server alone.
//!
//! Pure: the caller has the clock and the socket. Answers are broadcast, so the socket needs no address; it is
//! bound to [`CLIENT_PORT`] of one card.

#![warn(missing_docs, clippy::indexing_slicing)]

mod client;
mod message;
mod survey;

pub use client::{Action, ChosenServer};
pub use message::{Reply, ReplyKind, discover, network, parse, renewal, request};
pub use survey::Survey;

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;

/// No message is longer that a server sends to a client that asked for nothing else.
pub const DATAGRAM_MAX: usize = 2048;
