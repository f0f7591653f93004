//! The data: blocks as one stream of bytes, a record behind every 64 KiB of it, the tail.

use super::format::{STRUCTURE, TAIL_MAGIC, byte_sum, expect_magic};
use crate::bytes::{u32_at, u64_at};
use crate::error::{BlockChecksum, Digest, ImageError, Part, TotalChecksum};
use crate::geometry::Geometry;
use crate::machine::Context;
use crate::options::Verify;
use crate::place::Placer;

pub(super) struct Data {
    placer: Placer,
    block_size: u64,
    /// Bytes of used blocks that are still to come.
    left: u64,
    is_done: bool,
}

/// Bytes of data under one record.
const COVERED: u64 = 65536;
const RECORD: usize = 16;
/// Bytes of blocks that the original copies at once: it counts records by such copies.
const COPY_BUFFER: u64 = 262_144;

impl Data {
    pub(super) fn new(geometry: &Geometry, placer: Placer) -> Self {
        Self {
            placer,
            block_size: geometry.block_size.into(),
            left: geometry.used_len(),
            is_done: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Bytes that are taken together: 64 KiB and their record, or what is left and the tail.
    pub(super) fn unit(&self) -> usize {
        let behind = if self.left < COVERED {
            TAIL_MAGIC.len() + STRUCTURE
        } else {
            RECORD
        };
        self.covered() + behind
    }

    /// Bytes of data in the unit at hand.
    fn covered(&self) -> usize {
        usize::try_from(self.left.min(COVERED)).unwrap_or(0)
    }

    /// Verifies and hands out a unit. `sum` is that of all bytes before it, `volumes` how many there
    /// were.
    pub(super) fn take(
        &mut self,
        unit: &[u8],
        sum: &mut u64,
        volumes: u32,
        context: &mut Context<'_>,
    ) -> Result<(), ImageError> {
        let (data, behind) = unit.split_at(self.covered().min(unit.len()));
        let offset = context.offset + data.len() as u64;
        if self.left < COVERED {
            let (magic, tail) = behind.split_at(TAIL_MAGIC.len().min(behind.len()));
            expect_magic(magic, TAIL_MAGIC, offset)?;
            let computed = sum
                .wrapping_add(byte_sum(data))
                .wrapping_add(byte_sum(magic));
            check_tail(
                tail,
                offset + magic.len() as u64,
                computed,
                volumes,
                context,
            )?;
            self.is_done = true;
        } else {
            self.check_record(data, behind, offset, context)?;
            *sum = sum.wrapping_add(byte_sum(unit));
        }
        self.placer.emit(data, context)?;
        self.left -= data.len() as u64;
        Ok(())
    }

    /// What is missing when only `found` bytes of the unit at `offset` are there: part, its offset,
    /// its length, bytes of it that are there.
    pub(super) fn locate_end(&self, offset: u64, found: u64) -> (Part, u64, u64, u64) {
        let covered = self.covered() as u64;
        let behind = self.unit() as u64 - covered;
        if found < covered {
            // The block may have begun in the unit before.
            let before = self.placer.taken_of_block();
            let place = (before + found) % self.block_size;
            let start = (offset + found).saturating_sub(place);
            let part = Part::Block(self.placer.block_at(found));
            (part, start, self.block_size, place)
        } else if self.left < COVERED {
            (Part::Tail, offset + covered, behind, found - covered)
        } else {
            let part = Part::Checksum(self.placer.block_at(covered - 1));
            (part, offset + covered, behind, found - covered)
        }
    }

    fn check_record(
        &self,
        data: &[u8],
        record: &[u8],
        offset: u64,
        context: &mut Context<'_>,
    ) -> Result<(), ImageError> {
        // The record names the first block of the copy that the last byte belongs to.
        let (run, last_block) = self.placer.run_and_block_at(COVERED - 1);
        let copy_blocks = (COPY_BUFFER / self.block_size).max(1);
        let block = run + (last_block - run) / copy_blocks * copy_blocks;
        let computed = Digest::Record {
            is_marked: true,
            crc: crc32fast::hash(data),
            block,
        };
        let stored = Digest::Record {
            is_marked: record.starts_with(b"CHK"),
            crc: u32_at(record, 4),
            block: u64_at(record, 8),
        };
        context.books.tally.checksums += 1;
        if stored == computed {
            return Ok(());
        }
        let error = BlockChecksum {
            first_block: self.placer.block_at(0),
            last_block,
            block_count: (self.placer.taken_of_block() + COVERED).div_ceil(self.block_size),
            offset,
            stored,
            computed,
            is_handed_on: false,
        };
        match context.options.verify {
            Verify::Enforce => Err(ImageError::BlockChecksum(error)),
            Verify::Warn => {
                context.books.warnings.checksum(error);
                Ok(())
            }
        }
    }
}

/// Compares the tail with the sum and the number of volumes.
fn check_tail(
    tail: &[u8],
    offset: u64,
    computed: u64,
    volumes: u32,
    context: &mut Context<'_>,
) -> Result<(), ImageError> {
    let stored = u64_at(tail, 0);
    context.books.tally.checksums += 1;
    if stored != computed {
        let error = TotalChecksum {
            offset,
            stored,
            computed,
        };
        match context.options.verify {
            Verify::Enforce => return Err(ImageError::TotalChecksum(error)),
            Verify::Warn => context.books.warnings.total(error),
        }
    }
    let last = u32_at(tail, 8);
    if u64::from(last) + 1 != u64::from(volumes) {
        return Err(ImageError::MissingVolume {
            last,
            read: volumes,
        });
    }
    Ok(())
}
