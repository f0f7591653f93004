//! States of a sender, and when it speaks (8.9).

use std::time::{Duration, Instant};

use super::{GAP, Sender, Start, Timer};
use crate::native::wire::SenderState;

/// Beacons come so often while there is something to send or to ask...
const BEACON_BUSY: Duration = Duration::from_millis(50);

/// ...and else.
const BEACON_IDLE: Duration = Duration::from_millis(500);

/// At the end five beacons in a second.
const LAST_WORDS: u8 = 5;
const LAST_WORDS_EVERY: Duration = Duration::from_millis(200);

/// Added to T before silence counts.
const QUIET_SLACK: Duration = Duration::from_millis(50);

impl Sender {
    pub(super) fn on_join(&mut self, now: Instant) {
        match (self.state, self.config.start) {
            (SenderState::Gathering, Start::Gather { expected, gather }) => {
                if self.clients.len() >= expected {
                    self.enter(now, SenderState::Sending);
                } else if self.timers.get(Timer::State).is_none() {
                    self.timers.set(Timer::State, now + gather);
                }
            }
            (SenderState::Idle | SenderState::Ended, _) => {
                self.enter(now, SenderState::Draining);
            }
            _ => {}
        }
        self.hasten_beacon(now);
    }

    /// Somebody needs or lacks something.
    pub(super) fn on_wanted(&mut self, now: Instant) {
        self.last_wanted = now;
        match self.state {
            SenderState::Gathering | SenderState::Sending => {}
            SenderState::Draining | SenderState::Idle | SenderState::Ended => {
                self.enter(now, SenderState::Sending);
            }
        }
        self.hasten_beacon(now);
    }

    pub(super) fn on_state_timer(&mut self, now: Instant) {
        match self.state {
            SenderState::Gathering => self.enter(now, SenderState::Sending),
            SenderState::Draining => {
                let quiet = self.last_wanted + self.quiet();
                if quiet <= now {
                    self.enter(now, SenderState::Idle);
                } else {
                    self.timers.set(Timer::State, quiet);
                }
            }
            SenderState::Idle => self.check_end(now),
            SenderState::Sending | SenderState::Ended => {}
        }
    }

    /// Sending is over when there is nothing to send.
    pub(super) fn check_drained(&mut self, now: Instant) {
        let is_empty = self.plan.is_empty() && self.turns.is_empty() && self.repairs.is_quiet();
        if self.state == SenderState::Sending && is_empty {
            self.enter(now, SenderState::Draining);
        }
    }

    /// The session is over when all clients are done or gone, and nothing is asked for.
    pub(super) fn check_end(&mut self, now: Instant) {
        if !matches!(self.state, SenderState::Idle | SenderState::Draining) {
            return;
        }
        match self.clients.next_silent(now) {
            None if self.clients.len() > 0 => self.enter(now, SenderState::Ended),
            Some(at) if self.state == SenderState::Idle => self.timers.set(Timer::State, at),
            _ => {}
        }
    }

    /// 2(T + 50 ms).
    pub(super) fn quiet(&self) -> Duration {
        (self.window() + QUIET_SLACK) * 2
    }

    /// Sets the next beacon after one was made.
    pub(super) fn schedule_beacon(&mut self, now: Instant) {
        let after = match self.state {
            SenderState::Sending | SenderState::Draining => BEACON_BUSY,
            SenderState::Gathering | SenderState::Idle => BEACON_IDLE,
            SenderState::Ended => {
                self.last_words = self.last_words.saturating_sub(1);
                LAST_WORDS_EVERY
            }
        };
        self.timers.set(Timer::Beacon, now + after);
    }

    /// Something changed that receivers should know at once.
    pub(super) fn hasten_beacon(&mut self, now: Instant) {
        let at = self.last_beacon.map_or(now, |last| (last + GAP).max(now));
        if self.timers.get(Timer::Beacon).is_none_or(|next| next > at) {
            self.timers.set(Timer::Beacon, at);
        }
    }

    fn enter(&mut self, now: Instant, state: SenderState) {
        self.state = state;
        self.timers.stop(Timer::State);
        match state {
            SenderState::Draining => {
                self.last_wanted = now;
                self.timers.set(Timer::State, now + self.quiet());
                self.hasten_beacon(now);
                self.check_end(now);
            }
            SenderState::Idle => self.check_end(now),
            SenderState::Ended => {
                self.last_words = LAST_WORDS;
                self.hasten_beacon(now);
            }
            SenderState::Gathering | SenderState::Sending => self.hasten_beacon(now),
        }
    }
}
