//! UDP sockets, each bound to one specific address, so that a transfer hears its own groups only.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use crate::io::interface::Interface;
use crate::io::ports::PortsInUse;

/// Why a socket could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Someone has that address and port.
    #[error("{0}; wait for it or end it, or use another port base on both sides")]
    InUse(PortsInUse),
    /// The kernel made no socket.
    #[error("cannot create a UDP socket")]
    Create(#[source] io::Error),
    /// The socket could not be bound to its address.
    #[error("cannot bind a UDP socket to {address}")]
    Bind {
        /// The local address.
        address: SocketAddrV4,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A multicast group could not be joined.
    #[error(
        "cannot join multicast group {group} on {interface}; does its driver support multicast?"
    )]
    Join {
        /// The group.
        group: Ipv4Addr,
        /// Name of the interface.
        interface: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A socket option was refused.
    #[error("cannot set {option} on the UDP socket of {address}")]
    Option {
        /// What was to be set.
        option: &'static str,
        /// The local address.
        address: SocketAddrV4,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub(crate) struct Endpoint {
    socket: Socket,
    local: SocketAddrV4,
    /// Index of the interface on which the group of `local` is joined; `None` for no group.
    joined_on: Option<u32>,
}

impl Endpoint {
    /// The socket that sends everything and receives unicast, bound to the address of the interface.
    ///
    /// The TTL is always set: it goes with every multicast datagram, whatever the control address is.
    pub(crate) fn main(interface: &Interface, port: u16, ttl: u8) -> Result<Self, SocketError> {
        let address = SocketAddrV4::new(interface.addr, port);
        // No address reuse here: two programs would silently take each other's datagrams.
        let endpoint = Self::bind(address, false)?;
        let option = |option, result: io::Result<()>| {
            result.map_err(|source| SocketError::Option {
                option,
                address,
                source,
            })
        };
        option(
            "the broadcast permission",
            endpoint.socket.set_broadcast(true),
        )?;
        option(
            "the multicast TTL",
            endpoint.socket.set_multicast_ttl_v4(u32::from(ttl)),
        )?;
        option(
            "the multicast interface",
            endpoint.socket.set_multicast_if_v4(&interface.addr),
        )?;
        Ok(endpoint)
    }

    /// Hears broadcasts, or the datagrams of a group, which is joined on the interface.
    pub(crate) fn listen(
        interface: &Interface,
        address: Ipv4Addr,
        port: u16,
    ) -> Result<Self, SocketError> {
        // Broadcasts and groups reach every socket bound to them, so sharing harms nobody.
        let mut endpoint = Self::bind(SocketAddrV4::new(address, port), true)?;
        if address.is_multicast() {
            // Without this the socket also gets what others joined on other interfaces.
            if let Err(error) = endpoint.socket.set_multicast_all_v4(false) {
                tracing::debug!(%error, "IP_MULTICAST_ALL");
            }
            endpoint.joined_on = Some(interface.index);
            endpoint.join().map_err(|source| SocketError::Join {
                group: address,
                interface: interface.name.clone(),
                source,
            })?;
        }
        Ok(endpoint)
    }

    fn bind(address: SocketAddrV4, shared: bool) -> Result<Self, SocketError> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
            .map_err(SocketError::Create)?;
        let option = |option, result: io::Result<()>| {
            result.map_err(|source| SocketError::Option {
                option,
                address,
                source,
            })
        };
        option("non-blocking mode", socket.set_nonblocking(true))?;
        if shared {
            option("address reuse", socket.set_reuse_address(true))?;
        }
        match socket.bind(&SockAddr::from(address)) {
            Ok(()) => Ok(Self {
                socket,
                local: address,
                joined_on: None,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(SocketError::InUse(PortsInUse::find(address)))
            }
            Err(source) => Err(SocketError::Bind { address, source }),
        }
    }

    /// Asks for a receive buffer of `size` bytes, above the system's limit if privileged, and tells
    /// what the kernel says it is now (Linux counts its own overhead: twice the size).
    pub(crate) fn grow_receive_buffer(&self, size: usize) -> usize {
        if setsockopt(&self.socket, sockopt::RcvBufForce, &size).is_err()
            && let Err(error) = self.socket.set_recv_buffer_size(size)
        {
            tracing::debug!(%error, local = %self.local, "SO_RCVBUF");
        }
        self.socket.recv_buffer_size().unwrap_or(0)
    }

    /// Asks for a send buffer of `size` bytes, above the system's limit if privileged; never makes it
    /// smaller.
    pub(crate) fn grow_send_buffer(&self, size: usize) {
        // Linux answers with twice what it was told.
        let present = self.socket.send_buffer_size().unwrap_or(0) / 2;
        if present < size
            && setsockopt(&self.socket, sockopt::SndBufForce, &size).is_err()
            && let Err(error) = self.socket.set_send_buffer_size(size)
        {
            tracing::debug!(%error, local = %self.local, "SO_SNDBUF");
        }
    }

    /// Leaves and joins the group again, which makes the kernel tell the switches and routers once
    /// more. Nothing happens on a socket without group.
    pub(crate) fn rejoin(&self) -> io::Result<()> {
        if let Some(index) = self.joined_on {
            let interface = InterfaceIndexOrAddress::Index(index);
            if let Err(error) = self
                .socket
                .leave_multicast_v4_n(self.local.ip(), &interface)
            {
                // The interface may have lost its memberships; joining is what matters.
                tracing::debug!(%error, group = %self.local.ip(), "leaving to join again");
            }
            self.join()?;
        }
        Ok(())
    }

    fn join(&self) -> io::Result<()> {
        match self.joined_on {
            Some(index) => {
                let interface = InterfaceIndexOrAddress::Index(index);
                self.socket.join_multicast_v4_n(self.local.ip(), &interface)
            }
            None => Ok(()),
        }
    }

    /// The address it is bound to.
    pub(crate) fn local(&self) -> SocketAddrV4 {
        self.local
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lo() -> Interface {
        Interface::towards(Ipv4Addr::LOCALHOST).unwrap()
    }

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let error = Endpoint::main(&lo(), port, 1).unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(&port.to_string()) && text.contains("127.0.0.1"),
            "{text}"
        );
        assert!(text.contains("another port base"), "{text}");
        let pid = format!("(pid {})", std::process::id());
        assert!(text.contains(&pid), "{text}");
    }

    #[test]
    fn the_ttl_is_set_on_the_sending_socket() {
        let main = Endpoint::main(&lo(), 0, 32).unwrap();
        assert_eq!(main.socket.multicast_ttl_v4().unwrap(), 32);
        assert!(main.socket.broadcast().unwrap());
    }

    #[test]
    fn groups_are_shared_and_can_be_joined_again() {
        let group = Ipv4Addr::new(239, 255, 77, 1);
        let first = Endpoint::listen(&lo(), group, 47_001).unwrap();
        let second = Endpoint::listen(&lo(), group, 47_001).unwrap();
        first.rejoin().unwrap();
        assert_eq!(second.local(), SocketAddrV4::new(group, 47_001));
    }

    #[test]
    fn the_send_buffer_grows_and_never_shrinks() {
        let main = Endpoint::main(&lo(), 0, 1).unwrap();
        let before = main.socket.send_buffer_size().unwrap();
        main.grow_send_buffer(1);
        assert_eq!(main.socket.send_buffer_size().unwrap(), before);
        main.grow_send_buffer(1 << 20);
        assert!(main.socket.send_buffer_size().unwrap() >= before);
    }

    #[test]
    fn the_receive_buffer_grows() {
        let main = Endpoint::main(&lo(), 0, 1).unwrap();
        let before = main.socket.recv_buffer_size().unwrap();
        let after = main.grow_receive_buffer(4 << 20);
        assert!(after >= before, "{before} {after}");
        assert_eq!(main.socket.recv_buffer_size().unwrap(), after);
    }
}
