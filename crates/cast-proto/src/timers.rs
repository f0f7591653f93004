//! All timers of a machine in one table; the next timeout is their minimum.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The timers of one machine: an enum whose variants count up from 0.
pub trait TimerKind: Copy + 'static {
    /// All timers, in the order in which they are served when several are due.
    const ALL: &'static [Self];

    /// Place in the table, below the table's `N`.
    fn index(self) -> usize;
}

/// When each timer goes off, if it is set.
#[derive(Clone, Debug)]
pub struct TimerTable<T, const N: usize> {
    at: [Option<Instant>; N],
    kind: PhantomData<T>,
}

impl<T: TimerKind, const N: usize> Default for TimerTable<T, N> {
    fn default() -> Self {
        Self {
            at: [None; N],
            kind: PhantomData,
        }
    }
}

impl<T: TimerKind, const N: usize> TimerTable<T, N> {
    /// Sets a timer, whether or not it was set before.
    pub fn set(&mut self, timer: T, at: Instant) {
        if let Some(slot) = self.at.get_mut(timer.index()) {
            *slot = Some(at);
        }
    }

    /// Unsets a timer.
    pub fn stop(&mut self, timer: T) {
        if let Some(slot) = self.at.get_mut(timer.index()) {
            *slot = None;
        }
    }

    /// Unsets all timers.
    pub fn stop_all(&mut self) {
        self.at = [None; N];
    }

    /// When a timer goes off, if it is set.
    #[must_use]
    pub fn get(&self, timer: T) -> Option<Instant> {
        self.at.get(timer.index()).copied().flatten()
    }

    /// The earliest timer that is set.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }

    /// Moves timers that should have gone off before `now` to `now`; by how much the first one.
    pub fn catch_up(&mut self, now: Instant) -> Duration {
        let late = self
            .next()
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        for at in self.at.iter_mut().flatten() {
            *at = (*at).max(now.min(*at + late));
        }
        late
    }

    /// Unsets and returns a timer that is due; of several the first in [`TimerKind::ALL`].
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let timer = *T::ALL
            .iter()
            .find(|timer| self.get(**timer).is_some_and(|at| at <= now))?;
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Bell {
        Door,
        Alarm,
    }

    impl TimerKind for Bell {
        const ALL: &'static [Self] = &[Self::Door, Self::Alarm];

        fn index(self) -> usize {
            self as usize
        }
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn due_timers_expire_once_in_the_order_of_the_enum() {
        let now = Instant::now();
        let mut timers = TimerTable::<Bell, 2>::default();
        assert_eq!(timers.next(), None);
        timers.set(Bell::Alarm, now);
        timers.set(Bell::Door, now + Duration::from_secs(1));
        assert_eq!(timers.next(), Some(now));
        assert_eq!(timers.expire(now), Some(Bell::Alarm));
        assert_eq!(timers.expire(now), None);
        timers.set(Bell::Alarm, now);
        let later = now + Duration::from_secs(5);
        assert_eq!(timers.expire(later), Some(Bell::Door));
        assert_eq!(timers.expire(later), Some(Bell::Alarm));
        assert_eq!(timers.expire(later), None);
    }
}
