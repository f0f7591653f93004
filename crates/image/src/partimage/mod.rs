//! The partimage decoder, format 0.6: volume header, main header, sections that begin with magic
//! characters, data with a record behind every 64 KiB, and a tail with a sum over everything.

mod data;
mod format;
mod header;
mod volumes;

use std::mem;

use self::data::Data;
use self::format::{
    BITMAP_MAGIC, BOOT_MAGIC, BOOT_RECORD, DATA_MAGIC, EXTENSION_MAGICS, INFORMATION_MAGIC,
    LOCAL_MAGIC, STRUCTURE, SUM, VOLUME_HEADER, byte_sum, expect_magic, extension_magic,
};
use self::header::{LocalHeader, MainHeader};
use self::volumes::{Cut, Volumes};
use crate::bitmap::BitmapBuilder;
use crate::bytes::u32_at;
use crate::error::{ImageError, Part};
use crate::geometry::Header;
use crate::machine::{Context, Ended, Machine};
use crate::place::Placer;

/// Decodes one image, of one volume or of several one after the other.
pub(crate) struct Partimage {
    phase: Phase,
    volumes: Volumes,
    /// Bytes that the unit at hand needs beside its own: volume headers in it.
    extra: usize,
    /// Sum of all bytes from the main header to the characters before the tail.
    sum: u64,
    main: Option<MainHeader>,
    header: Option<Header>,
    local: Option<LocalHeader>,
    bitmap: Option<BitmapBuilder>,
    /// Holds a unit without the volume headers in it.
    scratch: Vec<u8>,
}

/// What comes next: one unit of a known length, or bytes to be passed over.
enum Phase {
    Volume,
    Main,
    BootMagic,
    BootRecords {
        left: u64,
    },
    /// The magic characters and the length of an extension.
    Extension(u8),
    ExtensionData {
        number: u8,
        left: u64,
    },
    Local,
    BitmapMagic,
    Bitmap {
        left: u64,
    },
    /// Bytes of the bitmap behind the last block.
    BitmapRest {
        left: u64,
    },
    Information,
    DataMagic,
    Data(Box<Data>),
    Done,
}

/// Most bytes taken at once of what is only passed over, or of a bitmap.
const PIECE: u64 = 64 << 10;

impl Partimage {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Volume,
            volumes: Volumes::default(),
            extra: 0,
            sum: 0,
            main: None,
            header: None,
            local: None,
            bitmap: None,
            scratch: Vec::new(),
        }
    }

    /// Bytes of the unit at hand, without volume headers.
    fn unit(&self) -> usize {
        let piece = |left: u64| usize::try_from(left.min(PIECE)).unwrap_or(0);
        match &self.phase {
            Phase::Volume => VOLUME_HEADER,
            Phase::Main => STRUCTURE + SUM,
            Phase::BootMagic => BOOT_MAGIC.len(),
            Phase::Extension(number) => extension_magic(*number).len() + 4,
            Phase::Local => LOCAL_MAGIC.len() + STRUCTURE + SUM,
            Phase::BitmapMagic => BITMAP_MAGIC.len(),
            Phase::Information => INFORMATION_MAGIC.len() + STRUCTURE + SUM,
            Phase::DataMagic => DATA_MAGIC.len(),
            Phase::BootRecords { left }
            | Phase::ExtensionData { left, .. }
            | Phase::Bitmap { left }
            | Phase::BitmapRest { left } => piece(*left),
            Phase::Data(data) => data.unit(),
            Phase::Done => 0,
        }
    }

    /// Takes one unit.
    fn take(&mut self, unit: &[u8], context: &mut Context<'_>) -> Result<(), ImageError> {
        let next = match &mut self.phase {
            Phase::Volume => {
                self.volumes.begin(unit)?;
                Phase::Main
            }
            Phase::Main => {
                let main = header::main(unit, context.offset)?;
                // Before anything is made of the other fields: a hostile image shall cost nothing.
                context.check_size(main.partition_size)?;
                self.sum = byte_sum(unit);
                self.main = Some(main);
                Phase::BootMagic
            }
            Phase::BootMagic => {
                expect_magic(unit, BOOT_MAGIC, context.offset)?;
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                let count = self.main.as_ref().map_or(0, |main| main.boot_records);
                after_boot_records(u64::from(count) * BOOT_RECORD)
            }
            Phase::BootRecords { left } => {
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                after_boot_records(left.saturating_sub(unit.len() as u64))
            }
            Phase::Extension(number) => {
                let (magic, len) = unit.split_at(unit.len().saturating_sub(4));
                expect_magic(magic, extension_magic(*number), context.offset)?;
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                after_extension(*number, u32_at(len, 0).into())
            }
            Phase::ExtensionData { number, left } => {
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                after_extension(*number, left.saturating_sub(unit.len() as u64))
            }
            Phase::Local => {
                let (magic, structure) = unit.split_at(LOCAL_MAGIC.len());
                expect_magic(magic, LOCAL_MAGIC, context.offset)?;
                let offset = context.offset + magic.len() as u64;
                let main = self.main.as_ref().ok_or(ImageError::Stopped)?;
                let (local, header) = header::local(structure, offset, main, context.compression)?;
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                let memory_max = context.options.bitmap_memory_max;
                self.bitmap = Some(BitmapBuilder::new(header.total_blocks, memory_max));
                self.header = Some(header);
                self.local = Some(local);
                Phase::BitmapMagic
            }
            Phase::BitmapMagic => {
                expect_magic(unit, BITMAP_MAGIC, context.offset)?;
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                Phase::Bitmap {
                    left: self.local.as_ref().map_or(0, |local| local.bitmap_len),
                }
            }
            Phase::Bitmap { left } => {
                let bitmap = self.bitmap.as_mut().ok_or(ImageError::Stopped)?;
                bitmap.push_bits(unit)?;
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                match left.saturating_sub(unit.len() as u64) {
                    0 => after_bitmap(self.local.as_ref().map_or(0, |local| local.bitmap_rest)),
                    left => Phase::Bitmap { left },
                }
            }
            Phase::BitmapRest { left } => {
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                after_bitmap(left.saturating_sub(unit.len() as u64))
            }
            Phase::Information => {
                let (magic, structure) = unit.split_at(INFORMATION_MAGIC.len());
                expect_magic(magic, INFORMATION_MAGIC, context.offset)?;
                let offset = context.offset + magic.len() as u64;
                header::check_sum(structure, Part::Information, offset)?;
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                Phase::DataMagic
            }
            Phase::DataMagic => {
                expect_magic(unit, DATA_MAGIC, context.offset)?;
                self.sum = self.sum.wrapping_add(byte_sum(unit));
                let bitmap = self.bitmap.take().ok_or(ImageError::Stopped)?.finish()?;
                let header = self.header.clone().ok_or(ImageError::Stopped)?;
                let geometry = context.begin(header, &bitmap)?;
                let placer = Placer::new(bitmap, geometry.block_size);
                Phase::Data(Box::new(Data::new(&geometry, placer)))
            }
            Phase::Data(data) => {
                data.take(unit, &mut self.sum, self.volumes.count(), context)?;
                if !data.is_done() {
                    return Ok(());
                }
                Phase::Done
            }
            Phase::Done => return Ok(()),
        };
        self.phase = next;
        Ok(())
    }

    /// Takes a unit if `bytes` has it, and says how many bytes that were. `None`: it needs more, and
    /// [`Machine::need`] says how many.
    fn try_take(
        &mut self,
        bytes: &[u8],
        is_end: bool,
        context: &mut Context<'_>,
    ) -> Result<Option<usize>, ImageError> {
        let len = self.unit();
        if matches!(self.phase, Phase::Volume) {
            let Some(unit) = bytes.get(..len) else {
                return Ok(None);
            };
            self.take(unit, context)?;
            return Ok(Some(len));
        }
        match self.volumes.cut(bytes, len, is_end, context.offset)? {
            Cut::Needs(needed) => {
                self.extra = needed.saturating_sub(len);
                Ok(None)
            }
            Cut::Clean(unit) => {
                self.take(unit, context)?;
                self.extra = 0;
                Ok(Some(len))
            }
            Cut::Headers(places) => {
                let mut scratch = mem::take(&mut self.scratch);
                scratch.clear();
                let (mut from, end) = (0, len + places.len() * VOLUME_HEADER);
                for place in places.iter().copied().chain([end]) {
                    scratch.extend_from_slice(bytes.get(from..place).unwrap_or_default());
                    from = place + VOLUME_HEADER;
                }
                self.take(&scratch, context)?;
                self.scratch = scratch;
                self.extra = 0;
                Ok(Some(end))
            }
        }
    }
}

impl Machine for Partimage {
    fn need(&self) -> usize {
        (self.unit() + self.extra).max(1)
    }

    fn step(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, ImageError> {
        self.try_take(bytes, false, context)
            .map(Option::unwrap_or_default)
    }

    fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    fn finish(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Ended, ImageError> {
        // What looked like the beginning of a volume header is none, as nothing follows.
        let (mut rest, mut taken) = (rest, 0);
        while !self.is_done() {
            let Some(len) = self.try_take(rest, true, context)? else {
                break;
            };
            taken += len;
            context.offset += len as u64;
            rest = rest.get(len..).unwrap_or_default();
        }
        let (offset, found, unit) = (context.offset, rest.len() as u64, self.unit() as u64);
        let part = match &self.phase {
            Phase::Volume => Part::VolumeHeader,
            Phase::Main => Part::MainHeader,
            Phase::BootMagic | Phase::BootRecords { .. } => Part::BootRecords,
            Phase::Extension(number) | Phase::ExtensionData { number, .. } => {
                Part::Extension(*number)
            }
            Phase::Local => Part::LocalHeader,
            Phase::BitmapMagic | Phase::Bitmap { .. } | Phase::BitmapRest { .. } => Part::Bitmap,
            Phase::Information => Part::Information,
            Phase::DataMagic => Part::DataMagic,
            Phase::Data(data) => {
                let (part, offset, needed, found) = data.locate_end(offset, found);
                return Ok(Ended::Missing(part, offset, needed, found));
            }
            Phase::Done => return Ok(Ended::Complete(taken)),
        };
        Ok(Ended::Missing(part, offset, unit, found))
    }

    fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }
}

fn after_boot_records(left: u64) -> Phase {
    match left {
        0 => Phase::Extension(0),
        left => Phase::BootRecords { left },
    }
}

fn after_extension(number: u8, left: u64) -> Phase {
    match left {
        0 if usize::from(number) + 1 == EXTENSION_MAGICS.len() => Phase::Local,
        0 => Phase::Extension(number + 1),
        left => Phase::ExtensionData { number, left },
    }
}

fn after_bitmap(left: u64) -> Phase {
    match left {
        0 => Phase::Information,
        left => Phase::BitmapRest { left },
    }
}
