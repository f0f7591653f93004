//! What makes a disk or a partition bootable is written last.

use image::SinkError;

/// Bytes at the front of a target that are held back: room for a boot sector, a partition table and
/// the code behind them.
pub const HEAD_LEN: u64 = 1 << 20;

/// The front of an image, kept in memory until the image is known to be good; zeroes take its place
/// on the target until then. At most 1 MiB.
#[derive(Debug, Default)]
pub struct HeldHead {
    pieces: Vec<(u64, Vec<u8>)>,
}

impl HeldHead {
    /// Splits an extent: what belongs to the head is kept, and its length in bytes answered.
    ///
    /// # Errors
    /// It begins before the end of one that came earlier, against [`Sink::extent`](image::Sink::extent):
    /// written in reverse, the wrong one would win.
    pub fn keep(&mut self, offset: u64, data: &[u8]) -> Result<usize, SinkError> {
        let end = self
            .pieces
            .last()
            .map_or(0, |(at, kept)| at + kept.len() as u64);
        if offset < end {
            let text = format!(
                "data for byte {offset} after byte {end}, out of order by a programming error"
            );
            return Err(text.into());
        }
        let room = usize::try_from(HEAD_LEN.saturating_sub(offset)).unwrap_or(0);
        let kept = &data[..room.min(data.len())];
        if !kept.is_empty() {
            self.pieces.push((offset, kept.to_vec()));
        }
        Ok(kept.len())
    }

    /// The pieces in the order in which to write them: the very first bytes last.
    pub fn into_pieces(self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.pieces.into_iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_is_kept_and_comes_back_with_its_beginning_last() {
        let mut head = HeldHead::default();
        assert_eq!(head.keep(0, &[1; 512]).unwrap(), 512);
        assert_eq!(head.keep(HEAD_LEN - 2, &[2; 512]).unwrap(), 2);
        assert_eq!(head.keep(HEAD_LEN, &[3; 512]).unwrap(), 0);
        assert_eq!(head.keep(u64::MAX, &[3; 1]).unwrap(), 0);
        let pieces: Vec<_> = head.into_pieces().collect();
        assert_eq!(pieces, [(HEAD_LEN - 2, vec![2; 2]), (0, vec![1; 512])]);
    }

    #[test]
    fn what_overlaps_or_goes_back_is_refused() {
        let mut head = HeldHead::default();
        assert_eq!(head.keep(512, &[1; 512]).unwrap(), 512);
        for offset in [0, 512, 1023] {
            let text = head.keep(offset, &[2; 512]).unwrap_err().to_string();
            assert!(text.contains("out of order"), "{text}");
        }
        assert_eq!(head.keep(1024, &[2; 512]).unwrap(), 512);
        let pieces: Vec<_> = head.into_pieces().collect();
        assert_eq!(pieces, [(1024, vec![2; 512]), (512, vec![1; 512])]);
    }
}
