//! Routes and neighbours, from procfs (kernel: `net/ipv4/fib_trie.c`, `net/ipv4/arp.c`).

use std::net::Ipv4Addr;

use cast_net::{Interface, InterfaceError};
use diagnosis::{Look, Neighbour, NextHop, Route, Skipped};

use super::cards::without_label;

/// The kernel's route to `to`.
pub(crate) fn towards(to: Ipv4Addr) -> Look<Route> {
    match Interface::towards(to) {
        Ok(interface) => {
            let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
            let card = without_label(&interface.name).to_owned();
            let next = next_hop(&table, &card, to);
            Ok(Route::Through {
                card,
                own: interface.addr,
                next,
            })
        }
        Err(InterfaceError::NoRoute { .. }) => Ok(Route::Missing),
        Err(error) => Err(Skipped::Failed(readable::chain(&error))),
    }
}

/// Whether the next machine on the way to `to` answers.
pub(super) fn neighbour(to: Ipv4Addr) -> Neighbour {
    let next = match towards(to) {
        Ok(Route::Through {
            next: NextHop::Router(router),
            ..
        }) => router,
        _ => to,
    };
    let table = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    in_table(&table, next)
}

/// The gateway of the longest route by `card`; of equal ones the first.
fn next_hop(table: &str, card: &str, to: Ipv4Addr) -> NextHop {
    let mut best: Option<(u32, u32)> = None;
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [by, destination, gateway, _, _, _, _, mask, ..] = words.as_slice() else {
            continue;
        };
        let (Some(destination), Some(gateway), Some(mask)) =
            (address(destination), address(gateway), address(mask))
        else {
            continue;
        };
        let len = mask.leading_ones();
        let is_better = best.is_none_or(|(known, _)| len > known);
        if *by == card && to.to_bits() & mask == destination && is_better {
            best = Some((len, gateway));
        }
    }
    match best {
        Some((_, gateway)) if gateway != 0 => NextHop::Router(Ipv4Addr::from_bits(gateway)),
        _ => NextHop::Direct,
    }
}

/// Octets of the network's order, as a number of this machine's order in hexadecimal digits.
fn address(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok().map(u32::to_be)
}

fn in_table(table: &str, wanted: Ipv4Addr) -> Neighbour {
    let wanted = wanted.to_string();
    let flags = table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == wanted).then(|| words.nth(1))?
    });
    let flags =
        flags.and_then(|flags| u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
    match flags {
        None => Neighbour::Unknown,
        Some(flags) if flags & COMPLETE == 0 => Neighbour::Silent,
        Some(_) => Neighbour::Answers,
    }
}

/// `ATF_COM` in `include/uapi/linux/if_arp.h`.
const COMPLETE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_longest_route_counts() {
        let table = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0001000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth1\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
broken line
";
        let next = |card, to: [u8; 4]| next_hop(table, card, to.into());
        assert_eq!(next("eth0", [10, 0, 1, 9]), NextHop::Direct);
        let router = NextHop::Router(Ipv4Addr::new(10, 0, 1, 1));
        assert_eq!(next("eth0", [10, 0, 2, 9]), router);
        assert_eq!(next("eth1", [10, 0, 2, 9]), NextHop::Direct);
        assert_eq!(next_hop("", "eth0", Ipv4Addr::LOCALHOST), NextHop::Direct);
    }

    #[test]
    fn a_neighbour_answers_if_its_entry_is_complete() {
        let table = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.0.1         0x1         0x2         02:00:00:00:00:01     *        eth0
10.0.0.2         0x1         0x0         00:00:00:00:00:00     *        eth0
10.0.0.3         0x1
";
        let of = |last| in_table(table, Ipv4Addr::new(10, 0, 0, last));
        assert_eq!(of(1), Neighbour::Answers);
        assert_eq!(of(2), Neighbour::Silent);
        assert_eq!(of(3), Neighbour::Unknown);
        assert_eq!(of(4), Neighbour::Unknown);
    }
}
