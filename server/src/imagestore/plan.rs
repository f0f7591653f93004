//! Whether clients can deploy an image: the plan that `fos-agent` makes, for the captured disk.

use std::fmt;

use deploy_plan::{DeployPlan, Refusal};
use disk::{Dump, DumpPartition, Kind};
use fog::encoding::printable;
use fog::task::ImageType;
use fos_api::{ImageFormat, MANIFEST_VERSION, Manifest, SmallFile};
use readable::Size;

use super::scan::Listing;
use super::verify::Inspection;

/// What to do about partitions that should hold data and have no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingStreams {
    /// The image is refused.
    Refuse,
    /// There is a warning for each.
    Allow,
}

/// A partition that should hold data and has no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingPartition {
    /// Number of the disk, from 1.
    pub disk: u32,
    /// Number of the partition.
    pub number: u32,
    /// Its type.
    pub kind: Kind,
    /// Its length in bytes.
    pub len: u64,
}

impl fmt::Display for MissingPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            disk,
            number,
            kind,
            len,
        } = self;
        write!(
            f,
            "partition {number} of disk {disk} ({kind}, {})",
            Size(*len)
        )
    }
}

/// Why no client can deploy an image.
#[derive(Debug, thiserror::Error)]
pub enum PlanRefused {
    /// `fos-agent` would refuse it, with this text, on every machine whose disk is no larger than the
    /// captured one.
    #[error("{who} would refuse this image: {0}", who = who(.0))]
    // Not as the source: the text has it already.
    Client(Refusal),
    /// Partitions without a stream.
    #[error(
        "there is no image file for {}: clients would get it without content. Complete the directory; \
         if that is meant, add or update the image with --allow-missing", list(.0)
    )]
    Missing(Vec<MissingPartition>),
    /// A stream without a partition, in an image for FOG's own client.
    #[error(
        "{stream} has no partition of number {number} in {table}: clients would not know where to \
         write it. Remove the file or capture the image again"
    )]
    NoPartition {
        /// Which stream.
        stream: String,
        /// Its partition.
        number: u32,
        /// The table.
        table: String,
    },
    /// A stream that does not fit its partition, in an image for FOG's own client.
    #[error(
        "partition {number} has {} in {table}, but {stream} needs {}: restored, it would be cut. \
         Capture the image again", Size(*.len), Size(*.needed)
    )]
    TooLarge {
        /// Which stream.
        stream: String,
        /// Its partition.
        number: u32,
        /// The table.
        table: String,
        /// Length of the partition in bytes.
        len: u64,
        /// What the stream needs, in bytes.
        needed: u64,
    },
    /// A partition table that cannot be used, in an image for FOG's own client.
    #[error("{name} is damaged ({cause}); capture or copy the image again")]
    Table {
        /// Its file.
        name: String,
        /// What is wrong.
        cause: Box<Refusal>,
    },
    /// A dump that cannot be read, in an image for FOG's own client.
    #[error("{name} is damaged ({cause}); capture or copy the image again")]
    Dump {
        /// The dump.
        name: String,
        /// What is wrong.
        cause: String,
    },
}

impl From<Refusal> for PlanRefused {
    fn from(refusal: Refusal) -> Self {
        Self::Client(refusal)
    }
}

fn who(refusal: &Refusal) -> &'static str {
    if refusal.is_about_disk_size() {
        "a client with a disk as large as the captured one"
    } else {
        "every client"
    }
}

fn list(missing: &[MissingPartition]) -> String {
    let named: Vec<String> = missing.iter().map(ToString::to_string).collect();
    named.join(", ")
}

/// Why only FOG's own client deploys an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// It is of all disks (type `mpa`).
    AllDisks,
    /// Its streams are partimage images.
    Partimage,
    /// It has the file names of FOG's early Windows images (`sys.img`, `rec.img`).
    LegacyNames,
}

/// What people should know although the image can be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// `fos-agent` does not deploy it.
    StockClientOnly(Unsupported),
    /// A partition comes out without content.
    Missing(MissingPartition),
    /// The image was shrunk when it was captured, and is added as one that is not fitted.
    Shrunk {
        /// The file that shows it.
        file: String,
    },
    /// What clients will warn of.
    Client(deploy_plan::Warning),
    /// Files that nobody needs.
    NotUsed {
        /// Their printable names, not all if there are many.
        names: Vec<String>,
        /// How many there are.
        count: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StockClientOnly(Unsupported::AllDisks) => f.write_str(
                "fos-agent does not deploy images of all disks (type mpa); boot FOG's own client for \
                 this image",
            ),
            Self::StockClientOnly(Unsupported::Partimage) => f.write_str(
                "these are partimage images, which fos-agent does not write to a disk in a deploy; \
                 boot FOG's own client for this image",
            ),
            Self::StockClientOnly(Unsupported::LegacyNames) => f.write_str(
                "these are the file names of FOG's early Windows images (sys.img, rec.img), which \
                 fos-agent does not deploy; boot FOG's own client for this image, or deploy it once \
                 and capture it again",
            ),
            Self::Missing(partition) => write!(
                f,
                "there is no image file for {partition}: clients get it without content"
            ),
            Self::Shrunk { file } => write!(
                f,
                "{file} shows that the image was captured as resizable, but it is added as mps: its \
                 file systems stay as small as they were made for the capture. To fit it to each \
                 disk, add it with --type n"
            ),
            Self::Client(warning) => warning.fmt(f),
            Self::NotUsed { names, count } => {
                write!(f, "not used: {}", names.join(", "))?;
                match count.checked_sub(names.len()) {
                    Some(more @ 1..) => write!(f, " and {more} more"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The partitions that a client gets without content.
#[must_use]
pub fn missing_partitions(warnings: &[Warning]) -> Vec<MissingPartition> {
    let missing = warnings.iter().filter_map(|warning| match warning {
        Warning::Missing(partition) => Some(*partition),
        _ => None,
    });
    missing.collect()
}

/// Makes the plan that `fos-agent` would make on a disk as large as the captured one. Reads no file:
/// all that it needs is in `inspection`.
///
/// # Errors
/// If every client would refuse the image, or partitions have no stream and `missing` does not allow it.
pub fn check_plan(
    listing: &Listing,
    inspection: &Inspection,
    missing: MissingStreams,
) -> Result<Vec<Warning>, PlanRefused> {
    let manifest = manifest(listing, inspection);
    let mut warnings = Vec::new();
    let found = match deploy_plan::check_manifest(&manifest) {
        Ok(()) => plan(&manifest, inspection, &mut warnings)?,
        Err(refusal) => {
            let reason = stock_client_only(&manifest, &refusal).ok_or(refusal)?;
            warnings.push(Warning::StockClientOnly(reason));
            match reason {
                Unsupported::Partimage => plan(&manifest, inspection, &mut warnings)?,
                Unsupported::AllDisks => check_dumps(listing, inspection)?,
                // Early Windows had one partition, and FOG no table of it.
                Unsupported::LegacyNames => Vec::new(),
            }
        }
    };
    if missing == MissingStreams::Refuse && !found.is_empty() {
        return Err(PlanRefused::Missing(found));
    }
    warnings.extend(found.into_iter().map(Warning::Missing));
    if listing.image_type == ImageType::SingleDisk {
        let mut names = listing.files.iter().map(|file| &file.name);
        let shrunk = names.find(|name| {
            name.ends_with(".minimum.partitions") || name.ends_with(".shrunken.partitions")
        });
        warnings.extend(shrunk.map(|file| Warning::Shrunk { file: file.clone() }));
    }
    if listing.ignored_count > 0 {
        warnings.push(Warning::NotUsed {
            names: listing.ignored.clone(),
            count: listing.ignored_count,
        });
    }
    Ok(warnings)
}

/// What clients will be told; the database's part of it is of no matter here.
fn manifest(listing: &Listing, inspection: &Inspection) -> Manifest {
    let small = inspection.files.iter().filter(|file| file.place.is_none());
    Manifest {
        version: MANIFEST_VERSION,
        image_id: 0,
        image_name: String::new(),
        image_path: listing.path.clone(),
        image_type: listing.image_type,
        os_id: listing.os_id,
        files: small
            .map(|file| SmallFile {
                name: file.name.clone(),
                len: file.size,
                blake3: file.blake3.parse().ok(),
            })
            .collect(),
        streams: inspection.streams.clone(),
    }
}

/// Whether FOG's own client deploys what ours refuses.
fn stock_client_only(manifest: &Manifest, refusal: &Refusal) -> Option<Unsupported> {
    match refusal {
        Refusal::ImageType { .. } if manifest.image_type == ImageType::AllDisks => {
            Some(Unsupported::AllDisks)
        }
        Refusal::Format { .. }
            if manifest
                .streams
                .iter()
                .all(|stream| stream.image.format == ImageFormat::Partimage06) =>
        {
            Some(Unsupported::Partimage)
        }
        Refusal::Stream { name } if name.partition().is_none() => Some(Unsupported::LegacyNames),
        _ => None,
    }
}

/// The client's plan: adds its warnings, answers the partitions without a stream.
fn plan(
    manifest: &Manifest,
    inspection: &Inspection,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<MissingPartition>, Refusal> {
    let shape = deploy_plan::source_shape(&inspection.small)?;
    let DeployPlan {
        warnings: of_client,
        ..
    } = deploy_plan::plan(manifest, &inspection.small, &shape)?;
    let mut missing = Vec::new();
    for warning in of_client {
        match warning {
            deploy_plan::Warning::NoStream { number, kind, len } => {
                missing.push(MissingPartition {
                    disk: 1,
                    number,
                    kind,
                    len,
                })
            }
            warning if warning.is_about_disk_size() => {}
            warning => warnings.push(Warning::Client(warning)),
        }
    }
    Ok(missing)
}

/// What must be right in an image of several disks: each table can be used, and every stream has a
/// partition in the disk's dump, where there is one, that is large enough. Answers the partitions without
/// a stream.
fn check_dumps(
    listing: &Listing,
    inspection: &Inspection,
) -> Result<Vec<MissingPartition>, PlanRefused> {
    let mut missing = Vec::new();
    for disk in listing.disks() {
        check_table(listing, inspection, disk)?;
        let names = [
            format!("d{disk}.partitions"),
            format!("d{disk}.original.partitions"),
        ];
        let found = names.into_iter().find_map(|name| {
            let bytes = inspection.small.get(&name)?;
            (!bytes.is_empty()).then_some((name, bytes))
        });
        let Some((name, bytes)) = found else {
            continue;
        };
        let text = str::from_utf8(bytes).map_err(|error| Refusal::NotText {
            name: name.clone(),
            cause: error.to_string(),
        })?;
        let dump = Dump::parse(text).map_err(|error| PlanRefused::Dump {
            name: name.clone(),
            cause: printable(&error.to_string(), 200),
        })?;
        let ids = listing.streams.iter().filter_map(|stream| {
            let id = stream.name.partition()?;
            (id.disk == disk).then_some((stream, id.partition))
        });
        let ids: Vec<_> = ids.collect();
        let sector = u64::from(dump.sector_size.unwrap_or(512));
        for (stream, number) in &ids {
            let line = dump.partition(*number).filter(|line| line.size > 0);
            let Some(line) = line else {
                return Err(PlanRefused::NoPartition {
                    stream: stream.name.to_string(),
                    number: *number,
                    table: name,
                });
            };
            let facts = inspection.streams.iter();
            let facts = facts.filter(|facts| facts.name == stream.name);
            let needed = facts.map(|facts| facts.image.device_size).max();
            let (needed, len) = (needed.unwrap_or(0), line.size.saturating_mul(sector));
            if needed > len && !kind(line).is_extended() {
                return Err(PlanRefused::TooLarge {
                    stream: stream.name.to_string(),
                    number: *number,
                    table: name,
                    len,
                    needed,
                });
            }
        }
        for line in dump.partitions.iter().filter(|line| line.size > 0) {
            let kind = kind(line);
            let has_data = !(kind.is_swap() || kind.is_extended() || kind.is_reserved());
            if has_data && ids.iter().all(|(_, number)| *number != line.number) {
                missing.push(MissingPartition {
                    disk,
                    number: line.number,
                    kind,
                    len: line.size.saturating_mul(sector),
                });
            }
        }
    }
    Ok(missing)
}

/// Reads the table of one of several disks as that of a single one. Only damage counts: the rest is for
/// FOG's own client to judge.
fn check_table(listing: &Listing, inspection: &Inspection, disk: u32) -> Result<(), PlanRefused> {
    let prefix = format!("d{disk}");
    let small = inspection.small.iter().filter_map(|(name, bytes)| {
        let rest = name.strip_prefix(&prefix)?;
        let is_of_disk = rest.starts_with(['.', 'p']);
        is_of_disk.then(|| (format!("d1{rest}"), bytes.clone()))
    });
    let small = small.collect();
    let alone = Manifest {
        image_type: ImageType::SingleDisk,
        streams: Vec::new(),
        ..manifest(listing, inspection)
    };
    let planned = deploy_plan::source_shape(&small)
        .and_then(|shape| deploy_plan::plan(&alone, &small, &shape));
    match planned {
        Err(cause @ Refusal::BadTable(_)) => Err(PlanRefused::Table {
            name: format!("{prefix}.mbr"),
            cause: Box::new(cause),
        }),
        _ => Ok(()),
    }
}

/// The type in a line; one that cannot be read counts as one with data.
fn kind(line: &DumpPartition) -> Kind {
    match line.gpt_kind() {
        Some(guid) => Kind::Gpt(guid),
        None => Kind::Mbr(line.mbr_kind().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests;
