//! What a sender can be told.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::PROBE_AFTER;
use crate::udpcast::fec::FecParams;
use crate::udpcast::{DEFAULT_BLOCK_SIZE, DEFAULT_PORT_BASE, MAX_BLOCK_SIZE, MAX_BLOCKS_PER_SLICE};

/// Whether the next slice is sent while the previous one is still being acknowledged.
///
/// Nothing on the wire tells; receivers handle both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplex {
    /// Two slices are under way; the slice size is constant.
    #[default]
    Full,
    /// One slice at a time; the slice size grows with success and shrinks with loss.
    Half,
}

/// Slice size, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceLimits {
    /// First slice size, limited to `min..=max`. `None`: 112 in full duplex or as many more as the
    /// receive buffers of all participants take, 130 in half duplex, 1024 if asynchronous,
    /// stripes × stripe size with FEC.
    pub initial: Option<u16>,
    /// Least first slice size, at least 1.
    pub min: u16,
    /// Largest slice size, at most 1024. The sender holds up to three slices in memory, so this
    /// costs 3 × `max` × block size bytes (4.5 MB for 1024 blocks of 1456 bytes).
    pub max: u16,
}

impl Default for SliceLimits {
    fn default() -> Self {
        Self {
            initial: None,
            min: 16,
            max: MAX_BLOCKS_PER_SLICE,
        }
    }
}

/// Where DATA, FEC and REQACK go. All of a transfer go to one address, as real receivers close all
/// sockets but the one that heard the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataRouting {
    /// To the data group, whatever the number of participants.
    #[default]
    Multicast,
    /// To the data group; to the participant itself if there is exactly one at the start.
    AutoPointToPoint,
    /// To the only participant there may be; further ones are refused.
    PointToPoint,
    /// To the control address.
    Broadcast,
}

/// When the transfer starts.
///
/// It starts when every address of `expected` is connected, `min_receivers` are connected and
/// `min_wait` is over, or else when `max_wait` is over; always with one participant at least.
/// With none of the four set it starts only by [`Sender::start`](super::Sender::start), a GO or
/// `autostart`; with `max_wait` alone when that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRule {
    /// Receivers that must be there. Empty: none in particular.
    pub expected: Vec<Ipv4Addr>,
    /// Number of participants that must be there; 0 counts as reached.
    pub min_receivers: u32,
    /// Least time since the first participant connected.
    pub min_wait: Option<Duration>,
    /// Time since the first participant connected after which the transfer starts with those there.
    pub max_wait: Option<Duration>,
    /// Give up if no datagram has come for so long before the start.
    pub start_timeout: Option<Duration>,
    /// Start after so many + 1 repetitions of HELLO.
    pub autostart: Option<u32>,
    /// Refuse receivers that are not in `expected` (client number 0xffffffff).
    pub only_expected: bool,
    /// A participant may start the transfer (GO, a key press at the receiver).
    pub accept_go: bool,
}

impl Default for StartRule {
    fn default() -> Self {
        Self {
            expected: Vec::new(),
            min_receivers: 0,
            min_wait: None,
            max_wait: None,
            start_timeout: None,
            autostart: None,
            only_expected: false,
            accept_go: true,
        }
    }
}

/// When a participant that holds the others up is given up. For silence both limits must be exceeded,
/// so that neither a short pause nor a fast succession of rounds drops a healthy receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropPolicy {
    /// The round of the slice must be greater than this. Rounds come quickly at first, then about
    /// one per second.
    pub retries: u32,
    /// Nothing must have come from the participant for so long while it was being asked. Time in
    /// which this process itself did not run does not count.
    pub silence: Duration,
    /// A participant that answers is given up when it has lacked as many blocks of a slice as before for so
    /// long, through at least 8 rounds, while another one has the slice; it costs the others this time
    /// once, and 20 times as long if it does get on, but hardly. `None` or 0: it may hold them for ever, as with
    /// the original sender. Without other participants that have the slice nobody is given up so.
    pub no_progress: Option<Duration>,
    /// The same for a participant that lacks the last block alone for so long: it has no room for more, as its
    /// output takes nothing. `None` or 0: for ever. At the end of the stream, where it may be writing its
    /// caches, it has ten minutes at least.
    pub hold: Option<Duration>,
}

/// Shorter than 15 s, the time after which the cause should be found; longer than any healthy network needs
/// for the repetition of a slice.
const NO_PROGRESS: Duration = Duration::from_secs(12);

/// Longer than disks need that are to be used at all.
pub(super) const HOLD: Duration = Duration::from_secs(600);

impl DropPolicy {
    /// Four seconds, and so many rounds that bad luck on a bad network does not explain them.
    #[must_use]
    pub fn soon() -> Self {
        Self {
            retries: 15,
            silence: Duration::from_secs(4),
            ..Self::default()
        }
    }
}

impl Default for DropPolicy {
    /// A minute: the original receiver does not answer while a slow disk keeps its buffer full.
    fn default() -> Self {
        Self {
            retries: 12,
            silence: Duration::from_secs(60),
            no_progress: Some(NO_PROGRESS),
            hold: Some(HOLD),
        }
    }
}

/// What becomes of a receiver whose path passes much less than that of the others, as behind a port of
/// 100 Mbit/s in a network of 1 Gbit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// All get the stream at its pace, as with the original sender.
    #[default]
    Wait,
    /// It is dropped ([`DropCause::Slow`](super::DropCause::Slow)) when, for a second of the stream, the others
    /// have waited for it at least half of the time. Never more than half of the participants are, and no
    /// one for the sake of its disk.
    Leave,
}

/// Configuration of a [`Sender`](super::Sender).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderConfig {
    /// Bytes of a block, 1 to 65491; the original takes multiples of 4 only.
    pub block_size: u16,
    /// One or two slices under way.
    pub duplex: Duplex,
    /// Slice sizes; `max` is the memory bound.
    pub slice: SliceLimits,
    /// Destination of HELLO (port: port base).
    pub control: SocketAddrV4,
    /// Further destinations of HELLO, for example the broadcast address beside 224.0.0.1.
    pub extra_hello: Vec<SocketAddrV4>,
    /// Announced multicast group (port: port base). Not used by [`DataRouting::PointToPoint`].
    pub data_group: SocketAddrV4,
    /// Where the data goes.
    pub routing: DataRouting,
    /// Port base: where receivers listen.
    pub receiver_port: u16,
    /// Period of HELLO before the start, and after it until every participant has been heard, so
    /// that lost requests and replies cure themselves. `None`: HELLO is sent once.
    pub hello_interval: Option<Duration>,
    /// When the transfer starts.
    pub start: StartRule,
    /// When a participant that holds the others up is given up.
    pub drop: DropPolicy,
    /// The same for receivers that are
    /// [attentive](crate::udpcast::wire::ConnectReq::ATTENTIVE): they are not silent for their
    /// disk's sake. It holds while others are heard; when all are silent it is the network, and
    /// `drop` holds for everybody.
    pub drop_attentive: DropPolicy,
    /// The same for those whose host says that nobody listens there any more.
    pub drop_gone: DropPolicy,
    /// What becomes of a receiver that is much slower than the others.
    pub slow: SlowPolicy,
    /// Answer a request that comes after the start with a refusal, so that the receiver fails with
    /// a reason; the original leaves it waiting for ever.
    pub refuse_late: bool,
    /// No return channel: no participants, no acknowledgements. Needs `max_bitrate`.
    pub asynchronous: bool,
    /// Forward error correction: repair blocks behind each slice.
    pub fec: Option<FecParams>,
    /// Announce the transfer with HELLO_STREAMING once per slice, so many blocks before its end.
    /// Only of use together with `asynchronous`.
    pub streaming: Option<u16>,
    /// Rate limit in bit/s, over UDP payload + 28 bytes of each datagram.
    pub max_bitrate: Option<u64>,
    /// How long to wait for the DISCONNECT of participants after the end, so that the port is
    /// quiet when the next sender opens it.
    pub linger: Duration,
    /// How long [`Sender::abort`](super::Sender::abort) waits until all have the slices under way and have
    /// heard of the early end: it keeps the port for this time and `linger` (at least a second)
    /// if somebody does not answer.
    pub abort_time: Duration,
}

impl SenderConfig {
    /// Defaults of the original (port base 9000) for a control address and a data group, with
    /// HELLO repeated every second.
    #[must_use]
    pub fn new(control: SocketAddrV4, data_group: SocketAddrV4) -> Self {
        Self {
            block_size: DEFAULT_BLOCK_SIZE,
            duplex: Duplex::default(),
            slice: SliceLimits::default(),
            control,
            extra_hello: Vec::new(),
            data_group,
            routing: DataRouting::default(),
            receiver_port: DEFAULT_PORT_BASE,
            hello_interval: Some(Duration::from_secs(1)),
            start: StartRule::default(),
            drop: DropPolicy::default(),
            drop_attentive: DropPolicy::soon(),
            // Its host has said so, and did not while it lived: no luck is involved.
            drop_gone: DropPolicy {
                retries: 3,
                silence: PROBE_AFTER,
                ..DropPolicy::default()
            },
            slow: SlowPolicy::default(),
            refuse_late: true,
            asynchronous: false,
            fec: None,
            streaming: None,
            max_bitrate: None,
            linger: Duration::from_secs(1),
            abort_time: Duration::from_secs(10),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.block_size == 0 || self.block_size > MAX_BLOCK_SIZE {
            return Err(ConfigError::BlockSize(self.block_size));
        }
        let SliceLimits { min, max, .. } = self.slice;
        if min == 0 || max > MAX_BLOCKS_PER_SLICE || min > max {
            return Err(ConfigError::SliceLimits { min, max });
        }
        if self.receiver_port == 0 {
            return Err(ConfigError::Port);
        }
        if self.max_bitrate == Some(0) {
            return Err(ConfigError::ZeroBitrate);
        }
        if self.hello_interval == Some(Duration::ZERO) {
            return Err(ConfigError::ZeroHelloInterval);
        }
        if self.asynchronous {
            if self.max_bitrate.is_none() {
                return Err(ConfigError::UnlimitedAsynchronous);
            }
            if self.routing == DataRouting::PointToPoint {
                return Err(ConfigError::AsynchronousPointToPoint);
            }
        }
        if self.start.only_expected && self.start.expected.is_empty() {
            return Err(ConfigError::NobodyExpected);
        }
        Ok(())
    }

    /// Largest slice, in blocks: a stripe has 128 data blocks at most.
    pub(super) fn largest_slice(&self) -> u16 {
        match self.fec {
            Some(fec) => self.slice.max.min(fec.largest_slice()),
            None => self.slice.max,
        }
    }

    /// First slice size, in blocks.
    pub(super) fn first_slice(&self) -> u16 {
        let wanted = match (self.slice.initial, self.fec) {
            (Some(initial), _) => initial.max(self.slice.min),
            (None, Some(fec)) => fec.slice_size(),
            (None, None) if self.asynchronous => MAX_BLOCKS_PER_SLICE,
            (None, None) => match self.duplex {
                Duplex::Full => 112,
                Duplex::Half => 130,
            },
        };
        wanted.min(self.largest_slice()).max(1)
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No datagram can carry such a block.
    #[error("block size {0} is not within 1 to {MAX_BLOCK_SIZE} bytes")]
    BlockSize(u16),
    /// Not 1 ≤ min ≤ max ≤ 1024.
    #[error("slice limits of {min} to {max} blocks are not within 1 to {MAX_BLOCKS_PER_SLICE}")]
    SliceLimits {
        /// Given lower limit, in blocks.
        min: u16,
        /// Given upper limit, in blocks.
        max: u16,
    },
    /// Receivers cannot listen on port 0.
    #[error("the port base is 0")]
    Port,
    /// Nothing would ever be sent.
    #[error("a rate limit of 0 bit/s")]
    ZeroBitrate,
    /// HELLO would be sent without end.
    #[error("a HELLO interval of 0")]
    ZeroHelloInterval,
    /// Nothing else would hold an asynchronous sender back.
    #[error("an asynchronous transfer needs a rate limit, as no receiver can slow it down")]
    UnlimitedAsynchronous,
    /// Without participants there is nobody to send to.
    #[error("an asynchronous transfer has no participants and cannot be point-to-point")]
    AsynchronousPointToPoint,
    /// Every receiver would be refused.
    #[error("only expected receivers are let in, but none is expected")]
    NobodyExpected,
}
