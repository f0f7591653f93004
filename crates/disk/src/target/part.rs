//! A region of the disk as a block device of its own, for programs that know no other.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

use super::device::Device;
use super::{Target, WriteError};
use crate::sys;

/// A region of the disk as a loop device. While it lives, nothing else may write to the region.
#[derive(Debug)]
pub struct RegionDevice {
    path: PathBuf,
    node: File,
    device: Arc<Device>,
    region: (u64, u64),
}

impl Target {
    /// Shows a region of the disk as a block device. Nothing else of the disk can be reached through it.
    ///
    /// # Errors
    ///
    /// If the kernel has no loop devices. Nothing has been written then.
    pub fn region_device(&self, offset: u64, len: u64) -> io::Result<RegionDevice> {
        let control = File::open(LOOP_CONTROL)?;
        let mut tries = 0;
        loop {
            let path = PathBuf::from(format!("/dev/loop{}", sys::free_loop(&control)?));
            let node = File::options().read(true).write(true).open(&path)?;
            // A smaller one than the disk's is of no use to a file system of its sectors.
            let sector = self.device.shape.logical_sector;
            match sys::configure_loop(&node, &self.device.file, (offset, len), sector) {
                Ok(()) => {
                    self.device.touch();
                    let region = RegionDevice {
                        path,
                        node,
                        device: Arc::clone(&self.device),
                        region: (offset, len),
                    };
                    // udev looks at no device that is locked: it would make volume groups active that it finds.
                    region.node.lock()?;
                    return Ok(region);
                }
                // Another program was quicker.
                Err(error) if is_taken(&error) && tries < MAX_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EBUSY as i32)
}

impl RegionDevice {
    /// Its device node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts everything that was written on the medium and gives the device back.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the disk cannot become bootable then.
    pub fn finish(self) -> Result<(), WriteError> {
        let (offset, len) = self.region;
        let synced = self.node.sync_all();
        let synced = synced.map_err(|source| {
            let (len, operation) = (
                usize::try_from(len).unwrap_or(usize::MAX),
                super::Operation::Sync,
            );
            self.device.failed(operation, offset, len, source)
        });
        synced
            .and_then(|()| self.device.sync(offset, len))
            .and_then(|()| self.device.drop_cache())
            .inspect_err(|error| self.device.spoil(error))
    }

    /// The content of the region is of no use any more: the disk cannot become bootable.
    pub fn spoil(self, reason: &dyn std::fmt::Display) {
        self.device.spoil(reason);
    }
}

impl Drop for RegionDevice {
    fn drop(&mut self) {
        // It would go away with its last user in any case.
        drop(sys::clear_loop(&self.node));
    }
}

const LOOP_CONTROL: &str = "/dev/loop-control";
const MAX_TRIES: u32 = 100;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::Shape;

    #[test]
    fn a_region_is_a_device_and_the_rest_of_the_disk_is_not_in_it() {
        let shape = Shape {
            size: 8 << 20,
            logical_sector: 512,
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0xa5; 8 << 20]).unwrap();
        let target = Target::open(file.path(), &shape).unwrap();
        let Ok(device) = target.region_device(1 << 20, 2 << 20) else {
            // Only root may, and only where there are loop devices.
            return;
        };
        assert!(std::fs::read(device.path()).unwrap() == vec![0xa5; 2 << 20]);
        let mut node = File::options().write(true).open(device.path()).unwrap();
        node.write_all(&vec![0x5a; 2 << 20]).unwrap();
        node.write_all(&[1]).unwrap_err();
        drop(node);
        let path = device.path().to_owned();
        device.finish().unwrap();
        drop(target);
        let written = std::fs::read(file.path()).unwrap();
        assert!(written[..1 << 20].iter().all(|octet| *octet == 0xa5));
        assert!(written[1 << 20..3 << 20].iter().all(|octet| *octet == 0x5a));
        assert!(written[3 << 20..].iter().all(|octet| *octet == 0xa5));
        let backing = Path::new("/sys/block")
            .join(path.file_name().unwrap())
            .join("loop/backing_file");
        let backing = std::fs::read_to_string(backing).unwrap_or_default();
        assert_ne!(backing.trim(), file.path().to_str().unwrap());
    }
}
