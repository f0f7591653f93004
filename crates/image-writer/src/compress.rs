//! Compressed streams, for tests.

use std::io::Write as _;

use image::Compression;

/// `content` in a stream of this compression, with whatever checksums it can have.
#[must_use]
pub fn wrap(compression: Compression, content: &[u8]) -> Vec<u8> {
    let stored = match compression {
        Compression::Plain => Ok(content.to_vec()),
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(content).and_then(|()| encoder.finish())
        }
        Compression::Zstd => zstd::Encoder::new(Vec::new(), 1).and_then(|mut encoder| {
            encoder.include_checksum(true)?;
            encoder.write_all(content)?;
            encoder.finish()
        }),
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(content).and_then(|()| encoder.finish())
        }
        Compression::Bzip2 => {
            let level = bzip2::Compression::fast();
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
            encoder.write_all(content).and_then(|()| encoder.finish())
        }
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_mode(lz4_flex::frame::BlockMode::Linked)
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_checksums(true)
                .content_checksum(true);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            let written = encoder.write_all(content);
            written.and_then(|()| encoder.finish().map_err(Into::into))
        }
        other => panic!("{other} is not written"),
    };
    stored.expect("writing to memory does not fail")
}
