//! Pacing: a token bucket of one burst (9.5).

use std::time::{Duration, Instant};

use crate::native::geometry::DATA_ON_CABLE;

/// A bucket holds so much of the rate...
const BURST: Duration = Duration::from_micros(500);

/// ...but at least 16 datagrams, and at most 64 KiB.
const BURST_MIN: u64 = 16 * DATA_ON_CABLE;
const BURST_MAX: u64 = 64 * 1024;

/// Lets datagrams leave at a rate of the cable.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    /// In kB/s, not 0.
    rate: u32,
    /// Tokens, in bytes times 10^6; debts are negative.
    tokens: i128,
    since: Instant,
}

/// kB/s times nanoseconds are bytes times this.
const SCALE: i128 = 1_000_000;

impl Pacer {
    pub(super) fn new(now: Instant, rate: u32) -> Self {
        let mut pacer = Self {
            rate: rate.max(1),
            tokens: 0,
            since: now,
        };
        pacer.tokens = pacer.capacity();
        pacer
    }

    pub(super) fn set_rate(&mut self, now: Instant, rate: u32) {
        self.fill(now);
        self.rate = rate.max(1);
        self.tokens = self.tokens.min(self.capacity());
    }

    /// When the next datagram may leave; `None`: now. A wait is for a whole burst, to spare wake-ups.
    pub(super) fn wait_until(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        if self.tokens > 0 {
            return None;
        }
        let missing = self.capacity() - self.tokens;
        let nanos = missing.div_euclid(i128::from(self.rate)) + 1;
        Some(now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Accounts for a datagram of `len` bytes on the cable.
    pub(super) fn sent(&mut self, len: u64) {
        self.tokens -= i128::from(len) * SCALE;
    }

    fn capacity(&self) -> i128 {
        let burst = u64::from(self.rate) * u64::try_from(BURST.as_micros()).unwrap_or(0) / 1000;
        i128::from(burst.clamp(BURST_MIN, BURST_MAX)) * SCALE
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since).as_nanos();
        let elapsed = i128::try_from(elapsed).unwrap_or(i128::MAX);
        let more = elapsed.saturating_mul(i128::from(self.rate));
        self.tokens = self.tokens.saturating_add(more).min(self.capacity());
        self.since = self.since.max(now);
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
    fn the_rate_is_kept_and_bursts_are_short() {
        // 9.5
        let start = Instant::now();
        for rate in [1_000, 125_000, 1_250_000] {
            let mut now = start;
            let mut pacer = Pacer::new(now, rate);
            let (mut sent, mut run, mut longest) = (0, 0, 0);
            while now < start + Duration::from_secs(2) {
                if let Some(at) = pacer.wait_until(now) {
                    assert!(at > now);
                    now = at;
                    run = 0;
                } else {
                    pacer.sent(DATA_ON_CABLE);
                    sent += DATA_ON_CABLE;
                    run += DATA_ON_CABLE;
                    longest = longest.max(run);
                }
            }
            let expected = u64::from(rate) * 2000;
            assert!(
                sent.abs_diff(expected) <= expected / 200 + 2 * BURST_MAX,
                "{rate}: {sent}"
            );
            assert!(longest <= BURST_MAX + DATA_ON_CABLE, "{rate}: {longest}");
        }
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn idle_time_is_not_saved_up() {
        let now = Instant::now();
        let mut pacer = Pacer::new(now, 1_000);
        let later = now + Duration::from_secs(100);
        let mut sent = 0;
        while pacer.wait_until(later).is_none() {
            pacer.sent(DATA_ON_CABLE);
            sent += 1;
        }
        assert_eq!(sent, 16);
    }
}
