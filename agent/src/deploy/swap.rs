//! Swap spaces: an image records only their UUIDs, so they are made anew.

use disk::{Target, swap_header};

use super::plan::DeployPlan;

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
