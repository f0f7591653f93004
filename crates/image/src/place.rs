//! Where the bytes of the used blocks go.

use crate::bitmap::{Bitmap, Run};
use crate::error::ImageError;
use crate::machine::Context;

/// Hands out the data of the used blocks as extents, one per run of blocks as far as they are there.
pub(crate) struct Placer {
    bitmap: Bitmap,
    block_size: u64,
    /// First block of the run being written.
    run_start: u64,
    /// What is left of that run, in bytes of the target.
    run_offset: u64,
    run_left: u64,
    /// First block after that run.
    next_block: u64,
}

impl Placer {
    pub(crate) fn new(bitmap: Bitmap, block_size: u32) -> Self {
        Self {
            bitmap,
            block_size: block_size.into(),
            run_start: 0,
            run_offset: 0,
            run_left: 0,
            next_block: 0,
        }
    }

    /// Hands out the next bytes of the used blocks.
    ///
    /// # Panics
    /// There are more bytes than used blocks.
    pub(crate) fn emit(
        &mut self,
        data: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), ImageError> {
        let mut data = data;
        while !data.is_empty() {
            if self.run_left == 0 {
                let run = self
                    .bitmap
                    .next_run(self.next_block)
                    .expect("callers count the used blocks");
                self.enter(run);
            }
            let len = usize::try_from(self.run_left).unwrap_or(usize::MAX);
            let (now, rest) = data.split_at(len.min(data.len()));
            context
                .sink
                .extent(self.run_offset, now)
                .map_err(ImageError::Sink)?;
            let len = now.len() as u64;
            self.run_offset += len;
            self.run_left -= len;
            context.books.tally.extents += 1;
            context.books.tally.output_len += len;
            data = rest;
        }
        Ok(())
    }

    /// The block that holds the byte `ahead` bytes after the next one to be handed out.
    pub(crate) fn block_at(&self, ahead: u64) -> u64 {
        self.run_and_block_at(ahead).1
    }

    /// The first block of the run in which that byte is, and the block that holds it.
    pub(crate) fn run_and_block_at(&self, ahead: u64) -> (u64, u64) {
        let (mut offset, mut left, mut next) = (self.run_offset, self.run_left, self.next_block);
        let mut start = self.run_start;
        let mut ahead = ahead;
        while ahead >= left {
            ahead -= left;
            let Some(run) = self.bitmap.next_run(next) else {
                return (start, next.saturating_sub(1));
            };
            start = run.start;
            offset = run.start * self.block_size;
            left = run.len * self.block_size;
            next = run.start + run.len;
        }
        (start, (offset + ahead) / self.block_size)
    }

    /// Bytes of the next block that have been handed out already.
    pub(crate) fn taken_of_block(&self) -> u64 {
        if self.run_left == 0 {
            0
        } else {
            self.run_offset % self.block_size
        }
    }

    // No overflow: all blocks together fit in 63 bits.
    fn enter(&mut self, run: Run) {
        self.run_start = run.start;
        self.run_offset = run.start * self.block_size;
        self.run_left = run.len * self.block_size;
        self.next_block = run.start + run.len;
    }
}
