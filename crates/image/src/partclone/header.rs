//! Headers of both formats: bytes to [`Header`], everything refused that makes no sense.

use partclone_sys as sys;

use crate::crc::jam_crc;
use crate::error::{ImageError, Part};
use crate::geometry::{BitmapMode, ChecksumMode, Compression, Header, ImageFormat};
use crate::limits::filesystem_size;
use crate::magic::bad_magic;

/// Bytes of the header that begins with `bytes`, which must hold the version.
///
/// # Errors
/// The image is of no format or version that is read here.
pub(super) fn len(bytes: &[u8]) -> Result<usize, ImageError> {
    if !bytes.starts_with(sys::MAGIC) {
        return Err(bad_magic(bytes));
    }
    match bytes.get(sys::VERSION_OFFSET..sys::VERSION_OFFSET + 4) {
        Some(sys::VERSION_0001) => Ok(sys::HEADER_0001_LEN),
        Some(sys::VERSION_0002) => Ok(sys::HEADER_0002_LEN),
        version => Err(ImageError::UnsupportedVersion {
            program: "partclone",
            found: sys::text(version.unwrap_or_default()),
            known: "0001 and 0002",
        }),
    }
}

/// The header at the beginning of `bytes`.
///
/// # Errors
/// What is wrong with it; [`ImageError::Truncated`] if `bytes` is too short.
pub(super) fn parse(bytes: &[u8], compression: Compression) -> Result<Header, ImageError> {
    let needed = len(bytes)?;
    let truncated = || ImageError::Truncated {
        part: Part::Header,
        offset: 0,
        needed: needed as u64,
        found: bytes.len() as u64,
    };
    if needed == sys::HEADER_0001_LEN {
        let view = sys::Header0001::view(bytes).ok_or_else(truncated)?;
        parse_v1(view, compression)
    } else {
        let covered = bytes
            .get(..sys::HEADER_0002_CRC_OFFSET)
            .ok_or_else(truncated)?;
        let view = sys::Header0002::view(bytes).ok_or_else(truncated)?;
        parse_v2(view, jam_crc(covered), compression)
    }
}

fn parse_v1(view: &sys::Header0001, compression: Compression) -> Result<Header, ImageError> {
    let (total_blocks, used) = (view.total_blocks.get(), view.used_blocks.get());
    let block_size = block_size(i64::from(view.block_size.get()))?;
    let device_size = filesystem_size(total_blocks, block_size)?;
    check_used(used, total_blocks)?;
    Ok(Header {
        format: ImageFormat::Partclone0001,
        compression,
        writer: None,
        word_bits: None,
        filesystem: sys::text(&view.filesystem),
        device_size,
        block_size,
        total_blocks,
        claimed_used_blocks: used,
        checksum: ChecksumMode::Crc32FirstByte,
        strip_blocks: 1,
        is_reseeded: false,
        bitmap: BitmapMode::Byte,
    })
}

fn parse_v2(
    view: &sys::Header0002,
    computed: u32,
    compression: Compression,
) -> Result<Header, ImageError> {
    let stored = view.crc.get();
    if stored != computed {
        return Err(ImageError::HeaderChecksum { stored, computed });
    }
    let endian = view.endian_mark.get();
    if endian != sys::ENDIAN_MARK {
        return Err(ImageError::WrongEndian { found: endian });
    }
    let (total_blocks, used) = (view.total_blocks.get(), view.used_blocks_bitmap.get());
    let block_size = block_size(i64::from(view.block_size.get()))?;
    let filesystem_size = filesystem_size(total_blocks, block_size)?;
    check_used(used, total_blocks)?;
    let device_size = view.device_size.get();
    if filesystem_size > device_size {
        return Err(ImageError::FilesystemLargerThanDevice {
            filesystem_size: filesystem_size.into(),
            device_size,
        });
    }
    let checksum = match view.checksum_mode.get() {
        sys::CHECKSUM_NONE => ChecksumMode::None,
        sys::CHECKSUM_CRC32 => ChecksumMode::Crc32,
        sys::CHECKSUM_XXH64 => ChecksumMode::Xxh64,
        sys::CHECKSUM_XXH128 => ChecksumMode::Xxh128,
        found => return Err(ImageError::UnknownChecksumMode { found }),
    };
    let found = view.checksum_size.get();
    if usize::from(found) != checksum.size() {
        return Err(ImageError::ChecksumSize {
            mode: checksum,
            found,
            expected: checksum.size(),
        });
    }
    let strip_blocks = match (checksum, view.blocks_per_checksum.get()) {
        (ChecksumMode::None, _) => 0,
        (mode, 0) => return Err(ImageError::ZeroStrip { mode }),
        (_, count) => count,
    };
    let bitmap = match view.bitmap_mode {
        sys::BITMAP_NONE => BitmapMode::None,
        sys::BITMAP_BIT => BitmapMode::Bit,
        sys::BITMAP_BYTE => BitmapMode::Byte,
        found => return Err(ImageError::UnknownBitmapMode { found }),
    };
    Ok(Header {
        format: ImageFormat::Partclone0002,
        compression,
        writer: Some(sys::text(&view.writer)),
        word_bits: Some(view.cpu_bits.get()),
        filesystem: sys::text(&view.filesystem),
        device_size,
        block_size,
        total_blocks,
        claimed_used_blocks: used,
        checksum,
        strip_blocks,
        is_reseeded: view.reseed != 0,
        bitmap,
    })
}

fn block_size(found: i64) -> Result<u32, ImageError> {
    match u32::try_from(found) {
        Ok(size @ 1..=sys::MAX_BLOCK_SIZE) => Ok(size),
        _ => Err(ImageError::BadBlockSize {
            found,
            max: sys::MAX_BLOCK_SIZE,
        }),
    }
}

fn check_used(used_blocks: u64, total_blocks: u64) -> Result<(), ImageError> {
    if used_blocks > total_blocks {
        return Err(ImageError::UsedExceedsTotal {
            used_blocks,
            total_blocks,
        });
    }
    Ok(())
}
