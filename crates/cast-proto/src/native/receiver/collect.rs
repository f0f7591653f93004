//! Which symbols are taken (6.4, 7.2).

use std::time::{Duration, Instant};

use super::chunk::{Part, Progress};
use super::{Event, LEVEL_MAX, Receiver};
use crate::native::geometry::{ChunkId, Slot};
use crate::native::symbol_set::SymbolSet;
use crate::native::units::frame_rate;
use crate::native::wire::{Announced, DataHeader};

/// None of the symbols of a burst for this long while others come: it has ended (7.3).
const SILENT: Duration = Duration::from_millis(20);

/// What became of a symbol that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// Its bytes are to be kept. If the chunk is whole with it, [`Event::Whole`] follows.
    Kept,
    /// It was of no use.
    Dropped,
}

impl Receiver {
    /// Whether a DATA of the present epoch is worth to be opened. Nothing of the header is certain yet: it is
    /// only counted (6.4, 12.1).
    pub fn wants(&mut self, now: Instant, header: &DataHeader) -> bool {
        self.loss.arrived();
        let Some(slot) = self.config.table.slot(header.chunk) else {
            return false;
        };
        match &self.entry(slot).progress {
            Progress::Written | Progress::Whole => {
                self.counts.duplicate += 1;
                false
            }
            Progress::Part(part) => {
                let is_new = !part.symbols.contains(header.symbol) && self.is_symbol(slot, header);
                // Otherwise a burst that repeats what is there would never be seen to end.
                let says_more = header.left == 0 || part.is_later(header.burst);
                self.counts.duplicate += u64::from(!is_new);
                is_new || says_more
            }
            Progress::Lack => {
                let begins = self.may_begin(slot, header);
                if !begins {
                    self.counts.passed_by += 1;
                    let since = self.millis(now);
                    self.entry_mut(slot).lack_since = since;
                }
                // That a burst is passed by is noted only when its header is certain.
                begins || (self.can_come(slot, header) && !self.is_passed(slot, header))
            }
        }
    }

    /// Takes in a DATA that was opened.
    pub fn handle_data(&mut self, now: Instant, header: &DataHeader) -> Taken {
        let Some(slot) = self.config.table.slot(header.chunk) else {
            return Taken::Dropped;
        };
        if !self.is_symbol(slot, header) {
            return Taken::Dropped;
        }
        if self.last_data.replace(now).is_none() {
            self.hasten_status(now);
        }
        if matches!(self.entry(slot).progress, Progress::Lack)
            && (!self.may_begin(slot, header) || !self.begin(now, slot))
        {
            self.entry_mut(slot).passed = Some(header.burst);
            return Taken::Dropped;
        }
        let source_count = self.config.table.frame_len(slot).source_count();
        let Progress::Part(part) = &mut self.entry_mut(slot).progress else {
            return Taken::Dropped;
        };
        if part.is_later(header.burst) {
            part.begin(header.burst);
        }
        let is_new = part.symbols.insert(header.symbol);
        if part.burst == Some(header.burst) {
            part.last_at = now;
            part.came = part.came.saturating_add(u16::from(is_new));
            // In an instance, symbol s is followed by the other source symbols and what is sent in advance.
            let follow = (source_count - 1).saturating_sub(header.symbol);
            if header.symbol < source_count && header.left >= follow {
                part.is_instance = true;
                part.total = (header.symbol + 1).saturating_add(header.left);
            }
            part.sent = part.total.saturating_sub(header.left);
        }
        if !is_new {
            if header.left == 0 {
                self.end_burst(now, slot);
            }
            return Taken::Dropped;
        }
        let is_whole = part.symbols.count() >= source_count;
        self.counts.taken += 1;
        self.in_vain = 0;
        if is_whole {
            self.on_whole(now, slot);
        } else if header.left == 0 {
            self.end_burst(now, slot);
        }
        Taken::Kept
    }

    /// Ends a burst that ENDED names (5.4).
    pub(super) fn on_ended(&mut self, now: Instant, chunk: ChunkId, burst: u8) {
        let Some(slot) = self.config.table.slot(chunk) else {
            return;
        };
        let Progress::Part(part) = &mut self.entry_mut(slot).progress else {
            return;
        };
        if part.is_later(burst) {
            // All of it was lost.
            part.begin(burst);
        }
        if part.burst == Some(burst) {
            self.end_burst(now, slot);
        }
    }

    /// The sender has nothing more to send: all bursts have ended.
    pub(super) fn end_all_bursts(&mut self, now: Instant) {
        for slot in self.in_part.clone() {
            self.end_burst(now, slot);
        }
    }

    /// Ends bursts of which nothing comes while others come.
    pub(super) fn end_silent_bursts(&mut self, now: Instant) {
        for slot in self.in_part.clone() {
            if self.silent_at(slot).is_some_and(|at| at <= now) {
                self.end_burst(now, slot);
            }
        }
    }

    /// When the next burst is to be ended for its silence.
    pub(super) fn next_silent_burst(&self) -> Option<Instant> {
        let slots = self.in_part.iter();
        slots.filter_map(|slot| self.silent_at(*slot)).min()
    }

    fn silent_at(&self, slot: Slot) -> Option<Instant> {
        let Progress::Part(part) = &self.entry(slot).progress else {
            return None;
        };
        let others = self.last_data.is_some_and(|last| last > part.last_at);
        (!part.is_over && others).then_some(part.last_at + SILENT)
    }

    /// A burst has ended: what is missing is asked for, or the chunk is given up.
    pub(super) fn end_burst(&mut self, now: Instant, slot: Slot) {
        let source_count = self.config.table.frame_len(slot).source_count();
        let Progress::Part(part) = &mut self.entry_mut(slot).progress else {
            return;
        };
        if part.is_over {
            return;
        }
        part.is_over = true;
        let need = part.need(source_count);
        let lost = part.total.saturating_sub(part.came);
        if part.is_instance && part.is_first {
            self.note_peak(source_count, lost);
        }
        let Progress::Part(part) = &self.entry(slot).progress else {
            return;
        };
        if part.is_instance && need > source_count / 2 {
            self.drop_part(now, slot);
        } else {
            self.schedule_ask(now, slot, need);
        }
    }

    /// Gives up what is there of a chunk: it is a lack.
    pub(super) fn drop_part(&mut self, now: Instant, slot: Slot) {
        let since = self.millis(now);
        self.forget(slot, Progress::Lack);
        self.entry_mut(slot).lack_since = since;
        let chunk = self.config.table.id(slot);
        self.events.push_back(Event::Dropped(chunk));
    }

    /// The level of nested classes (7.7).
    pub(super) fn compute_level(&self, now: Instant) -> u8 {
        let (Some(limit), Some(heard)) = (self.drain.limit(now), &self.heard) else {
            return LEVEL_MAX;
        };
        let rate = u64::from(frame_rate(heard.rate)).max(1);
        let whole = u64::from(limit) * u64::from(LEVEL_MAX) / rate;
        let has_room = self.pool_used < self.config.pool_len / 2;
        let level = whole + u64::from(has_room);
        u8::try_from(level.clamp(1, u64::from(LEVEL_MAX))).unwrap_or(LEVEL_MAX)
    }

    /// What this machine can take, if that is less than what comes (7.7).
    pub(super) fn capacity(&self, now: Instant) -> Option<u32> {
        let heard = self.heard.as_ref();
        let rate = heard.map_or(u32::MAX, |heard| frame_rate(heard.rate));
        self.drain.capacity(now, rate)
    }

    fn is_symbol(&self, slot: Slot, header: &DataHeader) -> bool {
        let len = self.config.table.frame_len(slot);
        header.symbol < len.source_count() + len.repair_count()
    }

    fn may_begin(&self, slot: Slot, header: &DataHeader) -> bool {
        let fits = self.fits(slot) || self.to_evict().is_some();
        let is_taken = header.class < self.level && fits;
        is_taken && self.can_come(slot, header) && !self.is_passed(slot, header)
    }

    /// At least half of the source symbols can still come.
    fn can_come(&self, slot: Slot, header: &DataHeader) -> bool {
        let half = self.config.table.frame_len(slot).source_count() / 2;
        header.left >= half || header.symbol < half
    }

    fn is_passed(&self, slot: Slot, header: &DataHeader) -> bool {
        self.entry(slot).passed == Some(header.burst)
    }

    fn fits(&self, slot: Slot) -> bool {
        let len = self.config.table.frame_len(slot).buffer_len();
        self.pool_used + len <= self.config.pool_len
    }

    /// The partial frame with the greatest need, if that is over K/4 and not announced.
    fn to_evict(&self) -> Option<Slot> {
        let candidates = self.in_part.iter().filter_map(|slot| {
            let Progress::Part(part) = &self.entry(*slot).progress else {
                return None;
            };
            let source_count = self.config.table.frame_len(*slot).source_count();
            let need = part.need(source_count);
            let is_idle = part.is_over && need > source_count / 4;
            (is_idle && !self.is_announced(*slot)).then_some((need, *slot))
        });
        candidates.max().map(|(_, slot)| slot)
    }

    fn is_announced(&self, slot: Slot) -> bool {
        let id = self.config.table.id(slot);
        let announced = self.heard.as_ref().map(|heard| &heard.announced);
        announced.is_some_and(|list| {
            list.iter()
                .any(|one| one.chunk == id && one.state != Announced::Deferred)
        })
    }

    fn begin(&mut self, now: Instant, slot: Slot) -> bool {
        if !self.fits(slot)
            && let Some(victim) = self.to_evict()
        {
            self.drop_part(now, victim);
        }
        if !self.fits(slot) {
            return false;
        }
        let len = self.config.table.frame_len(slot);
        self.pool_used += len.buffer_len();
        let symbols = SymbolSet::new(len.source_count() + len.repair_count());
        let entry = self.entry_mut(slot);
        entry.progress = Progress::Part(Box::new(Part::new(now, symbols)));
        entry.is_deferred = false;
        self.in_part.push(slot);
        self.counts.most_in_part = self.counts.most_in_part.max(self.in_part.len());
        true
    }

    fn on_whole(&mut self, now: Instant, slot: Slot) {
        let source_count = self.config.table.frame_len(slot).source_count();
        if let Progress::Part(part) = &self.entry(slot).progress
            && part.is_first
            && part.is_instance
        {
            let lost = part.sent.saturating_sub(part.came);
            self.note_peak(source_count, lost);
        }
        self.in_part.retain(|other| *other != slot);
        self.entry_mut(slot).progress = Progress::Whole;
        self.drain.push(now);
        let chunk = self.config.table.id(slot);
        self.events.push_back(Event::Whole(chunk));
    }

    /// The most symbols of one instance that were lost, if at most K/2, falling by 0.5 % an instance (8.5).
    fn note_peak(&mut self, source_count: u16, lost: u16) {
        self.peak -= self.peak / 200;
        if lost <= source_count / 2 {
            self.peak = self.peak.max(u32::from(lost) * 256);
        }
    }
}
