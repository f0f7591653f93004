//! From manifest, small files and the shapes of disks to a plan.

use std::collections::HashSet;

use disk::{Layout, PlannedPartition, SWAP_LEN_MIN, Shape, TablePlan};
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{Blake3, ImageFacts, Manifest, StreamFacts};

use crate::files::{source_table_shape, table_files};
use crate::legacy::{self, Substitute};
use crate::manifest::{check_manifest, image_disks, recorded_sizes};
use crate::{ComputerName, Growable, Refusal, SmallFiles, Warning, WhichDisk, WhichPartition, lacks};

/// A deploy that can be carried out on disks of known shapes.
#[derive(Debug, Clone)]
pub struct DeployPlan {
    /// The disks, in ascending order of their numbers.
    pub disks: Vec<DiskPlan>,
    /// The streams in the order of sending.
    pub streams: Vec<PlannedStream>,
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

/// A partition of one of the disks of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The disk.
    pub disk: WhichDisk,
    /// The partition.
    pub partition: &'a PlannedPartition,
}

impl Place<'_> {
    /// Its name.
    #[must_use]
    pub fn which(&self) -> WhichPartition {
        self.disk.partition(self.partition.number)
    }
}

impl DeployPlan {
    /// Partitions that are to become swap space: no stream comes for them, and they are large enough.
    pub fn swap_spaces(&self) -> impl Iterator<Item = Place<'_>> {
        self.places().filter(|place| {
            place.partition.is_swap
                && place.partition.len >= SWAP_LEN_MIN
                && self.stream_of(place.which()).is_none()
        })
    }

    /// Numbers of the partitions of a disk that get nothing: neither a stream nor a swap space. What they hold
    /// stays if the disk has had them at the same place.
    #[must_use]
    pub fn unwritten(&self, disk: WhichDisk) -> Vec<u32> {
        let written = self.written().chain(self.swap_spaces());
        let written: HashSet<WhichPartition> = written.map(|place| place.which()).collect();
        let places = self.places().filter(|place| place.disk == disk);
        places
            .filter(|place| !place.partition.is_extended && !written.contains(&place.which()))
            .map(|place| place.partition.number)
            .collect()
    }

    /// Partitions that streams are written to.
    pub fn written(&self) -> impl Iterator<Item = Place<'_>> {
        self.places()
            .filter(|place| self.stream_of(place.which()).is_some())
    }

    /// The stream that is written to a partition.
    #[must_use]
    pub fn stream_of(&self, partition: WhichPartition) -> Option<&PlannedStream> {
        let mut streams = self.streams.iter();
        streams.find(|stream| stream.partition() == Some(partition))
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
    let streams = manifest
        .streams
        .iter()
        .map(|facts| place(manifest, facts, &disks, layout))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plan = DeployPlan {
        disks,
        streams,
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
    layout: Layout,
) -> Result<PlannedStream, Refusal> {
    let name = &facts.name;
    let destination = destination(manifest, facts, disks, layout)?;
    let growth = match destination {
        Destination::Partition { len, .. } if len > facts.image.device_size => {
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
