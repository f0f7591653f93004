//! A block device, or a file of whole sectors: direct I/O, a thread of its own, the head last.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, bail};
use disk::{RegionWriter, Shape, WriterOptions};
use image::{Geometry, ImageFormat, Sink, SinkError};

use super::commit::Target;
use super::place::Manner;
use super::trace::Trace;
use crate::commit::HeldHead;

/// A disk or partition that is written from its start to its end.
pub(super) struct Disk {
    target: disk::Target,
    writer: Option<RegionWriter>,
    head: HeldHead,
    /// Bytes added to every position.
    offset: u64,
    is_discarded: bool,
    manner: Manner,
    /// Raw data is a disk or partition as it was, down to its last sector.
    is_raw: bool,
    warnings: Vec<String>,
}

impl Disk {
    /// Opens it for nobody else. Nothing is written.
    ///
    /// # Errors
    /// It is in use, is another one than `shape` says, or has a partition table that is to be spared.
    pub(super) fn open(
        path: &Path,
        shape: &Shape,
        manner: Manner,
        trace: &Trace,
    ) -> anyhow::Result<Self> {
        let target = disk::Target::open(path, shape)?;
        spare_table(&target, manner)?;
        trace.follow(&target);
        Ok(Self {
            target,
            writer: None,
            head: HeldHead::default(),
            offset: 0,
            is_discarded: false,
            manner,
            is_raw: false,
            warnings: Vec::new(),
        })
    }

    /// Everything goes `offset` bytes further to the back.
    pub(super) fn moved(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// Its old content is of no more use.
    pub(super) fn discarded(self, is_discarded: bool) -> Self {
        Self {
            is_discarded,
            ..self
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.target.shape().size
    }
}

impl Sink for Disk {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        let size = self.size();
        check_end(geometry, self.offset, Some(size))?;
        self.is_raw = geometry.format == ImageFormat::Raw;
        if self.is_discarded && !self.target.discard()? {
            let name = self.target.path().display();
            self.warnings
                .push(format!("{name} cannot discard; written without"));
        }
        if self.manner != Manner::Original {
            self.target.clear_labels()?;
        }
        self.writer = Some(self.target.writer(0, size)?);
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let writer = self.writer.as_mut().ok_or("an extent before the header")?;
        let held = self.head.keep(offset, data);
        let at = position(self.offset, offset, data)?;
        writer.write_at(at, &vec![0; held])?;
        writer.write_at(at + held as u64, &data[held..])?;
        Ok(())
    }
}

impl Target for Disk {
    fn commit(self, _geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        let size = self.size();
        if let Some(writer) = self.writer {
            writer.finish()?;
            // All else is on the medium: now what makes it boot. The end of a writer is a sync.
            for group in self.head.groups() {
                let most = group.iter().map(|(_, piece)| piece.len()).max();
                let options = WriterOptions {
                    buffer_len: most.unwrap_or(0),
                    buffer_count: 2,
                };
                let mut writer = self.target.writer_with(0, size, &options)?;
                for (at, piece) in group {
                    writer.write_at(
                        position(self.offset, at, piece).map_err(anyhow::Error::from_boxed)?,
                        piece,
                    )?;
                }
                writer.finish()?;
            }
            if self.manner != Manner::Original && !self.is_raw {
                self.target.copy_ntfs_boot(0, size)?;
            }
        }
        Ok(self.warnings)
    }
}

/// Where on the target data for `offset` of the image goes.
///
/// # Errors
/// Its end cannot be expressed.
pub(super) fn position(moved: u64, offset: u64, data: &[u8]) -> Result<u64, SinkError> {
    offset
        .checked_add(moved)
        .filter(|position| position.checked_add(data.len() as u64).is_some())
        .ok_or_else(|| "the position with --offset added is beyond 2^64".into())
}

/// Refuses an image that ends beyond a device of `size` bytes, as far as its end is known.
///
/// # Errors
/// It does.
pub(super) fn check_end(
    geometry: &Geometry,
    moved: u64,
    size: Option<u64>,
) -> Result<(), SinkError> {
    if moved == 0 {
        // The decoder sees to that, also where the end is not known.
        return Ok(());
    }
    let end = geometry
        .data_end
        .checked_add(moved)
        .ok_or("--offset and the image's size together are beyond 2^64")?;
    match size {
        Some(size) if end > size => Err(format!(
            "with --offset {moved} the image's data ends at byte {end}, beyond the target's {size}"
        )
        .into()),
        _ => Ok(()),
    }
}

/// Refuses a disk with partitions, unless it is known that all of them are to go.
fn spare_table(target: &disk::Target, manner: Manner) -> anyhow::Result<()> {
    if manner
        != (Manner::Complete {
            may_destroy_table: false,
        })
    {
        return Ok(());
    }
    if let Some(old) = target.old_table()? {
        bail!(
            "it is a whole disk with {old}, which would be lost; name one of its partitions, or give \
             --whole-disk to overwrite all of the disk"
        );
    }
    Ok(())
}

/// Size and sectors of a block device, whole or partition.
///
/// # Errors
/// It cannot be opened, or sysfs does not know it.
pub fn device_shape(path: &Path, rdev: u64) -> anyhow::Result<Shape> {
    let mut file = File::open(path)?;
    let size = file
        .seek(SeekFrom::End(0))
        .context("finding the device's size")?;
    let (major, minor) = (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev));
    let node = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"));
    let node = node.context("looking for the device in sysfs")?;
    // A partition has no queue of its own.
    let sector = [Some(node.as_path()), node.parent()]
        .into_iter()
        .flatten()
        .find_map(|node| fs::read_to_string(node.join("queue/logical_block_size")).ok())
        .context("looking for the device's sector size in sysfs")?;
    let logical_sector = sector.trim().parse().context("reading the sector size")?;
    Ok(Shape {
        size,
        logical_sector,
    })
}
