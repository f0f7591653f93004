//! Whether clients can deploy an image: the plan that `fos-agent` makes, for the captured disk.

use std::fmt;

use deploy_plan::{DeployPlan, Refusal};
use disk::Kind;
use fog::task::ImageType;
use fos_api::{MANIFEST_VERSION, Manifest, SmallFile};
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

/// What people should know although the image can be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// An early Windows image without a boot area, which `fos-agent` does not deploy.
    NoBootArea,
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
            Self::NoBootArea => f.write_str(
                "this early Windows image (sys.img, rec.img) has no boot area (d1.mbr), without which \
                 fos-agent does not deploy it: boot FOG's own client for this image, or deploy it once and \
                 capture it again",
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
    deploy_plan::check_manifest(&manifest)?;
    let found = match plan(&manifest, inspection, &mut warnings) {
        // FOG's own client has boot areas of its own for these.
        Err(Refusal::MissingFile { .. }) if has_legacy_names(listing) => {
            warnings.push(Warning::NoBootArea);
            Vec::new()
        }
        found => found?,
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
        scripts: Vec::new(),
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

fn has_legacy_names(listing: &Listing) -> bool {
    let mut streams = listing.streams.iter();
    streams.any(|stream| fog::store::is_legacy_name(stream.name.as_str()))
}

/// The client's plan: adds its warnings, answers the partitions without a stream.
fn plan(
    manifest: &Manifest,
    inspection: &Inspection,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<MissingPartition>, Refusal> {
    let shapes = deploy_plan::source_shapes(manifest, &inspection.small)?;
    let DeployPlan {
        warnings: of_client,
        ..
    } = deploy_plan::plan(manifest, &inspection.small, &shapes)?;
    let mut missing = Vec::new();
    for warning in of_client {
        match warning {
            deploy_plan::Warning::NoStream { which, kind, len } => missing.push(MissingPartition {
                disk: which.disk.number,
                number: which.number,
                kind,
                len,
            }),
            warning if warning.is_about_disk_size() => {}
            warning => warnings.push(Warning::Client(warning)),
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests;
