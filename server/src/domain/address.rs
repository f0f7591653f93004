//! Addresses that belong together.

use std::net::{IpAddr, Ipv6Addr};

/// What counts as one address: a host has a whole /64 network of IPv6 for itself.
#[must_use]
pub fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 => v4,
    }
}
