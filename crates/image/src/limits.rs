//! What no image can be larger than.

use partclone_sys as sys;

use crate::error::ImageError;

/// Blocks times block size, which fits in 63 bits.
///
/// # Errors
/// There are none, or too many.
pub(crate) fn filesystem_size(total_blocks: u64, block_size: u32) -> Result<u64, ImageError> {
    if total_blocks == 0 {
        return Err(ImageError::NoBlocks);
    }
    total_blocks
        .checked_mul(block_size.into())
        .filter(|&size| total_blocks <= sys::MAX_BLOCKS && size <= i64::MAX.cast_unsigned())
        .ok_or(ImageError::TooManyBlocks {
            total_blocks,
            block_size,
        })
}
