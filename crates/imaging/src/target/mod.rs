//! What an image is written to: a block device or a file, a region of a disk, or nothing when it is only
//! checked.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context as _, bail};
use disk::Shape;
use image::{Geometry, Sink, SinkError};

mod commit;
mod file;
mod none;
mod place;
mod region;
mod trace;
mod whole;
mod writer;

use file::Cached;
use whole::Disk;

pub use commit::Target;
pub use none::Nowhere;
pub use place::{Creation, Demands, Manner, Place};
pub use region::{Gate, Region};
pub use trace::Trace;
pub use whole::device_shape;

/// The opened place; takes what the image holds.
pub struct Output {
    kind: Kind,
    trace: Trace,
}

enum Kind {
    Nowhere(Nowhere),
    Disk(Box<Disk>),
    Cached(Box<Cached>),
}

/// A file has no sectors of its own.
const FILE_SECTOR: u32 = 512;

impl Output {
    /// Opens the place. Nothing is written, but a file may be made or emptied; `trace` reports that, and
    /// what is written later.
    ///
    /// # Errors
    /// It does not exist, is in use, or is nothing that can be written.
    pub fn open(place: &Place, demands: &Demands, trace: &Trace) -> anyhow::Result<Self> {
        let kind = match place {
            Place::Nowhere => Kind::Nowhere(Nowhere),
            Place::StandardOutput => {
                Kind::Cached(Box::new(Cached::standard_output(demands, trace)))
            }
            Place::Path {
                path,
                creation,
                is_discarded,
                manner,
            } => {
                let kind = open(path, *creation, *manner, demands, trace)
                    .with_context(|| format!("opening the target {}", path.display()))?;
                match kind {
                    Kind::Disk(disk) => Kind::Disk(Box::new(
                        disk.moved(demands.offset).discarded(*is_discarded),
                    )),
                    other => other,
                }
            }
        };
        Ok(Self {
            kind,
            trace: trace.clone(),
        })
    }

    /// Bytes that the image must fit in; `None` if the target grows, or is none.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match &self.kind {
            Kind::Nowhere(_) => None,
            Kind::Disk(disk) => Some(disk.size()),
            Kind::Cached(cached) => cached.size(),
        }
    }

    fn sink(&mut self) -> &mut dyn Sink {
        match &mut self.kind {
            Kind::Nowhere(none) => none,
            Kind::Disk(disk) => disk.as_mut(),
            Kind::Cached(cached) => cached.as_mut(),
        }
    }
}

impl Sink for Output {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        self.sink().begin(geometry)
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        self.sink().extent(offset, data)
    }
}

impl Target for Output {
    fn commit(self, geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        let warnings = match self.kind {
            Kind::Nowhere(none) => none.commit(geometry),
            Kind::Disk(disk) => disk.commit(geometry),
            Kind::Cached(cached) => cached.commit(geometry),
        }?;
        self.trace.complete();
        Ok(warnings)
    }
}

fn open(
    path: &Path,
    creation: Creation,
    manner: Manner,
    demands: &Demands,
    trace: &Trace,
) -> anyhow::Result<Kind> {
    let meta = match path.metadata() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        found => found.ok(),
    };
    let whole = |shape| Disk::open(path, &shape, manner, trace).map(|disk| Kind::Disk(disk.into()));
    let cached = |cached| Ok(Kind::Cached(Box::new(cached)));
    if let Some(meta) = &meta
        && meta.file_type().is_block_device()
    {
        if creation == Creation::Emptied {
            bail!("it is no plain file; leave out -W to write to a device");
        }
        // After a write that failed, a disk's own thread writes nothing more.
        if demands.skip.is_none() {
            match device_shape(path, meta.rdev()) {
                Ok(shape) => return whole(shape),
                // Where sysfs does not know it, an original program writes all the same.
                Err(_) if manner == Manner::Original => {}
                Err(error) => return Err(error),
            }
        }
        return cached(Cached::device(path, manner, demands, trace)?);
    }
    let is_kept = matches!(creation, Creation::Never | Creation::WhenNeeded);
    if let Some(meta) = &meta
        && is_kept
    {
        if !meta.is_file() {
            bail!("it is neither a block device nor a regular file");
        }
        let size = meta.len();
        if size > 0 && size.is_multiple_of(FILE_SECTOR.into()) {
            return whole(Shape {
                size,
                logical_sector: FILE_SECTOR,
            });
        }
    }
    cached(Cached::named(path, creation, manner, demands, trace)?)
}

#[cfg(test)]
mod tests;
