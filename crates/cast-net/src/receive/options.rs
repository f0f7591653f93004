//! What a receiver is told.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use cast_proto::udpcast::DEFAULT_PORT_BASE;
use cast_proto::udpcast::receiver::ReceiverConfig;

use crate::address::control_address;
use crate::interface::Interface;

/// Where and how [`receive`](crate::receive) receives.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// Requests leave through it and from its address; groups are joined on it.
    pub interface: Interface,
    /// UDP port of the receivers, the sender has the next. 1 to 65534.
    pub port_base: u16,
    /// Where to ask: the sender's own address or a common group; `None` for udpcast's rule
    /// ([`control_address`]).
    pub rendezvous: Option<Ipv4Addr>,
    /// The only sender to deal with; `None`: the first that answers.
    pub sender: Option<Ipv4Addr>,
    /// TTL of requests by multicast. A value other than 1 also changes the control address.
    pub ttl: u8,
    /// Send nothing, take everything from HELLO.
    pub passive: bool,
    /// Fail if the sender is silent for so long before the first data; `None`: wait for ever.
    pub start_timeout: Option<Duration>,
    /// Fail if the sender falls silent for so long; `None`: wait for ever.
    pub receive_timeout: Option<Duration>,
    /// How long the thread goes on answering after the end.
    pub exit_wait: Duration,
    /// Memory for slices on their way, in blocks of the sender's choice (1456 bytes by default); at
    /// least 3072. Up to `READY_SLICES` slices of at most 1024 blocks wait for the reader beside it.
    pub window_blocks: u32,
    /// Receive buffer of each socket in bytes: what may arrive while the thread does not run.
    pub receive_buffer: usize,
    /// Put zeroes for what is lost for good (asynchronous transfers only).
    pub ignore_lost_data: bool,
}

impl ReceiveOptions {
    /// udpcast's defaults on that interface: port base 9000, TTL 1, no time limits.
    #[must_use]
    pub fn new(interface: Interface) -> Self {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let config = ReceiverConfig::new(nowhere, interface.addr);
        Self {
            interface,
            port_base: DEFAULT_PORT_BASE,
            rendezvous: None,
            sender: None,
            ttl: 1,
            passive: config.passive,
            start_timeout: config.start_timeout,
            receive_timeout: config.receive_timeout,
            exit_wait: config.exit_wait,
            window_blocks: config.window_blocks,
            receive_buffer: 8 << 20,
            ignore_lost_data: config.ignore_lost_data,
        }
    }

    /// Where the first request goes.
    #[must_use]
    pub fn control_address(&self) -> Ipv4Addr {
        control_address(&self.interface, self.ttl, self.rendezvous)
    }

    /// `receive_buffer`: what the kernel granted, in bytes.
    pub(super) fn config(&self, receive_buffer: usize) -> ReceiverConfig {
        let sender_port = self.port_base.saturating_add(1);
        let control = SocketAddrV4::new(self.control_address(), sender_port);
        let mut config = ReceiverConfig::new(control, self.interface.addr);
        config.sender = self.sender;
        config.port_base = self.port_base;
        config.rcvbuf = u32::try_from(receive_buffer).unwrap_or(u32::MAX);
        config.passive = self.passive;
        config.window_blocks = self.window_blocks;
        config.start_timeout = self.start_timeout;
        config.receive_timeout = self.receive_timeout;
        config.exit_wait = self.exit_wait;
        config.ignore_lost_data = self.ignore_lost_data;
        config.is_confirmed_by_reader = true;
        config
    }
}
