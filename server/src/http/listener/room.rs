//! Who is connected, and who has to make place.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use crate::domain::group;

/// All connections of a listener.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) limits: Limits,
    inner: Mutex<Inner>,
    /// Told when a connection has ended, and when one of a full room begins to wait for a request.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    held: usize,
    /// Of those held: closed to make place, and not gone yet.
    leaving: usize,
    per_address: HashMap<IpAddr, usize>,
    /// Connections without a whole request in work, those that have waited longest first. Whoever takes one
    /// out decides what becomes of it: a request that begins, or its end to make place.
    waiting: BTreeMap<Key, Arc<Connection>>,
}

/// Since when, and a number to tell apart those of one instant.
type Key = (Instant, u64);

/// Whether a connection may come in.
#[derive(Debug)]
pub(super) enum Admission {
    In(Guest),
    /// One that waited was told to leave; try again after [`Room::changed`].
    Leaving,
    /// All are busy; try again after [`Room::changed`].
    Full,
}

impl Room {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            inner: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether an address has all connections that it may have.
    pub(super) fn is_full_for(&self, address: IpAddr) -> bool {
        let held = self.lock().per_address.get(&group(address)).copied();
        held.is_some_and(|held| held >= self.limits.connections_per_address)
    }

    /// Whether half of the connections are in use, in all or of an address: a request that is held keeps
    /// its place, which others may need.
    fn is_busy(&self, address: Option<IpAddr>) -> bool {
        let inner = self.lock();
        let own = address.and_then(|address| inner.per_address.get(&address));
        let own = own.copied().unwrap_or_default();
        inner.held > self.limits.connections / 2 || own > self.limits.connections_per_address / 2
    }

    /// Takes a place, or makes one of the oldest connection that waits for a request. At most one is on
    /// its way out for that at a time.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Admission {
        let mut inner = self.lock();
        if inner.held >= self.limits.connections {
            if inner.leaving > 0 || inner.evict() {
                return Admission::Leaving;
            }
            return Admission::Full;
        }
        inner.held += 1;
        inner.next += 1;
        let address = address.map(group);
        if let Some(address) = address {
            *inner.per_address.entry(address).or_default() += 1;
        }
        let now = Instant::now();
        let id = inner.next;
        let seat = Arc::new(Connection {
            room: Arc::clone(self),
            id,
            address,
            leave: CancellationToken::new(),
            is_evicted: AtomicBool::new(false),
            resets: AtomicBool::new(false),
            state: Mutex::new(Exchange {
                phase: Step::Head(now),
                key: (now, id),
                blocked: None,
                written: now,
            }),
        });
        inner.waiting.insert((now, id), Arc::clone(&seat));
        Admission::In(Guest(seat))
    }

    /// Tells the oldest connection that waits for a request to leave: no more files can be opened.
    pub(super) fn evict(&self) -> bool {
        let mut inner = self.lock();
        inner.leaving > 0 || inner.evict()
    }

    /// Tells all connections that wait for a request to leave.
    pub(super) fn evict_all(&self) {
        let mut inner = self.lock();
        while inner.evict() {}
    }

    pub(super) fn held(&self) -> usize {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn evict(&mut self) -> bool {
        // The end of an answer may still be on its way to a connection that waits for a request.
        let oldest = self
            .waiting
            .iter()
            .find(|(_, seat)| seat.lock().blocked.is_none())
            .map(|(key, _)| *key);
        let Some(seat) = oldest.and_then(|key| self.waiting.remove(&key)) else {
            return false;
        };
        self.leaving += 1;
        seat.is_evicted.store(true, Ordering::Relaxed);
        seat.leave.cancel();
        true
    }
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Guest(pub(super) Arc<Connection>);

impl Drop for Guest {
    fn drop(&mut self) {
        let seat = &self.0;
        let key = seat.lock().key;
        let mut inner = seat.room.lock();
        inner.held -= 1;
        if inner.waiting.remove(&key).is_none() && seat.is_evicted.load(Ordering::Relaxed) {
            inner.leaving -= 1;
        }
        if let Some(address) = seat.address
            && let Some(held) = inner.per_address.get_mut(&address)
        {
            *held -= 1;
            if *held == 0 {
                inner.per_address.remove(&address);
            }
        }
        drop(inner);
        seat.room.changed.notify_one();
    }
}

/// What a connection does, as the parts of it tell.
///
/// A lock of the room may be held while this one's is taken, never the other way round.
#[derive(Debug)]
pub(super) struct Connection {
    room: Arc<Room>,
    id: u64,
    address: Option<IpAddr>,
    /// Cancelled when the connection has to make place.
    pub(super) leave: CancellationToken,
    is_evicted: AtomicBool,
    /// Whether what the kernel has not sent yet is to be thrown away at the end.
    pub(super) resets: AtomicBool,
    state: Mutex<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    phase: Step,
    /// Where it is or was in [`Inner::waiting`].
    key: Key,
    /// Since when the peer takes nothing of what is to be written.
    blocked: Option<Instant>,
    /// When it took something.
    written: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The head of a request is awaited, or a part of it is there.
    Head(Instant),
    /// The last request is answered, nothing of the next is there.
    Idle(Instant),
    /// The head of a request is there, its body is awaited, which has a limit of its own.
    Body,
    /// A request is in work or being answered.
    Busy,
}

/// Why a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The head of a request took too long.
    Head,
    /// No request came.
    Idle,
    /// The peer did not read.
    Blocked,
    /// It had to make place.
    Evicted,
    /// The server ends.
    Shutdown,
}

impl Connection {
    pub(super) fn limits(&self) -> &Limits {
        &self.room.limits
    }

    /// How long a request may be held back whose answer brings nothing new.
    pub(super) fn longest_hold(&self) -> Duration {
        match self.room.is_busy(self.address) {
            true => Duration::ZERO,
            false => self.limits().hold,
        }
    }

    /// Bytes came.
    pub(super) fn on_read(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Step::Idle(_)) {
            state.phase = Step::Head(Instant::now());
        }
    }

    /// Bytes were taken, or the peer takes nothing.
    pub(super) fn on_write(&self, is_taken: bool) {
        let mut state = self.lock();
        if is_taken {
            state.blocked = None;
            state.written = Instant::now();
        } else {
            state.blocked.get_or_insert_with(Instant::now);
        }
    }

    /// What a stream keeps before the socket was taken, or the peer takes nothing.
    pub(super) fn on_flush(&self, is_done: bool) {
        let mut state = self.lock();
        match is_done {
            // That nothing was left to be taken is no sign of the peer.
            true if state.blocked.is_none() => {}
            true => {
                state.blocked = None;
                state.written = Instant::now();
            }
            false => {
                state.blocked.get_or_insert_with(Instant::now);
            }
        }
    }

    /// The head of a request is there; nothing is done for it before its body is.
    pub(super) fn receive(&self) {
        self.lock().phase = Step::Body;
    }

    /// A request begins, if it has not yet; not if the connection was told to leave at this moment.
    pub(super) fn begin(&self) -> bool {
        let key = {
            let state = self.lock();
            if matches!(state.phase, Step::Busy) {
                return true;
            }
            state.key
        };
        if self.room.lock().waiting.remove(&key).is_none() {
            return false;
        }
        self.lock().phase = Step::Busy;
        true
    }

    /// The whole answer is handed over.
    pub(super) fn end(self: &Arc<Self>) {
        let now = Instant::now();
        let key = (now, self.id);
        {
            let mut state = self.lock();
            state.phase = Step::Idle(now);
            state.key = key;
        }
        let mut inner = self.room.lock();
        inner.waiting.insert(key, Arc::clone(self));
        if inner.held >= self.room.limits.connections {
            self.room.changed.notify_one();
        }
    }

    /// Until when something has to happen, and what it is called if it does not.
    pub(super) fn deadline(&self) -> Option<(Instant, Cut)> {
        let limits = self.limits();
        let state = self.lock();
        match (state.blocked, state.phase) {
            (Some(since), _) => Some((since + limits.write_timeout, Cut::Blocked)),
            (None, Step::Head(since)) => Some((since + limits.header_timeout, Cut::Head)),
            (None, Step::Idle(since)) => {
                let since = since.max(state.written);
                Some((since + limits.idle_timeout, Cut::Idle))
            }
            (None, Step::Body | Step::Busy) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(connections: usize) -> Arc<Room> {
        Arc::new(Room::new(Limits {
            connections,
            connections_per_address: 2,
            ..Limits::default()
        }))
    }

    #[track_caller]
    fn enter(room: &Arc<Room>, address: &str) -> Guest {
        match room.enter(Some(address.parse().unwrap())) {
            Admission::In(guest) => guest,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_oldest_that_waits_makes_place_and_only_one_at_a_time() {
        let room = room(3);
        let [first, second, third] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|a| enter(&room, a));
        assert!(first.0.begin());
        assert!(matches!(room.enter(None), Admission::Leaving));
        assert!(matches!(room.enter(None), Admission::Leaving));
        assert!(second.0.leave.is_cancelled());
        assert!(!third.0.leave.is_cancelled());
        // Its request came too late.
        assert!(!second.0.begin());
        drop(second);
        let _fourth = enter(&room, "10.0.0.4");
        assert!(matches!(room.enter(None), Admission::Leaving));
        assert!(third.0.leave.is_cancelled());
    }

    #[test]
    fn who_is_busy_or_still_reads_its_answer_stays() {
        let room = room(2);
        let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|a| enter(&room, a));
        assert!(first.0.begin());
        assert!(second.0.begin());
        assert!(matches!(room.enter(None), Admission::Full));
        first.0.on_write(false);
        first.0.end();
        assert!(matches!(room.enter(None), Admission::Full));
        first.0.on_write(true);
        assert!(matches!(room.enter(None), Admission::Leaving));
        assert!(first.0.leave.is_cancelled());
    }

    #[test]
    fn places_are_counted_by_address_and_given_back() {
        let room = room(10);
        let [a, _b] = ["10.0.0.1", "::ffff:10.0.0.1"].map(|a| enter(&room, a));
        assert!(room.is_full_for("10.0.0.1".parse().unwrap()));
        assert!(!room.is_full_for("10.0.0.2".parse().unwrap()));
        drop(a);
        assert!(!room.is_full_for("10.0.0.1".parse().unwrap()));
        let _v6 = ["2001:db8::1", "2001:db8::2"].map(|a| enter(&room, a));
        assert!(room.is_full_for("2001:db8::3".parse().unwrap()));
        assert!(!room.is_full_for("2001:db8:0:1::3".parse().unwrap()));
        assert_eq!(room.held(), 3);
    }

    #[test]
    fn nothing_is_held_where_connections_run_out() {
        let limits = Limits {
            connections: 8,
            connections_per_address: 4,
            ..Limits::default()
        };
        let room = Arc::new(Room::new(limits));
        let mut guests: Vec<_> = ["10.0.0.1"; 2].iter().map(|a| enter(&room, a)).collect();
        let may_hold = |guest: &Guest| guest.0.longest_hold() == limits.hold;
        assert!(may_hold(&guests[0]));
        guests.push(enter(&room, "10.0.0.1"));
        assert!(!may_hold(&guests[0]), "half of its own");
        let other = enter(&room, "10.0.0.2");
        assert!(may_hold(&other));
        guests.push(enter(&room, "10.0.0.3"));
        assert!(!may_hold(&other), "half of all");
        guests.clear();
        assert!(may_hold(&other));
    }
}
