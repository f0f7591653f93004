//! Choices that a seed repeats. What threads make of them it does not.

/// splitmix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for a part of the test.
    pub(crate) fn branch(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The seed of this run, which is printed: `FOS_CRASH_SEED`, else another one each time.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("FOS_CRASH_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::from(since.subsec_nanos()))
    });
    eprintln!("FOS_CRASH_SEED={seed}");
    seed
}

/// Rounds of a test: `FOS_CRASH_ROUNDS`, else so many.
pub(crate) fn rounds(few: u64) -> u64 {
    let given = std::env::var("FOS_CRASH_ROUNDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(few)
}
