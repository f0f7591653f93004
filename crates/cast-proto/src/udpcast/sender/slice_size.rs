//! How many blocks the next slice gets.

use crate::bitmap::Bitmap;

/// Never shrink below this.
const FLOOR: u16 = 32;

/// Full duplex: slices without loss at their end after which a shrunken size grows a step.
const CALM: u16 = 8;

/// Slice size in blocks and the rule by which it changes.
///
/// Half duplex: as udpcast does, a quarter more with each acknowledged slice until one lost blocks
/// had to be repeated, then down to the last block that arrived. Full duplex: udpcast keeps it; we
/// shrink it in the same way when the end of a slice is missing as a whole, the mark of a burst
/// that overran a receive buffer, and let it grow back.
#[derive(Clone, Debug)]
pub(super) struct SliceSize {
    size: u16,
    max: u16,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    Constant,
    HalfDuplex { is_growing: bool },
    FullDuplex { initial: u16, calm: u16 },
}

impl SliceSize {
    pub(super) fn constant(size: u16) -> Self {
        Self {
            size,
            max: size,
            rule: Rule::Constant,
        }
    }

    pub(super) fn half_duplex(size: u16, max: u16) -> Self {
        Self {
            size,
            max,
            rule: Rule::HalfDuplex {
                is_growing: size < max,
            },
        }
    }

    pub(super) fn full_duplex(size: u16) -> Self {
        Self {
            size,
            max: size,
            rule: Rule::FullDuplex {
                initial: size,
                calm: 0,
            },
        }
    }

    pub(super) fn blocks(&self) -> u16 {
        self.size
    }

    /// The size once the slice under way is acknowledged without loss.
    pub(super) fn blocks_to_come(&self) -> u16 {
        match self.rule {
            Rule::HalfDuplex { is_growing: true } => {
                self.size.saturating_add(self.size / 4).min(self.max)
            }
            _ => self.size,
        }
    }

    /// A slice has been acknowledged by all.
    pub(super) fn on_acked(&mut self) {
        let grown = self.blocks_to_come();
        match &mut self.rule {
            Rule::Constant => {}
            Rule::HalfDuplex { is_growing } => {
                self.size = grown;
                *is_growing &= grown < self.max;
            }
            Rule::FullDuplex { initial, calm } => {
                *calm += 1;
                if *calm >= CALM && self.size < *initial {
                    *calm = 0;
                    self.size = self.size.saturating_add(self.size / 4).min(*initial);
                }
            }
        }
    }

    /// Blocks of a slice of `blocks` blocks had to be repeated, and the next round begins.
    pub(super) fn on_repeated(&mut self, blocks: u16, repeated: &Bitmap) {
        let last_good = Bitmap::first(blocks)
            .without(repeated)
            .highest()
            .unwrap_or(0);
        let shrunk = last_good.max(self.size / 2).max(FLOOR).min(self.size);
        match &mut self.rule {
            Rule::Constant => {}
            Rule::HalfDuplex { is_growing } => {
                if last_good > 0 {
                    *is_growing = false;
                    self.size = shrunk;
                }
            }
            Rule::FullDuplex { calm, .. } => {
                let tail = blocks.saturating_sub(last_good + 1);
                if tail >= (blocks / 4).max(2) {
                    *calm = 0;
                    self.size = shrunk;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_duplex_grows_by_a_quarter_up_to_the_maximum() {
        let sizes = |start, max| {
            let mut size = SliceSize::half_duplex(start, max);
            std::iter::from_fn(move || {
                size.on_acked();
                Some(size.blocks())
            })
        };
        let from_16: Vec<u16> = sizes(16, 1024).take(9).collect();
        assert_eq!(from_16, [20, 25, 31, 38, 47, 58, 72, 90, 112]);
        assert_eq!(
            sizes(130, 1024).take(4).collect::<Vec<_>>(),
            [162, 202, 252, 315]
        );
        assert_eq!(sizes(16, 30).take(4).collect::<Vec<_>>(), [20, 25, 30, 30]);
    }

    #[test]
    fn half_duplex_shrinks_to_the_last_good_block_and_stops_growing() {
        let lost = |from, to| Bitmap::first(to).without(&Bitmap::first(from));
        let mut size = SliceSize::half_duplex(130, 1024);
        size.on_repeated(130, &lost(70, 130));
        assert_eq!(size.blocks(), 69);
        size.on_acked();
        assert_eq!(size.blocks(), 69);
        size.on_repeated(69, &lost(10, 69));
        assert_eq!(size.blocks(), 34);
        size.on_repeated(34, &lost(1, 34));
        assert_eq!(
            size.blocks(),
            34,
            "nothing but the first block arrived: no evidence"
        );
        size.on_repeated(34, &lost(3, 34));
        assert_eq!(size.blocks(), 32);
        let mut small = SliceSize::half_duplex(16, 1024);
        small.on_repeated(16, &lost(3, 16));
        assert_eq!(small.blocks(), 16);
    }

    #[test]
    fn full_duplex_shrinks_only_for_a_lost_tail_and_recovers() {
        let mut size = SliceSize::full_duplex(112);
        size.on_repeated(112, &Bitmap::first(60));
        assert_eq!(size.blocks(), 112);
        size.on_repeated(112, &Bitmap::first(112).without(&Bitmap::first(80)));
        assert_eq!(size.blocks(), 79);
        for _ in 0..16 {
            size.on_acked();
        }
        assert_eq!(size.blocks(), 112);
    }
}
