//! The probes of `doctor`. They change nothing: no file is made, no address taken, no place in a session.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs as _, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ::dhcp::{CLIENT_PORT, DATAGRAM_MAX, SERVER_PORT, Survey};
use cast_net::{Interface, ports};
use fog::Mac;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Config;
use crate::domain::doctor::{
    Access, BootLook, Card, DataLook, Held, HttpsLook, ImagesLook, Look, Multicast, NameLook,
    Offer, Sender, Wanted,
};
use crate::domain::ports::PortPool;
use crate::https::{Https, Source};
use crate::machine;
use crate::processes;

/// All addresses.
pub(crate) fn cards() -> Vec<Card> {
    let list = Interface::list().unwrap_or_default();
    list.into_iter()
        .map(|card| Card {
            name: card.name,
            address: card.addr,
            is_up: card.is_up,
            is_loopback: card.is_loopback,
        })
        .collect()
}

/// What the server was told.
pub(crate) fn wanted(config: &Config) -> Wanted {
    Wanted {
        interface: config.interface.clone(),
        address: config.known_address(),
        listen: config.listen,
    }
}

/// Who listens there.
pub(crate) fn http(port: u16) -> Option<Held> {
    ports::tcp_listener(port).map(|holder| held(port, holder))
}

/// HTTPS, with the eyes of the service.
pub(crate) fn https(https: &Https, owner: Owner) -> HttpsLook {
    let source = https.identity.source();
    let files = source.files().map(|path| {
        let access = file(&path, owner);
        (path, access)
    });
    let is_to_be_made = matches!(source, Source::Own { .. })
        && files.iter().any(|(_, access)| *access == Access::Absent);
    let refused = files.iter().find_map(|(path, access)| match access {
        Access::Refused(why) => Some(format!("{}: {why}", path.display())),
        Access::Good | Access::Absent => None,
    });
    HttpsLook {
        held: http(https.listen.port()),
        certificate: match (is_to_be_made, refused) {
            (true, _) => Ok(None),
            (false, Some(why)) => Err(why),
            (false, None) => {
                let found = https.identity.look();
                found.map(Some).map_err(|error| readable::chain(&error))
            }
        },
    }
}

fn held(port: u16, holder: ports::Holder) -> Held {
    Held {
        port,
        pid: holder.pid,
        program: holder.program,
    }
}

/// Who has ports of the pool, of each process one.
pub(crate) fn session_ports(pool: PortPool) -> Vec<Held> {
    let last = pool
        .first()
        .saturating_add(pool.pairs().saturating_mul(2).saturating_sub(1));
    let mut found: Vec<Held> = Vec::new();
    for port in ports_in_use(pool.first()..=last) {
        if let Some(holder) = ports::holder(port)
            && found.iter().all(|held| held.pid != holder.pid)
        {
            found.push(held(port, holder));
        }
    }
    found
}

/// UDP ports of a range that are in use in this network.
fn ports_in_use(range: RangeInclusive<u16>) -> Vec<u16> {
    let mut found = Vec::new();
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        let Ok(file) = File::open(table) else {
            continue;
        };
        let lines = BufReader::new(file.take(TABLE_MAX)).lines();
        found.extend(lines.map_while(Result::ok).filter_map(|line| {
            let (_, port) = line.split_ascii_whitespace().nth(1)?.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            range.contains(&port).then_some(port)
        }));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Bytes of a table that are read.
const TABLE_MAX: u64 = 8 << 20;

/// Programs `udp-sender` of this network.
pub(crate) fn senders() -> Vec<Sender> {
    let found = processes::in_this_network().into_iter();
    found
        .filter(processes::Process::is_single_sender)
        .map(|process| Sender {
            file: process.file(),
            pid: process.pid,
        })
        .collect()
}

/// Who the service runs as: the owner of its data directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Without a directory, this process.
    pub(crate) fn of(data: &Path) -> Self {
        let own = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        let (uid, gid) = fs::metadata(data).map_or(own, |meta| (meta.uid(), meta.gid()));
        Self { uid, gid }
    }

    /// Whether it may do this (`4`: read, `1`: enter) with something, by its mode. Access lists are not looked at.
    fn may(self, bits: u32, meta: &fs::Metadata) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if meta.uid() == self.uid => 6,
            () if meta.gid() == self.gid => 3,
            () => 0,
        };
        meta.mode() >> shift & bits == bits
    }
}

/// Whether the owner can use a directory, by itself and by its mode.
fn directory(path: &Path, owner: Owner) -> Access {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return refused(&error),
    };
    if !meta.is_dir() {
        return Access::Refused("it is no directory".to_owned());
    }
    if let Err(error) = fs::read_dir(path) {
        return refused(&error);
    }
    match owner.may(0o5, &meta) {
        true => Access::Good,
        false => Access::Refused(format!("user {} must not read it", owner.uid)),
    }
}

fn file(path: &Path, owner: Owner) -> Access {
    match File::open(path).and_then(|file| file.metadata()) {
        Ok(meta) if !meta.is_file() => Access::Refused("it is no file".to_owned()),
        Ok(meta) if meta.len() == 0 => Access::Refused("it is empty".to_owned()),
        Ok(meta) if !owner.may(0o4, &meta) => {
            Access::Refused(format!("user {} must not read it", owner.uid))
        }
        Ok(_) => Access::Good,
        Err(error) => refused(&error),
    }
}

fn refused(error: &io::Error) -> Access {
    match error.kind() {
        io::ErrorKind::NotFound => Access::Absent,
        _ => Access::Refused(error.to_string()),
    }
}

/// The image directory.
pub(crate) fn images(path: &Path, owner: Owner) -> ImagesLook {
    ImagesLook {
        path: path.to_owned(),
        access: directory(path, owner),
        unwritable: unwritable(path, owner).unwrap_or_default(),
        has_mark: path.join(".mntcheck").exists(),
    }
}

/// Why the owner cannot store anything below an image directory.
fn unwritable(path: &Path, owner: Owner) -> Option<String> {
    // Where captures arrive, once there was one.
    let hidden = path.join(crate::imagestore::arrivals::HIDDEN);
    let dirs = [path.to_owned(), hidden];
    for dir in dirs {
        let Ok(meta) = fs::metadata(&dir) else {
            continue;
        };
        if !owner.may(0o7, &meta) {
            let dir = dir.display();
            return Some(format!("user {} must not write in {dir}", owner.uid));
        }
        let flags = nix::sys::statvfs::statvfs(&dir).map(|stat| stat.flags());
        if flags.is_ok_and(|flags| flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY)) {
            return Some(format!("{} is mounted read-only", dir.display()));
        }
    }
    None
}

/// Kernel and initramfs.
pub(crate) fn boot(path: &Path, owner: Owner) -> BootLook {
    let files = ["bzImage", "init.xz"].map(|name| path.join(name));
    BootLook {
        files: files
            .into_iter()
            .map(|path| {
                let access = file(&path, owner);
                (path, access)
            })
            .collect(),
    }
}

/// The data directory.
pub(crate) fn data(path: &Path, owner: Owner) -> DataLook {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let foreign = entries
        .take(ENTRIES_MAX)
        .filter(|entry| {
            let meta = entry.metadata();
            // Images and what clients boot may be others'.
            meta.is_ok_and(|meta| meta.is_file() && meta.uid() != owner.uid && owner.uid != 0)
        })
        .map(|entry| entry.path())
        .collect();
    let stat = nix::sys::statvfs::statvfs(path).ok();
    DataLook {
        path: path.to_owned(),
        access: directory(path, owner),
        free: stat.map(|stat| {
            let blocks: u64 = stat.blocks_available();
            blocks.saturating_mul(stat.fragment_size())
        }),
        foreign,
    }
}

/// Of a directory that is looked at.
const ENTRIES_MAX: usize = 10_000;

/// Seconds since 1970.
pub(crate) fn clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// The name of this machine. It asks name servers, so it may take long.
pub(crate) fn name() -> NameLook {
    let name = machine::host_name();
    let addresses = (name.as_str(), 0).to_socket_addrs();
    let addresses = addresses.map_err(|error| error.to_string()).map(|found| {
        found
            .filter_map(|address| match address.ip() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect()
    });
    NameLook { name, addresses }
}

/// Offers on a card that come in `time`. The port for clients is shared with a DHCP client of this machine.
pub(crate) fn offers(card: &str, time: Duration) -> Look<Vec<Offer>> {
    let mac = fs::read_to_string(format!("/sys/class/net/{card}/address"));
    let mac = mac.map_err(|error| format!("the address of {card}: {error}"))?;
    let mac = mac.trim().parse::<Mac>();
    let mac = mac.map_err(|_| format!("{card} has no Ethernet address"))?;
    survey(card, mac, time).map_err(|error| format!("asking for offers on {card}: {error}"))
}

fn survey(card: &str, mac: Mac, time: Duration) -> io::Result<Vec<Offer>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(card.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
    let socket: UdpSocket = socket.into();
    let mut survey = Survey::new(mac, random(), Instant::now(), time);
    let mut buffer = [0; DATAGRAM_MAX];
    while let Some(next) = survey.poll_timeout(Instant::now()) {
        if let Some(bytes) = survey.handle_timeout(Instant::now()) {
            socket.send_to(&bytes, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT))?;
            continue;
        }
        let left = next.saturating_duration_since(Instant::now());
        if let Some((len, SocketAddr::V4(from))) = receive(&socket, &mut buffer, left)? {
            survey.handle_datagram(*from.ip(), buffer.get(..len).unwrap_or_default());
        }
    }
    let offers = survey.into_offers().into_iter();
    Ok(offers
        .map(|offer| Offer {
            server: offer.server,
            next_server: offer.next_server,
        })
        .collect())
}

/// A number that differs from that of others, and no secret.
fn random() -> u32 {
    let [_, _, _, _, octets @ ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    u32::from_be_bytes(octets)
}

/// A datagram that comes in time.
fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    time: Duration,
) -> io::Result<Option<(usize, SocketAddr)>> {
    if time.is_zero() {
        return Ok(None);
    }
    socket.set_read_timeout(Some(time))?;
    match socket.recv_from(buffer) {
        Ok(received) => Ok(Some(received)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Sends a datagram to a group by the card with this address, and listens for it here. It shows what this machine lets out;
/// `selftest` shows what arrives at others.
pub(crate) fn multicast(address: Ipv4Addr) -> Look<Multicast> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| error.to_string())?;
    let port = socket
        .local_addr()
        .map_err(|error| error.to_string())?
        .port();
    Ok(match exchange(&socket, address, port) {
        Ok(true) => Multicast::Heard,
        Ok(false) => Multicast::Silent,
        Err(error) => Multicast::Refused(error.to_string()),
    })
}

fn exchange(socket: &UdpSocket, address: Ipv4Addr, port: u16) -> io::Result<bool> {
    let options = socket2::SockRef::from(socket);
    options.set_multicast_if_v4(&address)?;
    options.set_multicast_ttl_v4(1)?;
    options.set_multicast_loop_v4(true)?;
    socket.join_multicast_v4(&GROUP, &address)?;
    let word = random().to_be_bytes();
    let end = Instant::now() + HEARD_WITHIN;
    socket.send_to(&word, (GROUP, port))?;
    let mut buffer = [0; 64];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match receive(socket, &mut buffer, left)? {
            Some((len, _)) if buffer.get(..len) == Some(&word[..]) => return Ok(true),
            None if left.is_zero() => return Ok(false),
            _ => {}
        }
    }
}

/// Of the administratively scoped ones, used by nobody here.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 70, 79);
/// The kernel gives it back at once.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// Where `path` is seen from here, for people.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 990, gid: 990 };

    #[test]
    fn a_directory_is_looked_at_with_the_eyes_of_the_service() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let set = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        set(0o755);
        assert_eq!(directory(dir.path(), OWNER), Access::Good);
        set(0o700);
        assert!(matches!(directory(dir.path(), OWNER), Access::Refused(_)));
        let own = Owner::of(dir.path());
        assert_eq!(directory(dir.path(), own), Access::Good);
        assert_eq!(directory(&dir.path().join("x"), own), Access::Absent);
        // Who only reads cannot take captures.
        set(0o755);
        assert_eq!(images(dir.path(), own).unwritable, "");
        let look = images(dir.path(), OWNER);
        assert_eq!(look.access, Access::Good);
        assert!(look.unwritable.contains("user 990"), "{look:?}");
        fs::write(dir.path().join("empty"), "").unwrap();
        assert!(matches!(
            file(&dir.path().join("empty"), own),
            Access::Refused(_)
        ));
        let look = data(dir.path(), OWNER);
        assert_eq!(look.foreign, [dir.path().join("empty")]);
        assert!(data(dir.path(), own).foreign.is_empty());
    }

    #[test]
    fn a_port_in_use_is_found_with_its_process() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(ports_in_use(port..=port), [port]);
        assert!(ports_in_use(1..=1).is_empty());
    }

    #[test]
    fn a_group_is_heard_on_the_loopback_or_the_reason_is_known() {
        let look = multicast(Ipv4Addr::LOCALHOST).unwrap();
        assert!(!matches!(look, Multicast::Silent), "{look:?}");
    }
}
