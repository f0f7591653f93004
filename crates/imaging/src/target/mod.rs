//! What an image is written to: a block device or a regular file, or nothing when it is only checked.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use disk::{RegionWriter, Shape};
use image::{Geometry, ImageFormat, Sink, SinkError};

use crate::commit::{HEAD_LEN, HeldHead};

mod nowhere;
mod region;
mod trace;

pub use nowhere::Nowhere;
pub use region::{Gate, Region};
pub use trace::Trace;

/// Takes an image, and what it means that it was good.
pub trait Target: Sink {
    /// The image is complete and good: puts on the medium what has been handed over, and last of all what
    /// makes it bootable. Answers with what is to be told beside success.
    ///
    /// # Errors
    /// A write or the sync failed.
    fn commit(self, geometry: &Geometry) -> anyhow::Result<Vec<String>>;
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Place {
    /// Nothing is written.
    Nowhere,
    /// A block device, or a regular file.
    Path {
        /// Where it is.
        path: PathBuf,
        /// A file that does not exist is made, as long as the image's source was.
        is_created: bool,
        /// The device is told first that its old content is of no more use.
        is_discarded: bool,
        /// What is done besides.
        manner: Manner,
    },
}

/// What is done beside writing what the image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing, as the original programs.
    Original,
    /// Labels of earlier uses are cleared at both ends of the target, so that they do not win over the
    /// image's content; an NTFS gets the copies of its boot sector, which no image has.
    Complete {
        /// A partition table in the target may be overwritten; else it is refused.
        may_destroy_table: bool,
    },
}

/// The opened place; takes what the image holds.
pub struct Output {
    kind: Kind,
    /// Bytes that it has; `None` if it grows, or is none.
    size: Option<u64>,
    is_discarded: bool,
    manner: Manner,
    /// Raw data is a disk or partition as it was, down to its last sector.
    is_raw: bool,
    trace: Trace,
    /// Told beside success.
    warnings: Vec<String>,
}

enum Kind {
    Nowhere,
    /// With whole sectors: direct I/O, a thread of its own.
    Target {
        target: disk::Target,
        writer: Option<RegionWriter>,
        head: HeldHead,
    },
    /// A file of any length, and that length; `None` if the file is new.
    File(File, PathBuf, Option<u64>),
    /// A file that is made when the image is known to be good.
    New(PathBuf),
}

/// A file has no sectors of its own.
const FILE_SECTOR: u32 = 512;

impl Output {
    /// Opens the place. Nothing is written; what is later, `trace` tells.
    ///
    /// # Errors
    /// It does not exist, is in use, or is nothing that can be written.
    pub fn open(place: &Place, trace: &Trace) -> anyhow::Result<Self> {
        let (kind, size, is_discarded, manner) = match place {
            Place::Nowhere => (Kind::Nowhere, None, false, Manner::Original),
            Place::Path {
                path,
                is_created,
                is_discarded,
                manner,
            } => {
                let (kind, size) = open(path, *is_created, *manner)
                    .with_context(|| format!("opening the target {}", path.display()))?;
                (kind, size, *is_discarded, *manner)
            }
        };
        if let Kind::Target { target, .. } = &kind {
            trace.follow(target);
        }
        Ok(Self {
            kind,
            size,
            is_discarded,
            manner,
            is_raw: false,
            trace: trace.clone(),
            warnings: Vec::new(),
        })
    }

    /// Bytes that it has; `None` if it grows, or is none.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    fn begin_target(&mut self) -> Result<(), SinkError> {
        let is_cleared = self.manner != Manner::Original;
        if let Kind::File(file, path, Some(len)) = &self.kind
            && is_cleared
        {
            self.trace.touch();
            clear_labels(file, *len)
                .map_err(|error| format!("clearing both ends of {}: {error}", path.display()))?;
        }
        let Kind::Target { target, writer, .. } = &mut self.kind else {
            return Ok(());
        };
        if self.is_discarded && !target.discard()? {
            let name = target.path().display();
            self.warnings
                .push(format!("{name} cannot discard; written without"));
        }
        if is_cleared {
            target.clear_labels()?;
        }
        *writer = Some(target.writer(0, target.shape().size)?);
        Ok(())
    }
}

impl Target for Output {
    fn commit(self, geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        let is_completed = self.manner != Manner::Original && !self.is_raw;
        match self.kind {
            Kind::Nowhere | Kind::New(_) => {}
            Kind::Target {
                target,
                writer,
                head,
            } => {
                if let Some(writer) = writer {
                    writer.finish()?;
                    // All else is on the medium: now what makes it boot.
                    let mut writer = target.writer(0, target.shape().size.min(HEAD_LEN))?;
                    for (offset, piece) in head.into_pieces() {
                        writer.write_at(offset, &piece)?;
                    }
                    writer.finish()?;
                    if is_completed {
                        target.copy_ntfs_boot(0, target.shape().size)?;
                    }
                }
            }
            Kind::File(file, path, len) => {
                if is_completed {
                    // A new file is as long as the image says, and a copy of a sector longer.
                    let most = geometry.device_size.saturating_add(COPY_LEN);
                    copy_ntfs_boot(&file, len, most)
                        .with_context(|| format!("completing the NTFS in {}", path.display()))?;
                }
                file.sync_all()
                    .with_context(|| format!("syncing {}", path.display()))?;
                // Dropping the file would lose the error.
                nix::unistd::close(file).with_context(|| format!("closing {}", path.display()))?;
            }
        }
        Ok(self.warnings)
    }
}

impl Sink for Output {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        self.is_raw = geometry.format == ImageFormat::Raw;
        if let Kind::New(path) = &self.kind {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| format!("making {}: {error}", path.display()))?;
            self.trace.touch();
            // Raw data of unknown length makes it longer bit by bit.
            if geometry.format != ImageFormat::Raw {
                file.set_len(geometry.device_size)
                    .map_err(|error| format!("sizing {}: {error}", path.display()))?;
            }
            self.kind = Kind::File(file, path.clone(), None);
        }
        self.begin_target()
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        self.kind.extent(offset, data, &self.trace)
    }
}

impl Kind {
    fn extent(&mut self, offset: u64, data: &[u8], trace: &Trace) -> Result<(), SinkError> {
        match self {
            Self::Nowhere => {}
            Self::Target { writer, head, .. } => {
                let writer = writer.as_mut().ok_or("an extent before the header")?;
                let held = head.keep(offset, data)?;
                writer.write_at(offset, &vec![0; held])?;
                writer.write_at(offset + held as u64, &data[held..])?;
            }
            Self::File(file, path, _) => {
                trace.touch();
                file.write_all_at(data, offset).map_err(|error| {
                    let (len, path) = (data.len(), path.display());
                    format!("writing {len} bytes at offset {offset} of {path}: {error}")
                })?;
                trace.wrote(data.len());
            }
            Self::New(_) => return Err("an extent before the header".into()),
        }
        Ok(())
    }
}

/// The opened path and its size.
fn open(path: &Path, is_created: bool, manner: Manner) -> anyhow::Result<(Kind, Option<u64>)> {
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ensure!(
                is_created,
                "it does not exist; --create makes a file as long as the image's source"
            );
            spare_dev(path, Path::new("/dev"))?;
            return Ok((Kind::New(path.to_owned()), None));
        }
        Err(error) => return Err(error.into()),
    };
    if meta.file_type().is_block_device() {
        let shape = device_shape(path, meta.rdev())?;
        let target = disk::Target::open(path, &shape)?;
        spare_table(&target, manner)?;
        return Ok((whole(target), Some(shape.size)));
    }
    if !meta.is_file() {
        bail!("it is neither a block device nor a regular file");
    }
    let size = meta.len();
    if size > 0 && size.is_multiple_of(FILE_SECTOR.into()) {
        let logical_sector = FILE_SECTOR;
        let shape = Shape {
            size,
            logical_sector,
        };
        let target = disk::Target::open(path, &shape)?;
        spare_table(&target, manner)?;
        return Ok((whole(target), Some(size)));
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if let Some(by) = disk::uses_of(path)?.first() {
        bail!("it is in use: {by}");
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => bail!("another program has locked it"),
        Err(fs::TryLockError::Error(error)) => return Err(error).context("locking it"),
    }
    Ok((Kind::File(file, path.to_owned(), Some(size)), Some(size)))
}

/// Refuses a path that does not exist where it would be a device that is missing, or misspelt.
///
/// # Errors
/// A file there would be made among the devices.
pub fn ensure_may_be_made(path: &Path) -> anyhow::Result<()> {
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            spare_dev(path, Path::new("/dev"))
        }
        _ => Ok(()),
    }
}

/// `dev` itself counts, not what is mounted below it, such as /dev/shm.
fn spare_dev(path: &Path, dev: &Path) -> anyhow::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let (Ok(parent), Ok(dev)) = (fs::canonicalize(parent), fs::canonicalize(dev)) else {
        // Making the file fails, and says why.
        return Ok(());
    };
    let file_system = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
    ensure!(
        !(parent.starts_with(&dev) && file_system(&parent) == file_system(&dev)),
        "there is no such device, and no file is made in {}",
        parent.display()
    );
    Ok(())
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

fn clear_labels(file: &File, len: u64) -> std::io::Result<()> {
    let zeroes = vec![0; 1 << 20];
    for range in disk::label_ranges(len, []) {
        for at in range.clone().step_by(zeroes.len()) {
            let count = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            file.write_all_at(&zeroes[..count.min(zeroes.len())], at)?;
        }
    }
    Ok(())
}

/// Longest sector of an NTFS.
const COPY_LEN: u64 = 4096;

/// In a file of `len` bytes, or one that becomes as long as its volume, up to `most`.
fn copy_ntfs_boot(file: &File, len: Option<u64>, most: u64) -> std::io::Result<()> {
    let mut first = vec![0; disk::NTFS_BOOT_LEN_MAX];
    let count = first
        .len()
        .min(usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX));
    file.read_exact_at(&mut first[..count], 0)?;
    let copies = disk::boot_copies(&first[..count], len);
    if let Some(copies) = copies.filter(|copies| len.is_some() || copies.volume_len <= most) {
        for offset in copies.offsets {
            file.write_all_at(&copies.sector, offset)?;
        }
    }
    Ok(())
}

fn whole(target: disk::Target) -> Kind {
    Kind::Target {
        target,
        writer: None,
        head: HeldHead::default(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unexpected_is_opened() {
        let open = |path: &str, is_created| {
            let place = Place::Path {
                path: path.into(),
                is_created,
                is_discarded: false,
                manner: Manner::Original,
            };
            let error = Output::open(&place, &Trace::default());
            let error = error.err().unwrap();
            format!("{error:#}")
        };
        assert!(open("/dev/null", false).contains("neither"));
        assert!(open("/dev/sd-misspelt", true).contains("no such device"));
        assert!(open("/nonexistent/x", false).contains("--create"));
    }

    #[test]
    fn a_file_is_made_beside_the_devices_only_on_another_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("block");
        fs::create_dir(&inner).unwrap();
        assert!(spare_dev(&dir.path().join("sdx"), dir.path()).is_err());
        assert!(spare_dev(&inner.join("sdx"), dir.path()).is_err());
        assert!(spare_dev(Path::new("/proc/x"), Path::new("/")).is_ok());
        assert!(spare_dev(Path::new("x"), dir.path()).is_ok());
        let text = spare_dev(Path::new("/dev/sd-misspelt"), Path::new("/dev"));
        assert!(text.unwrap_err().to_string().contains("/dev"));
    }
}
