//! NTFS volumes: images lack the copy of the boot sector, so it is made anew.

use deploy_plan::{Place, WhichPlace};
use disk::{Target, WriteError};

/// An NTFS that was not completed.
#[derive(Debug, thiserror::Error)]
#[error("completing the NTFS of {which}: {source}")]
pub(crate) struct NtfsError {
    which: WhichPlace,
    source: WriteError,
}

/// Gives the NTFS that a stream has brought, if it is one, the copies of its boot sector. Comes when all
/// streams are on the disk. Answers whether it is one.
pub(crate) fn complete(place: Place<'_>, target: &Target) -> Result<bool, NtfsError> {
    target
        .copy_ntfs_boot(place.offset(), place.len())
        .map_err(|source| NtfsError {
            which: place.which(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, DISK_LEN};
    use super::*;

    #[test]
    fn partitions_with_a_stream_and_an_ntfs_get_the_copies() {
        let shape = disk::Shape {
            size: DISK_LEN,
            logical_sector: 512,
        };
        let (manifest, files) = samples::with_swap(None);
        let plan = deploy_plan::plan(&manifest, &files, &[shape]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(DISK_LEN).unwrap();
        let target = Target::open(file.path(), &shape).unwrap();
        // A volume of 101 sectors, in both partitions; the second one has no stream.
        let mut boot = vec![0; 512];
        boot[3..11].copy_from_slice(b"NTFS    ");
        boot[11..13].copy_from_slice(&512_u16.to_le_bytes());
        boot[40..48].copy_from_slice(&100_u64.to_le_bytes());
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        for Place { partition, .. } in plan.places() {
            let mut writer = target.writer(partition.offset, partition.len).unwrap();
            writer.write_at(0, &boot).unwrap();
            writer.finish().unwrap();
        }
        for place in plan.written() {
            complete(place, &target).unwrap();
        }
        drop(target);
        let written = std::fs::read(file.path()).unwrap();
        let copies = |number| {
            let region = &written[samples::region(number)];
            let places = [100 * 512, region.len() - 512];
            places.map(|at| region[at..at + 512] == boot)
        };
        assert_eq!((copies(1), copies(2)), ([true; 2], [false; 2]));
    }
}
