//! Helpers of the tests: captures.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

/// A UDP datagram of a capture.
pub(crate) struct Packet {
    /// Time since the first packet of the file.
    pub(crate) at: Duration,
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

/// Reads a classic little-endian pcap file of Ethernet frames with whole UDP datagrams.
pub(crate) fn capture(name: &str) -> Vec<Packet> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(name);
    let file = std::fs::read(&path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()));
    assert_eq!(
        file[..4],
        [0xd4, 0xc3, 0xb2, 0xa1],
        "not a little-endian pcap file"
    );
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let mut packets = Vec::new();
    let mut at = 24;
    let mut first = None;
    while at < file.len() {
        let time = Duration::new(u32_at(at).into(), u32_at(at + 4) * 1000);
        let len = u32_at(at + 8) as usize;
        let frame = &file[at + 16..at + 16 + len];
        at += 16 + len;
        let ip = &frame[14..];
        let udp = &ip[usize::from(ip[0] & 15) * 4..];
        let u16_at = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let addr = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
        packets.push(Packet {
            at: time - *first.get_or_insert(time),
            from: SocketAddrV4::new(addr(12), u16_at(0)),
            to: SocketAddrV4::new(addr(16), u16_at(2)),
            payload: udp[8..usize::from(u16_at(4))].to_vec(),
        });
    }
    packets
}
