//! Network interfaces: which there are, and which one a transfer uses.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// One IPv4 address of a network interface. An interface with two addresses appears twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name as the kernel lists it, with the label of an alias (`eth0`, `eth0:1`).
    pub name: String,
    /// Number of the interface in the kernel; 0 when it could not be asked.
    pub index: u32,
    /// The address.
    pub addr: Ipv4Addr,
    /// Length of the network prefix in bits, 0 to 32.
    pub prefix_len: u8,
    /// The broadcast address, when one is configured.
    pub broadcast: Option<Ipv4Addr>,
    /// Switched on and with a carrier.
    pub is_up: bool,
    /// The loopback interface.
    pub is_loopback: bool,
}

/// Why no interface could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The kernel's list could not be read.
    #[error("cannot list the network interfaces")]
    List(#[source] io::Error),
    /// No interface has the wanted name or address.
    #[error(
        "no network interface is called \"{wanted}\" or has that address; there are: {available}"
    )]
    NotFound {
        /// The name or address asked for.
        wanted: String,
        /// What there is.
        available: Available,
    },
    /// No interface has an IPv4 address at all.
    #[error("no network interface has an IPv4 address; configure one first")]
    None,
    /// The kernel has no route to a peer.
    #[error("there is no route to {peer}; check the address and the gateway")]
    NoRoute {
        /// The address that cannot be reached.
        peer: Ipv4Addr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The source address of a route belongs to no interface.
    #[error("packets to {peer} would leave from {addr}, which belongs to no interface")]
    Unowned {
        /// The address to be reached.
        peer: Ipv4Addr,
        /// The source address that the kernel would use.
        addr: Ipv4Addr,
    },
}

/// A list of interfaces for people.
#[derive(Debug)]
pub struct Available(Vec<(String, Ipv4Addr)>);

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, (name, addr)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name} ({addr})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.name, self.addr, self.prefix_len)
    }
}

impl Interface {
    /// All IPv4 addresses of this host, in the kernel's order.
    ///
    /// # Errors
    /// The kernel refuses the list.
    pub fn list() -> Result<Vec<Self>, InterfaceError> {
        let entries = getifaddrs().map_err(|errno| InterfaceError::List(errno.into()))?;
        let mut interfaces = Vec::new();
        for entry in entries {
            let Some(addr) = ipv4(entry.address.as_ref()) else {
                continue;
            };
            let netmask = ipv4(entry.netmask.as_ref()).unwrap_or(Ipv4Addr::BROADCAST);
            // Without a configured broadcast address, getifaddrs gives the interface's own.
            let broadcast = ipv4(entry.broadcast.as_ref())
                .filter(|broadcast| !broadcast.is_unspecified() && *broadcast != addr);
            let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
            interfaces.push(Self {
                index: if_nametoindex(entry.interface_name.as_str()).unwrap_or(0),
                name: entry.interface_name,
                addr,
                // At most 32, the bits of a u32.
                prefix_len: u8::try_from(netmask.to_bits().count_ones()).unwrap_or(32),
                broadcast,
                is_up: entry.flags.contains(running),
                is_loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            });
        }
        Ok(interfaces)
    }

    /// The interface that udpcast would take: `wanted` is a name, the start of a name or an address
    /// (its option `--interface` or the variable `IFNAME`); without it, Ethernet names go first.
    ///
    /// # Errors
    /// Nothing fits; the error lists what there is.
    pub fn choose<'a>(list: &'a [Self], wanted: Option<&str>) -> Result<&'a Self, InterfaceError> {
        let mut best: Option<(u32, &Self)> = None;
        for interface in list {
            let Some(score) = interface.score(wanted) else {
                continue;
            };
            // The first one listed wins a tie.
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, interface));
            }
        }
        match (best, wanted) {
            (Some((_, interface)), _) => Ok(interface),
            (None, Some(wanted)) => Err(InterfaceError::NotFound {
                wanted: wanted.to_owned(),
                available: Available(list.iter().map(|i| (i.name.clone(), i.addr)).collect()),
            }),
            (None, None) => Err(InterfaceError::None),
        }
    }

    /// The interface through which the kernel's routes reach `peer`. Sends nothing.
    ///
    /// # Errors
    /// There is no route, or its source address belongs to no interface.
    pub fn towards(peer: Ipv4Addr) -> Result<Self, InterfaceError> {
        let route = || {
            let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
            // Port 9 (discard): connecting a UDP socket only looks up the route.
            socket.connect(SocketAddrV4::new(peer, 9))?;
            socket.local_addr()
        };
        let local = route().map_err(|source| InterfaceError::NoRoute { peer, source })?;
        let addr = match local.ip() {
            std::net::IpAddr::V4(addr) => addr,
            std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        Self::list()?
            .into_iter()
            .find(|interface| interface.addr == addr)
            .ok_or(InterfaceError::Unowned { peer, addr })
    }

    /// The points of udpcast's choice; `None` is out of the question.
    fn score(&self, wanted: Option<&str>) -> Option<u32> {
        let base = match wanted {
            Some(wanted) if self.name == wanted => 12,
            Some(wanted) if wanted.parse() == Ok(self.addr) => 8,
            Some(wanted) if !wanted.is_empty() && self.name.starts_with(wanted) => 7,
            Some(_) => return None,
            None if self.addr.is_unspecified() => 1,
            None if self.addr == Ipv4Addr::LOCALHOST => 2,
            None if self.name == "eth0" || self.name == "en0" => 6,
            None if self.name.starts_with("eth0:") => 5,
            None if self.name.starts_with("eth") || self.name.starts_with("en") => 4,
            None => 3,
        };
        let link = if self.is_up { 3 } else { 0 };
        Some((base + link) * 2 + u32::from(self.broadcast.is_some()))
    }
}

fn ipv4(address: Option<&nix::sys::socket::SockaddrStorage>) -> Option<Ipv4Addr> {
    Some(address?.as_sockaddr_in()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addr: [u8; 4]) -> Interface {
        Interface {
            name: name.to_owned(),
            index: 1,
            addr: addr.into(),
            prefix_len: 24,
            broadcast: Some([addr[0], addr[1], addr[2], 255].into()),
            is_up: true,
            is_loopback: false,
        }
    }

    fn several() -> Vec<Interface> {
        let mut lo = interface("lo", [127, 0, 0, 1]);
        lo.broadcast = None;
        lo.is_loopback = true;
        vec![
            lo,
            interface("br0", [10, 0, 0, 1]),
            interface("enp3s0", [10, 0, 1, 1]),
            interface("eth0:1", [10, 0, 2, 1]),
            interface("eth0", [10, 0, 3, 1]),
            interface("eth1", [10, 0, 4, 1]),
        ]
    }

    #[test]
    fn ethernet_names_go_first_and_loopback_last() {
        let mut list = several();
        for expected in ["eth0", "eth0:1", "enp3s0", "eth1", "br0", "lo"] {
            let chosen = Interface::choose(&list, None).unwrap().name.clone();
            assert_eq!(chosen, expected);
            list.retain(|interface| interface.name != chosen);
        }
        assert!(matches!(
            Interface::choose(&list, None),
            Err(InterfaceError::None)
        ));
    }

    #[test]
    fn a_link_that_is_down_loses_to_one_that_is_up() {
        let mut list = several();
        for down in &mut list {
            down.is_up = down.name == "br0";
        }
        assert_eq!(Interface::choose(&list, None).unwrap().name, "br0");
    }

    #[test]
    fn a_broadcast_address_breaks_a_tie() {
        let mut list = vec![
            interface("a0", [10, 0, 0, 1]),
            interface("a1", [10, 0, 1, 1]),
        ];
        assert_eq!(Interface::choose(&list, None).unwrap().name, "a0");
        list[0].broadcast = None;
        assert_eq!(Interface::choose(&list, None).unwrap().name, "a1");
    }

    #[test]
    fn a_wish_is_a_name_an_address_or_the_start_of_a_name() {
        let list = several();
        let chosen = |wanted| Interface::choose(&list, Some(wanted)).unwrap().name.clone();
        assert_eq!(chosen("eth1"), "eth1");
        assert_eq!(chosen("eth0"), "eth0");
        assert_eq!(chosen("10.0.1.1"), "enp3s0");
        assert_eq!(chosen("enp"), "enp3s0");
        // Two begin with it: the first one listed.
        assert_eq!(chosen("et"), "eth0:1");
    }

    #[test]
    fn an_unknown_wish_is_answered_with_what_there_is() {
        let list = several();
        let text = Interface::choose(&list, Some("wlan7"))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("wlan7") && text.contains("br0 (10.0.0.1)"),
            "{text}"
        );
    }

    #[test]
    fn this_host_reaches_itself_through_loopback() {
        let lo = Interface::towards(Ipv4Addr::LOCALHOST).unwrap();
        assert!(
            lo.is_loopback && lo.addr == Ipv4Addr::LOCALHOST && lo.prefix_len == 8,
            "{lo:?}"
        );
        assert!(lo.index > 0);
    }
}
