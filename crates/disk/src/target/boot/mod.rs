//! The first and the last step: taking the old table away, putting the new one down.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::buffer::AlignedBuffer;
use super::device::Device;
use super::kept::{NOTE_LEN, note, note_place, read_note};
use super::{BootReport, OldTable, TableError, Target, WriteError};
use crate::labels::{self, DiskLabel};
use crate::ntfs::{NTFS_BOOT_LEN_MAX, boot_copies};
use crate::signatures::{ends, label_ranges, outside};
use crate::sys;
use crate::table::{Label, MbrError, PlanError, Table, TablePlan, backup_headers, read_table};

/// Sectors at the front that hold a boot area and a primary GPT: the MBR, the header, 32 sectors of
/// entries (UEFI specification, section 5.3.1: at least 16,384 octets).
const HEAD_SECTORS: u64 = 34;
/// Sectors at the end that hold the backup GPT.
const TAIL_SECTORS: u64 = 33;
/// Zeroes written at once.
const CLEAR_LEN: usize = 1 << 20;
/// How long to wait for somebody who has a partition open for a moment.
const REREAD_PATIENCE: Duration = Duration::from_secs(5);
const REREAD_PAUSE: Duration = Duration::from_millis(100);

impl Target {
    /// Removes what could make the old content boot or appear: boot code, MBR, and both copies of a
    /// GPT wherever the old header says they are. Synced and read back. Then what could make the new
    /// content be taken for something else: the labels of RAID, LVM, file systems and the like at both
    /// ends of the disk and of every partition of the plan ([`label_ranges`](fn@label_ranges)). Comes
    /// before any data, so that nothing new is lost.
    ///
    /// The partitions of the plan with the numbers `unwritten` get nothing. Where the disk has one of them
    /// already, with the same start and size, its content stays; a second attempt finds that noted.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the disk may have lost its old table.
    pub fn make_unbootable(&self, plan: &TablePlan, unwritten: &[u32]) -> Result<(), WriteError> {
        let device = &*self.device;
        check_shape(device, plan)?;
        let head = HEAD_SECTORS * u64::from(device.shape.logical_sector);
        let kept = self.kept(plan, unwritten, head);
        let places = plan.partitions.iter().map(|p| p.offset..p.end());
        let mut spared = kept.clone();
        if !kept.is_empty() {
            spared.push(note_place(device));
        }
        let result = wipe(device, &kept).and_then(|()| clear_labels(device, places, &spared));
        match &result {
            Ok(()) => device.set_unbootable(kept),
            Err(error) => device.spoil(error),
        }
        result
    }

    /// The same for a disk that becomes one image, partition table and all: nothing of it is spared.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the disk may have lost its old table.
    pub fn make_all_unbootable(&self) -> Result<(), WriteError> {
        let device = &*self.device;
        let result = wipe(device, &[]).and_then(|()| clear_labels(device, [], &[]));
        match &result {
            Ok(()) => device.set_unbootable(Vec::new()),
            Err(error) => device.spoil(error),
        }
        result
    }

    /// Zeroes both ends of the target, where the labels of RAID, LVM, file systems and partition tables
    /// are ([`label_ranges`](fn@label_ranges)), because the target becomes one partition or file system. Comes
    /// before any data.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the target may have lost its old content.
    pub fn clear_labels(&self) -> Result<(), WriteError> {
        let device = &*self.device;
        clear_labels(device, [], &[]).inspect_err(|error| device.spoil(error))
    }

    /// Zeroes both ends of places within partitions, which are devices of their own: volumes. Comes behind
    /// [`Target::make_unbootable`] and before any data.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the disk cannot become bootable then.
    pub fn clear_labels_in(
        &self,
        places: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<(), WriteError> {
        let device = &*self.device;
        let ranges = places.into_iter().flat_map(ends);
        zero(device, ranges).inspect_err(|error| device.spoil(error))
    }

    /// Copies the boot sector of the NTFS in a region to where its copies belong, which no image has
    /// ([`boot_copies`]). `Ok(false)` if there is no NTFS or none that fits the region. Comes when the
    /// region is completely written.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn copy_ntfs_boot(&self, offset: u64, len: u64) -> Result<bool, WriteError> {
        let device = &*self.device;
        copy_ntfs_boot(device, offset, len).inspect_err(|error| device.spoil(error))
    }

    /// Reads the partition table that the disk has now; `Ok(None)` if there is none.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the disk cannot be read or its table is damaged.
    pub fn table(&self) -> Result<Option<Table>, TableError> {
        read_table(&self.device.shape, &mut |offset, len| {
            Ok(self.device.read(offset, len)?)
        })
    }

    /// The partition table that overwriting the whole target would destroy. `Ok(None)` for a partition, for
    /// a disk without a table, and for a file system that begins in sector 0 and only looks like one.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when the target cannot be read.
    pub fn old_table(&self) -> Result<Option<OldTable>, WriteError> {
        let device = &*self.device;
        if device.is_partition() {
            return Ok(None);
        }
        let table = match self.table() {
            Ok(table) => table,
            // There is one, or there was.
            Err(TableError::Table(
                PlanError::Gpt(_) | PlanError::Mbr(MbrError::ProtectiveOnly),
            )) => {
                return Ok(Some(OldTable { partitions: None }));
            }
            Err(TableError::Table(_)) => None,
            Err(TableError::Read(error)) => return Err(error),
        };
        let Some(table) = table.filter(|table| !table.partitions.is_empty()) else {
            return Ok(None);
        };
        // A GPT has checksums, and partitions that can be are no accident. A file system that was on the
        // disk before may have left its name in sector 0.
        let is_accident = matches!(table.label, Label::Mbr { .. })
            && !is_possible(&table, device.shape.size)
            && is_filesystem(&device.read(0, 512)?);
        Ok((!is_accident).then_some(OldTable {
            partitions: Some(table.partitions.len()),
        }))
    }

    /// What the target holds as a whole, without a partition table: a file system, encryption, a part of a RAID or of
    /// LVM. Overwriting it destroys that. What cannot be read holds nothing.
    #[must_use]
    pub fn own_labels(&self) -> Vec<DiskLabel> {
        let device = &*self.device;
        let found = labels::of_disk(&device.shape, &mut |offset, len| {
            device.read(offset, len).ok()
        });
        let own = found.into_iter().filter(|label| label.partition.is_none());
        own.collect()
    }

    /// Writes the plan: everything but sector 0, sync, read back; then sector 0, sync, read back; then
    /// the kernel is asked to look at the table.
    ///
    /// # Errors
    ///
    /// [`WriteError::Incomplete`] when a region failed, was given up or is still being written, or when
    /// [`Target::make_unbootable`] did not succeed before, [`WriteError::Changed`] when the disk is gone or
    /// smaller than it was; then nothing is written. After any other failure the places of the
    /// table are wiped again as far as the disk lets us, sector 0 first, so that it does not boot.
    pub fn make_bootable(&self, plan: &TablePlan) -> Result<BootReport, WriteError> {
        let device = &*self.device;
        check_shape(device, plan)?;
        device.check_complete()?;
        // A disk that has shrunk since the last write to its end has lost what was there.
        device
            .check_size()
            .inspect_err(|error| device.spoil(error))?;
        let kept = read_note(device).unwrap_or_default();
        let writes = plan.writes().iter();
        let writes = writes.map(|write| (&*write.what, write.offset, &*write.bytes));
        let writes: Vec<_> = writes.collect();
        let rest = writes.len().saturating_sub(1);
        let (rest, boot_sector) = writes.split_at(rest);
        write_last(device, &[rest, boot_sector], &kept)
    }

    /// Writes what was held back of an image of the whole disk: pieces with their offsets, in groups. Each group is
    /// synced and read back before the next one; the last one has sector 0. Then the kernel is asked to look at
    /// the table.
    ///
    /// # Errors
    ///
    /// As [`Target::make_bootable`].
    pub fn write_head(&self, groups: &[Vec<(u64, &[u8])>]) -> Result<BootReport, WriteError> {
        let device = &*self.device;
        device.check_complete()?;
        let named = groups.iter().map(|group| {
            let pieces = group.iter();
            let pieces = pieces.map(|(offset, bytes)| ("the front of the image", *offset, *bytes));
            pieces.collect::<Vec<_>>()
        });
        let named: Vec<_> = named.collect();
        let groups: Vec<&[_]> = named.iter().map(Vec::as_slice).collect();
        write_last(device, &groups, &[])
    }

    /// Whether [`Target::make_bootable`] would find everything complete.
    ///
    /// # Errors
    ///
    /// [`WriteError::Incomplete`].
    pub fn check_complete(&self) -> Result<(), WriteError> {
        self.device.check_complete()
    }

    /// Wipes the table that [`Target::make_bootable`] has written, because another disk of the same image has
    /// failed since. What [`Target::make_unbootable`] has kept is noted again, so that the next attempt keeps it, too.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the disk may have a table.
    pub fn withdraw_table(&self) -> Result<(), WriteError> {
        self.device.spoil(&"another disk of the image has failed");
        wipe_what_can_be(&self.device, &self.device.kept())
    }
}

/// One piece of what is written last: what it is, where, the octets.
type LastWrite<'a> = (&'a str, u64, &'a [u8]);

/// Writes the groups one after the other, each synced and read back.
fn write_last(
    device: &Device,
    groups: &[&[LastWrite<'_>]],
    kept: &[Range<u64>],
) -> Result<BootReport, WriteError> {
    if let Err(error) = write_groups(device, groups) {
        device.spoil(&error);
        // The first failure is the one to report; the disk may be unable to take this either.
        drop(wipe_what_can_be(device, kept));
        return Err(error);
    }
    let mut report = BootReport::default();
    if device.is_block {
        report.warnings.extend(reread(device));
    }
    Ok(report)
}

/// Whether all partitions are on the disk, behind its first sector, and apart.
fn is_possible(table: &Table, size: u64) -> bool {
    let plain = table.partitions.iter().filter(|p| !p.is_extended);
    let mut places: Vec<_> = plain.map(|p| p.offset..p.end()).collect();
    places.sort_by_key(|place| place.start);
    let is_apart = places.windows(2).all(|two| two[0].end <= two[1].start);
    is_apart
        && places
            .iter()
            .all(|place| place.start > 0 && place.end <= size)
}

/// Whether sector 0 is the boot sector of a file system, whose code may look like a partition table.
fn is_filesystem(sector: &[u8]) -> bool {
    [
        (3, &b"NTFS    "[..]),
        (3, b"EXFAT   "),
        (54, b"FAT12   "),
        (54, b"FAT16   "),
        (82, b"FAT32   "),
    ]
    .iter()
    .any(|(at, magic)| {
        sector
            .get(*at..)
            .is_some_and(|rest| rest.starts_with(magic))
    })
}

fn check_shape(device: &Device, plan: &TablePlan) -> Result<(), WriteError> {
    if device.shape == plan.shape {
        return Ok(());
    }
    let text = |shape: &crate::table::Shape| {
        format!(
            "{} bytes with {}-byte sectors",
            shape.size, shape.logical_sector
        )
    };
    Err(WriteError::OtherShape {
        device: device.path.clone(),
        planned: text(&plan.shape),
        found: text(&device.shape),
    })
}

/// The front without a table: zeroes, and the note of what is kept.
fn empty_head(len: usize, kept: &[Range<u64>]) -> Vec<u8> {
    let mut head = vec![0; len];
    if let Some(place) = head.get_mut(..NOTE_LEN) {
        place.copy_from_slice(&note(kept));
    }
    head
}

fn wipe(device: &Device, kept: &[Range<u64>]) -> Result<(), WriteError> {
    let sector = u64::from(device.shape.logical_sector);
    let size = device.shape.size;
    let head = (HEAD_SECTORS * sector).min(size);
    let tail = (TAIL_SECTORS * sector).min(size - head);
    let index = |n: u64| usize::try_from(n).expect("a few sectors fit in memory");
    let old = device.read(0, index(head))?;
    let empty = empty_head(index(head), kept);
    // The note is there before anything else of the old table goes.
    let (first, rest) = empty.split_at(index(sector.min(head)));
    device.write(0, first)?;
    device.sync(0, sector)?;
    device.write(sector, rest)?;
    for part in outside(size - tail..size, kept) {
        device.write(part.start, &vec![0; index(part.end - part.start)])?;
    }
    // A disk that was once copied from a smaller one has its backup header somewhere inside.
    for offset in backup_headers(&old) {
        let Some(end) = offset.checked_add(sector).filter(|end| *end <= size) else {
            continue;
        };
        // Inside a kept partition it is that partition's content.
        let is_kept = kept.iter().any(|k| k.start < end && offset < k.end);
        if offset >= head && !is_kept && device.read(offset, 8)? == b"EFI PART" {
            device.write(offset, &[0; 512])?;
        }
    }
    device.sync(0, size)?;
    device.drop_cache()?;
    verify(device, "the wiped boot area", 0, &empty)
}

fn clear_labels(
    device: &Device,
    partitions: impl IntoIterator<Item = Range<u64>>,
    kept: &[Range<u64>],
) -> Result<(), WriteError> {
    let ranges = label_ranges(device.shape.size, partitions).into_iter();
    zero(device, ranges.flat_map(|range| outside(range, kept)))
}

/// Zeroes ranges of whole sectors.
fn zero(device: &Device, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<(), WriteError> {
    let zeroes = AlignedBuffer::new(CLEAR_LEN);
    let mut found = AlignedBuffer::new(CLEAR_LEN);
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let count = (range.end - at).min(CLEAR_LEN as u64);
            let index = usize::try_from(count).expect("no more than the buffer");
            let (zeroes, found) = (
                &zeroes.as_slice()[..index],
                &mut found.as_mut_slice()[..index],
            );
            // What is zero stays, so that storage which is given out when it is written to stays free. What
            // cannot be read is written: a disk may mend a bad sector so.
            let is_clear = device.read_aligned(at, found).is_ok() && found == zeroes;
            if !is_clear {
                // Partitions and disk are whole sectors, and so are the lengths of both ends.
                device.write_aligned(at, zeroes)?;
            }
            at += count;
        }
    }
    device.sync(0, device.shape.size)
}

fn copy_ntfs_boot(device: &Device, offset: u64, len: u64) -> Result<bool, WriteError> {
    let count = usize::try_from(len)
        .unwrap_or(usize::MAX)
        .min(NTFS_BOOT_LEN_MAX);
    let first = device.read(offset, count)?;
    let Some(copies) = boot_copies(&first, Some(len)) else {
        return Ok(false);
    };
    for at in copies.offsets {
        device.write(offset + at, &copies.sector)?;
    }
    device.sync(offset, len)?;
    Ok(true)
}

/// Wipes the places of the new table after a failure. Each step is tried whatever became of the
/// others and nothing is read, for the failure may be a sector that cannot be; sector 0 alone comes
/// first, since it decides whether the disk boots.
fn wipe_what_can_be(device: &Device, kept: &[Range<u64>]) -> Result<(), WriteError> {
    let sector = u64::from(device.shape.logical_sector);
    let size = device.shape.size;
    let head = (HEAD_SECTORS * sector).min(size);
    let tail = (TAIL_SECTORS * sector).min(size - head);
    let index = |n: u64| usize::try_from(n).expect("a few sectors fit in memory");
    let empty = empty_head(index(head), kept);
    let mut done = Ok(());
    let front = [0..sector.min(size), 0..head];
    for part in front.into_iter().chain(outside(size - tail..size, kept)) {
        let len = index(part.end - part.start);
        let zeroes = vec![0; len];
        let octets = if part.start == 0 {
            &empty[..len]
        } else {
            &zeroes
        };
        let written = device.write(part.start, octets);
        // The first error is kept.
        done = done.and(written);
    }
    let synced = device.sync(0, size);
    done.and(synced)
}

fn write_groups(device: &Device, groups: &[&[LastWrite<'_>]]) -> Result<(), WriteError> {
    for group in groups {
        for (_, offset, bytes) in *group {
            device.write(*offset, bytes)?;
        }
        device.sync(0, device.shape.size)?;
        device.drop_cache()?;
        for (what, offset, bytes) in *group {
            verify(device, what, *offset, bytes)?;
        }
    }
    Ok(())
}

fn verify(device: &Device, what: &str, offset: u64, expected: &[u8]) -> Result<(), WriteError> {
    let found = device.read(offset, expected.len())?;
    let differing = found.iter().zip(expected).position(|(a, b)| a != b);
    match differing {
        None => Ok(()),
        Some(index) => Err(WriteError::Mismatch {
            device: device.path.clone(),
            what: what.to_owned(),
            offset: offset + index as u64,
        }),
    }
}

/// Asks the kernel to read the table. The disk is complete whatever it answers, so a refusal is only
/// worth a warning: kernels without partition support exist, and a reboot follows.
#[expect(
    clippy::disallowed_methods,
    reason = "whatever looks at the new disk keeps it busy for a moment"
)]
fn reread(device: &Device) -> Option<String> {
    let begun = Instant::now();
    loop {
        let error = match sys::reread_partitions(&device.file) {
            Ok(()) => return None,
            Err(error) => error,
        };
        let is_busy = error.raw_os_error() == Some(Errno::EBUSY as i32);
        if !is_busy || begun.elapsed() >= REREAD_PATIENCE {
            return Some(reread_warning(device, &error));
        }
        std::thread::sleep(REREAD_PAUSE);
    }
}

fn reread_warning(device: &Device, error: &io::Error) -> String {
    format!(
        "the kernel did not read the new partition table of {}: {error}; it will after a reboot",
        device.path.display()
    )
}

#[cfg(test)]
mod tests;
