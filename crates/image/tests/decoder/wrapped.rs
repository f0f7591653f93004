//! Compression around an image.

use std::io::Write as _;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use image::{Compression, ErrorKind, ImageError, Options, Verify, Warning};
use image_writer::Recipe;

use crate::{FILL, Recorder, block, decode, decode_pieces, small};

const SIZE: usize = 40 * 64;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One frame with a content checksum, as `zstd` makes it of a pipe.
fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn skippable(len: u32) -> Vec<u8> {
    let mut frame = vec![0x53, 0x2A, 0x4D, 0x18];
    frame.extend(len.to_le_bytes());
    frame.resize(frame.len() + len as usize, 0xEE);
    frame
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8], mode: BlockMode, size: BlockSize) -> Vec<u8> {
    let info = FrameInfo::new()
        .block_mode(mode)
        .block_size(size)
        .block_checksums(mode == BlockMode::Linked)
        .content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Several streams that hold `image`, all of them good.
fn good(image: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (a, b) = image.split_at(image.len() / 3);
    let mut named = flate2::GzBuilder::new()
        .filename("d1p1.img")
        .comment("a comment")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::fast());
    named.write_all(b).unwrap();
    vec![
        ("gzip", gzip(image)),
        (
            "members",
            [gzip(a), gzip(b"")]
                .concat()
                .into_iter()
                .chain(named.finish().unwrap())
                .collect(),
        ),
        ("zstd", zstd_frame(image)),
        ("no sum", zstd::encode_all(image, 1).unwrap()),
        (
            "frames",
            [
                skippable(0),
                zstd_frame(a),
                skippable(7),
                zstd_frame(b""),
                zstd_frame(b),
                skippable(3),
            ]
            .concat(),
        ),
        ("xz", xz(image)),
        (
            "xz streams",
            [&xz(a)[..], &[0; 8], &xz(b""), &xz(b), &[0; 4]].concat(),
        ),
        ("bzip2", bzip2(image)),
        ("bzip2 streams", [bzip2(a), bzip2(b""), bzip2(b)].concat()),
        ("lz4", lz4(image, BlockMode::Independent, BlockSize::Max4MB)),
        (
            "lz4 linked",
            lz4(image, BlockMode::Linked, BlockSize::Max64KB),
        ),
        (
            "lz4 behind what zstd skips too",
            [
                skippable(0),
                skippable(5),
                lz4(image, BlockMode::Independent, BlockSize::Max64KB),
            ]
            .concat(),
        ),
        (
            "lz4 frames",
            [
                lz4(a, BlockMode::Linked, BlockSize::Max64KB),
                skippable(0),
                skippable(9),
                lz4(b"", BlockMode::Independent, BlockSize::Max64KB),
                lz4(b, BlockMode::Independent, BlockSize::Max256KB),
            ]
            .concat(),
        ),
    ]
}

#[test]
fn skippable_frames_lead_nowhere_else() {
    let image = small().write(block(64));
    let kind = |stored: &[u8]| {
        let (result, sink) = decode(stored, SIZE, Verify::Enforce);
        assert_eq!(sink.target, vec![FILL; SIZE]);
        result.unwrap_err().kind()
    };
    // gzip has no such frames, and neither has what is not compressed.
    for rest in [gzip(&image), image.clone(), b"123".to_vec()] {
        let stored = [skippable(9), rest].concat();
        let kind = kind(&stored);
        assert!(
            matches!(kind, ErrorKind::Corrupt | ErrorKind::Truncated),
            "{kind:?}"
        );
    }
    let frame = skippable(9);
    for len in 4..frame.len() {
        assert_eq!(kind(&frame[..len]), ErrorKind::Truncated, "{len}");
    }
    assert_eq!(kind(&frame), ErrorKind::Truncated);
    // Errors say where in the stream they are.
    let mut stored = [skippable(100), zstd_frame(&image)].concat();
    stored[108 + 30] ^= 1;
    match decode(&stored, SIZE, Verify::Enforce).0.unwrap_err() {
        ImageError::Corrupt { offset, .. } => assert!(offset >= 108, "{offset}"),
        other => panic!("{other}"),
    }
}

#[test]
fn every_wrapping_gives_the_same_target_however_cut() {
    let recipe = small();
    let image = recipe.write(block(64));
    let expected = recipe.restored(block(64), SIZE, FILL);
    for (name, stored) in good(&image) {
        for pieces in [1, 7, 1000, usize::MAX] {
            let mut sink = Recorder::new(SIZE);
            let summary = decode_pieces(&stored, &[pieces], Options::default(), &mut sink).unwrap();
            assert!(sink.target == expected, "{name}");
            assert_eq!(summary.warnings, [], "{name}");
            assert_eq!(summary.input_len, stored.len() as u64);
            assert_eq!(summary.image_len, image.len() as u64);
        }
    }
}

#[test]
fn wrapping_cut_at_every_offset_is_truncated() {
    let image = small().write(block(64));
    for (name, stored) in good(&image) {
        // Of less than its magic number nothing can be said.
        for cut in 6..stored.len() {
            let (result, _) = decode(&stored[..cut], SIZE, Verify::Enforce);
            match result {
                Err(error) => assert_eq!(
                    error.kind(),
                    ErrorKind::Truncated,
                    "{name} at {cut}: {error}"
                ),
                // The last frame is skippable, or padding: without it nothing is missing.
                Ok(_) => assert!(
                    name == "frames" && cut == stored.len() - 11
                        || name == "xz streams" && cut == stored.len() - 4,
                    "{name} at {cut}"
                ),
            }
        }
    }
}

#[test]
fn flipped_byte_of_a_stream_with_checksums_never_passes_wrongly() {
    let recipe = Recipe {
        checksum: image::ChecksumMode::None,
        ..small()
    };
    let image = recipe.write(block(64));
    let expected = recipe.restored(block(64), SIZE, FILL);
    let independent = lz4(&image, BlockMode::Independent, BlockSize::Max64KB);
    let stored = [
        gzip(&image),
        zstd_frame(&image),
        xz(&image),
        bzip2(&image),
        independent,
    ];
    for stored in stored {
        for at in 0..stored.len() {
            for bit in [1, 0x80] {
                let mut bad = stored.clone();
                bad[at] ^= bit;
                let (result, sink) = decode(&bad, SIZE, Verify::Enforce);
                assert!(result.is_err() || sink.target == expected, "byte {at}");
            }
        }
    }
}

#[test]
fn stream_is_verified_behind_the_last_block() {
    let image = small().write(block(64));
    let mut stored = zstd_frame(&image);
    *stored.last_mut().unwrap() ^= 1;
    let error = decode(&stored, SIZE, Verify::Warn).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("zstd stream is damaged"),
        "{error}"
    );

    for from_end in [8, 4] {
        let mut stored = gzip(&image);
        let at = stored.len() - from_end;
        stored[at] ^= 1;
        let error = decode(&stored, SIZE, Verify::Warn).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn bytes_behind_the_end_are_warned_of() {
    let image = small().write(block(64));
    let more = [&image[..], &[0; 777]].concat();
    for (stored, len) in [
        (more.clone(), 777),
        (gzip(&more), 777),
        (zstd_frame(&more), 777),
    ] {
        let summary = decode(&stored, SIZE, Verify::Enforce).0.unwrap();
        let offset = image.len() as u64;
        assert_eq!(summary.warnings, [Warning::Trailing { offset, len }]);
    }
    for junk in [
        &b"junk"[..],
        b"\x1f",
        b"\x1f\x1f\x8b",
        b"\0\0\0\0\0\0\0\0\0",
    ] {
        let stored = [&gzip(&image)[..], junk].concat();
        for pieces in [1, usize::MAX] {
            let mut sink = Recorder::new(SIZE);
            let summary = decode_pieces(&stored, &[pieces], Options::default(), &mut sink).unwrap();
            let len = junk.len() as u64;
            let compression = Compression::Gzip;
            assert_eq!(
                summary.warnings,
                [Warning::TrailingCompressed { compression, len }]
            );
        }
    }
    for junk in [&b"junk"[..], b"B", b"BZ"] {
        let stored = [&bzip2(&image)[..], junk].concat();
        for pieces in [1, usize::MAX] {
            let mut sink = Recorder::new(SIZE);
            let summary = decode_pieces(&stored, &[pieces], Options::default(), &mut sink).unwrap();
            let len = junk.len() as u64;
            let compression = Compression::Bzip2;
            assert_eq!(
                summary.warnings,
                [Warning::TrailingCompressed { compression, len }]
            );
        }
    }
    // The reference decoders refuse these, and so do we.
    let independent = lz4(&image, BlockMode::Independent, BlockSize::Max64KB);
    for stored in [zstd_frame(&image), xz(&image), independent] {
        let stored = [&stored[..], b"junk, and more"].concat();
        let error = decode(&stored, SIZE, Verify::Enforce).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn too_large_a_window_is_named() {
    let image = small().write(block(64));
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&image).unwrap();
    let stored = encoder.finish().unwrap();
    let options = |window_log_max| Options {
        window_log_max,
        ..Options::default()
    };
    for pieces in [1, usize::MAX] {
        let mut sink = Recorder::new(SIZE);
        let error = decode_pieces(&stored, &[pieces], options(23), &mut sink).unwrap_err();
        assert!(matches!(
            error,
            ImageError::WindowTooLarge {
                compression: Compression::Zstd,
                offset: 0,
                window: 0x100_0000,
                limit: 0x80_0000
            }
        ));
        assert!(
            error
                .to_string()
                .contains("needs a window of 16.8 MB (16777216 bytes)"),
            "{error}"
        );
        let mut sink = Recorder::new(SIZE);
        assert!(decode_pieces(&stored, &[pieces], options(24), &mut sink).is_ok());
    }
}

#[test]
fn too_large_a_dictionary_is_named() {
    // One of 8 MiB, as `xz -6` makes it.
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(&small().write(block(64))).unwrap();
    let stored = encoder.finish().unwrap();
    for (window_log_max, is_enough) in [(22, false), (23, true)] {
        let options = Options {
            window_log_max,
            ..Options::default()
        };
        for pieces in [1, usize::MAX] {
            let mut sink = Recorder::new(SIZE);
            let result = decode_pieces(&stored, &[pieces], options, &mut sink);
            assert_eq!(result.is_ok(), is_enough);
            if let Err(error) = result {
                let text = error.to_string();
                assert!(
                    text.contains("needs a window of 8.4 MB (8388608 bytes)"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn unsupported_compressions_are_named() {
    for (first, name) in [
        (&b"\x02\x21\x4C\x18abcd"[..], "legacy"),
        (b"LZIP\x01\x0c", "lzip"),
        (b"7z\xBC\xAF\x27\x1C", "7-Zip"),
    ] {
        let error = decode(first, SIZE, Verify::Enforce).0.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let twice = gzip(&gzip(b"partclone-image"));
    let error = decode(&twice, SIZE, Verify::Enforce).0.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("compressed stream inside another"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn large_images_pass_through_compression(
        strip_blocks in prop::sample::select(vec![1_u32, 256, 1000]),
        seed in any::<u64>(),
        piece in 1000..400_000_usize,
    ) {
        let used: Vec<bool> = (0..700_u64).map(|n| (n.wrapping_mul(seed) >> 7) % 5 != 0).collect();
        let recipe = Recipe { strip_blocks, ..Recipe::v2(4096, used) };
        // Half of each block compresses well.
        let content = |number: u64| {
            let mut data = block(4096)(number);
            data[2048..].fill(1);
            data
        };
        let image = recipe.write(content);
        let size = 700 * 4096;
        let expected = recipe.restored(content, size, FILL);
        let linked = lz4(&image, BlockMode::Linked, BlockSize::Max64KB);
        let stored =
            [gzip(&image), zstd_frame(&image), xz(&image), bzip2(&image), linked, image];
        for stored in stored {
            let mut sink = Recorder::new(size);
            let summary =
                decode_pieces(&stored, &[piece], Options::default(), &mut sink).unwrap();
            prop_assert_eq!(summary.warnings, []);
            prop_assert!(sink.target == expected);
        }
    }
}
