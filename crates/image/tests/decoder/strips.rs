//! When blocks are handed out, and what a wrong checksum does.

use proptest::prelude::*;
use proptest::sample::select;

use image::{ChecksumMode, Decoder, ErrorKind, ImageError, Options, STRIP_BUFFER, Verify, Warning};
use image_writer::Recipe;

use crate::{FILL, Recorder, block, decode, decode_pieces, small};

const CHECKED: [ChecksumMode; 3] = [
    ChecksumMode::Crc32,
    ChecksumMode::Xxh64,
    ChecksumMode::Xxh128,
];

#[test]
fn strip_is_handed_out_only_with_its_checksum() {
    for checksum in CHECKED {
        let recipe = Recipe {
            checksum,
            ..small()
        };
        let image = recipe.write(block(64));
        let strip_end = 110 + 5 + 4 + 5 * 64 + checksum.size();
        let mut decoder = Decoder::new(Options::default());
        let mut sink = Recorder::new(40 * 64);
        for byte in &image[..strip_end - 1] {
            decoder.push(&[*byte], &mut sink).unwrap();
        }
        assert_eq!((sink.begun.len(), sink.extents), (1, 0), "{checksum}");
        decoder
            .push(&image[strip_end - 1..strip_end], &mut sink)
            .unwrap();
        assert!(sink.extents > 0, "{checksum}");
        assert_eq!(decoder.progress().blocks_done, 5);
    }
}

#[test]
fn no_flipped_byte_passes() {
    for checksum in CHECKED {
        for is_reseeded in [true, false] {
            let recipe = Recipe {
                checksum,
                is_reseeded,
                ..small()
            };
            let image = recipe.write(block(64));
            for at in 0..image.len() {
                let mut bad = image.clone();
                bad[at] ^= 0x10;
                let (result, _) = decode(&bad, 40 * 64, Verify::Enforce);
                assert!(result.is_err(), "{checksum}, byte {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn damaged_data_never_succeeds_with_a_wrong_byte(
        checksum in select(CHECKED.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let recipe = Recipe { checksum, ..small() };
        let image = recipe.write(block(64));
        let mut bad = image.clone();
        for (at, value) in damage {
            let at = at.index(bad.len());
            bad[at] = value;
        }
        let (result, sink) = decode(&bad, 40 * 64, Verify::Enforce);
        let expected = recipe.restored(block(64), 40 * 64, FILL);
        if result.is_ok() {
            prop_assert!(sink.target == expected);
        } else {
            // What was written before the damage was found is right.
            for (found, good) in sink.target.iter().zip(&expected) {
                prop_assert!(found == good || *found == FILL);
            }
        }
    }
}

#[test]
fn checksum_error_names_blocks_and_place() {
    let recipe = Recipe {
        spoil_block: Some(9),
        ..small()
    };
    // The second strip holds blocks 6, 7, 8, 10, 11; block 9 is free, 16 is not in it.
    assert!(
        decode(&recipe.write(block(64)), 40 * 64, Verify::Enforce)
            .0
            .is_ok()
    );
    let recipe = Recipe {
        spoil_block: Some(8),
        ..small()
    };
    let (result, sink) = decode(&recipe.write(block(64)), 40 * 64, Verify::Enforce);
    let Err(ImageError::BlockChecksum(error)) = result else {
        panic!("a checksum error was expected");
    };
    assert_eq!(
        (error.first_block, error.last_block, error.block_count),
        (6, 11, 5)
    );
    assert_eq!(error.offset, 110 + 5 + 4 + 2 * 5 * 64 + 4);
    assert!(!error.is_handed_on);
    assert!(
        sink.target[6 * 64..12 * 64]
            .iter()
            .all(|&byte| byte == FILL)
    );
    let text = error.to_string();
    assert!(
        text.contains("5 used blocks 6 to 11") && text.contains("offset 763"),
        "{text}"
    );
}

#[test]
fn ignored_checksum_errors_are_counted_and_shown() {
    let recipe = Recipe {
        spoil_block: Some(8),
        ..small()
    };
    let (result, sink) = decode(&recipe.write(block(64)), 40 * 64, Verify::Warn);
    let summary = result.unwrap();
    assert_eq!(summary.checksum_errors, 1);
    assert!(matches!(&summary.warnings[..], [Warning::BlockChecksum(_)]));
    let mut expected = recipe.restored(block(64), 40 * 64, FILL);
    expected[8 * 64] ^= 0xFF;
    assert!(sink.target == expected);

    // Without reseeding every later strip is wrong, too. All are counted, a few are kept.
    let recipe = Recipe {
        spoil_block: Some(0),
        strip_blocks: 1,
        is_reseeded: false,
        ..small()
    };
    let summary = decode(&recipe.write(block(64)), 40 * 64, Verify::Warn)
        .0
        .unwrap();
    assert_eq!(summary.checksum_errors, summary.geometry.used_blocks);
    assert_eq!(summary.warnings.len(), 17);
    assert!(matches!(
        summary.warnings[16],
        Warning::MoreBlockChecksums { count: 13 }
    ));
}

#[test]
fn strip_larger_than_the_buffer_is_verified_at_its_end() {
    let blocks = STRIP_BUFFER / 65_536 + 3;
    for strip_blocks in [u32::MAX, u32::try_from(blocks - 1).unwrap()] {
        let mut recipe = Recipe {
            strip_blocks,
            ..Recipe::v2(65_536, vec![true; blocks])
        };
        let size = blocks * 65_536;
        let image = recipe.write(block(65_536));
        let (result, sink) = decode(&image, size, Verify::Enforce);
        let summary = result.unwrap();
        assert_eq!(
            summary.checksums,
            summary.geometry.used_blocks.div_ceil(strip_blocks.into())
        );
        assert!(sink.target == recipe.restored(block(65_536), size, FILL));

        recipe.spoil_block = Some(1);
        let (result, sink) = decode(&recipe.write(block(65_536)), size, Verify::Enforce);
        let Err(ImageError::BlockChecksum(error)) = result else {
            panic!("a checksum error was expected");
        };
        assert!(error.is_handed_on && sink.extents > 0);
        assert!(error.to_string().contains("already been written"));

        let cut = &image[..110 + blocks.div_ceil(8) + 4 + 65_536 + 100];
        let text = decode(cut, size, Verify::Enforce)
            .0
            .unwrap_err()
            .to_string();
        assert!(text.contains("data of block 1: needs 65536 bytes") && text.contains("100 there"));
    }
}

#[test]
fn block_larger_than_the_buffer_passes() {
    let size = STRIP_BUFFER + 4096;
    let recipe = Recipe {
        strip_blocks: 1,
        ..Recipe::v2(u32::try_from(size).unwrap(), vec![false, true])
    };
    let content = move |number: u64| vec![u8::try_from(number).unwrap() + 7; size];
    let image = recipe.write(content);
    let mut sink = Recorder::new(2 * size);
    let summary = decode_pieces(&image, &[100_000], Options::default(), &mut sink).unwrap();
    assert_eq!(summary.checksums, 1);
    assert!(sink.target == recipe.restored(content, 2 * size, FILL));

    let mut sink = Recorder::new(2 * size);
    let cut = &image[..110 + 1 + 4 + 1000];
    let error = decode_pieces(cut, &[100_000], Options::default(), &mut sink).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("data of block 1: needs 8392704 bytes at offset 115, 1000 there"),
        "{text}"
    );
    assert_eq!(error.kind(), ErrorKind::Truncated);
}

#[test]
fn sink_error_ends_the_decoding_for_good() {
    struct Full;
    impl image::Sink for Full {
        fn begin(&mut self, _: &image::Geometry) -> Result<(), image::SinkError> {
            Ok(())
        }
        fn extent(&mut self, _: u64, _: &[u8]) -> Result<(), image::SinkError> {
            Err("no space left on device".into())
        }
    }
    let image = small().write(block(64));
    let mut decoder = Decoder::new(Options::default());
    let error = decoder.push(&image, &mut Full).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink);
    assert!(error.to_string().contains("no space left"), "{error}");
    assert_eq!(
        decoder.push(b"", &mut Full).unwrap_err().kind(),
        ErrorKind::Stopped
    );
    assert_eq!(
        decoder.finish(&mut Full).unwrap_err().kind(),
        ErrorKind::Stopped
    );
}

#[test]
fn errors_name_the_place_of_a_checksum_however_the_image_is_cut() {
    for is_wide in [false, true] {
        let recipe = Recipe {
            is_wide,
            spoil_sum: Some(7),
            ..Recipe::v1(64, vec![true; 20])
        };
        let image = recipe.write(block(64));
        let sum_len = if is_wide { 8 } else { 4 };
        let place = 4160 + 20 + 8 + 7 * (64 + sum_len) + 64;
        for piece in [1, 100, usize::MAX] {
            let mut sink = Recorder::new(20 * 64);
            let result = decode_pieces(&image, &[piece], Options::default(), &mut sink);
            match result.unwrap_err() {
                ImageError::BlockChecksum(error) => assert_eq!(error.offset, place, "{piece}"),
                other => panic!("{other}"),
            }
        }
    }
}
