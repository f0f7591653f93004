//! A part of a disk. What makes the disk bootable is written by whoever has all parts.

use disk::{RegionWriter, WriteError};
use image::{Geometry, Sink, SinkError};

/// Called when the image in a stream is known, before anything is written.
pub type Gate<'a> = Box<dyn FnMut(&Geometry) -> Result<(), SinkError> + 'a>;

/// Takes an image for one region of a disk. Dropped without an end, it leaves the disk unable to become
/// bootable.
pub struct Region<'a> {
    disk: &'a disk::Target,
    offset: u64,
    len: u64,
    gate: Gate<'a>,
    writer: Option<RegionWriter>,
}

impl<'a> Region<'a> {
    /// `len` bytes at `offset` of `disk`; `gate` may refuse the image.
    #[must_use]
    pub fn new(disk: &'a disk::Target, offset: u64, len: u64, gate: Gate<'a>) -> Self {
        Self {
            disk,
            offset,
            len,
            gate,
            writer: None,
        }
    }

    /// The image is complete and good: puts it on the medium.
    ///
    /// # Errors
    /// A write or the sync failed.
    pub fn commit(self) -> Result<(), WriteError> {
        self.writer
            .map_or(Ok(()), |writer| writer.finish().map(drop))
    }

    /// Lets go of the region, which may be written again from its start.
    ///
    /// # Errors
    /// A write failed: then there is no second chance.
    pub fn abandon(self) -> Result<(), WriteError> {
        self.writer.map_or(Ok(()), RegionWriter::abandon)
    }
}

impl Sink for Region<'_> {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        (self.gate)(geometry)?;
        self.writer = Some(self.disk.writer(self.offset, self.len)?);
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let writer = self.writer.as_mut().ok_or("an extent before the header")?;
        writer.write_at(offset, data)?;
        Ok(())
    }
}
