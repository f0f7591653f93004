//! The partclone decoder: a machine that says how many bytes it wants to see together and takes
//! them. It keeps no bytes itself; [`crate::stage`] does.

mod bitmap;
mod checksum;
mod header;
mod place;
mod v1;
mod v2;

use std::mem;

use partclone_sys as sys;

use self::bitmap::{Bitmap, BitmapBuilder};
use self::place::Placer;
use self::v1::V1Data;
use self::v2::V2Data;
use crate::decoder::{Options, Sink, Verify, Warnings};
use crate::error::{ImageError, Part, hex};
use crate::geometry::{BitmapMode, Compression, Geometry, Header, ImageFormat};

pub(crate) use self::header::{
    bad_magic, is_prefix_of_magic, len as header_len, parse as parse_header,
};
pub use self::v2::STRIP_BUFFER;

/// Decodes one image. See [`Core::need`] and [`Core::step`] for the contract.
pub(crate) struct Core {
    options: Options,
    compression: Compression,
    phase: Phase,
    /// Bytes taken so far.
    offset: u64,
    geometry: Option<Geometry>,
    /// Bytes behind the image, and how many of them may belong to it.
    trailing_len: u64,
    padding_len: u64,
    pub(crate) tally: Tally,
    pub(crate) warnings: Warnings,
}

/// What has been done.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) output_len: u64,
    pub(crate) extents: u64,
    pub(crate) checksums: u64,
}

/// What every step of the data needs beside its bytes.
pub(crate) struct Context<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    /// Offset in the image of the bytes at hand.
    pub(crate) offset: u64,
    pub(crate) verify: Verify,
    pub(crate) warnings: &'a mut Warnings,
    pub(crate) tally: &'a mut Tally,
}

enum Phase {
    /// Magic and version.
    Magic,
    /// The whole header, of a version that is known.
    Header(usize),
    Bitmap(Map),
    BitmapEnd(Map),
    V1(Box<V1Data>),
    V2(V2Data),
    End,
    /// After an error.
    Failed,
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

/// Bytes up to the end of the version field.
const MAGIC_AND_VERSION: usize = sys::VERSION_OFFSET + 4;

impl Core {
    pub(crate) fn new(options: Options, compression: Compression) -> Self {
        Self {
            options,
            compression,
            phase: Phase::Magic,
            offset: 0,
            geometry: None,
            trailing_len: 0,
            padding_len: 0,
            tally: Tally::default(),
            warnings: Warnings::default(),
        }
    }

    /// Bytes that the next [`step`](Self::step) must be given at least: no more than
    /// [`STRIP_BUFFER`], or one block of format 0001 (64 MiB). Changes with every step.
    pub(crate) fn need(&self) -> usize {
        match &self.phase {
            Phase::Magic => MAGIC_AND_VERSION,
            Phase::Header(len) => *len,
            Phase::Bitmap(_) | Phase::End | Phase::Failed => 1,
            Phase::BitmapEnd(map) => map.end_len(),
            Phase::V1(data) => data.need(),
            Phase::V2(data) => data.need(),
        }
    }

    /// Takes from `bytes`, which holds at least [`need`](Self::need) bytes, and says how many it
    /// took. If it takes none, it needs more than before.
    pub(crate) fn step(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<usize, ImageError> {
        let taken = self.advance(bytes, sink)?;
        self.offset = self.offset.saturating_add(taken as u64);
        Ok(taken)
    }

    pub(crate) fn geometry(&self) -> Option<&Geometry> {
        self.geometry.as_ref()
    }

    /// Bytes behind the image that do not belong to it.
    pub(crate) fn trailing_len(&self) -> u64 {
        self.trailing_len.saturating_sub(self.padding_len)
    }

    /// Bytes taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The input ends after `rest`, which is shorter than what was needed.
    ///
    /// # Errors
    /// [`ImageError::Truncated`] unless the image is complete, or what is wrong with `rest`.
    pub(crate) fn finish(&mut self, rest: &[u8], sink: &mut dyn Sink) -> Result<(), ImageError> {
        let mut rest = rest;
        if let Phase::V1(data) = &mut self.phase {
            // Waiting for a look ahead that will never come.
            let mut context = Context {
                sink,
                offset: self.offset,
                verify: self.options.verify,
                warnings: &mut self.warnings,
                tally: &mut self.tally,
            };
            let taken = data.finish(rest, &mut context)?;
            self.offset = self.offset.saturating_add(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
            if data.is_done() {
                self.phase = Phase::End;
            }
        }
        let found = rest.len() as u64;
        let (part, offset, needed, found) = match &self.phase {
            Phase::Magic | Phase::Header(_) => {
                if !is_prefix_of_magic(rest) {
                    return Err(bad_magic(rest));
                }
                let needed = match &self.phase {
                    Phase::Header(len) => *len,
                    _ => sys::HEADER_0002_LEN,
                };
                (Part::Header, 0, needed as u64, found)
            }
            Phase::Bitmap(map) => (Part::Bitmap, map.offset, map.len, map.taken),
            Phase::BitmapEnd(map) => (Part::BitmapEnd, self.offset, map.end_len() as u64, found),
            Phase::V1(data) => data.locate_end(self.offset, found),
            Phase::V2(data) => data.locate_end(self.offset, found),
            Phase::End => {
                self.trailing_len = self.trailing_len.saturating_add(found);
                return Ok(());
            }
            Phase::Failed => return Err(ImageError::Stopped),
        };
        Err(ImageError::Truncated {
            part,
            offset,
            needed,
            found,
        })
    }

    fn advance(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<usize, ImageError> {
        let mut context = Context {
            sink,
            offset: self.offset,
            verify: self.options.verify,
            warnings: &mut self.warnings,
            tally: &mut self.tally,
        };
        match &mut self.phase {
            Phase::Magic => {
                let len = header_len(bytes)?.unwrap_or(sys::HEADER_0002_LEN);
                self.phase = Phase::Header(len);
                Ok(0)
            }
            Phase::Header(len) => {
                let len = *len;
                let header = parse_header(bytes, self.compression)?;
                self.check_size(&header)?;
                let builder =
                    BitmapBuilder::new(header.total_blocks, self.options.bitmap_memory_max);
                let map_len = match header.bitmap {
                    BitmapMode::None => 0,
                    BitmapMode::Bit => header.total_blocks.div_ceil(8),
                    BitmapMode::Byte => header.total_blocks,
                };
                if map_len == 0 {
                    let bitmap = Bitmap::all(header.total_blocks);
                    self.begin(header, bitmap, sink)?;
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
                    self.phase = match mem::replace(&mut self.phase, Phase::Failed) {
                        Phase::Bitmap(map) => Phase::BitmapEnd(map),
                        other => other,
                    };
                }
                Ok(taken)
            }
            Phase::BitmapEnd(map) => {
                let len = map.end_len();
                map.check_end(bytes.get(..len).unwrap_or(bytes), self.offset)?;
                if let Phase::BitmapEnd(map) = mem::replace(&mut self.phase, Phase::Failed) {
                    let bitmap = map.builder.finish()?;
                    self.begin(map.header, bitmap, sink)?;
                }
                Ok(len)
            }
            Phase::V1(data) => {
                let taken = data.step(bytes, &mut context)?;
                if data.is_done() {
                    self.padding_len = data.padding_len();
                    self.phase = Phase::End;
                }
                Ok(taken)
            }
            Phase::V2(data) => {
                let taken = data.step(bytes, &mut context)?;
                if data.is_done() {
                    self.phase = Phase::End;
                }
                Ok(taken)
            }
            Phase::End => {
                self.trailing_len = self.trailing_len.saturating_add(bytes.len() as u64);
                Ok(bytes.len())
            }
            Phase::Failed => Err(ImageError::Stopped),
        }
    }

    /// Refuses, before the bitmap is read, an image that is larger than the target.
    fn check_size(&self, header: &Header) -> Result<(), ImageError> {
        match self.options.target_size {
            Some(target_size) if self.options.check_size && header.device_size > target_size => {
                Err(ImageError::BeyondTarget {
                    device_size: header.device_size,
                    target_size,
                })
            }
            _ => Ok(()),
        }
    }

    /// Header and bitmap are good: the last checks, then the sink learns of the image.
    fn begin(
        &mut self,
        header: Header,
        bitmap: Bitmap,
        sink: &mut dyn Sink,
    ) -> Result<(), ImageError> {
        // No overflow: the header's parser checked that all blocks fit in 63 bits.
        let data_end = bitmap.end() * u64::from(header.block_size);
        if let Some(target_size) = self.options.target_size
            && data_end > target_size
        {
            return Err(ImageError::BlockBeyondTarget {
                block: bitmap.end().saturating_sub(1),
                end: data_end,
                target_size,
            });
        }
        let geometry = Geometry {
            header,
            used_blocks: bitmap.used(),
            data_end,
        };
        sink.begin(&geometry).map_err(ImageError::Sink)?;
        self.phase = if geometry.used_blocks == 0 {
            Phase::End
        } else {
            let placer = Placer::new(bitmap, geometry.block_size);
            match geometry.format {
                ImageFormat::Partclone0001 => Phase::V1(Box::new(V1Data::new(&geometry, placer))),
                ImageFormat::Partclone0002 => Phase::V2(V2Data::new(&geometry, placer)),
            }
        };
        self.geometry = Some(geometry);
        Ok(())
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
        let stored = checksum::u32_le(end);
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
