//! IPv4 packets as raw sockets have them: IGMP queries, echoes.

use std::net::Ipv4Addr;

/// Length of an IPv4 header without options, in bytes.
pub const IP_HEADER_LEN: usize = 20;

/// Length of the header of an ICMP echo, in bytes.
pub const ECHO_HEADER_LEN: usize = 8;

/// Where the sender of an IGMP query says that it is; `None` if the packet is no query. A switch that asks
/// without having an address says 0.0.0.0.
#[must_use]
pub fn igmp_query(packet: &[u8]) -> Option<Ipv4Addr> {
    let (source, payload) = payload(packet, IGMP)?;
    // Type, time, checksum, group (RFC 2236, section 2): the same start in all versions.
    let message = payload.get(..IGMP_LEN)?;
    (message.first() == Some(&MEMBERSHIP_QUERY)).then_some(source)
}

/// An IGMPv2 packet that says: `own` leaves `group` (RFC 2236). A querier asks the group at once whether any
/// other member is left, so it can be heard without waiting for its next round. The kernel fills in length
/// and checksum of the header.
#[must_use]
pub fn igmp_leave(own: Ipv4Addr, group: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![LEAVE_GROUP, 0, 0, 0];
    message.extend_from_slice(&group.octets());
    fill_checksum(&mut message);
    // Version 4, header of 24 bytes, internetwork control; no fragment; TTL 1.
    let mut packet = vec![0x46, 0xc0, 0, 0, 0, 0, 0, 0, 1, IGMP, 0, 0];
    packet.extend_from_slice(&own.octets());
    packet.extend_from_slice(&ALL_ROUTERS.octets());
    packet.extend_from_slice(&ROUTER_ALERT);
    packet.extend_from_slice(&message);
    packet
}

/// An ICMP echo request of `len` bytes, at least its header.
#[must_use]
pub fn echo_request(id: u16, sequence: u16, len: usize) -> Vec<u8> {
    let mut message = vec![ECHO_REQUEST, 0, 0, 0];
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.resize(len.max(ECHO_HEADER_LEN), 0x5a);
    fill_checksum(&mut message);
    message
}

/// The sequence number of an echo reply with this `id` from `from`, if the packet is one.
#[must_use]
pub fn echo_reply(packet: &[u8], id: u16, from: Ipv4Addr) -> Option<u16> {
    let (source, payload) = payload(packet, ICMP)?;
    let header: [u8; ECHO_HEADER_LEN] = payload.get(..ECHO_HEADER_LEN)?.try_into().ok()?;
    let [kind, _, _, _, id_high, id_low, high, low] = header;
    let is_ours =
        source == from && kind == ECHO_REPLY && u16::from_be_bytes([id_high, id_low]) == id;
    is_ours.then_some(u16::from_be_bytes([high, low]))
}

/// Source and payload of an IPv4 packet with this protocol.
fn payload(packet: &[u8], protocol: u8) -> Option<(Ipv4Addr, &[u8])> {
    let header = packet.get(..IP_HEADER_LEN)?;
    let first = *header.first()?;
    let header_len = usize::from(first & 0x0f) * 4;
    let is_right =
        first >> 4 == 4 && header_len >= IP_HEADER_LEN && header.get(9) == Some(&protocol);
    if !is_right {
        return None;
    }
    let source: [u8; 4] = header.get(12..16)?.try_into().ok()?;
    Some((source.into(), packet.get(header_len..)?))
}

/// Puts the Internet checksum (RFC 1071) into octets 2 and 3.
fn fill_checksum(message: &mut [u8]) {
    let sum: u32 = message
        .chunks(2)
        .map(|pair| {
            let high = pair.first().copied().unwrap_or_default();
            let low = pair.get(1).copied().unwrap_or_default();
            u32::from(u16::from_be_bytes([high, low]))
        })
        .sum();
    // At most 64 KB are summed, so two foldings are enough.
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !u16::try_from(folded).unwrap_or(u16::MAX);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
}

const ICMP: u8 = 1;
const IGMP: u8 = 2;
const IGMP_LEN: usize = 8;
const MEMBERSHIP_QUERY: u8 = 0x11;
const LEAVE_GROUP: u8 = 0x17;
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// RFC 2113; some routers look at nothing else.
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 70, 79);

    #[test]
    fn a_leave_is_as_rfc_2236_has_it() {
        assert_eq!(
            igmp_leave(OWN, GROUP),
            [
                0x46, 0xc0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 7, 224, 0, 0, 2, 0x94, 4, 0, 0,
                0x17, 0, 0xb2, 0xb0, 239, 255, 70, 79
            ]
        );
    }

    #[test]
    fn only_queries_are_queries() {
        let mut packet = igmp_leave(OWN, GROUP);
        assert_eq!(igmp_query(&packet), None);
        packet[24] = MEMBERSHIP_QUERY;
        assert_eq!(igmp_query(&packet), Some(OWN));
        for len in 0..packet.len() {
            assert_eq!(igmp_query(&packet[..len]), None, "{len}");
        }
        for first in [0x45, 0x56, 0x44, 0x4f] {
            let mut other = packet.clone();
            other[0] = first;
            assert_eq!(igmp_query(&other), None, "{first:x}");
        }
        packet[9] = 17;
        assert_eq!(igmp_query(&packet), None);
    }

    #[test]
    fn an_echo_is_known_by_its_numbers() {
        let request = echo_request(0x0102, 7, 0);
        assert_eq!(request, [8, 0, 0xf6, 0xf6, 1, 2, 0, 7]);
        assert_eq!(echo_request(1, 1, 1472).len(), 1472);
        let mut packet = igmp_leave(OWN, GROUP)[..24].to_vec();
        packet[9] = ICMP;
        packet.extend_from_slice(&request);
        assert_eq!(echo_reply(&packet, 0x0102, OWN), None);
        packet[24] = ECHO_REPLY;
        assert_eq!(echo_reply(&packet, 0x0102, OWN), Some(7));
        assert_eq!(echo_reply(&packet, 0x0103, OWN), None);
        assert_eq!(echo_reply(&packet, 0x0102, GROUP), None);
    }

    proptest! {
        #[test]
        fn no_packet_does_harm(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (igmp_query(&packet), echo_reply(&packet, 1, OWN));
        }

        #[test]
        fn an_echo_with_its_checksum_adds_up(len in 8_usize..2000, id: u16, sequence: u16) {
            let mut message = echo_request(id, sequence, len);
            if len % 2 == 1 {
                message.push(0);
            }
            // One's complement addition, a step at a time.
            let sum = message.chunks(2).fold(0_u32, |sum, pair| {
                let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
                (sum & 0xffff) + (sum >> 16)
            });
            prop_assert_eq!(sum, 0xffff);
        }
    }
}
