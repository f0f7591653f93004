//! A process that runs a core.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Instant;

use cast_proto::core::{Core, Transmit};

/// A core, and the socket buffer that fills up while its process does not run.
#[derive(Debug)]
pub struct Host<C> {
    /// The protocol.
    pub core: C,
    stalled_until: Instant,
    waiting: VecDeque<(SocketAddrV4, Vec<u8>)>,
}

/// Datagrams that a socket's buffer holds; more are lost.
const SOCKET_BUFFER: usize = 2000;

impl<C: Core> Host<C> {
    /// One that runs.
    pub fn new(now: Instant, core: C) -> Self {
        Self {
            core,
            stalled_until: now,
            waiting: VecDeque::new(),
        }
    }

    /// The process does not run until then.
    pub fn stall(&mut self, until: Instant) {
        self.stalled_until = until;
    }

    /// Whether the process does not run.
    #[must_use]
    pub fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_until > now
    }

    /// When the core has to be served, or the process runs again.
    #[must_use]
    pub fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        if self.is_stalled(now) {
            return Some(self.stalled_until);
        }
        self.core.poll_timeout()
    }

    /// A datagram arrives.
    pub fn take_in(&mut self, now: Instant, from: SocketAddrV4, bytes: Vec<u8>) {
        if !self.is_stalled(now) {
            self.core.handle_datagram(now, from, &bytes);
        } else if self.waiting.len() < SOCKET_BUFFER {
            self.waiting.push_back((from, bytes));
        }
    }

    /// Serves the timers, and what came while the process did not run.
    pub fn serve(&mut self, now: Instant) {
        if self.is_stalled(now) {
            return;
        }
        // A driver may serve either first; here the timers, which is the harder case.
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now);
        }
        for (from, bytes) in self.waiting.drain(..) {
            self.core.handle_datagram(now, from, &bytes);
        }
    }

    /// The next datagram to leave.
    pub fn poll(&mut self, now: Instant) -> Option<(Transmit, Vec<u8>)> {
        let mut bytes = Vec::new();
        let transmit = self.core.poll_transmit(now, &mut bytes)?;
        Some((transmit, bytes))
    }
}
