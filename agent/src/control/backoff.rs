//! Pauses between tries.

use std::time::Duration;

/// Pauses that double up to a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first.min(longest),
            longest,
        }
    }

    /// How long to pause this time.
    pub(crate) fn pause(&mut self) -> Duration {
        let now = self.next;
        self.next = now.saturating_mul(2).min(self.longest);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(15));
        let pauses: Vec<u64> = (0..5).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 15, 15]);
        let mut short = Backoff::new(Duration::from_secs(9), Duration::from_secs(1));
        assert_eq!(short.pause(), Duration::from_secs(1));
    }
}
