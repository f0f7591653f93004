//! Chance from a seed that is handed in (splitmix64). It spreads timers and is no secret.

/// Numbers that look random.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and without, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        // 32 bits are enough for a timer, and exact.
        let bits = u32::try_from(self.next_u64() >> 32).unwrap_or(0);
        f64::from(bits) / 4_294_967_296.0
    }
}

/// A delay up to `window`, in units of it, that lets the first of `count` speak early and the others mostly stay
/// silent: exponential suppression as in NACK-oriented multicast (7.3).
pub(crate) fn suppression(count: u32, unit: f64) -> f64 {
    let lambda = f64::from(count.max(1)).ln() + 1.0;
    ((unit * lambda.exp_m1()).ln_1p() / lambda).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_many_speak_early() {
        // 7.3: with λ = ln(N) + 1, about e^(λ·d) of N speak within the share d of the window.
        let mut chance = Chance::new(1);
        for count in [1, 100, 10_000] {
            let delays: Vec<f64> = (0..count)
                .map(|_| suppression(count, chance.unit()))
                .collect();
            assert!(delays.iter().all(|delay| (0.0..=1.0).contains(delay)));
            let early = delays.iter().filter(|delay| **delay < 0.2).count();
            assert!(early <= 20, "{early} of {count}");
        }
    }
}
