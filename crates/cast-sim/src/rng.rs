//! Chance that can be repeated.

/// So many seeds from 0 on; the one alone that FOS_SIM_SEED names, or as many as FOS_SIM_SEEDS says.
///
/// # Panics
/// If one of them is no number.
#[must_use]
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| {
        let value = std::env::var(name).ok()?;
        let number: u64 = value
            .parse()
            .expect("a number in FOS_SIM_SEED or FOS_SIM_SEEDS");
        Some(number)
    };
    match number("FOS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FOS_SIM_SEEDS").unwrap_or(count),
    }
}

/// Numbers that look random (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// From 0 up to, and without, 1.
    pub fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.next_u64() >> 32).unwrap_or(0);
        f64::from(bits) / 4_294_967_296.0
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let index = usize::try_from(self.below(of.len() as u64));
        of[index.expect("it is less than a usize")]
    }
}
