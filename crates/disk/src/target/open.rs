//! Opening the disk: exclusively, and only if it still is the one that was chosen.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use super::buffer::AlignedBuffer;
use super::device::Device;
use super::writer::{RegionWriter, WriterOptions};
use super::{OpenError, Operation, WriteError};
use crate::probe::{Disk, InUse, Roots, of_target, probe_in, uses_of};
use crate::sys;
use crate::table::Shape;

/// A disk (or a regular file in its place) opened for being overwritten.
///
/// A block device is held exclusively (`O_EXCL`): while the target lives, the kernel refuses to mount
/// the disk or a partition of it, and opening fails when somebody already has. A regular file is
/// locked.
#[derive(Debug)]
pub struct Target {
    pub(super) device: Arc<Device>,
}

/// What a path names, and whether that is a block device.
///
/// # Errors
/// It is neither that nor a regular file, or cannot be looked at.
pub(crate) fn look(path: &Path) -> Result<(Metadata, bool), OpenError> {
    let named = path
        .metadata()
        .map_err(|error| fault(path, "looking at", error))?;
    let is_block = named.file_type().is_block_device();
    match is_block || named.is_file() {
        true => Ok((named, is_block)),
        false => Err(OpenError::Kind {
            path: path.to_owned(),
        }),
    }
}

/// What was opened, if it still is what was looked at.
///
/// # Errors
/// The path names something else by now.
pub(crate) fn same(path: &Path, file: &File, named: &Metadata) -> Result<Metadata, OpenError> {
    let opened = file
        .metadata()
        .map_err(|error| fault(path, "looking at", error))?;
    match identity(named) == identity(&opened) {
        true => Ok(opened),
        false => Err(changed(path, "identity", "the same", "replaced meanwhile")),
    }
}

/// Refuses what something on this machine uses.
///
/// # Errors
/// It is in use, or that cannot be found out.
pub(crate) fn unused(path: &Path, opened: &Metadata) -> Result<(), OpenError> {
    let uses = of_target(&Roots::default(), opened)
        .map_err(|error| fault(path, "looking for users of", io::Error::other(error)))?;
    match uses.is_empty() {
        true => Ok(()),
        false => Err(in_use(path, &uses)),
    }
}

/// A call that failed.
pub(crate) fn fault(path: &Path, what: &'static str, source: io::Error) -> OpenError {
    OpenError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

impl Target {
    /// Opens a block device or a regular file of exactly the expected shape. A regular file has no
    /// sectors of its own; its length must be a multiple of the expected ones.
    ///
    /// Direct I/O is used where it works with the logical sector size, else the page cache.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing has been written.
    pub fn open(path: &Path, expect: &Shape) -> Result<Self, OpenError> {
        Self::open_with(path, expect, Caching::Avoid)
    }

    pub(super) fn open_with(
        path: &Path,
        expect: &Shape,
        caching: Caching,
    ) -> Result<Self, OpenError> {
        let io = |what, source| fault(path, what, source);
        let (named, is_block) = look(path)?;
        let (file, is_direct) = open_best(path, is_block, expect.logical_sector, caching)?;
        let opened = same(path, &file, &named)?;
        if is_block && sys::is_read_only(&file).map_err(|error| io("asking about", error))? {
            return Err(OpenError::ReadOnly {
                path: path.to_owned(),
            });
        }
        unused(path, &opened)?;
        let found = if is_block {
            Shape {
                size: sys::device_size(&file).map_err(|error| io("asking the size of", error))?,
                logical_sector: sys::logical_sector(&file)
                    .map_err(|error| io("asking the sector size of", error))?,
            }
        } else {
            Shape {
                size: opened.len(),
                logical_sector: expect.logical_sector,
            }
        };
        if found.size != expect.size {
            return Err(changed(path, "size", expect.size, found.size));
        }
        if found.logical_sector != expect.logical_sector {
            let (was, is) = (expect.logical_sector, found.logical_sector);
            return Err(changed(path, "sector size", was, is));
        }
        let sector = u64::from(found.logical_sector);
        if !sector.is_power_of_two() || sector < 512 || found.size == 0 || found.size % sector != 0
        {
            return Err(OpenError::Length {
                path: path.to_owned(),
                len: found.size,
                sector,
            });
        }
        Ok(Self {
            device: Arc::new(Device::new(
                path.to_owned(),
                file,
                found,
                is_block,
                is_direct,
            )),
        })
    }

    /// Opens a probed disk after looking at it again: device number, size, sector size, serial number
    /// and WWN must be the probed ones, and nobody may have begun to use it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing has been written.
    pub fn open_disk(disk: &Disk) -> Result<Self, OpenError> {
        Self::open_disk_in(&Roots::default(), disk)
    }

    fn open_disk_in(roots: &Roots, disk: &Disk) -> Result<Self, OpenError> {
        let target = Self::open(&disk.path, &disk.shape())?;
        // Looked at once more while it is held: nothing can change behind this.
        let path = disk.path.as_path();
        let rdev = target
            .device
            .file
            .metadata()
            .map_err(|source| OpenError::Io {
                what: "looking at",
                path: path.to_owned(),
                source,
            })?
            .rdev();
        let number = (major(rdev), minor(rdev));
        let expected = (u64::from(disk.major), u64::from(disk.minor));
        if number != expected {
            let text = |(major, minor)| format!("{major}:{minor}");
            return Err(changed(path, "device number", text(expected), text(number)));
        }
        let now = probe_in(roots).map_err(|error| OpenError::Io {
            what: "probing",
            path: path.to_owned(),
            source: io::Error::other(error),
        })?;
        let Some(now) = now.iter().find(|now| now.name == disk.name) else {
            return Err(changed(path, "presence", "present", "gone"));
        };
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        for (what, was, is) in [
            ("serial number", &disk.serial, &now.serial),
            ("WWN", &disk.wwn, &now.wwn),
        ] {
            if was != is {
                return Err(changed(path, what, or_none(was), or_none(is)));
            }
        }
        if !now.in_use.is_empty() {
            return Err(in_use(path, &now.in_use));
        }
        Ok(target)
    }

    /// The device node or file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.device.path
    }

    /// Capacity and sector size.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.device.shape
    }

    /// Whether reads and writes bypass the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.device.is_direct
    }

    /// Bytes of data written so far by all writers of this target, for progress displays.
    #[must_use]
    pub fn bytes_written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.device.written)
    }

    /// Whether the content may have been changed: set before the first write, and by a discard.
    #[must_use]
    pub fn touched(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.device.touched)
    }

    /// Tells the disk that its whole content is of no more use, which frees the blocks of flash memory
    /// and of thinly provided storage. What is read from there afterwards is undefined: a discard
    /// does not promise zeroes (ioctl `BLKDISCARD`, `block/ioctl.c`). `Ok(false)`: the disk cannot do
    /// that, or it is a regular file.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`] when the disk can do it in principle and failed.
    pub fn discard(&self) -> Result<bool, WriteError> {
        if !self.device.is_block {
            return Ok(false);
        }
        let len = self.device.shape.size;
        match sys::discard(&self.device.file, 0, len) {
            Ok(()) => {
                self.device.touch();
                Ok(true)
            }
            Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => Ok(false),
            Err(source) => {
                // It may have come half way.
                self.device.touch();
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                Err(self.device.failed(Operation::Discard, 0, len, source))
            }
        }
    }

    /// Starts a thread that writes to `[offset, offset + len)` and nowhere else.
    ///
    /// # Errors
    ///
    /// [`WriteError::NoSuchRegion`] when the region is not on the disk or not made of whole sectors,
    /// [`WriteError::Thread`] when no thread can be had.
    pub fn writer(&self, offset: u64, len: u64) -> Result<RegionWriter, WriteError> {
        self.writer_with(offset, len, &WriterOptions::default())
    }

    /// [`Target::writer`] with buffers of one's own choice.
    ///
    /// # Errors
    ///
    /// As [`Target::writer`].
    pub fn writer_with(
        &self,
        offset: u64,
        len: u64,
        options: &WriterOptions,
    ) -> Result<RegionWriter, WriteError> {
        RegionWriter::start(&self.device, offset, len, options)
    }
}

/// Whether the page cache is to be bypassed where that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caching {
    Avoid,
    /// As on a file system that knows no direct I/O.
    #[cfg(test)]
    Use,
}

/// Opens with direct I/O if a sector can be read that way, else without.
fn open_best(
    path: &Path,
    is_block: bool,
    sector: u32,
    caching: Caching,
) -> Result<(File, bool), OpenError> {
    // O_EXCL without O_CREAT is defined for block devices only (open(2)).
    let exclusive = if is_block {
        OFlag::O_EXCL
    } else {
        OFlag::empty()
    };
    let open = |flags: OFlag| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((flags | OFlag::O_CLOEXEC).bits())
            .open(path)
    };
    let failed = |error: io::Error| match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EBUSY => busy(path),
        Errno::EROFS => OpenError::ReadOnly {
            path: path.to_owned(),
        },
        // As newer kernels answer for a device that is write-protected.
        Errno::EACCES | Errno::EPERM if is_block && is_read_only(path) => OpenError::ReadOnly {
            path: path.to_owned(),
        },
        _ => OpenError::Io {
            what: "opening",
            path: path.to_owned(),
            source: error,
        },
    };
    let lock = |file: &File| match file.try_lock() {
        _ if is_block => Ok(()),
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
            reason: "another program has locked the file".to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io {
            what: "locking",
            path: path.to_owned(),
            source,
        }),
    };
    let direct = match caching {
        Caching::Avoid => open(exclusive | OFlag::O_DIRECT),
        #[cfg(test)]
        Caching::Use => Err(io::Error::from(Errno::EINVAL)),
    };
    match direct {
        Ok(file) => {
            if can_read_sector(&file, sector) {
                lock(&file)?;
                return Ok((file, true));
            }
        }
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
        Err(error) => return Err(failed(error)),
    }
    let file = open(exclusive).map_err(failed)?;
    lock(&file)?;
    Ok((file, false))
}

/// Whether direct I/O takes single logical sectors. File systems may ask for larger units than the
/// sectors that a file stands in for; edges could then not be written without touching neighbours.
fn can_read_sector(file: &File, sector: u32) -> bool {
    let Ok(sector) = usize::try_from(sector) else {
        return false;
    };
    let mut buffer = AlignedBuffer::new(sector);
    match file.read_at(buffer.as_mut_slice(), sector as u64) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() != Some(Errno::EINVAL as i32),
    }
}

/// What makes two looks at a path looks at the same thing.
fn identity(metadata: &Metadata) -> (u64, u64, u64) {
    if metadata.file_type().is_block_device() {
        (0, 0, metadata.rdev())
    } else {
        (metadata.dev(), metadata.ino(), 0)
    }
}

fn changed(
    path: &Path,
    what: &'static str,
    expected: impl ToString,
    found: impl ToString,
) -> OpenError {
    OpenError::Changed {
        path: path.to_owned(),
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn is_read_only(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| sys::is_read_only(&file).unwrap_or(false))
}

/// Names the users of a device that could not be had exclusively, as far as they can be found.
pub(crate) fn busy(path: &Path) -> OpenError {
    match uses_of(path) {
        Ok(uses) if !uses.is_empty() => in_use(path, &uses),
        _ => OpenError::InUse {
            path: path.to_owned(),
            reason: "another program, or the kernel, has it exclusively".to_owned(),
        },
    }
}

/// Names these users.
fn in_use(path: &Path, uses: &[InUse]) -> OpenError {
    let uses: Vec<String> = uses.iter().map(ToString::to_string).collect();
    OpenError::InUse {
        path: path.to_owned(),
        reason: uses.join(", "),
    }
}
