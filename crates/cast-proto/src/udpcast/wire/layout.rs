//! Views: the fixed parts of the messages as they lie in a datagram, and no judgement.
//!
//! All fields are big-endian. Offsets and names after udpcast's `udpc-protoc.h` messages.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// HELLO and HELLO_STREAMING up to the block size, 26 octets; two of filler follow on the wire.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HelloView {
    pub(super) opcode: U16,
    pub(super) reserved: U16,
    pub(super) capabilities: U32,
    pub(super) data_address: [u8; 4],
    pub(super) filler: [u8; 12],
    pub(super) block_size: U16,
}

/// CONNECT_REQ, 12 octets.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ConnectReqView {
    pub(super) opcode: U16,
    pub(super) reserved: U16,
    pub(super) capabilities: U32,
    pub(super) rcvbuf: U32,
}

/// CONNECT_REPLY up to the data address, 20 octets; twelve of filler follow on the wire.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ConnectReplyView {
    pub(super) opcode: U16,
    pub(super) reserved: U16,
    pub(super) client: U32,
    pub(super) block_size: U32,
    pub(super) capabilities: U32,
    pub(super) data_address: [u8; 4],
}

/// Fixed part of DATA and FEC, 16 octets; the payload follows.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BlockView {
    pub(super) opcode: U16,
    /// Number of stripes in FEC, reserved in DATA.
    pub(super) stripes: U16,
    pub(super) slice: U32,
    pub(super) block: U16,
    pub(super) reserved: U16,
    pub(super) slice_len: U32,
}

/// Fixed part of REQACK, 16 octets; the ready set of 128 octets follows.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ReqAckView {
    pub(super) opcode: U16,
    pub(super) reserved: U16,
    pub(super) slice: U32,
    pub(super) slice_len: U32,
    pub(super) round: U32,
}

/// OK, 8 octets.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct OkView {
    pub(super) opcode: U16,
    pub(super) reserved: U16,
    pub(super) slice: U32,
}

/// Fixed part of RETRANSMIT, 12 octets; the bitmap of 128 octets follows.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RetransmitView {
    pub(super) opcode: U16,
    pub(super) reserved: U16,
    pub(super) slice: U32,
    pub(super) round: U32,
}

/// GO and DISCONNECT, 4 octets.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BareView {
    pub(super) opcode: U16,
    pub(super) reserved: U16,
}
