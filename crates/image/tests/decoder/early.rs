//! Sizes: what is refused before the sink hears of the image.

use image::{ChecksumMode, ErrorKind, ImageError, Options, PEEK_LEN};
use image_writer::Recipe;

use crate::{Recorder, block, decode_pieces, small};

fn try_on(image: &[u8], options: Options) -> (Result<image::Summary, ImageError>, Recorder) {
    let mut sink = Recorder::new(40 * 64);
    let result = decode_pieces(image, &[usize::MAX], options, &mut sink);
    (result, sink)
}

#[test]
fn target_must_be_as_large_as_the_device_unless_waived() {
    let recipe = Recipe {
        device_size: Some(40 * 64 + 100),
        ..small()
    };
    let image = recipe.write(block(64));
    let options = |target_size, check_size| Options {
        target_size: Some(target_size),
        check_size,
        ..Options::default()
    };
    assert!(try_on(&image, options(40 * 64 + 100, true)).0.is_ok());
    let (result, sink) = try_on(&image, options(40 * 64 + 99, true));
    let error = result.unwrap_err();
    assert!(error.to_string().contains(
        "needs a target of 2.7 kB (2660 bytes), this one has 2.7 kB (2659 bytes): 1 byte missing"
    ));
    assert!(sink.begun.is_empty());

    // Without the check every used block must fit; block 39 is the last.
    assert!(try_on(&image, options(40 * 64, false)).0.is_ok());
    let (result, sink) = try_on(&image, options(40 * 64 - 1, false));
    let error = result.unwrap_err();
    assert!(matches!(
        error,
        ImageError::BlockBeyondTarget {
            block: 39,
            end: 2560,
            target_size: 2559
        }
    ));
    assert_eq!(error.kind(), ErrorKind::BeyondTarget);
    assert!(sink.begun.is_empty());
}

#[test]
fn size_is_checked_before_the_bitmap_is_read() {
    let recipe = Recipe {
        device_size: Some(1 << 50),
        ..small()
    };
    let image = recipe.write_v2(block(64), |header| header.total_blocks = (1 << 40).into());
    let options = Options {
        target_size: Some(1 << 30),
        ..Options::default()
    };
    let error = try_on(&image[..110], options).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BeyondTarget, "{error}");
}

#[test]
fn bitmap_memory_is_bounded() {
    let used = (0..500_000).map(|n| n % 2 == 0).collect();
    let recipe = Recipe {
        checksum: ChecksumMode::None,
        ..Recipe::v2(1, used)
    };
    let image = recipe.write(|_| vec![1]);
    let options = Options {
        bitmap_memory_max: 10_000,
        ..Options::default()
    };
    let (result, sink) = try_on(&image, options);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::BitmapTooLarge);
    assert!(sink.begun.is_empty());
}

#[test]
fn used_counts_of_the_header_do_not_matter() {
    let image = small().write_v2(block(64), |header| {
        header.used_blocks_super = u64::MAX.into();
        header.used_blocks_bitmap = 1.into();
    });
    let (result, _) = try_on(&image, Options::default());
    let geometry = result.unwrap().geometry;
    assert_eq!(
        (geometry.claimed_used_blocks, geometry.used_blocks),
        (1, 29)
    );
    assert!(image.len() < PEEK_LEN);
}
