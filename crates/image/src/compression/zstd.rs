//! zstd (RFC 8878): any number of frames, skippable ones between them, content checksums verified by
//! the reference library.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use crate::compression::ran::Ran;
use crate::error::ImageError;
use crate::geometry::Compression;

pub(crate) struct Zstd {
    decoder: Decoder<'static>,
    window_log_max: u32,
    /// The first bytes of the frame at hand, enough for its header.
    head: Vec<u8>,
    /// Where that frame begins.
    frame_offset: u64,
    /// Compressed bytes taken.
    offset: u64,
    is_between_frames: bool,
}

/// Longest frame header with its magic number.
const HEAD_LEN: usize = 18;
/// Bounds of the library.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 10..=31;

impl Zstd {
    pub(crate) fn new(window_log_max: u32, offset: u64) -> Result<Self, ImageError> {
        let window_log_max = window_log_max.clamp(*WINDOW_LOG.start(), *WINDOW_LOG.end());
        let failed = |error: std::io::Error| ImageError::Corrupt {
            compression: Compression::Zstd,
            offset: 0,
            detail: format!("the decompressor cannot be set up: {error}"),
        };
        let mut decoder = Decoder::new().map_err(failed)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(window_log_max))
            .map_err(failed)?;
        Ok(Self {
            decoder,
            window_log_max,
            head: Vec::with_capacity(HEAD_LEN),
            frame_offset: offset,
            offset,
            is_between_frames: offset > 0,
        })
    }

    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        if self.is_between_frames {
            if input.is_empty() {
                return Ok(Ran::default());
            }
            self.is_between_frames = false;
            self.head.clear();
            self.frame_offset = self.offset;
        }
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around(output);
        let outcome = self.decoder.run(&mut source, &mut target);
        let ran = Ran {
            consumed: source.pos(),
            produced: target.pos(),
        };
        let hint = match outcome {
            Ok(hint) => hint,
            Err(error) => {
                self.keep_head(input);
                return Err(self.explain(&error));
            }
        };
        self.keep_head(input.get(..ran.consumed).unwrap_or(input));
        self.offset += ran.consumed as u64;
        self.is_between_frames = hint == 0;
        Ok(ran)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.is_between_frames
    }

    /// Keeps the frame's first bytes for [`explain`](Self::explain).
    fn keep_head(&mut self, bytes: &[u8]) {
        let room = HEAD_LEN - self.head.len();
        self.head.extend(bytes.iter().take(room));
    }

    fn explain(&self, error: &std::io::Error) -> ImageError {
        let limit = 1 << self.window_log_max;
        match window(&self.head) {
            Some(window) if window > limit => ImageError::WindowTooLarge {
                compression: Compression::Zstd,
                offset: self.frame_offset,
                window,
                limit,
            },
            _ => ImageError::Corrupt {
                compression: Compression::Zstd,
                offset: self.offset,
                detail: error.to_string(),
            },
        }
    }
}

/// The window that a frame beginning with `head` needs, in bytes (RFC 8878, 3.1.1.1).
fn window(head: &[u8]) -> Option<u64> {
    let [0x28, 0xB5, 0x2F, 0xFD, descriptor, rest @ ..] = head else {
        return None;
    };
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let byte = u64::from(*rest.first()?);
        let base = 1_u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * (byte & 7));
    }
    // No window descriptor: the window is the content.
    let dictionary_len = match descriptor & 3 {
        3 => 4,
        len => usize::from(len),
    };
    let (len, bias) = match descriptor >> 6 {
        0 => (1, 0),
        1 => (2, 256),
        2 => (4, 0),
        _ => (8, 0),
    };
    let size = rest.get(dictionary_len..dictionary_len + len)?;
    let size = size
        .iter()
        .rev()
        .fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    size.checked_add(bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_read_from_the_frame_header() {
        // Exponent 21: 2^31; mantissa 1 adds an eighth.
        let head =
            |descriptor: u8, rest: &[u8]| [&[0x28, 0xB5, 0x2F, 0xFD, descriptor], rest].concat();
        assert_eq!(window(&head(0, &[21 << 3])), Some(1 << 31));
        assert_eq!(window(&head(4, &[0])), Some(1024));
        assert_eq!(
            window(&head(0, &[17 << 3 | 1])),
            Some((1 << 27) + (1 << 24))
        );
        assert_eq!(window(&head(0x20, &[77])), Some(77));
        assert_eq!(window(&head(0x60, &[1, 0])), Some(257));
        assert_eq!(
            window(&head(0xE1, &[9, 0, 0, 0, 0, 1, 0, 0, 0])),
            Some(1 << 32)
        );
        assert_eq!(window(&head(0xE0, &[0xFF; 7])), None);
        assert_eq!(window(&head(0, &[])), None);
        assert_eq!(window(b"\x50\x2A\x4D\x18\0\0\0\0"), None);
    }
}
