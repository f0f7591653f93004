//! Forward error correction: repair blocks over GF(2^8).

use super::MAX_BLOCKS_PER_SLICE;

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
        (self.stripes * MAX_STRIPE_BLOCKS).min(MAX_BLOCKS_PER_SLICE)
    }
}
