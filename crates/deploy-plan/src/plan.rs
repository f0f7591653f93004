//! From manifest, small files and the shapes of disks to a plan.

use std::collections::HashSet;

use disk::{Layout, PlannedPartition, SWAP_LEN_MIN, Shape, TablePlan, Uuid};
use fog::store::{PartitionId, StreamName};
use fog::task::ImageType;
use fos_api::{Blake3, ImageFacts, Manifest, StreamFacts};

use crate::files::{source_table_shape, table_files};
use crate::legacy::{self, Substitute};
use crate::manifest::{check_manifest, image_disks, recorded_sizes};
use crate::volumes::{SIDECAR, VolumesError};
use crate::{
    ComputerName, Growable, PlannedGroup, PlannedVolume, Refusal, SmallFiles, Warning, WhichDisk,
    WhichPartition, WhichPlace, lacks, volumes,
};

/// A deploy that can be carried out on disks of known shapes.
#[derive(Debug, Clone)]
pub struct DeployPlan {
    /// The disks, in ascending order of their numbers.
    pub disks: Vec<DiskPlan>,
    /// The streams in the order of sending.
    pub streams: Vec<PlannedStream>,
    /// The volume groups.
    pub groups: Vec<PlannedGroup>,
    /// What people should know although it can be done.
    pub warnings: Vec<Warning>,
    /// The name that a restored Windows is to have. No image decides that: it is set in a plan that was made.
    pub computer_name: Option<ComputerName>,
}

/// What becomes of one disk.
#[derive(Debug, Clone)]
pub struct DiskPlan {
    /// Which one.
    pub which: WhichDisk,
    /// Its size and sectors.
    pub shape: Shape,
    /// The partition table; `None` if a stream brings all of the disk.
    pub table: Option<TablePlan>,
}

/// A partition of one of the disks of a plan, or a volume on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The disk.
    pub disk: WhichDisk,
    /// The partition.
    pub partition: &'a PlannedPartition,
    /// The volume on it; `None` if the partition itself is meant.
    pub volume: Option<&'a PlannedVolume>,
}

impl Place<'_> {
    /// Its name.
    #[must_use]
    pub fn which(&self) -> WhichPlace {
        WhichPlace {
            partition: self.which_partition(),
            volume: self.volume.map(|volume| volume.name.clone()),
        }
    }

    /// The partition's name.
    #[must_use]
    pub fn which_partition(&self) -> WhichPartition {
        self.disk.partition(self.partition.number)
    }

    /// First byte, counted from the start of the disk.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.volume
            .map_or(self.partition.offset, |volume| volume.offset)
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.volume.map_or(self.partition.len, |volume| volume.len)
    }

    /// First byte behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset().saturating_add(self.len())
    }

    /// Whether there is nothing of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is to become swap space, if no stream comes for it.
    #[must_use]
    pub fn is_swap(&self) -> bool {
        (self.volume).map_or(self.partition.is_swap, |volume| volume.is_swap)
    }

    /// UUID that the swap space had, if it was recorded.
    #[must_use]
    pub fn swap_uuid(&self) -> Option<Uuid> {
        (self.volume).map_or(self.partition.swap_uuid, |volume| volume.swap_uuid)
    }
}

impl DeployPlan {
    /// Partitions and volumes that are to become swap space: no stream comes for them, and they are large enough.
    pub fn swap_spaces(&self) -> impl Iterator<Item = Place<'_>> {
        let partitions = self
            .places()
            .filter(|place| self.group_in(*place).is_none());
        partitions.chain(self.volumes()).filter(|place| {
            place.is_swap() && place.len() >= SWAP_LEN_MIN && self.stream_of(*place).is_none()
        })
    }

    /// Numbers of the partitions of a disk that get nothing: neither a stream nor a swap space. What they hold
    /// stays if the disk has had them at the same place.
    #[must_use]
    pub fn unwritten(&self, disk: WhichDisk) -> Vec<u32> {
        let written = self.written().chain(self.swap_spaces());
        let written = written.map(|place| place.which_partition());
        let groups = self.groups.iter().map(|group| group.which);
        let written: HashSet<WhichPartition> = written.chain(groups).collect();
        let places = self.places().filter(|place| place.disk == disk);
        places
            .filter(|place| {
                !place.partition.is_extended && !written.contains(&place.which_partition())
            })
            .map(|place| place.partition.number)
            .collect()
    }

    /// Partitions and volumes that streams are written to.
    pub fn written(&self) -> impl Iterator<Item = Place<'_>> {
        self.places()
            .chain(self.volumes())
            .filter(|place| self.stream_of(*place).is_some())
    }

    /// The stream that is written to a partition, or a volume.
    #[must_use]
    pub fn stream_of(&self, place: Place<'_>) -> Option<&PlannedStream> {
        let partition = place.which_partition();
        self.streams.iter().find(|stream| match stream.destination {
            Destination::Partition { which, .. } => which == partition && place.volume.is_none(),
            Destination::Volume { which, index, .. } => {
                which == partition && place.volume.is_some_and(|volume| volume.index == index)
            }
            Destination::Disk { .. } | Destination::Nowhere => false,
        })
    }

    /// The volume group that is made on a partition.
    #[must_use]
    pub fn group_in(&self, place: Place<'_>) -> Option<&PlannedGroup> {
        let mut groups = self.groups.iter();
        groups.find(|group| group.which == place.which_partition())
    }

    /// All volumes of all groups.
    pub fn volumes(&self) -> impl Iterator<Item = Place<'_>> {
        let groups = self.groups.iter().filter_map(|group| {
            let mut places = self.places();
            let place = places.find(|place| place.which_partition() == group.which)?;
            Some(group.volumes.iter().map(move |volume| Place {
                volume: Some(volume),
                ..place
            }))
        });
        groups.flatten()
    }

    /// All partitions of all disks.
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.disks.iter().flat_map(DiskPlan::places)
    }
}

impl DiskPlan {
    /// Its partitions in order of their numbers.
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let partitions = self.table.iter().flat_map(|table| &table.partitions);
        partitions.map(|partition| Place {
            disk: self.which,
            partition,
            volume: None,
        })
    }
}

/// One stream and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStream {
    /// Name.
    pub name: StreamName,
    /// Stored bytes.
    pub stored_len: u64,
    /// Of the stored bytes.
    pub blake3: Blake3,
    /// What the image header says.
    pub facts: ImageFacts,
    /// Where it goes.
    pub destination: Destination,
    /// The file system that is grown to fill the partition: of a resizable image, where the partition has
    /// become larger than what was captured.
    pub growth: Option<Growable>,
}

/// Where a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To a partition.
    Partition {
        /// Which.
        which: WhichPartition,
        /// Its first byte, counted from the start of the disk.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// To a volume on a partition.
    Volume {
        /// The partition.
        which: WhichPartition,
        /// Place of the volume in [`PlannedGroup::volumes`].
        index: usize,
        /// Its first byte, counted from the start of the disk.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// To a disk, partition table and all.
    Disk {
        /// Which.
        which: WhichDisk,
        /// The disk's length in bytes.
        len: u64,
    },
    /// Received and verified, but written nowhere: the container of logical partitions.
    Nowhere,
}

/// Lays the image out on disks of these shapes, one for each of [`image_disks`].
///
/// # Errors
/// If the image's files make no table on a disk, or a stream does not fit its place.
pub fn plan(
    manifest: &Manifest,
    files: &SmallFiles,
    shapes: &[Shape],
) -> Result<DeployPlan, Refusal> {
    let numbers = image_disks(manifest)?;
    if numbers.len() != shapes.len() {
        return Err(Refusal::Disks {
            needed: numbers.len(),
            found: shapes.len(),
        });
    }
    let layout = match manifest.image_type {
        ImageType::Resizable => Layout::Fill,
        _ => Layout::Keep,
    };
    let mut disks = Vec::new();
    for (index, (&number, shape)) in numbers.iter().zip(shapes).enumerate() {
        let which = WhichDisk {
            index,
            number,
            is_only: numbers.len() == 1,
        };
        let table = (manifest.image_type != ImageType::Raw)
            .then(|| table(manifest, files, number, shape, layout))
            .transpose()
            .map_err(|refusal| refusal.of_disk(which))?;
        disks.push(DiskPlan {
            which,
            shape: *shape,
            table,
        });
    }
    let groups = volumes::groups(manifest, files, &disks, layout)?;
    let streams = manifest
        .streams
        .iter()
        .map(|facts| place(manifest, facts, &disks, &groups, layout))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plan = DeployPlan {
        disks,
        streams,
        groups,
        warnings: Vec::new(),
        computer_name: None,
    };
    plan.warnings = lacks::warnings(&plan);
    Ok(plan)
}

fn table(
    manifest: &Manifest,
    files: &SmallFiles,
    number: u32,
    shape: &Shape,
    layout: Layout,
) -> Result<TablePlan, Refusal> {
    let found = table_files(files, number)?;
    if legacy::is_legacy(manifest) {
        let substitute = Substitute::new(manifest, files)?;
        return Ok(disk::plan_table(
            &substitute.complete(found),
            shape,
            layout,
        )?);
    }
    Ok(disk::plan_table(&found, shape, layout)?)
}

/// The plan for disks as large as those that the image was captured from. What this refuses, every
/// client refuses.
///
/// # Errors
/// Of [`check_manifest`] and [`plan`].
pub fn plan_for_source(manifest: &Manifest, files: &SmallFiles) -> Result<DeployPlan, Refusal> {
    check_manifest(manifest)?;
    let mut plan = plan(manifest, files, &source_shapes(manifest, files)?)?;
    plan.warnings
        .retain(|warning| !warning.is_about_disk_size());
    Ok(plan)
}

/// The shapes of the disks that the image was captured from, as far as its files tell, in the order of
/// [`image_disks`].
///
/// # Errors
/// If a file is absent or damaged.
pub fn source_shapes(manifest: &Manifest, files: &SmallFiles) -> Result<Vec<Shape>, Refusal> {
    recorded_sizes(&image_disks(manifest)?, files)?;
    let largest = manifest.streams.iter();
    let largest = largest.map(|stream| stream.image.device_size).max();
    if manifest.image_type == ImageType::Raw {
        return Ok(vec![Shape {
            size: largest.unwrap_or_default(),
            logical_sector: 512,
        }]);
    }
    let numbers = image_disks(manifest)?;
    let shape = |&number: &u32| {
        let mut shape = source_table_shape(files, number)?;
        if legacy::is_legacy(manifest) {
            // The boot area may be of the table with the shrunken partition, or of that before.
            shape.size = shape.size.saturating_add(largest.unwrap_or_default());
        }
        Ok(shape)
    };
    numbers.iter().map(shape).collect()
}

fn place(
    manifest: &Manifest,
    facts: &StreamFacts,
    disks: &[DiskPlan],
    groups: &[PlannedGroup],
    layout: Layout,
) -> Result<PlannedStream, Refusal> {
    let name = &facts.name;
    let destination = match name.volume() {
        Some(id) if manifest.image_type != ImageType::Raw => volume(name, id, groups)?,
        _ => destination(manifest, facts, disks, layout)?,
    };
    if let Destination::Partition { which, .. } = destination
        && groups.iter().any(|group| group.which == which)
    {
        return Err(Refusal::Volumes {
            name: format!("d{}p{}{SIDECAR}", which.disk.number, which.number),
            cause: Box::new(VolumesError::Both(name.clone())),
        });
    }
    let growth = match destination {
        Destination::Partition { len, .. } | Destination::Volume { len, .. }
            if len > facts.image.device_size =>
        {
            let kind = Growable::of_name(&facts.image.filesystem);
            kind.filter(|_| layout == Layout::Fill)
        }
        _ => None,
    };
    Ok(PlannedStream {
        growth,
        name: name.clone(),
        stored_len: facts.stored_len,
        blake3: facts.blake3,
        facts: facts.image.clone(),
        destination,
    })
}

fn volume(
    name: &StreamName,
    id: PartitionId,
    groups: &[PlannedGroup],
) -> Result<Destination, Refusal> {
    let mut groups = groups.iter();
    let group = groups
        .find(|group| (group.which.disk.number, group.which.number) == (id.disk, id.partition));
    let found = group.and_then(|group| {
        let mut volumes = group.volumes.iter();
        let volume = volumes.find(|volume| volume.image.as_ref() == Some(name))?;
        Some(Destination::Volume {
            which: group.which,
            index: volume.index,
            offset: volume.offset,
            len: volume.len,
        })
    });
    found.ok_or_else(|| Refusal::Stream { name: name.clone() })
}

fn destination(
    manifest: &Manifest,
    facts: &StreamFacts,
    disks: &[DiskPlan],
    layout: Layout,
) -> Result<Destination, Refusal> {
    let name = facts.name.clone();
    let needed = facts.image.device_size;
    let (disk, number) = match name.partition() {
        _ if manifest.image_type == ImageType::Raw => (1, None),
        Some(id) => (id.disk, Some(id.partition)),
        None => (1, legacy::partition(manifest, &name)),
    };
    let disk = disks.iter().find(|found| found.which.number == disk);
    let Some(disk) = disk else {
        return Err(Refusal::Stream { name });
    };
    let (table, number) = match (&disk.table, number) {
        (Some(table), Some(number)) => (table, number),
        (None, None) => {
            let len = disk.shape.size;
            return match needed.checked_sub(len).filter(|&left| left > 0) {
                Some(missing) => Err(Refusal::DiskTooSmall {
                    name,
                    len,
                    needed,
                    missing,
                }),
                None => Ok(Destination::Disk {
                    which: disk.which,
                    len,
                }),
            };
        }
        _ => return Err(Refusal::Stream { name }),
    };
    let Some(partition) = table.partition(number) else {
        return Err(Refusal::NoPartition { number, name });
    };
    if partition.is_extended {
        return Ok(Destination::Nowhere);
    }
    let len = partition.len;
    if let Some(missing) = needed.checked_sub(len).filter(|&left| left > 0) {
        return Err(match layout {
            Layout::Fill => Refusal::TooSmall {
                number,
                name,
                len,
                needed,
                missing,
            },
            Layout::Keep => Refusal::OtherPartition {
                number,
                name,
                len,
                needed,
                missing,
            },
        });
    }
    Ok(Destination::Partition {
        which: disk.which.partition(number),
        offset: partition.offset,
        len,
    })
}
