//! What a receiver reports.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use readable::{Count, Time};

use crate::udpcast::wire::Capabilities;
use crate::udpcast::{ClientNo, Ignored, SliceNo};

/// Something that happened; [`Join`](Self::Join) and [`JoinAgain`](Self::JoinAgain) have to be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverEvent {
    /// A request was sent.
    Requested {
        /// Where to.
        to: SocketAddrV4,
        /// How many have been sent, this one included.
        attempt: u32,
    },
    /// The sender let us in (or needs no request).
    Connected {
        /// Own number; 0 without return channel.
        client: ClientNo,
        /// The sender; nobody else is listened to from now on.
        sender: SocketAddrV4,
        /// Bytes of a block.
        block_size: u16,
        /// There is no return channel: what is lost stays lost.
        asynchronous: bool,
        /// What the sender's CONNECT_REPLY announced; `None` when none was needed.
        capabilities: Option<Capabilities>,
    },
    /// Another sender is at work on the same port. It is not heard; reported once for each address.
    OtherSender(SocketAddrV4),
    /// Open a socket for this multicast group (at the own port); data may come there.
    Join(Ipv4Addr),
    /// Join that group again: a switch may have forgotten it.
    JoinAgain(Ipv4Addr),
    /// The transfer has begun.
    FirstData {
        /// First slice heard of.
        slice: SliceNo,
    },
    /// The end is reached and everything before it is complete. Slices may still have to be taken.
    Complete {
        /// Length of the stream.
        bytes: u64,
    },
    /// It cannot go on. Slices complete until then can still be taken.
    Failed(ReceiveFailure),
}

/// Why a receiver failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveFailure {
    /// No sender was heard.
    #[error("no sender was heard for {time}; {1} requests were sent", time = Time(*.0))]
    NoSender(Duration, u32),
    /// Connected, but no data came.
    #[error("{sender} let us in as {client}, but sent nothing for {}", Time(*.silent_for))]
    NoData {
        /// The sender.
        sender: SocketAddrV4,
        /// Own number.
        client: ClientNo,
        /// The start timeout.
        silent_for: Duration,
    },
    /// The sender fell silent.
    #[error("{sender} fell silent for {} in slice {slice}, after {bytes} bytes", Time(*.silent_for))]
    Silent {
        /// The sender.
        sender: SocketAddrV4,
        /// The receive timeout.
        silent_for: Duration,
        /// First slice that is not complete.
        slice: SliceNo,
        /// Complete bytes before it.
        bytes: u64,
    },
    /// The sender refused us.
    #[error("{0} refused us: the transfer is full, already running or not for this host")]
    Refused(SocketAddrV4),
    /// In the middle of the data the sender announced a new transfer: it was started again, and the
    /// one that we took part in is gone.
    #[error(
        "{sender} was started again in the middle of the transfer (slice {slice}, after {bytes} bytes); \
         what is missing will not come, receive the stream again from its beginning"
    )]
    Restarted {
        /// The sender.
        sender: SocketAddrV4,
        /// First slice that is not complete.
        slice: SliceNo,
        /// Complete bytes before it.
        bytes: u64,
    },
    /// Blocks larger than we accept.
    #[error("{sender} announces blocks of {}; at most {max} are accepted", Count((*.block_size).into(), "byte"))]
    BlockSize {
        /// The sender.
        sender: SocketAddrV4,
        /// Announced, in bytes.
        block_size: u32,
        /// Accepted, in bytes.
        max: u16,
    },
    /// The sender went on without us: it has given us up, or (no return channel) blocks are lost.
    #[error(
        "slice {slice} lacks {missing} blocks (after {bytes} bytes), but the sender {}",
        if *is_over {
            "has ended the transfer: it was interrupted, or went on without this receiver".to_owned()
        } else {
            format!("is at slice {heard}")
        }
    )]
    Lost {
        /// First slice that is not complete.
        slice: SliceNo,
        /// Blocks missing in it; 0 if nothing is known of it.
        missing: u32,
        /// Complete bytes before it.
        bytes: u64,
        /// The slice the sender has reached.
        heard: SliceNo,
        /// That is the end, for a sender that waits for those that it has not given up.
        is_over: bool,
    },
    /// The sender contradicts itself about the length of a slice.
    #[error("slice {slice} had {known} bytes, now the sender says {announced}")]
    Inconsistent {
        /// The slice.
        slice: SliceNo,
        /// Length as first told, in bytes.
        known: u32,
        /// Length as told now, in bytes.
        announced: u32,
    },
    /// [`Receiver::abort`](super::Receiver::abort) was called.
    #[error("the transfer was aborted")]
    Aborted,
}

/// Requests of the sender reach us, and the data that they are about does not: the path does not carry
/// datagrams as large as those with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallOnly {
    /// Requests since the last datagram with data.
    pub requests: u32,
    /// Length of a datagram with a whole block, IPv4 and UDP headers included.
    pub datagram_len: u32,
}

/// Counters of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStatistics {
    /// Stream bytes in complete slices.
    pub bytes: u64,
    /// Complete slices.
    pub slices: u64,
    /// Datagrams handed in, of any kind.
    pub datagrams: u64,
    /// Datagrams of our sender, or of a sender that we may take, of any kind.
    pub heard: u64,
    /// Datagrams of our sender with data or repair blocks, whatever became of them.
    pub data_datagrams: u64,
    /// Requests for acknowledgement of our sender, whatever became of them. These are small: where
    /// they come and [data](Self::data_datagrams) does not, the way does not carry large datagrams.
    pub requests: u64,
    /// Blocks stored from DATA.
    pub blocks: u64,
    /// Blocks that were already there.
    pub duplicates: u64,
    /// Blocks asked for again, over all rounds.
    pub lost_blocks: u64,
    /// Blocks rebuilt from FEC.
    pub rebuilt_blocks: u64,
    /// Blocks replaced by zeroes, if lost data is ignored.
    pub zeroed_blocks: u64,
    /// Requests answered with "one block missing" because slices were not taken.
    pub held: u64,
    /// Blocks that wait to be taken.
    pub waiting_blocks: u32,
    /// Datagrams dropped without effect.
    pub ignored: Ignored,
}
