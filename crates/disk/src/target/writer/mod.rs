//! Writing one region: extents in, large aligned writes out, on a thread of its own.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conveyor::{Loader, Unloader, conveyor};

use super::WriteError;
use super::buffer::{ALIGNMENT, AlignedBuffer};
use super::device::Device;

/// How much a [`RegionWriter`] may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// Length of one buffer in bytes, the largest single write; rounded up to whole 4096 and to the
    /// logical sector.
    pub buffer_len: usize,
    /// Number of buffers, at least 2; the memory used is `buffer_len * buffer_count`.
    pub buffer_count: usize,
}

impl Default for WriterOptions {
    /// 8 buffers of 1 MiB: long enough for a disk to be busy, short enough for what was just decoded to
    /// be in the processor's cache still when it is written.
    fn default() -> Self {
        Self {
            buffer_len: 1 << 20,
            buffer_count: 8,
        }
    }
}

/// What was written to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteReport {
    /// Bytes of data taken.
    pub bytes: u64,
    /// Write calls, for judging how well extents were joined.
    pub writes: u64,
    /// From the start of the writer to the end of the last sync.
    pub elapsed: Duration,
}

/// Writes extents to one region of a [`Target`](super::Target), and to nothing outside it.
///
/// Extents that follow one another are joined. Sectors that an extent covers only in part are read
/// first, and both their ends lie in the region, because regions consist of whole sectors. Extents may
/// come in any order; where they overlap, the later one counts.
///
/// Dropping a writer instead of finishing it leaves the target unable to become bootable;
/// [abandoning](RegionWriter::abandon) it leaves it so until the region is written again.
#[derive(Debug)]
pub struct RegionWriter {
    device: Arc<Device>,
    region: Range<u64>,
    /// The buffer being filled.
    run: Option<Run>,
    jobs: Option<Loader<Job, AlignedBuffer>>,
    thread: Option<JoinHandle<u64>>,
    /// The first failure of the thread.
    failure: Arc<OnceLock<WriteError>>,
    written: Arc<AtomicU64>,
    taken: u64,
    started: Instant,
    is_finished: bool,
}

/// A buffer with data for one contiguous range of the disk.
///
/// Invariant: `base` is a multiple of the granule; `data` is the filled part of the buffer, so that
/// octet `i` of the buffer belongs at `base + i`.
#[derive(Debug)]
struct Run {
    buffer: AlignedBuffer,
    base: u64,
    data: Range<usize>,
}

impl Run {
    /// Where the next octet would go.
    fn end(&self) -> u64 {
        self.base + self.data.end as u64
    }
}

/// How a writer ends that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Synced,
    Unsynced,
}

#[derive(Debug)]
enum Job {
    Write(Run),
    Sync,
}

impl RegionWriter {
    pub(super) fn start(
        device: &Arc<Device>,
        offset: u64,
        len: u64,
        options: &WriterOptions,
    ) -> Result<Self, WriteError> {
        let sector = u64::from(device.shape.logical_sector);
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= device.shape.size)
            .filter(|_| offset.is_multiple_of(sector) && len.is_multiple_of(sector));
        let Some(end) = end else {
            return Err(WriteError::NoSuchRegion {
                device: device.path.clone(),
                offset,
                len,
                size: device.shape.size,
                logical_sector: device.shape.logical_sector,
            });
        };
        let unit = ALIGNMENT.max(usize::try_from(sector).unwrap_or(ALIGNMENT));
        // No larger than the region: small partitions should not cost buffers they cannot fill.
        let useful = usize::try_from(len).unwrap_or(usize::MAX);
        let buffer_len = options.buffer_len.min(useful).max(1).next_multiple_of(unit);
        let buffer_count = options.buffer_count.max(2);
        let buffers = std::iter::repeat_with(|| AlignedBuffer::new(buffer_len));
        let (jobs, todo) = conveyor(buffers.take(buffer_count));
        let failure: Arc<OnceLock<WriteError>> = Arc::default();
        let written: Arc<AtomicU64> = Arc::default();
        let worker = Worker {
            device: Arc::clone(device),
            region: offset..end,
            failure: Arc::clone(&failure),
            written: Arc::clone(&written),
        };
        let thread = std::thread::Builder::new()
            .name("disk-writer".to_owned())
            .spawn(move || worker.run(todo))
            .map_err(|error| WriteError::Thread {
                device: device.path.clone(),
                reason: format!("could not be started: {error}"),
            })?;
        device.region_opened();
        Ok(Self {
            device: Arc::clone(device),
            region: offset..end,
            run: None,
            jobs: Some(jobs),
            thread: Some(thread),
            failure,
            written,
            taken: 0,
            started: Instant::now(),
            is_finished: false,
        })
    }

    /// Takes data for `offset`, counted from the start of the region. Waits while all buffers are on
    /// their way to the disk. Success means that the data was taken, not that it is on the disk:
    /// [`RegionWriter::finish`] says that.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutsideRegion`], and any earlier failure of the disk.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), WriteError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        let region_len = self.region.end - self.region.start;
        let is_inside = offset
            .checked_add(data.len() as u64)
            .is_some_and(|end| end <= region_len);
        if !is_inside {
            let error = WriteError::OutsideRegion {
                device: self.device.path.clone(),
                offset,
                len: data.len() as u64,
                region_len,
            };
            self.device.spoil(&error);
            return Err(error);
        }
        let mut at = self.region.start + offset;
        let mut rest = data;
        while !rest.is_empty() {
            let mut run = match self.run.take() {
                Some(run) if run.end() == at => run,
                Some(run) => {
                    self.submit(Job::Write(run))?;
                    self.begin(at)?
                }
                None => self.begin(at)?,
            };
            let room = &mut run.buffer.as_mut_slice()[run.data.end..];
            let count = room.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            room[..count].copy_from_slice(now);
            run.data.end += count;
            at += count as u64;
            rest = later;
            if run.data.end == run.buffer.len() {
                self.submit(Job::Write(run))?;
            } else {
                self.run = Some(run);
            }
        }
        self.taken += data.len() as u64;
        Ok(())
    }

    /// Bytes of data of this region that the disk has taken so far, for progress displays.
    #[must_use]
    pub fn bytes_written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.written)
    }

    /// Writes what is left, waits until everything is on the medium (`fdatasync`), and ends the thread.
    ///
    /// # Errors
    ///
    /// The first failure of any read, write or sync of this region, or [`WriteError::Changed`] when the disk is
    /// gone or smaller than it was.
    pub fn finish(mut self) -> Result<WriteReport, WriteError> {
        let report = self.complete(End::Synced);
        let report = report.and_then(|report| self.device.check_size().map(|()| report));
        match &report {
            Ok(_) => self.device.region_finished(&self.region),
            Err(error) => self.device.spoil(error),
        }
        self.is_finished = true;
        report
    }

    /// Ends the thread although the region is not whole, because it is going to be written again from
    /// its start: the target cannot become bootable until another writer of the same region has
    /// [finished](RegionWriter::finish). What was taken is written, nothing is synced; nothing is
    /// written after this returns.
    ///
    /// # Errors
    ///
    /// The first failure of any read or write of this region: then there is no second chance.
    pub fn abandon(mut self) -> Result<(), WriteError> {
        let report = self.complete(End::Unsynced);
        match &report {
            Ok(_) => self.device.region_abandoned(&self.region),
            Err(error) => self.device.spoil(error),
        }
        self.is_finished = true;
        report.map(drop)
    }

    fn complete(&mut self, end: End) -> Result<WriteReport, WriteError> {
        if let Some(run) = self.run.take() {
            self.submit(Job::Write(run))?;
        }
        if end == End::Synced {
            self.submit(Job::Sync)?;
        }
        if let Some(jobs) = self.jobs.take() {
            // A thread that is gone has left its reason.
            jobs.end().ok();
        }
        let Some(Ok(writes)) = self.thread.take().map(JoinHandle::join) else {
            return Err(self.dead());
        };
        match self.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => Ok(WriteReport {
                bytes: self.taken,
                writes,
                elapsed: self.started.elapsed(),
            }),
        }
    }

    /// An empty run that begins at `at`, keeping the place of `at` in its sector.
    fn begin(&self, at: u64) -> Result<Run, WriteError> {
        let jobs = self.jobs.as_ref().ok_or_else(|| self.dead())?;
        let buffer = jobs.buffer().map_err(|_| self.dead())?;
        let head = at % self.device.granule();
        let start = usize::try_from(head).expect("less than a sector");
        Ok(Run {
            buffer,
            base: at - head,
            data: start..start,
        })
    }

    fn submit(&self, job: Job) -> Result<(), WriteError> {
        match &self.jobs {
            Some(jobs) => jobs.put(job).map_err(|_| self.dead()),
            None => Err(self.dead()),
        }
    }

    /// Why the other end of a channel is gone.
    fn dead(&self) -> WriteError {
        self.failure.get().cloned().unwrap_or_else(|| {
            let error = WriteError::Thread {
                device: self.device.path.clone(),
                reason: "ended before its work was done".to_owned(),
            };
            self.device.spoil(&error);
            error
        })
    }
}

impl Drop for RegionWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.device.spoil(&format_args!(
            "writing of the partition at offset {} was given up",
            self.region.start
        ));
        self.jobs = None;
        // Nothing may be written after this returns; how the thread ended no longer matters.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The thread's side.
struct Worker {
    device: Arc<Device>,
    region: Range<u64>,
    failure: Arc<OnceLock<WriteError>>,
    written: Arc<AtomicU64>,
}

impl Worker {
    /// Works until the other side hangs up; returns the number of write calls. After a failure nothing
    /// more is written, but buffers are still handed back, so that nobody waits for one.
    fn run(self, mut jobs: Unloader<Job, AlignedBuffer>) -> u64 {
        let mut writes = 0;
        while let Ok(Some(job)) = jobs.take() {
            let has_failed = self.failure.get().is_some();
            let result = match job {
                Job::Write(mut run) => {
                    let result = if has_failed {
                        Ok(())
                    } else {
                        writes += 1;
                        self.write(&mut run)
                    };
                    jobs.give_back(run.buffer);
                    result
                }
                Job::Sync if has_failed => Ok(()),
                Job::Sync => self
                    .device
                    .sync(self.region.start, self.region.end - self.region.start),
            };
            if let Err(error) = result {
                self.device.spoil(&error);
                // Only the first one is kept; there is none yet, or nothing would have been tried.
                drop(self.failure.set(error));
            }
        }
        writes
    }

    fn write(&self, run: &mut Run) -> Result<(), WriteError> {
        let granule = usize::try_from(self.device.granule()).expect("a sector fits in memory");
        let whole = run.data.end.next_multiple_of(granule);
        let last = whole - granule;
        let tail = run.data.end % granule;
        // An edge sector's other octets are what the disk has there.
        if run.data.start > 0 || (tail > 0 && last == 0) {
            self.complete_sector(run, 0, granule)?;
        }
        if tail > 0 && last > 0 {
            self.complete_sector(run, last, granule)?;
        }
        let first = run.base;
        let end = run.base + whole as u64;
        assert!(
            self.region.start <= first && end <= self.region.end,
            "a write of {first}..{end} left its region {:?}",
            self.region
        );
        self.device
            .write_aligned(first, &run.buffer.as_slice()[..whole])?;
        let len = run.data.len() as u64;
        self.written.fetch_add(len, Ordering::Relaxed);
        self.device.count_written(len);
        Ok(())
    }

    /// Fills in the octets of the sector at `index` that the run has no data for.
    fn complete_sector(
        &self,
        run: &mut Run,
        index: usize,
        granule: usize,
    ) -> Result<(), WriteError> {
        let mut sector = AlignedBuffer::new(granule);
        self.device
            .read_aligned(run.base + index as u64, sector.as_mut_slice())?;
        let covered = run.data.start.max(index)..run.data.end.min(index + granule);
        let buffer = &mut run.buffer.as_mut_slice()[index..index + granule];
        let (from, to) = (covered.start - index, covered.end - index);
        buffer[..from].copy_from_slice(&sector.as_slice()[..from]);
        buffer[to..].copy_from_slice(&sector.as_slice()[to..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
