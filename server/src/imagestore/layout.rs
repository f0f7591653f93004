//! What an image is on a disk: its tables, partitions and volumes, and the least disk that it fits on.

use std::path::Path;

use deploy_plan::{DeployPlan, Destination, Refusal, SmallFiles};
use disk::Shape;
use fos_api::{MANIFEST_VERSION, Manifest, SmallFile};

use super::check::{ChangedError, read_small};
use crate::domain::image::{Facts, ImageSettings};

/// An image on disks as large as those that it was captured from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// By number.
    pub disks: Vec<DiskLayout>,
    /// What clients will warn of.
    pub warnings: Vec<String>,
}

/// One of its disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLayout {
    /// Number, from 1.
    pub number: u32,
    /// Its size in bytes, as far as the table tells it.
    pub captured: u64,
    /// The least disk in bytes on which clients can deploy it, rounded up to 1 MiB; with several disks the others are as
    /// large as they were.
    pub least: u64,
    /// Kind and number of the table; `None` if a stream brings all of the disk.
    pub label: Option<String>,
    /// The stream that brings all of the disk: its place in [`Facts::streams`].
    pub stream: Option<usize>,
    /// Partitions by number, each followed by the volumes on it.
    pub places: Vec<PlaceLayout>,
}

/// A partition, or a volume on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceLayout {
    /// Number of the partition.
    pub number: u32,
    /// Name of the volume; `None` if it is the partition.
    pub volume: Option<String>,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Type of the partition.
    pub kind: String,
    /// Name in a GPT; empty elsewhere.
    pub name: String,
    /// Marked active in an MBR.
    pub is_bootable: bool,
    /// Becomes swap space.
    pub is_swap: bool,
    /// What is written to it: its place in [`Facts::streams`].
    pub stream: Option<usize>,
}

/// Why that cannot be found out.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A small file is not what it was.
    #[error(transparent)]
    Changed(#[from] ChangedError),
    /// Every client would refuse it.
    #[error("clients would refuse it: {0}")]
    // Not as the source: the text has it already.
    Refused(Refusal),
}

impl From<Refusal> for LayoutError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Reads the small files of an image, and makes the plan of a client of them. Blocks.
///
/// # Errors
/// If a file is not what was verified, or no client could deploy it.
pub fn layout(dir: &Path, settings: &ImageSettings, facts: &Facts) -> Result<Layout, LayoutError> {
    let mut small = SmallFiles::new();
    let mut files = Vec::new();
    for file in facts.files.iter().filter(|file| file.place.is_none()) {
        small.insert(file.name.clone(), read_small(dir, file)?);
        files.push(SmallFile {
            name: file.name.clone(),
            len: file.size,
            blake3: file.blake3.parse().ok(),
        });
    }
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        image_id: 0,
        image_name: String::new(),
        image_path: settings.path.clone(),
        image_type: settings.image_type,
        os_id: settings.os_id,
        scripts: Vec::new(),
        files,
        streams: facts.streams.clone(),
    };
    Ok(of(&manifest, &small)?)
}

fn of(manifest: &Manifest, small: &SmallFiles) -> Result<Layout, Refusal> {
    let plan = deploy_plan::plan_for_source(manifest, small)?;
    let shapes: Vec<Shape> = plan.disks.iter().map(|disk| disk.shape).collect();
    let disks = (0..shapes.len())
        .filter_map(|index| disk(manifest, small, &plan, (&shapes, index)))
        .collect();
    let warnings = plan.warnings.iter().map(ToString::to_string).collect();
    Ok(Layout { disks, warnings })
}

fn disk(
    manifest: &Manifest,
    small: &SmallFiles,
    plan: &DeployPlan,
    (shapes, index): (&[Shape], usize),
) -> Option<DiskLayout> {
    let planned = plan.disks.get(index)?;
    let place_of = |wanted: &dyn Fn(&Destination) -> bool| {
        let found = plan
            .streams
            .iter()
            .find(|stream| wanted(&stream.destination));
        let name = &found?.name;
        manifest
            .streams
            .iter()
            .position(|facts| facts.name == *name)
    };
    let mut places = Vec::new();
    for place in planned.places() {
        let volumes = plan
            .volumes()
            .filter(|volume| volume.which_partition() == place.which_partition());
        for found in std::iter::once(place).chain(volumes) {
            let stream = plan.stream_of(found).map(|stream| &stream.name);
            places.push(PlaceLayout {
                number: found.partition.number,
                volume: found.volume.map(|volume| volume.name.clone()),
                offset: found.offset(),
                len: found.len(),
                kind: found.partition.kind.to_string(),
                name: found.partition.name.clone(),
                is_bootable: found.partition.is_bootable && found.volume.is_none(),
                is_swap: found.is_swap() && stream.is_none(),
                stream: stream.and_then(|name| {
                    let mut streams = manifest.streams.iter();
                    streams.position(|facts| facts.name == *name)
                }),
            });
        }
    }
    let whole = |destination: &Destination| matches!(destination, Destination::Disk { which, .. } if *which == planned.which);
    Some(DiskLayout {
        number: planned.which.number,
        captured: planned.shape.size,
        least: least(manifest, small, shapes, index),
        label: planned.table.as_ref().map(|table| table.label.to_string()),
        stream: place_of(&whole),
        places,
    })
}

/// The least size of a disk for which there is a plan. What fits on a disk fits on a larger one.
fn least(manifest: &Manifest, small: &SmallFiles, shapes: &[Shape], index: usize) -> u64 {
    let fits = |units: u64| {
        let mut shapes = shapes.to_vec();
        if let Some(shape) = shapes.get_mut(index) {
            shape.size = units.saturating_mul(UNIT);
        }
        deploy_plan::plan(manifest, small, &shapes).is_ok()
    };
    let captured = shapes.get(index).map_or(0, |shape| shape.size);
    let mut enough = captured.div_ceil(UNIT);
    let mut too_few = 0;
    while enough.saturating_sub(too_few) > 1 {
        let middle = too_few + (enough - too_few) / 2;
        match fits(middle) {
            true => enough = middle,
            false => too_few = middle,
        }
    }
    enough.saturating_mul(UNIT)
}

/// Disks are told apart by as much.
const UNIT: u64 = 1 << 20;

#[cfg(test)]
mod tests;
