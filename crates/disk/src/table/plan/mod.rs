//! From an image's files and a disk's shape to a plan.

use std::collections::HashMap;

use uuid::Uuid;

use super::check::self_check;
use super::dump::{Dump, DumpLabel};
use super::fill::{FillError, FillPartition, fill, parse_fixed};
use super::gpt::is_backup;
use super::mbr::{BOOT_SECTOR_LEN, BootSector};
use super::{
    Kind, Layout, PlanError, PlannedPartition, Shape, TableFiles, TablePlan, TableWarning,
    TableWrite,
};
use crate::swap::swap_uuids;

mod gpt;
mod mbr;

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
    let mut plan = if is_backup(files.mbr) {
        draft.gpt()?
    } else {
        draft.mbr(&BootSector::new(first))?
    };
    plan.mark_swap(&swap_uuids(files.swap_uuids.unwrap_or_default())?);
    self_check(&plan)?;
    Ok(plan)
}

impl TablePlan {
    /// Marks what is made swap space: what has the type, and in a GPT also what the list names.
    fn mark_swap(&mut self, list: &[(u32, Option<Uuid>)]) {
        // Of a number that occurs twice the first counts. The list may be as long as its file.
        let list: HashMap<u32, Option<Uuid>> = list.iter().rev().copied().collect();
        for partition in &mut self.partitions {
            let entry = list.get(&partition.number);
            partition.is_swap = match partition.kind {
                Kind::Gpt(_) => entry.is_some() || partition.kind.is_swap(),
                Kind::Mbr(_) => partition.kind.is_swap(),
            };
            if partition.is_swap {
                partition.swap_uuid = entry.copied().flatten();
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
    warnings: Vec<TableWarning>,
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
                    self.warnings
                        .push(TableWarning::DumpNotUsed(error.to_string()));
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
                "one is a {expected} table, the other a {found} table"
            ))),
            _ => Ok(()),
        }
    }

    /// Lays out the partitions on the first so many sectors of the disk; `None` when they stay where they
    /// are because they fit only so.
    fn fill(
        &mut self,
        original: &Dump,
        sectors: u64,
        in_place: bool,
    ) -> Result<Option<Vec<FillPartition>>, PlanError> {
        let room = Shape {
            size: self.shape.size.min(self.bytes(sectors)),
            ..self.shape
        };
        match fill(original, self.minimum.as_ref(), &self.fixed, &room) {
            Ok(filled) => Ok(Some(filled)),
            Err(error @ FillError::TooSmall { .. }) if in_place => {
                self.warnings.push(TableWarning::KeepsPlaces(error));
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

fn placed(filled: &[FillPartition], number: u32) -> Result<&FillPartition, PlanError> {
    filled
        .iter()
        .find(|p| p.number == number && p.size > 0)
        .ok_or_else(|| PlanError::Mismatch(format!("partition {number} is only in dN.mbr")))
}

fn only_in_dump(number: u32) -> PlanError {
    PlanError::Mismatch(format!("partition {number} is only in dN.partitions"))
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
