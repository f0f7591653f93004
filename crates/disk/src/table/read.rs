//! The table that a disk has, or would have.

use super::gpt::{self, GptCopy, GptError};
use super::mbr::{self, BOOT_SECTOR_LEN, BootSector, MbrError, PROTECTIVE};
use super::{Kind, Label, PlanError, PlannedPartition, Shape, Table};

/// Reads a partition table. `read` gives `len` octets at a byte offset; it is asked for whole sectors
/// and for the entries of a GPT, never beyond the end of the disk.
///
/// Of a GPT the primary copy counts, the backup if the primary is damaged. `Ok(None)` means that there
/// is no table.
///
/// # Errors
///
/// What `read` answers, and [`PlanError::Gpt`] or [`PlanError::Mbr`] for a table that is damaged.
pub fn read_table<E: From<PlanError>>(
    shape: &Shape,
    read: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<Option<Table>, E> {
    if shape.size < BOOT_SECTOR_LEN as u64 {
        return Ok(None);
    }
    let boot = boot_sector(read, 0)?;
    let slots = match boot.slots() {
        Ok(slots) => slots,
        Err(MbrError::Signature) => return Ok(None),
        Err(error) => return Err(PlanError::Mbr(error).into()),
    };
    if slots.iter().any(|slot| slot.kind == PROTECTIVE) {
        let copy = find_gpt(shape, read)?;
        return Ok(Some(gpt_table(&copy.gpt, shape)));
    }
    let mut partitions: Vec<_> = slots
        .iter()
        .map(|slot| {
            mbr_partition(
                slot.number,
                slot.is_active,
                slot.kind,
                slot.start,
                slot.size,
                shape,
            )
        })
        .collect();
    for slot in slots.iter().filter(|slot| mbr::is_extended(slot.kind)) {
        let end = slot.start.saturating_add(slot.size).min(shape.sectors());
        let sector = u64::from(shape.logical_sector);
        let logicals = mbr::follow_chain(&(slot.start..end), |lba| {
            boot_sector(read, lba.saturating_mul(sector)).map(|boot| boot.octets())
        })?;
        partitions.extend(
            logicals
                .iter()
                .map(|l| mbr_partition(l.number, l.is_active, l.kind, l.start, l.size, shape)),
        );
    }
    Ok(Some(Table {
        label: Label::Mbr {
            disk_id: boot.disk_id(),
        },
        partitions,
    }))
}

/// The copy of a GPT that counts: the primary, or the backup if that is damaged.
pub(super) fn find_gpt<E: From<PlanError>>(
    shape: &Shape,
    read: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<GptCopy, E> {
    match read_gpt(shape, read, 1) {
        Ok(Some(copy)) => Ok(copy),
        primary => {
            let backup = shape.sectors().saturating_sub(1);
            match (read_gpt(shape, read, backup)?, primary) {
                (Some(copy), _) => Ok(copy),
                (None, Err(error)) => Err(error),
                (None, Ok(_)) => Err(PlanError::Mbr(MbrError::ProtectiveOnly).into()),
            }
        }
    }
}

/// One copy of a GPT, the errors of which are not the reader's.
pub(super) fn read_gpt<E: From<PlanError>>(
    shape: &Shape,
    read: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>, E>,
    lba: u64,
) -> Result<Option<GptCopy>, E> {
    /// Either kind of error, told apart again below.
    enum Either<E> {
        Gpt(GptError),
        Other(E),
    }
    impl<E> From<GptError> for Either<E> {
        fn from(error: GptError) -> Self {
            Self::Gpt(error)
        }
    }
    let mut read = |offset, len| read(offset, len).map_err(Either::Other);
    gpt::read_copy(&mut read, lba, shape).map_err(|error| match error {
        Either::Gpt(error) => PlanError::Gpt(error).into(),
        Either::Other(error) => error,
    })
}

pub(super) fn gpt_table(gpt: &gpt::Gpt, shape: &Shape) -> Table {
    Table {
        label: Label::Gpt {
            disk_guid: gpt.disk_guid,
        },
        partitions: gpt
            .entries()
            .map(|entry| gpt_partition(&entry, shape))
            .collect(),
    }
}

pub(super) fn gpt_partition(entry: &gpt::Entry, shape: &Shape) -> PlannedPartition {
    let sector = u64::from(shape.logical_sector);
    let len = (entry.last - entry.first + 1).saturating_mul(sector);
    PlannedPartition {
        number: entry.number,
        offset: entry.first.saturating_mul(sector),
        len,
        original_len: len,
        kind: Kind::Gpt(entry.kind),
        guid: Some(entry.guid),
        attributes: entry.attributes,
        name: entry.name.clone(),
        is_bootable: false,
        is_extended: false,
        is_swap: false,
        swap_uuid: None,
    }
}

pub(super) fn mbr_partition(
    number: u32,
    is_active: bool,
    kind: u8,
    start: u64,
    size: u64,
    shape: &Shape,
) -> PlannedPartition {
    let sector = u64::from(shape.logical_sector);
    PlannedPartition {
        number,
        offset: start.saturating_mul(sector),
        len: size.saturating_mul(sector),
        original_len: size.saturating_mul(sector),
        kind: Kind::Mbr(kind),
        guid: None,
        attributes: 0,
        name: String::new(),
        is_bootable: is_active,
        is_extended: mbr::is_extended(kind),
        is_swap: false,
        swap_uuid: None,
    }
}

fn boot_sector<E: From<PlanError>>(
    read: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>, E>,
    offset: u64,
) -> Result<BootSector, E> {
    let bytes = read(offset, BOOT_SECTOR_LEN)?;
    match bytes.first_chunk() {
        Some(octets) => Ok(BootSector::new(octets)),
        None => Err(PlanError::Mbr(MbrError::Signature).into()),
    }
}
