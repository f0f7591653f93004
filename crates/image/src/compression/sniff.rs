//! Which compression a stream has, from its first bytes.

use crate::error::ImageError;
use crate::geometry::Compression;

/// Bytes that [`sniff`] needs to be sure.
pub const SNIFF_LEN: usize = 6;

/// The compression of a stream that begins with `first`: all of [`SNIFF_LEN`] bytes, or fewer if the
/// stream is shorter. A skippable frame, which zstd and lz4 have in common, counts as zstd here; a
/// decoder looks behind it.
///
/// # Errors
/// A compression that is known but not read.
pub fn sniff(first: &[u8]) -> Result<Compression, ImageError> {
    let name = match first {
        [0x1F, 0x8B, ..] => return Ok(Compression::Gzip),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => return Ok(Compression::Zstd),
        _ if is_skippable(first) => return Ok(Compression::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Ok(Compression::Bzip2),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => return Ok(Compression::Xz),
        [0x04, 0x22, 0x4D, 0x18, ..] => return Ok(Compression::Lz4),
        [0x02, 0x21, 0x4C, 0x18, ..] => "lz4 in its legacy format",
        [0x1F, 0x9D, ..] => "compress",
        [b'L', b'Z', b'I', b'P', ..] => "lzip",
        [b'7', b'z', 0xBC, 0xAF, 0x27, 0x1C, ..] => "7-Zip",
        _ => return Ok(Compression::Plain),
    };
    Err(ImageError::UnsupportedCompression { name })
}

/// The magic number of a skippable frame: RFC 8878, 3.1.2, and the LZ4 frame format.
fn is_skippable(first: &[u8]) -> bool {
    matches!(first, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// Magic number and length of a skippable frame.
const SKIP_HEAD: usize = 8;

/// Finds out the compression of a stream that comes in pieces, passing over skippable frames.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sniffer {
    /// What was looked at and not passed over.
    first: Vec<u8>,
    /// Bytes of skippable frames passed over.
    skipped: u64,
    /// Bytes left of the skippable frame at hand.
    left: u64,
}

impl Sniffer {
    /// Takes bytes of the stream; how many, and the compression once it is known. Without that it has
    /// taken all.
    ///
    /// # Errors
    /// A compression that is known but not read.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
    ) -> Result<(usize, Option<Compression>), ImageError> {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let passed = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            self.left -= passed as u64;
            self.skipped = self.skipped.saturating_add(passed as u64);
            taken += passed;
            if self.left > 0 {
                return Ok((taken, None));
            }
            let rest = rest.get(passed..).unwrap_or_default();
            let wanted = if is_skippable(&self.first) {
                SKIP_HEAD
            } else {
                SNIFF_LEN
            };
            let now = wanted.saturating_sub(self.first.len()).min(rest.len());
            self.first.extend(rest.iter().take(now));
            taken += now;
            if self.first.len() < wanted {
                return Ok((taken, None));
            }
            if !is_skippable(&self.first) {
                return self.compression().map(|found| (taken, Some(found)));
            }
            if let [_, _, _, _, len @ ..] = self.first.as_slice()
                && let Some(len) = len.first_chunk()
                && self.first.len() == SKIP_HEAD
            {
                self.left = u64::from(u32::from_le_bytes(*len));
                self.skipped = self.skipped.saturating_add(SKIP_HEAD as u64);
                self.first.clear();
            }
        }
    }

    /// What the stream is if nothing more comes. `None` if it ends inside a skippable frame, or right
    /// behind one and a part of the next one's magic number.
    ///
    /// # Errors
    /// A compression that is known but not read.
    pub(crate) fn finish(&self) -> Result<Option<Compression>, ImageError> {
        // Behind a frame comes another with all four bytes of its magic number, or nothing.
        let is_cut = self.skipped > 0 && (1..4).contains(&self.first.len());
        if self.left > 0 || is_skippable(&self.first) || is_cut {
            return Ok(None);
        }
        self.compression().map(Some)
    }

    /// Bytes that were looked at and belong to what is compressed.
    pub(crate) fn first(&self) -> &[u8] {
        &self.first
    }

    /// Where [`first`](Self::first) begins in the stream.
    pub(crate) fn offset(&self) -> u64 {
        self.skipped
    }

    fn compression(&self) -> Result<Compression, ImageError> {
        match sniff(&self.first)? {
            // Nothing else has skippable frames; zstd's decoder will say what is wrong.
            other if self.skipped > 0 && other != Compression::Lz4 => Ok(Compression::Zstd),
            found => Ok(found),
        }
    }
}
