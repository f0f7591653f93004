//! Swap spaces: an image records only their UUIDs, so they are made anew.

use deploy_plan::DeployPlan;
use disk::{Target, swap_header};

/// Why a swap space was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwapError {
    #[error("swap space on partition {number}: {source}")]
    Header {
        number: u32,
        source: disk::SwapError,
    },
    #[error("swap space on partition {number}: {source}")]
    Write {
        number: u32,
        source: disk::WriteError,
    },
}

/// Makes the swap spaces whose UUIDs are recorded. For the others the plan has a warning.
pub(crate) fn create(plan: &DeployPlan, target: &Target) -> Result<(), SwapError> {
    for partition in plan.swap_spaces() {
        let number = partition.number;
        let Some(uuid) = partition.swap_uuid else {
            continue;
        };
        let header = swap_header(partition.len, uuid, PAGE_SIZE)
            .map_err(|source| SwapError::Header { number, source })?;
        target
            .writer(partition.offset, partition.len)
            .and_then(|mut writer| {
                writer.write_at(0, &header)?;
                writer.finish()
            })
            .map_err(|source| SwapError::Write { number, source })?;
    }
    Ok(())
}

/// Of x86 and nearly all other machines.
const PAGE_SIZE: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::super::samples::{self, DISK_LEN};
    use super::*;

    #[test]
    fn swap_spaces_are_made_with_their_uuid() {
        let uuid = "8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d";
        let (manifest, files) = samples::with_swap(Some(&format!("2 {uuid}\n")));
        let shape = disk::Shape {
            size: DISK_LEN,
            logical_sector: 512,
        };
        let plan = deploy_plan::plan(&manifest, &files, &shape).unwrap();

        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(DISK_LEN).unwrap();
        let target = Target::open(file.path(), &shape).unwrap();
        target.make_unbootable(&plan.table).unwrap();
        create(&plan, &target).unwrap();
        drop(target);
        let written = std::fs::read(file.path()).unwrap();
        let swap = &written[samples::region(2)];
        assert_eq!(&swap[4086..4096], b"SWAPSPACE2");
        assert_eq!(swap[1036], 0x8c);
    }
}
