//! The udpcast protocol (programs `udp-sender` and `udp-receiver`).
//!
//! A sender announces itself (HELLO), receivers ask to take part (CONNECT_REQ) and get a client
//! number. The stream is cut into slices of blocks; a slice is sent block by block, then every
//! participant is asked (REQACK) and answers OK or RETRANSMIT with the blocks it has. A slice of
//! 0 bytes ends the stream. Nothing on the wire tells one transfer from another, and nothing
//! protects the bytes beyond the UDP checksum: verify the stream by what is in it.

pub mod fec;
pub mod receiver;
pub mod sender;
pub mod wire;

use std::fmt;
use std::net::Ipv4Addr;

/// Port base of the original programs: receivers use it, the sender the next one.
pub const DEFAULT_PORT_BASE: u16 = 9000;

/// Block size of the original programs: fills an Ethernet frame of 1500 bytes.
pub const DEFAULT_BLOCK_SIZE: u16 = 1456;

/// Largest block a datagram can carry behind the 16-byte header (65507 - 16).
pub const MAX_BLOCK_SIZE: u16 = 65_491;

/// Most blocks in a slice: the size of the bitmap in RETRANSMIT.
pub const MAX_BLOCKS_PER_SLICE: u16 = 1024;

/// Most participants of a transfer: the size of the ready set in REQACK.
pub const MAX_PARTICIPANTS: u16 = 1024;

/// Multicast group used when an interface has no broadcast address, or for a TTL other than 1.
pub const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// Number of a slice, counted from 0 through the transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceNo(pub u32);

impl SliceNo {
    /// The slice behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for SliceNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of a block in its slice, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNo(pub u16);

impl fmt::Display for BlockNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a participant, 0 to 1023; the lowest free one is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNo(pub u16);

impl fmt::Display for ClientNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Datagrams that were dropped without effect, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Too short, unknown opcode, or a field out of range.
    pub malformed: u64,
    /// From an address or port that has no say in this transfer.
    pub stranger: u64,
    /// Well formed and from a peer, but of no meaning at this time.
    pub unexpected: u64,
    /// About a slice or a round that is over, or a block already there.
    pub stale: u64,
    /// Contradicts what is known: another slice length, another number of stripes.
    pub inconsistent: u64,
    /// No memory left for it under the configured bound.
    pub no_room: u64,
}

impl Ignored {
    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.malformed
            .saturating_add(self.stranger)
            .saturating_add(self.unexpected)
            .saturating_add(self.stale)
            .saturating_add(self.inconsistent)
            .saturating_add(self.no_room)
    }
}

/// Multicast group for the data of a sender with address `own`.
///
/// The low 17 bits of the address behind 233.254.0.0/15, as udpcast does since 20230924; the rule
/// before that could end in 232.0.0.0/8, which is reserved for source-specific multicast.
#[must_use]
pub fn default_data_group(own: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits((own.to_bits() & 0x0001_ffff) | 0xe9fe_0000)
}

/// Multicast group that senders up to udpcast 20211207 choose: the low 27 bits behind 232.0.0.0/5.
#[must_use]
pub fn legacy_data_group(own: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits((own.to_bits() & 0x07ff_ffff) | 0xe800_0000)
}

/// Number of blocks in a slice of `slice_len` bytes.
#[must_use]
fn block_count(slice_len: u32, block_size: u16) -> u32 {
    slice_len.div_ceil(u32::from(block_size.max(1)))
}

/// Length in bytes of block `block` of a slice: `block_size`, fewer for the last; 0 behind it.
#[must_use]
fn block_len(slice_len: u32, block_size: u16, block: BlockNo) -> u16 {
    let before = u32::from(block.0) * u32::from(block_size);
    let left = slice_len.saturating_sub(before);
    u16::try_from(left).map_or(block_size, |left| left.min(block_size))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test data is small")]
mod tests {
    use super::*;

    #[test]
    fn data_group_follows_the_rule_of_each_version() {
        let new = |a: [u8; 4]| default_data_group(Ipv4Addr::from(a)).octets();
        assert_eq!(new([10, 99, 0, 1]), [233, 255, 0, 1]);
        assert_eq!(new([127, 0, 0, 1]), [233, 254, 0, 1]);
        assert_eq!(new([192, 168, 1, 5]), [233, 254, 1, 5]);
        assert_eq!(new([193, 1, 2, 3]), [233, 255, 2, 3]);
        assert_eq!(new([10, 0, 0, 5]), [233, 254, 0, 5]);
        let old = |a: [u8; 4]| legacy_data_group(Ipv4Addr::from(a)).octets();
        assert_eq!(old([10, 99, 0, 1]), [234, 99, 0, 1]);
        assert_eq!(old([127, 0, 0, 1]), [239, 0, 0, 1]);
        assert_eq!(old([192, 168, 1, 5]), [232, 168, 1, 5]);
    }

    #[test]
    fn only_the_last_block_of_a_slice_is_short() {
        let lens = |len| {
            (0..block_count(len, 1456))
                .map(move |i| block_len(len, 1456, BlockNo(i as u16)))
                .collect::<Vec<_>>()
        };
        assert_eq!(lens(4368), [1456, 1456, 1456]);
        assert_eq!(lens(632), [632]);
        assert_eq!(lens(1457), [1456, 1]);
        assert_eq!(lens(0), [0_u16; 0]);
        assert_eq!(block_len(632, 1456, BlockNo(1)), 0);
        assert_eq!(block_len(u32::MAX, 65_491, BlockNo(1023)), 65_491);
    }
}
