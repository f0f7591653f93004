//! What a transfer to be sent is told.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use cast_proto::udpcast::fec::FecParams;
use cast_proto::udpcast::sender::{
    DataRouting, DropPolicy, Duplex, SenderConfig, SliceLimits, StartRule,
};
use cast_proto::udpcast::{DEFAULT_PORT_BASE, default_data_group};

use crate::io::interface::Interface;
use crate::udpcast::address::{control_address, further_hello_addresses};

/// Where and how [`send`](crate::send) sends.
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
    /// place of leaving the receivers without a word.
    pub abort_on_input_error: bool,
    /// What is not about addresses.
    pub transfer: TransferOptions,
}

/// The part of a sender's configuration that is not about addresses.
#[derive(Clone, Debug)]
pub struct TransferOptions {
    /// Bytes of a block, 1 to 65491.
    pub block_size: u16,
    /// One or two slices under way.
    pub duplex: Duplex,
    /// Slice sizes.
    pub slice: SliceLimits,
    /// Where the data goes.
    pub routing: DataRouting,
    /// Period of HELLO; `None`: once.
    pub hello_interval: Option<Duration>,
    /// When the transfer starts.
    pub start: StartRule,
    /// When a silent participant is given up.
    pub drop: DropPolicy,
    /// The same for attentive ones, which answer whatever their output does.
    pub drop_attentive: DropPolicy,
    /// The same for those whose host says that nobody listens there any more.
    pub drop_gone: DropPolicy,
    /// Tell receivers that come after the start that they are too late.
    pub refuse_late: bool,
    /// No return channel; needs `max_bitrate`.
    pub asynchronous: bool,
    /// Forward error correction.
    pub fec: Option<FecParams>,
    /// HELLO_STREAMING so many blocks before the end of each slice.
    pub streaming: Option<u16>,
    /// Rate limit in bit/s, UDP and IP headers included.
    pub max_bitrate: Option<u64>,
    /// How long to wait for the goodbye of the participants after the end.
    pub linger: Duration,
    /// How long an abort waits for answers.
    pub abort_time: Duration,
}

impl Default for TransferOptions {
    fn default() -> Self {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let config = SenderConfig::new(nowhere, nowhere);
        Self {
            block_size: config.block_size,
            duplex: config.duplex,
            slice: config.slice,
            routing: config.routing,
            hello_interval: config.hello_interval,
            start: config.start,
            drop: config.drop,
            drop_attentive: config.drop_attentive,
            drop_gone: config.drop_gone,
            refuse_late: config.refuse_late,
            asynchronous: config.asynchronous,
            fec: config.fec,
            streaming: config.streaming,
            max_bitrate: config.max_bitrate,
            linger: config.linger,
            abort_time: config.abort_time,
        }
    }
}

impl SendOptions {
    /// udpcast's defaults on that interface: port base 9000, TTL 1, HELLO every second.
    #[must_use]
    pub fn new(interface: Interface) -> Self {
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
            transfer: TransferOptions::default(),
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
        let TransferOptions {
            block_size,
            duplex,
            slice,
            routing,
            hello_interval,
            start,
            drop,
            drop_attentive,
            drop_gone,
            refuse_late,
            asynchronous,
            fec,
            streaming,
            max_bitrate,
            linger,
            abort_time,
        } = self.transfer.clone();
        SenderConfig {
            block_size,
            duplex,
            slice,
            control: at_receivers(self.control_address()),
            extra_hello: self
                .further_hello_addresses()
                .into_iter()
                .map(at_receivers)
                .collect(),
            data_group: at_receivers(self.data_group()),
            routing,
            receiver_port: self.port_base,
            hello_interval,
            start,
            drop,
            drop_attentive,
            drop_gone,
            refuse_late,
            asynchronous,
            fec,
            streaming,
            max_bitrate,
            linger,
            abort_time,
        }
    }
}
