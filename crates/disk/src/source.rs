//! A disk that is read and never written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::shape::shape_of_file;
use crate::table::Shape;
use crate::target::{OpenError, busy, fault, look, same, unused};

/// A disk, or a regular file in its place, opened for reading alone.
///
/// A block device is held exclusively (`O_EXCL`): while the source lives, the kernel refuses to mount the disk or a
/// partition of it, so that nothing changes under its reader. A regular file is locked against those who would write it
/// as a disk.
#[derive(Debug)]
pub struct SourceDisk {
    file: File,
    path: PathBuf,
    shape: Shape,
}

impl SourceDisk {
    /// Opens a block device or a regular file that nobody uses.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |what, source| fault(path, what, source);
        let (named, is_block) = look(path)?;
        // O_EXCL without O_CREAT is defined for block devices only (open(2)).
        let exclusive = if is_block {
            OFlag::O_EXCL
        } else {
            OFlag::empty()
        };
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags((exclusive | OFlag::O_CLOEXEC).bits());
        let file = options.open(path).map_err(|error| {
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EBUSY => busy(path),
                _ => io("opening", error),
            }
        })?;
        if !is_block && file.try_lock_shared().is_err() {
            return Err(OpenError::InUse {
                path: path.to_owned(),
                reason: "another program has locked the file".to_owned(),
            });
        }
        unused(path, &same(path, &file, &named)?)?;
        let shape = shape_of_file(&file).map_err(|error| io("asking the size of", error))?;
        let sector = u64::from(shape.logical_sector);
        if shape.size == 0 || shape.size % sector != 0 {
            return Err(OpenError::Length {
                path: path.to_owned(),
                len: shape.size,
                sector,
            });
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            shape,
        })
    }

    /// The device node or file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Capacity and sector size.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Fills a buffer from a place in bytes.
    ///
    /// # Errors
    /// The disk cannot be read there, or ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_what_is_no_disk_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 1024]).unwrap();
        let source = SourceDisk::open(file.path()).unwrap();
        assert_eq!(
            (source.shape().size, source.shape().logical_sector),
            (1024, 512)
        );
        let mut buffer = [0; 24];
        source.read_exact_at(&mut buffer, 1000).unwrap();
        assert_eq!(buffer, [7; 24]);
        source.read_exact_at(&mut buffer, 1001).unwrap_err();
        // A second reader does no harm.
        SourceDisk::open(file.path()).unwrap();
        drop(source);
        for len in [0, 1000] {
            file.as_file().set_len(len).unwrap();
            let error = SourceDisk::open(file.path()).unwrap_err();
            assert!(matches!(error, OpenError::Length { .. }), "{error}");
        }
        let error = SourceDisk::open(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, OpenError::Kind { .. }), "{error}");
    }

    #[test]
    fn a_disk_that_is_being_written_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        let shape = Shape {
            size: 4096,
            logical_sector: 512,
        };
        let target = crate::Target::open(file.path(), &shape).unwrap();
        let error = SourceDisk::open(file.path()).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        drop(target);
        let _source = SourceDisk::open(file.path()).unwrap();
        let error = crate::Target::open(file.path(), &shape).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    }
}
