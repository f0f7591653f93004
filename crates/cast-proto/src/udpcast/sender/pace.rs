//! The pace: how fast datagrams leave when a receiver's path does not pass them all.
//!
//! A port of 40 Mbit/s behind a network of 1 Gbit/s loses nearly all of a slice, and of each
//! repetition too. Repeating reaches nothing there; sending slower does. Loss by chance looks different:
//! it stays the same at any rate, and of what is repeated most arrives. So a rate is set only when loss
//! is high again and again, it follows what the neediest receiver gets, and it is taken back when a
//! lower rate changes nothing.

use std::time::{Duration, Instant};

/// Fewer blocks are no sample.
const FEWEST: u16 = 32;

/// Loss in parts of 1000 from which on repeating is of little use.
const HIGH: u32 = 350;

/// Loss by chance varies by so much around its average, in parts of 1000.
const CHANCE: u32 = 100;

/// Samples with high loss, less those with little, before a rate is set. Repetitions count twice: loss by
/// chance hardly strikes the same blocks again.
const STRIKES: u32 = 4;

/// Slices sent without being held back by the rate before it is lifted.
const IDLE: u32 = 64;

/// Blocks without high loss for a step up.
const STEP: u16 = 128;

/// In bit/s. Whoever gets less is not worth waiting for at any rate.
const LOWEST: u64 = 500_000;

/// What became of some blocks at the receiver that got the fewest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The first pass of a slice; else a repetition.
    pub(super) is_first_pass: bool,
    /// Blocks that it lacked and that were sent.
    pub(super) sent: u16,
    /// Blocks of these that it still lacks.
    pub(super) lost: u16,
    /// When they began to leave.
    pub(super) since: Instant,
    /// Which receiver, if any lost one.
    pub(super) client: Option<u16>,
}

impl Sample {
    /// Parts of 1000.
    pub(super) fn loss(&self) -> u32 {
        u32::from(self.lost) * 1000 / u32::from(self.sent).max(1)
    }
}

/// A rate that follows the neediest receiver, or no limit.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// In bit/s, not 0.
    rate: Option<u64>,
    /// Evidence so far that there is need of a rate: bits that arrived, and the time they took.
    strikes: u32,
    arrived: u64,
    took: Duration,
    /// When the evidence began.
    first: Option<Instant>,
    /// Loss in parts of 1000 that a lower rate does not change.
    chance: u32,
    /// The last reduction.
    reduced: Option<Reduction>,
    /// There was a reduction: grow carefully.
    is_near: bool,
    /// Slices in a row that the rate did not hold back.
    idle: u32,
}

#[derive(Clone, Copy, Debug)]
struct Reduction {
    at: Instant,
    /// The rate before, and the loss that it had.
    from: u64,
    loss: u32,
    /// Its effect has not been seen.
    is_open: bool,
}

impl Pace {
    /// The limit in bit/s.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Somebody left: perhaps the one that was waited for.
    pub(super) fn reset(&mut self) {
        *self = Self {
            chance: self.chance,
            ..Self::default()
        };
    }

    /// What became of blocks of `block_bits` bits each. `was_limiting`: the rate held the sender back
    /// meanwhile. `delay`: no rate is set before there has been need of it for so long.
    pub(super) fn note(
        &mut self,
        now: Instant,
        sample: &Sample,
        block_bits: u64,
        was_limiting: bool,
        delay: Duration,
    ) {
        if sample.sent < FEWEST {
            return;
        }
        match self.rate {
            None => self.watch(now, sample, block_bits, delay),
            Some(rate) => self.follow(now, sample, rate, was_limiting),
        }
    }

    fn watch(&mut self, now: Instant, sample: &Sample, block_bits: u64, delay: Duration) {
        if sample.loss() < HIGH.max(self.chance + CHANCE) {
            self.strikes = self.strikes.saturating_sub(1);
            if self.strikes == 0 {
                (self.arrived, self.took) = (0, Duration::ZERO);
                self.first = None;
            }
            return;
        }
        let first = *self.first.get_or_insert(sample.since);
        let weight = if sample.is_first_pass { 1 } else { 2 };
        self.strikes = (self.strikes + weight).min(2 * STRIKES);
        self.arrived += u64::from(sample.sent - sample.lost) * block_bits;
        self.took += now.saturating_duration_since(sample.since);
        if self.strikes >= STRIKES && now.saturating_duration_since(first) >= delay {
            let micros = self.took.as_micros().max(1);
            let rate = u128::from(self.arrived) * 1_000_000 / micros;
            let rate = u64::try_from(rate).unwrap_or(u64::MAX).max(LOWEST);
            *self = Self {
                rate: Some(rate),
                chance: self.chance,
                // What has been sent faster says nothing of this rate.
                reduced: Some(Reduction {
                    at: now,
                    from: rate,
                    loss: 1000,
                    is_open: false,
                }),
                ..Self::default()
            };
        }
    }

    fn follow(&mut self, now: Instant, sample: &Sample, rate: u64, was_limiting: bool) {
        if self.reduced.is_some_and(|it| sample.since < it.at) {
            return;
        }
        let loss = sample.loss();
        let reduction = self.reduced.as_mut().filter(|it| it.is_open);
        if let Some(reduction) = reduction {
            reduction.is_open = false;
            if loss > CHANCE && loss * 10 > reduction.loss * 7 {
                // No relief: it is chance.
                self.chance = loss;
                self.rate = Some(reduction.from);
                return;
            }
        }
        if loss < self.chance {
            self.chance -= (self.chance - loss).div_ceil(8);
        }
        let excess = loss.saturating_sub(self.chance);
        if excess > CHANCE {
            let arrives = u64::from(1000 - excess);
            let lower = u128::from(rate) * u128::from(arrives) * 9 / 10_000;
            self.rate = Some(u64::try_from(lower).unwrap_or(rate).max(LOWEST));
            self.is_near = true;
            self.reduced = Some(Reduction {
                at: now,
                from: rate,
                loss,
                is_open: true,
            });
        } else if sample.is_first_pass {
            self.grow(sample.sent, rate, was_limiting);
        }
    }

    fn grow(&mut self, blocks: u16, rate: u64, was_limiting: bool) {
        if was_limiting {
            self.idle = 0;
            let share = if self.is_near { 32 } else { 4 };
            let portions = u64::from(blocks / STEP).clamp(1, 4);
            self.rate = Some(rate.saturating_add(rate / share * portions));
        } else {
            self.idle += 1;
            if self.idle >= IDLE {
                self.reset();
            }
        }
    }
}
