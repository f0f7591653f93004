//! The header from the first bytes of a file.

use std::io::Write as _;

use image::{Compression, ErrorKind, ImageFormat, PEEK_LEN, peek};
use image_writer::Recipe;

use crate::{block, small};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn header_is_read_through_any_compression() {
    let image = small().write(block(64));
    for (compression, stored) in [
        (Compression::Plain, image.clone()),
        (Compression::Gzip, gzip(&image)),
        (Compression::Zstd, zstd::encode_all(&image[..], 3).unwrap()),
    ] {
        let prefix = &stored[..stored.len().min(PEEK_LEN)];
        let header = peek(prefix).unwrap().unwrap();
        assert_eq!(header.compression, compression);
        assert_eq!(header.format, ImageFormat::Partclone0002);
        assert_eq!((header.block_size, header.total_blocks), (64, 40));
        assert_eq!(header.filesystem, "raw");
        assert_eq!(header.writer.as_deref(), Some("0.3.23"));
    }
}

#[test]
fn the_largest_blocks_are_no_obstacle() {
    // Nothing that compresses, more than a block of any compression has.
    let used = vec![true; 6000];
    let image = Recipe::v2(1000, used).write(block(1000));
    let bzip2 = || {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(&image).unwrap();
        encoder.finish().unwrap()
    };
    let lz4 = || {
        let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&image).unwrap();
        encoder.finish().unwrap()
    };
    let skipped = [
        b"\x50\x2A\x4D\x18\x03\0\0\0abc".to_vec(),
        zstd::encode_all(&image[..], 1).unwrap(),
    ];
    for (compression, stored) in [
        (Compression::Bzip2, bzip2()),
        (Compression::Lz4, lz4()),
        (Compression::Zstd, skipped.concat()),
    ] {
        assert!(stored.len() > PEEK_LEN);
        let header = peek(&stored[..PEEK_LEN]).unwrap().unwrap();
        assert_eq!(
            (header.compression, header.total_blocks),
            (compression, 6000)
        );
    }
}

#[test]
fn too_few_bytes_are_no_error() {
    let image = small().write(block(64));
    for stored in [
        image.clone(),
        gzip(&image),
        zstd::encode_all(&image[..], 3).unwrap(),
    ] {
        let mut answers = (0..=stored.len()).map(|len| peek(&stored[..len]).unwrap().is_some());
        assert!(!answers.next().unwrap());
        let later: Vec<bool> = answers.skip_while(|answer| !answer).collect();
        assert!(!later.is_empty() && later.iter().all(|answer| *answer));
    }
}

#[test]
fn header_of_0001_is_read() {
    let image = Recipe::v1(512, vec![true; 5]).write(block(512));
    let header = peek(&image).unwrap().unwrap();
    assert_eq!(header.format, ImageFormat::Partclone0001);
    assert_eq!((header.device_size, header.writer), (5 * 512, None));
}

#[test]
fn other_things_are_refused() {
    let kind = |bytes: &[u8]| peek(bytes).unwrap_err().kind();
    assert_eq!(kind(b"not an image at all"), ErrorKind::BadMagic);
    assert_eq!(kind(b"LZIP\x01\x0c"), ErrorKind::UnsupportedCompression);
    assert_eq!(kind(&gzip(b"not an image")), ErrorKind::BadMagic);
    let volume = [&b"PaRtImAgE-VoLuMe"[..], &[0; 600]].concat();
    assert_eq!(kind(&volume), ErrorKind::UnsupportedVersion);
    let mut image = small().write(block(64));
    image[60] ^= 1;
    assert_eq!(kind(&image), ErrorKind::HeaderChecksum);
}
