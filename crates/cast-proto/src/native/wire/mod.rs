//! What datagrams say: bytes to meaning and back (5).
//!
//! Everything is little-endian. Parsers take any bytes, allocate no more than a datagram can describe, and never
//! panic. Sealing and signatures are in [`keys`](super::keys); here is what is inside. What depends on the
//! state of a session (which chunks there are, which counter was the last) is checked where that state is.

#![warn(clippy::indexing_slicing)]

mod beacon;
mod data;
mod feedback;
mod head;
mod leb128;
mod runs;
mod seal;
mod status;
#[cfg(test)]
mod tests;
mod tlv;

use thiserror::Error;

pub use beacon::{
    ANNOUNCED_MAX, Announced, Announcement, BEACON_MAX, Beacon, BeaconFlags, ENDED_MAX, Ended,
    SenderState,
};
pub use data::{DATA_HEADER_LEN, DATA_LEN, DataHeader};
pub use feedback::{FEEDBACK_MAX, LACKS_MAX, Lacks, NEEDS_MAX, Need, NeedBody, POLLUTED_MAX};
pub use head::{
    BEACON_HEAD_LEN, BeaconHead, FEEDBACK_HEAD_LEN, FeedbackHead, FeedbackKind, NONCE_LEN,
    SEAL_HEAD_LEN, SealHead,
};
pub use leb128::{read_leb128, write_leb128};
pub use runs::{Plan, PlanRun, Priority, Run, Runs};
pub use seal::{DIGEST_LEN, DIGESTS_MAX, SealBody};
pub use status::{STATUS_LEN, Status, StatusFlags};

/// Bytes of the tag that AEAD appends.
pub const AEAD_TAG_LEN: usize = 16;

/// Bytes of an ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// Tells apart sessions on one group and senders of one session (5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 4]);

/// One life of a sender: Unix milliseconds at its start, greater than any before (5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(pub u64);

/// A receiver, by the number that the server gave it. One process has it, once (5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNo(pub u32);

/// The type of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A symbol.
    Data,
    /// The sender's state, signed.
    Beacon,
    /// Digests of DATA, signed.
    Seal,
    /// What a receiver needs and lacks.
    Need,
    /// How a receiver fares.
    Status,
}

/// Why bytes are not a datagram of this protocol.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// Another version in the first byte, or an unknown type (5.1).
    #[error("the first byte {first:#04x} is of another version or an unknown type")]
    Kind {
        /// It.
        first: u8,
    },
    /// It ends too early, or goes on after its end.
    #[error("{what} has a wrong length")]
    Length {
        /// What ends.
        what: &'static str,
    },
    /// More items than a datagram of this kind may have, or a number that is too long.
    #[error("{what} is out of bounds")]
    Bounds {
        /// What it is.
        what: &'static str,
    },
    /// A code that has no meaning in this version.
    #[error("{what} has no meaning")]
    Code {
        /// What it is.
        what: &'static str,
    },
}

const VERSION: u8 = 1;

/// What kind of datagram this is, by its first byte.
///
/// # Errors
/// If there is no byte, or it is of another version or of an unknown type. Such datagrams are dropped and counted (5.1).
pub fn kind(datagram: &[u8]) -> Result<Kind, ParseError> {
    let first = *datagram
        .first()
        .ok_or(ParseError::Length { what: "datagram" })?;
    match (first >> 4, first & 0xf) {
        (VERSION, 0) => Ok(Kind::Data),
        (VERSION, 1) => Ok(Kind::Beacon),
        (VERSION, 2) => Ok(Kind::Seal),
        (VERSION, 3) => Ok(Kind::Need),
        (VERSION, 4) => Ok(Kind::Status),
        _ => Err(ParseError::Kind { first }),
    }
}

impl Kind {
    fn first_byte(self) -> u8 {
        VERSION << 4 | self as u8
    }
}

/// Cuts bytes from the front.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
    /// What is being read, for errors.
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    fn too_short(&self) -> ParseError {
        ParseError::Length { what: self.what }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let (head, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or_else(|| self.too_short())?;
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (head, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or_else(|| self.too_short())?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, ParseError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_le_bytes)
    }

    fn leb128(&mut self) -> Result<u64, ParseError> {
        let (value, rest) = read_leb128(self.bytes)?;
        self.bytes = rest;
        Ok(value)
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
