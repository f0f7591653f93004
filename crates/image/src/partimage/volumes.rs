//! Volume headers: the one that a stream begins with, and those that stand in the middle of it when
//! volumes are given one after the other. Volumes break anywhere, also inside a record.

use partclone_sys::text;

use super::format::VOLUME_HEADER;
use crate::bytes::u32_at;
use crate::error::ImageError;
use crate::magic::PARTIMAGE as MAGIC;

/// The volumes seen so far.
#[derive(Default)]
pub(super) struct Volumes {
    /// What the next volume's header must be but for its number: the first one's bytes.
    pattern: Vec<u8>,
    /// Number of the volume at hand.
    number: u32,
}

/// A unit of the image, found in the bytes at hand.
pub(super) enum Cut<'a> {
    /// There are no volume headers in it.
    Clean(&'a [u8]),
    /// There are, beginning at these places.
    Headers(Vec<usize>),
    /// This many bytes must be there to tell.
    Needs(usize),
}

/// Volumes that may begin in one unit. A volume has a MiB, so there is one; this bounds what an
/// image can make the decoder buffer.
const HEADERS_PER_UNIT: usize = 8;
const VERSION_OFFSET: usize = 32;
const VERSION_LEN: usize = 64;
const NUMBER_OFFSET: usize = 96;
const VERSIONS: [&str; 2] = ["0.6.0", "0.6.1"];

impl Volumes {
    /// Takes the header that the stream begins with.
    ///
    /// # Errors
    /// The version is another, or the volume is not the first.
    pub(super) fn begin(&mut self, header: &[u8]) -> Result<(), ImageError> {
        let field = header.get(VERSION_OFFSET..VERSION_OFFSET + VERSION_LEN);
        let version = text(field.unwrap_or_default());
        if !VERSIONS.contains(&version.as_str()) {
            return Err(ImageError::UnsupportedVersion {
                program: "partimage",
                found: version.chars().take(16).collect(),
                known: "0.6.0 and 0.6.1",
            });
        }
        let found = u32_at(header, NUMBER_OFFSET);
        if found != 0 {
            return Err(ImageError::NotFirstVolume { found });
        }
        self.pattern = header.to_vec();
        Ok(())
    }

    /// Volumes that have begun.
    pub(super) fn count(&self) -> u32 {
        self.number.saturating_add(1)
    }

    /// Finds the unit of `len` bytes that `bytes` begin with, and volume headers in it. With `is_end`
    /// nothing follows `bytes`.
    ///
    /// Data could hold what looks like a volume header. It is taken for one only if it is the
    /// first one's twin, byte for byte, with the next number: the identifier in it is
    /// different for every image.
    ///
    /// # Errors
    /// A later volume of this image follows.
    pub(super) fn cut<'a>(
        &mut self,
        bytes: &'a [u8],
        len: usize,
        is_end: bool,
        offset: u64,
    ) -> Result<Cut<'a>, ImageError> {
        let (mut places, mut end, mut from) = (Vec::new(), len, 0);
        loop {
            let Some(place) = self.find(bytes, from, end) else {
                if bytes.len() < end {
                    return Ok(Cut::Needs(end));
                }
                break;
            };
            let header_end = place + VOLUME_HEADER;
            let Some(header) = bytes.get(place..header_end) else {
                if is_end {
                    from = place + 1;
                    continue;
                }
                return Ok(Cut::Needs(header_end));
            };
            if places.len() < HEADERS_PER_UNIT && self.is_of_this_image(header) {
                let expected = self.number.saturating_add(as_u32(places.len()) + 1);
                let found = u32_at(header, NUMBER_OFFSET);
                if found != expected {
                    return Err(ImageError::VolumeOrder {
                        offset: offset + place as u64,
                        expected,
                        found,
                    });
                }
                places.push(place);
                end += VOLUME_HEADER;
                from = header_end;
            } else {
                from = place + 1;
            }
        }
        self.number = self.number.saturating_add(as_u32(places.len()));
        if places.is_empty() {
            return Ok(Cut::Clean(bytes.get(..len).unwrap_or(bytes)));
        }
        Ok(Cut::Headers(places))
    }

    /// Where, at or after `from` and before `end`, a volume header may begin: its magic characters
    /// stand there as far as `bytes` goes.
    fn find(&self, bytes: &[u8], from: usize, end: usize) -> Option<usize> {
        let (first, _) = MAGIC.split_first()?;
        let mut from = from;
        loop {
            let window = bytes.get(from..end.min(bytes.len()))?;
            let place = from + memchr::memchr(*first, window)?;
            let there = bytes.get(place..).unwrap_or_default();
            if there.starts_with(MAGIC) || MAGIC.starts_with(there) {
                return Some(place);
            }
            from = place + 1;
        }
    }

    /// Whether everything but the number is as in the first volume's header.
    fn is_of_this_image(&self, header: &[u8]) -> bool {
        let number = NUMBER_OFFSET..NUMBER_OFFSET + 4;
        header.get(..number.start) == self.pattern.get(..number.start)
            && header.get(number.end..) == self.pattern.get(number.end..)
    }
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
