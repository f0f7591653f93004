//! What an image needs and does not get, so that nothing is skipped in silence.

use disk::SWAP_LEN_MIN;

use crate::{DeployPlan, Destination, DiskPlan, PlannedStream, Warning};

/// What people should know of a plan.
pub(crate) fn warnings(plan: &DeployPlan) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for disk in &plan.disks {
        of_disk(plan, disk, &mut warnings);
    }
    for stream in &plan.streams {
        match stream.destination {
            Destination::Nowhere => warnings.push(Warning::ExtendedLeftOut {
                name: stream.name.clone(),
            }),
            Destination::Disk { which, len } if len > stream.facts.device_size => {
                warnings.push(Warning::RestUnused {
                    disk: which,
                    len,
                    used: stream.facts.device_size,
                });
            }
            Destination::Disk { .. }
            | Destination::Partition { .. }
            | Destination::Volume { .. } => {}
        }
    }
    warnings
}

fn of_disk(plan: &DeployPlan, disk: &DiskPlan, warnings: &mut Vec<Warning>) {
    let of_table = disk.table.iter().flat_map(|table| &table.warnings);
    warnings.extend(of_table.map(|warning| Warning::Table(disk.which, warning.clone())));
    let volumes = plan.volumes().filter(|place| place.disk == disk.which);
    let partitions = disk
        .places()
        .filter(|place| plan.group_in(*place).is_none());
    for place in partitions.chain(volumes) {
        let (which, partition, len) = (place.which(), place.partition, place.len());
        let Some(stream) = plan.stream_of(place) else {
            if place.is_swap() && len < SWAP_LEN_MIN {
                warnings.push(Warning::SwapTooSmall { which, len });
            } else if place.is_swap() {
                if place.swap_uuid().is_none() {
                    warnings.push(Warning::SwapWithoutUuid { which });
                }
            } else if place.volume.is_some() {
                warnings.push(Warning::VolumeWithoutStream { which, len });
            } else if !(partition.is_extended || partition.is_reserved()) {
                warnings.push(Warning::NoStream {
                    which: which.partition,
                    kind: partition.kind,
                    len,
                });
            }
            continue;
        };
        if is_too_small(stream, len) {
            warnings.push(Warning::NotGrown {
                which,
                len,
                filesystem: stream.facts.filesystem.clone(),
                kept: stream.facts.device_size,
            });
        }
    }
}

/// Whether a file system stays smaller than its partition.
fn is_too_small(stream: &PlannedStream, len: u64) -> bool {
    len > stream.facts.device_size && stream.growth.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{WhichDisk, plan, samples};

    #[test]
    fn of_reserved_and_swap_partitions_no_stream_is_expected() {
        let mut manifest = samples::manifest();
        manifest.streams.pop();
        let mut planned = plan(&manifest, &samples::small_files(), &[samples::SHAPE]).unwrap();
        let mut with_kind = |guid: &str| {
            let table = planned.disks[0].table.as_mut().unwrap();
            table.partitions[1].kind = disk::Kind::Gpt(guid.parse().unwrap());
            table.partitions[1].is_swap = table.partitions[1].kind.is_swap();
            warnings(&planned)
        };
        assert_eq!(with_kind("e3c9e316-0b5c-4db8-817d-f92df00215ae"), []);
        assert_eq!(
            with_kind("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"),
            [Warning::SwapWithoutUuid {
                which: WhichDisk::ONLY.partition(2).into()
            }]
        );
    }

    #[test]
    fn a_swap_space_without_room_is_said_and_not_made() {
        let (manifest, files) = samples::with_swap(None);
        let mut planned = plan(&manifest, &files, &[samples::SHAPE]).unwrap();
        assert_eq!(planned.swap_spaces().count(), 1);
        assert_eq!(planned.unwritten(WhichDisk::ONLY), Vec::<u32>::new());
        let table = planned.disks[0].table.as_mut().unwrap();
        table.partitions[1].len = 9 * 4096;
        assert_eq!(planned.swap_spaces().count(), 0);
        assert_eq!(planned.unwritten(WhichDisk::ONLY), [2]);
        assert_eq!(
            warnings(&planned),
            [Warning::SwapTooSmall {
                which: WhichDisk::ONLY.partition(2).into(),
                len: 9 * 4096
            }]
        );
    }
}
