//! What is sent next: the plan (8.3), and nested classes (8.4).

use crate::native::geometry::{Slot, Table};
use crate::native::wire::Priority;

/// κ: receivers that write slower than this lack the chunk. Greater ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kappa {
    /// In kB/s of frame bytes.
    Slower(u32),
    /// Somebody whose machine is not the limit lacks it.
    Anybody,
    /// It was never sent: everybody lacks it.
    Everybody,
}

impl Kappa {
    /// Of a receiver with this drain.
    pub(super) fn of(drain: Option<u32>) -> Self {
        drain.map_or(Self::Anybody, Self::Slower)
    }

    pub(super) fn priority(self) -> Priority {
        match self {
            Self::Slower(kappa) => Priority::of(Some(kappa)),
            Self::Anybody | Self::Everybody => Priority::HIGHEST,
        }
    }
}

/// Which chunks are planned.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// κ of those that are planned.
    planned: Vec<Option<Kappa>>,
    count: usize,
    /// Instances so far: numbers them.
    instances: u32,
}

impl Plan {
    /// Everything, or nothing after a restart (8.8).
    pub(super) fn new(table: &Table, is_all: bool) -> Self {
        Self {
            planned: vec![is_all.then_some(Kappa::Everybody); table.len()],
            count: if is_all { table.len() } else { 0 },
            instances: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[cfg(test)]
    pub(super) fn kappa(&self, slot: Slot) -> Option<Kappa> {
        self.planned.get(slot.0).copied().flatten()
    }

    /// Plans a chunk that receivers slower than `kappa` lack.
    pub(super) fn add(&mut self, slot: Slot, kappa: Kappa) {
        if let Some(planned) = self.planned.get_mut(slot.0) {
            self.count += usize::from(planned.is_none());
            *planned = (*planned).max(Some(kappa));
        }
    }

    /// The one with the greatest κ, of several the smallest number, among those that `may_go`.
    pub(super) fn next(&self, may_go: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mut best: Option<(Kappa, Slot)> = None;
        for (at, kappa) in self.planned.iter().enumerate() {
            let Some(kappa) = *kappa else {
                continue;
            };
            if best.is_none_or(|(least, _)| kappa > least) && may_go(Slot(at)) {
                best = Some((kappa, Slot(at)));
                if kappa == Kappa::Everybody {
                    break;
                }
            }
        }
        best.map(|(_, slot)| slot)
    }

    /// The class of the next instance, which begins now: its number's low 6 bits reversed.
    pub(super) fn begin_instance(&mut self) -> u8 {
        let class = nested_class(self.instances);
        self.instances = self.instances.wrapping_add(1);
        class
    }

    /// An instance of class `class` was sent at `rate` kB/s of frame bytes. It stays planned if somebody who is not
    /// done is too slow for that class: `is_lacked` says so of a level below which receivers take classes.
    pub(super) fn sent(
        &mut self,
        slot: Slot,
        class: u8,
        rate: u32,
        is_lacked: impl Fn(u8) -> bool,
    ) {
        let Some(planned) = self.planned.get_mut(slot.0) else {
            return;
        };
        let Some(kappa) = *planned else {
            return;
        };
        let slower = u64::from(class) * u64::from(rate) / 64;
        let slower = Kappa::Slower(u32::try_from(slower).unwrap_or(u32::MAX));
        if is_lacked(class) {
            *planned = Some(kappa.min(slower));
        } else {
            *planned = None;
            self.count -= 1;
        }
    }

    /// All planned ones, ascending, with their priorities.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, Priority)> {
        let all = self.planned.iter().enumerate();
        all.filter_map(|(at, kappa)| Some((Slot(at), (*kappa)?.priority())))
    }
}

fn nested_class(instance: u32) -> u8 {
    let low = u8::try_from(instance % 64).unwrap_or(0);
    low.reverse_bits() >> 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::geometry::FrameLen;

    fn plan(count: usize) -> Plan {
        let table = Table::new(Vec::new(), vec![FrameLen::new(5).unwrap(); count]);
        Plan::new(&table, true)
    }

    #[test]
    fn classes_are_nested() {
        // 8.4: any 64 consecutive instances have all classes, and those below a level come evenly.
        for start in [0, 17, 1000] {
            let mut classes: Vec<u8> = (start..start + 64).map(nested_class).collect();
            for level in [1, 2, 4, 8, 16, 32] {
                let below: Vec<usize> = (0..64).filter(|at| classes[*at] < level).collect();
                assert_eq!(below.len(), usize::from(level));
                let gap = 64 / usize::from(level);
                assert!(below.windows(2).all(|pair| pair[1] - pair[0] == gap));
            }
            classes.sort_unstable();
            assert_eq!(classes, (0..64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_greatest_kappa_comes_first_then_the_smallest_number() {
        // 8.3
        let mut plan = plan(4);
        assert_eq!(plan.next(|_| true), Some(Slot(0)));
        for at in 0..4 {
            plan.sent(Slot(at), 0, 1, |_| false);
        }
        assert_eq!(plan.next(|_| true), None);
        plan.add(Slot(0), Kappa::Slower(5));
        plan.add(Slot(1), Kappa::Slower(7));
        plan.add(Slot(2), Kappa::Slower(7));
        plan.add(Slot(2), Kappa::Slower(3));
        assert_eq!(plan.next(|_| true), Some(Slot(1)));
        assert_eq!(plan.next(|slot| slot != Slot(1)), Some(Slot(2)));
        plan.add(Slot(3), Kappa::Anybody);
        assert_eq!(plan.next(|_| true), Some(Slot(3)));
        assert_eq!(plan.len(), 4);
    }

    #[test]
    fn what_the_slow_could_not_take_stays_planned_with_less_kappa() {
        // 8.3
        let mut plan = plan(1);
        plan.sent(Slot(0), 32, 100_000, |class| class >= 20);
        assert_eq!(plan.kappa(Slot(0)), Some(Kappa::Slower(50_000)));
        plan.sent(Slot(0), 48, 100_000, |class| class >= 20);
        assert_eq!(plan.kappa(Slot(0)), Some(Kappa::Slower(50_000)));
        plan.sent(Slot(0), 19, 100_000, |class| class >= 20);
        assert_eq!(plan.kappa(Slot(0)), None);
        assert!(plan.is_empty());
    }
}
