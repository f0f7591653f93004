//! Participants that do not answer: named, probed, given up.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use readable::NAMED_AFTER;

use super::participants::{Member, Reachability};
use super::{
    DropCause, Outcome, PROBE_AFTER, PROBE_INTERVAL, ROLL_CALL_AFTER, Sender, SenderEvent, Timer,
};
use crate::udpcast::wire::HelloKind;

/// Time between two reports of slowness, and the least if further participants fall silent.
const SLOW_AGAIN: Duration = Duration::from_secs(2);
const SLOW_NEWS: Duration = Duration::from_millis(250);

/// Others have been heard so lately: the network works, and a participant that is silent for longer is
/// silent by itself. All are asked to answer meanwhile.
const NETWORK_IS_ALIVE: Duration = Duration::from_secs(2);

/// A participant that left at the very end is still asked for its last OK in so many rounds and for
/// so long.
const LEAVING_ROUNDS: u32 = 4;
const LEAVING_TIME: Duration = Duration::from_secs(1);

impl Sender {
    /// Gives up those that have been silent for too long in too many rounds.
    pub(super) fn drop_silent(&mut self, now: Instant) {
        let Some(slot) = &self.stream.acknowledge else {
            return;
        };
        let (slice, round, asked_since) = (slot.slice, slot.round, slot.asked_since);
        // Those who have the whole stream may have left, and are not asked any more.
        let is_network_alive = slot.is_end() && !slot.ready.is_empty()
            || self
                .last_heard
                .is_some_and(|at| now.saturating_duration_since(at) < NETWORK_IS_ALIVE);
        let mut gone = Vec::new();
        for member in self.participants.all_present() {
            if slot.ready.contains(member.client.0) {
                continue;
            }
            let last_slice = member.last_slice;
            let policy = match member.reachability {
                Reachability::Gone => self.config.drop_gone,
                _ if member.is_attentive && is_network_alive => self.config.drop_attentive,
                _ => self.config.drop,
            };
            let silent_for = member.silence(now, asked_since);
            let has_left = |(since, from_round): (Instant, u32)| {
                round >= from_round.saturating_add(LEAVING_ROUNDS)
                    && now.saturating_duration_since(since) >= LEAVING_TIME
            };
            if let Some(leaving) = member.leaving_since {
                if has_left(leaving) {
                    gone.push((member.addr, None, Outcome::Left { last_slice }));
                }
            } else if round > policy.retries
                && silent_for >= policy.silence
                && !slot.has_answered(member.client)
            {
                let cause = match member.reachability {
                    Reachability::Gone => DropCause::Unreachable,
                    Reachability::Unknown | Reachability::Refused(_) | Reachability::Untold => {
                        DropCause::Silent
                    }
                };
                gone.push((
                    member.addr,
                    Some((silent_for, cause, member.evidence)),
                    Outcome::Dropped { last_slice, cause },
                ));
            }
        }
        for (addr, dropped, outcome) in gone {
            match dropped {
                None => self.leave(addr, outcome),
                Some((lasted, cause, evidence)) => {
                    // Its host may have lied: then it is there, and is better sent away.
                    if let Some(member) = self.participants.present(addr) {
                        self.sent_away.add(now, member);
                    }
                    self.drop_member(addr, outcome);
                    self.events.push_back(SenderEvent::Dropped {
                        addr,
                        cause,
                        lasted,
                        slice,
                        evidence,
                    });
                }
            }
        }
    }

    /// Looks after those that are silent: probes their hosts, and has everybody answer the next request,
    /// which shows whether the network is alive.
    pub(super) fn probe_silent(&mut self, now: Instant) {
        let Some(slot) = &mut self.stream.acknowledge else {
            return;
        };
        let mut silent = Vec::new();
        for member in self.participants.all_present_mut() {
            let silence = member.silence(now, slot.asked_since);
            if slot.ready.contains(member.client.0) || silence < PROBE_AFTER {
                continue;
            }
            slot.is_roll_call |= silence >= ROLL_CALL_AFTER && !slot.is_end();
            let is_due = member.is_baseline
                || member
                    .probed
                    .is_none_or(|at| now.saturating_duration_since(at) >= PROBE_INTERVAL);
            if is_due && member.has_answered {
                member.probed = Some(now);
                member.is_baseline = false;
                silent.push(member.addr);
            }
        }
        for addr in silent {
            self.probe(addr);
        }
    }

    pub(super) fn on_probe_timer(&mut self, now: Instant) {
        self.probe_silent(now);
        self.expect_probe(now);
    }

    /// Sets the timer for the next probe of a host that has refused one: it may be long until a deadline.
    pub(super) fn expect_probe(&mut self, now: Instant) {
        let again = |member: &Member| match member.reachability {
            Reachability::Refused(at) => Some(at + PROBE_INTERVAL),
            _ => None,
        };
        let members = self.participants.all_present();
        if let Some(at) = members.filter_map(again).filter(|at| *at > now).min() {
            self.timers.set(Timer::Probe, at);
        }
    }

    pub(super) fn probe(&mut self, addr: Ipv4Addr) {
        // A lone receiver is nobody's burden, and gets the data from its own address.
        if self.participants.count() > 1 {
            let hello = self.hello(HelloKind::Plain);
            self.events.push_back(SenderEvent::Probe { addr, hello });
        }
    }

    /// Reports a slice that has been asked for in vain, and those that have fallen silent meanwhile.
    pub(super) fn on_slow_timer(&mut self, now: Instant) {
        let active = self.participants.active();
        let slot = self.stream.acknowledge.as_mut();
        let Some(slot) = slot.filter(|slot| !slot.is_ready(active)) else {
            return;
        };
        let asked_since = slot.asked_since;
        let first = asked_since + NAMED_AFTER;
        if now < first {
            // This process did not run meanwhile.
            self.timers.set(Timer::Slow, first);
            return;
        }
        let (mut is_due, mut next) = (false, None::<Instant>);
        let told = slot.slow_told;
        for member in self.participants.all_present() {
            if slot.ready.contains(member.client.0) {
                continue;
            }
            let silent_at = member.last_heard.max(asked_since) + NAMED_AFTER;
            is_due |= told.is_none_or(|told| told < silent_at && silent_at <= now);
            if silent_at > now {
                next = Some(next.map_or(silent_at, |next| next.min(silent_at)));
            }
        }
        is_due |= told.is_some_and(|told| now >= told + SLOW_AGAIN);
        let told = match told {
            Some(told) if !is_due => told,
            _ => now,
        };
        slot.slow_told = Some(told);
        let again = told + SLOW_AGAIN;
        let next = next.map_or(again, |next| again.min(next.max(now + SLOW_NEWS)));
        self.timers.set(Timer::Slow, next);
        if is_due {
            self.report_slow(now);
        }
    }

    fn report_slow(&mut self, now: Instant) {
        let Some(slot) = &self.stream.acknowledge else {
            return;
        };
        let waiting_for = self
            .participants
            .all_present()
            .filter(|member| !slot.ready.contains(member.client.0))
            .map(|member| (member.addr, member.silence(now, slot.asked_since)))
            .collect();
        let (slice, round) = (slot.slice, slot.round);
        self.events.push_back(SenderEvent::SlowRound {
            slice,
            round,
            waiting_for,
        });
    }
}
