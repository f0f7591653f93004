//! What this machine says to the sender of a test over TCP, and what it gets in return (see [`fos_api::room`]).

use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fos_api::room::{Hello, MAX_ROOM, Room, Seen, TestEnd, from_line, to_line};

use crate::doctor::tell;

/// The connection to the sender, as soon as there is one.
#[derive(Clone, Default)]
pub(super) struct Exchange(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// To say something by.
    stream: Option<TcpStream>,
    /// When the sender said that nothing more is sent.
    ended: Option<Instant>,
    room: Option<Room>,
    /// Why nothing more comes.
    failure: Option<String>,
    is_let_in: bool,
    /// What this machine has seen is on its way.
    is_said: bool,
    is_given_up: bool,
}

impl Exchange {
    /// Tries to connect from now on; a sender may be started later.
    pub(super) fn begin(sender: Ipv4Addr, port: u16) -> Self {
        let exchange = Self::default();
        let shared = exchange.clone();
        let to = SocketAddr::from((sender, port));
        let spawned = thread::Builder::new()
            .name("exchange".into())
            .spawn(move || shared.follow(to));
        if let Err(error) = spawned {
            exchange.lock().failure = Some(error.to_string());
        }
        exchange
    }

    /// The sender has let this machine in.
    pub(super) fn note_let_in(&self) {
        self.lock().is_let_in = true;
    }

    /// Whether the sender has said that nothing more is sent.
    pub(super) fn is_over(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Says what this machine has seen; answers what all have. Waits until the sender has heard them.
    ///
    /// # Errors
    /// It is not known; why, for people.
    pub(super) fn conclude(self, seen: Seen) -> Result<Room, String> {
        let line = to_line(&seen.bounded());
        let begin = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(room) = state.room.take() {
                return Ok(room.bounded());
            }
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            let now = Instant::now();
            if !state.is_said
                && let Some(stream) = state.stream.as_mut()
            {
                if let Err(error) = stream.write_all(&line) {
                    return Err(error.to_string());
                }
                state.is_said = true;
                tell("waiting for what the sender and the other receivers have seen");
            }
            let lasts = |since: Instant| now.saturating_duration_since(since);
            let is_too_late = match (state.is_said, state.ended) {
                (false, _) => lasts(begin) >= CONNECTING,
                (true, Some(ended)) => lasts(ended.max(begin)) >= ANSWER,
                (true, None) => lasts(begin) >= LONGEST,
            };
            if is_too_late {
                state.is_given_up = true;
                return Err(match state.is_said {
                    true => "the sender has not answered".to_owned(),
                    false => "there is no connection to the sender".to_owned(),
                });
            }
            let changed = self.0.changed.wait_timeout(state, LOOK);
            state = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn follow(&self, to: SocketAddr) {
        let error = loop {
            let heard =
                TcpStream::connect_timeout(&to, CONNECTING).and_then(|stream| self.hear(stream));
            let Err(error) = heard else {
                self.0.changed.notify_all();
                return;
            };
            let mut state = self.lock();
            if state.is_said || state.is_given_up {
                break error;
            }
            // There is no sender yet, or it was that of the test before.
            state.stream = None;
            state.ended = None;
            drop(state);
            thread::sleep(RETRY);
        };
        self.lock().failure = Some(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the sender has ended the connection".to_owned(),
            _ => error.to_string(),
        });
        self.0.changed.notify_all();
    }

    fn hear(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_write_timeout(Some(WRITING))?;
        let hello = Hello {
            is_let_in: self.lock().is_let_in,
            ..Hello::default()
        };
        stream.write_all(&to_line(&hello))?;
        let mut from = BufReader::new(stream.try_clone()?);
        self.lock().stream = Some(stream);
        self.0.changed.notify_all();
        let _end: TestEnd = from_line(&mut from, MAX_ROOM)?;
        self.lock().ended = Some(Instant::now());
        let room = from_line(&mut from, MAX_ROOM)?;
        self.lock().room = Some(room);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOOK: Duration = Duration::from_millis(100);
/// A sender that is started later waits longer than this for those that it has let in.
const RETRY: Duration = Duration::from_millis(300);
/// A connection within a network.
const CONNECTING: Duration = Duration::from_secs(2);
const WRITING: Duration = Duration::from_secs(2);
/// From the end of the test: the other receivers may look for a reason first.
const ANSWER: Duration = Duration::from_secs(20);
/// The sender may go on with others, or wait for them.
const LONGEST: Duration = Duration::from_secs(200);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A sender that answers so to a receiver.
    fn sender(
        answers: impl FnOnce(&mut BufReader<TcpStream>, &mut TcpStream) + Send + 'static,
    ) -> Exchange {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut from = BufReader::new(stream.try_clone().unwrap());
            answers(&mut from, &mut stream);
        });
        Exchange::begin(Ipv4Addr::LOCALHOST, port)
    }

    /// tcpmux (RFC 1078).
    const NEVER_USED: u16 = 1;

    fn hello(from: &mut BufReader<TcpStream>) {
        assert!(from_line::<Hello>(from, MAX_ROOM).unwrap().is_receiver());
    }

    #[test]
    fn what_all_have_seen_is_the_answer_to_what_this_machine_has_seen() {
        let exchange = sender(|from, to| {
            hello(from);
            let seen: Seen = from_line(from, MAX_ROOM).unwrap();
            to.write_all(&to_line(&TestEnd { is_sent: true })).unwrap();
            let room = Room {
                card: "eth0\u{7}".into(),
                datagram_len: u32::try_from(seen.requests).unwrap(),
                ..Room::default()
            };
            to.write_all(&to_line(&room)).unwrap();
        });
        let seen = Seen {
            requests: 7,
            ..Seen::default()
        };
        let room = exchange.conclude(seen).unwrap();
        assert_eq!((room.card.as_str(), room.datagram_len), ("eth0 ", 7));
    }

    #[test]
    fn the_end_is_heard_while_the_test_is_still_awaited() {
        let exchange = sender(|from, to| {
            hello(from);
            to.write_all(&to_line(&TestEnd { is_sent: false })).unwrap();
            drop(from_line::<Seen>(from, MAX_ROOM));
        });
        while !exchange.is_over() {
            thread::yield_now();
        }
        let error = exchange.conclude(Seen::default()).unwrap_err();
        assert!(error.contains("ended the connection"), "{error}");
    }

    #[test]
    fn a_sender_of_the_test_before_is_not_the_last_word() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let exchange = Exchange::begin(Ipv4Addr::LOCALHOST, port);
        drop(listener.accept().unwrap());
        exchange.note_let_in();
        let (mut stream, _) = listener.accept().unwrap();
        let mut from = BufReader::new(stream.try_clone().unwrap());
        assert!(from_line::<Hello>(&mut from, MAX_ROOM).unwrap().is_let_in);
        stream
            .write_all(&to_line(&TestEnd { is_sent: true }))
            .unwrap();
        stream.write_all(&to_line(&Room::default())).unwrap();
        assert_eq!(exchange.conclude(Seen::default()), Ok(Room::default()));
    }

    #[test]
    fn where_nobody_listens_or_another_program_there_is_a_reason() {
        let exchange = Exchange::begin(Ipv4Addr::LOCALHOST, NEVER_USED);
        let error = exchange.conclude(Seen::default()).unwrap_err();
        assert!(error.contains("no connection"), "{error}");
        let exchange = sender(|from, to| {
            hello(from);
            drop(from_line::<Seen>(from, MAX_ROOM));
            to.write_all(b"HTTP/1.1 400 Bad Request\n").unwrap();
        });
        exchange.conclude(Seen::default()).unwrap_err();
    }
}
