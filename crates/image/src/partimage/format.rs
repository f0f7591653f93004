//! The layout of partimage's format 0.6: lengths, magic characters, sums.

use crate::bytes::hex;
use crate::error::ImageError;

/// Bytes of a volume header.
pub(super) const VOLUME_HEADER: usize = 512;
/// Bytes of every other structure, and of the sum behind it.
pub(super) const STRUCTURE: usize = 16384;
pub(super) const SUM: usize = 4;
pub(super) const BOOT_MAGIC: &str = "MAGIC-BEGIN-MBRBACKUP";
pub(super) const EXTENSION_MAGICS: [&str; 10] = [
    "MAGIC-BEGIN-EXT000",
    "MAGIC-BEGIN-EXT001",
    "MAGIC-BEGIN-EXT002",
    "MAGIC-BEGIN-EXT003",
    "MAGIC-BEGIN-EXT004",
    "MAGIC-BEGIN-EXT005",
    "MAGIC-BEGIN-EXT006",
    "MAGIC-BEGIN-EXT007",
    "MAGIC-BEGIN-EXT008",
    "MAGIC-BEGIN-EXT009",
];
pub(super) const LOCAL_MAGIC: &str = "MAGIC-BEGIN-LOCALHEADER";
pub(super) const BITMAP_MAGIC: &str = "MAGIC-BEGIN-BITMAP";
pub(super) const INFORMATION_MAGIC: &str = "MAGIC-BEGIN-INFO";
pub(super) const DATA_MAGIC: &str = "MAGIC-BEGIN-DATABLOCKS";
pub(super) const TAIL_MAGIC: &str = "MAGIC-BEGIN-TAIL";
/// Bytes of the record of a boot sector.
pub(super) const BOOT_RECORD: u64 = 2048;

pub(super) fn extension_magic(number: u8) -> &'static str {
    let magic = EXTENSION_MAGICS.get(usize::from(number));
    magic.copied().unwrap_or(LOCAL_MAGIC)
}

pub(super) fn expect_magic(
    found: &[u8],
    expected: &'static str,
    offset: u64,
) -> Result<(), ImageError> {
    if found != expected.as_bytes() {
        return Err(ImageError::SectionMagic {
            expected,
            offset,
            found: hex(found),
        });
    }
    Ok(())
}

/// The sum of all bytes, unsigned.
pub(super) fn byte_sum(bytes: &[u8]) -> u64 {
    // Chunks whose sum fits in 32 bits let the compiler use wide registers.
    bytes
        .chunks(1 << 16)
        .map(|chunk| u64::from(chunk.iter().map(|&byte| u32::from(byte)).sum::<u32>()))
        .fold(0, u64::wrapping_add)
}
