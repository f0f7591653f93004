//! What both ends say to each other of an image.

use fos_api::ImageFacts;
use image::{Compression, Header};

/// The header of an image in the terms of the manifest; `used_blocks` if they were counted.
#[must_use]
pub fn facts(header: &Header, used_blocks: Option<u64>) -> ImageFacts {
    ImageFacts {
        // The names of a format are the same in both crates.
        format: header.format.to_string().into(),
        compression: match header.compression {
            Compression::Plain => fos_api::Compression::Plain,
            other => other.to_string().into(),
        },
        filesystem: header.filesystem.clone(),
        device_size: header.device_size,
        block_size: header.block_size,
        total_blocks: header.total_blocks,
        used_blocks,
    }
}
