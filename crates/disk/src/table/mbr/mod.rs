//! DOS partition tables: sector 0, the chain of logical partitions, and the protective MBR of a GPT.

use std::collections::BTreeSet;
use std::ops::Range;

use thiserror::Error;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The table occupies the end of this many octets, whatever the logical sector size is.
pub(super) const BOOT_SECTOR_LEN: usize = 512;
/// Boot code, disk signature and two reserved octets: all in front of the four entries.
const CODE_LEN: usize = 446;
/// A GPT's protective entry.
pub(super) const PROTECTIVE: u8 = 0xee;
const ACTIVE: u8 = 0x80;
const EXTENDED: u8 = 0x05;
/// Where an EBR is put in front of its partition if there is more room: 1 MiB, as current tools do.
const EBR_DISTANCE: u64 = 1 << 20;

/// Sectors of a disk that a table can address: its numbers have 32 bits.
pub(super) const MAX_SECTORS: u64 = 1 << 32;

/// What people call a system indicator.
pub(super) fn type_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0x05 | 0x0f | 0x85 => "extended",
        0x06 | 0x0e => "FAT16",
        0x07 => "NTFS/exFAT",
        0x0b | 0x0c => "FAT32",
        0x27 => "Windows recovery",
        0x82 => "Linux swap",
        0x83 => "Linux",
        0x8e => "Linux LVM",
        0xee => "GPT",
        0xef => "EFI system",
        0xfd => "Linux RAID",
        _ => return None,
    })
}

/// Whether a system indicator means a container of logical partitions.
pub(super) fn is_extended(code: u8) -> bool {
    matches!(code, 0x05 | 0x0f | 0x85)
}

/// Why octets are not a DOS partition table, or cannot become one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MbrError {
    /// No `55 aa` at the end of the sector.
    #[error("sector 0 does not end in the boot signature 55 aa; it holds no partition table")]
    Signature,
    /// Entry with a status that no table has; probably a boot sector of a file system.
    #[error(
        "entry {number} has status {status:02x}, neither 00 nor 80; this is no partition table"
    )]
    Status {
        /// Number of the entry, from one.
        number: u32,
        /// Its first octet.
        status: u8,
    },
    /// The table only protects a GPT that the image does not contain.
    #[error("it protects a GPT, but the file holds none; capture the image again")]
    ProtectiveOnly,
    /// Two containers of logical partitions.
    #[error("there are two extended partitions, {first} and {second}")]
    TwoExtended {
        /// Number of the first.
        first: u32,
        /// Number of the second.
        second: u32,
    },
    /// An extended partition without anything that says what is in it.
    #[error(
        "partition {number} is extended, but the image has no dump (dN.partitions) of what is in it"
    )]
    NoDump {
        /// Number of the extended partition.
        number: u32,
    },
    /// Logical partitions without a container.
    #[error("partition {number} is logical, but there is no extended partition")]
    NoContainer {
        /// Number of the logical partition.
        number: u32,
    },
    /// A logical partition that its container does not contain.
    #[error(
        "logical partition {number} (sectors {start} to {end}) is not within the extended partition"
    )]
    OutsideContainer {
        /// Its number.
        number: u32,
        /// First sector.
        start: u64,
        /// First sector behind it.
        end: u64,
    },
    /// No sector of the container is left in front of a logical partition for its table.
    #[error(
        "the extended partition has no free sector in front of logical partition {number} for that \
         partition's table; capture the image again with a gap in front of it"
    )]
    NoRoom {
        /// Its number.
        number: u32,
    },
    /// Logical partitions are not numbered 5, 6, 7, ...
    #[error("logical partition {expected} is missing in the dump, the next one is {found}")]
    Numbering {
        /// The number that should come.
        expected: u32,
        /// The number that comes.
        found: u32,
    },
    /// A sector number that the table's 32 bits cannot hold.
    #[error(
        "partition {number} needs sector {sector}, more than a DOS partition table can address; use a GPT"
    )]
    TooLarge {
        /// Its number.
        number: u32,
        /// The sector.
        sector: u64,
    },
    /// A type in the dump that is no hexadecimal number.
    #[error("partition {number} has type {kind:?} in the dump")]
    Kind {
        /// Its number.
        number: u32,
        /// As it stands.
        kind: String,
    },
}

/// The 512 octets of an MBR or EBR.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct SectorView {
    code: [u8; 440],
    disk_id: U32,
    reserved: U16,
    slots: [SlotView; 4],
    signature: [u8; 2],
}

/// One of the four entries.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct SlotView {
    status: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    start: U32,
    size: U32,
}

const _: () = assert!(size_of::<SectorView>() == BOOT_SECTOR_LEN && size_of::<SlotView>() == 16);

/// A used primary entry; sectors are logical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// 1 to 4.
    pub(super) number: u32,
    pub(super) is_active: bool,
    pub(super) kind: u8,
    pub(super) start: u64,
    pub(super) size: u64,
}

/// Sector 0 of a disk, or its first 512 octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootSector(SectorView);

impl BootSector {
    /// Takes 512 octets; whether they are a partition table is [`BootSector::slots`]'s question.
    pub(super) fn new(octets: &[u8; BOOT_SECTOR_LEN]) -> Self {
        Self(zerocopy::transmute!(*octets))
    }

    pub(super) fn octets(&self) -> [u8; BOOT_SECTOR_LEN] {
        zerocopy::transmute!(self.0)
    }

    pub(super) fn disk_id(&self) -> u32 {
        self.0.disk_id.get()
    }

    /// This sector's code with another's table.
    pub(super) fn with_table_of(mut self, other: &Self) -> Self {
        self.0.slots = other.0.slots;
        self
    }

    /// The used entries.
    pub(super) fn slots(&self) -> Result<Vec<Slot>, MbrError> {
        if self.0.signature != [0x55, 0xaa] {
            return Err(MbrError::Signature);
        }
        let mut slots = Vec::new();
        for (slot, number) in self.0.slots.iter().zip(1..) {
            if slot.status & !ACTIVE != 0 {
                return Err(MbrError::Status {
                    number,
                    status: slot.status,
                });
            }
            if slot.kind != 0 && slot.size.get() != 0 {
                slots.push(Slot {
                    number,
                    is_active: slot.status == ACTIVE,
                    kind: slot.kind,
                    start: slot.start.get().into(),
                    size: slot.size.get().into(),
                });
            }
        }
        Ok(slots)
    }

    /// Moves or resizes a used entry. Entries that stay keep their CHS values to the letter.
    pub(super) fn set_slot(&mut self, number: u32, start: u64, size: u64) -> Result<(), MbrError> {
        let slot = (number as usize)
            .checked_sub(1)
            .and_then(|index| self.0.slots.get_mut(index));
        let Some(slot) = slot else {
            return Err(MbrError::NoContainer { number });
        };
        if u64::from(slot.start.get()) == start && u64::from(slot.size.get()) == size {
            return Ok(());
        }
        *slot = slot_view(number, slot.status, slot.kind, start, size, start)?;
        Ok(())
    }

    /// The MBR that keeps tools without GPT away: boot code of `self`, one entry over the whole disk.
    ///
    /// A hybrid MBR (entries beside the protective one) is only kept with `keep_hybrid`; its entries
    /// repeat GPT entries by position. Answers whether there was one.
    pub(super) fn protect(&mut self, sectors: u64, keep_hybrid: bool) -> bool {
        let used = |slot: &&SlotView| slot.kind != 0;
        let is_hybrid = self.0.slots.iter().any(|slot| slot.kind == PROTECTIVE)
            && self.0.slots.iter().filter(used).count() > 1;
        self.0.signature = [0x55, 0xaa];
        if is_hybrid && keep_hybrid {
            return true;
        }
        // Some firmware boots from a disk only if an entry is marked active: keep such a mark.
        let status = self
            .0
            .slots
            .iter()
            .find(|slot| slot.kind == PROTECTIVE)
            .map_or(0, |slot| slot.status & ACTIVE);
        let last = sectors.saturating_sub(1);
        // UEFI specification, table 5-4: the signature is unused and zero. sgdisk agrees on
        // disks of another size, and leaves it alone on those of the same.
        self.0.disk_id = U32::ZERO;
        self.0.reserved = U16::ZERO;
        let empty = slot_view_unchecked(0, 0, 0, 0, 0);
        let mut slot = slot_view_unchecked(
            status,
            PROTECTIVE,
            1,
            u32::try_from(last).unwrap_or(u32::MAX),
            1,
        );
        slot.first_chs = [0x00, 0x02, 0x00];
        if cylinder(last) > LAST_CYLINDER {
            slot.last_chs = [0xff; 3];
        }
        self.0.slots = [slot, empty, empty, empty];
        is_hybrid
    }
}

/// A logical partition, in absolute sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Logical {
    /// 5 or more.
    pub(super) number: u32,
    pub(super) is_active: bool,
    pub(super) kind: u8,
    pub(super) start: u64,
    pub(super) size: u64,
}

impl Logical {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// Computes the chain of extended boot records for logical partitions numbered 5, 6, ... in this order.
/// The first one is the container's first sector; each other one is in the gap in front of its partition,
/// or, where there is no gap, in the nearest free sector before. `code` is put in front of the first one's
/// entries.
///
/// Returns sector numbers and contents. An empty container gets one empty record.
pub(super) fn chain(
    container: &Range<u64>,
    logicals: &[Logical],
    code: Option<&[u8]>,
    logical_sector: u32,
) -> Result<Vec<(u64, [u8; BOOT_SECTOR_LEN])>, MbrError> {
    for (logical, expected) in logicals.iter().zip(5..) {
        let number = logical.number;
        if number != expected {
            return Err(MbrError::Numbering {
                expected,
                found: number,
            });
        }
        if logical.start <= container.start || logical.end() > container.end {
            return Err(MbrError::OutsideContainer {
                number,
                start: logical.start,
                end: logical.end(),
            });
        }
    }
    let places = record_places(container, logicals, logical_sector)?;
    let mut records = Vec::with_capacity(places.len().max(1));
    for (index, (logical, place)) in logicals.iter().zip(&places).enumerate() {
        let mut record = empty_record();
        let status = if logical.is_active { ACTIVE } else { 0 };
        let relative = logical.start - place;
        let (number, kind, size) = (logical.number, logical.kind, logical.size);
        record.slots[0] = slot_view(number, status, kind, relative, size, logical.start)?;
        if let (Some(next), Some(next_place)) = (logicals.get(index + 1), places.get(index + 1)) {
            let size = next.end() - next_place;
            let relative = next_place - container.start;
            record.slots[1] = slot_view(next.number, 0, EXTENDED, relative, size, *next_place)?;
        }
        records.push((*place, record));
    }
    if records.is_empty() {
        records.push((container.start, empty_record()));
    }
    let mut records: Vec<(u64, [u8; BOOT_SECTOR_LEN])> = records
        .into_iter()
        .map(|(place, record)| (place, zerocopy::transmute!(record)))
        .collect();
    if let (Some((_, first)), Some(code)) = (records.first_mut(), code) {
        for (to, from) in first.iter_mut().zip(code.iter().take(CODE_LEN)) {
            *to = *from;
        }
    }
    Ok(records)
}

/// A sector for the record of each logical partition. A record's distance to its partition is counted
/// forwards, so it must precede it, but what is between them does not matter.
fn record_places(
    container: &Range<u64>,
    logicals: &[Logical],
    logical_sector: u32,
) -> Result<Vec<u64>, MbrError> {
    let distance = (EBR_DISTANCE / u64::from(logical_sector)).max(1);
    // Those with a gap of their own come first: no other one may take their place.
    let mut places: Vec<Option<u64>> = Vec::with_capacity(logicals.len());
    for logical in logicals {
        if places.is_empty() {
            places.push(Some(container.start));
            continue;
        }
        // What lies in front: the first record, or the end of a neighbour.
        let floor = logicals
            .iter()
            .filter(|other| other.start < logical.start)
            .map(Logical::end)
            .fold(container.start + 1, u64::max);
        let gap = logical.start.saturating_sub(floor).min(distance);
        places.push((gap > 0).then(|| logical.start - gap));
    }
    let mut taken: BTreeSet<u64> = places.iter().flatten().copied().collect();
    let mut by_start: Vec<&Logical> = logicals.iter().collect();
    by_start.sort_by_key(|logical| logical.start);
    logicals
        .iter()
        .zip(places)
        .map(|(logical, place)| {
            if let Some(place) = place {
                return Ok(place);
            }
            let place = free_sector_before(logical.start, container, &by_start, &taken);
            let place = place.ok_or(MbrError::NoRoom {
                number: logical.number,
            })?;
            taken.insert(place);
            Ok(place)
        })
        .collect()
}

/// The last sector of the container in front of `limit` that neither a partition nor a record has.
/// `by_start` is in ascending order of first sectors.
fn free_sector_before(
    limit: u64,
    container: &Range<u64>,
    by_start: &[&Logical],
    taken: &BTreeSet<u64>,
) -> Option<u64> {
    let mut sector = limit.checked_sub(1)?;
    let mut partitions = by_start.iter().rev().filter(|p| p.start < limit).peekable();
    while sector > container.start {
        match partitions.peek() {
            Some(partition) if partition.start > sector => {
                partitions.next();
            }
            Some(partition) if partition.end() > sector => {
                sector = partition.start.checked_sub(1)?;
                partitions.next();
            }
            _ if taken.contains(&sector) => sector -= 1,
            _ => return Some(sector),
        }
    }
    None
}

/// Follows the chain of a disk. `read` gives the 512 octets at a sector.
///
/// Bounded: a chain of more than 256 records, which is also what a loop looks like, ends there.
pub(super) fn follow_chain<E>(
    container: &Range<u64>,
    mut read: impl FnMut(u64) -> Result<[u8; BOOT_SECTOR_LEN], E>,
) -> Result<Vec<Logical>, E> {
    const MAX_RECORDS: u32 = 256;
    let mut logicals = Vec::new();
    let mut place = container.start;
    for _ in 0..MAX_RECORDS {
        // Also where the container begins behind the end of the disk.
        if !container.contains(&place) {
            break;
        }
        let record = BootSector::new(&read(place)?).0;
        if record.signature != [0x55, 0xaa] {
            break;
        }
        let [data, link, ..] = record.slots;
        if data.kind != 0 && data.size.get() != 0 {
            logicals.push(Logical {
                number: u32::try_from(logicals.len()).unwrap_or(u32::MAX - 5) + 5,
                is_active: data.status == ACTIVE,
                kind: data.kind,
                start: place.saturating_add(data.start.get().into()),
                size: data.size.get().into(),
            });
        }
        if !is_extended(link.kind) {
            break;
        }
        place = container.start.saturating_add(link.start.get().into());
    }
    Ok(logicals)
}

fn empty_record() -> SectorView {
    SectorView {
        code: [0; 440],
        disk_id: U32::ZERO,
        reserved: U16::ZERO,
        slots: [slot_view_unchecked(0, 0, 0, 0, 0); 4],
        signature: [0x55, 0xaa],
    }
}

/// `start` as it stands in the entry, `absolute` as it is on the disk.
fn slot_view(
    number: u32,
    status: u8,
    kind: u8,
    start: u64,
    size: u64,
    absolute: u64,
) -> Result<SlotView, MbrError> {
    let sector = absolute.saturating_add(size);
    let small = |n: u64| u32::try_from(n).map_err(|_| MbrError::TooLarge { number, sector });
    // The end must be addressable too, or tools would read it wrapped.
    small(sector.saturating_sub(1))?;
    Ok(slot_view_unchecked(
        status,
        kind,
        small(start)?,
        small(size)?,
        absolute,
    ))
}

fn slot_view_unchecked(status: u8, kind: u8, start: u32, size: u32, absolute: u64) -> SlotView {
    let is_used = kind != 0;
    let last = absolute.saturating_add(u64::from(size).saturating_sub(1));
    SlotView {
        status,
        first_chs: if is_used { chs(absolute) } else { [0; 3] },
        kind,
        last_chs: if is_used { chs(last) } else { [0; 3] },
        start: start.into(),
        size: size.into(),
    }
}

/// The geometry everyone assumes since disks stopped having one.
const HEADS: u64 = 255;
const SECTORS: u64 = 63;
const LAST_CYLINDER: u64 = 1023;

fn cylinder(lba: u64) -> u64 {
    lba / (HEADS * SECTORS)
}

/// Cylinder, head and sector packed as in an entry; the largest value where they do not suffice.
fn chs(lba: u64) -> [u8; 3] {
    let cylinder = cylinder(lba);
    if cylinder > LAST_CYLINDER {
        return [0xfe, 0xff, 0xff];
    }
    let octet = |n: u64| u8::try_from(n).expect("heads and sectors are below 256");
    let sector = octet(lba % SECTORS + 1);
    let high = octet(cylinder >> 8);
    [
        octet(lba / SECTORS % HEADS),
        sector | (high << 6),
        octet(cylinder & 0xff),
    ]
}

#[cfg(test)]
pub(super) mod tests;
