//! From an image's files and a disk's shape to a plan.

use super::check::{check_partitions, self_check};
use super::dump::{Dump, DumpLabel, DumpPartition};
use super::fill::{FillError, FillPartition, fill, parse_fixed};
use super::gpt::{self, GptBackup};
use super::mbr::{self, BOOT_SECTOR_LEN, BootSector, Logical, MbrError, PROTECTIVE, Slot};
use super::read::{gpt_partition, mbr_partition};
use super::{
    Kind, Label, Layout, PlanError, PlannedPartition, Shape, TableFiles, TablePlan, TableWrite,
};
use crate::swap::swap_uuids;

/// Computes the partition table of an image for a disk, with every octet that will be written.
///
/// A GPT backup is converted to the disk's size: headers and backup copy move to the new end, number and
/// order of entries, names, attributes and GUIDs stay, types and GUIDs are those of the dump where it
/// differs. An MBR keeps its boot area; logical partitions are chained anew at the places that the dump
/// has. With [`Layout::Fill`] the partitions are laid out by [`fill`](fn@fill); where that cannot be
/// done but they fit as they are, they stay as they are, with a warning.
///
/// # Errors
///
/// [`PlanError`] for whatever would not end in a table that holds all of the image's partitions.
pub fn plan_table(
    files: &TableFiles<'_>,
    shape: &Shape,
    layout: Layout,
) -> Result<TablePlan, PlanError> {
    let sector = u64::from(shape.logical_sector);
    if !sector.is_power_of_two() || !(512..=65536).contains(&sector) || shape.sectors() < 2 {
        return Err(PlanError::Shape {
            size: shape.size,
            logical_sector: shape.logical_sector,
        });
    }
    let Some(first) = files.mbr.first_chunk::<BOOT_SECTOR_LEN>() else {
        return Err(PlanError::BootArea {
            len: files.mbr.len(),
            expected: BOOT_SECTOR_LEN,
        });
    };
    let mut draft = Draft {
        shape: *shape,
        layout,
        files,
        original: None,
        minimum: None,
        fixed: Vec::new(),
        warnings: Vec::new(),
    };
    draft.read_dumps()?;
    let mut plan = if gpt::is_backup(files.mbr) {
        draft.gpt()?
    } else {
        draft.mbr(&BootSector::new(first))?
    };
    plan.mark_swap(&swap_uuids(files.swap_uuids.unwrap_or_default())?);
    self_check(&plan)?;
    Ok(plan)
}

impl TablePlan {
    /// Marks what is made swap space: in a GPT what the list names, in an MBR what has the type.
    fn mark_swap(&mut self, list: &[(u32, Option<uuid::Uuid>)]) {
        for partition in &mut self.partitions {
            let entry = list.iter().find(|(number, _)| *number == partition.number);
            partition.is_swap = match partition.kind {
                Kind::Gpt(_) => entry.is_some(),
                Kind::Mbr(kind) => kind == 0x82,
            };
            if partition.is_swap {
                partition.swap_uuid = entry.and_then(|(_, uuid)| *uuid);
            }
        }
    }
}

/// A plan in the making.
struct Draft<'a> {
    shape: Shape,
    layout: Layout,
    files: &'a TableFiles<'a>,
    original: Option<Dump>,
    minimum: Option<Dump>,
    fixed: Vec<u32>,
    warnings: Vec<String>,
}

impl Draft<'_> {
    /// Parses the dumps. What the layout does not depend on may be damaged.
    fn read_dumps(&mut self) -> Result<(), PlanError> {
        let parse = |text: Option<&str>, file| {
            text.filter(|text| !text.trim().is_empty())
                .map(|text| Dump::parse(text).map_err(|source| PlanError::Dump { file, source }))
                .transpose()
        };
        let original = parse(self.files.partitions, "dN.partitions");
        let minimum = parse(self.files.minimum, "d1.minimum.partitions");
        match self.layout {
            Layout::Fill => {
                self.original = original?;
                self.minimum = minimum?;
                self.fixed = parse_fixed(self.files.fixed.unwrap_or_default())?;
            }
            Layout::Keep => {
                self.minimum = minimum.unwrap_or_default();
                self.original = original.unwrap_or_else(|error| {
                    self.warnings.push(format!("not used: {error}"));
                    None
                });
            }
        }
        let recorded = [&self.minimum, &self.original]
            .into_iter()
            .flatten()
            .find_map(|dump| dump.sector_size);
        self.check_sector_size(recorded)
    }

    fn check_sector_size(&self, image: Option<u32>) -> Result<(), PlanError> {
        match image {
            Some(image) if image != self.shape.logical_sector => Err(PlanError::SectorSize {
                image,
                disk: self.shape.logical_sector,
            }),
            _ => Ok(()),
        }
    }

    fn check_label(&self, expected: DumpLabel) -> Result<(), PlanError> {
        match self.original.as_ref().and_then(|dump| dump.label) {
            Some(found) if found != expected => Err(PlanError::Mismatch(format!(
                "one is a {expected:?} table, the other a {found:?} table"
            ))),
            _ => Ok(()),
        }
    }

    fn gpt(mut self) -> Result<TablePlan, PlanError> {
        let GptBackup {
            mbr,
            mut gpt,
            sector_size,
        } = GptBackup::parse(self.files.mbr)?;
        self.check_sector_size(sector_size)?;
        self.check_label(DumpLabel::Gpt)?;
        self.apply_guids(&mut gpt);
        let original: Vec<_> = gpt.entries().collect();
        let own = || Dump {
            label: Some(DumpLabel::Gpt),
            first_lba: Some(gpt.first_usable),
            // Only whether there is one matters.
            last_lba: Some(0),
            partitions: original
                .iter()
                .map(|entry| DumpPartition {
                    number: entry.number,
                    start: entry.first,
                    size: entry.last - entry.first + 1,
                    ..DumpPartition::default()
                })
                .collect(),
            ..Dump::default()
        };
        let room = gpt.place(&self.shape).ok_or(PlanError::Shape {
            size: self.shape.size,
            logical_sector: self.shape.logical_sector,
        })?;
        let in_place = original.iter().all(|entry| entry.last <= room.last_usable);
        let filled = match self.layout {
            Layout::Keep => None,
            Layout::Fill => {
                let dump = self.original.take().unwrap_or_else(own);
                self.fill(&dump, in_place)?
            }
        };
        let mut sizes = Vec::new();
        for mut entry in original {
            sizes.push(entry.last - entry.first + 1);
            if let Some(filled) = &filled {
                let new = placed(filled, entry.number)?;
                entry.first = new.start;
                entry.last = new.start.saturating_add(new.size).saturating_sub(1);
            }
            gpt.set_entry(&entry);
        }
        if let Some(filled) = &filled {
            let is_unknown =
                |p: &&FillPartition| p.size > 0 && gpt.entries().all(|e| e.number != p.number);
            if let Some(stranger) = filled.iter().find(is_unknown) {
                return Err(only_in_dump(stranger.number));
            }
        }
        let partitions: Vec<_> = gpt
            .entries()
            .zip(sizes)
            .map(|(entry, size)| PlannedPartition {
                original_len: self.bytes(size),
                ..gpt_partition(&entry, &self.shape)
            })
            .collect();
        let limit = self.bytes(room.last_usable + 1);
        check_partitions(&partitions, self.bytes(room.table_end()), limit)?;
        // Placed again: the first usable sector depends on where partitions begin.
        let place = gpt.place(&self.shape).unwrap_or(room);

        let mut writes = Vec::new();
        let mut boot = BootSector::new(&mbr);
        if let Some(grub) = self.files.grub_mbr {
            let area = boot_area(grub);
            if let Some(first) = area.first_chunk() {
                boot = BootSector::new(first).with_table_of(&boot);
            }
            let from = self.bytes(place.table_end());
            writes.extend(gap_write(area, from, first_offset(&partitions, limit)));
        }
        writes.extend(
            gpt.emit(&place, &self.shape)
                .into_iter()
                .map(|(what, lba, bytes)| TableWrite {
                    what: what.to_owned(),
                    offset: self.bytes(lba),
                    bytes,
                }),
        );
        if boot.protect(self.shape.sectors(), filled.is_none()) {
            self.warnings.push(match filled {
                None => "the image has a hybrid MBR; it is written as it was".to_owned(),
                Some(_) => "the image has a hybrid MBR; it is replaced by a protective one, \
                            because partitions move"
                    .to_owned(),
            });
        }
        writes.push(boot_write("protective MBR", &boot));
        Ok(TablePlan {
            shape: self.shape,
            label: Label::Gpt {
                disk_guid: gpt.disk_guid,
            },
            partitions,
            warnings: self.warnings,
            writes,
        })
    }

    /// Takes over the disk's GUID and the partitions' types and GUIDs from the dump, as the original
    /// does after the data. Swap spaces keep what the backup has.
    fn apply_guids(&mut self, gpt: &mut gpt::Gpt) {
        let Some(dump) = &self.original else {
            return;
        };
        let label_id = dump.label_id.as_deref();
        if let Some(guid) = label_id.and_then(|id| uuid::Uuid::try_parse(id).ok())
            && guid != gpt.disk_guid
        {
            self.warnings.push(format!(
                "the disk's GUID is taken from dN.partitions ({guid:X}), dN.mbr has {:X}",
                gpt.disk_guid
            ));
            gpt.disk_guid = guid;
        }
        let entries: Vec<_> = gpt.entries().collect();
        for entry in &entries {
            let Some(line) = dump.partition(entry.number) else {
                self.warnings.push(format!(
                    "partition {} is in dN.mbr but not in dN.partitions",
                    entry.number
                ));
                continue;
            };
            let mut new = entry.clone();
            new.kind = line.gpt_kind().unwrap_or(entry.kind);
            new.guid = line.uuid.unwrap_or(entry.guid);
            if new != *entry && gpt::type_name(&new.kind) != Some("Linux swap") {
                self.warnings.push(format!(
                    "type and GUID of partition {} are taken from dN.partitions, dN.mbr differs",
                    entry.number
                ));
                gpt.set_entry(&new);
            }
        }
        for line in dump.partitions.iter().filter(|line| line.size > 0) {
            if entries.iter().all(|entry| entry.number != line.number) {
                self.warnings.push(format!(
                    "partition {} is in dN.partitions but not in dN.mbr",
                    line.number
                ));
            }
        }
    }

    fn mbr(mut self, boot: &BootSector) -> Result<TablePlan, PlanError> {
        self.check_label(DumpLabel::Dos)?;
        let mut boot = *boot;
        let slots = boot.slots()?;
        if slots.iter().any(|slot| slot.kind == PROTECTIVE) {
            return Err(MbrError::ProtectiveOnly.into());
        }
        let container = container(&slots)?;
        let logicals = self.logicals(container)?;
        self.compare_slots(&slots);

        let sectors = self.shape.sectors();
        let own = || Dump {
            label: Some(DumpLabel::Dos),
            partitions: slots
                .iter()
                .map(|slot| DumpPartition {
                    number: slot.number,
                    start: slot.start,
                    size: slot.size,
                    kind: format!("{:x}", slot.kind),
                    ..DumpPartition::default()
                })
                .collect(),
            ..Dump::default()
        };
        let in_place = slots.iter().all(|slot| slot.start + slot.size <= sectors);
        let filled = match self.layout {
            Layout::Keep => None,
            Layout::Fill => {
                let dump = self.original.take().unwrap_or_else(own);
                self.fill(&dump, in_place)?
            }
        };
        let mut new_slots = slots.clone();
        let mut new_logicals = logicals.clone();
        if let Some(filled) = &filled {
            for slot in &mut new_slots {
                let new = placed(filled, slot.number)?;
                (slot.start, slot.size) = (new.start, new.size);
                boot.set_slot(slot.number, new.start, new.size)?;
            }
            for logical in &mut new_logicals {
                let new = placed(filled, logical.number)?;
                (logical.start, logical.size) = (new.start, new.size);
            }
            let is_unknown = |p: &&FillPartition| {
                p.size > 0 && p.number <= 4 && slots.iter().all(|slot| slot.number != p.number)
            };
            if let Some(stranger) = filled.iter().find(is_unknown) {
                return Err(only_in_dump(stranger.number));
            }
        }
        let limit = self.bytes(sectors);
        let mut partitions = Vec::new();
        for (new, old) in new_slots.iter().zip(&slots) {
            partitions.push(PlannedPartition {
                original_len: self.bytes(old.size),
                ..mbr_partition(
                    new.number,
                    new.is_active,
                    new.kind,
                    new.start,
                    new.size,
                    &self.shape,
                )
            });
        }
        check_partitions(&partitions, self.bytes(1), limit)?;
        let mut inner = Vec::new();
        for (new, old) in new_logicals.iter().zip(&logicals) {
            inner.push(PlannedPartition {
                original_len: self.bytes(old.size),
                ..mbr_partition(
                    new.number,
                    new.is_active,
                    new.kind,
                    new.start,
                    new.size,
                    &self.shape,
                )
            });
        }
        check_partitions(&inner, self.bytes(1), limit)?;

        let area = boot_area(self.files.mbr);
        let first = first_offset(&partitions, limit);
        let mut writes = Vec::new();
        writes.extend(gap_write(area, BOOT_SECTOR_LEN as u64, first));
        if let Some(slot) = new_slots.iter().find(|slot| mbr::is_extended(slot.kind)) {
            let code = self.files.ebrs.iter();
            let code = code.clone().find(|(number, _)| *number == slot.number);
            let records = mbr::chain(
                &(slot.start..slot.start + slot.size),
                &new_logicals,
                code.map(|(_, bytes)| *bytes),
                self.shape.logical_sector,
            )?;
            for (index, (lba, octets)) in records.iter().enumerate() {
                writes.push(TableWrite {
                    what: format!("table of logical partition {}", index + 5),
                    offset: self.bytes(*lba),
                    bytes: octets.to_vec(),
                });
            }
        }
        writes.push(boot_write("MBR", &boot));
        partitions.extend(inner);
        Ok(TablePlan {
            shape: self.shape,
            label: Label::Mbr {
                disk_id: boot.disk_id(),
            },
            partitions,
            warnings: self.warnings,
            writes,
        })
    }

    /// The logical partitions, which only the dump knows.
    fn logicals(&self, container: Option<&Slot>) -> Result<Vec<Logical>, PlanError> {
        let lines = self.original.iter().flat_map(|dump| &dump.partitions);
        let mut logicals = Vec::new();
        for line in lines.filter(|line| line.number >= 5 && line.size > 0) {
            let kind = line.mbr_kind().ok_or_else(|| MbrError::Kind {
                number: line.number,
                kind: line.kind.chars().take(40).collect(),
            })?;
            logicals.push(Logical {
                number: line.number,
                is_active: line.is_bootable,
                kind,
                start: line.start,
                size: line.size,
            });
        }
        logicals.sort_by_key(|logical| logical.number);
        match (container, logicals.first()) {
            (Some(slot), _) if self.original.is_none() => {
                let number = slot.number;
                Err(MbrError::NoDump { number }.into())
            }
            (None, Some(logical)) => {
                let number = logical.number;
                Err(MbrError::NoContainer { number }.into())
            }
            _ => Ok(logicals),
        }
    }

    fn compare_slots(&mut self, slots: &[Slot]) {
        let Some(dump) = &self.original else {
            return;
        };
        for slot in slots {
            let is_same = dump
                .partition(slot.number)
                .is_some_and(|line| (line.start, line.size) == (slot.start, slot.size));
            if !is_same && self.layout == Layout::Keep {
                self.warnings.push(format!(
                    "partition {} is in another place in dN.partitions; the place in dN.mbr counts",
                    slot.number
                ));
            }
        }
    }

    /// Lays out the partitions; `None` when they stay where they are because they fit only so.
    fn fill(
        &mut self,
        original: &Dump,
        in_place: bool,
    ) -> Result<Option<Vec<FillPartition>>, PlanError> {
        match fill(original, self.minimum.as_ref(), &self.fixed, &self.shape) {
            Ok(filled) => Ok(Some(filled)),
            Err(error @ FillError::TooSmall { .. }) if in_place => {
                self.warnings
                    .push(format!("partitions keep their places: {error}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sectors in bytes; what is beyond any disk stays beyond it.
    fn bytes(&self, sectors: u64) -> u64 {
        sectors.saturating_mul(self.shape.logical_sector.into())
    }
}

fn container(slots: &[Slot]) -> Result<Option<&Slot>, MbrError> {
    let mut extended = slots.iter().filter(|slot| mbr::is_extended(slot.kind));
    let first = extended.next();
    match (first, extended.next()) {
        (Some(first), Some(second)) => Err(MbrError::TwoExtended {
            first: first.number,
            second: second.number,
        }),
        _ => Ok(first),
    }
}

fn placed(filled: &[FillPartition], number: u32) -> Result<&FillPartition, PlanError> {
    filled
        .iter()
        .find(|p| p.number == number && p.size > 0)
        .ok_or_else(|| PlanError::Mismatch(format!("partition {number} is only in dN.mbr")))
}

fn only_in_dump(number: u32) -> PlanError {
    PlanError::Mismatch(format!("partition {number} is only in dN.partitions"))
}

/// The part of a boot area file that is written. FOG counts the space the file takes in units of 512
/// octets; 8 (one file system block) and 63 (the old gap in front of the first partition) mean one
/// sector.
fn boot_area(file: &[u8]) -> &[u8] {
    match file.len().div_ceil(BOOT_SECTOR_LEN) {
        8 | 63 => file.get(..BOOT_SECTOR_LEN).unwrap_or(file),
        _ => file,
    }
}

/// The boot area between `from` and the first partition: where boot loaders keep their second stage.
fn gap_write(area: &[u8], from: u64, first_partition: u64) -> Option<TableWrite> {
    let to = usize::try_from(first_partition).unwrap_or(usize::MAX);
    let to = to.min(area.len());
    let bytes = area.get(usize::try_from(from).ok()?..to)?;
    (!bytes.is_empty()).then(|| TableWrite {
        what: "boot loader in front of the first partition".to_owned(),
        offset: from,
        bytes: bytes.to_vec(),
    })
}

fn boot_write(what: &str, boot: &BootSector) -> TableWrite {
    TableWrite {
        what: what.to_owned(),
        offset: 0,
        bytes: boot.octets().to_vec(),
    }
}

fn first_offset(partitions: &[PlannedPartition], otherwise: u64) -> u64 {
    partitions
        .iter()
        .map(|partition| partition.offset)
        .min()
        .unwrap_or(otherwise)
}

#[cfg(test)]
mod tests;
