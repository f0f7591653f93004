//! What the receivers of a test say of it, over TCP, and what each of them gets in return (see [`fos_api::room`]).

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fos_api::room::{Hello, MAX_SEATS, MAX_SEEN, Room, Seen, TestEnd, from_line, to_line};
use socket2::SockRef;

/// The connections of a test. They end when it is dropped.
pub(super) struct Exchange {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Connections of receivers, and those of which nobody knows yet what they are.
    peers: BTreeMap<u64, Peer>,
    seen: Vec<(Ipv4Addr, Seen)>,
    end: Option<TestEnd>,
    is_closed: bool,
}

struct Peer {
    stream: TcpStream,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has said nothing.
    Stranger,
    /// It has said that it is a receiver.
    Awaited,
    /// It has said what it has seen.
    Heard,
}

impl Exchange {
    /// Listens at all cards: a receiver that asks at the wrong one is to be heard, too.
    ///
    /// # Errors
    /// The port is in use.
    pub(super) fn open(port: u16) -> io::Result<Self> {
        Self::on(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?)
    }

    fn on(listener: TcpListener) -> io::Result<Self> {
        // In both directions: a path that loses large datagrams is what a test may be about.
        SockRef::from(&listener).set_tcp_mss(SMALL_SEGMENT)?;
        // It has to end without a connection.
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared::default());
        let exchange = Self {
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name("exchange".into())
            .spawn(move || accept(&listener, &shared))?;
        Ok(exchange)
    }

    /// The test is over: the receivers hear that, and what they have seen is awaited. `participants`: how many there
    /// were; one may connect a moment later.
    pub(super) fn gather(&self, end: TestEnd, participants: usize) -> Vec<(Ipv4Addr, Seen)> {
        let begin = Instant::now();
        let mut state = self.shared.lock();
        let line = to_line(&end);
        for peer in state.peers.values_mut() {
            peer.tell(&line);
        }
        state.end = Some(end);
        loop {
            let known = state.peers.len().max(state.seen.len());
            let is_one_late = known < participants && begin.elapsed() < LATECOMERS;
            if begin.elapsed() >= ANSWERS || !(is_one_late || state.awaits(1)) {
                return state.seen.clone();
            }
            let changed = self.shared.changed.wait_timeout(state, LOOK);
            state = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives every receiver what is known of all, and ends.
    pub(super) fn publish(self, room: &Room) {
        let line = to_line(room);
        for peer in self.shared.lock().peers.values_mut() {
            peer.tell(&line);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        for peer in state.peers.values() {
            // What is on its way to them goes there all the same.
            drop(peer.stream.shutdown(Shutdown::Write));
        }
        state.peers.clear();
    }
}

impl State {
    /// Whether at least so many receivers are at work.
    fn awaits(&self, count: usize) -> bool {
        let awaited = self.peers.values().filter(|it| it.stage == Stage::Awaited);
        awaited.count() >= count
    }
}

impl Peer {
    /// A receiver that takes nothing has itself to blame: it hears less.
    fn tell(&mut self, line: &[u8]) {
        if self.stage != Stage::Stranger {
            drop(self.stream.write_all(line));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        match listener.accept() {
            Ok((stream, from)) => {
                if let IpAddr::V4(address) = from.ip() {
                    drop(welcome(stream, address, shared));
                }
            }
            // Also an error of one connection.
            Err(_) => thread::sleep(LOOK),
        }
        if shared.lock().is_closed {
            return;
        }
    }
}

fn welcome(stream: TcpStream, address: Ipv4Addr, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITING))?;
    stream.set_read_timeout(Some(GREETING))?;
    let reader = stream.try_clone()?;
    let number = {
        let mut state = shared.lock();
        if state.is_closed || state.peers.len() >= MAX_SEATS {
            return Ok(());
        }
        state.next += 1;
        let number = state.next;
        let stage = Stage::Stranger;
        state.peers.insert(number, Peer { stream, stage });
        number
    };
    let hears = Arc::clone(shared);
    let hear = move || {
        let seen = hear(number, reader, &hears).ok().map(Seen::bounded);
        let mut state = hears.lock();
        match seen {
            Some(seen) => {
                // The last word counts.
                state.seen.retain(|(known, _)| *known != address);
                if state.seen.len() < MAX_SEATS {
                    state.seen.push((address, seen));
                }
                if let Some(peer) = state.peers.get_mut(&number) {
                    peer.stage = Stage::Heard;
                }
            }
            None => drop(state.peers.remove(&number)),
        }
        drop(state);
        hears.changed.notify_all();
    };
    let spawned = thread::Builder::new()
        .name(format!("hear-{address}"))
        .stack_size(STACK)
        .spawn(hear);
    if let Err(error) = spawned {
        shared.lock().peers.remove(&number);
        return Err(error);
    }
    Ok(())
}

/// What a receiver says, to its last message.
fn hear(number: u64, stream: TcpStream, shared: &Shared) -> io::Result<Seen> {
    let mut from = BufReader::with_capacity(512, stream);
    let hello: Hello = from_line(&mut from, MAX_SEEN)?;
    if !hello.is_receiver() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    {
        let mut state = shared.lock();
        let end = state.end.as_ref().map(to_line);
        if end.is_some() && !hello.is_let_in {
            // It was none of this test's.
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let peer = state.peers.get_mut(&number);
        let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
        peer.stage = Stage::Awaited;
        if let Some(end) = end {
            peer.tell(&end);
        }
    }
    shared.changed.notify_all();
    from.get_ref().set_read_timeout(Some(LONGEST))?;
    from_line(&mut from, MAX_SEEN)
}

/// Bytes. Every path of IPv4 carries it (RFC 9293, section 3.7.1).
const SMALL_SEGMENT: u32 = 536;
const LOOK: Duration = Duration::from_millis(50);
/// For the first message.
const GREETING: Duration = Duration::from_secs(5);
/// For a message to a receiver.
const WRITING: Duration = Duration::from_secs(2);
/// How long a receiver that is connected is waited for when the test is over; it may look for a reason first.
const ANSWERS: Duration = Duration::from_secs(15);
/// How long a receiver that is not connected is waited for then. Programs of others never are.
const LATECOMERS: Duration = Duration::from_millis(1500);
/// Longer than any test.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// A thread reads two short lines. One for each receiver: bytes.
const STACK: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> (BufReader<TcpStream>, TcpStream) {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        (BufReader::new(stream.try_clone().unwrap()), stream)
    }

    /// An exchange at a free port.
    fn open() -> (Exchange, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (Exchange::on(listener).unwrap(), port)
    }

    fn wait(exchange: &Exchange, is_true: impl Fn(&State) -> bool) {
        let mut state = exchange.shared.lock();
        while !is_true(&state) {
            state = exchange.shared.changed.wait(state).unwrap();
        }
    }

    #[test]
    fn each_receiver_hears_the_end_and_gets_what_all_have_seen() {
        let (exchange, port) = open();
        let mut peers = [peer(port), peer(port)];
        for (_, stream) in &mut peers {
            stream.write_all(&to_line(&Hello::default())).unwrap();
        }
        wait(&exchange, |state| state.awaits(2));
        let gathering = thread::spawn(move || {
            let seen = exchange.gather(TestEnd { is_sent: true }, 2);
            let room = Room {
                datagram_len: u32::try_from(seen.len()).unwrap(),
                ..Room::default()
            };
            exchange.publish(&room);
            seen
        });
        for (number, (reader, stream)) in peers.iter_mut().enumerate() {
            assert!(from_line::<TestEnd>(reader, MAX_SEEN).unwrap().is_sent);
            let seen = Seen {
                requests: number as u64,
                ..Seen::default()
            };
            stream.write_all(&to_line(&seen)).unwrap();
        }
        for (reader, _) in &mut peers {
            // They have the same address here: the last one counts.
            assert_eq!(from_line::<Room>(reader, MAX_SEEN).unwrap().datagram_len, 1);
            from_line::<Room>(reader, MAX_SEEN).unwrap_err();
        }
        assert_eq!(gathering.join().unwrap().len(), 1);
    }

    #[test]
    fn strangers_and_those_who_leave_are_forgotten_and_a_late_receiver_hears_the_end() {
        let (exchange, port) = open();
        let (_, mut gone) = peer(port);
        gone.write_all(&to_line(&Hello::default())).unwrap();
        wait(&exchange, |state| state.awaits(1));
        let (_, mut stranger) = peer(port);
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        wait(&exchange, |state| state.next == 2 && state.peers.len() == 1);
        drop(gone);
        wait(&exchange, |state| state.peers.is_empty());
        // Nobody is left to be waited for.
        assert_eq!(exchange.gather(TestEnd { is_sent: false }, 0), []);
        let (mut reader, mut next) = peer(port);
        next.write_all(&to_line(&Hello::default())).unwrap();
        from_line::<TestEnd>(&mut reader, MAX_SEEN).unwrap_err();
        let (mut reader, mut late) = peer(port);
        let hello = Hello {
            is_let_in: true,
            ..Hello::default()
        };
        late.write_all(&to_line(&hello)).unwrap();
        assert!(!from_line::<TestEnd>(&mut reader, MAX_SEEN).unwrap().is_sent);
        exchange.publish(&Room::default());
        from_line::<Room>(&mut reader, MAX_SEEN).unwrap();
        // The port is free again.
        while TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            thread::sleep(LOOK);
        }
    }
}
