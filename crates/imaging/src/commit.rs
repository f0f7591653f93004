//! What makes a disk or a partition bootable is written last.

use std::ops::Range;

/// Bytes at the front of a target that are held back: room for a boot sector, a partition table and
/// the code behind them.
pub const HEAD_LEN: u64 = 1 << 20;

/// The front of an image, kept in memory until the image is known to be good; zeroes take its place
/// on the target until then. Extents may come in any order; where they overlap, the later one counts.
/// Takes 1 MiB and 128 KiB at most.
#[derive(Debug, Default)]
pub struct HeldHead {
    /// What is held, as far as anything is.
    bytes: Vec<u8>,
    /// A bit for each byte: whether it is held.
    held: Vec<u64>,
}

/// A boot sector, however long sectors are: written alone, and last.
const FIRST_LEN: usize = 4096;

impl HeldHead {
    /// Splits an extent: what belongs to the head is kept, and its length in bytes answered.
    pub fn keep(&mut self, offset: u64, data: &[u8]) -> usize {
        let room = usize::try_from(HEAD_LEN.saturating_sub(offset)).unwrap_or(0);
        let kept = &data[..room.min(data.len())];
        // Beyond the head nothing is kept.
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if !kept.is_empty() {
            let end = start + kept.len();
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
                self.held.resize(end.div_ceil(64), 0);
            }
            self.bytes[start..end].copy_from_slice(kept);
            for (word, bits) in words(start..end) {
                self.held[word] |= bits;
            }
        }
        kept.len()
    }

    /// The pieces in the order in which to write them: the very first bytes last.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut end = self.bytes.len();
        std::iter::from_fn(move || {
            let range = self.run_before(end)?;
            end = range.start;
            Some((range.start as u64, &self.bytes[range]))
        })
    }

    /// The pieces in two groups, for a sync between them: what the very first bytes need is on the medium
    /// before they are. Either may be empty.
    #[must_use]
    pub fn groups(&self) -> [Vec<(u64, &[u8])>; 2] {
        let (rest, first) = self.pieces().partition(|(at, _)| *at >= FIRST_LEN as u64);
        [rest, first]
    }

    /// The last stretch of held bytes before `end`; it does not cross the end of the first piece.
    fn run_before(&self, end: usize) -> Option<Range<usize>> {
        let last = last_before(&self.held, end, 0)?;
        let least = if last >= FIRST_LEN { FIRST_LEN } else { 0 };
        let gap = last_before(&self.held, last, u64::MAX);
        Some(gap.map_or(0, |gap| gap + 1).max(least)..last + 1)
    }
}

/// The words of a bitmap that a range of bits lies in, and its bits in each of them.
fn words(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let Range { start, end } = range;
    (start / 64..end.div_ceil(64)).map(move |word| {
        let first = start.saturating_sub(word * 64);
        let len = (end - word * 64).min(64) - first;
        (word, u64::MAX >> (64 - len) << first)
    })
}

/// The last bit before `end` that differs from those of `background`.
fn last_before(bits: &[u64], end: usize, background: u64) -> Option<usize> {
    let last = end.checked_sub(1)?;
    let (word, place) = (last / 64, last % 64);
    let differing = |word: usize| bits[word] ^ background;
    let nearest = differing(word) & (u64::MAX >> (63 - place));
    let others = (0..word).rev().map(|word| (word, differing(word)));
    let (word, found) = std::iter::once((word, nearest))
        .chain(others)
        .find(|(_, found)| *found != 0)?;
    Some(word * 64 + 63 - found.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pieces(head: &HeldHead) -> Vec<(u64, Vec<u8>)> {
        let owned = |(at, piece): (u64, &[u8])| (at, piece.to_vec());
        head.pieces().map(owned).collect()
    }

    #[test]
    fn only_the_head_is_kept_and_comes_back_with_its_beginning_last() {
        let mut head = HeldHead::default();
        assert_eq!(pieces(&head), []);
        assert_eq!(head.keep(0, &[1; 512]), 512);
        assert_eq!(head.keep(HEAD_LEN - 2, &[2; 512]), 2);
        assert_eq!(head.keep(HEAD_LEN, &[3; 512]), 0);
        assert_eq!(head.keep(u64::MAX, &[3; 1]), 0);
        assert_eq!(head.keep(9, &[]), 0);
        let expected = [(HEAD_LEN - 2, vec![2; 2]), (0, vec![1; 512])];
        assert_eq!(pieces(&head), expected);
    }

    #[test]
    fn the_first_piece_is_written_alone() {
        let mut head = HeldHead::default();
        assert_eq!(head.keep(512, &[1; 8192]), 8192);
        let (first, rest) = (FIRST_LEN - 512, 8192 + 512 - FIRST_LEN);
        let expected = [(FIRST_LEN as u64, vec![1; rest]), (512, vec![1; first])];
        assert_eq!(pieces(&head), expected);
    }

    #[test]
    fn what_the_first_bytes_need_is_in_another_group() {
        let mut head = HeldHead::default();
        assert_eq!(head.groups(), [vec![], vec![]]);
        let len = 2 * FIRST_LEN;
        assert_eq!(head.keep(0, &vec![1; len]), len);
        assert_eq!(head.keep(HEAD_LEN - 1, &[2]), 1);
        let half = vec![1; FIRST_LEN];
        let rest = vec![(HEAD_LEN - 1, &[2][..]), (FIRST_LEN as u64, &half[..])];
        assert_eq!(head.groups(), [rest, vec![(0, &half[..])]]);
    }

    #[test]
    fn extents_may_come_in_any_order() {
        let mut head = HeldHead::default();
        for (offset, byte) in [(1024, 1), (0, 2), (512, 3), (3000, 4), (700, 5)] {
            assert_eq!(head.keep(offset, &[byte; 512]), 512);
        }
        let mut front = vec![2; 512];
        front.extend([3; 188]);
        front.extend([5; 512]);
        front.extend([1; 324]);
        assert_eq!(pieces(&head), [(3000, vec![4; 512]), (0, front)]);
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_back_in_runs(
            extents in proptest::collection::vec((0..700_usize, 0..200_usize, any::<u8>()), 0..20),
            base in prop_oneof![Just(0), Just(FIRST_LEN - 350), Just(40_000)],
        ) {
            let mut head = HeldHead::default();
            let mut expected = BTreeMap::new();
            for (offset, len, byte) in extents {
                let offset = base + offset;
                prop_assert_eq!(head.keep(offset as u64, &vec![byte; len]), len);
                expected.extend((offset..offset + len).map(|at| (at, byte)));
            }
            let mut before = usize::MAX;
            let mut found = BTreeMap::new();
            for (at, piece) in pieces(&head) {
                let start = usize::try_from(at).unwrap();
                let end = start + piece.len();
                // A byte that is not held lies between two runs, or the end of the first piece.
                prop_assert!(end < before || (end == before && end == FIRST_LEN));
                prop_assert!(end <= FIRST_LEN || start >= FIRST_LEN);
                before = start;
                found.extend((start..end).zip(piece));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
