//! How large each partition becomes.

use super::image::Demand;
use super::{FillError, Image, Input, Role, sum};

/// The size of each partition on a disk of so many sectors, in the order of the image. That of a
/// container is the one of the dump.
pub(super) fn sizes(image: &Image, sectors: u64, quantum: u64) -> Result<Vec<u64>, FillError> {
    let Demand {
        reserve, variable, ..
    } = image.demand()?;
    let room = sectors.saturating_sub(reserve);
    let sizes = image.inputs.iter().map(|input| match input.role {
        Role::Fixed | Role::Extended => input.size,
        Role::Variable => share(input, room, variable, quantum),
    });
    Ok(sizes.collect())
}

/// Sectors that all partitions need together.
pub(super) fn least_disk(image: &Image) -> Result<u64, FillError> {
    let Demand { reserve, least, .. } = image.demand()?;
    sum([reserve, least])
}

/// A variable partition's part of the room, in proportion to its original size. FOG rounds a minimum
/// that is no multiple of the quantum down, below the minimum; this rounds it up.
fn share(input: &Input, room: u64, total: u64, quantum: u64) -> u64 {
    let rounded = input.size - input.size % quantum;
    let part = u128::from(room) * u128::from(rounded) / u128::from(total.max(1));
    // No larger than the room, for rounded <= total.
    let part = u64::try_from(part).unwrap_or(room);
    let part = part - part % quantum;
    if part < input.minimum {
        input
            .minimum
            .checked_next_multiple_of(quantum)
            .unwrap_or(input.minimum)
    } else {
        part
    }
}
