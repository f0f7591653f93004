//! Listens at a card by which nothing is sent: who asks there has the wrong address of this machine. Nothing is answered,
//! not even a refusal: a receiver of another session, in another network, may ask there, too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cast_net::Interface;
use cast_net::udpcast::wire::Message;
use socket2::{Domain, Protocol, Socket, Type};

/// Calls `asked` for each request to be let in, until `is_over`.
///
/// # Errors
/// Another program has the port.
pub(super) fn listen(
    card: &Interface,
    port: u16,
    is_over: &AtomicBool,
    mut asked: impl FnMut(Ipv4Addr),
) -> io::Result<()> {
    let sockets = [
        open(SocketAddrV4::new(card.addr, port), None)?,
        // Where udpcast's receivers ask that were told no address.
        open(SocketAddrV4::new(ALL_HOSTS, port), Some(card.addr))?,
    ];
    let mut buffer = [0; 2048];
    while !is_over.load(Ordering::Relaxed) {
        for socket in &sockets {
            // Nothing has come, or the network is away for a moment.
            let Ok((len, SocketAddr::V4(from))) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let bytes = buffer.get(..len).unwrap_or_default();
            if let Ok(Message::ConnectReq(_)) = Message::parse(bytes) {
                asked(*from.ip());
            }
        }
    }
    Ok(())
}

fn open(address: SocketAddrV4, group_on: Option<Ipv4Addr>) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if group_on.is_some() {
        // Senders of other cards have it, too.
        socket.set_reuse_address(true)?;
        socket.set_multicast_all_v4(false)?;
    }
    socket.bind(&address.into())?;
    if let Some(card) = group_on {
        socket.join_multicast_v4(address.ip(), &card)?;
    }
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket.into())
}

/// udpcast's rendezvous.
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const LOOK: Duration = Duration::from_millis(50);
