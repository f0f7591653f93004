//! partimage: volumes, records over every kind of run, damage.

use proptest::prelude::*;

use image::{ErrorKind, ImageFormat, Options, PEEK_LEN, Verify, Warning, peek};
use image_writer::PartimageRecipe;

use crate::{FILL, Recorder, block, decode, decode_pieces};

const BLOCKS: usize = 300;
const SIZE: usize = BLOCKS * 1024;

fn recipe() -> PartimageRecipe {
    let used = (0..BLOCKS).map(|n| n % 9 != 4 && !(100..120).contains(&n));
    PartimageRecipe::new(1024, used.collect())
}

#[test]
fn header_tells_of_the_image() {
    let image = PartimageRecipe {
        boot_records: 2,
        filesystem: "ntfs".into(),
        partition_size: Some(SIZE as u64 + 512),
        ..recipe()
    }
    .write(block(1024));
    let header = peek(&image[..PEEK_LEN.min(image.len())]).unwrap().unwrap();
    assert_eq!(header.format, ImageFormat::Partimage06);
    assert_eq!(header.filesystem, "ntfs");
    assert_eq!(header.device_size, SIZE as u64 + 512);
    assert_eq!((header.block_size, header.total_blocks), (1024, 300));
    // Main and partition header are needed, and what is between.
    for len in [0, 15, 40, 17_000, 20_000, 30_000] {
        assert_eq!(peek(&image[..len]).unwrap(), None, "{len}");
    }
    let summary = decode(&image, SIZE + 512, Verify::Enforce).0.unwrap();
    assert_eq!(summary.geometry.header, header);
    assert_eq!(summary.checksums, 3 + 1);
    assert_eq!(summary.warnings, []);
}

#[test]
fn volumes_may_break_anywhere() {
    let recipe = recipe();
    let expected = recipe.restored(block(1024), SIZE, FILL);
    let whole = recipe.write(block(1024)).len() - 512;
    // Around every border of the layout, and many other places.
    let mut cuts: Vec<usize> = (1..whole).step_by(5003).collect();
    cuts.extend([1, 16_387, 16_388, 16_389, whole - 16_384, whole - 1]);
    for cut in cuts {
        let volumes = recipe.write_volumes(block(1024), &[cut]);
        let (result, sink) = decode(&volumes.concat(), SIZE, Verify::Enforce);
        let summary = result.unwrap_or_else(|error| panic!("{cut}: {error}"));
        assert!(sink.target == expected, "{cut}");
        assert_eq!(summary.warnings, []);
        assert_eq!(summary.image_len, whole as u64 + 1024);
    }
}

#[test]
fn volumes_missing_or_out_of_order_are_named() {
    let recipe = recipe();
    let volumes = recipe.write_volumes(block(1024), &[100_000, 70_000]);
    let join = |order: &[usize]| -> Vec<u8> {
        order
            .iter()
            .flat_map(|&number| volumes[number].clone())
            .collect()
    };
    let kind = |image: &[u8]| {
        let both = [Verify::Enforce, Verify::Warn];
        let [a, b] = both.map(|verify| decode(image, SIZE, verify).0.unwrap_err());
        assert_eq!(a.kind(), b.kind());
        (a.kind(), a.to_string())
    };
    assert!(decode(&join(&[0, 1, 2]), SIZE, Verify::Enforce).0.is_ok());
    for order in [&[0, 2, 1][..], &[0, 2], &[0, 1, 1, 2], &[0, 0, 1, 2]] {
        let (kind, text) = kind(&join(order));
        assert_eq!(kind, ErrorKind::MissingVolume, "{order:?}: {text}");
        assert!(text.contains("follows at offset"), "{text}");
    }
    assert_eq!(kind(&join(&[0, 1])).0, ErrorKind::Truncated);
    assert_eq!(kind(&join(&[1, 0, 2])).0, ErrorKind::NotFirstVolume);
}

#[test]
fn volume_headers_of_other_images_are_data() {
    // The block holds a header with another identifier, as files in a file system may.
    let content = |number: u64| {
        let mut data = block(1024)(number);
        let mut header = recipe().write(block(1024))[..512].to_vec();
        header[100] ^= 1;
        header[96] = 1;
        data[300..812].copy_from_slice(&header);
        data[1015..].copy_from_slice(&b"PaRtImAgE-VoLuMe"[..9]);
        data
    };
    let recipe = recipe();
    let image = recipe.write(content);
    for pieces in [1000, usize::MAX] {
        let mut sink = Recorder::new(SIZE);
        let result = decode_pieces(&image, &[pieces], Options::default(), &mut sink);
        assert_eq!(result.unwrap().warnings, []);
        assert!(sink.target == recipe.restored(content, SIZE, FILL));
    }
}

#[test]
fn total_sum_is_verified_before_the_last_blocks_or_warned_of() {
    let recipe = PartimageRecipe {
        spoil_tail: 1,
        ..recipe()
    };
    let image = recipe.write(block(1024));
    let (result, sink) = decode(&image, SIZE, Verify::Enforce);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TotalChecksum, "{error}");
    assert!(sink.extents > 0 && sink.target[SIZE - 1024..] == [FILL; 1024]);
    let (result, sink) = decode(&image, SIZE, Verify::Warn);
    let summary = result.unwrap();
    assert!(matches!(summary.warnings[..], [Warning::TotalChecksum(_)]));
    assert_eq!(summary.checksum_errors, 1);
    assert!(sink.target == recipe.restored(block(1024), SIZE, FILL));
}

#[test]
fn nothing_of_a_damaged_part_is_handed_out() {
    let recipe = PartimageRecipe {
        spoil_block: Some(150),
        ..recipe()
    };
    let image = recipe.write(block(1024));
    let (result, sink) = decode(&image, SIZE, Verify::Enforce);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BlockChecksum);
    let text = error.to_string();
    assert!(
        text.contains("checksum error in the 64 used blocks"),
        "{text}"
    );
    // The record before is good.
    let expected = recipe.restored(block(1024), SIZE, FILL);
    for (number, (found, good)) in sink
        .target
        .chunks(1024)
        .zip(expected.chunks(1024))
        .enumerate()
    {
        assert!(
            found == good || found.contains(&FILL) && number >= 71,
            "{number}"
        );
    }
}

#[test]
fn flipped_bits_are_found_wherever_they_matter() {
    let recipe = recipe();
    let image = recipe.write(block(1024));
    let expected = recipe.restored(block(1024), SIZE, FILL);
    for at in (0..image.len()).step_by(1511) {
        let mut bad = image.clone();
        bad[at] ^= 1 << (at % 8);
        let (result, sink) = decode(&bad, SIZE, Verify::Enforce);
        // The volume header and the tail have bytes of no meaning.
        assert!(result.is_err() || sink.target == expected, "byte {at}");
        let is_meaningless = at < 512 || at > image.len() - 16_384;
        assert!(result.is_err() || is_meaningless, "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The positions in the records follow from runs, block size and the original's buffer.
    #[test]
    fn images_of_any_shape_are_restored(
        stretches in prop::collection::vec((any::<bool>(), 1..400_usize), 1..12),
        block_size in prop::sample::select(vec![512_usize, 1000, 1024, 4096, 65536, 262_144]),
        piece in prop::sample::select(vec![509_usize, 65_552, 1 << 20]),
        cuts in prop::collection::vec(600..100_000_usize, 0..3),
    ) {
        let mut used: Vec<bool> = stretches
            .iter()
            .flat_map(|(flag, len)| std::iter::repeat_n(*flag, *len))
            .collect();
        used.truncate((3 << 20) / block_size);
        let recipe = PartimageRecipe::new(block_size as u64, used);
        let size = recipe.used.len() * block_size;
        let expected = recipe.restored(block(block_size), size, FILL);
        let mut left = recipe.write(block(block_size)).len() - 512;
        // The last volume is not empty either.
        let fits = |cut: &&usize| {
            left = left.saturating_sub(**cut);
            left > 0
        };
        let cuts: Vec<usize> = cuts.iter().take_while(fits).copied().collect();
        let image = recipe.write_volumes(block(block_size), &cuts).concat();
        let mut sink = Recorder::new(size);
        let summary =
            decode_pieces(&image, &[piece], Options::default(), &mut sink).unwrap();
        prop_assert!(sink.target == expected);
        prop_assert_eq!(summary.warnings, []);
    }
}
