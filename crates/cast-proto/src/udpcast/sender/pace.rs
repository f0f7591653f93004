//! The pace: how fast datagrams leave when a receiver's path does not pass them all.
//!
//! A port of 40 Mbit/s behind a network of 1 Gbit/s loses nearly all of a slice, and of each
//! repetition too. Repeating reaches nothing there; sending slower does. Loss by chance looks different:
//! it stays the same at any rate, and of what is repeated most arrives. So a rate is set only when loss
//! is high again and again, or in one repetition of which most is lost. It follows what the neediest
//! receiver gets, and it is taken back when a lower rate changes nothing.

use std::time::{Duration, Instant};

/// Fewer blocks are no sample.
const FEWEST: u16 = 32;

/// Loss in parts of 1000 from which on repeating is of little use.
const HIGH: u32 = 350;

/// So high that it counts twice.
const EXTREME: u32 = 700;

/// So many blocks of which an extreme share is lost are evidence enough: each repetition would be as many in vain.
const MANY: u16 = 512;

/// Loss by chance varies by so much around its average, in parts of 1000.
const CHANCE: u32 = 100;

/// Samples with high loss, less those with little, before a rate is set. Repetitions count twice: loss by
/// chance hardly strikes the same blocks again.
const STRIKES: u32 = 4;

/// Slices sent without being held back by the rate before it is lifted.
const IDLE: u32 = 64;

/// Samples by which the first rate is estimated: those of four strikes at most.
const RECENT: usize = 4;

/// Reductions in a row without relief after which the loss is by chance: one is enough for a slow port, as it
/// is to what arrives.
const IN_VAIN: u32 = 3;

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
    /// What is never exceeded anyway, in bit/s.
    cap: Option<u64>,
    /// Evidence so far that there is need of a rate, and the highest rate at which blocks arrived meanwhile.
    strikes: u32,
    arrived: u64,
    /// The last samples: when their blocks began to leave, and how many bits arrived. A port that passes other
    /// slices meanwhile passes more than what arrives of one.
    recent: [Option<(Instant, u64)>; RECENT],
    /// When the evidence began.
    first: Option<Instant>,
    /// Loss in parts of 1000 that there is at any rate.
    chance: u32,
    /// The last reduction.
    reduced: Option<Reduction>,
    /// A rate passed.
    has_passed: bool,
    /// It was too high again later, so the right one is between: grow carefully.
    is_near: bool,
    /// Slices in a row that the rate did not hold back.
    idle: u32,
}

#[derive(Clone, Copy, Debug)]
struct Reduction {
    at: Instant,
    /// The rate before the first of those that brought no relief, and the last loss.
    from: u64,
    loss: u32,
    /// How many in a row brought none, with this one, whose effect is not known. 0: it is no reduction.
    in_vain: u32,
}

impl Pace {
    /// No limit. `cap`: the sender keeps this one anyway.
    pub(super) fn new(cap: Option<u64>) -> Self {
        Self {
            cap,
            ..Self::default()
        }
    }

    /// The limit in bit/s.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Somebody left: perhaps the one that was waited for, or that lost so much by chance.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.cap);
    }

    /// It holds nothing back any more.
    fn lift(&mut self) {
        *self = Self {
            chance: self.chance,
            ..Self::new(self.cap)
        };
    }

    /// What became of blocks of `block_bits` bits each. `was_limiting`: the sender was held back
    /// meanwhile, by this rate or by the cap. `delay`: no rate is set before there has been need of it for so long.
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
        let is_high = sample.loss() >= HIGH.max(self.chance + CHANCE);
        let bits = u64::from(sample.sent - sample.lost).saturating_mul(block_bits);
        self.recent.rotate_left(1);
        if let Some(last) = self.recent.last_mut() {
            *last = Some((sample.since, bits));
        }
        self.forget_chance(sample.loss());
        if !is_high {
            self.strikes = self.strikes.saturating_sub(1);
            // What has arrived says something of the port as long as there is loss.
            if self.strikes == 0 && sample.loss() <= self.chance + CHANCE {
                self.arrived = 0;
                self.first = None;
            }
            return;
        }
        let first = *self.first.get_or_insert(sample.since);
        let weight = if sample.is_first_pass { 1 } else { 2 };
        let weight = match sample.loss() >= EXTREME {
            true if sample.sent >= MANY => STRIKES,
            true => 2 * weight,
            false => weight,
        };
        self.strikes = (self.strikes + weight).min(2 * STRIKES);
        // The highest: what else takes time (an answer that is lost, a busy processor) is no matter of the port.
        self.arrived = self.arrived.max(rate(now, sample.since, bits));
        if self.strikes >= STRIKES
            && self.arrived > 0
            && now.saturating_duration_since(first) >= delay
        {
            let rate = self.within_bounds(self.arrived.max(self.recent_rate(now)));
            *self = Self {
                rate: Some(rate),
                chance: self.chance,
                cap: self.cap,
                // What has been sent faster says nothing of this rate.
                reduced: Some(Reduction {
                    at: now,
                    from: rate,
                    loss: 0,
                    in_vain: 0,
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
        let excess = loss.saturating_sub(self.chance);
        let before = self.reduced.filter(|it| it.in_vain > 0);
        if before.is_some() {
            // A port that passes the rate loses nothing: this is chance.
            self.chance = (self.chance * 3 + loss.min(self.chance + 2 * CHANCE)) / 4;
        } else {
            self.forget_chance(loss);
        }
        let in_vain = match before {
            Some(before) if excess > CHANCE && loss * 10 >= before.loss * 8 => before.in_vain + 1,
            _ => 1,
        };
        if let (Some(before), true) = (before, in_vain > IN_VAIN) {
            self.chance = loss.min(before.loss);
            self.rate = Some(before.from);
            self.reduced = Some(Reduction {
                at: now,
                in_vain: 0,
                ..before
            });
            return;
        }
        if excess > CHANCE {
            // Near the right rate more than half of a slice is lost by a bad moment only. Before it is found, what
            // arrives is the rate.
            let least = if self.has_passed { 550 } else { 100 };
            let arrives = u64::from(1000 - excess).max(least);
            let lower = u128::from(rate) * u128::from(arrives) * 9 / 10_000;
            let lower = self.within_bounds(u64::try_from(lower).unwrap_or(rate));
            self.is_near |= self.has_passed;
            if lower == rate {
                // What does not change has no effect that could be judged.
                return;
            }
            self.rate = Some(lower);
            let from = match before {
                Some(before) if in_vain > 1 => before.from,
                _ => rate,
            };
            self.reduced = Some(Reduction {
                at: now,
                from,
                loss,
                in_vain,
            });
            return;
        }
        if let Some(reduction) = &mut self.reduced {
            // That was relief.
            reduction.in_vain = 0;
        }
        self.has_passed = true;
        if sample.is_first_pass {
            self.grow(sample.sent, rate, was_limiting);
        }
    }

    /// At which all blocks of the last samples arrived.
    fn recent_rate(&self, now: Instant) -> u64 {
        let recent = self.recent.iter().flatten();
        let since = recent.clone().map(|(since, _)| *since).min();
        let bits = recent.fold(0_u64, |all, (_, bits)| all.saturating_add(*bits));
        rate(now, since.unwrap_or(now), bits)
    }

    /// Less loss than by chance: it has become less.
    fn forget_chance(&mut self, loss: u32) {
        self.chance -= self.chance.saturating_sub(loss).div_ceil(8);
    }

    fn within_bounds(&self, rate: u64) -> u64 {
        rate.max(LOWEST).min(self.cap.unwrap_or(u64::MAX))
    }

    fn grow(&mut self, blocks: u16, rate: u64, was_limiting: bool) {
        if was_limiting && self.cap.is_none_or(|cap| rate < cap) {
            self.idle = 0;
            let share = if self.is_near { 32 } else { 4 };
            let portions = u64::from(blocks / STEP).clamp(1, 4);
            self.rate = Some(self.within_bounds(rate.saturating_add(rate / share * portions)));
        } else {
            self.idle += 1;
            if self.idle >= IDLE {
                self.lift();
            }
        }
    }
}

/// In bit/s.
fn rate(now: Instant, since: Instant, bits: u64) -> u64 {
    let took = now.saturating_duration_since(since).as_micros().max(1);
    u64::try_from(u128::from(bits) * 1_000_000 / took).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_BITS: u64 = 12_000;
    const BLOCKS: u16 = 112;
    const NETWORK: u64 = 1_000_000_000;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    /// Slices one after the other over a network that passes `port` bit/s and loses `chance` parts of 1000 of
    /// the rest, give or take `noise`; what is lost is repeated. Answers the rates.
    fn rates(port: u64, chance: u32, noise: u32, slices: u32) -> Vec<Option<u64>> {
        let mut now = epoch();
        let mut pace = Pace::default();
        let mut rates = Vec::new();
        for number in 0..slices {
            let noise = if number % 2 == 0 { noise } else { 0 };
            send(&mut pace, &mut now, port, chance + noise);
            rates.push(pace.rate());
        }
        rates
    }

    /// One slice of these.
    fn send(pace: &mut Pace, now: &mut Instant, port: u64, chance: u32) {
        let mut sent = BLOCKS;
        let mut is_first_pass = true;
        while sent > 0 {
            let since = *now;
            let limits = [pace.rate(), pace.cap, Some(NETWORK)];
            let rate = limits.into_iter().flatten().min().unwrap();
            let passed = (port * 1000 / rate).min(1000);
            let arrived = u64::from(1000 - chance) * passed / 1000;
            let lost = u16::try_from(u64::from(sent) * (1000 - arrived) / 1000).unwrap();
            let bits = u64::from(sent) * BLOCK_BITS;
            *now += Duration::from_micros(bits * 1_000_000 / rate.min(port));
            let sample = Sample {
                is_first_pass,
                sent,
                lost,
                since,
                client: Some(0),
            };
            pace.note(*now, &sample, BLOCK_BITS, rate < NETWORK, Duration::ZERO);
            (sent, is_first_pass) = (lost, false);
        }
    }

    #[test]
    fn the_rate_does_not_exceed_the_cap_and_follows_a_port_at_once() {
        let cap = 100_000_000;
        let mut pace = Pace::new(Some(cap));
        let mut now = epoch();
        let path = [(20_000_000, 60), (NETWORK, 1900), (20_000_000, 200)];
        for (port, slices) in path {
            for number in 0..slices {
                send(&mut pace, &mut now, port, 0);
                let rate = pace.rate();
                assert!(rate.is_none_or(|rate| rate <= cap), "{rate:?}");
                if port < cap && number >= 50 {
                    let range = port * 6 / 10..=port * 14 / 10;
                    assert!(rate.is_some_and(|it| range.contains(&it)), "{rate:?}");
                }
            }
        }
    }

    #[test]
    fn a_rate_that_cannot_get_lower_is_not_lifted_for_that() {
        let cap = LOWEST / 2;
        let mut pace = Pace::new(Some(cap));
        let mut now = epoch();
        for _ in 0..100 {
            send(&mut pace, &mut now, cap / 4, 0);
        }
        assert_eq!((pace.rate(), pace.reduced.unwrap().in_vain), (Some(cap), 0));
    }

    #[test]
    fn the_rate_is_that_of_the_port() {
        for port in [4_000_000, 40_000_000, 100_000_000, 300_000_000] {
            for (chance, noise) in [(0, 0), (20, 0), (0, 60), (50, 60)] {
                let rates = rates(port, chance, noise, 1000);
                for rate in &rates[100..] {
                    let rate = rate.unwrap();
                    let range = port * 6 / 10..=port * 14 / 10;
                    assert!(range.contains(&rate), "{port}, {chance}, {noise}: {rate}");
                }
            }
        }
    }

    #[test]
    fn loss_by_chance_sets_no_rate_or_one_that_does_not_matter() {
        for chance in [0, 10, 100, 200, 300] {
            let rates = rates(NETWORK, chance, 0, 300);
            assert!(rates.iter().all(Option::is_none), "{chance}");
        }
        // More than that is taken for a slow port, until lower rates have not helped.
        for chance in [400, 600] {
            let rates = rates(NETWORK, chance, 0, 300);
            let slow = rates.iter().flatten().filter(|rate| **rate < NETWORK / 4);
            let slow = slow.count();
            assert!(slow < 30, "{chance}: {slow}");
        }
    }

    #[test]
    fn the_rate_is_lifted_when_the_slow_one_has_gone() {
        let mut pace = Pace {
            rate: Some(1_000_000),
            ..Pace::default()
        };
        pace.reset();
        assert_eq!(pace.rate(), None);
    }

    #[test]
    fn loss_by_chance_that_has_passed_hides_no_slow_port() {
        let after = |forget: &dyn Fn(&mut Pace, &mut Instant)| {
            let mut now = epoch();
            let mut pace = Pace::default();
            for _ in 0..300 {
                send(&mut pace, &mut now, NETWORK, 600);
            }
            assert!(pace.chance > 500, "{}", pace.chance);
            forget(&mut pace, &mut now);
            let port = 400_000_000;
            for _ in 0..100 {
                send(&mut pace, &mut now, port, 0);
            }
            let rate = pace.rate();
            let range = port * 6 / 10..=port * 14 / 10;
            assert!(rate.is_some_and(|it| range.contains(&it)), "{rate:?}");
        };
        // It became less.
        after(&|pace, now| {
            for _ in 0..200 {
                send(pace, now, NETWORK, 0);
            }
        });
        // Its receiver left.
        after(&|pace, _| pace.reset());
    }
}
