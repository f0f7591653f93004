//! What of a multicast session comes by the card: joins its groups, listens, and looks for a querier.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use cast_net::Interface;
use cast_net::udpcast::wire::Message;
use cast_net::udpcast::{ALL_SYSTEMS, default_data_group, legacy_data_group};
use diagnosis::packet::{igmp_leave, igmp_query};
use diagnosis::{Querier, Rendezvous};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::is_pause;

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(super) announcements: u64,
    pub(crate) data: u64,
    pub(crate) requests: u64,
    pub(crate) querier: Option<Querier>,
}

impl Heard {
    fn count(&mut self, datagram: &[u8]) {
        match Message::parse(datagram) {
            Ok(Message::Hello(_)) => self.announcements += 1,
            Ok(Message::Data(_) | Message::Fec(_)) => self.data += 1,
            Ok(Message::ReqAck(_)) => self.requests += 1,
            _ => {}
        }
    }
}

/// Groups by which a sender at this address sends its data, unless it was given another one.
pub(super) fn groups(sender: Ipv4Addr) -> Vec<Ipv4Addr> {
    vec![default_data_group(sender), legacy_data_group(sender)]
}

/// Listens for `time` to what comes to `port` by `groups` and the addresses of announcements. A receiver of this
/// machine hears all the same.
///
/// # Errors
/// A socket cannot be opened.
pub(crate) fn listen(
    own: &Interface,
    port: u16,
    groups: &[Ipv4Addr],
    time: Duration,
) -> io::Result<Heard> {
    let mut addresses = groups.to_vec();
    addresses.push(ALL_SYSTEMS);
    addresses.extend(own.broadcast);
    let ears: io::Result<Vec<UdpSocket>> = addresses
        .iter()
        .map(|address| ear(own, SocketAddrV4::new(*address, port)))
        .collect();
    let ears = ears?;
    let mut queries = Queries::open(own)?;
    let mut heard = Heard::default();
    let begin = Instant::now();
    let mut buffer = [0; 2048];
    while begin.elapsed() < time {
        let mut is_quiet = true;
        for ear in &ears {
            // Bounded: others are to be heard, too.
            for _ in 0..BURST {
                let len = match ear.recv(&mut buffer) {
                    Ok(len) => len,
                    Err(error) if is_pause(&error) => break,
                    Err(error) => return Err(error),
                };
                is_quiet = false;
                heard.count(buffer.get(..len).unwrap_or_default());
            }
        }
        if heard.querier.is_none() {
            heard.querier = queries.look(begin.elapsed())?;
        }
        if is_quiet {
            thread::sleep(TURN);
        }
    }
    Ok(heard)
}

/// Asks the port of a sender, with a datagram that means nothing and takes no place.
pub(crate) fn ask(sender: Ipv4Addr, port: u16) -> io::Result<Rendezvous> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.connect((sender, port))?;
    for _ in 0..ASKED {
        let said = socket.send(NOTHING).and_then(|_| socket.recv(&mut [0]));
        match said.map_err(|error| error.kind()) {
            Err(io::ErrorKind::ConnectionRefused) => return Ok(Rendezvous::Refused),
            Err(io::ErrorKind::HostUnreachable | io::ErrorKind::PermissionDenied) => {
                return Ok(Rendezvous::Prohibited);
            }
            _ => {}
        }
    }
    Ok(Rendezvous::Silent)
}

/// A socket that hears what comes to this address, whoever else does.
fn ear(own: &Interface, address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    if address.ip().is_multicast() {
        socket.set_multicast_all_v4(false)?;
        let index = InterfaceIndexOrAddress::Index(own.index);
        socket.join_multicast_v4_n(address.ip(), &index)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Finds a querier: it asks now and then, and at once when somebody leaves a group.
struct Queries {
    socket: Socket,
    own: Ipv4Addr,
    /// Keeps a group of our own joined: its query must reach this machine.
    _member: UdpSocket,
    left: usize,
}

impl Queries {
    fn open(own: &Interface) -> io::Result<Self> {
        let member = ear(own, SocketAddrV4::new(TRIAL_GROUP, TRIAL_PORT))?;
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IGMP)))?;
        if let Some(index) = NonZeroU32::new(own.index) {
            socket.bind_device_by_index_v4(Some(index))?;
        }
        socket.set_header_included_v4(true)?;
        socket.set_multicast_if_v4(&own.addr)?;
        // What this machine itself reports comes back else.
        socket.set_multicast_loop_v4(false)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            own: own.addr,
            _member: member,
            left: 0,
        })
    }

    fn look(&mut self, passed: Duration) -> io::Result<Option<Querier>> {
        if LEAVES.get(self.left).is_some_and(|&at| passed >= at) {
            self.left += 1;
            let leave = igmp_leave(self.own, TRIAL_GROUP);
            let to = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 2), 0);
            self.socket.send_to(&leave, &to.into())?;
        }
        let mut buffer = [0; 512];
        let len = match self.socket.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if is_pause(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let query = igmp_query(buffer.get(..len).unwrap_or_default());
        Ok(query.map(|address| Querier { address }))
    }
}

const IGMP: i32 = 2;
/// Of the range for use within a site (RFC 2365), used by nothing else here.
const TRIAL_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 70, 79);
const TRIAL_PORT: u16 = 9;
/// The report of the member must be there before it is said to leave.
const LEAVES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];
const TURN: Duration = Duration::from_millis(5);
const BURST: u32 = 256;
const ANSWER: Duration = Duration::from_millis(300);
const ASKED: u32 = 2;
/// Too short to be a message of udpcast.
const NOTHING: &[u8] = &[];
