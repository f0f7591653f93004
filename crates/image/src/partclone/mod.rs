//! The partclone decoder, formats 0001 and 0002.

mod checksum;
mod header;
mod v1;
mod v2;

use std::mem;

use partclone_sys as sys;

use self::v1::V1Data;
use self::v2::V2Data;
use crate::bitmap::{Bitmap, BitmapBuilder};
use crate::bytes::{hex, u32_le};
use crate::error::{ImageError, Part};
use crate::geometry::{BitmapMode, Header, ImageFormat};
use crate::machine::{Context, Ended, Machine};
use crate::place::Placer;

pub use self::v2::STRIP_BUFFER;

/// Decodes one image.
pub(crate) struct Partclone {
    phase: Phase,
    header: Option<Header>,
    padding_len: u64,
}

enum Phase {
    /// The whole header, of a version that is known.
    Header(usize),
    Bitmap(Map),
    BitmapEnd(Map),
    V1(Box<V1Data>),
    V2(V2Data),
    Done,
}

/// A bitmap being read.
struct Map {
    header: Header,
    builder: BitmapBuilder,
    /// Where it begins.
    offset: u64,
    len: u64,
    taken: u64,
}

impl Partclone {
    /// A decoder for the image that begins with `bytes`, of which none is taken.
    ///
    /// # Errors
    /// The image is of no format or version that is read here.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, ImageError> {
        Ok(Self {
            phase: Phase::Header(header::len(bytes)?),
            header: None,
            padding_len: 0,
        })
    }

    fn begin(
        &mut self,
        header: Header,
        bitmap: Bitmap,
        context: &mut Context<'_>,
    ) -> Result<(), ImageError> {
        let geometry = context.begin(header, &bitmap)?;
        self.phase = if geometry.used_blocks == 0 {
            Phase::Done
        } else {
            let placer = Placer::new(bitmap, geometry.block_size);
            match geometry.format {
                ImageFormat::Partclone0001 => Phase::V1(Box::new(V1Data::new(&geometry, placer))),
                _ => Phase::V2(V2Data::new(&geometry, placer)),
            }
        };
        Ok(())
    }
}

impl Machine for Partclone {
    fn need(&self) -> usize {
        match &self.phase {
            Phase::Header(len) => *len,
            Phase::Bitmap(_) | Phase::Done => 1,
            Phase::BitmapEnd(map) => map.end_len(),
            Phase::V1(data) => data.need(),
            Phase::V2(data) => data.need(),
        }
    }

    fn step(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, ImageError> {
        match &mut self.phase {
            Phase::Header(len) => {
                let len = *len;
                let header = header::parse(bytes, context.compression)?;
                context.check_size(header.device_size)?;
                let memory_max = context.options.bitmap_memory_max;
                let builder = BitmapBuilder::new(header.total_blocks, memory_max);
                let map_len = match header.bitmap {
                    BitmapMode::None => 0,
                    BitmapMode::Bit => header.total_blocks.div_ceil(8),
                    BitmapMode::Byte => header.total_blocks,
                };
                self.header = Some(header.clone());
                if map_len == 0 {
                    let bitmap = Bitmap::all(header.total_blocks);
                    self.begin(header, bitmap, context)?;
                } else {
                    self.phase = Phase::Bitmap(Map {
                        header,
                        builder,
                        offset: len as u64,
                        len: map_len,
                        taken: 0,
                    });
                }
                Ok(len)
            }
            Phase::Bitmap(map) => {
                let taken = map.take(bytes)?;
                if map.taken == map.len {
                    self.phase = match mem::replace(&mut self.phase, Phase::Done) {
                        Phase::Bitmap(map) => Phase::BitmapEnd(map),
                        other => other,
                    };
                }
                Ok(taken)
            }
            Phase::BitmapEnd(map) => {
                let len = map.end_len();
                map.check_end(bytes.get(..len).unwrap_or(bytes), context.offset)?;
                if let Phase::BitmapEnd(map) = mem::replace(&mut self.phase, Phase::Done) {
                    let bitmap = map.builder.finish()?;
                    self.begin(map.header, bitmap, context)?;
                }
                Ok(len)
            }
            Phase::V1(data) => {
                let taken = data.step(bytes, context)?;
                if data.is_done() {
                    self.padding_len = data.padding_len();
                    self.phase = Phase::Done;
                }
                Ok(taken)
            }
            Phase::V2(data) => {
                let taken = data.step(bytes, context)?;
                if data.is_done() {
                    self.phase = Phase::Done;
                }
                Ok(taken)
            }
            Phase::Done => Ok(0),
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    fn finish(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Ended, ImageError> {
        let (mut rest, mut taken, mut offset) = (rest, 0, context.offset);
        if let Phase::V1(data) = &mut self.phase {
            // Waiting for a look ahead that will never come.
            taken = data.finish(rest, context)?;
            offset = offset.saturating_add(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
            if data.is_done() {
                self.phase = Phase::Done;
            }
        }
        let found = rest.len() as u64;
        let (part, offset, needed, found) = match &self.phase {
            Phase::Header(len) => (Part::Header, 0, *len as u64, found),
            Phase::Bitmap(map) => (Part::Bitmap, map.offset, map.len, map.taken),
            Phase::BitmapEnd(map) => (Part::BitmapEnd, offset, map.end_len() as u64, found),
            Phase::V1(data) => data.locate_end(offset, found),
            Phase::V2(data) => data.locate_end(offset, found),
            Phase::Done => return Ok(Ended::Complete(taken)),
        };
        Ok(Ended::Missing(part, offset, needed, found))
    }

    fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    fn padding_len(&self) -> u64 {
        self.padding_len
    }
}

impl Map {
    /// Bytes of what closes the bitmap.
    fn end_len(&self) -> usize {
        match self.header.bitmap {
            BitmapMode::Byte => sys::BITMAP_MAGIC.len(),
            _ => 4,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize, ImageError> {
        let left = usize::try_from(self.len - self.taken).unwrap_or(usize::MAX);
        let bytes = bytes.get(..left).unwrap_or(bytes);
        match self.header.bitmap {
            BitmapMode::Byte => self.builder.push_bytes(bytes)?,
            _ => self.builder.push_bits(bytes)?,
        }
        self.taken += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn check_end(&self, end: &[u8], offset: u64) -> Result<(), ImageError> {
        if self.header.bitmap == BitmapMode::Byte {
            if end != sys::BITMAP_MAGIC {
                return Err(ImageError::BitmapMagic {
                    offset,
                    found: hex(end),
                });
            }
            return Ok(());
        }
        let stored = u32_le(end);
        let computed = self.builder.crc();
        if stored != computed {
            return Err(ImageError::BitmapChecksum {
                offset,
                stored,
                computed,
            });
        }
        Ok(())
    }
}
