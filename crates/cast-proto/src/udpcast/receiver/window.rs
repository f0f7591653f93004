//! The slices under way and those that wait to be taken, under one bound of memory.

use std::collections::VecDeque;

use super::assembly::{Assembly, Stored};
use crate::udpcast::{MAX_BLOCKS_PER_SLICE, SliceNo, block_count};

/// Slices a sender may have under way at once.
const AHEAD: usize = 2;

/// Blocks those may have, at most.
const RESERVE: u32 = 2 * MAX_BLOCKS_PER_SLICE as u32;

/// Spare buffers kept for coming slices.
const SPARE: usize = 4;

/// Where a slice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Complete.
    Old,
    /// To be received; which of those under way.
    Open(usize),
    /// Further ahead than a sender may be while [`Window::next`] is incomplete.
    Beyond,
}

/// Why a slice cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It would have 0 or more than 1024 blocks.
    Malformed,
    /// The memory is used up.
    NoRoom,
}

/// The receive window.
///
/// Invariant: blocks of `open` and `ready` together are at most `limit`.
pub(super) struct Window {
    block_size: u16,
    limit: u32,
    /// The first slice that is not complete.
    next: SliceNo,
    /// Slices `next` and `next + 1`, if anything is known of them.
    open: [Option<Assembly>; AHEAD],
    ready: VecDeque<Vec<u8>>,
    /// Blocks in `ready`.
    ready_blocks: u32,
    spare: Vec<Vec<u8>>,
}

/// What became complete when [`Window::advance`] was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Advanced {
    pub(super) slices: u64,
    pub(super) bytes: u64,
    pub(super) rebuilt: u64,
}

impl Window {
    pub(super) fn new(block_size: u16, limit: u32) -> Self {
        Self {
            block_size,
            limit,
            next: SliceNo(0),
            open: [None, None],
            ready: VecDeque::new(),
            ready_blocks: 0,
            spare: Vec::new(),
        }
    }

    /// The first slice that is not complete.
    pub(super) fn next(&self) -> SliceNo {
        self.next
    }

    /// Blocks missing in the first incomplete slice; 0 if nothing is known of it.
    pub(super) fn missing(&self) -> u16 {
        self.open
            .first()
            .and_then(Option::as_ref)
            .map_or(0, Assembly::missing)
    }

    /// The slice that is coming, if all before it are complete and nothing is known of the next.
    pub(super) fn only(&self) -> Option<&Assembly> {
        match &self.open {
            [Some(first), None] => Some(first),
            _ => None,
        }
    }

    /// Blocks that wait to be taken.
    pub(super) fn ready_blocks(&self) -> u32 {
        self.ready_blocks
    }

    pub(super) fn block_size(&self) -> u16 {
        self.block_size
    }

    pub(super) fn place(&self, slice: SliceNo) -> Place {
        match slice.0.checked_sub(self.next.0).map(usize::try_from) {
            None => Place::Old,
            Some(Ok(ahead)) if ahead < AHEAD => Place::Open(ahead),
            Some(_) => Place::Beyond,
        }
    }

    /// The slice at a place, if anything is known of it.
    pub(super) fn known(&self, at: usize) -> Option<&Assembly> {
        self.open.get(at)?.as_ref()
    }

    /// The slice at a place, opened with this length if nothing is known of it yet.
    pub(super) fn open(&mut self, at: usize, slice_len: u32) -> Result<&mut Assembly, Closed> {
        let blocks = block_count(slice_len, self.block_size);
        if !(1..=u32::from(MAX_BLOCKS_PER_SLICE)).contains(&blocks) {
            return Err(Closed::Malformed);
        }
        let used = self.ready_blocks + self.open_blocks();
        let Some(place) = self.open.get_mut(at) else {
            return Err(Closed::NoRoom);
        };
        if place.is_none() {
            if used + blocks > self.limit {
                return Err(Closed::NoRoom);
            }
            let buffer = self.spare.pop().unwrap_or_default();
            *place = Some(Assembly::new(buffer, slice_len, self.block_size));
        }
        place.as_mut().ok_or(Closed::NoRoom)
    }

    /// Moves what is complete and in order to the slices that wait to be taken.
    pub(super) fn advance(&mut self) -> Advanced {
        let mut advanced = Advanced::default();
        while self.known(0).is_some_and(Assembly::is_complete) {
            let [first, _] = &mut self.open;
            // What could not be finished would not have been complete. It is never passed over:
            // its place stays, and all its blocks are asked for again.
            let Some((bytes, rebuilt)) = first.take().and_then(Assembly::finish) else {
                break;
            };
            self.shift();
            advanced.slices += 1;
            advanced.bytes += bytes.len() as u64;
            advanced.rebuilt += u64::from(rebuilt);
            self.push_ready(bytes);
        }
        advanced
    }

    /// Moves the first slice on with zeroes for its missing blocks; how many, and its length.
    /// `None` if nothing is known of it.
    pub(super) fn give_up_first(&mut self) -> Option<(u16, u64)> {
        self.known(0)?;
        let (bytes, zeroed) = self.shift()?.finish_with_zeroes();
        let len = bytes.len() as u64;
        self.push_ready(bytes);
        Some((zeroed, len))
    }

    /// Forgets the slices under way; `next` is the first slice from now on.
    pub(super) fn restart(&mut self, next: SliceNo) {
        for place in &mut self.open {
            if let Some(assembly) = place.take() {
                self.spare.push(assembly.into_buffer());
            }
        }
        self.spare.truncate(SPARE);
        self.next = next;
    }

    /// The next slice, in order.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let bytes = self.ready.pop_front()?;
        self.ready_blocks = self.ready_blocks.saturating_sub(self.blocks_of(&bytes));
        Some(bytes)
    }

    /// Keeps memory for a coming slice.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        let largest = usize::from(MAX_BLOCKS_PER_SLICE) * usize::from(self.block_size);
        if self.spare.len() < SPARE && buffer.capacity() <= largest.saturating_mul(2) {
            self.spare.push(buffer);
        }
    }

    /// Whether a sender that is told OK cannot overrun the memory with the two slices it may then
    /// have under way, of the largest size.
    pub(super) fn has_reserve(&self) -> bool {
        self.ready_blocks + RESERVE <= self.limit
    }

    /// The next slice is first; what was first is handed out, if it is still there.
    fn shift(&mut self) -> Option<Assembly> {
        let [first, second] = &mut self.open;
        let assembly = first.take();
        *first = second.take();
        self.next = self.next.next();
        assembly
    }

    fn push_ready(&mut self, bytes: Vec<u8>) {
        self.ready_blocks += self.blocks_of(&bytes);
        self.ready.push_back(bytes);
    }

    fn open_blocks(&self) -> u32 {
        self.open
            .iter()
            .flatten()
            .map(|assembly| u32::from(assembly.blocks()))
            .sum()
    }

    fn blocks_of(&self, bytes: &[u8]) -> u32 {
        block_count(
            u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            self.block_size,
        )
    }
}

impl From<Closed> for Stored {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Malformed => Self::Malformed,
            Closed::NoRoom => Self::NoRoom,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udpcast::BlockNo;

    #[test]
    fn slices_are_handed_out_in_order_whatever_comes_first() {
        let mut window = Window::new(4, 3072);
        assert_eq!(window.place(SliceNo(1)), Place::Open(1));
        assert_eq!(window.place(SliceNo(2)), Place::Beyond);
        assert_eq!(window.place(SliceNo(u32::MAX)), Place::Beyond);
        window.open(1, 4).unwrap().data(BlockNo(0), 4, &[2; 4]);
        assert_eq!(window.advance().slices, 0);
        window.open(0, 4).unwrap().data(BlockNo(0), 4, &[1; 4]);
        assert_eq!(
            window.advance(),
            Advanced {
                slices: 2,
                bytes: 8,
                rebuilt: 0
            }
        );
        assert_eq!(window.place(SliceNo(1)), Place::Old);
        assert_eq!(window.take(), Some(vec![1; 4]));
        assert_eq!(window.take(), Some(vec![2; 4]));
        assert_eq!(window.take(), None);
        assert_eq!(window.ready_blocks(), 0);
    }

    #[test]
    fn memory_is_bounded_whatever_the_sender_does() {
        let mut window = Window::new(4, 3072);
        assert!(matches!(window.open(0, 0), Err(Closed::Malformed)));
        assert!(matches!(window.open(0, 4097), Err(Closed::Malformed)));
        assert!(matches!(window.open(0, u32::MAX), Err(Closed::Malformed)));
        for _ in 0..3 {
            assert!(window.has_reserve() == (window.ready_blocks() <= 1024));
            for block in 0..1024 {
                window
                    .open(0, 4096)
                    .unwrap()
                    .data(BlockNo(block), 4096, &[0; 4]);
            }
            window.advance();
        }
        assert!(matches!(window.open(0, 4), Err(Closed::NoRoom)));
        assert!(window.take().is_some());
        assert!(window.open(0, 4).is_ok());
    }
}
