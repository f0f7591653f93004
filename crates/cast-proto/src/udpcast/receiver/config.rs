//! What a receiver can be told.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::udpcast::{DEFAULT_PORT_BASE, MAX_BLOCK_SIZE, MAX_BLOCKS_PER_SLICE};

/// Period of CONNECT_REQ while it is unanswered: `first`, then doubling up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRetry {
    /// Wait before the first repetition.
    pub first: Duration,
    /// Longest wait.
    pub max: Duration,
}

impl Default for ConnectRetry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(10),
        }
    }
}

/// Configuration of a [`Receiver`](super::Receiver).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// Destination of CONNECT_REQ (port: port base + 1).
    pub control: SocketAddrV4,
    /// The only sender to deal with. `None`: the first that answers.
    pub sender: Option<Ipv4Addr>,
    /// Own address, to tell apart an announced unicast address.
    pub own: Ipv4Addr,
    /// Own port; the sender's is the next.
    pub port_base: u16,
    /// Size of the socket's receive buffer, in bytes; only told to the sender.
    pub rcvbuf: u32,
    /// Tell the sender that this receiver is
    /// [attentive](crate::udpcast::wire::ConnectReq::ATTENTIVE), as it is.
    pub tell_attentive: bool,
    /// Send nothing at all; take everything from HELLO.
    pub passive: bool,
    /// Memory for slices that are being received or wait to be taken, in blocks; costs
    /// `window_blocks` × block size bytes (6 MB for 4096 blocks of 1456 bytes), and up to 2048
    /// blocks more if the sender uses FEC, and up to 4 spare slices. At least 3072: two slices
    /// under way and one to be taken, of 1024 blocks each.
    pub window_blocks: u32,
    /// Largest block size accepted from a sender, in bytes; the other factor of the memory bound.
    pub max_block_size: u16,
    /// How often to ask.
    pub connect_retry: ConnectRetry,
    /// Fail if the sender has been silent for so long before the first data. Every datagram of a
    /// sender starts it anew.
    pub start_timeout: Option<Duration>,
    /// Fail if the sender has been silent for so long in the middle of the data.
    pub receive_timeout: Option<Duration>,
    /// How long to answer repeated requests after the end, counted from the last one. In a
    /// transfer without return channel, how long to wait at the end for blocks still missing.
    pub exit_wait: Duration,
    /// Go on when blocks are lost for good (no return channel only): zeroes take their place.
    pub ignore_lost_data: bool,
    /// Acknowledge the end only after [`confirm`](super::Receiver::confirm), so that a sender does not
    /// take for done what may still fail here. Until then it is held as by slices that are not taken.
    pub is_confirmed_by_reader: bool,
}

impl ReceiverConfig {
    /// Defaults of the original (port base 9000) for a control address, with requests repeated.
    #[must_use]
    pub fn new(control: SocketAddrV4, own: Ipv4Addr) -> Self {
        Self {
            control,
            sender: None,
            own,
            port_base: DEFAULT_PORT_BASE,
            rcvbuf: 212_992,
            tell_attentive: true,
            passive: false,
            window_blocks: 4096,
            max_block_size: 8972,
            connect_retry: ConnectRetry::default(),
            start_timeout: None,
            receive_timeout: None,
            exit_wait: Duration::from_millis(500),
            ignore_lost_data: false,
            is_confirmed_by_reader: false,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.port_base == 0 || self.port_base == u16::MAX {
            return Err(ConfigError::Port(self.port_base));
        }
        if self.window_blocks < MIN_WINDOW_BLOCKS {
            return Err(ConfigError::Window(self.window_blocks));
        }
        if self.max_block_size == 0 || self.max_block_size > MAX_BLOCK_SIZE {
            return Err(ConfigError::MaxBlockSize(self.max_block_size));
        }
        if self.connect_retry.first.is_zero() || self.connect_retry.max.is_zero() {
            return Err(ConfigError::ZeroRetry);
        }
        Ok(())
    }
}

/// Two slices under way and one that waits to be taken, of the largest size.
pub const MIN_WINDOW_BLOCKS: u32 = 3 * MAX_BLOCKS_PER_SLICE as u32;

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The port or the next one does not exist.
    #[error("port base {0} is not within 1 to 65534")]
    Port(u16),
    /// Too little memory for slices of 1024 blocks.
    #[error("a window of {0} blocks is less than {MIN_WINDOW_BLOCKS}")]
    Window(u32),
    /// No datagram can carry such a block.
    #[error("largest block size {0} is not within 1 to {MAX_BLOCK_SIZE} bytes")]
    MaxBlockSize(u16),
    /// Requests would be sent without end.
    #[error("a request interval of 0")]
    ZeroRetry,
}
