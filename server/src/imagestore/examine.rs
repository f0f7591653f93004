//! All of an image read at once: what is there, whether it is good, and whether it is what was added.

use std::path::Path;

use deploy_plan::SmallFiles;
use fog::task::ImageType;

use super::packs::Packing;
use super::scan::scan_at;
use super::verify::inspect_and_pack;
use super::{
    ChangedError, Difference, Listing, MissingStreams, PlanRefused, ScanError, VerifyError,
    Warning, check_plan, check_unchanged, compare, image_path, missing_partitions, scan,
};
use crate::domain::Timestamp;
use crate::domain::image::{Facts, ImageSettings};

/// What is to be read.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Directory below the image root.
    pub path: String,
    /// Operating system, FOG's number.
    pub os_id: i64,
    /// What it holds.
    pub image_type: ImageType,
    /// Whether every stream is decoded to its end.
    pub is_full: bool,
    /// What becomes of an image that lacks a stream.
    pub missing: MissingStreams,
}

/// What was found.
#[derive(Debug)]
pub struct Examined {
    /// Of its files.
    pub facts: Facts,
    /// `imgFormat`.
    pub format: u8,
    /// Directory below the image root.
    pub path: String,
    /// What people should know.
    pub warnings: Vec<Warning>,
    /// The bytes of its small files.
    pub small: SmallFiles,
}

/// Why an image is not good.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// Its directory.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A stream.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Its partitions.
    #[error(transparent)]
    Plan(#[from] PlanRefused),
    /// A file was written while it was read.
    #[error(transparent)]
    Changed(#[from] ChangedError),
}

/// Reads all files of an image. Blocks, for as long as that takes.
///
/// # Errors
/// At the first thing that is not good.
pub fn examine(
    root: &Path,
    wanted: &Wanted,
    now: Timestamp,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Examined, ExamineError> {
    let listing = scan(root, &wanted.path, wanted.image_type, wanted.os_id)?;
    examine_listed(&listing, wanted, now, None, progress)
}

/// The same, and the image's data goes into a pack, too. That the pack is made is said by [`Packing::keep`].
///
/// # Errors
/// At the first thing that is not good.
pub fn examine_and_pack(
    root: &Path,
    wanted: &Wanted,
    now: Timestamp,
    packing: &mut Packing,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Examined, ExamineError> {
    let listing = scan(root, &wanted.path, wanted.image_type, wanted.os_id)?;
    examine_listed(&listing, wanted, now, Some(packing), progress)
}

/// Bytes of the streams of an image. Blocks.
///
/// # Errors
/// Its directory cannot be read.
pub fn stored_len(root: &Path, wanted: &Wanted) -> Result<u64, ScanError> {
    let listing = scan(root, &wanted.path, wanted.image_type, wanted.os_id)?;
    let sent = listing.files.iter().filter(|file| file.place.is_some());
    Ok(sent.map(|file| file.size).sum())
}

/// [`examine`] of an image that is not yet where it is to be, in the directory `at`.
///
/// # Errors
/// At the first thing that is not good.
pub(super) fn examine_at(
    at: &Path,
    wanted: &Wanted,
    now: Timestamp,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Examined, ExamineError> {
    let path = image_path(&wanted.path)?;
    let listing = scan_at(at.to_owned(), path, wanted.image_type, wanted.os_id)?;
    examine_listed(&listing, wanted, now, None, progress)
}

fn examine_listed(
    listing: &Listing,
    wanted: &Wanted,
    now: Timestamp,
    packing: Option<&mut Packing>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Examined, ExamineError> {
    let inspection = inspect_and_pack(listing, wanted.is_full, packing, progress)?;
    let warnings = check_plan(listing, &inspection, wanted.missing)?;
    let facts = Facts {
        checked_at: now,
        is_verified: wanted.is_full,
        settings: Some(ImageSettings {
            path: listing.path.clone(),
            image_type: wanted.image_type,
            os_id: wanted.os_id,
            format: inspection.format,
        }),
        files: inspection.files,
        streams: inspection.streams,
    };
    // A file that was written while it was read shows now.
    check_unchanged(listing.dir.path(), &facts)?;
    Ok(Examined {
        facts,
        format: inspection.format,
        path: listing.path.clone(),
        warnings,
        small: inspection.small,
    })
}

impl Examined {
    /// The same of an image whose row names its directory like this: other programs write it in other ways.
    #[must_use]
    pub fn known_as(mut self, path: &str) -> Self {
        if let Some(settings) = &mut self.facts.settings {
            path.clone_into(&mut settings.path);
        }
        self
    }
}

/// What an image is, compared with what was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good, and the same.
    Unchanged,
    /// Good, and the same; it was not decoded before.
    DecodedFirst,
    /// Good, with the same bytes.
    SameBytes {
        /// Whether dates of files are others.
        has_other_dates: bool,
    },
    /// Good; nothing was known of it.
    Unknown,
    /// It can be read completely, and is another one.
    OtherContent,
}

/// What came of a comparison.
#[derive(Debug)]
pub struct Judged {
    /// What is not as it was.
    pub differences: Vec<Difference>,
    /// What the image is; refused if partitions lack their streams and it is not what was added: that was allowed
    /// then.
    pub verdict: Result<Verdict, PlanRefused>,
}

/// Compares an image with what was added.
#[must_use]
pub fn judge(known: Option<&Facts>, found: &Examined) -> Judged {
    let differences = known.map_or_else(Vec::new, |known| compare(known, &found.facts));
    let is_other = differences.iter().any(Difference::is_content);
    let missing = missing_partitions(&found.warnings);
    let is_first =
        |difference: &Difference| matches!(difference, Difference::Decoded { is_now: true, .. });
    let is_date = |difference: &Difference| matches!(difference, Difference::Date(_));
    let verdict = match known {
        _ if (known.is_none() || is_other) && !missing.is_empty() => {
            Err(PlanRefused::Missing(missing))
        }
        None => Ok(Verdict::Unknown),
        Some(_) if differences.is_empty() => Ok(Verdict::Unchanged),
        Some(_) if differences.iter().all(is_first) => Ok(Verdict::DecodedFirst),
        Some(_) if is_other => Ok(Verdict::OtherContent),
        Some(_) => Ok(Verdict::SameBytes {
            has_other_dates: differences.iter().any(is_date),
        }),
    };
    Judged {
        differences,
        verdict,
    }
}
