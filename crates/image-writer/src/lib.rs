//! Writes partclone and partimage images, good ones and bad ones, for tests. Plain and slow: it shares
//! no code with the decoder but the layout of partclone's headers, so that neither hides the other's
//! mistakes.

#![warn(missing_docs)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a helper of tests: what does not fit should fail them"
)]

mod compress;
mod partimage;
mod read;

use image::{BitmapMode, ChecksumMode};
use partclone_sys as sys;

pub use self::compress::wrap;
pub use self::partimage::{ChangeRecord, PartimageRecipe};
pub use self::read::{decode, verify};

/// An image to be written. Start with [`Recipe::v2`] or [`Recipe::v1`] and change what is wanted.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of a test"
)]
pub struct Recipe {
    /// Write format 0001; what it does not have is ignored.
    pub is_v1: bool,
    /// Bytes per block.
    pub block_size: u32,
    /// Which blocks are used.
    pub used: Vec<bool>,
    /// Device size field; the product if `None`.
    pub device_size: Option<u64>,
    /// Checksum mode.
    pub checksum: ChecksumMode,
    /// Blocks per checksum.
    pub strip_blocks: u32,
    /// Checksum starts afresh for each strip.
    pub is_reseeded: bool,
    /// Bitmap mode.
    pub bitmap: BitmapMode,
    /// Set the spare bits of a bit map; use odd values for free blocks in a map of bytes.
    pub has_odd_bitmap: bool,
    /// Name of the file system.
    pub filesystem: String,
    /// XORed to the CRC of the bitmap, or to the first character behind a map of bytes.
    pub spoil_bitmap: u8,
    /// XORed to the header's CRC.
    pub spoil_header: u32,
    /// The first byte of this block is stored inverted, after its checksum was computed.
    pub spoil_block: Option<u64>,
    /// XORed to the stored checksum of the used block with this index (0001).
    pub spoil_sum: Option<u64>,
    /// 8 bytes per checksum (0001).
    pub is_wide: bool,
}

impl Recipe {
    /// A 0002 image with CRC-32 and 256 blocks per checksum.
    #[must_use]
    pub fn v2(block_size: u32, used: Vec<bool>) -> Self {
        Self {
            is_v1: false,
            block_size,
            used,
            device_size: None,
            checksum: ChecksumMode::Crc32,
            strip_blocks: 256,
            is_reseeded: true,
            bitmap: BitmapMode::Bit,
            has_odd_bitmap: false,
            filesystem: "raw".to_owned(),
            spoil_bitmap: 0,
            spoil_header: 0,
            spoil_block: None,
            spoil_sum: None,
            is_wide: false,
        }
    }

    /// A 0001 image.
    #[must_use]
    pub fn v1(block_size: u32, used: Vec<bool>) -> Self {
        Self {
            is_v1: true,
            ..Self::v2(block_size, used)
        }
    }

    /// The image, with the bytes that `block` gives for each used block.
    pub fn write(&self, block: impl FnMut(u64) -> Vec<u8>) -> Vec<u8> {
        if self.is_v1 {
            self.write_v1(block, |_| {})
        } else {
            self.write_v2(block, |_| {})
        }
    }

    /// A 0002 image whose header `change` has had in its hands before the CRC was computed.
    pub fn write_v2(
        &self,
        mut block: impl FnMut(u64) -> Vec<u8>,
        change: impl FnOnce(&mut sys::Header0002),
    ) -> Vec<u8> {
        let mut image = self.header_v2(change);
        match self.bitmap {
            BitmapMode::None => {}
            BitmapMode::Bit => {
                let mut bitmap = vec![0_u8; self.used.len().div_ceil(8)];
                for bit in 0..bitmap.len() * 8 {
                    if self.used.get(bit).copied().unwrap_or(self.has_odd_bitmap) {
                        bitmap[bit / 8] |= 1 << (bit % 8);
                    }
                }
                let crc = crc(&bitmap) ^ u32::from(self.spoil_bitmap);
                image.extend(bitmap);
                image.extend(crc.to_le_bytes());
            }
            BitmapMode::Byte => self.push_byte_map(&mut image),
        }
        let (mut strip, mut count) = (Vec::new(), 0);
        for number in self.used_blocks() {
            let data = block(number);
            strip.extend_from_slice(&data);
            image.extend(self.stored(number, data));
            count += 1;
            if count % u64::from(self.strip_blocks.max(1)) == 0 {
                image.extend(self.sum(&strip));
                count = 0;
                if self.is_reseeded {
                    strip.clear();
                }
            }
        }
        if count > 0 {
            image.extend(self.sum(&strip));
        }
        image
    }

    /// A 0001 image whose header `change` has had in its hands.
    pub fn write_v1(
        &self,
        mut block: impl FnMut(u64) -> Vec<u8>,
        change: impl FnOnce(&mut sys::Header0001),
    ) -> Vec<u8> {
        let mut header = sys::Header0001::zeroed();
        header.magic.copy_from_slice(sys::MAGIC);
        header.version.copy_from_slice(sys::VERSION_0001);
        put_text(&mut header.filesystem, &self.filesystem);
        header.block_size = self.block_size.cast_signed().into();
        header.device_size = self.device_size().into();
        header.total_blocks = (self.used.len() as u64).into();
        header.used_blocks = (self.used_blocks().count() as u64).into();
        change(&mut header);
        let mut image = header.bytes().to_vec();
        self.push_byte_map(&mut image);
        let mut fed = crc32fast::Hasher::new();
        for (index, number) in (0..).zip(self.used_blocks()) {
            let data = block(number);
            fed.update(&vec![data[0]; data.len()]);
            image.extend(self.stored(number, data));
            let mut sum = !fed.clone().finalize();
            if self.spoil_sum == Some(index) {
                sum ^= 0x5A;
            }
            image.extend(sum.to_le_bytes());
            if self.is_wide {
                image.extend([0; 4]);
            }
        }
        image
    }

    /// What a restore of the image must leave in a target of `size` bytes full of `fill`.
    pub fn restored(
        &self,
        mut block: impl FnMut(u64) -> Vec<u8>,
        size: usize,
        fill: u8,
    ) -> Vec<u8> {
        let mut target = vec![fill; size];
        for number in self.used_blocks() {
            let start = usize::try_from(number).expect("small") * self.block_len();
            target[start..start + self.block_len()].copy_from_slice(&block(number));
        }
        target
    }

    /// The used blocks; all of them when no bitmap is stored.
    pub fn used_blocks(&self) -> impl Iterator<Item = u64> {
        let all = !self.is_v1 && self.bitmap == BitmapMode::None;
        (0..)
            .zip(&self.used)
            .filter(move |(_, used)| **used || all)
            .map(|(number, _)| number)
    }

    /// Total blocks times block size.
    #[must_use]
    pub fn filesystem_size(&self) -> u64 {
        self.used.len() as u64 * u64::from(self.block_size)
    }

    fn header_v2(&self, change: impl FnOnce(&mut sys::Header0002)) -> Vec<u8> {
        let (mode, size) = match self.checksum {
            ChecksumMode::Crc32 => (sys::CHECKSUM_CRC32, 4),
            ChecksumMode::Xxh64 => (sys::CHECKSUM_XXH64, 8),
            ChecksumMode::Xxh128 => (sys::CHECKSUM_XXH128, 16),
            // The other formats' own, and no checksum.
            _ => (sys::CHECKSUM_NONE, 0_u16),
        };
        let used = self.used_blocks().count() as u64;
        let mut header = sys::Header0002::zeroed();
        put_text(&mut header.magic, "partclone-image");
        put_text(&mut header.writer, "0.3.23");
        header.version.copy_from_slice(sys::VERSION_0002);
        header.endian_mark = sys::ENDIAN_MARK.into();
        put_text(&mut header.filesystem, &self.filesystem);
        header.device_size = self.device_size().into();
        header.total_blocks = (self.used.len() as u64).into();
        header.used_blocks_super = used.into();
        header.used_blocks_bitmap = used.into();
        header.block_size = self.block_size.into();
        header.feature_size = 18.into();
        header.image_version = 2.into();
        header.cpu_bits = 64.into();
        header.checksum_mode = mode.into();
        header.checksum_size = size.into();
        header.blocks_per_checksum = if size == 0 { 0 } else { self.strip_blocks }.into();
        header.reseed = self.is_reseeded.into();
        header.bitmap_mode = match self.bitmap {
            BitmapMode::None => sys::BITMAP_NONE,
            BitmapMode::Bit => sys::BITMAP_BIT,
            BitmapMode::Byte => sys::BITMAP_BYTE,
        };
        change(&mut header);
        let sum = crc(&header.bytes()[..sys::HEADER_0002_CRC_OFFSET]);
        header.crc = (sum ^ self.spoil_header).into();
        header.bytes().to_vec()
    }

    fn push_byte_map(&self, image: &mut Vec<u8>) {
        image.extend((0..=u8::MAX).cycle().zip(&self.used).map(|(odd, used)| {
            match (used, self.has_odd_bitmap) {
                (true, _) => 1,
                (false, true) => odd | 2,
                (false, false) => 0,
            }
        }));
        image.push(b'B' ^ self.spoil_bitmap);
        image.extend(b"iTmAgIc");
    }

    fn stored(&self, number: u64, mut data: Vec<u8>) -> Vec<u8> {
        assert_eq!(data.len(), self.block_len(), "length of block {number}");
        if self.spoil_block == Some(number) {
            data[0] ^= 0xFF;
        }
        data
    }

    fn sum(&self, strip: &[u8]) -> Vec<u8> {
        match self.checksum {
            ChecksumMode::Crc32 => crc(strip).to_le_bytes().into(),
            ChecksumMode::Xxh64 => xxhash_rust::xxh64::xxh64(strip, 0).to_le_bytes().into(),
            ChecksumMode::Xxh128 => xxhash_rust::xxh3::xxh3_128(strip).to_le_bytes().into(),
            _ => Vec::new(),
        }
    }

    fn device_size(&self) -> u64 {
        self.device_size.unwrap_or_else(|| self.filesystem_size())
    }

    fn block_len(&self) -> usize {
        usize::try_from(self.block_size).expect("a usize has 32 bits at least")
    }
}

fn put_text(field: &mut [u8], text: &str) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
}

/// The CRC-32 of zlib without its final inversion.
fn crc(bytes: &[u8]) -> u32 {
    !crc32fast::hash(bytes)
}
