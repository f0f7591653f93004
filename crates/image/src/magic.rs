//! The first bytes of images.

use partclone_sys as sys;

use crate::bytes::hex;
use crate::error::ImageError;

/// First bytes of every volume of a partimage image.
pub(crate) const PARTIMAGE: &[u8] = b"PaRtImAgE-VoLuMe";

/// Bytes that tell the format and, of partclone's, the version.
pub(crate) const MAGIC_AND_VERSION: usize = sys::VERSION_OFFSET + 4;

/// Whether a stream that begins with `bytes` is a partimage volume.
pub(crate) fn is_partimage(bytes: &[u8]) -> bool {
    bytes.starts_with(PARTIMAGE)
}

/// Whether an image could begin with these bytes, which may be few.
pub(crate) fn could_be_image(bytes: &[u8]) -> bool {
    [sys::MAGIC, PARTIMAGE]
        .iter()
        .any(|magic| bytes.starts_with(magic) || magic.starts_with(bytes))
}

/// The error for a beginning that is no image's.
pub(crate) fn bad_magic(bytes: &[u8]) -> ImageError {
    let hint = match bytes {
        [0x1F, 0x8B, ..]
        | [0x28, 0xB5, 0x2F, 0xFD, ..]
        | [b'B', b'Z', b'h', ..]
        | [0xFD, b'7', b'z', b'X', b'Z', 0, ..]
        | [0x04, 0x22, 0x4D, 0x18, ..] => {
            "; it looks like a compressed stream inside another: unpack it once"
        }
        [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => {
            "; it looks like a zlib stream: unpack it, or store it with zstd or gzip"
        }
        [b'P', b'K', 3, 4, ..] => "; it looks like a zip archive: unpack it",
        _ if bytes.iter().all(|&byte| byte == 0) => "; it begins with zeros",
        _ => "; check that the stream begins with the image's first piece",
    };
    ImageError::BadMagic {
        found: hex(bytes.get(..16).unwrap_or(bytes)),
        hint,
    }
}
