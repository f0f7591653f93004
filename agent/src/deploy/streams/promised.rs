//! The image that the manifest promises.

use deploy_plan::PlannedStream;
use fos_api::{ImageFacts, ImageFormat};
use image::Geometry;
use readable::{Count, Size};

/// A stream that carries another image than the one that is due.
#[derive(Debug, thiserror::Error)]
#[error(
    "out of step: the stream has a {found}, but due is a {expected}; nothing of it was written. A \
     client that missed a stream cannot catch up in this session: deploy it again"
)]
pub(super) struct OtherImage {
    pub(super) found: String,
    pub(super) expected: String,
}

/// Most bytes that the bitmap of an image takes in memory: a bit per block unless all are used, what
/// the pieces of it need beside, and a little for the smallest.
pub(in crate::deploy) fn bitmap_memory(facts: &ImageFacts) -> u64 {
    let total = facts.total_blocks;
    let bits = match facts.format {
        // There is none.
        ImageFormat::Raw => return 1 << 20,
        _ if facts.used_blocks == Some(total) => 0,
        _ => total / 8,
    };
    bits.saturating_add(total / 128).saturating_add(1 << 20)
}

/// Compares what came with what the manifest promised.
pub(super) fn same_image(stream: &PlannedStream, geometry: &Geometry) -> Result<(), OtherImage> {
    let facts = &stream.facts;
    let used = facts.used_blocks.unwrap_or(geometry.used_blocks);
    let expected = (
        facts.format.to_string(),
        facts.device_size,
        facts.block_size,
        facts.total_blocks,
        used,
    );
    let found = (
        geometry.format.to_string(),
        geometry.device_size,
        geometry.block_size,
        geometry.total_blocks,
        geometry.used_blocks,
    );
    if found == expected {
        return Ok(());
    }
    let words = |(format, device, block, total, used): (String, u64, u32, u64, u64)| {
        format!(
            "{format} image of a device of {:#}, {used} of {} of {} used",
            Size(device),
            Count(total, "block"),
            Count(block.into(), "byte")
        )
    };
    Err(OtherImage {
        found: words(found),
        expected: words(expected),
    })
}
