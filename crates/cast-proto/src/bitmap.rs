//! A set of 1024 items, as udpcast sends it.
//!
//! Item `i` is bit `i mod 8` (least significant first) of byte `i / 8`. Used for blocks of a slice
//! (RETRANSMIT) and for client numbers (ready set of REQACK).

/// Number of items.
pub const CAPACITY: u16 = 1024;

/// Bytes of the set on the wire.
pub const WIRE_LEN: usize = 128;

const WORDS: usize = 16;

/// A set of numbers 0 to 1023. 128 bytes, no allocation.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: [u64; WORDS],
}

impl Bitmap {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [0; WORDS] }
    }

    /// The set 0 to `count` - 1 (all 1024 if `count` is more).
    #[must_use]
    pub fn first(count: u16) -> Self {
        let mut set = Self::new();
        for (index, word) in set.words.iter_mut().enumerate() {
            let here = usize::from(count).saturating_sub(index * 64);
            *word = if here >= 64 {
                u64::MAX
            } else {
                (1 << here) - 1
            };
        }
        set
    }

    /// The set in bytes of the wire; absent bytes are empty, bytes behind the 128th are not looked at.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut padded = [0; WIRE_LEN];
        for (to, from) in padded.iter_mut().zip(bytes) {
            *to = *from;
        }
        let mut set = Self::new();
        for (word, chunk) in set.words.iter_mut().zip(padded.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        set
    }

    /// The bytes of the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; WIRE_LEN] {
        let mut bytes = [0; WIRE_LEN];
        for (word, chunk) in self.words.iter().zip(bytes.as_chunks_mut::<8>().0) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    /// Whether `item` is in the set; never for numbers above 1023.
    #[must_use]
    pub fn contains(&self, item: u16) -> bool {
        self.words
            .get(usize::from(item / 64))
            .is_some_and(|word| word >> (item % 64) & 1 == 1)
    }

    /// Adds `item`; says whether it is new. Numbers above 1023 are not taken.
    pub fn insert(&mut self, item: u16) -> bool {
        let Some(word) = self.words.get_mut(usize::from(item / 64)) else {
            return false;
        };
        let bit = 1 << (item % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes `item` out; says whether it was there.
    pub fn remove(&mut self, item: u16) -> bool {
        let Some(word) = self.words.get_mut(usize::from(item / 64)) else {
            return false;
        };
        let bit = 1 << (item % 64);
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    /// Number of items.
    #[must_use]
    pub fn count(&self) -> u16 {
        // 16 words of 64 bits: 1024 at most.
        self.words
            .iter()
            .map(|word| word.count_ones())
            .sum::<u32>()
            .try_into()
            .unwrap_or(CAPACITY)
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words == [0; WORDS]
    }

    /// The lowest item.
    #[must_use]
    pub fn lowest(&self) -> Option<u16> {
        self.iter().next()
    }

    /// The highest item.
    #[must_use]
    pub fn highest(&self) -> Option<u16> {
        (0..CAPACITY / 64)
            .rev()
            .zip(self.words.iter().rev())
            .find_map(|(index, word)| {
                u16::try_from(word.checked_ilog2()?)
                    .ok()
                    .map(|bit| index * 64 + bit)
            })
    }

    /// The lowest number not in the set.
    #[must_use]
    pub fn lowest_absent(&self) -> Option<u16> {
        Self::first(CAPACITY).without(self).lowest()
    }

    /// Items of this set that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut set = *self;
        for (word, theirs) in set.words.iter_mut().zip(&other.words) {
            *word &= !theirs;
        }
        set
    }

    /// Items of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut set = *self;
        for (word, theirs) in set.words.iter_mut().zip(&other.words) {
            *word |= theirs;
        }
        set
    }

    /// Items that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut set = *self;
        for (word, theirs) in set.words.iter_mut().zip(&other.words) {
            *word &= theirs;
        }
        set
    }

    /// All items, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..CAPACITY / 64)
            .zip(self.words)
            .flat_map(|(index, word)| {
                let mut left = word;
                std::iter::from_fn(move || {
                    let bit = u16::try_from(left.trailing_zeros())
                        .ok()
                        .filter(|bit| *bit < 64)?;
                    left &= left - 1;
                    Some(index * 64 + bit)
                })
            })
    }
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn least_significant_bit_comes_first() {
        let mut set = Bitmap::new();
        for item in [0, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] {
            assert!(set.insert(item));
        }
        assert_eq!(set.to_bytes()[..3], [0xdd, 0xff, 0]);
        assert_eq!(Bitmap::from_bytes(&[0xdd, 0xff]), set);
    }

    #[test]
    fn numbers_out_of_range_are_never_in_the_set() {
        let mut set = Bitmap::first(u16::MAX);
        assert_eq!(set.count(), 1024);
        assert!(!set.insert(1024) && !set.contains(1024) && !set.remove(u16::MAX));
        assert_eq!(set.lowest_absent(), None);
        assert_eq!(set.highest(), Some(1023));
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(a in prop::collection::btree_set(0u16..1024, 0..80), b in prop::collection::btree_set(0u16..1024, 0..80), n in 0u16..1100) {
            let make = |items: &BTreeSet<u16>| { let mut set = Bitmap::new(); for i in items { set.insert(*i); } set };
            let (x, y) = (make(&a), make(&b));
            prop_assert_eq!(x.iter().collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(x.count() as usize, a.len());
            prop_assert_eq!(x.lowest(), a.first().copied());
            prop_assert_eq!(x.highest(), a.last().copied());
            prop_assert_eq!(x.contains(n), a.contains(&n));
            prop_assert_eq!(x.without(&y), make(&(&a - &b)));
            prop_assert_eq!(x.union(&y), make(&(&a | &b)));
            prop_assert_eq!(x.lowest_absent(), (0..1024).find(|i| !a.contains(i)));
            prop_assert_eq!(Bitmap::from_bytes(&x.to_bytes()), x);
            prop_assert_eq!(Bitmap::first(n), make(&(0..n.min(1024)).collect()));
        }
    }
}
