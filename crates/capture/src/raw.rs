//! A partition or disk as it is, in partclone's format 0002: every block is stored, as `partclone.imager` writes it.

use std::io::{self, Read};

/// The header, the bitmap and its checksum of an image of which every block is used; the data follows as it is.
///
/// It is made as it is read: the bitmap of a large disk has many bytes.
#[derive(Debug)]
pub struct RawHead {
    header: Vec<u8>,
    /// Bytes of the bitmap that are still to come.
    bitmap_left: u64,
    crc: crc32fast::Hasher,
    /// What is left of what is read now: the header, and at the end the checksum.
    pending: Vec<u8>,
    has_checksum: bool,
}

/// Bytes of a block of an image of `len` bytes: the largest that divides it, so that nothing is lost at the end.
/// Smaller ones make the bitmap longer. `len` is made of sectors of 512 bytes at least.
#[must_use]
pub fn raw_block(len: u64) -> u32 {
    let sizes = [16_384, 8192, 4096, 2048, 1024];
    let divides = |size: &u32| len.is_multiple_of(u64::from(*size));
    sizes.into_iter().find(divides).unwrap_or(512)
}

impl RawHead {
    /// Of an image of `len` bytes.
    #[must_use]
    pub fn new(len: u64) -> Self {
        let block = raw_block(len);
        let blocks = len / u64::from(block);
        let mut header = Vec::with_capacity(HEADER_LEN);
        let mut text = |text: &[u8], len: usize| {
            let end = header.len() + len;
            header.extend_from_slice(text);
            header.resize(end, 0);
        };
        text(b"partclone-image", 16);
        text(concat!("fos ", env!("CARGO_PKG_VERSION")).as_bytes(), 14);
        text(b"0002\xde\xc0", 6);
        text(b"raw", 16);
        for number in [len, blocks, blocks, blocks] {
            header.extend(number.to_le_bytes());
        }
        header.extend(block.to_le_bytes());
        // Length of what follows, version, word size; no checksums; each would start afresh; a bit for each block.
        header.extend(18_u32.to_le_bytes());
        for number in [2_u16, 64, 0, 0] {
            header.extend(number.to_le_bytes());
        }
        header.extend(0_u32.to_le_bytes());
        header.extend([1, 1]);
        header.extend((!crc32fast::hash(&header)).to_le_bytes());
        Self {
            pending: header.clone(),
            header,
            bitmap_left: blocks.div_ceil(8),
            crc: crc32fast::Hasher::new(),
            has_checksum: false,
        }
    }

    /// Bytes of header, bitmap and checksum.
    #[must_use]
    pub fn len(&self) -> u64 {
        let field = |at: usize| {
            let octets = self.header.get(at..).and_then(|rest| rest.first_chunk());
            octets.map_or(0, |octets| u64::from_le_bytes(*octets))
        };
        HEADER_LEN as u64 + field(60).div_ceil(8) + 4
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Read for RawHead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.pending.is_empty() && self.bitmap_left == 0 && !self.has_checksum {
            self.has_checksum = true;
            let sum = !self.crc.clone().finalize();
            self.pending = sum.to_le_bytes().to_vec();
        }
        if !self.pending.is_empty() {
            let count = self.pending.len().min(buffer.len());
            let rest = self.pending.split_off(count);
            buffer
                .iter_mut()
                .zip(&self.pending)
                .for_each(|(to, from)| *to = *from);
            self.pending = rest;
            return Ok(count);
        }
        let left = usize::try_from(self.bitmap_left).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let (ones, _) = buffer.split_at_mut(count);
        // Also the spare bits of the last byte, as the original has them.
        ones.fill(0xff);
        self.crc.update(ones);
        self.bitmap_left = self.bitmap_left.saturating_sub(count as u64);
        Ok(count)
    }
}

const HEADER_LEN: usize = 110;

#[cfg(test)]
mod tests {
    use image::{Decoder, Geometry, ImageFormat, Options, Sink, SinkError};

    use super::*;

    #[derive(Default)]
    struct Collect(Vec<u8>);

    impl Sink for Collect {
        fn begin(&mut self, _: &Geometry) -> Result<(), SinkError> {
            Ok(())
        }

        fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
            assert_eq!(offset, self.0.len() as u64);
            self.0.extend_from_slice(data);
            Ok(())
        }
    }

    #[test]
    fn an_image_of_any_length_is_decoded_to_what_it_is_of() {
        for sectors in [1, 2, 3, 7, 8, 9, 16, 33, 64, 2048, 2049] {
            let data: Vec<u8> = (0..sectors * 512)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            let mut head = RawHead::new(data.len() as u64);
            let expected = head.len();
            let mut bytes = Vec::new();
            // A byte at a time, to see that nothing depends on the buffer.
            let mut octet = [0];
            while head.read(&mut octet).unwrap() > 0 {
                bytes.push(octet[0]);
            }
            assert_eq!(bytes.len() as u64, expected);
            bytes.extend_from_slice(&data);
            let mut decoder = Decoder::new(Options::default());
            let mut sink = Collect::default();
            decoder.push(&bytes, &mut sink).unwrap();
            let summary = decoder.finish(&mut sink).unwrap();
            assert_eq!(summary.geometry.format, ImageFormat::Partclone0002);
            assert_eq!(summary.geometry.device_size, data.len() as u64);
            assert_eq!(summary.warnings, []);
            assert!(sink.0 == data, "{sectors}");
        }
    }

    #[test]
    fn blocks_divide_the_length() {
        for (len, block) in [
            (1 << 30, 16_384),
            ((1 << 30) + 4096, 4096),
            ((1 << 30) + 512, 512),
            ((1 << 30) + 1024, 1024),
            (512, 512),
        ] {
            assert_eq!(raw_block(len), block);
        }
    }
}
