//! What a receiver is told.

use std::net::{Ipv4Addr, SocketAddrV4};

use cast_proto::udpcast::DEFAULT_PORT_BASE;
use cast_proto::udpcast::receiver::ReceiverConfig;

use crate::io::interface::Interface;
use crate::udpcast::address::control_address;

/// Where and how a [`ReceivedStream`](super::ReceivedStream) is received.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// Requests leave through it and from its address; groups are joined on it.
    pub interface: Interface,
    /// UDP port of the receivers, the sender has the next. 1 to 65534.
    pub port_base: u16,
    /// Where to ask: the sender's own address or a common group; `None` for udpcast's rule
    /// ([`control_address`]).
    pub rendezvous: Option<Ipv4Addr>,
    /// The sender to deal with.
    pub sender: SenderChoice,
    /// TTL of requests by multicast. A value other than 1 also changes the control address.
    pub ttl: u8,
    /// Receive buffer of each socket in bytes: what may arrive while the thread does not run.
    pub receive_buffer: usize,
    /// The configuration of the protocol. Its addresses, its port and the size of the receive buffer
    /// follow from the fields above, whatever they are here. Beside its `window_blocks` up to
    /// `READY_SLICES` slices of at most 1024 blocks wait for the reader.
    pub transfer: ReceiverConfig,
}

/// Which sender is dealt with. What any other one says counts for nothing.
///
/// A udpcast sender has one socket: it hears requests at the address that it answers and sends from. So a
/// rendezvous address of one host is the sender's, with one exception: a host with several addresses on the
/// network, that is asked at one and sends from another. Its requests are not heard there, only its
/// announcements here; such a sender has to be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderChoice {
    /// That at the rendezvous address; if this is a group, a broadcast address or missing, the first one
    /// that answers.
    #[default]
    Rendezvous,
    /// That at this address alone.
    Only(Ipv4Addr),
    /// The first one that answers, whatever the rendezvous address is.
    First,
}

impl ReceiveOptions {
    /// udpcast's defaults on that interface: port base 9000, TTL 1, no time limits.
    #[must_use]
    pub fn new(interface: Interface) -> Self {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let transfer = ReceiverConfig::new(nowhere, interface.addr);
        Self {
            interface,
            port_base: DEFAULT_PORT_BASE,
            rendezvous: None,
            sender: SenderChoice::Rendezvous,
            ttl: 1,
            receive_buffer: 8 << 20,
            transfer,
        }
    }

    /// Where the first request goes.
    #[must_use]
    pub fn control_address(&self) -> Ipv4Addr {
        control_address(&self.interface, self.ttl, self.rendezvous)
    }

    /// The address of the sender, if it is known beforehand.
    #[must_use]
    pub fn known_sender(&self) -> Option<Ipv4Addr> {
        match self.sender {
            SenderChoice::Only(sender) => Some(sender),
            SenderChoice::First => None,
            SenderChoice::Rendezvous => self.rendezvous.filter(|address| {
                let is_of_many = address.is_multicast()
                    || address.is_broadcast()
                    || address.is_unspecified()
                    || Some(*address) == self.interface.broadcast
                    || Some(*address) == last_of_network(&self.interface);
                !is_of_many
            }),
        }
    }

    /// `receive_buffer`: what the kernel granted, in bytes.
    pub(super) fn config(&self, receive_buffer: usize) -> ReceiverConfig {
        let sender_port = self.port_base.saturating_add(1);
        ReceiverConfig {
            control: SocketAddrV4::new(self.control_address(), sender_port),
            sender: self.known_sender(),
            own: self.interface.addr,
            port_base: self.port_base,
            rcvbuf: u32::try_from(receive_buffer).unwrap_or(u32::MAX),
            is_confirmed_by_reader: true,
            ..self.transfer.clone()
        }
    }
}

/// The address by which all of a network are meant, whether the card has been told or not; `None` where
/// the network is too small to have one.
fn last_of_network(interface: &Interface) -> Option<Ipv4Addr> {
    let hosts = u32::MAX
        .checked_shr(interface.prefix_len.into())
        .unwrap_or(0);
    (hosts > 1).then(|| Ipv4Addr::from(u32::from(interface.addr) | hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendezvous_address_of_one_host_is_the_senders() {
        let mut interface = Interface::towards(Ipv4Addr::LOCALHOST).unwrap();
        interface.broadcast = Some([10, 99, 0, 255].into());
        let mut options = ReceiveOptions::new(interface);
        assert_eq!(options.known_sender(), None);
        let server = Ipv4Addr::new(10, 99, 0, 1);
        let other = Ipv4Addr::new(10, 99, 0, 2);
        for (rendezvous, sender, known) in [
            (server, SenderChoice::Rendezvous, Some(server)),
            (server, SenderChoice::Only(other), Some(other)),
            (server, SenderChoice::First, None),
            ([239, 1, 2, 3].into(), SenderChoice::Rendezvous, None),
            ([10, 99, 0, 255].into(), SenderChoice::Rendezvous, None),
            ([127, 255, 255, 255].into(), SenderChoice::Rendezvous, None),
            (Ipv4Addr::UNSPECIFIED, SenderChoice::Rendezvous, None),
            (Ipv4Addr::BROADCAST, SenderChoice::Rendezvous, None),
            (Ipv4Addr::BROADCAST, SenderChoice::Only(other), Some(other)),
        ] {
            options.rendezvous = Some(rendezvous);
            options.sender = sender;
            assert_eq!(options.known_sender(), known, "{rendezvous} {sender:?}");
        }
    }
}
