//! When what is missing is asked for (7.3, 7.5).

use std::time::{Duration, Instant};

use super::Receiver;
use super::chunk::Progress;
use crate::native::chance::suppression;
use crate::native::geometry::Slot;
use crate::native::wire::{Announced, NEEDS_MAX, Need, NeedBody};

/// Longest time after which it is asked again.
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// Added to 4 T before it is asked again.
const AGAIN_SLACK: Duration = Duration::from_millis(50);

impl Receiver {
    /// Sets the timer of a chunk whose burst has ended: the neediest speak first.
    pub(super) fn schedule_ask(&mut self, now: Instant, slot: Slot, need: u16) {
        let Some(heard) = &self.heard else {
            return;
        };
        let share = f64::from(need) / f64::from(heard.usual_need);
        let bias = 0.3 * (1.0 - share.min(1.0));
        let spread = 0.7 * suppression(heard.unfinished, self.chance.unit());
        let at = now + heard.window.mul_f64(bias + spread);
        if let Progress::Part(part) = &mut self.entry_mut(slot).progress {
            part.ask_at = Some(at);
            part.tries = 0;
        }
    }

    /// When the next chunk may have to be asked for.
    pub(super) fn next_ask(&self) -> Option<Instant> {
        let parts = self.in_part.iter();
        let times = parts.filter_map(|slot| match &self.entry(*slot).progress {
            Progress::Part(part) => part.ask_at,
            _ => None,
        });
        times.min()
    }

    /// Asks for what is due, and with it for what will be due soon, unless the sender knows.
    pub(super) fn ask(&mut self, now: Instant) {
        let Some(heard) = &self.heard else {
            return;
        };
        let window = heard.window;
        if self.next_ask().is_none_or(|at| at > now) {
            return;
        }
        let mut needs = Vec::new();
        let mut is_any_due = false;
        for slot in self.in_part.clone() {
            let chunk = self.config.table.id(slot);
            let source_count = self.config.table.frame_len(slot).source_count();
            let Progress::Part(part) = &self.entry(slot).progress else {
                continue;
            };
            let Some(at) = part.ask_at.filter(|at| *at <= now + window / 4) else {
                continue;
            };
            let burst = part.burst.unwrap_or(0);
            let need = part.need(source_count);
            let is_known = self.is_known(slot, burst, need);
            let is_due = at <= now;
            if is_known && !is_due {
                continue;
            }
            if !is_known {
                if needs.len() == NEEDS_MAX {
                    continue;
                }
                needs.push(Need { chunk, burst, need });
                is_any_due |= is_due;
            }
        }
        for slot in self.in_part.clone() {
            let chunk = self.config.table.id(slot);
            let Progress::Part(part) = &mut self.entry_mut(slot).progress else {
                continue;
            };
            let is_due = part.ask_at.is_some_and(|at| at <= now);
            let is_said = is_any_due && needs.iter().any(|need| need.chunk == chunk);
            if is_due || is_said {
                let wait = (window * 4 + AGAIN_SLACK) * (1 << part.tries.min(5));
                part.ask_at = Some(now + wait.min(AGAIN_MAX));
                part.tries = part.tries.saturating_add(1);
            }
        }
        if is_any_due {
            self.counts.needs += 1;
            self.say(NeedBody {
                needs,
                ..NeedBody::default()
            });
        }
    }

    /// Whether the last beacon says that the sender knows of this need.
    fn is_known(&self, slot: Slot, burst: u8, need: u16) -> bool {
        let id = self.config.table.id(slot);
        let heard = self.heard.as_ref().map(|heard| &heard.announced[..]);
        let mut mine = heard
            .unwrap_or_default()
            .iter()
            .filter(|one| one.chunk == id);
        mine.any(|one| match one.state {
            Announced::Asked => one.burst == burst && one.need >= need,
            Announced::Queued => true,
            Announced::Deferred => one.need <= need,
        })
    }

    /// Goes by what the beacon announces: later bursts that were lost as a whole, and chunks that are deferred.
    pub(super) fn on_announced(&mut self, now: Instant) {
        let Some(heard) = &self.heard else {
            return;
        };
        for one in heard.announced.clone() {
            let Some(slot) = self.config.table.slot(one.chunk) else {
                continue;
            };
            let source_count = self.config.table.frame_len(slot).source_count();
            let Progress::Part(part) = &self.entry(slot).progress else {
                continue;
            };
            match one.state {
                Announced::Deferred => {
                    if part.is_over && part.need(source_count) >= one.need {
                        self.drop_part(now, slot);
                        self.entry_mut(slot).is_deferred = true;
                    }
                }
                Announced::Asked | Announced::Queued => self.on_ended(now, one.chunk, one.burst),
            }
        }
    }
}
