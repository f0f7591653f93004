//! Needs of receivers, and what is sent for them (8.5).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::native::geometry::{Slot, Table};
use crate::native::units::round_u16;
use crate::native::wire::{ANNOUNCED_MAX, Announced, Announcement, ENDED_MAX, Ended};

/// Bursts that ended in this time are named in beacons (5.4).
const ENDED_NAMED: Duration = Duration::from_millis(300);

/// So long a deferred need is announced.
const DEFERRED_ANNOUNCED: Duration = Duration::from_millis(300);

/// More than the need, while nothing else is planned.
const MORE_AT_END: u16 = 6;

/// A chunk of which a burst was sent, until it is finished.
#[derive(Clone, Debug)]
struct Round {
    /// The last burst.
    burst: u8,
    state: State,
    /// The highest need after that burst.
    pend: u16,
    /// When that burst ended.
    ended_at: Instant,
    /// Symbols beyond cap that were paid for since the last instance.
    paid: u64,
    /// Symbols beyond K since the last instance, those of it included, and those alone.
    beyond: u16,
    advance: u16,
    /// Highest need after the instance.
    first_need: u16,
    has_repaired: bool,
    /// It began with an instance, so it teaches how much is needed beyond one.
    has_instance: bool,
    deferred: Option<(u16, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The burst is being sent.
    Sending,
    /// Needs are collected; since the first one, until then.
    Collecting { until: Option<Instant> },
    /// The repair is to be sent.
    Queued,
}

impl Round {
    /// When it is finished if nothing comes: not while a need is announced as deferred.
    fn close_at(&self, close: Duration) -> Instant {
        let deferred = self.deferred.map(|(_, at)| at + DEFERRED_ANNOUNCED);
        (self.ended_at + close).max(deferred.unwrap_or(self.ended_at))
    }
}

/// What became of a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is of an older burst, or the repair is on its way.
    Dropped,
    /// A need as great was heard before.
    Known,
    /// It is announced, and repaired after a while.
    Heard,
    /// It is beyond what all pay for, and who asks cannot.
    Deferred,
}

/// What a finished chunk teaches (8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lesson {
    pub(super) slot: Slot,
    pub(super) beyond: u16,
    pub(super) advance: u16,
    pub(super) first_need: u16,
}

/// All chunks in work.
#[derive(Clone, Debug, Default)]
pub(super) struct Repairs {
    rounds: BTreeMap<Slot, Round>,
    queue: VecDeque<Slot>,
    ended: VecDeque<(Instant, Slot, u8)>,
}

/// What a need may cost.
pub(super) struct Means<'a> {
    /// Repair of a chunk that all pay for.
    pub(super) cap: u16,
    /// What the one who asks and all together can pay: symbols.
    pub(super) held: u64,
    /// Takes it from both.
    pub(super) pay: &'a mut dyn FnMut(u64),
}

impl Repairs {
    /// An instance begins, with `advance` symbols of repair.
    pub(super) fn begin_instance(&mut self, now: Instant, slot: Slot, burst: u8, advance: u16) {
        self.queue.retain(|other| *other != slot);
        let round = Round {
            burst,
            state: State::Sending,
            pend: 0,
            ended_at: now,
            paid: 0,
            beyond: advance,
            advance,
            first_need: 0,
            has_repaired: false,
            has_instance: true,
            deferred: None,
        };
        self.rounds.insert(slot, round);
    }

    /// The chunk whose repair is to be sent next.
    pub(super) fn next_queued(&self) -> Option<Slot> {
        self.queue.front().copied()
    }

    /// A burst of repair begins: how many symbols it has. `loss`: ℓ.
    pub(super) fn begin_repair(
        &mut self,
        slot: Slot,
        burst: u8,
        loss: f64,
        is_plan_empty: bool,
    ) -> Option<u16> {
        self.queue.retain(|other| *other != slot);
        let round = self.rounds.get_mut(&slot)?;
        let pend = f64::from(round.pend);
        let more = if is_plan_empty { MORE_AT_END } else { 0 };
        let len = pend / (1.0 - loss.clamp(0.0, 0.9)) + pend / 20.0;
        let len = round_u16(len.ceil()).saturating_add(more).max(1);
        round.state = State::Sending;
        round.burst = burst;
        round.pend = 0;
        round.has_repaired = true;
        round.beyond = round.beyond.saturating_add(len);
        Some(len)
    }

    /// The burst that was sent of a chunk has ended.
    pub(super) fn end_burst(&mut self, now: Instant, slot: Slot) {
        if let Some(round) = self.rounds.get_mut(&slot) {
            round.state = State::Collecting { until: None };
            round.ended_at = now;
            if self.ended.len() == ENDED_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back((now, slot, round.burst));
        }
    }

    /// A receiver needs symbols after burst `burst`. `last`: the last burst of this epoch, if there was one; `hold`: how
    /// long needs are collected; `stale`: when a burst has ended so long ago, a need for an older one counts too, as
    /// everything that would have told the receiver was lost.
    pub(super) fn on_need(
        &mut self,
        now: Instant,
        slot: Slot,
        (burst, need): (u8, u16),
        last: Option<u8>,
        (hold, stale): (Duration, Duration),
        means: Means<'_>,
    ) -> Answer {
        let round = self.rounds.entry(slot).or_insert_with(|| Round {
            burst: last.unwrap_or(0),
            state: State::Collecting { until: None },
            pend: 0,
            ended_at: now.checked_sub(stale).unwrap_or(now),
            paid: 0,
            beyond: 0,
            advance: 0,
            first_need: 0,
            has_repaired: false,
            has_instance: false,
            deferred: None,
        });
        let State::Collecting { until } = &mut round.state else {
            return Answer::Dropped;
        };
        if burst != round.burst && now < round.ended_at + stale {
            return Answer::Dropped;
        }
        if need <= round.pend {
            return Answer::Known;
        }
        let all = u64::from(round.beyond) + u64::from(need);
        let excess = all.saturating_sub(u64::from(means.cap));
        let due = excess.saturating_sub(round.paid);
        if due > means.held {
            let least = round.deferred.map_or(need, |(least, _)| least.min(need));
            round.deferred = Some((least, now));
            return Answer::Deferred;
        }
        (means.pay)(due);
        round.paid += due;
        round.pend = need;
        if !round.has_repaired {
            round.first_need = need;
        }
        if until.is_none() {
            *until = Some(now + hold);
        }
        Answer::Heard
    }

    /// Queues what was collected for long enough, and finishes chunks for which nothing came for `close`. Lessons of those
    /// that are finished.
    pub(super) fn tick(&mut self, now: Instant, close: Duration) -> Vec<Lesson> {
        let mut finished = Vec::new();
        for (slot, round) in &mut self.rounds {
            match round.state {
                State::Collecting { until: Some(until) } if until <= now => {
                    round.state = State::Queued;
                    self.queue.push_back(*slot);
                }
                State::Collecting { until: None } if round.close_at(close) <= now => {
                    finished.push((*slot, round.has_instance));
                }
                _ => {}
            }
        }
        let lessons = finished.into_iter().filter_map(|(slot, has_instance)| {
            let round = self.rounds.remove(&slot)?;
            has_instance.then_some(Lesson {
                slot,
                beyond: round.beyond,
                advance: round.advance,
                first_need: round.first_need,
            })
        });
        lessons.collect()
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn next_tick(&self, close: Duration) -> Option<Instant> {
        let times = self.rounds.values().filter_map(|round| match round.state {
            State::Collecting { until: Some(until) } => Some(until),
            State::Collecting { until: None } => Some(round.close_at(close)),
            State::Sending | State::Queued => None,
        });
        times.min()
    }

    /// An epoch is over: its bursts mean nothing in the next.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing is queued, and nothing collected.
    pub(super) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.rounds.values().all(|round| round.pend == 0)
    }

    /// What a beacon announces.
    pub(super) fn announced(&self, now: Instant, table: &Table) -> Vec<Announcement> {
        let mut all = Vec::new();
        for (slot, round) in &self.rounds {
            let chunk = table.id(*slot);
            let burst = round.burst;
            let state = match round.state {
                State::Queued => Some(Announced::Queued),
                State::Collecting { until: Some(_) } => Some(Announced::Asked),
                State::Collecting { until: None } | State::Sending => None,
            };
            if let Some(state) = state {
                all.push(Announcement {
                    chunk,
                    burst,
                    state,
                    need: round.pend,
                });
            }
            if let Some((need, at)) = round.deferred
                && now < at + DEFERRED_ANNOUNCED
            {
                all.push(Announcement {
                    chunk,
                    burst,
                    state: Announced::Deferred,
                    need,
                });
            }
        }
        all.truncate(ANNOUNCED_MAX);
        all
    }

    /// Bursts that a beacon says have ended.
    pub(super) fn ended(&mut self, now: Instant, table: &Table) -> Vec<Ended> {
        while (self.ended.front()).is_some_and(|(at, ..)| *at + ENDED_NAMED <= now) {
            self.ended.pop_front();
        }
        let named = self.ended.iter().map(|(_, slot, burst)| Ended {
            chunk: table.id(*slot),
            burst: *burst,
        });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(30);
    const TIMES: (Duration, Duration) = (Duration::from_millis(12), Duration::from_millis(360));

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn sent() -> (Repairs, Instant) {
        let now = Instant::now();
        let mut repairs = Repairs::default();
        repairs.begin_instance(now, Slot(0), 0, 10);
        repairs.end_burst(now, Slot(0));
        (repairs, now)
    }

    fn ask(repairs: &mut Repairs, now: Instant, need: (u8, u16), held: u64) -> (Answer, u64) {
        let mut paid = 0;
        let means = Means {
            cap: 50,
            held,
            pay: &mut |due| paid += due,
        };
        let answer = repairs.on_need(now, Slot(0), need, Some(0), TIMES, means);
        (answer, paid)
    }

    #[test]
    fn needs_are_collected_and_the_greatest_is_repaired() {
        // 8.5
        let (mut repairs, now) = sent();
        assert_eq!(ask(&mut repairs, now, (0, 20), 0), (Answer::Heard, 0));
        assert_eq!(ask(&mut repairs, now, (0, 20), 0), (Answer::Known, 0));
        assert_eq!(ask(&mut repairs, now, (0, 40), 0), (Answer::Heard, 0));
        assert_eq!(repairs.next_queued(), None);
        assert_eq!(repairs.next_tick(T), Some(now + TIMES.0));
        assert!(repairs.tick(now + TIMES.0, T).is_empty());
        assert_eq!(repairs.next_queued(), Some(Slot(0)));
        // While it is queued, needs are dropped; so are those for an older burst.
        assert_eq!(ask(&mut repairs, now, (0, 45), 99), (Answer::Dropped, 0));
        assert_eq!(repairs.begin_repair(Slot(0), 1, 0.2, false), Some(52));
        assert_eq!(ask(&mut repairs, now, (0, 45), 99), (Answer::Dropped, 0));
        repairs.end_burst(now, Slot(0));
        assert_eq!(ask(&mut repairs, now, (0, 45), 99), (Answer::Dropped, 0));
        let late = now + TIMES.1;
        assert_eq!(ask(&mut repairs, late, (0, 3), 99).0, Answer::Heard);
    }

    #[test]
    fn what_exceeds_cap_is_paid_for_once_or_deferred() {
        // 8.5: 10 in advance and a need of 60 are 20 more than the cap of 50.
        let (mut repairs, now) = sent();
        assert_eq!(ask(&mut repairs, now, (0, 60), 19), (Answer::Deferred, 0));
        assert_eq!(ask(&mut repairs, now, (0, 60), 20), (Answer::Heard, 20));
        assert_eq!(ask(&mut repairs, now, (0, 65), 20), (Answer::Heard, 5));
        let table = Table::new(Vec::new(), vec![super::super::tests::frame_len(100)]);
        let states: Vec<_> = repairs.announced(now, &table);
        let states: Vec<_> = states.iter().map(|one| (one.state, one.need)).collect();
        assert_eq!(states, [(Announced::Asked, 65), (Announced::Deferred, 60)]);
        let later = now + DEFERRED_ANNOUNCED;
        assert_eq!(repairs.announced(later, &table).len(), 1);
    }

    #[test]
    fn a_chunk_for_which_nothing_comes_is_finished_and_teaches() {
        // 8.2
        let (mut repairs, now) = sent();
        assert!(repairs.is_quiet());
        assert_eq!(repairs.next_tick(T), Some(now + T));
        let lesson = Lesson {
            slot: Slot(0),
            beyond: 10,
            advance: 10,
            first_need: 0,
        };
        assert_eq!(repairs.tick(now + T, T), [lesson]);
        assert_eq!(repairs.next_tick(T), None);
    }

    #[test]
    fn a_need_of_a_chunk_that_this_epoch_has_not_sent_is_served() {
        // 8.8
        let (_, now) = sent();
        let mut repairs = Repairs::default();
        assert_eq!(ask(&mut repairs, now, (0, 20), 0), (Answer::Heard, 0));
        repairs.tick(now + TIMES.0, T);
        assert_eq!(repairs.begin_repair(Slot(0), 0, 0.0, true), Some(27));
    }
}
