//! Whether a port pair is free on this machine, and who holds it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use fog::encoding::printable;

/// Tries to bind both ports of a pair. A session's sender binds the second one and sends to the first,
/// where receivers of another sender would listen as well.
///
/// # Errors
/// The first port that is held, and by whom.
pub(super) fn probe(base: u16) -> Result<(), String> {
    for port in [base, base.saturating_add(1)] {
        // On all addresses and without reuse: held is held, wherever and however.
        match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let holder = holder(port).unwrap_or_else(|| "another program".to_owned());
                return Err(format!("UDP port {port} is held by {holder}"));
            }
            Err(error) => return Err(format!("UDP port {port} cannot be used: {error}")),
        }
    }
    Ok(())
}

/// The program that has a UDP port, as far as this process may know.
fn holder(port: u16) -> Option<String> {
    let sockets = ["/proc/net/udp", "/proc/net/udp6"].iter();
    let inodes: Vec<u64> = sockets
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, port))
        .collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| has_socket(*pid, &inodes))
        .map(name)
}

/// Sockets in a table of the kernel that are bound to a port.
fn inodes(table: &str, port: u16) -> Vec<u64> {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, local) = fields.nth(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local, 16) == Ok(port);
        // After the local address: remote, state, queues, timer, retransmits, user, timeout.
        let inode = fields.nth(7)?.parse().ok()?;
        is_it.then_some(inode)
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

fn has_socket(pid: u32, inodes: &[u64]) -> bool {
    // The files of another user's process are not shown.
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links
        .filter_map(|link| inode_of(&link))
        .any(|inode| inodes.contains(&inode))
}

fn inode_of(link: &Path) -> Option<u64> {
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

fn name(pid: u32) -> String {
    if pid == std::process::id() {
        return "this server, for a session that is just ending".to_owned();
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (process {pid})", printable(name.trim(), MAX_NAME))
}

const MAX_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_which_one_port_is_held_is_not_free() {
        for offset in [0, 1] {
            // The kernel gives any port: the pair is the one that it belongs to.
            let (held, base) = loop {
                let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let port = held.local_addr().unwrap().port();
                if let Some(base) = port.checked_sub(offset).filter(|base| base % 2 == 0) {
                    break (held, base);
                }
            };
            let told = probe(base).unwrap_err();
            let port = base + offset;
            assert!(told.starts_with(&format!("UDP port {port} is held by ")));
            assert!(told.contains("this server"), "{told}");
            drop(held);
        }
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
            uid  timeout inode ref pointer drops\n\
            1: 0100007F:F67C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 \
            4711 2 0 0\n\
            2: 00000000:F67D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 \
            4712 2 0 0\n rubbish\n 3: x:y\n";
        assert_eq!(inodes(table, 63100), [4711]);
        assert_eq!(inodes(table, 63101), [4712]);
        assert!(inodes(table, 63102).is_empty());
        assert_eq!(inode_of(Path::new("socket:[12]")), Some(12));
        assert_eq!(inode_of(Path::new("/dev/null")), None);
    }
}
