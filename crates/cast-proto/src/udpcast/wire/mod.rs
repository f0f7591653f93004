//! Messages: bytes of a datagram to their meaning and back.
//!
//! [`Message::parse`] accepts what real programs send and have sent: unknown filler, trailing bytes,
//! a HELLO of 26 octets, a short CONNECT_REQ, a bitmap without its end. [`Message::emit`] writes the
//! full length with filler and reserved bytes 0. What depends on the state of a transfer (the range
//! of a block number, the length of a payload) is checked where that state is.

#![warn(clippy::indexing_slicing)]

mod capabilities;
mod display;
mod layout;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BlockNo, ClientNo, MAX_PARTICIPANTS, SliceNo};
use crate::bitmap::Bitmap;
use layout::{
    BareView, BlockView, ConnectReplyView, ConnectReqView, HelloView, OkView, ReqAckView,
    RetransmitView,
};

pub use capabilities::Capabilities;

/// Octets of DATA and FEC before the payload.
pub const BLOCK_HEADER_LEN: usize = 16;

/// Bytes of a datagram with a block of this size, as the network counts it.
#[must_use]
pub fn data_datagram_len(block_size: u16) -> u32 {
    u32::from(block_size) + DATA_HEADERS
}

/// The headers of IP and UDP, and that of the block.
const DATA_HEADERS: u32 = 28 + 16;

/// Client number on the wire that stands for "refused".
pub const REFUSED: u32 = 0xffff_ffff;

const OP_OK: u16 = 0x0000;
const OP_RETRANSMIT: u16 = 0x0001;
const OP_GO: u16 = 0x0002;
const OP_CONNECT_REQ: u16 = 0x0003;
const OP_DISCONNECT: u16 = 0x0004;
const OP_REQACK: u16 = 0x0006;
const OP_CONNECT_REPLY: u16 = 0x0007;
const OP_DATA: u16 = 0x0008;
const OP_FEC: u16 = 0x0009;
const OP_HELLO_NEW: u16 = 0x000a;
const OP_HELLO_STREAMING: u16 = 0x000b;
/// A byte order mistake of old; what every sender sends.
const OP_HELLO: u16 = 0x0500;

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The receiver has the whole slice.
    Ok(SliceNo),
    /// The receiver lacks blocks of a slice.
    Retransmit(Retransmit),
    /// Start the transfer.
    Go,
    /// Let me in.
    ConnectReq(ConnectReq),
    /// The receiver leaves, for whatever reason.
    Disconnect,
    /// Who has not got this slice yet?
    ReqAck(ReqAck),
    /// Answer to CONNECT_REQ.
    ConnectReply(ConnectReply),
    /// One block of a slice.
    Data(Data<'a>),
    /// One repair block of a slice.
    Fec(Fec<'a>),
    /// The sender is there.
    Hello(Hello),
    /// None of the above; with its opcode.
    Unknown(u16),
}

/// HELLO or HELLO_STREAMING, 28 octets (26 accepted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which opcode carried it.
    pub kind: HelloKind,
    /// What the sender can do.
    pub capabilities: Capabilities,
    /// Where data will go; 0.0.0.0: to the receiver itself.
    pub data_address: Ipv4Addr,
    /// Bytes of a block.
    pub block_size: u16,
}

/// The three opcodes of HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloKind {
    /// 0x0500, what is sent.
    Plain,
    /// 0x000a, means the same.
    PlainNew,
    /// 0x000b: the transfer is running and can be joined in the middle.
    Streaming,
}

/// CONNECT_REQ, 12 octets (4 accepted, absent words are 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectReq {
    /// What the receiver can do.
    pub capabilities: Capabilities,
    /// Size of its receive buffer, in bytes; see [`ATTENTIVE`](Self::ATTENTIVE).
    pub rcvbuf: u32,
}

impl ConnectReq {
    /// Lowest 12 bits of the buffer size by which receivers of this crate know each other.
    ///
    /// No version of udpcast makes use of the size, capability bits and lengths are fixed, and no
    /// kernel reports such a size (it doubles what it is asked for). An attentive receiver answers
    /// requests whatever its output is doing, so its silence means that it is gone; and it rebuilds
    /// blocks from repair blocks that come in any round, so those can serve several receivers.
    pub const ATTENTIVE: u32 = 0x5a7;

    const ATTENTIVE_MASK: u32 = 0xfff;

    /// The buffer size as an attentive receiver tells it, less than 4 KiB off.
    #[must_use]
    pub fn attentive_rcvbuf(rcvbuf: u32) -> u32 {
        (rcvbuf & !Self::ATTENTIVE_MASK) | Self::ATTENTIVE
    }

    /// Whether an attentive receiver asks.
    #[must_use]
    pub fn is_attentive(&self) -> bool {
        self.rcvbuf & Self::ATTENTIVE_MASK == Self::ATTENTIVE
    }
}

/// CONNECT_REPLY, 32 octets (20 accepted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectReply {
    /// The number given; `None` if refused.
    pub client: Option<ClientNo>,
    /// Bytes of a block.
    pub block_size: u32,
    /// What the sender can do.
    pub capabilities: Capabilities,
    /// Where data will go.
    pub data_address: Ipv4Addr,
}

/// DATA, 16 octets and the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The slice.
    pub slice: SliceNo,
    /// Position in the slice, not yet checked against anything.
    pub block: BlockNo,
    /// Length of the whole slice in bytes, not of this block.
    pub slice_len: u32,
    /// The block: block size bytes, fewer for the last of a slice; senders before 2009 pad that one.
    pub payload: &'a [u8],
}

/// FEC, 16 octets and the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fec<'a> {
    /// Number of stripes, not yet checked against anything.
    pub stripes: u16,
    /// The slice.
    pub slice: SliceNo,
    /// Number of the repair block in the slice: row × stripes + stripe.
    pub block: BlockNo,
    /// Length of the slice's data in bytes; 0 marks the end of the stream.
    pub slice_len: u32,
    /// A full block.
    pub payload: &'a [u8],
}

/// REQACK, 144 octets (16 and as much of the ready set as matters are accepted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqAck {
    /// The slice asked about.
    pub slice: SliceNo,
    /// Its length in bytes; 0 marks the end of the stream.
    pub slice_len: u32,
    /// 0 in the first request for a slice.
    pub round: u32,
    /// Client numbers that have said OK.
    pub ready: Bitmap,
    /// Octets of the ready set there were.
    ready_len: u16,
}

impl ReqAck {
    /// A request with a complete ready set.
    #[must_use]
    pub fn new(slice: SliceNo, slice_len: u32, round: u32, ready: Bitmap) -> Self {
        Self {
            slice,
            slice_len,
            round,
            ready,
            ready_len: 128,
        }
    }

    /// Whether the ready set says that `client` has said OK; `None` if it is cut off before.
    #[must_use]
    pub fn is_ready(&self, client: ClientNo) -> Option<bool> {
        (client.0 / 8 < self.ready_len).then(|| self.ready.contains(client.0))
    }
}

/// RETRANSMIT, 140 octets (12 accepted; blocks in absent bytes count as missing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// The slice.
    pub slice: SliceNo,
    /// Round of the request this answers.
    pub round: u32,
    /// Blocks that need not be sent: those that are there, and from an attentive receiver as many
    /// others as it has repair blocks for.
    pub received: Bitmap,
}

/// A datagram that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer octets than the message needs.
    #[error("{message} of {found} octets, at least {needed} are needed")]
    TooShort {
        /// Name of the message.
        message: &'static str,
        /// Least length, in octets.
        needed: usize,
        /// Length of the datagram, in octets.
        found: usize,
    },
    /// A client number that cannot be.
    #[error("client number {0} is above 1023")]
    ClientNumber(u32),
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// If it is shorter than its message needs, or carries an impossible client number.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (opcode, _) = view::<U16>("message", datagram)?;
        Ok(match opcode.get() {
            OP_OK => Self::Ok(SliceNo(view::<OkView>("OK", datagram)?.0.slice.get())),
            OP_RETRANSMIT => {
                let (fixed, bitmap) = view::<RetransmitView>("RETRANSMIT", datagram)?;
                Self::Retransmit(Retransmit {
                    slice: SliceNo(fixed.slice.get()),
                    round: fixed.round.get(),
                    received: Bitmap::from_bytes(bitmap),
                })
            }
            OP_GO => Self::Go,
            OP_CONNECT_REQ => Self::ConnectReq(ConnectReq::parse(datagram)?),
            OP_DISCONNECT => Self::Disconnect,
            OP_REQACK => {
                let (fixed, ready) = view::<ReqAckView>("REQACK", datagram)?;
                Self::ReqAck(ReqAck {
                    slice: SliceNo(fixed.slice.get()),
                    slice_len: fixed.slice_len.get(),
                    round: fixed.round.get(),
                    ready: Bitmap::from_bytes(ready),
                    ready_len: u16::try_from(ready.len()).unwrap_or(u16::MAX),
                })
            }
            OP_CONNECT_REPLY => Self::ConnectReply(ConnectReply::parse(datagram)?),
            OP_DATA => {
                let (fixed, payload) = view::<BlockView>("DATA", datagram)?;
                Self::Data(Data {
                    slice: SliceNo(fixed.slice.get()),
                    block: BlockNo(fixed.block.get()),
                    slice_len: fixed.slice_len.get(),
                    payload,
                })
            }
            OP_FEC => {
                let (fixed, payload) = view::<BlockView>("FEC", datagram)?;
                Self::Fec(Fec {
                    stripes: fixed.stripes.get(),
                    slice: SliceNo(fixed.slice.get()),
                    block: BlockNo(fixed.block.get()),
                    slice_len: fixed.slice_len.get(),
                    payload,
                })
            }
            OP_HELLO => Self::Hello(Hello::parse(HelloKind::Plain, datagram)?),
            OP_HELLO_NEW => Self::Hello(Hello::parse(HelloKind::PlainNew, datagram)?),
            OP_HELLO_STREAMING => Self::Hello(Hello::parse(HelloKind::Streaming, datagram)?),
            other => Self::Unknown(other),
        })
    }

    /// Appends the message in its full length; of `Unknown` only the opcode.
    pub fn emit(&self, buf: &mut Vec<u8>) {
        match self {
            Self::Ok(slice) => put(
                buf,
                &OkView {
                    opcode: OP_OK.into(),
                    reserved: U16::ZERO,
                    slice: slice.0.into(),
                },
            ),
            Self::Retransmit(retransmit) => {
                put(
                    buf,
                    &RetransmitView {
                        opcode: OP_RETRANSMIT.into(),
                        reserved: U16::ZERO,
                        slice: retransmit.slice.0.into(),
                        round: retransmit.round.into(),
                    },
                );
                buf.extend_from_slice(&retransmit.received.to_bytes());
            }
            Self::Go => put(
                buf,
                &BareView {
                    opcode: OP_GO.into(),
                    reserved: U16::ZERO,
                },
            ),
            Self::ConnectReq(request) => put(
                buf,
                &ConnectReqView {
                    opcode: OP_CONNECT_REQ.into(),
                    reserved: U16::ZERO,
                    capabilities: request.capabilities.0.into(),
                    rcvbuf: request.rcvbuf.into(),
                },
            ),
            Self::Disconnect => {
                put(
                    buf,
                    &BareView {
                        opcode: OP_DISCONNECT.into(),
                        reserved: U16::ZERO,
                    },
                );
            }
            Self::ReqAck(request) => {
                put(
                    buf,
                    &ReqAckView {
                        opcode: OP_REQACK.into(),
                        reserved: U16::ZERO,
                        slice: request.slice.0.into(),
                        slice_len: request.slice_len.into(),
                        round: request.round.into(),
                    },
                );
                buf.extend_from_slice(&request.ready.to_bytes());
            }
            Self::ConnectReply(reply) => reply.emit(buf),
            Self::Data(data) => {
                put(
                    buf,
                    &BlockView {
                        opcode: OP_DATA.into(),
                        stripes: U16::ZERO,
                        slice: data.slice.0.into(),
                        block: data.block.0.into(),
                        reserved: U16::ZERO,
                        slice_len: data.slice_len.into(),
                    },
                );
                buf.extend_from_slice(data.payload);
            }
            Self::Fec(fec) => {
                put(
                    buf,
                    &BlockView {
                        opcode: OP_FEC.into(),
                        stripes: fec.stripes.into(),
                        slice: fec.slice.0.into(),
                        block: fec.block.0.into(),
                        reserved: U16::ZERO,
                        slice_len: fec.slice_len.into(),
                    },
                );
                buf.extend_from_slice(fec.payload);
            }
            Self::Hello(hello) => hello.emit(buf),
            Self::Unknown(opcode) => put(buf, &U16::from(*opcode)),
        }
    }
}

impl Hello {
    fn parse(kind: HelloKind, datagram: &[u8]) -> Result<Self, ParseError> {
        let (fixed, _) = view::<HelloView>("HELLO", datagram)?;
        Ok(Self {
            kind,
            capabilities: Capabilities(fixed.capabilities.get()),
            data_address: fixed.data_address.into(),
            block_size: fixed.block_size.get(),
        })
    }

    fn emit(&self, buf: &mut Vec<u8>) {
        let opcode = match self.kind {
            HelloKind::Plain => OP_HELLO,
            HelloKind::PlainNew => OP_HELLO_NEW,
            HelloKind::Streaming => OP_HELLO_STREAMING,
        };
        put(
            buf,
            &HelloView {
                opcode: opcode.into(),
                reserved: U16::ZERO,
                capabilities: self.capabilities.0.into(),
                data_address: self.data_address.octets(),
                filler: [0; 12],
                block_size: self.block_size.into(),
            },
        );
        buf.extend_from_slice(&[0; 2]);
    }
}

impl ConnectReq {
    fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        view::<BareView>("CONNECT_REQ", datagram)?;
        let mut padded = [0; size_of::<ConnectReqView>()];
        for (to, from) in padded.iter_mut().zip(datagram) {
            *to = *from;
        }
        let (fixed, _) = view::<ConnectReqView>("CONNECT_REQ", &padded)?;
        Ok(Self {
            capabilities: Capabilities(fixed.capabilities.get()),
            rcvbuf: fixed.rcvbuf.get(),
        })
    }
}

impl ConnectReply {
    fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let (fixed, _) = view::<ConnectReplyView>("CONNECT_REPLY", datagram)?;
        let client = match fixed.client.get() {
            REFUSED => None,
            number => match u16::try_from(number) {
                Ok(number) if number < MAX_PARTICIPANTS => Some(ClientNo(number)),
                _ => return Err(ParseError::ClientNumber(number)),
            },
        };
        Ok(Self {
            client,
            block_size: fixed.block_size.get(),
            capabilities: Capabilities(fixed.capabilities.get()),
            data_address: fixed.data_address.into(),
        })
    }

    fn emit(&self, buf: &mut Vec<u8>) {
        put(
            buf,
            &ConnectReplyView {
                opcode: OP_CONNECT_REPLY.into(),
                reserved: U16::ZERO,
                client: self
                    .client
                    .map_or(U32::new(REFUSED), |client| u32::from(client.0).into()),
                block_size: self.block_size.into(),
                capabilities: self.capabilities.0.into(),
                data_address: self.data_address.octets(),
            },
        );
        buf.extend_from_slice(&[0; 12]);
    }
}

fn view<'a, T>(message: &'static str, datagram: &'a [u8]) -> Result<(&'a T, &'a [u8]), ParseError>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_prefix(datagram).map_err(|_| ParseError::TooShort {
        message,
        needed: size_of::<T>(),
        found: datagram.len(),
    })
}

fn put<T: IntoBytes + Immutable>(buf: &mut Vec<u8>, fixed: &T) {
    buf.extend_from_slice(fixed.as_bytes());
}
