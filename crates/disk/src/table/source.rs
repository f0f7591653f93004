//! The disk that an image was captured from, as far as its files tell.

use super::dump::Dump;
use super::gpt::{GptBackup, is_backup};
use super::mbr::{BOOT_SECTOR_LEN, BootSector};
use super::{Shape, TableFiles};

/// The smallest disk that the image can have been captured from: what does not fit on it fits on no
/// disk that has room for the table.
///
/// A GPT backup records the disk's exact size. An MBR does not: there it is the end of the last
/// partition in the boot area or the dump, rounded up to a MiB. Files that cannot be read count as
/// absent; [`plan_table`](super::plan_table) says what is wrong with them.
#[must_use]
pub fn source_shape(files: &TableFiles<'_>) -> Shape {
    let dumps = [files.minimum, files.partitions].map(|text| Dump::parse(text?).ok());
    let recorded = dumps.iter().flatten().find_map(|dump| dump.sector_size);
    let recorded = recorded.filter(|size| size.is_power_of_two() && (512..=65536).contains(size));
    if is_backup(files.mbr)
        && let Ok(backup) = GptBackup::parse(files.mbr)
    {
        let logical_sector = backup.sector_size.or(recorded).unwrap_or(512);
        let sectors = backup
            .gpt
            .sectors_needed(logical_sector)
            .max(backup.sectors);
        return Shape {
            size: sectors.saturating_mul(logical_sector.into()),
            logical_sector,
        };
    }
    let slots = files.mbr.first_chunk::<BOOT_SECTOR_LEN>();
    let slots = slots.and_then(|first| BootSector::new(first).slots().ok());
    let slot_ends = slots
        .into_iter()
        .flatten()
        .map(|slot| slot.start + slot.size);
    let dump_ends = dumps
        .iter()
        .flatten()
        .flat_map(|dump| &dump.partitions)
        .map(|line| line.start.saturating_add(line.size))
        // No MBR can mean more.
        .filter(|end| *end < MBR_END);
    let logical_sector = recorded.unwrap_or(512);
    let end = slot_ends.chain(dump_ends).max().unwrap_or_default();
    Shape {
        size: end
            .saturating_mul(logical_sector.into())
            .max(1)
            .next_multiple_of(ROUND),
        logical_sector,
    }
}

/// First sector that no MBR partition can reach: start and size have 32 bits each.
const MBR_END: u64 = 1 << 33;
const ROUND: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::gpt::tests::backup;
    use super::super::mbr::tests::boot_sector;
    use super::super::{Layout, plan_table};
    use super::*;

    #[test]
    fn a_backup_knows_its_disk() {
        for (mib, logical_sector) in [(64, 512), (64, 4096), (5_000_000, 512)] {
            let disk = Shape {
                size: mib << 20,
                logical_sector,
            };
            let last = disk.sectors() - 40;
            let image = backup(&disk, &[(2048, 4095), (4096, last)]);
            let files = TableFiles {
                mbr: &image,
                ..TableFiles::default()
            };
            assert_eq!(source_shape(&files), disk);
        }
    }

    #[test]
    fn an_mbr_needs_its_last_partition() {
        let area = boot_sector(&[(0x80, 7, 2048, 8192), (0, 7, 10_240, 5)]);
        let dump = "label: dos\nsector-size: 512\n\n/dev/sda1 : start=2048, size=8192, type=7\n\
            /dev/sda2 : start=10240, size=20480, type=7\n";
        let mut files = TableFiles {
            mbr: &area,
            ..TableFiles::default()
        };
        let size = |files: &TableFiles<'_>| source_shape(files).size;
        assert_eq!(size(&files), 6 << 20);
        files.partitions = Some(dump);
        assert_eq!(size(&files), 15 << 20);
        let far = dump.replace("20480", "18446744073709500000");
        files.partitions = Some(&far);
        assert_eq!(size(&files), 6 << 20, "no MBR has such a partition");
        let large = dump.replace("sector-size: 512", "sector-size: 4096");
        files.partitions = Some(&large);
        assert_eq!(size(&files), 15 << 23);
        assert_eq!(source_shape(&files).logical_sector, 4096);
        files.partitions = Some(dump);
        plan_table(&files, &source_shape(&files), Layout::Fill).unwrap();
    }

    #[test]
    fn damaged_files_give_a_shape_all_the_same() {
        for mbr in [&[][..], &[0; 512], &[0xff; 600]] {
            let files = TableFiles {
                mbr,
                partitions: Some("start="),
                ..TableFiles::default()
            };
            let shape = source_shape(&files);
            assert_eq!((shape.size, shape.logical_sector), (1 << 20, 512));
        }
    }
}
