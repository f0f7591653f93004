//! Wake-on-LAN: the packet that switches a machine on, and where it goes.

use std::net::Ipv4Addr;

use fog::Mac;

/// What a card waits for that is asleep: six times 255, and its address sixteen times.
#[must_use]
pub fn magic_packet(mac: Mac) -> [u8; 102] {
    let mut packet = [0xff; 102];
    for (place, octet) in packet.iter_mut().skip(6).zip(mac.0.iter().cycle()) {
        *place = *octet;
    }
    packet
}

/// The broadcast address of the network of an address; `None` where there is none (point to point).
#[must_use]
pub fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    if prefix_len > 30 {
        return None;
    }
    let hosts = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    Some(Ipv4Addr::from_bits(address.to_bits() | hosts))
}

/// Discard: nobody answers.
pub const PORT: u16 = 9;

/// A packet may be lost, and nothing says so.
pub const TIMES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_the_address_sixteen_times() {
        let mac = Mac([0, 0x1b, 0x21, 0xaa, 0xbb, 0xcc]);
        let packet = magic_packet(mac);
        assert_eq!(packet[..6], [0xff; 6]);
        let repeats: Vec<&[u8]> = packet[6..].chunks(6).collect();
        assert_eq!(repeats, [&mac.0[..]; 16]);
    }

    #[test]
    fn a_network_has_one_broadcast_address() {
        let of = |last, prefix_len| broadcast(Ipv4Addr::new(10, 1, 2, last), prefix_len);
        assert_eq!(of(3, 24), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(of(3, 25), Some(Ipv4Addr::new(10, 1, 2, 127)));
        assert_eq!(of(200, 16), Some(Ipv4Addr::new(10, 1, 255, 255)));
        assert_eq!(of(3, 0), Some(Ipv4Addr::BROADCAST));
        assert_eq!((of(3, 31), of(3, 32)), (None, None));
    }
}
