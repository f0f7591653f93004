//! Raw data: every byte counts, and what is no raw data is refused.

use proptest::prelude::*;

use image::{Content, ErrorKind, ImageError, ImageFormat, Options, Summary};

use crate::{FILL, Recorder, block, decode_pieces, small};

fn take(
    data: &[u8],
    pieces: &[usize],
    len: Option<u64>,
    target: usize,
) -> (Result<Summary, ImageError>, Recorder) {
    let options = Options {
        content: Content::Raw { len },
        target_size: Some(target as u64),
        ..Options::default()
    };
    let mut sink = Recorder::new(target);
    let result = decode_pieces(data, pieces, options, &mut sink);
    (result, sink)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_byte_is_handed_out_zeroes_too(
        data in prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 1, 255]), 1..3000),
        piece in 1..700_usize,
        is_len_known in any::<bool>(),
        spare in 0..50_usize,
    ) {
        let len = is_len_known.then_some(data.len() as u64);
        let target = data.len() + spare;
        let (result, sink) = take(&data, &[piece], len, target);
        let summary = result.unwrap();
        prop_assert_eq!(summary.geometry.format, ImageFormat::Raw);
        prop_assert_eq!(summary.geometry.used_len(), data.len() as u64);
        prop_assert_eq!(summary.output_len, data.len() as u64);
        prop_assert!(sink.target.starts_with(&data));
        prop_assert!(sink.target[data.len()..].iter().all(|&byte| byte == FILL));
    }
}

#[test]
fn raw_data_may_be_compressed() {
    let data = [7_u8, 0, 0, 0].repeat(1000);
    let stored = zstd::encode_all(&data[..], 1).unwrap();
    let (result, sink) = take(&stored, &[100], None, data.len());
    assert_eq!(result.unwrap().output_len, 4000);
    assert!(sink.target == data);
}

#[test]
fn lengths_are_checked() {
    let kind = |data: &[u8], len, target| take(data, &[64], len, target).0.unwrap_err().kind();
    assert_eq!(kind(&[1; 300], None, 299), ErrorKind::BeyondTarget);
    assert_eq!(kind(&[1; 300], Some(300), 299), ErrorKind::BeyondTarget);
    assert_eq!(kind(&[1; 300], Some(301), 400), ErrorKind::Truncated);
    assert_eq!(kind(&[1; 300], Some(299), 400), ErrorKind::RawTooLong);
    assert_eq!(kind(&[], None, 400), ErrorKind::Truncated);
    // The size is known, so nothing was written.
    assert!(take(&[1; 300], &[64], Some(300), 299).1.begun.is_empty());
}

#[test]
fn images_are_no_raw_data() {
    for image in [
        small().write(block(64)),
        [&b"PaRtImAgE-VoLuMe"[..], &[0; 600]].concat(),
    ] {
        let (result, sink) = take(&image, &[5], None, image.len());
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NotRaw);
        assert!(sink.begun.is_empty());
    }
}
