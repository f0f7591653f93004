//! Finds out whether anybody still listens on the port of a participant.
//!
//! Data and requests go to a group, and nobody answers a group that a port is closed. A datagram to the
//! host itself is answered by its kernel if the program has ended (ICMP port unreachable), which only a
//! connected socket hears of. It is a socket of its own, so that what comes back never touches the
//! transfer.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use cast_proto::udpcast::wire::{Hello, Message};

/// Hosts asked at a time; the oldest gives way.
const MOST: usize = 64;

pub(super) struct Prober {
    own: Ipv4Addr,
    port: u16,
    asked: VecDeque<(Ipv4Addr, UdpSocket)>,
}

impl Prober {
    /// Asks from `own` about `port`.
    pub(super) fn new(own: Ipv4Addr, port: u16) -> Self {
        Self {
            own,
            port,
            asked: VecDeque::new(),
        }
    }

    /// Sends that host a HELLO, which no receiver minds.
    pub(super) fn probe(&mut self, host: Ipv4Addr, hello: &Hello) {
        let mut datagram = Vec::new();
        Message::Hello(*hello).emit(&mut datagram);
        match self.send(host, &datagram) {
            Ok(socket) => {
                self.asked.retain(|(asked, _)| *asked != host);
                if self.asked.len() == MOST {
                    self.asked.pop_front();
                }
                self.asked.push_back((host, socket));
            }
            // It is a convenience: without it the host is found out by its silence alone.
            Err(error) => tracing::debug!(%host, %error, "asking whether anybody listens"),
        }
    }

    fn send(&self, host: Ipv4Addr, datagram: &[u8]) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((self.own, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect((host, self.port))?;
        socket.send(datagram)?;
        Ok(socket)
    }

    /// Hosts that have answered that nobody listens there.
    pub(super) fn take_refused(&mut self) -> Vec<Ipv4Addr> {
        let mut refused = Vec::new();
        self.asked.retain(|(host, socket)| {
            let error = socket.take_error().ok().flatten();
            let is_refused =
                error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if is_refused {
                refused.push(*host);
            }
            !is_refused
        });
        refused
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use cast_proto::udpcast::wire::{Capabilities, HelloKind};

    use super::*;

    #[test]
    fn a_closed_port_is_told_from_an_open_one() {
        let open = UdpSocket::bind("127.0.0.1:0").unwrap();
        open.set_nonblocking(true).unwrap();
        let port = open.local_addr().unwrap().port();
        let hello = Hello {
            kind: HelloKind::Plain,
            capabilities: Capabilities::CURRENT,
            data_address: Ipv4Addr::LOCALHOST,
            block_size: 1456,
        };
        // The port is open on one address of loopback, and closed on the other.
        let (there, gone) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
        let mut prober = Prober::new(Ipv4Addr::LOCALHOST, port);
        prober.probe(there, &hello);
        prober.probe(gone, &hello);
        let until = Instant::now() + Duration::from_secs(60);
        let refused = loop {
            let refused = prober.take_refused();
            if !refused.is_empty() || Instant::now() > until {
                break refused;
            }
            std::thread::yield_now();
        };
        assert_eq!(refused, [gone]);
        let mut datagram = [0; 64];
        assert_eq!(open.recv(&mut datagram).unwrap(), 28);
        assert!(prober.take_refused().is_empty(), "told once");
        for _ in 0..2 * MOST {
            prober.probe(there, &hello);
        }
        assert_eq!(prober.asked.len(), 1, "one socket for a host");
    }
}
