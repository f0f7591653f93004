//! partimage's main and local headers: bytes to facts, everything refused that makes no sense.

use partclone_sys::text;

use super::format::{STRUCTURE, SUM};
use crate::bytes::{u32_at, u64_at};
use crate::error::{ImageError, Part};
use crate::geometry::{BitmapMode, ChecksumMode, Compression, Header, ImageFormat};
use crate::limits::filesystem_size;

/// What is needed of the main header.
pub(super) struct MainHeader {
    filesystem: String,
    pub(super) partition_size: u64,
    pub(super) boot_records: u32,
}

/// What the partition's header adds to [`Header`].
pub(super) struct LocalHeader {
    /// Bytes of the bitmap that hold blocks, and bytes behind them.
    pub(super) bitmap_len: u64,
    pub(super) bitmap_rest: u64,
}

/// The largest block that the original can read: it has a buffer of this size.
const MAX_BLOCK_SIZE: u32 = 262_144;
/// More boot sectors than any machine has disks.
const MAX_BOOT_RECORDS: u32 = 256;
/// Most bytes that a bitmap may be too long. NTFS' is as long as its clusters make it.
const MAX_BITMAP_REST: u64 = 64 << 20;

/// The main header, with its sum behind it, that stands at `offset`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn main(bytes: &[u8], offset: u64) -> Result<MainHeader, ImageError> {
    check_sum(bytes, Part::MainHeader, offset)?;
    let method = u32_at(bytes, 9800);
    if method != 0 {
        return Err(ImageError::Encrypted { method });
    }
    let boot_records = u32_at(bytes, 9792);
    if boot_records > MAX_BOOT_RECORDS {
        return Err(ImageError::BadHeader {
            what: "boot sector records",
            found: boot_records.into(),
            max: MAX_BOOT_RECORDS.into(),
        });
    }
    Ok(MainHeader {
        filesystem: text(bytes.get(..512).unwrap_or_default())
            .chars()
            .take(NAME_LEN)
            .collect(),
        partition_size: u64_at(bytes, 9592),
        boot_records,
    })
}

/// Most characters of a file system's name that are shown.
const NAME_LEN: usize = 64;

/// The partition's header, with its sum behind it, that stands at `offset`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn local(
    bytes: &[u8],
    offset: u64,
    main: &MainHeader,
    compression: Compression,
) -> Result<(LocalHeader, Header), ImageError> {
    check_sum(bytes, Part::LocalHeader, offset)?;
    let found = u64_at(bytes, 0);
    let Ok(block_size @ 1..=MAX_BLOCK_SIZE) = u32::try_from(found) else {
        return Err(ImageError::BadBlockSize {
            found: i64::try_from(found).unwrap_or(i64::MAX),
            max: MAX_BLOCK_SIZE,
        });
    };
    let total_blocks = u64_at(bytes, 16);
    let size = filesystem_size(total_blocks, block_size)?;
    if size > main.partition_size {
        return Err(ImageError::FilesystemLargerThanDevice {
            filesystem_size: size.into(),
            device_size: main.partition_size,
        });
    }
    let bitmap_size = u64_at(bytes, 24);
    let bitmap_len = total_blocks.div_ceil(8);
    let max = bitmap_len + MAX_BITMAP_REST;
    if !(bitmap_len..=max).contains(&bitmap_size) {
        return Err(ImageError::BadBitmapSize {
            found: bitmap_size,
            total_blocks,
            min: bitmap_len,
            max,
        });
    }
    let local = LocalHeader {
        bitmap_len,
        bitmap_rest: bitmap_size - bitmap_len,
    };
    let header = Header {
        format: ImageFormat::Partimage06,
        compression,
        writer: None,
        word_bits: None,
        filesystem: main.filesystem.clone(),
        device_size: main.partition_size,
        block_size,
        total_blocks,
        claimed_used_blocks: u64_at(bytes, 8),
        checksum: ChecksumMode::Crc32Records,
        strip_blocks: 0,
        is_reseeded: true,
        bitmap: BitmapMode::Bit,
    };
    Ok((local, header))
}

/// Compares the sum behind a structure, which stands at `offset`, with its bytes.
///
/// # Errors
/// They differ.
pub(super) fn check_sum(bytes: &[u8], part: Part, offset: u64) -> Result<(), ImageError> {
    let structure = bytes.get(..STRUCTURE).unwrap_or(bytes);
    let stored = u32_at(bytes, STRUCTURE);
    let unsigned = structure
        .iter()
        .fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    let negative = structure.iter().filter(|&&byte| byte > 127).count();
    // A compiler's `char` may be signed or not, and the sum is one of `char`s.
    let signed = u32::try_from(negative)
        .unwrap_or(u32::MAX)
        .wrapping_mul(256);
    let signed = unsigned.wrapping_sub(signed);
    if stored != signed && stored != unsigned {
        return Err(ImageError::StructureChecksum {
            part,
            offset: offset + (bytes.len() - SUM.min(bytes.len())) as u64,
            stored,
            computed: signed,
        });
    }
    Ok(())
}
