//! Any image that can be written comes out as it went in, however it is cut.

use proptest::prelude::*;
use proptest::sample::select;

use image::{BitmapMode, ChecksumMode, Options, Verify, Warning};
use image_writer::Recipe;

use crate::{Recorder, block, decode_pieces, small};

fn recipes() -> impl Strategy<Value = Recipe> {
    (
        select(vec![1_u32, 3, 16, 64, 512, 1000, 4096]),
        prop::collection::vec((any::<bool>(), 1..40_usize), 1..8),
        select(vec![
            ChecksumMode::None,
            ChecksumMode::Crc32,
            ChecksumMode::Xxh64,
            ChecksumMode::Xxh128,
        ]),
        prop_oneof![1..9_u32, Just(64), Just(100_000), Just(u32::MAX)],
        select(vec![BitmapMode::None, BitmapMode::Bit, BitmapMode::Byte]),
        any::<[bool; 4]>(),
        0..5000_u64,
    )
        .prop_map(
            |(block_size, stretches, checksum, strip_blocks, bitmap, flags, spare)| {
                let used: Vec<bool> = stretches
                    .iter()
                    .flat_map(|(used, len)| std::iter::repeat_n(*used, *len))
                    .collect();
                let [is_v1, is_reseeded, has_odd_bitmap, is_wide] = flags;
                let recipe = Recipe {
                    is_v1,
                    checksum,
                    strip_blocks,
                    is_reseeded,
                    bitmap,
                    has_odd_bitmap,
                    is_wide,
                    ..Recipe::v2(block_size, used)
                };
                Recipe {
                    device_size: Some(recipe.filesystem_size() + spare),
                    ..recipe
                }
            },
        )
}

proptest! {
    #[test]
    fn any_image_cut_anywhere_gives_the_same_target(
        recipe in recipes(),
        pieces in prop::collection::vec(1..3000_usize, 1..20),
        verify in select(vec![Verify::Enforce, Verify::Warn]),
    ) {
        let content = block(recipe.block_size.try_into().unwrap());
        let image = recipe.write(content);
        let size = usize::try_from(recipe.device_size.unwrap()).unwrap();
        let expected = recipe.restored(content, size, crate::FILL);
        let options = Options { verify, target_size: Some(size as u64), ..Options::default() };
        for pieces in [&pieces[..], &[usize::MAX], &[1]] {
            let mut sink = Recorder::new(size);
            let summary = decode_pieces(&image, pieces, options, &mut sink).unwrap();
            prop_assert!(sink.target == expected, "bytes differ");
            prop_assert_eq!(&summary.warnings, &Vec::<Warning>::new());
            prop_assert_eq!(summary.image_len, image.len() as u64);
            prop_assert_eq!(summary.output_len, summary.geometry.used_len());
            prop_assert_eq!(summary.geometry.used_blocks, recipe.used_blocks().count() as u64);
            prop_assert_eq!(&sink.begun, std::slice::from_ref(&summary.geometry));
        }
    }

    #[test]
    fn any_image_cut_short_is_an_error(recipe in recipes(), at in any::<prop::sample::Index>()) {
        let content = block(recipe.block_size.try_into().unwrap());
        let image = recipe.write(content);
        let cut = at.index(image.len());
        // The meaningless half of the last wide checksum may be missing.
        let is_padding = recipe.is_v1 && recipe.is_wide && cut + 4 >= image.len();
        prop_assume!(!is_padding);
        let mut sink = Recorder::new(usize::try_from(recipe.device_size.unwrap()).unwrap());
        prop_assert!(
            decode_pieces(&image[..cut], &[usize::MAX], Options::default(), &mut sink).is_err()
        );
    }
}

#[test]
fn cut_at_every_offset_is_truncated_and_writes_whole_strips_only() {
    let v1 = Recipe {
        is_v1: true,
        ..small()
    };
    for recipe in [small(), v1] {
        let content = block(64);
        let image = recipe.write(content);
        let expected = recipe.restored(content, 40 * 64, crate::FILL);
        for cut in 0..image.len() {
            let mut sink = Recorder::new(40 * 64);
            let error = decode_pieces(&image[..cut], &[usize::MAX], Options::default(), &mut sink)
                .unwrap_err();
            assert_eq!(
                error.kind(),
                image::ErrorKind::Truncated,
                "cut at {cut}: {error}"
            );
            for (at, (found, good)) in sink.target.iter().zip(&expected).enumerate() {
                assert!(
                    found == good || *found == crate::FILL,
                    "cut at {cut}, byte {at}"
                );
            }
        }
    }
}

#[test]
fn truncation_names_the_part_and_the_place() {
    let image = small().write(block(64));
    let message = |cut: usize| {
        let mut sink = Recorder::new(40 * 64);
        let options = Options::default();
        decode_pieces(&image[..cut], &[usize::MAX], options, &mut sink)
            .unwrap_err()
            .to_string()
    };
    let data = 110 + 5 + 4;
    assert!(message(0).contains("middle of the header: needs 110 bytes at offset 0, 0 there"));
    assert!(message(109).contains("needs 110 bytes at offset 0, 109 there"));
    assert!(message(112).contains("middle of the bitmap: needs 5 bytes at offset 110, 2 there"));
    assert!(message(116).contains("end of the bitmap: needs 4 bytes at offset 115, 1 there"));
    // Used blocks are 0, 1, 3, 4, 5, then the checksum, then 6.
    let text = message(data + 2 * 64 + 10);
    assert!(
        text.contains("data of block 3: needs 64 bytes at offset 247, 10 there"),
        "{text}"
    );
    let text = message(data + 5 * 64 + 3);
    assert!(
        text.contains("checksum after block 5: needs 4 bytes at offset 439, 3 there"),
        "{text}"
    );
    let text = message(data + 5 * 64 + 4);
    assert!(
        text.contains("data of block 6: needs 64 bytes at offset 443, 0 there"),
        "{text}"
    );
}

#[test]
fn runs_of_used_blocks_become_few_extents() {
    let recipe = Recipe {
        checksum: ChecksumMode::None,
        ..Recipe::v2(512, (0..3000).map(|n| n % 1000 != 999).collect())
    };
    let image = recipe.write(block(512));
    let mut sink = Recorder::new(3000 * 512);
    let _summary = decode_pieces(&image, &[usize::MAX], Options::default(), &mut sink).unwrap();
    assert_eq!(sink.extents, 3);
}

#[test]
fn image_without_used_blocks_is_complete_after_its_bitmap() {
    for recipe in [
        Recipe::v2(4096, vec![false; 9]),
        Recipe::v1(4096, vec![false; 9]),
    ] {
        let image = recipe.write(block(4096));
        let mut sink = Recorder::new(0);
        let summary = decode_pieces(&image, &[1], Options::default(), &mut sink).unwrap();
        assert_eq!((summary.output_len, summary.geometry.data_end), (0, 0));
        assert_eq!(sink.begun.len(), 1);
    }
}
