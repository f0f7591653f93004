//! .xz: any number of streams with padding between, each with its checks verified by the library.

use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use crate::compression::ran::Ran;
use crate::error::ImageError;
use crate::geometry::Compression;

pub(crate) struct Xz {
    /// `None` before the first stream and between two.
    stream: Option<Stream>,
    window_log_max: u32,
    /// The first bytes of the stream at hand, enough for the header of its first block.
    head: Vec<u8>,
    /// Where that stream begins.
    stream_offset: u64,
    /// Compressed bytes taken.
    offset: u64,
    /// Zeroes behind the stream before.
    padding_len: u64,
    has_begun: bool,
}

/// The stream's header and the longest header of a block.
const HEAD_LEN: usize = 12 + 1024;
/// What the decoder needs beside its dictionary, in bytes, generously.
const OVERHEAD: u64 = 1 << 20;
/// Padding comes in multiples of this.
const PADDING_UNIT: u64 = 4;

impl Xz {
    pub(crate) fn new(window_log_max: u32) -> Self {
        Self {
            stream: None,
            window_log_max: window_log_max.clamp(10, 31),
            head: Vec::new(),
            stream_offset: 0,
            offset: 0,
            padding_len: 0,
            has_begun: false,
        }
    }

    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        let mut skipped = 0;
        if self.stream.is_none() && self.has_begun {
            skipped = input.iter().take_while(|&&byte| byte == 0).count();
            self.padding_len += skipped as u64;
            self.offset += skipped as u64;
        }
        let input = input.get(skipped..).unwrap_or_default();
        let mut ran = Ran {
            consumed: skipped,
            produced: 0,
        };
        if input.is_empty() && self.stream.is_none() {
            return Ok(ran);
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.begin()?,
        };
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let outcome = stream.process(input, output, Action::Run);
        // The differences are no longer than the slices.
        let consumed = usize::try_from(stream.total_in() - before_in).unwrap_or(input.len());
        ran.consumed += consumed;
        ran.produced = usize::try_from(stream.total_out() - before_out).unwrap_or(output.len());
        let room = HEAD_LEN - self.head.len();
        self.head.extend(input.iter().take(consumed.min(room)));
        let status = match outcome {
            Ok(status) => status,
            Err(error) => {
                // The header that asks too much may not have been counted.
                let more = input.get(consumed..).unwrap_or_default();
                self.head
                    .extend(more.iter().take(HEAD_LEN - self.head.len()));
                return Err(self.explain(&error));
            }
        };
        self.offset += consumed as u64;
        match status {
            Status::StreamEnd => self.padding_len = 0,
            _ if ran.consumed == 0
                && ran.produced == 0
                && !input.is_empty()
                && !output.is_empty() =>
            {
                return Err(self.corrupt("the decompressor makes no progress".to_owned()));
            }
            _ => self.stream = Some(stream),
        }
        Ok(ran)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.has_begun && self.stream.is_none() && self.padding_len.is_multiple_of(PADDING_UNIT)
    }

    fn begin(&mut self) -> Result<Stream, ImageError> {
        if !self.padding_len.is_multiple_of(PADDING_UNIT) {
            return Err(self.corrupt(format!("{} bytes of padding", self.padding_len)));
        }
        self.has_begun = true;
        self.head.clear();
        self.stream_offset = self.offset;
        Stream::new_stream_decoder(self.limit() + OVERHEAD, TELL_UNSUPPORTED_CHECK)
            .map_err(|error| self.corrupt(format!("the decompressor cannot be set up: {error}")))
    }

    fn limit(&self) -> u64 {
        1 << self.window_log_max
    }

    fn explain(&self, error: &Error) -> ImageError {
        let detail = match error {
            Error::MemLimit => {
                return ImageError::WindowTooLarge {
                    compression: Compression::Xz,
                    offset: self.stream_offset,
                    window: dictionary(&self.head).unwrap_or_else(|| self.limit() + 1),
                    limit: self.limit(),
                };
            }
            Error::Format => "no .xz stream begins here".to_owned(),
            Error::UnsupportedCheck => "it has a kind of check that is not known".to_owned(),
            error => error.to_string(),
        };
        self.corrupt(detail)
    }

    fn corrupt(&self, detail: String) -> ImageError {
        ImageError::Corrupt {
            compression: Compression::Xz,
            offset: self.offset,
            detail,
        }
    }
}

/// The dictionary that the first block of a stream beginning with `head` needs, in bytes (.xz file
/// format, 3.1 and 5.3.1).
fn dictionary(head: &[u8]) -> Option<u64> {
    let mut rest = head.get(12..)?;
    let [_, flags, more @ ..] = rest else {
        return None;
    };
    rest = more;
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            number(&mut rest)?;
        }
    }
    for _ in 0..=(flags & 3) {
        let id = number(&mut rest)?;
        let len = usize::try_from(number(&mut rest)?).ok()?;
        let (properties, more) = rest.split_at_checked(len)?;
        rest = more;
        if let (LZMA2, [bits]) = (id, properties) {
            return match bits & 0x3F {
                40 => Some(0xFFFF_FFFF),
                bits @ 0..40 => Some((2 | u64::from(bits & 1)) << (bits / 2 + 11)),
                _ => None,
            };
        }
    }
    None
}

const LZMA2: u64 = 0x21;

/// A number of variable length (.xz file format, 1.2).
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionary_is_read_from_the_first_block() {
        let head = |block: &[u8]| [&[0; 12], block].concat();
        // 64 MiB, as `xz -9` has.
        assert_eq!(dictionary(&head(&[2, 0, 0x21, 1, 28])), Some(64 << 20));
        // x86 code before it, and both sizes.
        let block = [3, 0xC1, 0x81, 0x01, 5, 0x04, 0, 0x21, 1, 40];
        assert_eq!(dictionary(&head(&block)), Some(0xFFFF_FFFF));
        assert_eq!(dictionary(&head(&[2, 0, 0x21, 1])), None);
        assert_eq!(dictionary(&[]), None);
    }
}
