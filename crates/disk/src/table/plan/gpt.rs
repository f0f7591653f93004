//! Plans for disks with a GPT.

use super::{Draft, boot_write, first_offset, gap_write, only_in_dump, placed};
use crate::table::check::check_partitions;
use crate::table::dump::{Dump, DumpLabel, DumpPartition};
use crate::table::fill::FillPartition;
use crate::table::gpt::{self, GptBackup};
use crate::table::mbr::BootSector;
use crate::table::read::gpt_partition;
use crate::table::{
    Label, Layout, PlanError, PlannedPartition, TablePlan, TableWarning, TableWrite,
};

impl Draft<'_> {
    pub(super) fn gpt(mut self) -> Result<TablePlan, PlanError> {
        let GptBackup {
            mbr,
            mut gpt,
            sector_size,
            ..
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
                self.fill(&dump, self.shape.sectors(), in_place)?
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
            let area = grub;
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
            self.warnings.push(TableWarning::Hybrid {
                is_kept: filled.is_none(),
            });
        }
        writes.push(boot_write("protective MBR", &boot));
        Ok(TablePlan {
            shape: self.shape,
            label: Label::Gpt {
                disk_guid: gpt.disk_guid,
            },
            usable: Some(place.first_usable..=place.last_usable),
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
            self.warnings.push(TableWarning::DiskGuid {
                taken: guid,
                left: gpt.disk_guid,
            });
            gpt.disk_guid = guid;
        }
        let entries: Vec<_> = gpt.entries().collect();
        for entry in &entries {
            let Some(line) = dump.partition(entry.number) else {
                self.warnings.push(TableWarning::NotInDump {
                    number: entry.number,
                });
                continue;
            };
            let mut new = entry.clone();
            new.kind = line.gpt_kind().unwrap_or(entry.kind);
            new.guid = line.uuid.unwrap_or(entry.guid);
            if new != *entry && gpt::type_name(&new.kind) != Some("Linux swap") {
                self.warnings.push(TableWarning::OtherIdentity {
                    number: entry.number,
                });
                gpt.set_entry(&new);
            }
        }
        for line in dump.partitions.iter().filter(|line| line.size > 0) {
            if entries.iter().all(|entry| entry.number != line.number) {
                self.warnings.push(TableWarning::NotInBackup {
                    number: line.number,
                });
            }
        }
    }
}
