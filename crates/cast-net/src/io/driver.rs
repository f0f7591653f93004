//! Runs a protocol core over sockets: datagrams in, timer, transmit. It knows nothing of the protocol.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use cast_proto::core::{Core, SocketNo, Transmit};

use crate::io::batch::{Inbox, Outbox};
use crate::io::socket::Endpoint;

/// Datagrams do not leave.
#[derive(Clone, Debug)]
pub struct SendTrouble {
    /// Destination of the last datagram that was refused.
    pub to: SocketAddrV4,
    /// How long nothing has left.
    pub lasted: Duration,
    /// The kernel's answer.
    pub(crate) errno: Errno,
}

impl fmt::Display for SendTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, lasted, errno } = self;
        write!(f, "datagrams do not leave this host")?;
        if *lasted >= Duration::from_secs(1) {
            write!(f, ", for {} now", readable::Time(*lasted))?;
        }
        write!(f, "; the last one, to {to}: {}", errno.desc())?;
        f.write_str(match errno {
            Errno::EPERM => "; a packet filter of this host rejects it",
            Errno::ENETDOWN | Errno::ENETUNREACH | Errno::EHOSTUNREACH => {
                "; check the cable, this host's address and its routes"
            }
            Errno::EMSGSIZE => "; use a smaller block size",
            _ => "",
        })
    }
}

impl std::error::Error for SendTrouble {}

/// What people should know of this host's network.
#[derive(Clone, Debug)]
pub enum NetworkNotice {
    /// Nothing leaves this host. It goes on trying, for a minute.
    Trouble(SendTrouble),
    /// It does again, after so long.
    LeavesAgain(Duration),
    /// A multicast group could not be joined again; told once until it can.
    CannotRejoin {
        /// The group.
        group: Ipv4Addr,
        /// The kernel's answer.
        source: Arc<io::Error>,
    },
}

impl fmt::Display for NetworkNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trouble(trouble) => write!(f, "{trouble}; trying again"),
            Self::LeavesAgain(lasted) => write!(
                f,
                "datagrams leave this host again, after {}",
                readable::Time(*lasted)
            ),
            Self::CannotRejoin { group, source } => write!(
                f,
                "multicast group {group} cannot be joined again ({source}); check this host's link and address"
            ),
        }
    }
}

/// Sockets and what waits in front of them.
pub(crate) struct Driver {
    /// By [`SocketNo`]. All receive.
    endpoints: Vec<Endpoint>,
    readable: Vec<bool>,
    /// When each one last heard something (or was opened, or joined again).
    heard: Vec<Instant>,
    inbox: Inbox,
    outbox: Outbox,
    obstacle: Obstacle,
    failing: Option<Failing>,
    /// A trouble that has lasted this long is reported.
    patience: Duration,
    cannot_rejoin: bool,
    notices: VecDeque<NetworkNotice>,
    datagrams: u64,
}

/// What sending waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    None,
    /// The buffer of that socket is full: until the kernel says it is writable.
    Buffer(SocketNo),
    /// The interface's queue is full, which the kernel does not announce: until then.
    Queue {
        until: Instant,
        tries: u32,
    },
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Errno,
    to: SocketAddrV4,
    is_told: bool,
}

/// Waits between attempts when the interface's queue is full, doubling from 0.25 ms.
const QUEUE_WAIT: Duration = Duration::from_micros(250);
/// A datagram refused that often is given up, as if the network had lost it.
const QUEUE_TRIES: u32 = 8;
/// A trouble that has lasted this long ends the transfer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

impl Driver {
    /// The first of `endpoints` is the main one. That nothing leaves is reported after `patience`.
    pub(crate) fn new(endpoints: Vec<Endpoint>, patience: Duration, now: Instant) -> Self {
        let mut driver = Self {
            endpoints: Vec::new(),
            readable: Vec::new(),
            heard: Vec::new(),
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            obstacle: Obstacle::None,
            failing: None,
            patience,
            cannot_rejoin: false,
            notices: VecDeque::new(),
            datagrams: 0,
        };
        for endpoint in endpoints {
            driver.add(endpoint, now);
        }
        driver
    }

    /// Listens on one more socket.
    pub(crate) fn add(&mut self, endpoint: Endpoint, now: Instant) {
        Inbox::join_datagrams(&endpoint);
        self.endpoints.push(endpoint);
        self.readable.push(true);
        self.heard.push(now);
    }

    /// Whether a socket is bound to that address.
    pub(crate) fn listens_on(&self, address: Ipv4Addr) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| *endpoint.local().ip() == address)
    }

    /// Datagrams received so far.
    pub(crate) fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// One pass: a batch in from every readable socket, the timer if it is due, a batch out. The
    /// answer is whether the caller should come again before it waits.
    ///
    /// # Errors
    /// Nothing has left for a minute, or never will.
    pub(crate) fn turn(&mut self, core: &mut impl Core) -> Result<bool, SendTrouble> {
        let more_in = self.receive(core);
        let now = Instant::now();
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle_timeout(now);
        }
        let more_out = self.transmit(core, now)?;
        Ok(more_in || more_out)
    }

    /// Sleeps until a socket or one of `wakers` is readable, the core's timer is due or `until` has
    /// come. `busy`: only look. Afterwards the next `turn` knows which sockets to read.
    ///
    /// # Errors
    /// The kernel refuses to wait, which is a defect of the program.
    pub(crate) fn wait(
        &mut self,
        core: &impl Core,
        busy: bool,
        until: Option<Instant>,
        wakers: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            self.time_left(core, until)
        };
        let mut fds = Vec::with_capacity(self.endpoints.len() + wakers.len());
        for (position, endpoint) in self.endpoints.iter().enumerate() {
            let mut interest = PollFlags::POLLIN;
            if self.obstacle == Obstacle::Buffer(SocketNo(position)) {
                interest |= PollFlags::POLLOUT;
            }
            fds.push(PollFd::new(endpoint.as_fd(), interest));
        }
        fds.extend(
            wakers
                .iter()
                .map(|waker| PollFd::new(*waker, PollFlags::POLLIN)),
        );
        match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for (fd, readable) in fds.iter().zip(&mut self.readable) {
            let found = fd.revents().unwrap_or(PollFlags::empty());
            // Errors are fetched by reading.
            *readable = found.intersects(PollFlags::POLLIN | PollFlags::POLLERR);
            if found.contains(PollFlags::POLLOUT) {
                self.obstacle = Obstacle::None;
            }
        }
        Ok(())
    }

    /// What people should know; each fact once.
    pub(crate) fn poll_notice(&mut self) -> Option<NetworkNotice> {
        if let Some(failing) = &mut self.failing {
            let lasted = failing.since.elapsed();
            if !failing.is_told && lasted >= self.patience {
                failing.is_told = true;
                self.notices.push_back(NetworkNotice::Trouble(SendTrouble {
                    to: failing.to,
                    lasted,
                    errno: failing.last,
                }));
            }
        }
        self.notices.pop_front()
    }

    /// Joins the group of `address` again if nothing came there for `silence`: the switch may have
    /// forgotten it. Answers when to ask again.
    pub(crate) fn refresh_group(
        &mut self,
        address: Ipv4Addr,
        silence: Duration,
    ) -> Option<Instant> {
        let now = Instant::now();
        let position = self
            .endpoints
            .iter()
            .position(|endpoint| *endpoint.local().ip() == address)?;
        let (endpoint, heard) = (self.endpoints.get(position)?, self.heard.get_mut(position)?);
        if now.duration_since(*heard) >= silence {
            tracing::debug!(group = %address, "silent: joining again");
            let was_impossible = self.cannot_rejoin;
            let result = endpoint.rejoin();
            self.cannot_rejoin = result.is_err();
            if let (Err(error), false) = (result, was_impossible) {
                self.notices.push_back(NetworkNotice::CannotRejoin {
                    group: address,
                    source: Arc::new(error),
                });
            }
            *heard = now;
        }
        Some(*heard + silence)
    }

    fn time_left(&self, core: &impl Core, until: Option<Instant>) -> Option<Duration> {
        let queue = match self.obstacle {
            Obstacle::Queue { until, .. } => Some(until),
            Obstacle::None | Obstacle::Buffer(_) => None,
        };
        let due = [core.poll_timeout(), queue, until]
            .into_iter()
            .flatten()
            .min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Answers whether more can leave at once.
    fn transmit(&mut self, core: &mut impl Core, now: Instant) -> Result<bool, SendTrouble> {
        match self.obstacle {
            Obstacle::Buffer(_) => return Ok(false),
            Obstacle::Queue { until, .. } if now < until => return Ok(false),
            Obstacle::None | Obstacle::Queue { .. } => {}
        }
        let is_dry = self.outbox.fill(|buffer| core.poll_transmit(now, buffer));
        while let Some(Transmit { by, to }) = self.outbox.next() {
            let Some(endpoint) = self.endpoints.get(by.0) else {
                // A core names sockets that it knows of; whatever else, nothing can leave by it.
                self.outbox.discard_first();
                continue;
            };
            match self.outbox.send(endpoint) {
                Ok(_) => {
                    self.obstacle = Obstacle::None;
                    if let Some(failing) = self.failing.take().filter(|failing| failing.is_told) {
                        let lasted = failing.since.elapsed();
                        self.notices.push_back(NetworkNotice::LeavesAgain(lasted));
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.obstacle = Obstacle::Buffer(by);
                    return Ok(false);
                }
                Err(Errno::ENOBUFS | Errno::ENOMEM) => {
                    let tries = match self.obstacle {
                        Obstacle::Queue { tries, .. } => tries + 1,
                        Obstacle::None | Obstacle::Buffer(_) => 0,
                    };
                    if tries < QUEUE_TRIES {
                        let until = now + QUEUE_WAIT * (1 << tries);
                        self.obstacle = Obstacle::Queue { until, tries };
                        return Ok(false);
                    }
                    self.obstacle = Obstacle::None;
                    self.refused(now, to, Errno::ENOBUFS)?;
                }
                // ENETUNREACH, ENETDOWN, EHOSTUNREACH, EPERM (a packet filter) and the like: for the
                // protocol the datagram is lost, and may get through the next time.
                Err(errno) => self.refused(now, to, errno)?,
            }
        }
        Ok(!is_dry)
    }

    fn refused(&mut self, now: Instant, to: SocketAddrV4, errno: Errno) -> Result<(), SendTrouble> {
        self.outbox.discard_first();
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        let lasted = now.duration_since(since);
        // No repetition makes a datagram shorter.
        if errno == Errno::EMSGSIZE || lasted >= GIVE_UP_AFTER {
            return Err(SendTrouble { to, lasted, errno });
        }
        let is_told = self.failing.as_ref().is_some_and(|failing| failing.is_told);
        self.failing = Some(Failing {
            since,
            last: errno,
            to,
            is_told,
        });
        Ok(())
    }

    /// Answers whether more may be waiting.
    fn receive(&mut self, core: &mut impl Core) -> bool {
        let mut more = false;
        let sockets = self
            .endpoints
            .iter()
            .zip(&mut self.readable)
            .zip(&mut self.heard);
        for ((endpoint, readable), heard) in sockets {
            if !*readable {
                continue;
            }
            let now = Instant::now();
            match self.inbox.receive(endpoint, |from, datagram| {
                core.handle_datagram(now, from, datagram)
            }) {
                Ok(received) => {
                    self.datagrams += received.datagrams;
                    *heard = now;
                    more |= received.is_full;
                    // A shorter batch emptied the socket.
                    *readable = received.is_full;
                }
                Err(Errno::EINTR) => more = true,
                Err(Errno::EAGAIN) => *readable = false,
                Err(errno) => {
                    // The interface went down, for example; it is told once and may come back.
                    tracing::debug!(local = %endpoint.local(), %errno, "receiving");
                    *readable = false;
                }
            }
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::interface::Interface;
    use crate::io::wake::Stop;

    /// Sends what it is given, notes what comes and when the timer was served.
    #[derive(Default)]
    struct Notebook {
        outgoing: VecDeque<(Transmit, Vec<u8>)>,
        heard: Vec<(SocketAddrV4, Vec<u8>)>,
        due: Option<Instant>,
        served: u32,
    }

    impl Notebook {
        fn sending(datagrams: impl IntoIterator<Item = (SocketAddrV4, Vec<u8>)>) -> Self {
            let main = |(to, datagram)| (Transmit::main(to), datagram);
            Self {
                outgoing: datagrams.into_iter().map(main).collect(),
                ..Self::default()
            }
        }
    }

    impl Core for Notebook {
        fn handle_datagram(&mut self, _: Instant, from: SocketAddrV4, datagram: &[u8]) {
            self.heard.push((from, datagram.to_vec()));
        }

        fn handle_timeout(&mut self, now: Instant) {
            assert!(self.due.take().is_some_and(|due| due <= now));
            self.served += 1;
        }

        fn poll_transmit(&mut self, _: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
            let (transmit, datagram) = self.outgoing.pop_front()?;
            buffer.clear();
            buffer.extend_from_slice(&datagram);
            Some(transmit)
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.due
        }
    }

    fn lo() -> Interface {
        Interface::towards(Ipv4Addr::LOCALHOST).unwrap()
    }

    /// A driver on a free port of loopback, with its address.
    fn driver() -> (Driver, SocketAddrV4) {
        // The kernel's choice is asked of a socket that is gone when the driver takes the port.
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let main = Endpoint::main(&lo(), port, 1).unwrap();
        let address = main.local();
        (
            Driver::new(vec![main], Duration::ZERO, Instant::now()),
            address,
        )
    }

    #[test]
    fn many_datagrams_pass_in_order_and_the_timer_is_served() {
        let (mut sending, from) = driver();
        let (mut receiving, to) = driver();
        let datagrams: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; 1 + usize::from(n)]).collect();
        let mut sender = Notebook::sending(datagrams.iter().map(|datagram| (to, datagram.clone())));
        let mut receiver = Notebook::default();
        while receiver.heard.len() < datagrams.len() {
            // So few fit into any socket's buffer: none can be lost.
            while sending.turn(&mut sender).unwrap() {}
            let busy = receiving.turn(&mut receiver).unwrap();
            if receiver.heard.len() < datagrams.len() {
                receiving.wait(&receiver, busy, None, &[]).unwrap();
            }
        }
        assert!(receiver.heard.iter().all(|(source, _)| *source == from));
        let got: Vec<_> = receiver
            .heard
            .into_iter()
            .map(|(_, datagram)| datagram)
            .collect();
        assert_eq!(got, datagrams);
        assert_eq!(receiving.datagrams(), 100);

        let mut waiting = Notebook {
            due: Some(Instant::now() + Duration::from_millis(5)),
            ..Default::default()
        };
        while waiting.served == 0 {
            // Answers when the timer is due, so that the next turn serves it.
            sending.wait(&waiting, false, None, &[]).unwrap();
            sending.turn(&mut waiting).unwrap();
        }
        assert_eq!(waiting.served, 1);
    }

    #[test]
    fn each_datagram_leaves_by_the_socket_that_the_core_names() {
        let (mut sending, main) = driver();
        let (other, second) = driver();
        let (mut receiving, to) = driver();
        sending.add(other.endpoints.into_iter().next().unwrap(), Instant::now());
        // Runs of equal datagrams, which could leave as one: not across sockets.
        let plan = [0, 0, 1, 1, 1, 0, 1];
        let mut sender = Notebook::default();
        for (number, by) in plan.into_iter().enumerate() {
            let transmit = Transmit {
                by: SocketNo(by),
                to,
            };
            let number = u8::try_from(number).unwrap();
            sender.outgoing.push_back((transmit, vec![number; 100]));
        }
        while sending.turn(&mut sender).unwrap() {}
        let mut receiver = Notebook::default();
        while receiver.heard.len() < plan.len() {
            let busy = receiving.turn(&mut receiver).unwrap();
            if receiver.heard.len() < plan.len() {
                receiving.wait(&receiver, busy, None, &[]).unwrap();
            }
        }
        let sources: Vec<_> = receiver.heard.iter().map(|(from, _)| *from).collect();
        assert_eq!(sources, plan.map(|by| [main, second][by]));
        let numbers: Vec<_> = receiver.heard.iter().map(|(_, bytes)| bytes[0]).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_stop_ends_a_wait_without_limit() {
        let (mut driver, _) = driver();
        let core = Notebook::default();
        let stop = Stop::new().unwrap();
        let other = stop.clone();
        let stopper = std::thread::spawn(move || other.stop());
        while !stop.is_stopped() {
            driver.wait(&core, false, None, &[stop.as_fd()]).unwrap();
        }
        // It stays stopped: this returns too.
        driver.wait(&core, false, None, &[stop.as_fd()]).unwrap();
        stopper.join().unwrap();
    }

    #[test]
    fn what_cannot_be_sent_does_not_hold_up_the_rest() {
        let (mut sending, _) = driver();
        let (mut receiving, to) = driver();
        // Nothing on loopback leads there: EINVAL or ENETUNREACH, never delivered.
        let nowhere = SocketAddrV4::new([240, 0, 0, 1].into(), 9);
        let mut sender = Notebook::sending([
            (nowhere, vec![1]),
            (to, vec![2]),
            (nowhere, vec![3]),
            (to, vec![4]),
        ]);
        while sending.turn(&mut sender).unwrap() {}
        let mut receiver = Notebook::default();
        while receiver.heard.len() < 2 {
            let busy = receiving.turn(&mut receiver).unwrap();
            receiving
                .wait(&receiver, busy || receiver.heard.len() == 2, None, &[])
                .unwrap();
        }
        let got: Vec<_> = receiver
            .heard
            .into_iter()
            .map(|(_, datagram)| datagram)
            .collect();
        assert_eq!(got, [[2], [4]]);
        assert!(sending.failing.is_none(), "the last one left");
        assert!(sending.poll_notice().is_none(), "too short to be reported");
    }

    #[test]
    fn that_nothing_leaves_is_reported_at_once_and_its_end_too() {
        let (mut sending, to) = driver();
        let nowhere = SocketAddrV4::new([240, 0, 0, 1].into(), 9);
        let mut sender = Notebook::sending([(nowhere, vec![1])]);
        while sending.turn(&mut sender).unwrap() {}
        let Some(NetworkNotice::Trouble(trouble)) = sending.poll_notice() else {
            panic!("nothing is reported");
        };
        assert_eq!(trouble.to, nowhere);
        for _ in 0..3 {
            sender
                .outgoing
                .push_back((Transmit::main(nowhere), vec![2]));
            while sending.turn(&mut sender).unwrap() {}
            assert!(sending.poll_notice().is_none(), "reported once");
        }
        sender.outgoing.push_back((Transmit::main(to), vec![3]));
        while sending.turn(&mut sender).unwrap() {}
        let notice = sending.poll_notice();
        assert!(
            matches!(notice, Some(NetworkNotice::LeavesAgain(_))),
            "{notice:?}"
        );
    }

    #[test]
    fn a_datagram_that_is_too_long_for_udp_ends_it() {
        let (mut sending, to) = driver();
        let mut sender = Notebook::sending([(to, vec![0; 65_508])]);
        let trouble = sending.turn(&mut sender).unwrap_err();
        assert_eq!(trouble.errno, Errno::EMSGSIZE);
        assert!(trouble.to_string().contains(&to.to_string()), "{trouble}");
    }

    #[test]
    fn a_silent_group_is_joined_again() {
        let (mut driver, address) = driver();
        let group = Ipv4Addr::new(239, 255, 77, 9);
        let endpoint = Endpoint::listen(&lo(), group, address.port()).unwrap();
        driver.add(endpoint, Instant::now());
        assert!(driver.listens_on(group) && !driver.listens_on(Ipv4Addr::new(239, 255, 77, 8)));
        let hour = Duration::from_secs(3600);
        let before = driver.heard[1];
        let next = driver.refresh_group(group, hour);
        assert_eq!(next, Some(before + hour), "not yet");
        let next = driver.refresh_group(group, Duration::ZERO).unwrap();
        assert!(
            next >= before && driver.heard[1] == next,
            "joined again just now"
        );
        assert_eq!(
            driver.refresh_group(Ipv4Addr::new(239, 255, 77, 8), hour),
            None
        );
    }
}
