//! Symbols that are sent in one go (6.3), and several chunks in turn (8.6).

use std::collections::VecDeque;

use crate::native::geometry::{FrameLen, Slot};

/// Which repair symbols of a chunk come next. It begins at a random place in each epoch, as receivers may hold symbols of
/// the last one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RepairCounter {
    start: u16,
    used: u32,
}

impl RepairCounter {
    pub(super) fn new(start: u16) -> Self {
        Self { start, used: 0 }
    }

    /// The next symbol: after all repair symbols it goes on with source symbols.
    pub(super) fn next_symbol(&mut self, len: FrameLen) -> u16 {
        let (source, repair) = (len.source_count(), len.repair_count());
        let round = u32::from(source) + u32::from(repair);
        let at = u16::try_from(self.used % round).unwrap_or(0);
        self.used = self.used.wrapping_add(1);
        match at.checked_sub(repair) {
            Some(symbol) => symbol,
            None => {
                let shifted = u32::from(self.start) + u32::from(at);
                source + u16::try_from(shifted % u32::from(repair)).unwrap_or(0)
            }
        }
    }
}

/// A burst that is being sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    pub(super) slot: Slot,
    /// Of the chunk.
    pub(super) number: u8,
    pub(super) class: u8,
    /// It begins with all source symbols.
    pub(super) is_instance: bool,
    /// The next source symbol; K in a burst of repair.
    pub(super) next_source: u16,
    /// Symbols that are still to come.
    pub(super) left: u16,
}

impl Burst {
    pub(super) fn instance(slot: Slot, len: FrameLen, number: u8, class: u8, repair: u16) -> Self {
        Self {
            slot,
            number,
            class,
            is_instance: true,
            next_source: 0,
            left: len.source_count() + repair,
        }
    }

    pub(super) fn repair(slot: Slot, len: FrameLen, number: u8, class: u8, count: u16) -> Self {
        Self {
            slot,
            number,
            class,
            is_instance: false,
            next_source: len.source_count(),
            left: count,
        }
    }

    /// The next symbol; `None` at the end.
    pub(super) fn next_symbol(
        &mut self,
        len: FrameLen,
        counter: &mut RepairCounter,
    ) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        if self.next_source < len.source_count() {
            let symbol = self.next_source;
            self.next_source += 1;
            return Some(symbol);
        }
        Some(counter.next_symbol(len))
    }
}

/// Bursts that are sent symbol by symbol in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(VecDeque<Burst>);

impl Turns {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.0.iter().any(|burst| burst.slot == slot)
    }

    pub(super) fn push(&mut self, burst: Burst) {
        self.0.push_back(burst);
    }

    /// The one whose turn it is; to be put back with [`push`](Self::push) if it has not ended.
    pub(super) fn take(&mut self) -> Option<Burst> {
        self.0.pop_front()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.0.iter().map(|burst| burst.slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::native::geometry::SYMBOL;

    fn len(source: u32) -> FrameLen {
        FrameLen::new(source * u32::try_from(SYMBOL).unwrap()).unwrap()
    }

    #[test]
    fn an_instance_is_all_source_symbols_and_then_fresh_repair() {
        // 6.3
        let len = len(100);
        let mut counter = RepairCounter::new(60);
        let mut burst = Burst::instance(Slot(0), len, 0, 0, 10);
        let mut symbols = Vec::new();
        while let Some(symbol) = burst.next_symbol(len, &mut counter) {
            symbols.push((symbol, burst.left));
        }
        let expected: Vec<(u16, u16)> = (0..100)
            .chain((160..164).chain(100..106))
            .zip((0..110).rev())
            .collect();
        assert_eq!(symbols, expected);
        let mut repair = Burst::repair(Slot(0), len, 1, 0, 2);
        assert_eq!(repair.next_symbol(len, &mut counter), Some(106));
        assert_eq!(repair.next_symbol(len, &mut counter), Some(107));
        assert_eq!(repair.next_symbol(len, &mut counter), None);
    }

    #[test]
    fn repair_goes_on_with_source_symbols_and_repeats_nothing_before_all_were_sent() {
        // 6.3
        let len = len(100);
        let mut counter = RepairCounter::new(17);
        let all: Vec<u16> = (0..164).map(|_| counter.next_symbol(len)).collect();
        assert_eq!(all[63..66], [116, 0, 1]);
        let different: BTreeSet<u16> = all.iter().copied().collect();
        assert_eq!(different, (0..164).collect());
    }
}
