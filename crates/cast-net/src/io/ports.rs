//! Which UDP ports are free, and who has those, or TCP ports, that are not.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;

/// A program that has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Number of its process.
    pub pid: u32,
    /// Name of its process, as the kernel has it: at most 15 characters.
    pub program: String,
    /// What its socket is bound to.
    pub address: SocketAddr,
}

/// A port that a transfer needs is in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PortsInUse {
    /// What could not be bound; an address of 0.0.0.0 means any of this host.
    pub address: SocketAddrV4,
    /// Who has it, if that can be seen.
    pub holder: Option<Holder>,
}

impl PortsInUse {
    /// With its holder, who is looked for.
    pub(crate) fn find(address: SocketAddrV4) -> Self {
        Self {
            address,
            holder: holder_of(address.port(), Some(*address.ip())),
        }
    }
}

impl fmt::Display for PortsInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UDP port {}", self.address.port())?;
        let of = match &self.holder {
            Some(holder) if self.address.ip().is_unspecified() => holder.address.ip(),
            _ => IpAddr::V4(*self.address.ip()),
        };
        if !of.is_unspecified() {
            write!(f, " of {of}")?;
        }
        match &self.holder {
            Some(Holder { pid, program, .. }) => write!(f, " is in use by {program} (pid {pid})"),
            None => write!(
                f,
                " is in use by another program on this host (`ss -ulpn` names it)"
            ),
        }
    }
}

/// Whether a sender and receivers with port base `base` could open their ports on `addr` now: `base` and
/// the next one, there and on all addresses, without sharing. So a program is found that has the port
/// of another address, of a broadcast address or a group, though a transfer might do beside it.
/// Nothing is kept open, and what is free now may be taken later.
///
/// # Errors
/// Somebody has one of the ports. If one cannot be bound for another reason (the address is not of this
/// host), that is no holder, and told when the transfer opens its ports.
pub fn probe(addr: Ipv4Addr, base: u16) -> Result<(), PortsInUse> {
    for port in base..=base.saturating_add(1) {
        for ip in [addr, Ipv4Addr::UNSPECIFIED] {
            // The standard library sets no SO_REUSEADDR on UDP sockets.
            let address = SocketAddrV4::new(ip, port);
            match UdpSocket::bind(address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(PortsInUse::find(address));
                }
                Err(error) => tracing::debug!(%address, %error, "probing"),
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

/// Who has UDP port `port` on any address of this host. `None` if nobody has it, or if that cannot be seen: the
/// processes of others need privileges, those of containers may be hidden. Reads `/proc`, in bounds; takes
/// milliseconds.
#[must_use]
pub fn holder(port: u16) -> Option<Holder> {
    holder_of(port, None)
}

/// Who listens on TCP port `port`, as [`holder`].
#[must_use]
pub fn tcp_listener(port: u16) -> Option<Holder> {
    find(&["net/tcp", "net/tcp6"], port, None, is_listening)
}

/// State 0A of a line of `/proc/net/tcp` (Linux `include/net/tcp_states.h`, `TCP_LISTEN`).
fn is_listening(line: &str) -> bool {
    line.split_ascii_whitespace().nth(3) == Some("0A")
}

/// Prefers who is bound to `wanted`, then who is bound to all addresses.
fn holder_of(port: u16, wanted: Option<Ipv4Addr>) -> Option<Holder> {
    find(&["net/udp", "net/udp6"], port, wanted, |_| true)
}

fn find(
    tables: &[&str],
    port: u16,
    wanted: Option<Ipv4Addr>,
    is_meant: fn(&str) -> bool,
) -> Option<Holder> {
    let proc = Path::new("/proc");
    let mut sockets = Vec::new();
    for table in tables {
        // Without IPv6 the second is missing.
        if let Ok(file) = File::open(proc.join(table)) {
            let lines = BufReader::new(file.take(TABLE_MAX)).lines();
            let lines = lines.map_while(Result::ok).filter(|line| is_meant(line));
            let found = lines.filter_map(|line| entry(&line));
            sockets.extend(found.filter(|(at, _)| at.port() == port).take(SOCKETS_MAX));
        }
    }
    let rank = |address: &SocketAddr| match address.ip() {
        ip if Some(ip) == wanted.map(IpAddr::V4) => 0,
        ip if ip.is_unspecified() => 1,
        _ => 2,
    };
    sockets.sort_by_key(|(address, _)| rank(address));
    let owners = owners(
        proc,
        &sockets.iter().map(|(_, inode)| *inode).collect::<Vec<_>>(),
    );
    sockets.into_iter().find_map(|(address, inode)| {
        let pid = *owners.get(&inode)?;
        Some(Holder {
            pid,
            program: program(proc, pid),
            address,
        })
    })
}

/// The processes that have these sockets open, by inode.
fn owners(proc: &Path, inodes: &[u64]) -> BTreeMap<u64, u32> {
    let mut owners = BTreeMap::new();
    let mut links = 0;
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.take(PROCESSES_MAX) {
        // It may have ended, or be that of somebody else.
        let Ok(open) = fs::read_dir(proc.join(pid.to_string()).join("fd")) else {
            continue;
        };
        for link in open.flatten() {
            links += 1;
            if owners.len() == inodes.len() || links > LINKS_MAX {
                return owners;
            }
            let Ok(target) = fs::read_link(link.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(|target| {
                let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
                number.parse::<u64>().ok()
            });
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                // A child may have inherited it; the first one found is as good.
                owners.entry(inode).or_insert(pid);
            }
        }
    }
    owners
}

/// A process can give itself any name.
fn program(proc: &Path, pid: u32) -> String {
    let mut name = Vec::new();
    let file = File::open(proc.join(pid.to_string()).join("comm"));
    let read = file.and_then(|file| file.take(64).read_to_end(&mut name));
    if read.is_err() || name.trim_ascii().is_empty() {
        return "a program without a name".to_owned();
    }
    plain(&String::from_utf8_lossy(name.trim_ascii()))
}

/// Only what is seen and leaves the rest of the line as it is: letters, digits and ASCII.
fn plain(name: &str) -> String {
    // Letters that look like nothing.
    const FILLERS: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];
    let is_plain = |c: char| {
        c == ' ' || c.is_ascii_graphic() || (c.is_alphanumeric() && !FILLERS.contains(&c))
    };
    let shown = name.chars().map(|c| {
        if is_plain(c) {
            c
        } else {
            char::REPLACEMENT_CHARACTER
        }
    });
    shown.collect()
}

/// Local address and inode of a line of `/proc/net/udp` or `udp6` (Linux `net/ipv4/udp.c`,
/// `udp4_format_sock`): words of the address in host order, the port as a number.
fn entry(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    let inode = fields.nth(7)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(word(0)?.into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some((SocketAddr::new(ip, port), inode))
}

/// Bytes read of a table: some 60000 sockets.
const TABLE_MAX: u64 = 8 << 20;
/// Sockets on one port that are looked at.
const SOCKETS_MAX: usize = 64;
/// Processes and open files that are looked at.
const PROCESSES_MAX: usize = 32_768;
const LINKS_MAX: u32 = 500_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;
    use crate::io::interface::Interface;
    use crate::io::socket::Endpoint;

    /// A base whose two ports are free on all addresses.
    fn base() -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = 27_000 + u16::try_from(std::process::id() % 200).unwrap() * 20;
        let start = start + 2 * NEXT.fetch_add(1, Ordering::Relaxed);
        (start..start + 2000)
            .step_by(20)
            .find(|base| probe(Ipv4Addr::LOCALHOST, *base).is_ok())
            .unwrap()
    }

    fn own_name() -> String {
        program(Path::new("/proc"), std::process::id())
    }

    #[test]
    fn free_ports_are_free_and_taken_ones_have_a_holder() {
        let base = base();
        assert_eq!(holder(base), None);
        for port in [base, base + 1] {
            let other = Ipv4Addr::new(127, 0, 0, 9);
            for addr in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED, other] {
                let _taken = UdpSocket::bind((addr, port)).unwrap();
                let error = probe(Ipv4Addr::LOCALHOST, base).unwrap_err();
                assert_eq!(error.address.port(), port);
                let holder = error.holder.clone().unwrap();
                assert_eq!(holder, super::holder(port).unwrap());
                assert_eq!(holder.pid, std::process::id());
                assert_eq!(holder.program, own_name());
                assert_eq!(holder.address, (addr, port).into());
            }
        }
        assert_eq!(probe(Ipv4Addr::LOCALHOST, base), Ok(()));
    }

    #[test]
    fn who_shares_a_group_or_listens_by_ipv6_is_found_too() {
        let base = base();
        let lo = Interface::towards(Ipv4Addr::LOCALHOST).unwrap();
        let group = Ipv4Addr::new(239, 255, 77, 2);
        let listener = Endpoint::listen(&lo, group, base + 1).unwrap();
        let error = probe(Ipv4Addr::LOCALHOST, base).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("UDP port {} of {group} is in use by ", base + 1)),
            "{text}"
        );
        drop(listener);
        // Machines without IPv6 have nothing to find.
        if let Ok(_taken) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, base)) {
            let error = probe(Ipv4Addr::LOCALHOST, base).unwrap_err();
            assert_eq!(error.holder.map(|it| it.pid), Some(std::process::id()));
        }
    }

    /// It reaches terminals and logs.
    #[test]
    fn the_name_of_a_program_controls_no_terminal() {
        let name = "ab\u{202e}cd\u{200b}\u{1b}[2J\n\u{3164}\u{ad}\u{e0041}-ü 1";
        let shown = "ab\u{fffd}cd\u{fffd}\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}-ü 1";
        assert_eq!(plain(name), shown);
    }

    #[test]
    fn the_text_names_port_address_program_and_process() {
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 63_101);
        let holder = Holder {
            pid: 123,
            program: "udp-sender".into(),
            address: address.into(),
        };
        let mut error = PortsInUse {
            address,
            holder: Some(holder),
        };
        let text = "UDP port 63101 of 10.99.0.1 is in use by udp-sender (pid 123)";
        assert_eq!(error.to_string(), text);
        error.address.set_ip(Ipv4Addr::UNSPECIFIED);
        assert_eq!(error.to_string(), text, "where the holder is");
        error.holder = None;
        assert_eq!(
            error.to_string(),
            "UDP port 63101 is in use by another program on this host (`ss -ulpn` names it)"
        );
    }

    #[test]
    fn a_tcp_port_is_held_by_its_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let holder = tcp_listener(address.port()).unwrap();
        assert_eq!((holder.pid, holder.address), (std::process::id(), address));
        // A connection is no listener.
        assert_eq!(tcp_listener(client.local_addr().unwrap().port()), None);
    }

    #[test]
    fn an_address_of_another_host_has_no_holder() {
        assert_eq!(probe(Ipv4Addr::new(203, 0, 113, 1), base()), Ok(()));
        assert_eq!(probe(Ipv4Addr::LOCALHOST, u16::MAX), Ok(()));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_both_tables_are_understood() {
        let line = "  123: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 \
                    00000000     0        0 4711 2 0000000000000000 0";
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        assert_eq!(entry(line), Some((address, 4711)));
        let line = "  9: 00000000000000000000000001000000:F67D \
                    00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 \
                    00000000  1000        0 99 2 0000000000000000 0";
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 63_101));
        assert_eq!(entry(line), Some((address, 99)));
        for broken in [
            "",
            "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode",
            " 1: 0100007F 0 07 0 0 0 0 0 4711",
            " 1: 0100007:1F90 0 07 0 0 0 0 0 4711",
            " 1: é00007F:1F90 0 07 0 0 0 0 0 4711",
            " 1: 0100007F:1F90 0 07 0",
        ] {
            assert_eq!(entry(broken), None, "{broken}");
        }
    }
}
