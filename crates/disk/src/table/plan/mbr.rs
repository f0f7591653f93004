//! Plans for disks with an MBR.

use super::{Draft, boot_write, first_offset, gap_write, only_in_dump, placed};
use crate::table::check::check_partitions;
use crate::table::dump::{Dump, DumpLabel, DumpPartition};
use crate::table::fill::FillPartition;
use crate::table::mbr::{self, BOOT_SECTOR_LEN, BootSector, Logical, MbrError, PROTECTIVE, Slot};
use crate::table::read::mbr_partition;
use crate::table::{
    Label, Layout, PlanError, PlannedPartition, TablePlan, TableWarning, TableWrite,
};

impl Draft<'_> {
    pub(super) fn mbr(mut self, boot: &BootSector) -> Result<TablePlan, PlanError> {
        self.check_label(DumpLabel::Dos)?;
        let mut boot = *boot;
        let slots = boot.slots()?;
        if slots.iter().any(|slot| slot.kind == PROTECTIVE) {
            return Err(MbrError::ProtectiveOnly.into());
        }
        let container = container(&slots)?;
        let logicals = self.logicals(container)?;
        self.compare_slots(&slots);

        // What lies beyond stays unused: start and size have 32 bits each.
        let sectors = self.shape.sectors();
        let shared = sectors.min(mbr::MAX_SECTORS);
        if self.layout == Layout::Fill && shared < sectors {
            self.warnings.push(TableWarning::BeyondMbr {
                used: self.bytes(shared),
                size: self.shape.size,
            });
        }
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
                self.fill(&dump, shared, in_place)?
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

        let area = self.files.mbr;
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
            usable: None,
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
                self.warnings.push(TableWarning::OtherPlace {
                    number: slot.number,
                });
            }
        }
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
