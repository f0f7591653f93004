//! udpcast over the network: a thread for each transfer, and what belongs to it. The protocol itself is
//! that of [`cast_proto::udpcast`], whose items are here too.

pub(crate) mod address;
pub mod receive;
pub mod send;
mod sockets;

pub use cast_proto::udpcast::*;
