//! The small files of one disk.

use disk::{Shape, TableFiles};
use fog::store::StreamName;

use crate::{Refusal, SmallFiles};

/// What describes the table of the disk with this number.
///
/// # Errors
/// If a file is absent or no text.
pub(crate) fn table_files(files: &SmallFiles, disk: u32) -> Result<TableFiles<'_>, Refusal> {
    let text = |ending: &str| -> Result<Option<&str>, Refusal> {
        let name = format!("d{disk}.{ending}");
        files
            .get(&name)
            .map(|bytes| {
                str::from_utf8(bytes).map_err(|error| Refusal::NotText {
                    name,
                    cause: error.to_string(),
                })
            })
            .transpose()
    };
    let area = format!("d{disk}.mbr");
    let mbr = files.get(&area);
    let mbr = mbr.ok_or(Refusal::MissingFile { name: area })?;
    let partitions = match text("partitions")? {
        Some(dump) => Some(dump),
        None => text("original.partitions")?,
    };
    Ok(TableFiles {
        mbr,
        grub_mbr: files.get(&format!("d{disk}.grub.mbr")).map(Vec::as_slice),
        partitions,
        minimum: text("minimum.partitions")?,
        fixed: text("fixed_size_partitions")?,
        swap_uuids: text("original.swapuuids")?,
        ebrs: files
            .iter()
            .filter_map(|(name, bytes)| Some((ebr_number(name, disk)?, bytes.as_slice())))
            .collect(),
    })
}

/// The shape of the disk that a table was captured from, as far as the files tell.
pub(crate) fn source_table_shape(files: &SmallFiles, disk: u32) -> Result<Shape, Refusal> {
    Ok(disk::source_shape(&table_files(files, disk)?))
}

/// The partition number in `dNpM.ebr`.
fn ebr_number(name: &str, disk: u32) -> Option<u32> {
    let stem = name.strip_suffix(".ebr")?;
    let id = StreamName::of_file(&format!("{stem}.img")).partition()?;
    (id.disk == disk).then_some(id.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logical_partitions_have_their_boot_records() {
        assert_eq!(ebr_number("d1p5.ebr", 1), Some(5));
        assert_eq!(ebr_number("d2p5.ebr", 2), Some(5));
        for name in ["d2p5.ebr", "d1p5.img", "d1p05.ebr", "d1.ebr", "x.ebr"] {
            assert_eq!(ebr_number(name, 1), None, "{name}");
        }
    }
}
