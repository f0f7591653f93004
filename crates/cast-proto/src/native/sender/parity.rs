//! Repair symbols that are sent in advance (8.2), and the usual need (E of 7.3).

use std::collections::VecDeque;

use crate::native::quantile::quantile;
use crate::native::units::round_u16;

/// Over so many finished chunks.
const REMEMBERED: usize = 32;

/// Nothing in advance before so many are known.
const ENOUGH: usize = 4;

/// What finished chunks teach.
#[derive(Clone, Debug, Default)]
pub(super) struct Parity {
    /// Symbols beyond K that each would have needed.
    beyond: VecDeque<u16>,
    /// The highest need after the first burst of each, 0 if it was covered.
    needs: VecDeque<u16>,
}

impl Parity {
    /// A chunk is finished: `beyond` symbols were sent beyond K, `advance` of them in its instance; `need`: the highest
    /// after the first burst.
    pub(super) fn learn(&mut self, source_count: u16, beyond: u16, advance: u16, need: u16) {
        remember(&mut self.needs, need);
        if need > source_count / 4 {
            return;
        }
        // If it was covered, it falls again.
        let beyond = if need == 0 {
            advance.saturating_sub(1 + advance / 16)
        } else {
            beyond
        };
        remember(&mut self.beyond, beyond);
    }

    /// Symbols to send in advance with a chunk of `source_count`.
    pub(super) fn advance(&self, source_count: u16, cap: u16) -> u16 {
        if self.beyond.len() < ENOUGH {
            return 0;
        }
        let mut values: Vec<u16> = self.beyond.iter().copied().collect();
        let median = quantile(&mut values, 0.5).unwrap_or(0);
        let low = quantile(&mut values, 0.1).unwrap_or(0);
        // Low where needs are bursty.
        let steady = round_u16(1.5 * f64::from(low) + 4.0);
        median.min(steady).min(cap).min(source_count / 4)
    }

    /// E: the usual highest need after a first burst.
    pub(super) fn usual_need(&self) -> u16 {
        let asked = self.needs.iter().copied().filter(|need| *need > 0);
        let mut values: Vec<u16> = asked.collect();
        quantile(&mut values, 0.5).unwrap_or(0).max(1)
    }
}

fn remember(values: &mut VecDeque<u16>, value: u16) {
    if values.len() == REMEMBERED {
        values.pop_front();
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity_in_advance_follows_what_was_needed_and_falls_again() {
        // 8.2
        let mut parity = Parity::default();
        for _ in 0..3 {
            parity.learn(2980, 40, 0, 40);
            assert_eq!(parity.advance(2980, 1000), 0);
        }
        parity.learn(2980, 40, 0, 40);
        assert_eq!(parity.advance(2980, 1000), 40);
        assert_eq!(parity.advance(2980, 10), 10);
        assert_eq!(parity.advance(100, 1000), 25);
        assert_eq!(parity.usual_need(), 40);
        for _ in 0..32 {
            parity.learn(2980, 40, 40, 0);
        }
        assert_eq!(parity.advance(2980, 1000), 37);
        for _ in 0..32 {
            parity.learn(2980, 0, 0, 0);
        }
        assert_eq!(parity.advance(2980, 1000), 0);
    }

    #[test]
    fn needs_that_come_in_bursts_and_great_ones_are_not_sent_for_in_advance() {
        // 8.2
        let mut parity = Parity::default();
        for round in 0..32 {
            let need = if round % 4 == 0 { 0 } else { 200 };
            parity.learn(2980, need, 0, need);
        }
        assert_eq!(parity.advance(2980, 1000), 4);
        let mut parity = Parity::default();
        for _ in 0..32 {
            parity.learn(2980, 1000, 0, 1000);
        }
        assert_eq!(parity.advance(2980, 1000), 0);
    }
}
