//! An image looked at, as people see it.

use fog::task::ImageType;
use fos_api::StreamFacts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ImageVerification, image_verification};
use crate::domain::image::{Facts, StoredFile};
use crate::imagestore::{DiskLayout, PlaceLayout};
use crate::ops::ImageState;

/// What there is to say of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageInspection {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    #[schema(value_type = String)]
    pub image_type: ImageType,
    /// Operating system.
    pub os_id: i64,
    /// Bytes in the store.
    pub stored_size: u64,
    /// When its files were read, UTC; `None` if nobody has read them.
    pub verified_at: Option<String>,
    /// Whether all of its streams were decoded then, not their headers alone.
    pub is_verified: bool,
    /// What is wrong with it now, and what to do.
    pub problems: Vec<String>,
    /// What clients will warn of.
    pub warnings: Vec<String>,
    /// Its disks; nothing if a problem keeps them from being known.
    pub disks: Vec<DiskInspection>,
    /// Its streams, in the order in which they are sent.
    pub streams: Vec<StreamInspection>,
    /// Its other files.
    pub files: Vec<FileInspection>,
    /// Its last verification on the server, since that was started.
    pub verification: Option<ImageVerification>,
}

/// A disk of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskInspection {
    /// Number, from 1.
    pub number: u32,
    /// Bytes of the disk that it was captured from, as far as its table tells.
    pub captured_size: u64,
    /// Bytes of the least disk that it can be deployed to, rounded up to 1 MiB.
    pub least_size: u64,
    /// Kind and number of its table; `None` if a stream brings all of the disk.
    pub table: Option<String>,
    /// The stream that brings all of the disk.
    pub stream: Option<String>,
    /// Its partitions by number, each followed by the volumes on it.
    pub partitions: Vec<PartitionInspection>,
}

/// A partition, or a volume on one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionInspection {
    /// Number of the partition.
    pub number: u32,
    /// Name of the volume; `None` if it is the partition.
    pub volume: Option<String>,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Type of the partition.
    pub kind: String,
    /// Name in a GPT; empty elsewhere.
    pub name: String,
    /// Whether it is marked active in an MBR.
    pub is_bootable: bool,
    /// Whether it becomes swap space.
    pub is_swap: bool,
    /// File system as its stream says; empty if none comes for it.
    pub filesystem: String,
    /// Bytes of the blocks that are used; `None` if none were counted.
    pub used_size: Option<u64>,
    /// The stream with its content.
    pub stream: Option<String>,
}

/// A stream of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamInspection {
    /// Name.
    pub name: String,
    /// File system as its header says.
    pub filesystem: String,
    /// Bytes of the device that it was captured from.
    pub device_size: u64,
    /// Bytes of the blocks that are used; `None` if they were not counted.
    pub used_size: Option<u64>,
    /// Bytes in the store.
    pub stored_size: u64,
    /// Format of the image.
    pub format: String,
    /// Compression around it.
    pub compression: String,
    /// BLAKE3 of the stored bytes.
    pub blake3: String,
}

/// Another file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileInspection {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3; empty if it is not known.
    pub blake3: String,
}

/// An image for people.
#[must_use]
pub fn image_inspection(state: &ImageState) -> ImageInspection {
    let image = &state.image;
    let facts = state.facts.as_ref();
    let layout = state.layout.as_ref();
    let disks = layout.map_or(&[][..], |layout| &layout.disks);
    let streams = facts.map_or(&[][..], |facts| &facts.streams);
    let files = facts.map_or(&[][..], |facts| &facts.files);
    let warnings = layout.map_or(&[][..], |layout| &layout.warnings);
    let verification = state.verification.as_ref();
    ImageInspection {
        id: image.id.0,
        name: shown(&image.name),
        path: shown(&image.path),
        image_type: image.image_type,
        os_id: image.os_id,
        stored_size: image.stored_size,
        verified_at: facts.map(|facts| facts.checked_at.to_string()),
        is_verified: facts.is_some_and(|facts| facts.is_verified),
        problems: state.problems.iter().map(|text| shown(text)).collect(),
        warnings: warnings.iter().map(|text| shown(text)).collect(),
        disks: disks.iter().map(|found| disk(found, facts)).collect(),
        streams: streams.iter().map(stream).collect(),
        files: files.iter().filter_map(file).collect(),
        verification: verification.map(|found| image_verification(&image.name, found)),
    }
}

fn disk(disk: &DiskLayout, facts: Option<&Facts>) -> DiskInspection {
    DiskInspection {
        number: disk.number,
        captured_size: disk.captured,
        least_size: disk.least,
        table: disk.label.clone(),
        stream: of(disk.stream, facts).map(|stream| stream.name.to_string()),
        partitions: disk
            .places
            .iter()
            .map(|place| partition(place, facts))
            .collect(),
    }
}

fn partition(place: &PlaceLayout, facts: Option<&Facts>) -> PartitionInspection {
    let found = of(place.stream, facts);
    PartitionInspection {
        number: place.number,
        volume: place.volume.as_deref().map(shown),
        offset: place.offset,
        size: place.len,
        kind: shown(&place.kind),
        name: shown(&place.name),
        is_bootable: place.is_bootable,
        is_swap: place.is_swap,
        filesystem: found.map_or_else(String::new, |stream| shown(&stream.image.filesystem)),
        used_size: found.and_then(used),
        stream: found.map(|stream| stream.name.to_string()),
    }
}

fn of(stream: Option<usize>, facts: Option<&Facts>) -> Option<&StreamFacts> {
    facts?.streams.get(stream?)
}

fn stream(stream: &StreamFacts) -> StreamInspection {
    StreamInspection {
        name: stream.name.to_string(),
        filesystem: shown(&stream.image.filesystem),
        device_size: stream.image.device_size,
        used_size: used(stream),
        stored_size: stream.stored_len,
        format: stream.image.format.to_string(),
        compression: stream.image.compression.to_string(),
        blake3: stream.blake3.to_string(),
    }
}

fn used(stream: &StreamFacts) -> Option<u64> {
    let blocks = stream.image.used_blocks?;
    Some(blocks.saturating_mul(u64::from(stream.image.block_size)))
}

fn file(file: &StoredFile) -> Option<FileInspection> {
    file.place.is_none().then(|| FileInspection {
        name: shown(&file.name),
        size: file.size,
        blake3: file.blake3.clone(),
    })
}

fn shown(text: &str) -> String {
    fog::encoding::printable(text, 1000)
}
