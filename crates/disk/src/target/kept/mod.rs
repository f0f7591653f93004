//! Content that stays: of partitions for which nothing comes, and which the disk had at the same place.
//!
//! The old table is gone from the first write on. So that a second attempt, after one that failed, keeps the
//! same content, what is kept is noted in sector 0. One write puts the note in the place of the old table, and one
//! write puts the new table in the place of the note: at any moment the disk has a table or the note.

use std::ops::Range;

use super::Target;
use super::device::Device;
use crate::table::TablePlan;

/// First octets of a note.
const MAGIC: &[u8; 16] = b"FOS-KEPT-CONTENT";
/// Octets of a note: magic, number of ranges, ranges, CRC-32 of all before it, zeroes. So it never has the
/// signature of a boot sector, which is in its last two octets.
pub(super) const NOTE_LEN: usize = 512;
/// Most ranges in a note.
const RANGES_MAX: usize = 30;
/// Where the ranges begin.
const RANGES: usize = MAGIC.len() + 4;
const CRC: usize = NOTE_LEN - 8;

impl Target {
    /// Of the partitions with these numbers, the places that the disk's table, or the note of an earlier
    /// attempt, has in just the same way. Nothing is kept of a disk whose table is damaged, nor in the first
    /// `head` octets.
    pub(super) fn kept(&self, plan: &TablePlan, numbers: &[u32], head: u64) -> Vec<Range<u64>> {
        let wanted = plan
            .partitions
            .iter()
            .filter(|partition| numbers.contains(&partition.number) && !partition.is_extended)
            .map(|partition| partition.offset..partition.end())
            .filter(|place| place.start >= head);
        let wanted: Vec<_> = wanted.take(RANGES_MAX).collect();
        if wanted.is_empty() {
            return wanted;
        }
        let old: Vec<Range<u64>> = match self.table() {
            Ok(Some(table)) => {
                let partitions = table.partitions.iter();
                let plain = partitions.filter(|partition| !partition.is_extended);
                plain.map(|p| p.offset..p.end()).collect()
            }
            Ok(None) => read_note(&self.device).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        wanted
            .into_iter()
            .filter(|place| old.contains(place))
            .collect()
    }
}

/// The sector that a note is in.
pub(super) fn note_place(device: &Device) -> Range<u64> {
    0..u64::from(device.shape.logical_sector)
}

/// What an attempt that did not come to its end has kept. What cannot be read is no note.
pub(super) fn read_note(device: &Device) -> Option<Vec<Range<u64>>> {
    parse(&device.read(note_place(device).start, NOTE_LEN).ok()?)
}

/// The note about these places, [`RANGES_MAX`] at most; all zero if there are none.
pub(super) fn note(kept: &[Range<u64>]) -> [u8; NOTE_LEN] {
    let mut note = [0; NOTE_LEN];
    let count = u32::try_from(kept.len()).unwrap_or(u32::MAX);
    if count == 0 || kept.len() > RANGES_MAX {
        return note;
    }
    note[..MAGIC.len()].copy_from_slice(MAGIC);
    note[MAGIC.len()..RANGES].copy_from_slice(&count.to_le_bytes());
    for (field, range) in note[RANGES..CRC].chunks_exact_mut(16).zip(kept) {
        field[..8].copy_from_slice(&range.start.to_le_bytes());
        field[8..].copy_from_slice(&range.end.to_le_bytes());
    }
    let crc = crc32fast::hash(&note[..CRC]);
    note[CRC..CRC + 4].copy_from_slice(&crc.to_le_bytes());
    note
}

fn parse(note: &[u8]) -> Option<Vec<Range<u64>>> {
    let (sealed, crc) = note.get(..NOTE_LEN)?.split_at(CRC);
    let body = sealed.strip_prefix(MAGIC)?;
    let sealed = u64::from(crc32fast::hash(sealed));
    if sealed.to_le_bytes() != *crc {
        return None;
    }
    let (count, ranges) = body.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let numbers = ranges.as_chunks::<8>().0.as_chunks::<2>().0;
    let ranges = numbers.iter().map(|[start, end]| Range {
        start: u64::from_le_bytes(*start),
        end: u64::from_le_bytes(*end),
    });
    (count <= RANGES_MAX).then(|| ranges.take(count).collect())
}

#[cfg(test)]
mod tests;
