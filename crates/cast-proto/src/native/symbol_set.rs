//! Which symbols of a frame are there.

/// A set of symbol numbers below the capacity that it was made with.
#[derive(Clone, Debug)]
pub(crate) struct SymbolSet {
    words: Box<[u64]>,
    count: u16,
}

impl SymbolSet {
    /// An empty one for numbers below `capacity`, rounded up to a multiple of 64.
    pub(crate) fn new(capacity: u16) -> Self {
        Self {
            words: vec![0; usize::from(capacity).div_ceil(64)].into(),
            count: 0,
        }
    }

    /// Whether it is in the set.
    pub(crate) fn contains(&self, symbol: u16) -> bool {
        let word = self.words.get(usize::from(symbol / 64));
        word.is_some_and(|word| word & (1 << (symbol % 64)) != 0)
    }

    /// Adds one; whether it is new. Numbers beyond the capacity are not taken.
    pub(crate) fn insert(&mut self, symbol: u16) -> bool {
        let Some(word) = self.words.get_mut(usize::from(symbol / 64)) else {
            return false;
        };
        let bit = 1 << (symbol % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u16::from(is_new);
        is_new
    }

    /// Symbols in the set.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set(symbols in prop::collection::vec(0u16..4200, 0..300)) {
            let mut set = SymbolSet::new(4096);
            let mut oracle = BTreeSet::new();
            for symbol in symbols {
                let is_new = symbol < 4096 && oracle.insert(symbol);
                prop_assert_eq!(set.insert(symbol), is_new);
                prop_assert_eq!(set.contains(symbol), symbol < 4096);
                prop_assert_eq!(usize::from(set.count()), oracle.len());
            }
        }
    }
}
