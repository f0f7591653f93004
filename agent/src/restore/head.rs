//! What makes a disk or a partition bootable is written last.

/// Bytes at the front of a target that are held back: room for a boot sector, a partition table and
/// the code behind them.
pub(super) const HEAD_LEN: u64 = 1 << 20;

/// The front of an image, kept in memory until the image is known to be good; zeroes take its place
/// on the target until then. At most 1 MiB.
#[derive(Debug, Default)]
pub(super) struct HeldHead {
    pieces: Vec<(u64, Vec<u8>)>,
}

impl HeldHead {
    /// Splits an extent: what belongs to the head is kept, and its length in bytes answered.
    pub(super) fn keep(&mut self, offset: u64, data: &[u8]) -> usize {
        let room = usize::try_from(HEAD_LEN.saturating_sub(offset)).unwrap_or(0);
        let kept = &data[..room.min(data.len())];
        if !kept.is_empty() {
            self.pieces.push((offset, kept.to_vec()));
        }
        kept.len()
    }

    /// The pieces in the order in which to write them: the very first bytes last.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.pieces.into_iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_is_kept_and_comes_back_with_its_beginning_last() {
        let mut head = HeldHead::default();
        assert_eq!(head.keep(0, &[1; 512]), 512);
        assert_eq!(head.keep(HEAD_LEN - 2, &[2; 512]), 2);
        assert_eq!(head.keep(HEAD_LEN, &[3; 512]), 0);
        assert_eq!(head.keep(u64::MAX, &[3; 1]), 0);
        let pieces: Vec<_> = head.into_pieces().collect();
        assert_eq!(pieces, [(HEAD_LEN - 2, vec![2; 2]), (0, vec![1; 512])]);
    }
}
