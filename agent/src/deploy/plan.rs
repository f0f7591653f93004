//! Everything that is decided, and refused, before the first write.

use disk::{Layout, PlannedPartition, Shape, TableFiles, TablePlan};
use fog::KernelArgs;
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{Blake3, ImageFacts, Manifest, StreamFacts};

use crate::control::image::SmallFiles;
use crate::screen::size;

/// A deploy that can be carried out on a disk of a known shape.
#[derive(Debug, Clone)]
pub(crate) struct DeployPlan {
    /// The partition table.
    pub(crate) table: TablePlan,
    /// The streams in the order of sending.
    pub(crate) streams: Vec<PlannedStream>,
    /// What people should know although it can be done.
    pub(crate) warnings: Vec<String>,
}

impl DeployPlan {
    /// Partitions that are to become swap space: no stream comes for them.
    pub(crate) fn swap_spaces(&self) -> impl Iterator<Item = &PlannedPartition> {
        self.table
            .partitions
            .iter()
            .filter(|partition| partition.is_swap && !is_written(&self.streams, partition.number))
    }
}

fn is_written(streams: &[PlannedStream], partition: u32) -> bool {
    streams.iter().any(|stream| {
        matches!(stream.destination, Destination::Partition { number, .. } if number == partition)
    })
}

/// One stream and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedStream {
    pub(crate) name: StreamName,
    /// Stored bytes.
    pub(crate) stored_len: u64,
    /// Of the stored bytes.
    pub(crate) blake3: Blake3,
    pub(crate) facts: ImageFacts,
    pub(crate) destination: Destination,
}

/// Where a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To a partition: bytes from the start of the disk.
    Partition { number: u32, offset: u64, len: u64 },
    /// Received and verified, but written nowhere: the container of logical partitions.
    Nowhere,
}

/// Why an image is not deployed. Nothing has been written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Argument(#[from] fog::args::ArgsError),
    #[error(
        "this machine was booted for {found}; this version of fos-agent only deploys by multicast \
         (type=down mc=yes): create a multicast task, or boot FOG's own client for this host"
    )]
    Task { found: String },
    #[error(
        "image type {found} is not supported by this version, only n (single disk, resizable) and \
         mps (all partitions of one disk); capture the image anew as one of these"
    )]
    ImageType { found: String },
    #[error(
        "imgPartitionType={found} is not supported by this version, only all; set the image's \
         partition choice to \"Everything\""
    )]
    PartitionType { found: String },
    #[error(
        "the kernel argument nombr (keep the partition table) is not supported by this version"
    )]
    KeepTable,
    #[error(
        "an image of type n cannot have the operating system number {os_id}; correct the image"
    )]
    OsId { os_id: i64 },
    #[error(
        "the kernel arguments speak of the image {arguments:?}, the server's manifest of \
         {manifest:?}; was the task changed? boot again"
    )]
    OtherImage { arguments: String, manifest: String },
    #[error("the image has no file {name}; was the capture complete?")]
    MissingFile { name: String },
    #[error("the image's file {name} is not text: {cause}")]
    NotText { name: String, cause: String },
    #[error("the image has logical volumes ({name}), which this version cannot restore")]
    Volumes { name: String },
    #[error(
        "the stream {name} belongs to no partition of a first disk; this version cannot restore it"
    )]
    Stream { name: StreamName },
    #[error("the server's manifest lists the stream {name} twice")]
    Manifest { name: StreamName },
    #[error("the image has no streams at all; was the capture complete?")]
    NoStreams,
    #[error("the stream {name} is a {format} image, which this version cannot restore")]
    Format { name: StreamName, format: String },
    #[error("the partition table does not fit this disk: {0}")]
    Table(#[from] disk::PlanError),
    #[error(
        "the image has data for partition {number} ({name}), but its partition table has no such \
         partition"
    )]
    NoPartition { number: u32, name: StreamName },
    #[error(
        "partition {number} has {} on this disk, but {name} needs {} ({missing} bytes are missing); \
         a larger disk is needed", size(*.len), size(*.needed)
    )]
    TooSmall {
        number: u32,
        name: StreamName,
        len: u64,
        needed: u64,
        missing: u64,
    },
}

/// Checks that the kernel arguments ask for something this version does.
pub(crate) fn check_arguments(args: &KernelArgs) -> Result<(), Refusal> {
    args.web()?;
    if !args.is_multicast_deploy() {
        let found = ["type", "mc", "mode"]
            .iter()
            .filter_map(|name| args.value(name).map(|value| format!("{name}={value}")))
            .collect::<Vec<_>>()
            .join(" ");
        let found = if found.is_empty() {
            "no task at all".to_owned()
        } else {
            found
        };
        return Err(Refusal::Task { found });
    }
    args.port()?;
    args.rendezvous()?;
    match args.value("imgType") {
        None | Some("n" | "mps") => {}
        Some(other) => {
            return Err(Refusal::ImageType {
                found: other.into(),
            });
        }
    }
    match args.value("imgPartitionType") {
        None | Some("all") => {}
        Some(other) => {
            return Err(Refusal::PartitionType {
                found: other.into(),
            });
        }
    }
    if args.has_word("nombr") {
        return Err(Refusal::KeepTable);
    }
    Ok(())
}

/// Checks the manifest against the arguments, as far as no disk is needed for it.
pub(crate) fn check_manifest(args: &KernelArgs, manifest: &Manifest) -> Result<(), Refusal> {
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
    if let Some(asked) = args.value("img")
        && asked != manifest.image_path
    {
        return Err(Refusal::OtherImage {
            arguments: asked.into(),
            manifest: manifest.image_path.clone(),
        });
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
    if manifest.streams.is_empty() {
        return Err(Refusal::NoStreams);
    }
    for (index, stream) in manifest.streams.iter().enumerate() {
        let name = &stream.name;
        let is_first_disk = name.partition().is_some_and(|id| id.disk == 1);
        if !is_first_disk {
            return Err(Refusal::Stream { name: name.clone() });
        }
        let is_double = manifest.streams[..index]
            .iter()
            .any(|other| other.name == *name);
        if is_double {
            return Err(Refusal::Manifest { name: name.clone() });
        }
        if !stream.image.format.is_partclone() {
            return Err(Refusal::Format {
                name: name.clone(),
                format: fog::encoding::printable(stream.image.format.as_str(), 64),
            });
        }
    }
    Ok(())
}

/// Lays the image out on a disk of this shape.
pub(crate) fn plan(
    manifest: &Manifest,
    files: &SmallFiles,
    shape: &Shape,
) -> Result<DeployPlan, Refusal> {
    let table_files = table_files(files)?;
    let layout = match manifest.image_type {
        ImageType::Resizable => Layout::Fill,
        _ => Layout::Keep,
    };
    let table = disk::plan_table(&table_files, shape, layout)?;
    let streams = manifest
        .streams
        .iter()
        .map(|facts| place(facts, &table))
        .collect::<Result<Vec<_>, _>>()?;
    let warnings = warnings(&table, &streams);
    Ok(DeployPlan {
        table,
        streams,
        warnings,
    })
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

fn place(facts: &StreamFacts, table: &TablePlan) -> Result<PlannedStream, Refusal> {
    let name = facts.name.clone();
    let invalid = || Refusal::Manifest { name: name.clone() };
    let number = name.partition().ok_or_else(invalid)?.partition;
    let partition = table
        .partition(number)
        .ok_or_else(|| Refusal::NoPartition {
            number,
            name: name.clone(),
        })?;
    let destination = if partition.is_extended {
        Destination::Nowhere
    } else {
        let needed = facts.image.device_size;
        if let Some(missing) = needed.checked_sub(partition.len).filter(|&left| left > 0) {
            return Err(Refusal::TooSmall {
                number,
                name,
                len: partition.len,
                needed,
                missing,
            });
        }
        Destination::Partition {
            number,
            offset: partition.offset,
            len: partition.len,
        }
    };
    Ok(PlannedStream {
        name,
        stored_len: facts.stored_len,
        blake3: facts.blake3,
        facts: facts.image.clone(),
        destination,
    })
}

/// What an image needs and does not get, so that nothing is skipped in silence.
fn warnings(table: &TablePlan, streams: &[PlannedStream]) -> Vec<String> {
    let mut warnings = table.warnings.clone();
    for partition in &table.partitions {
        let stream = streams.iter().find(|stream| {
            matches!(stream.destination, Destination::Partition { number, .. }
                if number == partition.number)
        });
        if partition.is_swap && stream.is_none() && partition.swap_uuid.is_none() {
            warnings.push(format!(
                "partition {} is swap space whose UUID the image does not record: run mkswap on it \
                 after the first start",
                partition.number
            ));
        }
        let Some(stream) = stream else {
            if !(partition.is_extended || partition.is_swap || partition.is_reserved()) {
                warnings.push(format!(
                    "partition {} ({}, {}) is not in the image: it stays as it is on this disk, \
                     without a usable file system",
                    partition.number,
                    partition.kind,
                    size(partition.len)
                ));
            }
            continue;
        };
        if partition.len > stream.facts.device_size {
            warnings.push(format!(
                "partition {} has {}, its file system {} keeps {}: this version does not grow file \
                 systems",
                partition.number,
                size(partition.len),
                stream.facts.filesystem,
                size(stream.facts.device_size)
            ));
        }
    }
    for stream in streams {
        if stream.destination == Destination::Nowhere {
            warnings.push(format!(
                "{} is an image of an extended partition; its content is left out",
                stream.name
            ));
        }
    }
    warnings
}

/// What to say where FOG's client would write the computer's name into the restored Windows
/// (`hostname=` and `hostearly=1`), which is not done here.
pub(crate) fn computer_name(args: &KernelArgs, os_id: i64) -> Option<String> {
    let name = args.value("hostname")?;
    let is_wanted = args.value("hostearly").is_some_and(|value| value != "0");
    (is_wanted && WINDOWS_SYSTEMS.contains(&os_id)).then(|| {
        format!(
            "the computer name {} is not written into Windows by this version (hostearly=1): \
             rename the machine by FOG's service or in Windows",
            fog::encoding::printable(name, 64)
        )
    })
}

/// FOG's numbers of the Windows versions whose registry its client changes.
const WINDOWS_SYSTEMS: [i64; 9] = [1, 2, 4, 5, 6, 7, 9, 10, 11];
/// FOG's operating systems whose images may be of type `n`.
const RESIZABLE_SYSTEMS: [i64; 11] = [1, 2, 4, 5, 6, 7, 9, 10, 11, 50, 51];

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
