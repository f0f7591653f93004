//! Which DHCP servers there are: asks for an address, takes none, and collects all offers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use diagnosis::dhcp::{self, Offer, TransactionId};
use diagnosis::{Card, Look, Skipped};
use fog::Mac;
use socket2::{Domain, Protocol, Socket, Type};

/// Offers on this card that come in `time`. It is asked twice: a datagram may be lost.
pub(super) fn collect(card: &Card, time: Duration) -> Look<Vec<Offer>> {
    let failed = |error: io::Error| Skipped::Failed(format!("asking for offers: {error}"));
    let Ok(mac) = card.mac.parse::<Mac>() else {
        let why = format!("{} has no Ethernet address: {}", card.name, card.mac);
        return Err(Skipped::Failed(why));
    };
    let socket = open(&card.name).map_err(failed)?;
    let mut id = [0; 4];
    getrandom::fill(&mut id).map_err(|error| failed(io::Error::other(error)))?;
    let id = TransactionId(u32::from_be_bytes(id));
    let discover = dhcp::discover(id, mac.0);
    let begin = Instant::now();
    let mut offers: Vec<Offer> = Vec::new();
    let mut asked = 0_u32;
    let mut buffer = [0; 1500];
    loop {
        let passed = begin.elapsed();
        if passed >= time {
            return Ok(offers);
        }
        if asked < ASKED && passed >= time / ASKED * asked {
            socket.send_to(&discover, SERVERS).map_err(failed)?;
            asked += 1;
        }
        let (len, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if is_pause(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        let SocketAddr::V4(from) = from else { continue };
        let offer = buffer
            .get(..len)
            .and_then(|datagram| dhcp::parse_offer(datagram, id, *from.ip()));
        // Whoever floods is one of the servers that are shown.
        if let Some(offer) = offer
            && offers.len() < MOST
            && offers.iter().all(|known| known.server != offer.server)
        {
            offers.push(offer);
        }
    }
}

fn open(card: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    // Answers reach a card without an address only by broadcast, and this socket only by this card.
    socket.bind_device(Some(card.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
    socket.set_read_timeout(Some(TURN))?;
    Ok(socket.into())
}

/// Nothing has come in one turn.
pub(super) fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

const CLIENT_PORT: u16 = 68;
const SERVERS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
const TURN: Duration = Duration::from_millis(100);
const ASKED: u32 = 2;
/// A few hundred bytes each.
const MOST: usize = 16;
