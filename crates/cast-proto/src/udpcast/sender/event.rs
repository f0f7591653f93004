//! What a sender reports.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::udpcast::wire::{Capabilities, Hello};
use crate::udpcast::{ClientNo, Ignored, SliceNo};

/// Something the caller may want to know; nothing has to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderEvent {
    /// A receiver became a participant.
    Joined {
        /// Its number.
        client: ClientNo,
        /// Its address.
        addr: Ipv4Addr,
        /// What it announced.
        capabilities: Capabilities,
    },
    /// A receiver was told that it cannot take part.
    Refused {
        /// Who asked.
        addr: Ipv4Addr,
        /// Why not.
        reason: RefuseReason,
    },
    /// Data flows from now on: provide input.
    Started {
        /// What started it.
        reason: StartReason,
        /// Where the data goes.
        data: SocketAddrV4,
        /// Number of participants.
        participants: u32,
    },
    /// A participant left by itself, before or after the end.
    Left {
        /// Which one.
        addr: Ipv4Addr,
        /// What it got.
        outcome: Outcome,
    },
    /// A participant was given up.
    Dropped {
        /// Which one.
        addr: Ipv4Addr,
        /// Why.
        cause: DropCause,
        /// How long that had lasted, while it was being asked.
        lasted: Duration,
        /// The slice it did not acknowledge.
        slice: SliceNo,
        /// What is known of its part in this stream.
        evidence: Evidence,
    },
    /// A participant loses most of what is sent, also of what is repeated: from now on the rate follows what
    /// it gets. Reported again if the rate was lifted meanwhile.
    Paced {
        /// Which one.
        addr: Ipv4Addr,
        /// The rate at first, in bit/s of UDP payload + 28 bytes of each datagram.
        bits_per_second: u64,
    },
    /// Participants answer, but have got no further with a slice for some seconds; reported again and again
    /// while that lasts. Those that hold the sender for their output's sake are not meant.
    NoProgress {
        /// The slice.
        slice: SliceNo,
        /// Blocks of it.
        blocks: u16,
        /// Who, and what each lacks.
        lacking: Vec<Lacking>,
        /// Others have the slice. If not, nobody is dropped for it: what is sent reaches nobody.
        others_have_it: bool,
    },
    /// A participant may have ended: the driver should send it `hello` from a port of its own, and call
    /// [`Sender::handle_unreachable`](super::Sender::handle_unreachable) at once if its host answers that
    /// nobody listens there.
    Probe {
        /// Which participant.
        addr: Ipv4Addr,
        /// What to send.
        hello: Hello,
    },
    /// A slice is not acknowledged [some time](readable::NAMED_AFTER) after it was asked for; reported again and
    /// again while that lasts, and when a participant has been silent for that time.
    SlowRound {
        /// The slice.
        slice: SliceNo,
        /// Number of the round.
        round: u32,
        /// Participants that have not acknowledged the slice, with the time since each was heard
        /// while it was being asked.
        waiting_for: Vec<(Ipv4Addr, Duration)>,
    },
    /// All participants have a slice.
    SliceAcked {
        /// The slice.
        slice: SliceNo,
        /// Stream bytes acknowledged so far.
        bytes: u64,
        /// The participant whose OK came last.
        last: Option<Ipv4Addr>,
    },
    /// The whole stream is acknowledged and there is nothing left to do. The last event.
    Finished,
    /// The transfer ended without success for anybody. The last event.
    GaveUp(GiveUpReason),
}

/// What a sender knows of a participant's part in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// It has answered a request about a slice of this stream, so datagrams to the data address reach
    /// it, small ones at least. (That it connected proves nothing of the kind: that is done by other addresses.)
    pub has_answered: bool,
    /// It has acknowledged a slice that has data, or said that it has a block of one: blocks reach it.
    pub has_data: bool,
    /// Slices with data that it has acknowledged.
    pub slices_acked: u64,
    /// Stream bytes that it has acknowledged.
    pub bytes_acked: u64,
}

/// A participant that answers without getting further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Which one.
    pub addr: Ipv4Addr,
    /// The fewest blocks of the slice that it has lacked; all of them if it never said.
    pub missing: u16,
    /// For how long.
    pub lasted: Duration,
}

/// Why a participant was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// It did not answer.
    Silent,
    /// It did not answer, and its host says that nobody listens there any more.
    Unreachable,
    /// It answered, but got no further with a slice that another participant had.
    NoProgress {
        /// The fewest blocks of the slice that it has lacked; all if it never said.
        missing: u16,
        /// Blocks of the slice. All are missing: large datagrams do not reach it, as on a path whose MTU is
        /// too small. Some are: they are lost on its way, or it cannot keep them.
        blocks: u16,
    },
    /// It has the slice but for the last block, which it asks for again and again: so a receiver holds the
    /// sender whose output takes nothing.
    Holding,
    /// Its path passes much less than that of the others, who waited for it
    /// ([`SlowPolicy::Leave`](super::SlowPolicy::Leave)).
    Slow {
        /// What it got, and everybody with it.
        bytes_per_second: u64,
        /// Share of the time in which most of the others had a slice and waited for it.
        waited_percent: u8,
    },
}

/// Why a receiver was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseReason {
    /// There are 1024 participants.
    Full,
    /// It is not one of the expected receivers.
    NotExpected,
    /// The transfer has already started.
    Late,
    /// Point-to-point, and the one place is taken.
    PointToPoint,
}

/// What started the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// [`Sender::start`](super::Sender::start) was called.
    Operator,
    /// A participant sent GO.
    Go(Ipv4Addr),
    /// All that were waited for are there.
    Complete,
    /// The longest wait is over.
    MaxWait,
    /// HELLO was repeated often enough.
    Autostart,
}

/// Why a sender gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUpReason {
    /// Nobody was heard within the start timeout.
    #[error("no receiver was heard within the start timeout")]
    StartTimeout,
    /// Started, but nobody takes part.
    #[error("the transfer was started without participants")]
    NoParticipants,
    /// Started point-to-point with more or fewer than one participant.
    #[error("a point-to-point transfer needs exactly one participant")]
    NotPointToPoint,
    /// Every participant left, was dropped or removed before the end.
    #[error("no participant is left")]
    AllGone,
    /// Slice numbers are used up (2^31 slices).
    #[error("the stream has more slices than the protocol can number")]
    TooLong,
    /// [`Sender::abort`](super::Sender::abort) was called.
    #[error("the transfer was aborted{}", if *ended { "; the stream was ended early" } else { "" })]
    Aborted {
        /// The stream was ended before its end: receivers come to their end by themselves, without all
        /// of the stream. If not, it was only stopped, and receivers see the sender fall silent.
        ended: bool,
    },
}

/// How a participant fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still taking part.
    Connected,
    /// It acknowledged the end of the stream, and with it every byte.
    Completed,
    /// It left before the end.
    Left {
        /// The last slice it acknowledged.
        last_slice: Option<SliceNo>,
    },
    /// It held everybody up for too long.
    Dropped {
        /// The last slice it acknowledged.
        last_slice: Option<SliceNo>,
        /// In which way.
        cause: DropCause,
    },
    /// [`Sender::remove`](super::Sender::remove) was called for it, or the sender gave up or was
    /// aborted.
    Removed {
        /// The last slice it acknowledged.
        last_slice: Option<SliceNo>,
    },
}

/// A view of one participant, past or present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its address; a participant is known by nothing else.
    pub addr: Ipv4Addr,
    /// Its number.
    pub client: ClientNo,
    /// What it announced.
    pub capabilities: Capabilities,
    /// How it fares.
    pub outcome: Outcome,
    /// The last slice it acknowledged.
    pub last_slice: Option<SliceNo>,
    /// Blocks it asked for again, over all rounds.
    pub repeats_asked: u64,
    /// When something last came from it.
    pub last_heard: Instant,
    /// What is known of its part in the stream.
    pub evidence: Evidence,
}

/// Counters of a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderStatistics {
    /// Stream bytes that all participants have acknowledged.
    pub bytes_acked: u64,
    /// Slices that all participants have acknowledged.
    pub slices_acked: u64,
    /// DATA datagrams, repeats included.
    pub blocks_sent: u64,
    /// DATA datagrams sent again.
    pub blocks_repeated: u64,
    /// FEC datagrams.
    pub fec_sent: u64,
    /// FEC datagrams sent in place of repeats.
    pub repairs_sent: u64,
    /// REQACK datagrams.
    pub rounds: u64,
    /// Rounds that were not answered in time by all.
    pub deadlines_missed: u64,
    /// Datagrams of all kinds.
    pub datagrams_sent: u64,
    /// Bytes of all datagrams, without the headers of UDP and IP.
    pub bytes_sent: u64,
    /// The rate in bit/s that follows a slow receiver, if there is one.
    pub pace: Option<u64>,
    /// Present slice size, in blocks.
    pub slice_size: u16,
    /// Datagrams dropped without effect.
    pub ignored: Ignored,
}
