//! Datagrams in batches: one system call for many.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Takes datagrams from sockets. Costs `RECEIVE_COUNT` × 64 KiB of address space, of which only what
/// datagrams really fill is memory.
pub(crate) struct Inbox {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<u8>,
    /// Source and length of what the last call brought, by position in `buffers`.
    arrived: Vec<(SocketAddrV4, usize)>,
}

/// More come with the next call; between two calls the core answers.
pub(crate) const RECEIVE_COUNT: usize = 32;
/// No UDP datagram is longer.
const RECEIVE_SIZE: usize = 1 << 16;

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(RECEIVE_COUNT, None),
            buffers: vec![0; RECEIVE_COUNT * RECEIVE_SIZE],
            arrived: Vec::with_capacity(RECEIVE_COUNT),
        }
    }

    /// Hands at most `RECEIVE_COUNT` waiting datagrams to `take`; the answer is how many.
    ///
    /// # Errors
    /// That of the socket, `EAGAIN` when nothing waits.
    pub(crate) fn receive(
        &mut self,
        socket: impl AsFd,
        mut take: impl FnMut(SocketAddrV4, &[u8]),
    ) -> Result<usize, Errno> {
        self.arrived.clear();
        {
            let chunks = self.buffers.chunks_mut(RECEIVE_SIZE);
            let mut slices: Vec<_> = chunks.map(|chunk| [IoSliceMut::new(chunk)]).collect();
            let fd = socket.as_fd().as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let messages = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None)?;
            for message in messages {
                // A datagram without source cannot be; it would be nobody's.
                let source = message.address.map_or(NOBODY, SocketAddrV4::from);
                self.arrived.push((source, message.bytes));
            }
        }
        for (&(source, len), buffer) in self.arrived.iter().zip(self.buffers.chunks(RECEIVE_SIZE)) {
            take(source, buffer.get(..len).unwrap_or(buffer));
        }
        Ok(self.arrived.len())
    }
}

const NOBODY: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);

/// Datagrams waiting to leave, in order.
pub(crate) struct Outbox {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<Vec<u8>>,
    addresses: Vec<Option<SockaddrIn>>,
    /// Those before it have left.
    first: usize,
    /// Those from it on are free.
    end: usize,
}

/// How many are asked of the core before the sockets are looked at again.
const SEND_COUNT: usize = 32;

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(SEND_COUNT, None),
            buffers: vec![Vec::new(); SEND_COUNT],
            addresses: vec![None; SEND_COUNT],
            first: 0,
            end: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Fills the free places behind the waiting datagrams; `next` fills a buffer and names the
    /// destination. The answer is whether `next` ran dry.
    pub(crate) fn fill(
        &mut self,
        mut next: impl FnMut(&mut Vec<u8>) -> Option<SocketAddrV4>,
    ) -> bool {
        if self.is_empty() {
            self.first = 0;
            self.end = 0;
        }
        while let (Some(buffer), Some(address)) = (
            self.buffers.get_mut(self.end),
            self.addresses.get_mut(self.end),
        ) {
            match next(buffer) {
                Some(destination) => *address = Some(destination.into()),
                None => return true,
            }
            self.end += 1;
        }
        false
    }

    /// Sends what waits; the answer is how many left, which may be fewer than wait.
    ///
    /// # Errors
    /// That of the first waiting datagram.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> Result<usize, Errno> {
        let waiting = self.buffers.get(self.first..self.end).unwrap_or_default();
        let addresses = self.addresses.get(self.first..self.end).unwrap_or_default();
        let slices: Vec<_> = waiting
            .iter()
            .map(|datagram| [IoSlice::new(datagram)])
            .collect();
        let none: [ControlMessage<'_>; 0] = [];
        let fd = socket.as_fd().as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent = sendmmsg(fd, &mut self.headers, slices.iter(), addresses, none, flags)?.count();
        self.first += sent;
        Ok(sent)
    }

    /// Where the first waiting datagram goes.
    pub(crate) fn destination(&self) -> Option<SocketAddrV4> {
        self.addresses
            .get(self.first..self.end)?
            .first()?
            .map(SocketAddrV4::from)
    }

    /// Gives the first waiting datagram up.
    pub(crate) fn discard_first(&mut self) {
        self.first = self.end.min(self.first + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn batches_keep_order_length_and_source() {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(destination) = to.local_addr().unwrap() else {
            panic!("an IPv4 address");
        };
        // Three batches, one of them partly filled; lengths from 0 up.
        let datagrams: Vec<Vec<u8>> = (0..70u8).map(|n| vec![n; usize::from(n) * 20]).collect();
        let mut outbox = Outbox::new();
        let mut pending = datagrams.iter();
        let mut got = Vec::new();
        let mut inbox = Inbox::new();
        loop {
            let dry = outbox.fill(|buffer| {
                buffer.clear();
                buffer.extend_from_slice(pending.next()?);
                Some(destination)
            });
            while !outbox.is_empty() {
                outbox.send(&from).unwrap();
            }
            loop {
                let taken = inbox.receive(&to, |source, datagram| {
                    assert_eq!(std::net::SocketAddr::V4(source), from.local_addr().unwrap());
                    got.push(datagram.to_vec());
                });
                match taken {
                    Ok(_) => {}
                    Err(errno) => {
                        assert_eq!(errno, Errno::EAGAIN);
                        break;
                    }
                }
            }
            if dry {
                break;
            }
        }
        assert_eq!(got, datagrams);
    }

    #[test]
    fn a_refused_datagram_can_be_given_up() {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nowhere = SocketAddrV4::new([255, 255, 255, 255].into(), 9);
        let mut count = 0;
        let mut outbox = Outbox::new();
        outbox.fill(|buffer| {
            buffer.clear();
            count += 1;
            (count <= 2).then_some(nowhere)
        });
        // Without broadcast permission.
        assert_eq!(outbox.send(&from), Err(Errno::EACCES));
        assert_eq!(outbox.destination(), Some(nowhere));
        outbox.discard_first();
        outbox.discard_first();
        assert!(outbox.is_empty());
        assert_eq!(outbox.destination(), None);
    }
}
