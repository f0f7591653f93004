//! Datagrams in batches: one system call for many.
//!
//! Where the kernel can, many datagrams also travel through it as one: datagrams of one length to
//! one destination leave as segments of a large one (UDP_SEGMENT, Linux 4.18), and arrive joined
//! (UDP_GRO, Linux 5.0). On the network they are what they always were.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg,
    sendmsg, setsockopt, sockopt,
};

use cast_proto::core::{SocketNo, Transmit};

/// Takes datagrams from sockets. Costs `RECEIVE_COUNT` × 64 KiB of address space, of which only what
/// datagrams really fill is memory.
pub(crate) struct Inbox {
    buffers: Vec<u8>,
    arrived: Vec<Arrived>,
    /// Bytes for the control messages of each datagram.
    control: usize,
}

/// What a place in the buffers holds.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    source: SocketAddrV4,
    len: usize,
    /// Length of each datagram of it but the last, which may be shorter. `None`: that was not to be
    /// read, so its datagrams are lost.
    segment: Option<usize>,
}

/// More come with the next call; between two calls the core answers.
const RECEIVE_COUNT: usize = 16;
/// No UDP datagram is longer, nor are several that the kernel has joined.
const RECEIVE_SIZE: usize = 1 << 16;

/// What [`Inbox::receive`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) datagrams: u64,
    /// The buffers were all used; more may be waiting.
    pub(crate) is_full: bool,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; RECEIVE_COUNT * RECEIVE_SIZE],
            arrived: Vec::with_capacity(RECEIVE_COUNT),
            control: cmsg_space!(i32).capacity(),
        }
    }

    /// Asks the kernel to hand over datagrams joined; without it they come one by one.
    pub(crate) fn join_datagrams(socket: &impl AsFd) {
        if let Err(errno) = setsockopt(socket, sockopt::UdpGroSegment, &true) {
            tracing::debug!(%errno, "UDP_GRO");
        }
    }

    /// Hands waiting datagrams to `take`.
    ///
    /// # Errors
    /// That of the socket, `EAGAIN` when nothing waits.
    pub(crate) fn receive(
        &mut self,
        socket: impl AsFd,
        mut take: impl FnMut(SocketAddrV4, &[u8]),
    ) -> Result<Received, Errno> {
        self.arrived.clear();
        {
            // Made anew each time: the kernel writes into them how much room it has left.
            let mut headers: MultiHeaders<SockaddrIn> =
                MultiHeaders::preallocate(RECEIVE_COUNT, Some(Vec::with_capacity(self.control)));
            let chunks = self.buffers.chunks_mut(RECEIVE_SIZE);
            let mut slices: Vec<_> = chunks.map(|chunk| [IoSliceMut::new(chunk)]).collect();
            let fd = socket.as_fd().as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let messages = recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None)?;
            for message in messages {
                // A datagram without source cannot be; it would be nobody's.
                let source = message.address.map_or(NOBODY, SocketAddrV4::from);
                let len = message.bytes;
                // There is room for what was asked for; cut off, it would not be known what came. It has its
                // place all the same: what came behind it is in the buffers behind it.
                let segment = match message.cmsgs() {
                    Ok(mut controls) => {
                        let joined = controls.find_map(|control| match control {
                            ControlMessageOwned::UdpGroSegments(size) => Some(size),
                            _ => None,
                        });
                        let size = joined.and_then(|size| usize::try_from(size).ok());
                        Some(size.unwrap_or(len))
                    }
                    Err(errno) => {
                        tracing::debug!(%errno, "control messages");
                        None
                    }
                };
                self.arrived.push(Arrived {
                    source,
                    len,
                    segment,
                });
            }
        }
        let mut datagrams = 0;
        for (arrived, buffer) in self.arrived.iter().zip(self.buffers.chunks(RECEIVE_SIZE)) {
            let bytes = buffer.get(..arrived.len).unwrap_or(buffer);
            let Some(segment) = arrived.segment else {
                continue;
            };
            if segment == 0 || segment >= bytes.len() {
                datagrams += 1;
                take(arrived.source, bytes);
                continue;
            }
            for datagram in bytes.chunks(segment) {
                datagrams += 1;
                take(arrived.source, datagram);
            }
        }
        Ok(Received {
            datagrams,
            is_full: self.arrived.len() == RECEIVE_COUNT,
        })
    }
}

const NOBODY: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);

/// Datagrams waiting to leave, in order.
pub(crate) struct Outbox {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<Vec<u8>>,
    addresses: Vec<Option<SockaddrIn>>,
    /// The socket that each leaves by.
    sockets: Vec<SocketNo>,
    /// Those before it have left.
    first: usize,
    /// Those from it on are free.
    end: usize,
    segmentation: Segmentation,
    /// Datagrams in a run, at most.
    run_max: usize,
}

/// Whether runs of datagrams leave as segments of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segmentation {
    /// The kernel has not been asked yet. One that does not know the option must not be given it:
    /// it would send one huge datagram in fragments.
    Unknown,
    Works,
    Refused,
}

/// How many are asked of the core before the sockets are looked at again: two runs of full
/// Ethernet frames.
const SEND_COUNT: usize = 88;
/// Segments that every kernel takes at once (`UDP_MAX_SEGMENTS`, 64 before Linux 6.9).
const RUN_MAX: usize = 64;
/// Bytes of a run, at most: what one IPv4 packet can hold.
const RUN_SIZE: usize = 65_507;

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(SEND_COUNT, None),
            buffers: vec![Vec::new(); SEND_COUNT],
            addresses: vec![None; SEND_COUNT],
            sockets: vec![SocketNo::MAIN; SEND_COUNT],
            first: 0,
            end: 0,
            segmentation: Segmentation::Unknown,
            run_max: RUN_MAX,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Fills the free places behind the waiting datagrams; `next` fills a buffer and says where it
    /// goes. The answer is whether `next` ran dry.
    pub(crate) fn fill(&mut self, mut next: impl FnMut(&mut Vec<u8>) -> Option<Transmit>) -> bool {
        if self.is_empty() {
            self.first = 0;
            self.end = 0;
        }
        while let (Some(buffer), Some(address), Some(socket)) = (
            self.buffers.get_mut(self.end),
            self.addresses.get_mut(self.end),
            self.sockets.get_mut(self.end),
        ) {
            match next(buffer) {
                Some(Transmit { by, to }) => (*socket, *address) = (by, Some(to.into())),
                None => return true,
            }
            self.end += 1;
        }
        false
    }

    /// Sends the first of what waits by the socket that it leaves by ([`next`](Self::next)); the
    /// answer is how many left, which may be fewer than wait.
    ///
    /// # Errors
    /// That of the first waiting datagram.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> Result<usize, Errno> {
        if self.segmentation == Segmentation::Unknown {
            self.segmentation = match setsockopt(&socket, sockopt::UdpGsoSegment, &0) {
                Ok(()) => Segmentation::Works,
                Err(errno) => {
                    tracing::debug!(%errno, "UDP_SEGMENT");
                    Segmentation::Refused
                }
            };
        }
        if self.segmentation == Segmentation::Refused {
            let waiting = self.same_socket().count();
            return self.send_one_by_one(&socket, waiting);
        }
        let run = self.run(self.first);
        if run < 2 {
            let singles = self.same_socket().take_while(|at| self.run(*at) < 2);
            let singles = singles.count();
            return self.send_one_by_one(&socket, singles);
        }
        match self.send_run(&socket, run) {
            // The device cannot checksum, a route transforms packets, a datagram is longer than the
            // device's packets, a packet filter that knows no segments: the reasons are many, and
            // the datagrams may well leave one by one.
            Err(
                refusal @ (Errno::EIO
                | Errno::EINVAL
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EMSGSIZE),
            ) => {
                let sent = self.send_one_by_one(&socket, run)?;
                tracing::debug!(%refusal, "UDP_SEGMENT; datagrams leave one by one from here on");
                self.segmentation = Segmentation::Refused;
                Ok(sent)
            }
            result => result,
        }
    }

    /// The waiting datagrams up to the first that leaves by another socket.
    fn same_socket(&self) -> impl Iterator<Item = usize> {
        let socket = self.sockets.get(self.first);
        (self.first..self.end).take_while(move |at| self.sockets.get(*at) == socket)
    }

    /// How many datagrams from `at` on can be segments of one: by one socket to one destination, and
    /// of one length but for the last, which may be shorter.
    fn run(&self, at: usize) -> usize {
        let waiting = self.buffers.get(at..self.end).unwrap_or_default();
        let addresses = self.addresses.get(at..self.end).unwrap_or_default();
        let Some((first, destination)) = waiting.first().zip(addresses.first()) else {
            return 0;
        };
        let sockets = self.sockets.get(at..self.end).unwrap_or_default();
        let (mut count, mut total) = (0, 0);
        let datagrams = waiting.iter().zip(addresses).zip(sockets);
        for ((datagram, address), socket) in datagrams.take(self.run_max) {
            let fits = Some(socket) == sockets.first()
                && !datagram.is_empty()
                && datagram.len() <= first.len()
                && total + datagram.len() <= RUN_SIZE
                && address == destination;
            if !fits {
                break;
            }
            count += 1;
            total += datagram.len();
            if datagram.len() < first.len() {
                break;
            }
        }
        count.max(1)
    }

    fn send_run(&mut self, socket: &impl AsFd, run: usize) -> Result<usize, Errno> {
        let waiting = self.buffers.get(self.first..self.first + run);
        let waiting = waiting.unwrap_or_default();
        let destination = self.addresses.get(self.first).and_then(Option::as_ref);
        let segment = waiting.first().map_or(0, Vec::len);
        let segment = u16::try_from(segment).map_err(|_| Errno::EMSGSIZE)?;
        let slices: Vec<_> = waiting.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let fd = socket.as_fd().as_raw_fd();
        sendmsg(fd, &slices, &control, MsgFlags::MSG_DONTWAIT, destination)?;
        self.first += run;
        Ok(run)
    }

    fn send_one_by_one(&mut self, socket: &impl AsFd, count: usize) -> Result<usize, Errno> {
        let range = self.first..self.first + count;
        let waiting = self.buffers.get(range.clone()).unwrap_or_default();
        let addresses = self.addresses.get(range).unwrap_or_default();
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
    pub(crate) fn next(&self) -> Option<Transmit> {
        let waiting = self.first..self.end;
        let to = self.addresses.get(waiting.clone())?.first()?.as_ref()?;
        Some(Transmit {
            by: *self.sockets.get(waiting)?.first()?,
            to: SocketAddrV4::from(*to),
        })
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

    fn address(socket: &UdpSocket) -> SocketAddrV4 {
        match socket.local_addr().unwrap() {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(address) => panic!("{address}"),
        }
    }

    /// Sends `datagrams` through `outbox` to a socket that has them joined or not, and answers what
    /// arrived.
    fn carry(outbox: &mut Outbox, datagrams: &[Vec<u8>], is_joined: bool) -> Vec<Vec<u8>> {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        if is_joined {
            Inbox::join_datagrams(&to);
        }
        let destination = address(&to);
        let mut pending = datagrams.iter();
        let mut got = Vec::new();
        let mut inbox = Inbox::new();
        loop {
            let dry = outbox.fill(|buffer| {
                buffer.clear();
                buffer.extend_from_slice(pending.next()?);
                Some(Transmit::main(destination))
            });
            while !outbox.is_empty() {
                outbox.send(&from).unwrap();
                loop {
                    let taken = inbox.receive(&to, |source, datagram| {
                        assert_eq!(source, address(&from));
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
            }
            if dry {
                return got;
            }
        }
    }

    /// Lengths from 0 up, then runs of equal ones with a shorter end, then falling ones; no two alike.
    fn datagrams() -> Vec<Vec<u8>> {
        let rising = (0..70).map(|n| n * 20);
        let equal = (0..300).map(|n| if n % 100 == 99 { 7 } else { 1472 });
        let falling = (0..70).rev().map(|n| n * 20);
        let lens = rising.chain(equal).chain(falling);
        let fill = |(n, len): (usize, usize)| {
            let mut bytes = vec![0; len];
            bytes
                .iter_mut()
                .zip(n.to_le_bytes())
                .for_each(|(to, from)| *to = from);
            bytes
        };
        lens.enumerate().map(fill).collect()
    }

    #[test]
    fn batches_keep_order_length_and_source() {
        for segmentation in [Segmentation::Unknown, Segmentation::Refused] {
            for is_joined in [false, true] {
                let mut outbox = Outbox::new();
                outbox.segmentation = segmentation;
                assert!(carry(&mut outbox, &datagrams(), is_joined) == datagrams());
            }
        }
    }

    #[test]
    fn a_bad_control_message_costs_its_own_datagrams_only() {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        Inbox::join_datagrams(&to);
        let mut outbox = Outbox::new();
        // The two of one length arrive joined, with a control message for which there is no room.
        let datagrams: [&[u8]; 5] = [b"one", b"joined1", b"joined2", b"three", b"fourth"];
        let mut sent = 0;
        for run in [
            &datagrams[..1],
            &datagrams[1..3],
            &datagrams[3..4],
            &datagrams[4..],
        ] {
            let mut pending = run.iter();
            outbox.fill(|buffer| {
                buffer.clear();
                buffer.extend_from_slice(pending.next()?);
                Some(Transmit::main(address(&to)))
            });
            while !outbox.is_empty() {
                sent += outbox.send(&from).unwrap();
            }
        }
        assert_eq!(sent, datagrams.len());
        if outbox.segmentation == Segmentation::Refused {
            println!("skipped: this kernel joins no datagrams");
            return;
        }
        let mut inbox = Inbox::new();
        inbox.control = cmsg_space!(()).capacity();
        let mut got = Vec::new();
        let received = inbox.receive(&to, |_, datagram| got.push(datagram.to_vec()));
        assert_eq!(got, [&b"one"[..], b"three", b"fourth"]);
        assert_eq!(received.unwrap().datagrams, 3);
    }

    #[test]
    fn what_the_kernel_will_not_segment_leaves_one_by_one() {
        /// More than `UDP_MAX_SEGMENTS` of any kernel: EINVAL, if it knows the option.
        const MANY: usize = 150;
        let mut outbox = Outbox::new();
        outbox.buffers.resize(MANY, Vec::new());
        outbox.addresses.resize(MANY, None);
        outbox.sockets.resize(MANY, SocketNo::MAIN);
        outbox.headers = MultiHeaders::preallocate(MANY, None);
        outbox.run_max = MANY;
        let tiny: Vec<Vec<u8>> = (0..MANY).map(|n| n.to_le_bytes().to_vec()).collect();
        assert!(carry(&mut outbox, &tiny, true) == tiny);
        assert_eq!(outbox.segmentation, Segmentation::Refused);
    }

    #[test]
    fn a_refused_datagram_can_be_given_up() {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nowhere = SocketAddrV4::new([255, 255, 255, 255].into(), 9);
        let mut count = 0;
        let mut outbox = Outbox::new();
        outbox.fill(|buffer| {
            buffer.clear();
            buffer.push(1);
            count += 1;
            (count <= 2).then_some(Transmit::main(nowhere))
        });
        // Without broadcast permission.
        assert_eq!(outbox.send(&from), Err(Errno::EACCES));
        assert_eq!(outbox.next(), Some(Transmit::main(nowhere)));
        outbox.discard_first();
        outbox.discard_first();
        assert!(outbox.is_empty());
        assert_eq!(outbox.next(), None);
    }
}
