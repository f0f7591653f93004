//! Arbitrary bytes: no panic, nothing outside the target.

use proptest::prelude::*;

use image::{Options, Verify, peek};
use image_writer::Recipe;

use crate::{Recorder, block, decode_pieces, small};

fn try_all(bytes: &[u8], pieces: &[usize]) {
    for verify in [Verify::Enforce, Verify::Warn] {
        for check_size in [true, false] {
            let size = 40 * 64;
            let options = Options {
                verify,
                target_size: Some(size as u64),
                check_size,
                bitmap_memory_max: 1 << 20,
                window_log_max: 20,
                ..Options::default()
            };
            // The recorder panics on an extent that does not fit.
            let mut sink = Recorder::new(size);
            _ = decode_pieces(bytes, pieces, options, &mut sink);
        }
    }
    _ = peek(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes(
        first in prop::sample::select(vec![
            &b""[..], b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"partclone-image",
            b"BZh9", b"\xFD7zXZ\0", b"\x04\x22\x4d\x18", b"PaRtImAgE-VoLuMe",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        piece in 1..700_usize,
    ) {
        try_all(&[first, &bytes].concat(), &[piece]);
    }

    #[test]
    fn arbitrary_headers(
        numbers in any::<[u64; 4]>(),
        shifts in any::<[u8; 4]>(),
        block_size in prop_oneof![any::<u32>(), 0..5000_u32],
        strip in prop_oneof![any::<u32>(), 0..9_u32],
        modes in (prop::sample::select(vec![0_u16, 0x20, 0x30, 0x31]), 0..3_u8, any::<u8>()),
        is_v1 in any::<bool>(),
        piece in 1..3000_usize,
    ) {
        // Small numbers are as likely as large ones.
        let number = |at: usize| (numbers[at] >> (shifts[at] % 64)).into();
        let bytes = if is_v1 {
            Recipe { is_v1, ..small() }.write_v1(block(64), |header| {
                header.total_blocks = number(0);
                header.used_blocks = number(1);
                header.device_size = number(2);
                header.block_size = block_size.cast_signed().into();
            })
        } else {
            small().write_v2(block(64), |header| {
                header.total_blocks = number(0);
                header.used_blocks_bitmap = number(1);
                header.device_size = (numbers[2] | numbers[3] << 20).into();
                header.block_size = block_size.into();
                header.blocks_per_checksum = strip.into();
                header.checksum_mode = modes.0.into();
                header.checksum_size = [0_u16, 4, 8, 16][usize::from(modes.1.max(modes.2 % 4))].into();
                header.bitmap_mode = [0, 1, 8][usize::from(modes.1)];
                header.reseed = modes.2;
            })
        };
        try_all(&bytes, &[piece]);
    }
}
