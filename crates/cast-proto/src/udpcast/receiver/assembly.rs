//! One slice being put together from DATA and FEC.

use crate::bitmap::Bitmap;
use crate::udpcast::fec::{self, MAX_STRIPE_BLOCKS, MAX_STRIPES, Repair};
use crate::udpcast::{BlockNo, block_count, block_len};

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It was missing.
    New,
    /// It was there, or is no longer of use.
    Duplicate,
    /// It belongs to a slice of another length or of other stripes.
    Inconsistent,
    /// Its number or its length cannot be.
    Malformed,
    /// No memory is left for its slice.
    NoRoom,
}

/// A slice of known length, its blocks arriving in any order.
///
/// Invariant: `missing` is the number of blocks not in `received`, and so per stripe in `repairs`.
pub(super) struct Assembly {
    slice_len: u32,
    blocks: u16,
    block_size: u16,
    buffer: Vec<u8>,
    received: Bitmap,
    missing: u16,
    repairs: Option<Repairs>,
}

/// Repair blocks kept, at most as many in a stripe as it lacks data blocks.
struct Repairs {
    stripes: u16,
    by_stripe: Vec<Stripe>,
    /// Stripes that lack more blocks than they have repair blocks.
    unmet: u16,
}

#[derive(Default)]
struct Stripe {
    missing: u16,
    kept: Vec<Repair>,
}

impl Assembly {
    /// An empty slice of `slice_len` bytes, not 0, of at most 1024 blocks; `buffer` is memory to use.
    pub(super) fn new(mut buffer: Vec<u8>, slice_len: u32, block_size: u16) -> Self {
        let blocks = u16::try_from(block_count(slice_len, block_size)).unwrap_or(u16::MAX);
        // What an earlier slice left in the memory stays there: a slice is handed out only once
        // every byte has been written.
        buffer.resize(usize::try_from(slice_len).unwrap_or(usize::MAX), 0);
        Self {
            slice_len,
            blocks,
            block_size,
            buffer,
            received: Bitmap::new(),
            missing: blocks,
            repairs: None,
        }
    }

    pub(super) fn slice_len(&self) -> u32 {
        self.slice_len
    }

    pub(super) fn blocks(&self) -> u16 {
        self.blocks
    }

    pub(super) fn missing(&self) -> u16 {
        self.missing
    }

    /// Blocks behind the last one that has come.
    pub(super) fn to_come(&self) -> u16 {
        let behind = self.received.highest().map_or(0, |block| block + 1);
        self.blocks.saturating_sub(behind)
    }

    /// What need not be sent any more: the blocks received, and as many missing ones as the repair
    /// blocks kept make up for. Any block or repair block of what is left brings it one further.
    pub(super) fn settled(&self) -> Bitmap {
        let mut settled = self.received;
        let Some(repairs) = &self.repairs else {
            return settled;
        };
        let mut kept: Vec<usize> = repairs.by_stripe.iter().map(|s| s.kept.len()).collect();
        for block in Bitmap::first(self.blocks).without(&self.received).iter() {
            if let Some(kept) = kept.get_mut(usize::from(block % repairs.stripes))
                && *kept > 0
            {
                *kept -= 1;
                settled.insert(block);
            }
        }
        settled
    }

    /// Every block is there or can be rebuilt.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
            || self
                .repairs
                .as_ref()
                .is_some_and(|repairs| repairs.unmet == 0)
    }

    /// Stores a data block. A longer payload is cut, as old senders pad the last block.
    pub(super) fn data(&mut self, block: BlockNo, slice_len: u32, payload: &[u8]) -> Stored {
        if slice_len != self.slice_len {
            return Stored::Inconsistent;
        }
        let len = usize::from(block_len(slice_len, self.block_size, block));
        let from = usize::from(block.0) * usize::from(self.block_size);
        let to = self.buffer.get_mut(from..from.saturating_add(len));
        let (Some(to), Some(payload)) = (to, payload.get(..len)) else {
            return Stored::Malformed;
        };
        if len == 0 {
            return Stored::Malformed;
        }
        if !self.received.insert(block.0) {
            return Stored::Duplicate;
        }
        to.copy_from_slice(payload);
        self.missing -= 1;
        if let Some(repairs) = &mut self.repairs {
            repairs.data_arrived(block);
        }
        Stored::New
    }

    /// Keeps a repair block if it is of use.
    pub(super) fn repair(
        &mut self,
        fec_block: BlockNo,
        stripes: u16,
        slice_len: u32,
        payload: &[u8],
    ) -> Stored {
        if slice_len != self.slice_len {
            return Stored::Inconsistent;
        }
        if stripes == 0
            || stripes > MAX_STRIPES
            || self.blocks.div_ceil(stripes) > MAX_STRIPE_BLOCKS
        {
            return Stored::Malformed;
        }
        let (row, stripe) = (fec_block.0 / stripes, fec_block.0 % stripes);
        let payload = payload.get(..usize::from(self.block_size));
        let Some(payload) = payload.filter(|_| row < MAX_STRIPE_BLOCKS) else {
            return Stored::Malformed;
        };
        let (blocks, received) = (self.blocks, &self.received);
        let repairs = self
            .repairs
            .get_or_insert_with(|| Repairs::new(stripes, blocks, received));
        if repairs.stripes != stripes {
            return Stored::Inconsistent;
        }
        repairs.keep(stripe, row, payload)
    }

    /// The bytes of a complete slice, and how many blocks were rebuilt. `None` if it is not
    /// complete.
    pub(super) fn finish(mut self) -> Option<(Vec<u8>, u16)> {
        let mut rebuilt = 0;
        if let Some(repairs) = self.repairs.as_mut().filter(|_| self.missing > 0) {
            let stripes = repairs.stripes;
            for (stripe, part) in (0..).zip(&mut repairs.by_stripe) {
                let is_present = |block: BlockNo| self.received.contains(block.0);
                let (buffer, kept) = (&mut self.buffer, &mut part.kept);
                rebuilt += fec::decode(buffer, self.block_size, stripes, stripe, is_present, kept);
            }
        }
        (rebuilt == self.missing).then_some((self.buffer, rebuilt))
    }

    /// The bytes there are, zeroes in place of the missing blocks, and how many those are.
    pub(super) fn finish_with_zeroes(mut self) -> (Vec<u8>, u16) {
        let block_size = usize::from(self.block_size);
        for (block, bytes) in (0..).zip(self.buffer.chunks_mut(block_size)) {
            if !self.received.contains(block) {
                bytes.fill(0);
            }
        }
        (self.buffer, self.missing)
    }

    /// The memory, for another slice.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

impl Repairs {
    fn new(stripes: u16, blocks: u16, received: &Bitmap) -> Self {
        let mut by_stripe: Vec<Stripe> = (0..stripes).map(|_| Stripe::default()).collect();
        for block in Bitmap::first(blocks).without(received).iter() {
            if let Some(stripe) = by_stripe.get_mut(usize::from(block % stripes)) {
                stripe.missing += 1;
            }
        }
        let unmet = by_stripe.iter().filter(|stripe| stripe.missing > 0).count();
        Self {
            stripes,
            by_stripe,
            unmet: u16::try_from(unmet).unwrap_or(u16::MAX),
        }
    }

    fn keep(&mut self, stripe: u16, row: u16, payload: &[u8]) -> Stored {
        let Some(part) = self.by_stripe.get_mut(usize::from(stripe)) else {
            return Stored::Malformed;
        };
        let is_known = part.kept.iter().any(|repair| repair.row == row);
        if is_known || part.kept.len() >= usize::from(part.missing) {
            return Stored::Duplicate;
        }
        part.kept.push(Repair {
            row,
            payload: payload.to_vec(),
        });
        if part.kept.len() == usize::from(part.missing) {
            self.unmet -= 1;
        }
        Stored::New
    }

    /// One block less is missing: a repair block may have become superfluous.
    fn data_arrived(&mut self, block: BlockNo) {
        let Some(part) = self.by_stripe.get_mut(usize::from(block.0 % self.stripes)) else {
            return;
        };
        let was_met = part.kept.len() >= usize::from(part.missing);
        part.missing = part.missing.saturating_sub(1);
        part.kept.truncate(part.missing.into());
        if !was_met && part.kept.len() >= usize::from(part.missing) {
            self.unmet -= 1;
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test data is small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u16 = 4;

    fn bytes(len: u32) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + 3) as u8).collect()
    }

    fn block(slice: &[u8], no: u16) -> &[u8] {
        slice.chunks(SIZE.into()).nth(no.into()).unwrap()
    }

    #[test]
    fn padded_last_block_is_cut_and_short_ones_are_refused() {
        let slice = bytes(10);
        let mut assembly = Assembly::new(vec![0xee; 20], 10, SIZE);
        assert_eq!(
            assembly.data(BlockNo(2), 10, &[slice[8]]),
            Stored::Malformed
        );
        assert_eq!(
            assembly.data(BlockNo(3), 10, &[1, 2, 3, 4]),
            Stored::Malformed
        );
        assert_eq!(
            assembly.data(BlockNo(u16::MAX), 10, &[1, 2, 3, 4]),
            Stored::Malformed
        );
        assert_eq!(
            assembly.data(BlockNo(0), 11, &[1, 2, 3, 4]),
            Stored::Inconsistent
        );
        assert_eq!(
            assembly.data(BlockNo(2), 10, &[slice[8], slice[9], 9, 9]),
            Stored::New
        );
        assert_eq!(assembly.data(BlockNo(1), 10, block(&slice, 1)), Stored::New);
        assert_eq!(assembly.data(BlockNo(1), 10, &[9; 4]), Stored::Duplicate);
        assert!(!assembly.is_complete());
        assert_eq!(assembly.data(BlockNo(0), 10, block(&slice, 0)), Stored::New);
        assert_eq!(assembly.finish(), Some((slice, 0)));
    }

    #[test]
    fn missing_blocks_become_zeroes_not_leftovers() {
        let mut assembly = Assembly::new(vec![0xee; 10], 10, SIZE);
        assembly.data(BlockNo(1), 10, &[1; 4]);
        assert_eq!(
            assembly.finish_with_zeroes(),
            (vec![0, 0, 0, 0, 1, 1, 1, 1, 0, 0], 2)
        );
    }

    #[test]
    fn repair_blocks_out_of_range_are_refused() {
        let mut assembly = Assembly::new(Vec::new(), 40, SIZE);
        assert_eq!(
            assembly.repair(BlockNo(0), 0, 40, &[0; 4]),
            Stored::Malformed
        );
        assert_eq!(
            assembly.repair(BlockNo(0), 257, 40, &[0; 4]),
            Stored::Malformed
        );
        assert_eq!(
            assembly.repair(BlockNo(128), 1, 40, &[0; 4]),
            Stored::Malformed
        );
        assert_eq!(
            assembly.repair(BlockNo(0), 1, 40, &[0; 3]),
            Stored::Malformed
        );
        assert_eq!(
            assembly.repair(BlockNo(0), 1, 41, &[0; 4]),
            Stored::Inconsistent
        );
        assert_eq!(assembly.repair(BlockNo(0), 2, 40, &[0; 4]), Stored::New);
        assert_eq!(
            assembly.repair(BlockNo(0), 2, 40, &[0; 4]),
            Stored::Duplicate
        );
        assert_eq!(
            assembly.repair(BlockNo(1), 3, 40, &[0; 4]),
            Stored::Inconsistent
        );
    }

    proptest! {
        #[test]
        fn data_and_repair_in_any_order_give_the_slice_or_say_it_is_incomplete(
            len in 1u32..200, stripes in 1u16..5, redundancy in 1u16..4,
            order in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..150),
        ) {
            let slice = bytes(len);
            let blocks = block_count(len, SIZE) as u16;
            let mut assembly = Assembly::new(vec![0xee; 300], len, SIZE);
            let mut seen = Bitmap::new();
            for (is_data, index) in order {
                let was_complete = assembly.is_complete();
                if is_data {
                    let no = index.index(blocks.into()) as u16;
                    let stored = assembly.data(BlockNo(no), len, block(&slice, no));
                    prop_assert_eq!(stored == Stored::New, seen.insert(no));
                } else {
                    let no = index.index((stripes * redundancy).into()) as u16;
                    let mut payload = Vec::new();
                    fec::encode(&slice, SIZE, stripes, no, &mut payload);
                    assembly.repair(BlockNo(no), stripes, len, &payload);
                }
                prop_assert!(assembly.is_complete() || !was_complete);
            }
            prop_assert_eq!(assembly.missing(), blocks - seen.count());
            let missing = assembly.missing();
            if assembly.is_complete() {
                prop_assert_eq!(assembly.finish(), Some((slice, missing)));
            } else {
                prop_assert_eq!(assembly.finish(), None);
            }
        }
    }
}
