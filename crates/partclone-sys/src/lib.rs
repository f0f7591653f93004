//! On-disk structures of partclone images, formats 0001 and 0002: our own C header
//! (`include/partclone_format.h`), the bindings bindgen makes of it, and a view of bytes as those
//! structures.
//!
//! A view judges nothing: whether the numbers make sense is for the decoder to say. Every field is
//! little-endian whatever the machine, and reading one needs no alignment and no `unsafe`.

#![warn(missing_docs)]

use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

#[expect(unreachable_pub, reason = "bindgen knows one visibility")]
mod bindings;

pub use bindings::partclone_header_0001 as Header0001;
pub use bindings::partclone_header_0002 as Header0002;

/// First 15 bytes of every image.
pub const MAGIC: &[u8] = without_nul(bindings::PARTCLONE_MAGIC);
/// The 8 characters that close a byte-per-block bitmap.
pub const BITMAP_MAGIC: &[u8] = without_nul(bindings::PARTCLONE_BITMAP_MAGIC);
/// Version field of the first format.
pub const VERSION_0001: &[u8] = without_nul(bindings::PARTCLONE_VERSION_0001);
/// Version field of the second format.
pub const VERSION_0002: &[u8] = without_nul(bindings::PARTCLONE_VERSION_0002);
/// Where the version stands in either header, in bytes.
pub const VERSION_OFFSET: usize = bindings::PARTCLONE_VERSION_OFFSET as usize;
/// Bytes of a [`Header0001`].
pub const HEADER_0001_LEN: usize = size_of::<Header0001>();
/// Bytes of a [`Header0002`].
pub const HEADER_0002_LEN: usize = size_of::<Header0002>();
/// Bytes of a [`Header0002`] that its CRC covers.
pub const HEADER_0002_CRC_OFFSET: usize = std::mem::offset_of!(Header0002, crc);
/// Byte-order marker of a little-endian writer.
pub const ENDIAN_MARK: u16 = narrow(bindings::PARTCLONE_ENDIAN_MARK);
/// 0002 checksum mode: none.
pub const CHECKSUM_NONE: u16 = narrow(bindings::PARTCLONE_CHECKSUM_NONE);
/// 0002 checksum mode: CRC-32 without final inversion, 4 bytes.
pub const CHECKSUM_CRC32: u16 = narrow(bindings::PARTCLONE_CHECKSUM_CRC32);
/// 0002 checksum mode: XXH64, seed 0, 8 bytes.
pub const CHECKSUM_XXH64: u16 = narrow(bindings::PARTCLONE_CHECKSUM_XXH64);
/// 0002 checksum mode: XXH3 of 128 bits, seed 0, 16 bytes, low half first.
pub const CHECKSUM_XXH128: u16 = narrow(bindings::PARTCLONE_CHECKSUM_XXH128);
/// 0002 bitmap mode: nothing stored, every block is used.
pub const BITMAP_NONE: u8 = octet(bindings::PARTCLONE_BITMAP_NONE);
/// 0002 bitmap mode: a bit per block, least significant first, and a CRC-32.
pub const BITMAP_BIT: u8 = octet(bindings::PARTCLONE_BITMAP_BIT);
/// 0002 bitmap mode: a byte per block and [`BITMAP_MAGIC`].
pub const BITMAP_BYTE: u8 = octet(bindings::PARTCLONE_BITMAP_BYTE);
/// Largest block size that readers accept, in bytes.
pub const MAX_BLOCK_SIZE: u32 = bindings::PARTCLONE_MAX_BLOCK_SIZE;
/// Largest block count that readers accept.
pub const MAX_BLOCKS: u64 = 1 << bindings::PARTCLONE_MAX_BLOCKS_LOG;

impl Header0001 {
    /// The structure at the beginning of `bytes`; `None` when fewer than [`HEADER_0001_LEN`] are there.
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }

    /// The structure with every byte 0, to be filled by a writer.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }

    /// The structure as it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Header0002 {
    /// The structure at the beginning of `bytes`; `None` when fewer than [`HEADER_0002_LEN`] are there.
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }

    /// The structure with every byte 0, to be filled by a writer.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }

    /// The structure as it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// The text of a NUL-padded field, up to the first NUL if there is one. Bytes that are not ASCII
/// graphic characters or blanks become `?`: names go to consoles and logs.
#[must_use]
pub fn text(field: &[u8]) -> String {
    field
        .iter()
        .take_while(|&&byte| byte != 0)
        .map(|&byte| {
            if byte == b' ' || byte.is_ascii_graphic() {
                char::from(byte)
            } else {
                '?'
            }
        })
        .collect()
}

/// A C string constant without its end.
const fn without_nul(string: &'static [u8]) -> &'static [u8] {
    match string.split_last() {
        Some((0, rest)) => rest,
        _ => panic!("a C string ends in NUL"),
    }
}

/// A C constant as the width of its field.
const fn narrow(value: u32) -> u16 {
    assert!(value <= 0xFFFF, "constant does not fit its field");
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    let value = value as u16;
    value
}

/// A C constant as the width of its field.
const fn octet(value: u32) -> u8 {
    assert!(value <= 0xFF, "constant does not fit its field");
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    let value = value as u8;
    value
}

/// The layout that images have, whatever bindgen made of the header.
const _: () = {
    use std::mem::offset_of;

    assert!(HEADER_0001_LEN == 4160 && align_of::<Header0001>() == 1);
    assert!(offset_of!(Header0001, filesystem) == 15);
    assert!(offset_of!(Header0001, version) == VERSION_OFFSET);
    assert!(offset_of!(Header0001, block_size) == 36);
    assert!(offset_of!(Header0001, device_size) == 40);
    assert!(offset_of!(Header0001, total_blocks) == 48);
    assert!(offset_of!(Header0001, used_blocks) == 56);
    assert!(offset_of!(Header0001, reserved) == 64);

    assert!(HEADER_0002_LEN == 110 && align_of::<Header0002>() == 1);
    assert!(offset_of!(Header0002, writer) == 16);
    assert!(offset_of!(Header0002, version) == VERSION_OFFSET);
    assert!(offset_of!(Header0002, endian_mark) == 34);
    assert!(offset_of!(Header0002, filesystem) == 36);
    assert!(offset_of!(Header0002, device_size) == 52);
    assert!(offset_of!(Header0002, total_blocks) == 60);
    assert!(offset_of!(Header0002, used_blocks_super) == 68);
    assert!(offset_of!(Header0002, used_blocks_bitmap) == 76);
    assert!(offset_of!(Header0002, block_size) == 84);
    assert!(offset_of!(Header0002, feature_size) == 88);
    assert!(offset_of!(Header0002, image_version) == 92);
    assert!(offset_of!(Header0002, cpu_bits) == 94);
    assert!(offset_of!(Header0002, checksum_mode) == 96);
    assert!(offset_of!(Header0002, checksum_size) == 98);
    assert!(offset_of!(Header0002, blocks_per_checksum) == 100);
    assert!(offset_of!(Header0002, reseed) == 104);
    assert!(offset_of!(Header0002, bitmap_mode) == 105);
    assert!(HEADER_0002_CRC_OFFSET == 106);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Header of an ext4 of 24 MiB as partclone 0.3.23 wrote it: 6144 blocks of 4096, 1746 used.
    const GENUINE: &str = "70617274636c6f6e652d696d61676500302e332e32330000000000000000\
                           30303032dec0455854465300000000000000000000000000800100000000\
                           0018000000000000d206000000000000d206000000000000001000001200\
                           00000200400020000400000100000101b0040987";

    #[test]
    fn view_reads_a_genuine_0002_header() {
        let bytes: Vec<u8> = (0..GENUINE.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&GENUINE[at..at + 2], 16).unwrap())
            .collect();
        let header = Header0002::view(&bytes).unwrap();
        assert_eq!(&header.magic[..15], MAGIC);
        assert_eq!(text(&header.writer), "0.3.23");
        assert_eq!(header.version, VERSION_0002);
        assert_eq!(header.endian_mark.get(), ENDIAN_MARK);
        assert_eq!(text(&header.filesystem), "EXTFS");
        assert_eq!(header.device_size.get(), 24 << 20);
        assert_eq!(header.total_blocks.get(), 6144);
        assert_eq!(header.used_blocks_super.get(), 1746);
        assert_eq!(header.used_blocks_bitmap.get(), 1746);
        assert_eq!(header.block_size.get(), 4096);
        assert_eq!(header.checksum_mode.get(), CHECKSUM_CRC32);
        assert_eq!(header.checksum_size.get(), 4);
        assert_eq!(header.blocks_per_checksum.get(), 256);
        assert_eq!(header.reseed, 1);
        assert_eq!(header.bitmap_mode, BITMAP_BIT);
        assert_eq!(header.crc.get(), 0x8709_04B0);
    }

    #[test]
    fn view_of_too_few_bytes_is_none() {
        assert!(Header0002::view(&[0; 109]).is_none());
        assert!(Header0002::view(&[0; 111]).is_some());
        assert!(Header0001::view(&[0; 4159]).is_none());
    }

    #[test]
    fn text_ends_at_nul_and_hides_control_characters() {
        assert_eq!(text(b"raw\0junk"), "raw");
        assert_eq!(text(b"ABCDEFGHIJKLMNOP"), "ABCDEFGHIJKLMNOP");
        assert_eq!(text(b"a\x1b[2J\xff"), "a?[2J?");
    }
}
