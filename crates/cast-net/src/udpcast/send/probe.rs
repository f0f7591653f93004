//! Finds out whether anybody still listens on the port of a participant.
//!
//! Data and requests go to a group, and nobody answers a group that a port is closed. A datagram to the
//! host itself is answered by its kernel if the program has ended (ICMP port unreachable), which only a
//! connected socket hears of. It is a socket of its own, so that what comes back never touches the
//! transfer.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use cast_proto::udpcast::wire::{Hello, Message};

/// Hosts asked at a time, a socket each; others wait.
const MOST: usize = 64;

/// After so long the answer of a host is not waited for if others wait.
const PATIENCE: Duration = Duration::from_millis(20);

pub(super) struct Prober {
    own: Ipv4Addr,
    port: u16,
    /// The sockets, so that the driver waits for one thing alone however many they are.
    epoll: Epoll,
    asked: VecDeque<Asked>,
    /// Hosts to be asked when there is a socket, each once.
    waiting: VecDeque<(Ipv4Addr, Hello)>,
    /// How many have been asked.
    count: u64,
}

struct Asked {
    host: Ipv4Addr,
    number: u64,
    since: Instant,
    socket: UdpSocket,
}

impl Prober {
    /// Asks from `own` about `port`.
    pub(super) fn new(own: Ipv4Addr, port: u16) -> io::Result<Self> {
        Ok(Self {
            own,
            port,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            asked: VecDeque::new(),
            waiting: VecDeque::new(),
            count: 0,
        })
    }

    /// Sends that host a HELLO, which no receiver minds.
    pub(super) fn probe(&mut self, now: Instant, host: Ipv4Addr, hello: &Hello) {
        self.waiting.retain(|(waiting, _)| *waiting != host);
        self.waiting.push_back((host, *hello));
        self.ask_waiting(now);
    }

    fn ask_waiting(&mut self, now: Instant) {
        while let Some((host, hello)) = self.waiting.front().copied() {
            self.asked.retain(|asked| asked.host != host);
            if self.asked.len() >= MOST {
                let is_over =
                    |asked: &Asked| now.saturating_duration_since(asked.since) >= PATIENCE;
                if !self.asked.front().is_some_and(is_over) {
                    return;
                }
                self.asked.pop_front();
            }
            self.waiting.pop_front();
            self.ask(now, host, &hello);
        }
    }

    fn ask(&mut self, now: Instant, host: Ipv4Addr, hello: &Hello) {
        let mut datagram = Vec::new();
        Message::Hello(*hello).emit(&mut datagram);
        match self.send(host, &datagram) {
            Ok(socket) => self.asked.push_back(Asked {
                host,
                number: self.count,
                since: now,
                socket,
            }),
            // It is a convenience: without it the host is found out by its silence alone.
            Err(error) => tracing::debug!(%host, %error, "asking whether anybody listens"),
        }
    }

    fn send(&mut self, host: Ipv4Addr, datagram: &[u8]) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((self.own, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect((host, self.port))?;
        self.count += 1;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, self.count);
        self.epoll.add(&socket, event)?;
        socket.send(datagram)?;
        Ok(socket)
    }

    /// Hosts that have answered that the port is closed, each once. Asks those that wait.
    pub(super) fn take_refusals(&mut self, now: Instant) -> Vec<Ipv4Addr> {
        let mut refusals = Vec::new();
        let mut ready = [EpollEvent::empty(); MOST];
        let count = match self.asked.is_empty() {
            true => 0,
            // An interruption is made up for the next time.
            false => self
                .epoll
                .wait(&mut ready, EpollTimeout::ZERO)
                .unwrap_or_default(),
        };
        for event in ready.iter().take(count) {
            let number = event.data();
            let Some(position) = self.asked.iter().position(|asked| asked.number == number) else {
                continue;
            };
            // Whatever is said to this socket, it has done its work.
            let Some(Asked { host, socket, .. }) = self.asked.remove(position) else {
                continue;
            };
            // "No way to the host" is what a packet filter of a host that lives says. Of a host that is not
            // there this socket hears nothing.
            let heard = socket.recv(&mut [0]).map_err(|error| error.kind());
            if heard == Err(io::ErrorKind::ConnectionRefused) {
                refusals.push(host);
            }
        }
        self.ask_waiting(now);
        refusals
    }
}

/// Readable when a host has answered.
impl AsFd for Prober {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFlags, PollTimeout};

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
        let mut prober = Prober::new(Ipv4Addr::LOCALHOST, port).unwrap();
        let now = Instant::now();
        prober.probe(now, there, &hello);
        prober.probe(now, gone, &hello);
        // The answer of loopback is there as soon as the question has left.
        let ready = nix::poll::poll(
            &mut [nix::poll::PollFd::new(prober.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(60_000_u16),
        );
        assert_eq!(ready, Ok(1));
        assert_eq!(prober.take_refusals(now), [gone]);
        let mut datagram = [0; 64];
        assert_eq!(open.recv(&mut datagram).unwrap(), 28);
        assert!(prober.take_refusals(now).is_empty(), "reported once");
        for _ in 0..2 * MOST {
            prober.probe(now, there, &hello);
        }
        assert_eq!(prober.asked.len(), 1, "one socket for a host");
        // More hosts than sockets: each is asked in its turn.
        let hosts = (0..=u8::MAX).map(|number| Ipv4Addr::new(127, 0, 1, number));
        for host in hosts.clone() {
            prober.probe(now, host, &hello);
        }
        let mut refused = Vec::new();
        for turn in 0..16 {
            assert!(prober.asked.len() <= MOST);
            refused.extend(prober.take_refusals(now + turn * PATIENCE));
        }
        refused.sort_unstable();
        assert_eq!(refused, hosts.collect::<Vec<_>>());
    }
}
