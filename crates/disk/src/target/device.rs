//! Reads and writes of the open disk, each failure with its place.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{major, minor};

use super::buffer::AlignedBuffer;
use super::fault::{Fault, Look};
use super::{Operation, WriteError};
use crate::sys;
use crate::table::Shape;

/// Block devices by their numbers.
const SYS_BLOCK: &str = "/sys/dev/block";

/// The open disk, shared by the [`Target`](super::Target) and the threads that write.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) shape: Shape,
    pub(super) is_block: bool,
    pub(super) is_direct: bool,
    /// Bytes of data written so far, over all regions.
    pub(super) written: Arc<AtomicU64>,
    /// A write or a discard has been tried.
    pub(super) touched: Arc<AtomicBool>,
    state: Mutex<State>,
    #[cfg(test)]
    pub(super) journal: Mutex<Vec<Event>>,
}

/// A write, or `None` for a sync.
#[cfg(test)]
pub(super) type Event = Option<(u64, Vec<u8>)>;

/// What decides whether the disk may become bootable.
#[derive(Debug, Default)]
struct State {
    is_unbootable: bool,
    /// The places whose content has stayed when the disk was made unbootable.
    kept: Vec<Range<u64>>,
    open_regions: usize,
    /// Regions whose last writer was abandoned; each is in here once.
    abandoned: Vec<Range<u64>>,
    first_failure: Option<String>,
}

impl Device {
    pub(super) fn new(
        path: PathBuf,
        file: File,
        shape: Shape,
        is_block: bool,
        is_direct: bool,
    ) -> Self {
        Self {
            path,
            file,
            shape,
            is_block,
            is_direct,
            written: Arc::default(),
            touched: Arc::default(),
            state: Mutex::default(),
            #[cfg(test)]
            journal: Mutex::default(),
        }
    }

    /// Whether it is a partition of a disk.
    pub(super) fn is_partition(&self) -> bool {
        self.is_block
            && self.file.metadata().is_ok_and(|metadata| {
                let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
                Path::new(&format!("{SYS_BLOCK}/{major}:{minor}/partition")).exists()
            })
    }

    /// Offsets and lengths of reads and writes are multiples of this.
    pub(super) fn granule(&self) -> u64 {
        if self.is_direct {
            u64::from(self.shape.logical_sector)
        } else {
            1
        }
    }

    /// Writes all of `bytes`, which direct I/O needs aligned in memory and in place.
    pub(super) fn write_aligned(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.touch();
        #[cfg(test)]
        self.note_event(Some((offset, bytes.to_vec())));
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let rest = &bytes[done..];
            match self.file.write_at(rest, at) {
                Ok(0) => {
                    let error = io::Error::from(io::ErrorKind::WriteZero);
                    return Err(self.failed(Operation::Write, at, rest.len(), error));
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(Operation::Write, at, rest.len(), error)),
            }
        }
        Ok(())
    }

    pub(super) fn read_aligned(&self, offset: u64, bytes: &mut [u8]) -> Result<(), WriteError> {
        let len = bytes.len();
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| self.failed(Operation::Read, offset, len, error))
    }

    /// Reads any range.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, WriteError> {
        let (start, head, mut buffer) = self.frame(offset, len);
        self.read_aligned(start, buffer.as_mut_slice())?;
        Ok(buffer.as_slice()[head..head + len].to_vec())
    }

    /// Writes any range; sectors that are only partly covered are read first.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let (start, head, mut buffer) = self.frame(offset, bytes.len());
        if buffer.len() != bytes.len() {
            self.read_aligned(start, buffer.as_mut_slice())?;
        }
        buffer.as_mut_slice()[head..head + bytes.len()].copy_from_slice(bytes);
        self.write_aligned(start, buffer.as_slice())
    }

    /// Makes sure that everything written is on the medium. `offset` and `len` only say what for.
    pub(super) fn sync(&self, offset: u64, len: u64) -> Result<(), WriteError> {
        #[cfg(test)]
        self.note_event(None);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.file
            .sync_data()
            .map_err(|source| self.failed(Operation::Sync, offset, len, source))
    }

    /// Whether the disk still is as large as it was: one that is gone or has shrunk since the last write to
    /// its end would go unnoticed.
    pub(super) fn check_size(&self) -> Result<(), WriteError> {
        let fault = match self.look() {
            Look {
                is_listed: true,
                is: Some(is),
                was,
            } if is >= was => return Ok(()),
            look => Fault::of(None, look),
        };
        Err(WriteError::Changed {
            device: self.path.clone(),
            fault,
        })
    }

    fn look(&self) -> Look {
        let metadata = self.file.metadata().ok();
        let is = if self.is_block {
            sys::device_size(&self.file).ok()
        } else {
            metadata.as_ref().map(std::fs::Metadata::len)
        };
        // Without sysfs nothing is known of it.
        let is_listed = !self.is_block
            || !Path::new(SYS_BLOCK).exists()
            || metadata.is_some_and(|metadata| {
                let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
                Path::new(&format!("{SYS_BLOCK}/{major}:{minor}")).exists()
            });
        Look {
            was: self.shape.size,
            is,
            is_listed,
        }
    }

    /// Forgets cached content, so that the next read asks the medium.
    pub(super) fn drop_cache(&self) -> Result<(), WriteError> {
        if self.is_direct {
            return Ok(());
        }
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|errno| self.failed(Operation::Read, 0, 0, errno.into()))
    }

    /// The smallest run of whole granules around a range: its start, the range's place in it, a buffer.
    fn frame(&self, offset: u64, len: usize) -> (u64, usize, AlignedBuffer) {
        let granule = self.granule();
        let head = offset % granule;
        let total = (head + len as u64).next_multiple_of(granule);
        let index = |n: u64| usize::try_from(n).expect("no more than the range and two sectors");
        (offset - head, index(head), AlignedBuffer::new(index(total)))
    }

    pub(super) fn failed(
        &self,
        operation: Operation,
        offset: u64,
        len: usize,
        source: io::Error,
    ) -> WriteError {
        let errno = source.raw_os_error();
        WriteError::Io {
            device: self.path.clone(),
            fault: self
                .is_block
                .then(|| Box::new(Fault::of(errno, self.look()))),
            operation,
            offset,
            len: len as u64,
            source: Arc::new(source),
        }
    }

    pub(super) fn count_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The content may change from here on.
    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Relaxed);
    }

    /// The old table is gone, and the content of these places has stayed.
    pub(super) fn set_unbootable(&self, kept: Vec<Range<u64>>) {
        self.with_state(|state| {
            state.is_unbootable = true;
            state.kept = kept;
        });
    }

    /// The places whose content has stayed.
    pub(super) fn kept(&self) -> Vec<Range<u64>> {
        self.with_state(|state| state.kept.clone())
    }

    pub(super) fn region_opened(&self) {
        self.with_state(|state| state.open_regions += 1);
    }

    pub(super) fn region_finished(&self, region: &Range<u64>) {
        self.with_state(|state| {
            state.open_regions = state.open_regions.saturating_sub(1);
            state.abandoned.retain(|abandoned| abandoned != region);
        });
    }

    pub(super) fn region_abandoned(&self, region: &Range<u64>) {
        self.with_state(|state| {
            state.open_regions = state.open_regions.saturating_sub(1);
            if !state.abandoned.contains(region) {
                state.abandoned.push(region.clone());
            }
        });
    }

    /// From now on the disk cannot become bootable through this [`Device`].
    pub(super) fn spoil(&self, reason: &dyn std::fmt::Display) {
        self.with_state(|state| {
            state
                .first_failure
                .get_or_insert_with(|| reason.to_string());
        });
    }

    /// Whether everything that was begun has ended well.
    pub(super) fn check_complete(&self) -> Result<(), WriteError> {
        let reason = self.with_state(|state| {
            if let Some(failure) = &state.first_failure {
                return Some(failure.clone());
            }
            let count = state.open_regions + state.abandoned.len();
            if count > 0 {
                return Some(format!("{count} partitions are not completely written"));
            }
            (!state.is_unbootable).then(|| "its old table was not removed first".to_owned())
        });
        match reason {
            None => Ok(()),
            Some(reason) => Err(WriteError::Incomplete {
                device: self.path.clone(),
                reason,
            }),
        }
    }

    #[cfg(test)]
    fn note_event(&self, event: Event) {
        let journal = self.journal.lock();
        journal.unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn with_state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // Each access is a single assignment: a panic elsewhere cannot leave it half done.
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
