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

#[cfg(test)]
mod tests {
    use super::*;

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
