//! When the receiver says what it lacks (7.6).

use std::time::{Duration, Instant};

use super::chunk::Progress;
use super::{Ending, Priority, Receiver, Timer};
use crate::native::chance::suppression;
use crate::native::units::frame_rate;
use crate::native::wire::{Lacks, NeedBody, Runs};

/// The first LACK of a join or an epoch comes after the first of these, and at most the second more.
const FIRST_AFTER: Duration = Duration::from_millis(2);
const FIRST_SPREAD: Duration = Duration::from_millis(20);

const EVERY: Duration = Duration::from_secs(1);

/// T of the delay by which LACKs are spread.
const SPREAD: Duration = Duration::from_millis(200);

/// A PLAN that is not so much younger than a lack may not know of it, in ms.
const PLAN_AGE: u32 = 100;

/// Beacons come if the last one is not older.
const BEACON_AGE: Duration = Duration::from_secs(1);

impl Receiver {
    pub(super) fn schedule_first_lacks(&mut self, now: Instant) {
        if self.ending == Ending::Receiving {
            let after = FIRST_AFTER + FIRST_SPREAD.mul_f64(self.chance.unit());
            self.timers.set(Timer::Lacks, now + after);
        }
    }

    /// The sender asks, or will soon have nothing to send: speaks before long.
    pub(super) fn hasten_lacks(&mut self, now: Instant) {
        let next = self.timers.get(Timer::Lacks);
        if self.ending == Ending::Receiving && next.is_none_or(|at| at > now + SPREAD) {
            let after = self.spread();
            self.timers.set(Timer::Lacks, now + after);
        }
    }

    pub(super) fn on_lacks(&mut self, now: Instant) {
        if self.ending != Ending::Receiving {
            return;
        }
        let after = EVERY + self.spread();
        self.timers.set(Timer::Lacks, now + after);
        let heard = self.heard.as_ref();
        let Some(rate) = heard
            .filter(|heard| now <= heard.at + BEACON_AGE)
            .map(|heard| heard.rate)
        else {
            return;
        };
        let own = self.capacity(now);
        let deferred = frame_rate(rate) / 2;
        let deferred = own.map_or(deferred, |own| own.min(deferred));
        let mut lacks = Vec::new();
        for (drain, is_deferred) in [(own, false), (Some(deferred), true)] {
            let chunks = self.unplanned(Priority::of(drain), is_deferred);
            if !chunks.is_empty() {
                lacks.push(Lacks { drain, chunks });
            }
        }
        if lacks.is_empty() && self.polluted.is_empty() {
            return;
        }
        self.counts.lacks += 1;
        let polluted = std::mem::take(&mut self.polluted);
        self.say(NeedBody {
            needs: Vec::new(),
            lacks,
            polluted,
        });
    }

    /// Chunks of which nothing is there and that are not planned soon enough, as far as is known.
    fn unplanned(&self, priority: Priority, is_deferred: bool) -> Runs {
        let table = &self.config.table;
        let slots = self.entries.iter().zip(table.slots());
        let lacks = slots.filter(|(entry, _)| {
            let is_planned = entry.planned.is_some_and(|(at, planned)| {
                let is_younger = entry.lack_since == 0 || at >= entry.lack_since + PLAN_AGE;
                is_younger && planned.is_some_and(|planned| planned >= priority)
            });
            matches!(entry.progress, Progress::Lack)
                && entry.is_deferred == is_deferred
                && !is_planned
        });
        // Parts have the first slots and the highest numbers.
        let mut numbers: Vec<u32> = lacks.map(|(_, slot)| table.id(slot).to_wire()).collect();
        let parts = numbers.partition_point(|number| number >> 31 != 0);
        numbers.rotate_left(parts);
        Runs::of(numbers)
    }

    fn spread(&mut self) -> Duration {
        let count = self.heard.as_ref().map_or(1, |heard| heard.unfinished);
        SPREAD.mul_f64(suppression(count, self.chance.unit()))
    }
}
