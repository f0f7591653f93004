//! Repair blocks: what was lost comes back as it was, and rubbish does no harm.

use cast_proto::udpcast::fec::{FecParams, Repair, decode, encode, stripe_blocks};

use super::feed::Feed;

/// A slice with blocks missing and repair blocks, good or not.
pub fn udpcast_fec(data: &[u8]) {
    let mut feed = Feed(data);
    let block_size = u16::from(feed.byte() % 40) + 1;
    let stripes = u16::from(feed.byte() % 8) + 1;
    let redundancy = u16::from(feed.byte() % 12) + 1;
    let Some(params) = FecParams::new(stripes, redundancy, 128) else {
        return;
    };
    let is_hostile = feed.flag();
    let missing = feed.bytes(32);
    let received = feed.bytes(16);
    let mut slice = feed.bytes(2000).to_vec();
    let Ok(blocks) = u16::try_from(slice.len().div_ceil(block_size.into())) else {
        return;
    };
    if blocks == 0 || blocks > params.largest_slice() {
        return;
    }
    let bit = |bytes: &[u8], n: u16| {
        let byte = bytes.get(usize::from(n / 8)).copied().unwrap_or_default();
        byte >> (n % 8) & 1 == 1
    };
    let original = slice.clone();
    for stripe in 0..stripes {
        let mut repairs: Vec<Repair> = (0..redundancy)
            .filter(|row| bit(received, row * stripes + stripe))
            .map(|row| {
                let mut payload = Vec::new();
                encode(
                    &original,
                    block_size,
                    stripes,
                    row * stripes + stripe,
                    &mut payload,
                );
                assert_eq!(payload.len(), usize::from(block_size));
                Repair { row, payload }
            })
            .collect();
        if is_hostile {
            for repair in &mut repairs {
                repair.row = feed.u16() % 140;
                let len = feed.byte();
                repair.payload.resize(len.into(), len);
            }
        }
        let is_lost = |block: u16| block % stripes == stripe && bit(missing, block);
        let lost: Vec<u16> = (0..blocks).filter(|block| is_lost(*block)).collect();
        for block in &lost {
            let start = usize::from(*block) * usize::from(block_size);
            let end = slice.len().min(start + usize::from(block_size));
            slice[start..end].fill(0xEE);
        }
        let before = slice.clone();
        let is_present = |block: cast_proto::udpcast::BlockNo| !is_lost(block.0);
        let can_be_mended = !lost.is_empty() && lost.len() <= repairs.len();
        let rebuilt = decode(
            &mut slice,
            block_size,
            stripes,
            stripe,
            is_present,
            &mut repairs,
        );
        assert!(usize::from(rebuilt) <= lost.len());
        assert!(lost.len() <= usize::from(stripe_blocks(blocks, stripes, stripe)));
        if rebuilt == 0 {
            assert!(before == slice, "changed without a result");
        }
        if is_hostile {
            // Nothing but the missing blocks was touched.
            for block in (0..blocks).filter(|block| !is_lost(*block)) {
                let start = usize::from(block) * usize::from(block_size);
                let end = slice.len().min(start + usize::from(block_size));
                assert!(slice[start..end] == before[start..end]);
            }
            slice.clone_from(&original);
            continue;
        }
        assert_eq!(
            usize::from(rebuilt) == lost.len(),
            can_be_mended || lost.is_empty()
        );
        if can_be_mended {
            assert!(slice == original, "other bytes came back");
        }
        slice.clone_from(&original);
    }
}
