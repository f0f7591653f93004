//! Sends Wake-on-LAN packets: a broadcast to the network of a card, from the address of that card, so that it leaves by
//! this one. Own code, as the libraries for it send to 255.255.255.255, which leaves by one card of the kernel's choice.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cast_net::Interface;
use fog::Mac;

use crate::domain::wake::{PORT, TIMES, broadcast, magic_packet};

/// Between two of the same.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends for all these addresses; the names of the cards that it was sent by.
///
/// # Errors
/// If no card can send it.
pub(super) fn wake(macs: &[Mac], card: Option<&Interface>) -> anyhow::Result<Vec<String>> {
    let list = match card {
        Some(card) => vec![card.clone()],
        None => Interface::list()?,
    };
    let ways: Vec<(&Interface, Ipv4Addr)> = list
        .iter()
        .filter(|card| card.is_up && !card.is_loopback)
        .filter_map(|card| {
            let computed = || broadcast(card.addr, card.prefix_len);
            Some((card, card.broadcast.or_else(computed)?))
        })
        .collect();
    let (mut cards, mut failure) = (Vec::new(), None);
    for (card, target) in ways {
        match send(card.addr, target, macs) {
            Ok(()) => cards.push(card.name.clone()),
            Err(error) => failure = Some(error.context(card.name.clone())),
        }
    }
    match (cards.is_empty(), failure) {
        (false, _) => Ok(cards),
        (true, Some(error)) => Err(error),
        (true, None) => bail!("no network card that is up has a broadcast address"),
    }
}

fn send(from: Ipv4Addr, target: Ipv4Addr, macs: &[Mac]) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(SocketAddrV4::new(from, 0))
        .with_context(|| format!("sending from {from}"))?;
    socket.set_broadcast(true).context("sending broadcasts")?;
    for time in 0..TIMES {
        if time > 0 {
            thread::sleep(PAUSE);
        }
        for mac in macs {
            let sent = socket.send_to(&magic_packet(*mac), SocketAddrV4::new(target, PORT));
            sent.with_context(|| format!("sending to {target}"))?;
        }
    }
    Ok(())
}
