//! What the decoders of the formats have in common.

use crate::bitmap::Bitmap;
use crate::error::{ImageError, Part};
use crate::geometry::{Compression, Geometry, Header};
use crate::options::Options;
use crate::report::Warnings;
use crate::sink::Sink;

/// The decoder of one format.
pub(crate) trait Machine: Send {
    /// Bytes that the next [`step`](Self::step) must be given at least. Changes with every step.
    fn need(&self) -> usize;

    /// Takes from `bytes`, which holds at least [`need`](Self::need) bytes, and says how many it
    /// took. If it takes none, it needs more than before.
    fn step(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, ImageError>;

    /// The image is complete.
    fn is_done(&self) -> bool;

    /// The input ends after `rest`, which is shorter than what was needed.
    fn finish(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Ended, ImageError>;

    /// What the image says of itself, as soon as that is known.
    fn header(&self) -> Option<&Header>;

    /// Bytes behind the end that may belong to the image.
    fn padding_len(&self) -> u64 {
        0
    }
}

/// What the end of the input means.
pub(crate) enum Ended {
    /// The image is complete after this many bytes of the rest.
    Complete(usize),
    /// It is not: what is missing, where that begins, its length, bytes of it that are there.
    Missing(Part, u64, u64, u64),
}

/// What every step needs beside its bytes.
pub(crate) struct Context<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    /// Offset in the image of the bytes at hand.
    pub(crate) offset: u64,
    pub(crate) options: &'a Options,
    pub(crate) compression: Compression,
    pub(crate) books: &'a mut Books,
}

/// What is known and what has been done.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) geometry: Option<Geometry>,
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

impl Context<'_> {
    /// Refuses, before the bitmap is read, an image that is larger than the target.
    pub(crate) fn check_size(&self, device_size: u64) -> Result<(), ImageError> {
        match self.options.target_size {
            Some(target_size) if self.options.check_size && device_size > target_size => {
                Err(ImageError::BeyondTarget {
                    device_size,
                    target_size,
                })
            }
            _ => Ok(()),
        }
    }

    /// Header and bitmap are good: the last checks, then the sink learns of the image.
    pub(crate) fn begin(
        &mut self,
        header: Header,
        bitmap: &Bitmap,
    ) -> Result<Geometry, ImageError> {
        // No overflow: the headers' parsers check that all blocks fit in 63 bits.
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
        self.announce(&geometry)?;
        Ok(geometry)
    }

    /// The sink learns of the image.
    pub(crate) fn announce(&mut self, geometry: &Geometry) -> Result<(), ImageError> {
        self.sink.begin(geometry).map_err(ImageError::Sink)?;
        self.books.geometry = Some(geometry.clone());
        Ok(())
    }
}
