// Generated from include/partclone_format.h by `cargo xtask codegen`. Do not edit.

use zerocopy::little_endian::{I32 as les32, U16 as le16, U32 as le32, U64 as le64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const PARTCLONE_MAGIC: &[u8; 16] = b"partclone-image\0";
pub const PARTCLONE_BITMAP_MAGIC: &[u8; 9] = b"BiTmAgIc\0";
pub const PARTCLONE_VERSION_0001: &[u8; 5] = b"0001\0";
pub const PARTCLONE_VERSION_0002: &[u8; 5] = b"0002\0";
pub const PARTCLONE_VERSION_OFFSET: u32 = 30;
pub const PARTCLONE_ENDIAN_MARK: u32 = 49374;
pub const PARTCLONE_CHECKSUM_NONE: u32 = 0;
pub const PARTCLONE_CHECKSUM_CRC32: u32 = 32;
pub const PARTCLONE_CHECKSUM_XXH64: u32 = 48;
pub const PARTCLONE_CHECKSUM_XXH128: u32 = 49;
pub const PARTCLONE_BITMAP_NONE: u32 = 0;
pub const PARTCLONE_BITMAP_BIT: u32 = 1;
pub const PARTCLONE_BITMAP_BYTE: u32 = 8;
pub const PARTCLONE_MAX_BLOCK_SIZE: u32 = 67108864;
pub const PARTCLONE_MAX_BLOCKS_LOG: u32 = 43;
/// Header of format 0001: 4160 octets, no checksum.
#[repr(C, packed)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
pub struct partclone_header_0001 {
    /// `partclone-image`, 15 characters without NUL.
    pub magic: [u8; 15usize],
    /// Name of the file system, NUL-padded; 15 characters have no NUL.
    pub filesystem: [u8; 15usize],
    /// `0001`.
    pub version: [u8; 4usize],
    /// Left over from the writer's memory, may hold anything.
    pub padding: [u8; 2usize],
    /// Bytes per block, signed.
    pub block_size: les32,
    /// Bytes of the source device. Not to be trusted: some writers got it wrong.
    pub device_size: le64,
    /// Blocks of the file system, used or not.
    pub total_blocks: le64,
    /// Used blocks as the super block counts them; the bitmap may disagree.
    pub used_blocks: le64,
    /// Unused.
    pub reserved: [u8; 4096usize],
}
/// Header of format 0002: 110 octets, ending in the CRC-32 of the 106 before it.
#[repr(C, packed)]
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
pub struct partclone_header_0002 {
    /// `partclone-image` and a NUL, of which 15 characters are compared.
    pub magic: [u8; 16usize],
    /// Version of the program that wrote the image, NUL-padded.
    pub writer: [u8; 14usize],
    /// `0002`.
    pub version: [u8; 4usize],
    /// `PARTCLONE_ENDIAN_MARK`.
    pub endian_mark: le16,
    /// Name of the file system, NUL-padded; 16 characters have no NUL.
    pub filesystem: [u8; 16usize],
    /// Bytes of the source device, at least `total_blocks` times `block_size`.
    pub device_size: le64,
    /// Blocks of the file system, used or not.
    pub total_blocks: le64,
    /// Used blocks as the super block counts them; may be anything.
    pub used_blocks_super: le64,
    /// Used blocks as the writer counted them in the bitmap.
    pub used_blocks_bitmap: le64,
    /// Bytes per block.
    pub block_size: le32,
    /// Bytes of the feature section: 18. Readers ignore it.
    pub feature_size: le32,
    /// The version once more, as a number: 2. Readers ignore it.
    pub image_version: le16,
    /// 32 or 64, the word size of the writer. Readers ignore it.
    pub cpu_bits: le16,
    /// One of `PARTCLONE_CHECKSUM_*`.
    pub checksum_mode: le16,
    /// Bytes per checksum.
    pub checksum_size: le16,
    /// Used blocks under one checksum (a strip).
    pub blocks_per_checksum: le32,
    /// Not 0: the checksum starts afresh for each strip.
    pub reseed: u8,
    /// One of `PARTCLONE_BITMAP_*`.
    pub bitmap_mode: u8,
    /// CRC-32 without final inversion of everything before.
    pub crc: le32,
}
