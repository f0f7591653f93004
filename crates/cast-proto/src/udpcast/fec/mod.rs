//! Forward error correction: repair blocks over GF(2^8).
//!
//! With S stripes, data block `i` of a slice is number `i / S` of stripe `i mod S`. Repair block `f`
//! is row `f / S` of stripe `f mod S`; row `r` is the sum over the stripe's blocks `D_j` of
//! `inv(128 ^ r ^ j) * D_j`, byte by byte, a short last block padded with zeroes. Every square part
//! of that matrix can be inverted, so any `e` repair blocks of a stripe make up for any `e` missing
//! data blocks. The field has the polynomial x^8 + x^4 + x^3 + x^2 + 1.

mod field;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod shuffle;

use field::{add_product, inverse};
use matrix::Matrix;

use super::{BlockNo, MAX_BLOCKS_PER_SLICE, block_count, block_len};

/// Most data blocks in a stripe, and most repair blocks.
pub const MAX_STRIPE_BLOCKS: u16 = 128;

/// Most stripes in a slice.
pub const MAX_STRIPES: u16 = 256;

/// Shape of the repair data: `stripes` × `redundancy` repair blocks per slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FecParams {
    stripes: u16,
    redundancy: u16,
    stripe_size: u16,
}

impl FecParams {
    /// Stripes (1 to 256), repair blocks per stripe (1 to 128), data blocks per stripe (1 to 128,
    /// lowered so that a slice has 1024 blocks at most). `None` if out of range, or if there were
    /// more than 1024 repair blocks in a slice.
    #[must_use]
    pub fn new(stripes: u16, redundancy: u16, stripe_size: u16) -> Option<Self> {
        let is_ok = (1..=MAX_STRIPES).contains(&stripes)
            && (1..=MAX_STRIPE_BLOCKS).contains(&redundancy)
            && (1..=MAX_STRIPE_BLOCKS).contains(&stripe_size)
            && stripes * redundancy <= MAX_BLOCKS_PER_SLICE;
        let stripe_size = stripe_size.min(MAX_BLOCKS_PER_SLICE / stripes.max(1));
        is_ok.then_some(Self {
            stripes,
            redundancy,
            stripe_size,
        })
    }

    /// Number of stripes.
    #[must_use]
    pub fn stripes(self) -> u16 {
        self.stripes
    }

    /// Repair blocks per stripe.
    #[must_use]
    pub fn redundancy(self) -> u16 {
        self.redundancy
    }

    /// Repair blocks per slice.
    #[must_use]
    pub fn blocks_per_slice(self) -> u16 {
        self.stripes * self.redundancy
    }

    /// Data blocks of a full slice.
    #[must_use]
    pub fn slice_size(self) -> u16 {
        self.stripes * self.stripe_size
    }

    /// Most data blocks of a slice.
    #[must_use]
    pub fn largest_slice(self) -> u16 {
        (self.stripes.saturating_mul(MAX_STRIPE_BLOCKS)).min(MAX_BLOCKS_PER_SLICE)
    }
}

/// Number of data blocks in stripe `stripe` of a slice of `blocks` blocks.
#[must_use]
pub fn stripe_blocks(blocks: u16, stripes: u16, stripe: u16) -> u16 {
    blocks.saturating_sub(stripe).div_ceil(stripes.max(1))
}

/// Appends repair block `fec_block` of a slice to `out`: `block_size` bytes, zeroes if its stripe
/// has no data. Costs one multiplication per data byte of the stripe.
pub fn encode(slice: &[u8], block_size: u16, stripes: u16, fec_block: u16, out: &mut Vec<u8>) {
    let stripes = stripes.max(1);
    let (row, stripe) = (fec_block / stripes, fec_block % stripes);
    let start = out.len();
    out.resize(start + usize::from(block_size), 0);
    let Some(sum) = out.get_mut(start..) else {
        return;
    };
    let blocks = slice.chunks(usize::from(block_size.max(1)));
    for (index, data) in (0..).zip(blocks.skip(stripe.into()).step_by(stripes.into())) {
        add_product(sum, data, coefficient(row, index));
    }
}

/// A repair block kept for later.
#[derive(Clone, Debug)]
pub struct Repair {
    /// Row within its stripe, below 128.
    pub row: u16,
    /// A full block; spoilt by [`decode`].
    pub payload: Vec<u8>,
}

/// Rebuilds the data blocks of stripe `stripe` for which `is_present` says no, in place.
///
/// `slice` is the whole slice, its missing blocks holding anything. Returns the number of blocks
/// rebuilt; 0 and nothing changed if `repairs` are fewer than the missing blocks, or do not fit.
pub fn decode(
    slice: &mut [u8],
    block_size: u16,
    stripes: u16,
    stripe: u16,
    is_present: impl Fn(BlockNo) -> bool,
    repairs: &mut [Repair],
) -> u16 {
    let Ok(slice_len) = u32::try_from(slice.len()) else {
        return 0;
    };
    let Ok(blocks) = u16::try_from(block_count(slice_len, block_size)) else {
        return 0;
    };
    let stripe_len = stripe_blocks(blocks, stripes, stripe);
    let number = |index: u16| BlockNo(index * stripes + stripe);
    let missing: Vec<u16> = (0..stripe_len)
        .filter(|index| !is_present(number(*index)))
        .collect();
    let size = missing.len();
    let block_len_of = |block| usize::from(block_len(slice_len, block_size, block));
    let Some(repairs) = repairs.get_mut(..size) else {
        return 0;
    };
    let fits = |repair: &Repair| {
        repair.row < MAX_STRIPE_BLOCKS && repair.payload.len() == usize::from(block_size)
    };
    if size == 0 || stripe_len > MAX_STRIPE_BLOCKS || !repairs.iter().all(fits) {
        return 0;
    }
    let mut matrix = Matrix::new(repairs, &missing);
    let Some(inverse) = matrix.invert() else {
        return 0;
    };

    // Subtract what is known, so that each repair block is a sum of missing blocks only. A block at a
    // time, while the next ones come: they are far apart, and have left the cache long ago.
    let known = |index| {
        let from = usize::from(number(index).0) * usize::from(block_size);
        let block = slice.get(from..from + block_len_of(number(index)));
        block.unwrap_or(&[])
    };
    for index in 0..stripe_len {
        if index + AHEAD < stripe_len {
            field::prefetch(known(index + AHEAD));
        }
        if missing.binary_search(&index).is_ok() {
            continue;
        }
        for repair in repairs.iter_mut() {
            let factor = coefficient(repair.row, index);
            add_product(&mut repair.payload, known(index), factor);
        }
    }
    for (column, index) in missing.iter().enumerate() {
        let from = usize::from(number(*index).0) * usize::from(block_size);
        let Some(block) = slice.get_mut(from..from + block_len_of(number(*index))) else {
            return 0;
        };
        block.fill(0);
        for (row, repair) in repairs.iter().enumerate() {
            add_product(block, &repair.payload, inverse.at(column, row));
        }
    }
    u16::try_from(size).unwrap_or(0)
}

/// So many blocks ahead memory is asked for one.
const AHEAD: u16 = 2;

fn coefficient(row: u16, index: u16) -> u8 {
    // Both are below 128, so the argument is 128 to 255 and has an inverse.
    let [_, argument] = (128 ^ row ^ index).to_be_bytes();
    inverse(argument)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test data is small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn coefficients_are_the_published_ones() {
        let row = |r| (0..8).map(|j| coefficient(r, j)).collect::<Vec<_>>();
        assert_eq!(row(0), [0x1b, 0x54, 0xa1, 0x1d, 0x7c, 0xcc, 0xe4, 0xb0]);
        assert_eq!(row(1), [0x54, 0x1b, 0x1d, 0xa1, 0xcc, 0x7c, 0xb0, 0xe4]);
        assert_eq!(row(2), [0xa1, 0x1d, 0x1b, 0x54, 0xe4, 0xb0, 0x7c, 0xcc]);
        assert_eq!(row(3), [0x1d, 0xa1, 0x54, 0x1b, 0xb0, 0xe4, 0xcc, 0x7c]);
    }

    #[test]
    fn small_example_is_encoded_as_published() {
        let slice = [1, 2, 3, 4, 0x10, 0x20, 0x30, 0x40, 0xff, 0, 0x80, 0x7f];
        let row = |row| {
            let mut out = vec![0xee];
            encode(&slice, 4, 1, row, &mut out);
            out[1..].to_vec()
        };
        assert_eq!(row(0), [0x39, 0x64, 0x08, 0x9d]);
        assert_eq!(row(1), [0x3d, 0xef, 0x30, 0x21]);
        assert_eq!(row(2), [0x90, 0xd8, 0xb5, 0x50]);
    }

    #[test]
    fn parameters_are_limited_as_documented() {
        let shape = |s, r, t| FecParams::new(s, r, t).map(|p| (p.slice_size(), p.largest_slice()));
        assert_eq!(shape(8, 1, 128), Some((1024, 1024)));
        assert_eq!(shape(16, 1, 128), Some((1024, 1024)));
        assert_eq!(shape(4, 2, 8), Some((32, 512)));
        assert_eq!(shape(0, 1, 1), None);
        assert_eq!(shape(257, 1, 1), None);
        assert_eq!(shape(8, 0, 1), None);
        assert_eq!(shape(8, 129, 1), None);
        assert_eq!(shape(16, 65, 1), None);
    }

    proptest! {
        #[test]
        fn as_many_repair_blocks_as_missing_ones_rebuild_a_slice(
            seed in any::<u64>(), stripes in 1u16..9, blocks in 1u16..60, short in 0usize..16,
            lost in prop::collection::vec(any::<prop::sample::Index>(), 0..12), first_row in 0u16..116,
        ) {
            const BLOCK_SIZE: u16 = 16;
            let mut state = seed;
            let slice: Vec<u8> = (0..usize::from(blocks) * 16 - short.min(15)).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            }).collect();
            let mut lost: Vec<u16> = lost.iter().map(|i| i.index(blocks.into()) as u16).collect();
            lost.sort_unstable();
            lost.dedup();
            let mut broken = slice.clone();
            for block in &lost {
                let from = usize::from(*block) * 16;
                let to = slice.len().min(from + 16);
                broken[from..to].fill(0xee);
            }
            let mut rebuilt = 0;
            for stripe in 0..stripes {
                let here = lost.iter().filter(|b| **b % stripes == stripe).count() as u16;
                let mut repairs: Vec<Repair> = (first_row..first_row + here).rev().map(|row| {
                    let mut payload = Vec::new();
                    encode(&slice, BLOCK_SIZE, stripes, row * stripes + stripe, &mut payload);
                    Repair { row, payload }
                }).collect();
                if here > 0 {
                    let mut same = broken.clone();
                    let one_short = &mut repairs[1..];
                    let done = decode(&mut same, BLOCK_SIZE, stripes, stripe, |b| !lost.contains(&b.0), one_short);
                    prop_assert_eq!(done, 0);
                    prop_assert_eq!(&same, &broken);
                }
                rebuilt += decode(&mut broken, BLOCK_SIZE, stripes, stripe, |b| !lost.contains(&b.0), &mut repairs);
            }
            prop_assert_eq!(usize::from(rebuilt), lost.len());
            prop_assert_eq!(broken, slice);
        }
    }
}
