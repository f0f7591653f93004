//! What a transfer to be sent is told.

use std::net::{Ipv4Addr, SocketAddrV4};

use cast_proto::udpcast::sender::SenderConfig;
use cast_proto::udpcast::{DEFAULT_PORT_BASE, default_data_group};

use crate::io::interface::Interface;
use crate::udpcast::address::{control_address, further_hello_addresses};

/// Where and how a [`SentStream`](super::SentStream) is sent.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// Everything leaves through it and from its address.
    pub interface: Interface,
    /// Receivers listen on this UDP port, the sender on the next. 1 to 65534.
    pub port_base: u16,
    /// The control address; `None` for udpcast's rule ([`control_address`]).
    pub rendezvous: Option<Ipv4Addr>,
    /// The multicast group for the data; `None` derives it from the address of the interface.
    pub data_group: Option<Ipv4Addr>,
    /// TTL of every multicast datagram. A value other than 1 also changes the control address.
    pub ttl: u8,
    /// Receive buffer of each socket in bytes, for the answers of many receivers.
    pub receive_buffer: usize,
    /// Send buffer of the socket in bytes; `None`: what the system gives.
    pub send_buffer: Option<usize>,
    /// Fill the send buffer only half, which leaves room in front of the network card for others.
    pub is_send_queue_short: bool,
    /// End the stream early ([`SendControl::abort`](crate::SendControl::abort)) when its source fails, in
    /// place of making the receivers give up ([`SendControl::interrupt`](crate::SendControl::interrupt)).
    pub abort_on_input_error: bool,
    /// Report each slice that is acknowledged ([`SliceAcked`](crate::udpcast::sender::SenderEvent::SliceAcked)):
    /// hundreds of events in a second.
    pub reports_slices: bool,
    /// The configuration of the protocol. Its addresses and its port follow from the fields above,
    /// whatever they are here.
    pub transfer: SenderConfig,
}

impl SendOptions {
    /// udpcast's defaults on that interface: port base 9000, TTL 1, HELLO every second.
    #[must_use]
    pub fn new(interface: Interface) -> Self {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Self {
            interface,
            port_base: DEFAULT_PORT_BASE,
            rendezvous: None,
            data_group: None,
            ttl: 1,
            receive_buffer: 1 << 20,
            send_buffer: None,
            is_send_queue_short: false,
            abort_on_input_error: false,
            reports_slices: false,
            transfer: SenderConfig::new(nowhere, nowhere),
        }
    }

    /// Where the sender announces itself first of all.
    #[must_use]
    pub fn control_address(&self) -> Ipv4Addr {
        control_address(&self.interface, self.ttl, self.rendezvous)
    }

    /// The multicast group that is announced.
    #[must_use]
    pub fn data_group(&self) -> Ipv4Addr {
        self.data_group
            .unwrap_or_else(|| default_data_group(self.interface.addr))
    }

    /// Further addresses of HELLO, which the sender also listens on.
    pub(super) fn further_hello_addresses(&self) -> Vec<Ipv4Addr> {
        further_hello_addresses(&self.interface, self.ttl, self.control_address())
    }

    pub(super) fn config(&self) -> SenderConfig {
        let at_receivers = |address| SocketAddrV4::new(address, self.port_base);
        let extra_hello = self.further_hello_addresses();
        SenderConfig {
            control: at_receivers(self.control_address()),
            extra_hello: extra_hello.into_iter().map(at_receivers).collect(),
            data_group: at_receivers(self.data_group()),
            receiver_port: self.port_base,
            ..self.transfer.clone()
        }
    }
}
