//! What a disk looks like that is only looked at.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::{Shape, sys};

/// Size and sector size of a block device, or of a file that stands for a disk with sectors of 512 bytes.
/// It is opened for reading, and may be in use.
///
/// # Errors
///
/// If it cannot be opened, or is neither.
pub fn shape_of(path: &Path) -> io::Result<Shape> {
    // Without waiting, should it be a FIFO.
    let mut options = File::options();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    shape_of_file(&options.open(path)?)
}

/// The same of one that is open.
pub(crate) fn shape_of_file(file: &File) -> io::Result<Shape> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(Shape {
            size: metadata.len(),
            logical_sector: FILE_SECTOR,
        });
    }
    if !metadata.file_type().is_block_device() {
        return Err(io::Error::other("neither a disk nor a regular file"));
    }
    Ok(Shape {
        size: sys::device_size(file)?,
        logical_sector: sys::logical_sector(file)?,
    })
}

/// A file has no sectors of its own.
const FILE_SECTOR: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_a_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let shape = shape_of(file.path()).unwrap();
        assert_eq!((shape.size, shape.logical_sector), (1 << 20, 512));
        for path in ["/dev/null", "/nonexistent", "/"] {
            shape_of(Path::new(path)).unwrap_err();
        }
    }
}
