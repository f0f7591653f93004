//! How fast frames go through decoding and writing (7.7).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over this time the drain is measured, and so long the queue must have been full to call the machine the limit.
const SPAN: Duration = Duration::from_secs(2);

/// Frames in the measurement at most; those of the longest queue at 10 GbE in 2 s.
const FRAMES_MAX: usize = 1024;

/// The machine's own speed, as far as it is the limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Drain {
    /// Frames that wait or are being decoded and written.
    waiting: usize,
    /// Since when there was always one.
    busy_since: Option<Instant>,
    /// When frames were finished, and their bytes, since then; the first one only marks the time.
    finished: VecDeque<(Instant, u32)>,
    /// What was measured last while the machine was the limit, and when.
    known: Option<(Instant, u32)>,
}

/// A measurement counts for so long after the machine was the limit: it may only wait for what it lacks.
const KNOWN_FOR: Duration = Duration::from_secs(30);

impl Drain {
    /// A whole frame waits.
    pub(super) fn push(&mut self, now: Instant) {
        self.waiting += 1;
        if self.busy_since.is_none() {
            self.busy_since = Some(now);
            self.finished.clear();
            self.finished.push_back((now, 0));
        }
    }

    /// A frame of `len` bytes is written.
    pub(super) fn finish(&mut self, now: Instant, len: u32) {
        self.waiting = self.waiting.saturating_sub(1);
        self.finished.push_back((now, len));
        // One is kept that is older than the span, so that the measurement covers it.
        while self.finished.len() > FRAMES_MAX
            || (self.finished.get(1)).is_some_and(|(at, _)| *at + SPAN <= now)
        {
            self.finished.pop_front();
        }
        if let Some(rate) = self.limit(now) {
            self.known = Some((now, rate));
        }
        if self.waiting == 0 {
            self.busy_since = None;
        }
    }

    /// A frame went away without being written.
    pub(super) fn forget(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.busy_since = None;
        }
    }

    /// What the machine can take, in kB/s of frame bytes, as far as that is known to be less than `rate`, which comes. A
    /// slow machine whose queue is empty for a moment is still slow, and must not be served as a fast one.
    pub(super) fn capacity(&self, now: Instant, rate: u32) -> Option<u32> {
        let known = self.known.filter(|(at, _)| now < *at + KNOWN_FOR);
        let known = known.map(|(_, known)| known).filter(|known| *known < rate);
        self.limit(now).or(known)
    }

    /// Frame bytes in kB/s; `None`: the machine is not the limit now.
    pub(super) fn limit(&self, now: Instant) -> Option<u32> {
        let since = self.busy_since?;
        if now < since + SPAN {
            return None;
        }
        let (first, _) = self.finished.front()?;
        let (last, _) = self.finished.back()?;
        let bytes: u64 = self
            .finished
            .iter()
            .skip(1)
            .map(|(_, len)| u64::from(*len))
            .sum();
        // A disk that has written nothing for longer than it ever took is slower than it was.
        let span = last
            .max(&(now - SPAN))
            .saturating_duration_since(*first)
            .max(SPAN / 2);
        let rate = u128::from(bytes) * 1_000_000 / span.as_nanos().max(1);
        Some(u32::try_from(rate).unwrap_or(u32::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn a_queue_that_is_never_empty_shows_the_speed_of_the_disk() {
        let start = Instant::now();
        let mut drain = Drain::default();
        let mut now = start;
        for _ in 0..3 {
            drain.push(now);
        }
        assert_eq!(drain.limit(now), None);
        // 4 MB each 0.4 s: 10 MB/s.
        for step in 1..20 {
            now += Duration::from_millis(400);
            drain.push(now);
            drain.finish(now, 4_000_000);
            match step {
                ..5 => assert_eq!(drain.limit(now), None),
                _ => assert_eq!(drain.limit(now), Some(10_000)),
            }
        }
        for _ in 0..3 {
            drain.finish(now, 4_000_000);
        }
        assert_eq!(drain.limit(now), None);
        // It is still known for a while what the disk can take.
        assert!(
            drain
                .capacity(now, 100_000)
                .is_some_and(|known| known >= 10_000)
        );
        assert_eq!(drain.capacity(now, 5_000), None);
        assert_eq!(drain.capacity(now + KNOWN_FOR, 100_000), None);
        drain.push(now);
        now += Duration::from_secs(4);
        assert_eq!(drain.limit(now), Some(1));
        drain.forget();
        assert_eq!(drain.limit(now), None);
    }
}
