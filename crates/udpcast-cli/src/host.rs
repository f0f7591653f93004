//! Hosts that are given by name or address.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};

use cast_net::SenderChoice;

use crate::{Refusal, numbers};

/// Where to ask for a sender, as given with `option`: an address in any form that the C library takes, or
/// the name of a host.
///
/// # Errors
/// The name is not known, or has no IPv4 address.
pub fn rendezvous(option: &'static str, given: Option<&str>) -> Result<Option<Ipv4Addr>, Refusal> {
    given.map(|text| host(option, text)).transpose()
}

/// The sender to listen to, as given with `--sender`: an address, a name, or `any`.
///
/// # Errors
/// The name is not known, or has no IPv4 address.
pub fn sender_choice(given: Option<&str>) -> Result<SenderChoice, Refusal> {
    Ok(match given {
        None => SenderChoice::Rendezvous,
        Some("any") => SenderChoice::First,
        Some(text) => SenderChoice::Only(host("--sender", text)?),
    })
}

fn host(option: &'static str, text: &str) -> Result<Ipv4Addr, Refusal> {
    if let Some(address) = numbers::address(text) {
        return Ok(address);
    }
    let text = text.to_owned();
    let found = match (&*text, 0).to_socket_addrs() {
        Ok(found) => found,
        Err(source) => {
            return Err(Refusal::Host {
                option,
                text,
                source,
            });
        }
    };
    let mut addresses = found.filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    });
    addresses.next().ok_or(Refusal::NoIpv4 { option, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_given_by_name_or_address() {
        let rdv = |text| rendezvous("--rdv", Some(text));
        assert_eq!(rdv("10.0.0.5").unwrap(), Some(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(rdv("localhost").unwrap(), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(rendezvous("--rdv", None).unwrap(), None);
        let only = SenderChoice::Only(Ipv4Addr::LOCALHOST);
        assert_eq!(sender_choice(Some("localhost")).unwrap(), only);
        assert_eq!(sender_choice(Some("any")).unwrap(), SenderChoice::First);
        assert_eq!(sender_choice(None).unwrap(), SenderChoice::Rendezvous);
    }

    #[test]
    fn a_host_that_is_not_known_is_named_with_its_option() {
        // No name has an empty label, or one that long: no server is asked.
        for name in ["host..invalid", &"x".repeat(300), ""] {
            let error = rendezvous("--rdv", Some(name)).unwrap_err();
            assert!(matches!(error, Refusal::Host { .. }), "{error:?}");
            let text = error.to_string();
            assert!(
                text.starts_with("--rdv ") && text.contains("IPv4 address"),
                "{text}"
            );
        }
    }
}
