//! What an image keeps of a disk's table, as FOG's client captures it.

use std::fmt;

use super::dump::{Dump, DumpLabel, line};
use super::gpt::{Gpt, Placement};
use super::mbr::{BOOT_SECTOR_LEN, BootSector, PROTECTIVE};
use super::read::{find_gpt, gpt_table};
use super::{Kind, Label, MbrError, PlanError, PlannedPartition, Shape, Table, read_table};

/// Most bytes of a boot area that are kept: boot loaders have their second stage in front of the first partition,
/// which begins at 1 MiB as a rule.
const AREA_MAX: u64 = 1 << 20;
/// What is looked for in sector 0 to find GRUB.
const GRUB: &[u8] = b"GRUB";
/// First sectors of partitions that old tools used, with nothing but the table in front.
const BARE_STARTS: [u64; 2] = [8, 63];

/// A disk's table and boot area, and the files of an image that are made of them.
#[derive(Debug, Clone)]
pub struct CapturedTable {
    shape: Shape,
    table: Table,
    dump: Dump,
    /// From the first byte of the disk.
    area: Vec<u8>,
    /// Of a GPT.
    gpt: Option<(Gpt, Placement)>,
    ebrs: Vec<(u32, Vec<u8>)>,
}

/// Another place for a partition, in logical sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Sectors.
    pub size: u64,
}

impl CapturedTable {
    /// Reads table, boot area and boot records. `read` gives `len` bytes at an offset; it is asked for nothing beyond
    /// the disk. `device` is the disk's name for the dump. `Ok(None)`: the disk has no table.
    ///
    /// # Errors
    /// What `read` answers, and [`PlanError`] for a table that is damaged.
    pub fn read<E: From<PlanError>>(
        shape: &Shape,
        device: &str,
        read: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Self>, E> {
        let Some(table) = read_table(shape, read)? else {
            return Ok(None);
        };
        let first = table.partitions.iter().map(|partition| partition.offset);
        let area_len = first
            .min()
            .unwrap_or(AREA_MAX)
            .min(AREA_MAX)
            .min(shape.size);
        let area_len = usize::try_from(area_len).unwrap_or(BOOT_SECTOR_LEN);
        let area = read(0, area_len.max(BOOT_SECTOR_LEN))?;
        let (mut dump, mut gpt) = (dump_of(&table, shape, device), None);
        if matches!(table.label, Label::Gpt { .. }) {
            let mut copy = find_gpt(shape, read)?;
            debug_assert_eq!(gpt_table(&copy.gpt, shape), table);
            if copy.gpt.entries_lba > copy.gpt.first_usable {
                // Of the copy at the end of the disk, whose entries are there, too.
                copy.gpt.entries_lba = ENTRIES_LBA;
            }
            let place = copy.gpt.place(shape).ok_or(PlanError::Shape {
                size: shape.size,
                logical_sector: shape.logical_sector,
            })?;
            let place = place.with_usable(copy.gpt.first_usable, copy.last_usable);
            dump.first_lba = Some(copy.gpt.first_usable);
            dump.last_lba = Some(copy.last_usable);
            gpt = Some((copy.gpt, place));
        }
        let mut ebrs = Vec::new();
        if table.partitions.iter().any(|p| p.is_extended) {
            for partition in &table.partitions {
                if !(partition.is_extended || partition.number >= 5)
                    || partition.offset >= shape.size
                {
                    continue;
                }
                let mut record = read(partition.offset, BOOT_SECTOR_LEN)?;
                // Its links are made anew; only boot code in front of them is worth keeping.
                if partition.is_extended && record.iter().take(CODE_LEN).all(|octet| *octet == 0) {
                    record.clear();
                }
                ebrs.push((partition.number, record));
            }
        }
        Ok(Some(Self {
            shape: *shape,
            table,
            dump,
            area,
            gpt,
            ebrs,
        }))
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether it is a GUID partition table.
    #[must_use]
    pub fn is_gpt(&self) -> bool {
        self.gpt.is_some()
    }

    /// `dN.partitions`.
    #[must_use]
    pub fn dump(&self) -> &Dump {
        &self.dump
    }

    /// Whether sector 0 has boot code of GRUB.
    #[must_use]
    pub fn has_grub(&self) -> bool {
        let sector = self.area.get(..BOOT_SECTOR_LEN).unwrap_or(&self.area);
        sector.windows(GRUB.len()).any(|octets| octets == GRUB)
    }

    /// `dN.mbr`: the boot area, or gdisk's backup of a GPT. Where GRUB is in the boot area of a GPT, that is
    /// [`Self::grub_mbr`], and this is the backup alone.
    #[must_use]
    pub fn mbr(&self) -> Vec<u8> {
        let Some((gpt, place)) = &self.gpt else {
            let first = self.table.partitions.iter().map(|p| p.offset).min();
            let sector = u64::from(self.shape.logical_sector);
            let is_bare = first.is_some_and(|first| BARE_STARTS.contains(&(first / sector)));
            let len = match is_bare && !self.has_grub() {
                true => BOOT_SECTOR_LEN,
                false => self.area.len(),
            };
            return self.area.get(..len).unwrap_or(&self.area).to_vec();
        };
        let sector = self.area.get(..BOOT_SECTOR_LEN).unwrap_or_default();
        let mut backup = gpt.backup_file(sector, place);
        if !self.has_grub() {
            backup.extend_from_slice(self.area.get(backup.len()..).unwrap_or_default());
        }
        backup
    }

    /// `dN.grub.mbr`.
    #[must_use]
    pub fn grub_mbr(&self) -> Option<&[u8]> {
        (self.gpt.is_some() && self.has_grub()).then_some(&self.area)
    }

    /// `dNpM.ebr` by partition number.
    #[must_use]
    pub fn ebrs(&self) -> &[(u32, Vec<u8>)] {
        &self.ebrs
    }

    /// The same with partitions at other places: of an image whose file systems were shrunk. Boot records stay.
    ///
    /// # Errors
    /// [`PlanError`] if an MBR cannot address a place.
    pub fn with_places(&self, places: &[Placed]) -> Result<Self, PlanError> {
        let mut changed = self.clone();
        for place in places {
            changed.set_place(*place)?;
        }
        Ok(changed)
    }

    fn set_place(&mut self, place: Placed) -> Result<(), MbrError> {
        let sector = u64::from(self.shape.logical_sector);
        let table = self.table.partitions.iter_mut();
        for partition in table.filter(|partition| partition.number == place.number) {
            partition.offset = place.start.saturating_mul(sector);
            partition.len = place.size.saturating_mul(sector);
        }
        let lines = self.dump.partitions.iter_mut();
        for line in lines.filter(|line| line.number == place.number) {
            (line.start, line.size) = (place.start, place.size);
        }
        if let Some((gpt, _)) = &mut self.gpt {
            let entry = gpt.entries().find(|entry| entry.number == place.number);
            if let Some(mut entry) = entry {
                entry.first = place.start;
                entry.last = place.start.saturating_add(place.size).saturating_sub(1);
                gpt.set_entry(&entry);
            }
        } else if place.number <= 4
            && let Some(first) = self.area.first_chunk_mut::<BOOT_SECTOR_LEN>()
        {
            let mut boot = BootSector::new(first);
            boot.set_slot(place.number, place.start, place.size)?;
            *first = boot.octets();
        }
        Ok(())
    }
}

impl fmt::Display for CapturedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dump.fmt(f)
    }
}

/// As `sfdisk -d` prints it; the sectors that a GPT lets partitions use are not in the table.
fn dump_of(table: &Table, shape: &Shape, device: &str) -> Dump {
    let (label, label_id) = match table.label {
        Label::Gpt { disk_guid } => (DumpLabel::Gpt, format!("{disk_guid:X}")),
        Label::Mbr { disk_id } => (DumpLabel::Dos, format!("{disk_id:#010x}")),
    };
    let sector = u64::from(shape.logical_sector.max(1));
    let is_shown = |partition: &&PlannedPartition| partition.kind != Kind::Mbr(PROTECTIVE);
    let partitions = table.partitions.iter().filter(is_shown);
    Dump {
        label: Some(label),
        label_id: Some(label_id),
        device: Some(device.to_owned()),
        first_lba: None,
        last_lba: None,
        sector_size: Some(shape.logical_sector),
        partitions: partitions
            .map(|partition| line(partition, sector))
            .collect(),
    }
}

/// Where the entries of a primary copy are, unless somebody made room for a boot loader.
const ENTRIES_LBA: u64 = 2;
/// Boot code of a boot record, in front of its table.
const CODE_LEN: usize = 446;

#[cfg(test)]
mod tests;
