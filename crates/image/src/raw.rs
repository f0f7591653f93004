//! A disk or partition as it is, without any format: every byte counts, zeroes too.

use crate::error::{ImageError, Part};
use crate::geometry::{BitmapMode, ChecksumMode, Geometry, Header, ImageFormat};
use crate::machine::{Context, Ended, Machine};
use crate::magic::could_be_image;

pub(crate) struct Raw {
    /// Bytes that there should be, if known.
    len: Option<u64>,
    taken: u64,
    header: Option<Header>,
}

/// Bytes that tell an image from raw data.
const LOOK: usize = 16;

impl Raw {
    pub(crate) fn new(len: Option<u64>) -> Self {
        Self {
            len,
            taken: 0,
            header: None,
        }
    }

    fn begin(&mut self, first: &[u8], context: &mut Context<'_>) -> Result<(), ImageError> {
        if first.len() >= LOOK && could_be_image(first.get(..LOOK).unwrap_or(first)) {
            return Err(ImageError::NotRaw);
        }
        let len = self.len.unwrap_or(0);
        let header = Header {
            format: ImageFormat::Raw,
            compression: context.compression,
            writer: None,
            word_bits: None,
            filesystem: String::new(),
            device_size: len,
            block_size: 1,
            total_blocks: len,
            claimed_used_blocks: len,
            checksum: ChecksumMode::None,
            strip_blocks: 0,
            is_reseeded: false,
            bitmap: BitmapMode::None,
        };
        context.check_size(len)?;
        let data_end = self.len.or(context.options.target_size);
        let geometry = Geometry {
            header: header.clone(),
            used_blocks: len,
            data_end: data_end.unwrap_or(u64::MAX),
        };
        context.announce(&geometry)?;
        self.header = Some(header);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<(), ImageError> {
        if self.header.is_none() {
            self.begin(bytes, context)?;
        }
        let end = self.taken.saturating_add(bytes.len() as u64);
        if let Some(target_size) = context.options.target_size
            && end > target_size
        {
            return Err(ImageError::RawBeyondTarget { target_size });
        }
        if let Some(expected) = self.len
            && end > expected
        {
            return Err(ImageError::RawTooLong { expected });
        }
        if !bytes.is_empty() {
            let sink = &mut context.sink;
            sink.extent(self.taken, bytes).map_err(ImageError::Sink)?;
            context.books.tally.extents += 1;
            context.books.tally.output_len = end;
        }
        self.taken = end;
        Ok(())
    }
}

impl Machine for Raw {
    fn need(&self) -> usize {
        if self.header.is_none() { LOOK } else { 1 }
    }

    fn step(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, ImageError> {
        self.take(bytes, context)?;
        Ok(bytes.len())
    }

    fn is_done(&self) -> bool {
        false
    }

    fn finish(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Ended, ImageError> {
        let end = self.taken.saturating_add(rest.len() as u64);
        let needed = self.len.unwrap_or(1);
        // An empty stream is no image of anything.
        if end < needed.max(1) {
            return Ok(Ended::Missing(Part::RawData, 0, needed.max(1), end));
        }
        self.take(rest, context)?;
        if let Some(geometry) = &mut context.books.geometry
            && self.len.is_none()
        {
            // Now it is known.
            geometry.header.device_size = end;
            geometry.header.total_blocks = end;
            geometry.header.claimed_used_blocks = end;
            geometry.used_blocks = end;
            geometry.data_end = end;
        }
        Ok(Ended::Complete(rest.len()))
    }

    fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }
}
