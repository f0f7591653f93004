//! Rate limit: a leaky bucket over the bytes of all datagrams.
//!
//! The accounting is udpcast's (UDP payload + 28 bytes for the IP and UDP headers, no Ethernet
//! framing), in 64-bit arithmetic. The original lets 40 ms or 100000 bytes leave back to back and
//! sleeps in steps of 10 ms; this one keeps bursts to 5 ms or 100000 bytes, so that receive buffers
//! of receivers and switches overflow less, and says to the nanosecond when to go on.

use std::time::{Duration, Instant};

/// IP and UDP headers, counted with each datagram.
pub const HEADER_LEN: u64 = 28;

const BURST_TIME_NANOS: u128 = 5_000_000;
const BURST_MAX: u64 = 100_000;
const BURST_MIN: u64 = 1_500;

/// A rate limit, or none.
#[derive(Clone, Debug)]
pub struct Pacer {
    limit: Option<Bucket>,
    has_waited: bool,
}

#[derive(Clone, Debug)]
struct Bucket {
    /// In bit/s, not 0.
    rate: u64,
    /// Sending stops when the bucket holds so many bytes...
    high: u64,
    /// ...and goes on when it has drained to this, to spare wake-ups.
    low: u64,
    /// Bytes in the bucket at `since`.
    fill: u64,
    since: Instant,
    /// Waiting for the bucket to drain.
    is_closed: bool,
}

impl Pacer {
    /// A limit of `rate` bit/s; `None` and 0 are no limit.
    #[must_use]
    pub fn new(rate: Option<u64>, now: Instant) -> Self {
        let limit = rate
            .filter(|rate| *rate > 0)
            .map(|rate| Bucket::new(rate, now));
        Self {
            limit,
            has_waited: false,
        }
    }

    /// Another limit from now on; `None` and 0 are no limit. What has left still counts.
    pub fn set_rate(&mut self, now: Instant, rate: Option<u64>) {
        let rate = rate.filter(|rate| *rate > 0);
        if rate == self.limit.as_ref().map(|bucket| bucket.rate) {
            return;
        }
        let fill = self.limit.as_mut().map_or(0, |bucket| {
            bucket.drain(now);
            bucket.fill
        });
        self.limit = rate.map(|rate| Bucket {
            fill,
            ..Bucket::new(rate, now)
        });
    }

    /// Whether the limit has held anything back since this was asked last.
    pub fn take_has_waited(&mut self) -> bool {
        std::mem::take(&mut self.has_waited)
    }

    /// When the next datagram may leave; `None`: now.
    pub fn wait_until(&mut self, now: Instant) -> Option<Instant> {
        let bucket = self.limit.as_mut()?;
        bucket.drain(now);
        if bucket.is_closed {
            bucket.is_closed = bucket.fill > bucket.low;
        } else {
            bucket.is_closed = bucket.fill >= bucket.high;
        }
        self.has_waited |= bucket.is_closed;
        bucket
            .is_closed
            .then(|| now + bucket.time_for(bucket.fill - bucket.low))
    }

    /// Accounts for a datagram with `payload_len` bytes of UDP payload that leaves now.
    pub fn sent(&mut self, now: Instant, payload_len: usize) {
        if let Some(bucket) = &mut self.limit {
            bucket.drain(now);
            let len = u64::try_from(payload_len).unwrap_or(u64::MAX);
            bucket.fill = bucket.fill.saturating_add(len.saturating_add(HEADER_LEN));
        }
    }
}

impl Bucket {
    /// An empty one for `rate` bit/s, not 0.
    fn new(rate: u64, now: Instant) -> Self {
        let burst = u128::from(rate) * BURST_TIME_NANOS / 8_000_000_000;
        let high = u64::try_from(burst)
            .unwrap_or(u64::MAX)
            .clamp(BURST_MIN, BURST_MAX);
        Self {
            rate,
            high,
            low: high / 2,
            fill: 0,
            since: now,
            is_closed: false,
        }
    }

    fn drain(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        let drained = elapsed.as_nanos().saturating_mul(u128::from(self.rate)) / 8_000_000_000;
        match u64::try_from(drained) {
            Ok(drained) if drained < self.fill => {
                self.fill -= drained;
                // Only the time of whole bytes is used up; the rest counts next time.
                self.since += self.time_for(drained);
            }
            _ => {
                self.fill = 0;
                self.since = self.since.max(now);
            }
        }
    }

    /// Time in which `bytes` bytes drain, rounded up.
    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * 8_000_000_000).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    /// Sends as fast as allowed for `secs` seconds; returns bit/s by the pacer's accounting and the
    /// longest run without a wait, in bytes.
    fn run(rate: u64, payload: usize, secs: u64) -> (u64, u64) {
        let start = epoch();
        let mut now = start;
        let mut pacer = Pacer::new(Some(rate), now);
        let (mut sent, mut run, mut longest) = (0, 0, 0);
        while now < start + Duration::from_secs(secs) {
            if let Some(at) = pacer.wait_until(now) {
                assert!(at > now);
                now = at;
                run = 0;
            } else {
                pacer.sent(now, payload);
                sent += payload as u64 + HEADER_LEN;
                run += payload as u64 + HEADER_LEN;
                longest = longest.max(run);
            }
        }
        (sent * 8 / secs, longest)
    }

    #[test]
    fn rate_is_kept_within_a_percent() {
        for rate in [10_000, 1_000_000, 82_000_000, 1_000_000_000, 40_000_000_000] {
            let (measured, longest) = run(rate, 1472, if rate < 1_000_000 { 60 } else { 2 });
            let error = measured.abs_diff(rate);
            assert!(error <= rate / 100 + 8 * 3000, "{rate}: {measured}");
            assert!(longest <= BURST_MAX + 1500, "{rate}: {longest}");
        }
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut now = epoch();
        let mut pacer = Pacer::new(Some(8_000_000), now);
        now += Duration::from_secs(100);
        let mut sent = 0;
        while pacer.wait_until(now).is_none() {
            pacer.sent(now, 972);
            sent += 1;
        }
        assert_eq!(sent, 5);
    }

    #[test]
    fn no_limit_never_waits_and_a_clock_that_stands_still_does_no_harm() {
        let now = epoch();
        let mut free = Pacer::new(None, now);
        free.sent(now, usize::MAX);
        assert_eq!(free.wait_until(now), None);
        let mut pacer = Pacer::new(Some(u64::MAX), now);
        for _ in 0..1000 {
            pacer.sent(now, usize::MAX);
        }
        assert!(pacer.wait_until(now).is_some());
        let mut slow = Pacer::new(Some(1), now);
        slow.sent(now, 65_000);
        assert!(
            slow.wait_until(now)
                .is_some_and(|at| at > now + Duration::from_secs(100_000))
        );
    }
}
