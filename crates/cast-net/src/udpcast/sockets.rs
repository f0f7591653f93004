//! The sockets of a transfer: of a sender as of a receiver.

use std::net::Ipv4Addr;

use crate::io::interface::Interface;
use crate::io::socket::{Endpoint, SocketError};

/// What a transfer sends and hears by.
pub(super) struct Sockets {
    /// The first one sends.
    pub(super) endpoints: Vec<Endpoint>,
    /// Receive buffer of the first one, as the kernel counts it, in bytes.
    pub(super) receive_buffer: usize,
}

/// Opens the socket of the role, on `port` of the interface, and one for each of `heard` (groups and
/// broadcast addresses). Each gets a receive buffer of `receive_buffer` bytes, as far as the system allows.
pub(super) fn open(
    interface: &Interface,
    port: u16,
    ttl: u8,
    receive_buffer: usize,
    heard: impl IntoIterator<Item = Ipv4Addr>,
) -> Result<Sockets, SocketError> {
    let main = Endpoint::main(interface, port, ttl)?;
    let granted = main.grow_receive_buffer(receive_buffer);
    let mut endpoints = vec![main];
    for address in heard {
        let endpoint = Endpoint::listen(interface, address, port)?;
        endpoint.grow_receive_buffer(receive_buffer);
        endpoints.push(endpoint);
    }
    Ok(Sockets {
        endpoints,
        receive_buffer: granted,
    })
}
