//! Image directories: what is in them, whether it is complete, whether it is still the same.

mod check;
mod scan;
mod source;
mod verify;

pub use check::{ChangedError, check_unchanged};
pub use scan::{Listing, ScanError, scan};
pub use source::{Gate, Source, SourceError};
pub use verify::{Inspection, VerifyError, inspect};

use fos_api::{ImageFacts, ImageFormat};

/// Whether a stream of this format says how long it is, so that one that ends too early never looks
/// whole.
#[must_use]
pub fn tells_its_end(facts: &ImageFacts) -> bool {
    matches!(
        facts.format,
        ImageFormat::Partclone0001 | ImageFormat::Partclone0002 | ImageFormat::Partimage06
    )
}

/// The bytes of a small file, if they are still those that were there when the image was verified.
///
/// # Errors
/// If they are not, or cannot be read.
pub fn read_small(
    dir: &std::path::Path,
    file: &crate::domain::image::StoredFile,
) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(dir.join(&file.name))?;
    anyhow::ensure!(
        file.blake3.is_empty() || blake3::hash(&bytes).to_hex().as_str() == file.blake3,
        "the bytes of {} are not those that were there when the image was added",
        file.name
    );
    Ok(bytes)
}
