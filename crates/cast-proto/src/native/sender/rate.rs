//! How fast is sent (9.1 to 9.3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::native::units::{cable_rate, round_u32};

/// The rate is looked at so often.
pub(super) const EPOCH: Duration = Duration::from_millis(500);

/// What the rate may be.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// In kB/s of the cable: the least of what the admin, the own link, and the links of the policy's share of clients
    /// allow.
    pub max: u32,
    /// Whether the speeds of links are known. If not, the rate begins at 100 Mb/s and grows.
    pub is_known: bool,
}

/// Rate of a sender whose clients' links are not known: 100 Mb/s, in kB/s.
const UNKNOWN: u32 = 12_500;

/// Random loss is no reason to slow down, an overfull link is. They differ in what slowing down does.
#[derive(Clone, Debug)]
pub(super) struct RateControl {
    limits: RateLimits,
    /// By loss alone, in kB/s of the cable.
    rate: u32,
    /// It has not met a limit yet, and grows by half.
    is_exploring: bool,
    /// ℓ of the last 10 s.
    losses: VecDeque<f64>,
    /// Epochs in a row with much more loss than usual.
    high: u8,
    trial: Option<Trial>,
    /// The rate at which overload was proven, and when.
    overload: Option<(u32, Instant)>,
}

/// The rate was lowered to see what the loss does.
#[derive(Clone, Copy, Debug)]
struct Trial {
    former_rate: u32,
    former_loss: f64,
    base: f64,
    epochs: u8,
}

/// Epochs in 10 s.
const BASE_EPOCHS: usize = 20;

/// Less than this over the base is no more loss than usual; more than the second is much more.
const USUAL: f64 = 0.005;
const MUCH: f64 = 0.02;

const OVERLOAD_KEPT: Duration = Duration::from_secs(20);

impl RateControl {
    pub(super) fn new(limits: RateLimits) -> Self {
        let rate = if limits.is_known {
            portion(limits.max, 0.98)
        } else {
            UNKNOWN.min(limits.max)
        };
        Self {
            limits,
            rate,
            is_exploring: !limits.is_known,
            losses: VecDeque::new(),
            high: 0,
            trial: None,
            overload: None,
        }
    }

    /// R in kB/s of the cable. `drain`: the greatest of the unfinished, if the machine of each is the limit (9.1).
    pub(super) fn rate(&self, drain: Option<u32>) -> u32 {
        // A machine that stalls for a moment does not stop the sender.
        let least = self.limits.max / 1000;
        let drained = drain.map_or(u32::MAX, |drain| portion(cable_rate(drain), 1.02));
        self.rate
            .min(drained.max(least))
            .min(self.limits.max)
            .max(1)
    }

    /// Other limits.
    pub(super) fn set_limits(&mut self, limits: RateLimits) {
        self.limits = limits;
    }

    /// An epoch is over, with loss ℓ if that is known (9.3).
    pub(super) fn on_epoch(&mut self, now: Instant, loss: Option<f64>) {
        let Some(loss) = loss else {
            return;
        };
        let base = self.losses.iter().copied().fold(loss, f64::min);
        if let Some(trial) = self.trial {
            self.on_trial(now, loss, trial);
            return;
        }
        if self.losses.len() == BASE_EPOCHS {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
        let excess = loss - base;
        if excess <= USUAL {
            self.high = 0;
            self.grow(now);
        } else if excess > MUCH {
            self.is_exploring = false;
            self.high += 1;
            if self.high >= 2 {
                self.high = 0;
                self.trial = Some(Trial {
                    former_rate: self.rate,
                    former_loss: loss,
                    base,
                    epochs: 0,
                });
                self.rate = portion(self.rate, (1.0 - excess) * 0.97);
            }
        } else {
            self.high = 0;
        }
    }

    fn on_trial(&mut self, now: Instant, loss: f64, mut trial: Trial) {
        trial.epochs += 1;
        self.trial = Some(trial);
        if trial.epochs < 2 {
            return;
        }
        self.trial = None;
        let excess = loss - trial.base;
        if excess <= (trial.former_loss - trial.base) / 2.0 {
            self.overload = Some((trial.former_rate, now));
        } else {
            // It is the way of this network.
            self.rate = trial.former_rate;
            self.losses.clear();
            self.losses.push_back(loss);
        }
    }

    fn grow(&mut self, now: Instant) {
        let factor = if self.is_exploring { 1.5 } else { 1.05 };
        let mut most = self.limits.max;
        if let Some((rate, at)) = self.overload {
            if now < at + OVERLOAD_KEPT {
                most = most.min(portion(rate, 0.97));
            } else {
                self.overload = None;
            }
        }
        let grown = portion(self.rate, factor).max(self.rate.saturating_add(1));
        self.rate = grown.min(most.max(self.rate)).min(self.limits.max);
    }
}

fn portion(rate: u32, share: f64) -> u32 {
    round_u32(f64::from(rate) * share).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIGABIT: u32 = 125_000;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn run(limits: RateLimits, epochs: u32, loss: impl Fn(u32, u32) -> f64) -> Vec<u32> {
        let mut now = Instant::now();
        let mut control = RateControl::new(limits);
        (0..epochs)
            .map(|epoch| {
                now += EPOCH;
                control.on_epoch(now, Some(loss(epoch, control.rate(None))));
                control.rate(None)
            })
            .collect()
    }

    fn known(max: u32) -> RateLimits {
        RateLimits {
            max,
            is_known: true,
        }
    }

    /// What a link of so many kB/s loses.
    fn overfull(link: u32, rate: u32) -> f64 {
        (1.0 - f64::from(link) / f64::from(rate)).max(0.0)
    }

    #[test]
    fn random_loss_does_not_slow_down() {
        // 9.2
        for loss in [0.0, 0.01, 0.1] {
            let rates = run(known(GIGABIT), 120, |_, _| loss);
            assert_eq!(rates[1..], vec![GIGABIT; 119], "{loss}");
        }
        // Loss that begins later costs a trial, and no more.
        let rates = run(
            known(GIGABIT),
            120,
            |epoch, _| {
                if epoch < 40 { 0.0 } else { 0.1 }
            },
        );
        assert!(rates[41] < GIGABIT && rates[50] == GIGABIT);
    }

    #[test]
    fn an_overfull_link_slows_down() {
        // 9.3
        let narrow = GIGABIT * 6 / 10;
        let rates = run(known(GIGABIT), 120, |epoch, rate| {
            if epoch < 10 {
                0.0
            } else {
                overfull(narrow, rate)
            }
        });
        let last: u64 = rates[60..].iter().map(|rate| u64::from(*rate)).sum::<u64>() / 60;
        let best = u64::from(narrow);
        assert!(last.abs_diff(best) < best / 10, "{last} of {best}");
    }

    #[test]
    fn unknown_links_are_found_from_below() {
        // 9.1
        let limits = RateLimits {
            max: GIGABIT * 10,
            is_known: false,
        };
        let rates = run(limits, 120, |_, rate| overfull(GIGABIT, rate));
        assert_eq!(rates[0], UNKNOWN * 3 / 2);
        let found = rates.iter().position(|rate| *rate >= GIGABIT * 95 / 100);
        assert!(found.is_some_and(|epoch| epoch < 10), "{rates:?}");
        let last: u64 = rates[60..].iter().map(|rate| u64::from(*rate)).sum::<u64>() / 60;
        let best = u64::from(GIGABIT);
        assert!(
            last.abs_diff(best) < best / 10,
            "{last} of {best}: {rates:?}"
        );
    }

    #[test]
    fn the_slowest_of_slow_machines_do_not_fill_the_network_for_nothing() {
        // 9.1
        let control = RateControl::new(known(GIGABIT));
        assert_eq!(control.rate(None), GIGABIT * 98 / 100);
        let rate = control.rate(Some(5_000));
        assert!((5_300..5_500).contains(&rate), "{rate}");
    }
}
