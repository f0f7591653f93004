//! Places of a disk that cannot be read.

use std::ops::Range;

use readable::{Count, Size};

/// Byte ranges, joined where they meet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreadables {
    /// Ascending, apart from each other.
    places: Vec<Range<u64>>,
    /// Whether there were more than are kept.
    is_cut: bool,
}

/// A disk with more is not worth a list.
const PLACES_MAX: usize = 4096;

impl Unreadables {
    /// Adds a place.
    pub fn add(&mut self, place: Range<u64>) {
        if place.is_empty() {
            return;
        }
        let mut place = place;
        let from = self.places.partition_point(|other| other.end < place.start);
        let to = self
            .places
            .partition_point(|other| other.start <= place.end);
        for other in self.places.get(from..to).unwrap_or_default() {
            place.start = place.start.min(other.start);
            place.end = place.end.max(other.end);
        }
        if from == to && self.places.len() >= PLACES_MAX {
            self.is_cut = true;
            return;
        }
        self.places.splice(from..to, [place]);
    }

    /// The places, ascending; a great many are cut off.
    #[must_use]
    pub fn places(&self) -> &[Range<u64>] {
        &self.places
    }

    /// Whether there were more than are kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether there is no such place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of all places that are kept.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.places
            .iter()
            .map(|place| place.end - place.start)
            .sum()
    }
}

impl std::fmt::Display for Unreadables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = Count(self.places.len() as u64, "place");
        let more = if self.is_cut { "at least " } else { "" };
        write!(f, "{more}{count} ({})", Size(self.len()))?;
        for (index, place) in self.places.iter().take(SHOWN).enumerate() {
            let before = if index == 0 { ": at byte " } else { ", " };
            write!(f, "{before}{}", place.start)?;
        }
        if self.places.len() > SHOWN {
            f.write_str(", ...")?;
        }
        Ok(())
    }
}

/// Places that people are shown.
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_shown_shortly() {
        let mut found = Unreadables::default();
        for at in 0..7 {
            found.add(at * 10_000..at * 10_000 + 4096);
        }
        assert_eq!(
            found.to_string(),
            "7 places (28.7 kB): at byte 0, 10000, 20000, 30000, 40000, ..."
        );
        let mut many = Unreadables::default();
        for at in 0..5000 {
            many.add(at * 10..at * 10 + 5);
        }
        assert_eq!(many.places().len(), PLACES_MAX);
        assert!(many.is_cut() && !found.is_cut());
        assert!(many.to_string().starts_with("at least 4096 places"));
        // What belongs to a place that is known is not lost.
        many.add(5..10);
        assert_eq!(many.places()[0], 0..15);
    }

    proptest! {
        #[test]
        fn places_are_a_set(adds in prop::collection::vec((0_u64..200, 0_u64..20), 0..50)) {
            let mut model = std::collections::BTreeSet::new();
            let mut found = Unreadables::default();
            for (start, len) in adds {
                model.extend(start..start + len);
                found.add(start..start + len);
            }
            let all: Vec<u64> = found.places().iter().cloned().flatten().collect();
            prop_assert!(all.iter().eq(&model));
            prop_assert!(found.places().windows(2).all(|two| two[0].end < two[1].start));
        }
    }
}
