//! The addresses of a transfer, by udpcast's rules.

use std::net::Ipv4Addr;

use cast_proto::udpcast::ALL_SYSTEMS;

use crate::io::interface::Interface;

/// Where HELLO and the first CONNECT_REQ go: the rendezvous address if one is given; the broadcast
/// address of the interface for TTL 1 (on loopback, which has none, its own address); 224.0.0.1 else.
#[must_use]
pub fn control_address(interface: &Interface, ttl: u8, rendezvous: Option<Ipv4Addr>) -> Ipv4Addr {
    if let Some(rendezvous) = rendezvous {
        return rendezvous;
    }
    if ttl != 1 {
        return ALL_SYSTEMS;
    }
    match interface.broadcast {
        Some(broadcast) => broadcast,
        None if interface.addr.is_loopback() => interface.addr,
        None => ALL_SYSTEMS,
    }
}

/// Where a sender announces itself beside the control address, so that receivers with other settings
/// hear it too: udpcast receivers always listen on the broadcast address, and on 224.0.0.1 when they
/// were given a TTL but no rendezvous address.
#[must_use]
pub fn further_hello_addresses(interface: &Interface, ttl: u8, control: Ipv4Addr) -> Vec<Ipv4Addr> {
    let mut further: Vec<Ipv4Addr> = interface.broadcast.into_iter().collect();
    if ttl != 1 && !interface.is_loopback {
        further.push(ALL_SYSTEMS);
    }
    further.retain(|address| *address != control);
    further
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eth0() -> Interface {
        Interface {
            name: "eth0".into(),
            index: 2,
            addr: [10, 99, 0, 1].into(),
            prefix_len: 24,
            broadcast: Some([10, 99, 0, 255].into()),
            is_up: true,
            is_loopback: false,
        }
    }

    fn lo() -> Interface {
        Interface {
            name: "lo".into(),
            index: 1,
            addr: Ipv4Addr::LOCALHOST,
            prefix_len: 8,
            broadcast: None,
            is_up: true,
            is_loopback: true,
        }
    }

    #[test]
    fn control_address_follows_rendezvous_then_ttl_then_broadcast() {
        let without = Interface {
            broadcast: None,
            ..eth0()
        };
        let server = Ipv4Addr::new(10, 99, 0, 7);
        for (interface, ttl, rendezvous, expected) in [
            (eth0(), 1, None, [10, 99, 0, 255]),
            (lo(), 1, None, [127, 0, 0, 1]),
            (without, 1, None, [224, 0, 0, 1]),
            (eth0(), 32, None, [224, 0, 0, 1]),
            (eth0(), 32, Some(server), [10, 99, 0, 7]),
            (eth0(), 1, Some([239, 1, 2, 3].into()), [239, 1, 2, 3]),
        ] {
            let control = control_address(&interface, ttl, rendezvous);
            assert_eq!(
                control,
                Ipv4Addr::from(expected),
                "{interface} {ttl} {rendezvous:?}"
            );
        }
    }

    #[test]
    fn hello_also_goes_where_receivers_with_other_settings_listen() {
        let broadcast = Ipv4Addr::new(10, 99, 0, 255);
        assert!(further_hello_addresses(&eth0(), 1, broadcast).is_empty());
        assert_eq!(
            further_hello_addresses(&eth0(), 32, ALL_SYSTEMS),
            [broadcast]
        );
        let unicast = Ipv4Addr::new(10, 99, 0, 1);
        assert_eq!(
            further_hello_addresses(&eth0(), 32, unicast),
            [broadcast, ALL_SYSTEMS]
        );
        assert!(further_hello_addresses(&lo(), 1, Ipv4Addr::LOCALHOST).is_empty());
    }
}
