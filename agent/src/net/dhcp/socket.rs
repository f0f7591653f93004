//! DHCP over a UDP socket of one card, which need not have an address.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use ::dhcp::{Action, CLIENT_PORT, ChosenServer, DATAGRAM_MAX, Reply, SERVER_PORT, Survey};
use fog::Mac;
use socket2::{Domain, Protocol, Socket, Type};

use super::{BUSYBOX, SCRIPT};

/// All offers that come within `time`, of each server the first one.
///
/// # Errors
/// If nothing can be sent.
pub(crate) fn offers(card: &str, mac: Mac, time: Duration) -> io::Result<Vec<Reply>> {
    let socket = open(card)?;
    let mut survey = Survey::new(mac, random(), Instant::now(), time);
    let mut buffer = [0; DATAGRAM_MAX];
    while let Some(next) = survey.poll_timeout(Instant::now()) {
        if let Some(bytes) = survey.handle_timeout(Instant::now()) {
            socket.send_to(&bytes, TO_ALL)?;
        } else if let Some((bytes, from)) = receive(&socket, &mut buffer, next)? {
            survey.handle_datagram(from, bytes);
        }
    }
    Ok(survey.into_offers())
}

/// Asks for offers on a card for as long as it lives, beside other work.
pub(in super::super) struct Listener {
    socket: UdpSocket,
    survey: Survey,
}

impl Listener {
    /// # Errors
    /// If the card cannot be used.
    pub(in super::super) fn new(card: &str, mac: Mac) -> io::Result<Self> {
        let socket = open(card)?;
        socket.set_nonblocking(true)?;
        let survey = Survey::new(mac, random(), Instant::now(), LISTENING);
        Ok(Self { socket, survey })
    }

    /// Asks if it is time, and whether a server has answered until now. Never waits.
    pub(in super::super) fn has_heard(&mut self) -> bool {
        if let Some(bytes) = self.survey.handle_timeout(Instant::now()) {
            // While the port passes nothing, that may fail; it is asked again.
            drop(self.socket.send_to(&bytes, TO_ALL));
        }
        let mut buffer = [0; DATAGRAM_MAX];
        for _ in 0..AT_ONCE {
            let Ok((len, SocketAddr::V4(from))) = self.socket.recv_from(&mut buffer) else {
                break;
            };
            let bytes = buffer.get(..len).unwrap_or_default();
            self.survey.handle_datagram(*from.ip(), bytes);
        }
        !self.survey.offers().is_empty()
    }
}

/// Takes an address of this server alone and keeps it; never returns unless something fails. What is
/// got goes to the script that `udhcpc` would call.
///
/// # Errors
/// If the card or the script cannot be used.
pub(crate) fn serve(
    card: &str,
    mac: Mac,
    server: Ipv4Addr,
) -> io::Result<std::convert::Infallible> {
    let socket = open(card)?;
    let mut client = ChosenServer::new(mac, server, random(), Instant::now());
    let mut has_address = false;
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        let action = match receive(&socket, &mut buffer, client.poll_timeout())? {
            Some((bytes, from)) => client.handle_datagram(Instant::now(), from, bytes),
            None => client.handle_timeout(Instant::now()),
        };
        let sent = match action {
            None => Ok(()),
            Some(Action::Broadcast(bytes)) => socket.send_to(&bytes, TO_ALL).map(drop),
            Some(Action::ToServer(bytes)) => {
                let to = SocketAddrV4::new(server, SERVER_PORT);
                socket.send_to(&bytes, to).map(drop)
            }
            Some(Action::Apply(lease)) => {
                let event = if has_address { "renew" } else { "bound" };
                script(card, event, Some(&lease))?;
                has_address = true;
                Ok(())
            }
            Some(Action::Forget) => {
                script(card, "deconfig", None)?;
                has_address = false;
                Ok(())
            }
        };
        // The network may be away for a moment; the next try is due anyway.
        drop(sent);
    }
}

/// Calls the script as `udhcpc` does: the event is its argument, the lease its environment.
fn script(card: &str, event: &str, lease: Option<&Reply>) -> io::Result<()> {
    let mut command = Command::new(BUSYBOX);
    command.args(["sh", SCRIPT, event]).env("interface", card);
    if let Some(lease) = lease {
        command.envs(environment(lease));
    }
    // What it cannot do it leaves as a trouble.
    command.status().map(drop)
}

/// The variables of `udhcpc`'s scripts; what the server did not give is not set.
fn environment(lease: &Reply) -> Vec<(&'static str, String)> {
    let list = |addresses: &[Ipv4Addr]| {
        let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        (!list.is_empty()).then(|| list.join(" "))
    };
    let seconds = lease.lease.map(|time| time.as_secs().to_string());
    // 0 is refused by the script.
    let mask = lease.prefix_len().map(|len| len.to_string());
    [
        ("ip", Some(lease.address.to_string())),
        ("mask", mask),
        ("router", list(&lease.routers)),
        ("dns", list(&lease.name_servers)),
        ("domain", lease.domain.clone()),
        ("mtu", lease.mtu.map(|mtu| mtu.to_string())),
        ("serverid", Some(lease.server.to_string())),
        ("siaddr", lease.next_server.map(|next| next.to_string())),
        ("lease", seconds),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// One that answers come to although the card has no address: they are broadcast.
fn open(card: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // `udhcpc` has the port for moments.
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(card.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
    Ok(socket.into())
}

/// Waits for a datagram until `end`; answers it and who sent it.
fn receive<'a>(
    socket: &UdpSocket,
    buffer: &'a mut [u8],
    end: Instant,
) -> io::Result<Option<(&'a [u8], Ipv4Addr)>> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(None);
    }
    socket.set_read_timeout(Some(left))?;
    match socket.recv_from(buffer) {
        Ok((len, SocketAddr::V4(from))) => {
            Ok(Some((buffer.get(..len).unwrap_or_default(), *from.ip())))
        }
        Ok(_) => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        // The link went down; it is back before the next try, or not.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => {
            std::thread::sleep(left.min(LINK_PAUSE));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A number that differs from that of other machines. It is no secret, and must not wait for the kernel's random numbers: a
/// machine that has just booted may have none for minutes.
fn random() -> u32 {
    let [_, _, _, _, octets @ ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    u32::from_be_bytes(octets)
}

const TO_ALL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
/// A search for the server ends long before.
const LISTENING: Duration = Duration::from_secs(24 * 3600);
/// Datagrams that are read in one go: others have to get their turn, whatever floods this port.
const AT_ONCE: usize = 64;
const LINK_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_gets_what_udhcpc_would_give() {
        let lease = Reply {
            kind: ::dhcp::ReplyKind::Ack,
            server: Ipv4Addr::new(10, 0, 0, 5),
            address: Ipv4Addr::new(10, 0, 0, 77),
            mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            routers: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)],
            name_servers: vec![Ipv4Addr::new(10, 0, 0, 5)],
            domain: Some("lab.example".into()),
            mtu: None,
            next_server: Some(Ipv4Addr::new(10, 0, 0, 6)),
            boot_file: None,
            lease: Some(Duration::from_secs(30)),
        };
        let all = environment(&lease);
        let text: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            text,
            [
                "ip=10.0.0.77",
                "mask=24",
                "router=10.0.0.1 10.0.0.2",
                "dns=10.0.0.5",
                "domain=lab.example",
                "serverid=10.0.0.5",
                "siaddr=10.0.0.6",
                "lease=30",
            ]
        );
    }

    fn mac() -> Mac {
        "02:00:00:00:00:07".parse().unwrap()
    }

    /// In a network of its own: `None` where the machine lacks something.
    fn in_network<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
        let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // Of this thread and of those that it starts.
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
                for line in [
                    "link add c0 type veth peer name s0".to_owned(),
                    format!("link set c0 address {} up", mac()),
                    "link set s0 up".to_owned(),
                ] {
                    let done = Command::new("ip").args(line.split(' ')).status().ok()?;
                    assert!(done.success(), "ip {line}");
                }
                Some(work())
            });
            let done = thread.join().unwrap();
            assert!(done.is_some() || !is_strict, "needs root and ip");
            done
        })
    }

    #[test]
    fn every_server_of_the_network_is_seen_once() {
        in_network(|| {
            let server = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
            server.set_broadcast(true).unwrap();
            server.bind_device(Some(b"s0")).unwrap();
            let at = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
            server.bind(&at.into()).unwrap();
            let server: UdpSocket = server.into();
            let answers = std::thread::spawn(move || {
                let mut buffer = [0; DATAGRAM_MAX];
                let len = server.recv(&mut buffer).unwrap();
                let xid = u32::from_be_bytes(buffer[4..8].try_into().unwrap());
                assert_eq!(buffer[..len], ::dhcp::discover(xid, mac())[..]);
                let answer = |xid: u32, kind, server: [u8; 4], address: [u8; 4]| {
                    let mut bytes = ::dhcp::discover(xid, mac());
                    bytes[0] = 2;
                    bytes[16..20].copy_from_slice(&address);
                    bytes.truncate(240);
                    bytes.extend([53, 1, kind, 54, 4]);
                    bytes.extend(server);
                    bytes
                };
                let to_all = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
                let say = |answer: &[u8]| server.send_to(answer, to_all).unwrap();
                say(&answer(xid, 2, [10, 66, 0, 1], [10, 66, 0, 7]));
                say(&answer(xid, 2, [10, 0, 0, 5], [10, 0, 0, 77]));
                say(&answer(xid, 2, [10, 0, 0, 5], [10, 0, 0, 78]));
                // Of another exchange, and no offer.
                say(&answer(xid + 1, 2, [10, 0, 0, 8], [10, 0, 0, 79]));
                say(&answer(xid, 6, [10, 0, 0, 9], [0; 4]));
                say(b"noise");
            });
            let offers = offers("c0", mac(), Duration::from_secs(3)).unwrap();
            answers.join().unwrap();
            let seen: Vec<_> = offers
                .iter()
                .map(|offer| (offer.server, offer.address))
                .collect();
            let address = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
            assert_eq!(
                seen,
                [
                    (address(10, 66, 0, 1), address(10, 66, 0, 7)),
                    (address(10, 0, 0, 5), address(10, 0, 0, 77)),
                ]
            );
        });
    }
}
