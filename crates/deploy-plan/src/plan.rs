//! From manifest, small files and a disk's shape to a plan.

use std::collections::HashSet;

use disk::{Layout, PlannedPartition, SWAP_LEN_MIN, Shape, TableFiles, TablePlan};
use fog::encoding::printable;
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{
    Blake3, ImageFacts, MAX_FILES, MAX_FILES_LEN, MAX_SMALL_FILE, MAX_STREAMS, Manifest,
    StreamFacts,
};

use crate::{Contradiction, Growable, Refusal, SmallFiles, Warning};

/// A deploy that can be carried out on a disk of a known shape.
#[derive(Debug, Clone)]
pub struct DeployPlan {
    /// The partition table.
    pub table: TablePlan,
    /// The streams in the order of sending.
    pub streams: Vec<PlannedStream>,
    /// What people should know although it can be done.
    pub warnings: Vec<Warning>,
}

impl DeployPlan {
    /// Partitions that are to become swap space: no stream comes for them, and they are large enough.
    pub fn swap_spaces(&self) -> impl Iterator<Item = &PlannedPartition> {
        self.table.partitions.iter().filter(|partition| {
            partition.is_swap
                && partition.len >= SWAP_LEN_MIN
                && !is_written(&self.streams, partition.number)
        })
    }

    /// Numbers of the partitions that get nothing: neither a stream nor a swap space. What they hold stays if
    /// the disk has had them at the same place.
    #[must_use]
    pub fn unwritten(&self) -> Vec<u32> {
        let written = self.written().chain(self.swap_spaces());
        let written: HashSet<u32> = written.map(|partition| partition.number).collect();
        let partitions = self.table.partitions.iter();
        partitions
            .filter(|partition| !partition.is_extended && !written.contains(&partition.number))
            .map(|partition| partition.number)
            .collect()
    }

    /// Partitions that streams are written to.
    pub fn written(&self) -> impl Iterator<Item = &PlannedPartition> {
        self.table
            .partitions
            .iter()
            .filter(|partition| is_written(&self.streams, partition.number))
    }
}

fn is_written(streams: &[PlannedStream], partition: u32) -> bool {
    streams
        .iter()
        .any(|stream| stream.partition() == Some(partition))
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
        /// Its number.
        number: u32,
        /// Its first byte, counted from the start of the disk.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// Received and verified, but written nowhere: the container of logical partitions.
    Nowhere,
}

/// Checks the manifest as far as no disk is needed for it.
///
/// # Errors
/// What no disk could make possible.
pub fn check_manifest(manifest: &Manifest) -> Result<(), Refusal> {
    match manifest.image_type {
        ImageType::SingleDisk => {}
        ImageType::Resizable if RESIZABLE_SYSTEMS.contains(&manifest.os_id) => {}
        ImageType::Resizable => {
            return Err(Refusal::OsId {
                os_id: manifest.os_id,
            });
        }
        other => {
            return Err(Refusal::ImageType {
                found: other.to_string(),
            });
        }
    }
    let volumes = manifest
        .files
        .iter()
        .find(|file| file.name.ends_with(".lvm") || file.name.ends_with(".lvm.vgcfg"));
    if let Some(file) = volumes {
        return Err(Refusal::Volumes {
            name: file.name.clone(),
        });
    }
    check_amounts(manifest)?;
    if manifest.streams.is_empty() {
        return Err(Refusal::NoStreams);
    }
    let mut names = HashSet::new();
    for stream in &manifest.streams {
        let name = &stream.name;
        let is_first_disk = name.partition().is_some_and(|id| id.disk == 1);
        if !is_first_disk {
            return Err(Refusal::Stream { name: name.clone() });
        }
        if !names.insert(name) {
            return Err(Refusal::Twice { name: name.clone() });
        }
        if !stream.image.format.is_partclone() {
            return Err(Refusal::Format {
                name: name.clone(),
                format: printable(stream.image.format.as_str(), 64),
            });
        }
        Contradiction::check(stream).map_err(|what| Refusal::Contradiction {
            name: name.clone(),
            what,
        })?;
    }
    Ok(())
}

/// Whether a client has the memory for all that is listed: for the files as such and as their sum.
fn check_amounts(manifest: &Manifest) -> Result<(), Refusal> {
    let counts = [
        ("files", manifest.files.len(), MAX_FILES),
        ("streams", manifest.streams.len(), MAX_STREAMS),
    ];
    for (what, found, limit) in counts {
        if found > limit {
            return Err(too_much(what, wide(found), wide(limit)));
        }
    }
    if let Some(file) = manifest.files.iter().find(|file| file.len > MAX_SMALL_FILE) {
        return Err(Refusal::LargeFile {
            name: printable(&file.name, 64),
            len: file.len,
            limit: MAX_SMALL_FILE,
        });
    }
    let lens = manifest.files.iter().map(|file| file.len);
    let all = lens.fold(0, u64::saturating_add);
    if all > MAX_FILES_LEN {
        return Err(too_much("bytes of files", all, MAX_FILES_LEN));
    }
    Ok(())
}

fn too_much(what: &'static str, found: u64, limit: u64) -> Refusal {
    Refusal::TooMuch { what, found, limit }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Lays the image out on a disk of this shape.
///
/// # Errors
/// If the image's files make no table on this disk, or a stream does not fit its partition.
pub fn plan(manifest: &Manifest, files: &SmallFiles, shape: &Shape) -> Result<DeployPlan, Refusal> {
    let layout = match manifest.image_type {
        ImageType::Resizable => Layout::Fill,
        _ => Layout::Keep,
    };
    let table = disk::plan_table(&table_files(files)?, shape, layout)?;
    let streams = manifest
        .streams
        .iter()
        .map(|facts| place(facts, &table, layout))
        .collect::<Result<Vec<_>, _>>()?;
    let warnings = warnings(&table, &streams);
    Ok(DeployPlan {
        table,
        streams,
        warnings,
    })
}

/// The plan for a disk as large as the one that the image was captured from. What this refuses, every
/// client refuses.
///
/// # Errors
/// Of [`check_manifest`] and [`plan`].
pub fn plan_for_source(manifest: &Manifest, files: &SmallFiles) -> Result<DeployPlan, Refusal> {
    check_manifest(manifest)?;
    let mut plan = plan(manifest, files, &source_shape(files)?)?;
    plan.warnings
        .retain(|warning| !warning.is_about_disk_size());
    Ok(plan)
}

/// The shape of the disk that the image was captured from, as far as its files tell.
///
/// # Errors
/// If a file is absent or no text.
pub fn source_shape(files: &SmallFiles) -> Result<Shape, Refusal> {
    Ok(disk::source_shape(&table_files(files)?))
}

fn table_files(files: &SmallFiles) -> Result<TableFiles<'_>, Refusal> {
    let text = |name: &str| -> Result<Option<&str>, Refusal> {
        files
            .get(name)
            .map(|bytes| {
                str::from_utf8(bytes).map_err(|error| Refusal::NotText {
                    name: name.to_owned(),
                    cause: error.to_string(),
                })
            })
            .transpose()
    };
    let mbr = files.get("d1.mbr").ok_or_else(|| Refusal::MissingFile {
        name: "d1.mbr".into(),
    })?;
    let partitions = match text("d1.partitions")? {
        Some(dump) => Some(dump),
        None => text("d1.original.partitions")?,
    };
    Ok(TableFiles {
        mbr,
        grub_mbr: files.get("d1.grub.mbr").map(Vec::as_slice),
        partitions,
        minimum: text("d1.minimum.partitions")?,
        fixed: text("d1.fixed_size_partitions")?,
        swap_uuids: text("d1.original.swapuuids")?,
        ebrs: files
            .iter()
            .filter_map(|(name, bytes)| Some((ebr_number(name)?, bytes.as_slice())))
            .collect(),
    })
}

/// The partition number in `d1pN.ebr`.
fn ebr_number(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".ebr")?;
    let id = StreamName::of_file(&format!("{stem}.img")).partition()?;
    (id.disk == 1).then_some(id.partition)
}

fn place(facts: &StreamFacts, table: &TablePlan, layout: Layout) -> Result<PlannedStream, Refusal> {
    let name = facts.name.clone();
    let id = name.partition();
    let number = id
        .ok_or_else(|| Refusal::Stream { name: name.clone() })?
        .partition;
    let partition = table
        .partition(number)
        .ok_or_else(|| Refusal::NoPartition {
            number,
            name: name.clone(),
        })?;
    let destination = if partition.is_extended {
        Destination::Nowhere
    } else {
        let (len, needed) = (partition.len, facts.image.device_size);
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
        Destination::Partition {
            number,
            offset: partition.offset,
            len,
        }
    };
    let growth = match destination {
        Destination::Partition { len, .. } if len > facts.image.device_size => {
            let kind = Growable::of_name(&facts.image.filesystem);
            kind.filter(|_| layout == Layout::Fill)
        }
        _ => None,
    };
    Ok(PlannedStream {
        growth,
        name,
        stored_len: facts.stored_len,
        blake3: facts.blake3,
        facts: facts.image.clone(),
        destination,
    })
}

/// What an image needs and does not get, so that nothing is skipped in silence.
fn warnings(table: &TablePlan, streams: &[PlannedStream]) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = table.warnings.iter().cloned().map(Warning::Table).collect();
    for partition in &table.partitions {
        let number = partition.number;
        let stream = streams
            .iter()
            .find(|stream| stream.partition() == Some(number));
        let Some(stream) = stream else {
            if partition.is_swap && partition.len < SWAP_LEN_MIN {
                warnings.push(Warning::SwapTooSmall {
                    number,
                    len: partition.len,
                });
            } else if partition.is_swap {
                if partition.swap_uuid.is_none() {
                    warnings.push(Warning::SwapWithoutUuid { number });
                }
            } else if !(partition.is_extended || partition.is_reserved()) {
                warnings.push(Warning::NoStream {
                    number,
                    kind: partition.kind,
                    len: partition.len,
                });
            }
            continue;
        };
        if partition.len > stream.facts.device_size && stream.growth.is_none() {
            warnings.push(Warning::NotGrown {
                number,
                len: partition.len,
                filesystem: stream.facts.filesystem.clone(),
                kept: stream.facts.device_size,
            });
        }
    }
    for stream in streams {
        if stream.destination == Destination::Nowhere {
            warnings.push(Warning::ExtendedLeftOut {
                name: stream.name.clone(),
            });
        }
    }
    warnings
}

/// FOG's operating systems whose images may be of type `n`.
const RESIZABLE_SYSTEMS: [i64; 11] = [1, 2, 4, 5, 6, 7, 9, 10, 11, 50, 51];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn logical_partitions_have_their_boot_records() {
        assert_eq!(ebr_number("d1p5.ebr"), Some(5));
        for name in ["d2p5.ebr", "d1p5.img", "d1p05.ebr", "d1.ebr", "x.ebr"] {
            assert_eq!(ebr_number(name), None, "{name}");
        }
    }

    #[test]
    fn of_reserved_and_swap_partitions_no_stream_is_expected() {
        let mut manifest = samples::manifest();
        manifest.streams.pop();
        let planned = plan(&manifest, &samples::small_files(), &samples::SHAPE).unwrap();
        let mut table = planned.table;
        let mut with_kind = |guid: &str| {
            table.partitions[1].kind = disk::Kind::Gpt(guid.parse().unwrap());
            table.partitions[1].is_swap = table.partitions[1].kind.is_swap();
            warnings(&table, &planned.streams)
        };
        assert_eq!(with_kind("e3c9e316-0b5c-4db8-817d-f92df00215ae"), []);
        assert_eq!(
            with_kind("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"),
            [Warning::SwapWithoutUuid { number: 2 }]
        );
    }

    #[test]
    fn a_swap_space_without_room_is_said_and_not_made() {
        let (manifest, files) = samples::with_swap(None);
        let mut planned = plan(&manifest, &files, &samples::SHAPE).unwrap();
        assert_eq!(planned.swap_spaces().count(), 1);
        assert_eq!(planned.unwritten(), Vec::<u32>::new());
        planned.table.partitions[1].len = 9 * 4096;
        assert_eq!(planned.swap_spaces().count(), 0);
        assert_eq!(planned.unwritten(), [2]);
        assert_eq!(
            warnings(&planned.table, &planned.streams),
            [Warning::SwapTooSmall {
                number: 2,
                len: 9 * 4096
            }]
        );
    }
}
