//! The present rate from a growing counter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Mean over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

/// How far back the mean reaches.
const WINDOW: Duration = Duration::from_secs(5);

impl Rate {
    /// Takes the counter and answers its growth per second.
    pub(super) fn sample(&mut self, now: Instant, count: u64) -> u64 {
        let samples = &mut self.samples;
        samples.push_back((now, count));
        // The oldest one kept is the last that is at least a window old.
        while samples
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            samples.pop_front();
        }
        let Some((at, first)) = samples.front() else {
            return 0;
        };
        let millis = now.duration_since(*at).as_millis();
        let growth = u128::from(count.saturating_sub(*first));
        u64::try_from((growth * 1000).checked_div(millis).unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

/// How fast it was, from the first byte on: few points, however long it takes.
#[derive(Debug, Clone, Default)]
pub struct Course {
    begun: Option<Instant>,
    /// Seconds of a point; doubled when there are too many.
    step: u32,
    /// Growth within each point. The last one is not over.
    points: Vec<u64>,
    last: u64,
}

/// Points that are kept at most, and so half as many at least once there were so many; 8 bytes each.
const MOST_POINTS: usize = 120;

impl Course {
    /// Takes a counter that grows, and begins anew with each stream.
    pub(super) fn sample(&mut self, now: Instant, count: u64) {
        let growth = count.checked_sub(self.last).unwrap_or(count);
        self.last = count;
        if growth == 0 && self.begun.is_none() {
            return;
        }
        let begun = *self.begun.get_or_insert(now);
        self.step = self.step.max(1);
        let seconds = now.saturating_duration_since(begun).as_secs();
        let point = loop {
            let point = usize::try_from(seconds / u64::from(self.step)).unwrap_or(usize::MAX);
            if point < MOST_POINTS {
                break point;
            }
            self.points = self
                .points
                .chunks(2)
                .map(|pair| pair.iter().sum())
                .collect();
            self.step = self.step.saturating_mul(2);
        };
        if self.points.len() <= point {
            self.points.resize(point + 1, 0);
        }
        if let Some(grown) = self.points.get_mut(point) {
            *grown = grown.saturating_add(growth);
        }
    }

    /// Seconds of a point.
    #[must_use]
    pub fn step_seconds(&self) -> u32 {
        self.step.max(1)
    }

    /// Growth per second of each point that is over, the first one first.
    pub fn per_second(&self) -> impl Iterator<Item = u64> + '_ {
        let over = self.points.len().saturating_sub(1);
        let step = u64::from(self.step_seconds());
        self.points.iter().take(over).map(move |grown| grown / step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_has_few_points_and_loses_no_byte() {
        let mut course = Course::default();
        let start = Instant::now();
        let at = |half: u64| start + Duration::from_millis(500 * half);
        // Nothing has begun.
        course.sample(start, 0);
        assert_eq!(course.per_second().count(), 0);
        let (mut count, mut sent) = (0, 0);
        for half in 1..=20_000 {
            // A new stream now and then.
            if half % 977 == 0 {
                count = 0;
            }
            let grown = half % 50;
            (count, sent) = (count + grown, sent + grown);
            course.sample(at(half), count);
            assert!(course.points.len() <= MOST_POINTS);
        }
        assert_eq!(course.points.iter().sum::<u64>(), sent);
        assert_eq!(course.step_seconds(), 128);
        let rates: Vec<u64> = course.per_second().collect();
        assert!(rates.len() >= MOST_POINTS / 2);
        // A mean of 24.5 twice a second.
        assert!(
            rates.iter().all(|rate| (47..=50).contains(rate)),
            "{rates:?}"
        );
    }

    #[test]
    fn only_the_last_seconds_count() {
        let mut rate = Rate::default();
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        assert_eq!(rate.sample(start, 0), 0);
        for second in 1..=10 {
            assert_eq!(rate.sample(at(second), second * 100), 100);
        }
        for second in 11..=15 {
            rate.sample(at(second), 1000);
        }
        assert_eq!(rate.sample(at(16), 1000), 0);
    }
}
