//! What the image is written to: a block device, a file or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use nix::fcntl::OFlag;

use disk::{RegionWriter, Shape};
use image::{Geometry, Sink, SinkError};
use imaging::Trace;
use imaging::target::{device_shape, ensure_may_be_made};

use super::options::{Options, TargetName};
use super::writer::{Writer, Written};

/// Where extents go; they are written by a thread of its own, to a device without the page cache.
pub(super) struct Target {
    state: State,
    offset: u64,
    is_space_checked: bool,
    is_skipping_errors: bool,
    trace: Trace,
}

enum State {
    Opened(Output),
    /// A block device that will be written in whole sectors.
    Disk(disk::Target),
    Writing(Writer),
    Direct(RegionWriter),
    /// The thread could not be started.
    Lost,
}

pub(super) enum Output {
    /// Block device of this many bytes, written through the page cache.
    Device(File, u64),
    /// Anything else with a name, and its length at the start.
    File(File, u64),
    /// A plain file that was empty at the start.
    Plain(File),
    /// Standard output, and how far it is.
    Stream(u64),
}

impl Target {
    /// Opens, and makes if it is a file, the target that `options` name. What is written to it, `trace`
    /// tells.
    ///
    /// # Errors
    /// It cannot be opened, or it is in use.
    pub(super) fn open(options: &Options, trace: &Trace) -> anyhow::Result<Self> {
        let state = match &options.target {
            // After a write that failed, a disk's own thread writes nothing more.
            TargetName::New(path) | TargetName::Existing(path)
                if !options.is_skipping_write_errors
                    && let Some(shape) = shape(path) =>
            {
                let disk = disk::Target::open(path, &shape)?;
                trace.follow(&disk);
                State::Disk(disk)
            }
            TargetName::StandardOutput => State::Opened(Output::Stream(0)),
            TargetName::Plain(path) => State::Opened(open_plain(path, trace)?),
            TargetName::New(path) => State::Opened(open(path, true)?),
            TargetName::Existing(path) => State::Opened(open(path, false)?),
        };
        Ok(Self {
            state,
            offset: options.offset,
            is_space_checked: !options.is_size_unchecked,
            is_skipping_errors: options.is_skipping_write_errors,
            trace: trace.clone(),
        })
    }

    /// The size that the image must fit in; `None` for a target that grows.
    pub(super) fn size_to_check(&self, options: &Options) -> Option<u64> {
        match &self.state {
            State::Disk(disk) => Some(disk.shape().size),
            State::Opened(Output::Device(_, size)) => Some(*size),
            State::Opened(Output::File(_, len)) if !options.is_size_unchecked => Some(*len),
            _ => None,
        }
    }
}

impl imaging::Target for Target {
    /// Waits for what is still to be written, brings a stream or plain file to its length, syncs, closes.
    ///
    /// # Errors
    /// Any of that failed, or a write did before and was skipped.
    fn commit(self, geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        let writer = match self.state {
            State::Writing(writer) => writer,
            State::Direct(writer) => {
                writer.finish()?;
                return Ok(Vec::new());
            }
            State::Opened(_) | State::Disk(_) | State::Lost => bail!("there was no image"),
        };
        let Written {
            output, skipped, ..
        } = writer
            .finish()
            .map_err(anyhow::Error::from_boxed)
            .context("writing the last data")?;
        let blocks = geometry
            .total_blocks
            .saturating_mul(geometry.block_size.into());
        match output {
            Output::Plain(file) => {
                // As the original does: only an unused end makes the file longer, and --offset does not
                // count. Unlike it, never make the file shorter: that would lose data.
                let len = file.metadata().context("finding the file's length")?.len();
                if geometry.data_end < blocks && len < geometry.device_size {
                    self.trace.touch();
                    file.set_len(geometry.device_size).with_context(|| {
                        format!("setting the file's length to {}", geometry.device_size)
                    })?;
                }
                sync_and_close(file)?;
            }
            Output::Device(file, _) | Output::File(file, _) => sync_and_close(file)?,
            Output::Stream(position) => {
                let end = geometry.device_size.saturating_add(self.offset);
                self.trace.touch();
                let mut output = io::stdout().lock();
                zeros(&mut output, end.saturating_sub(position))
                    .and_then(|()| output.flush())
                    .context("writing to standard output")?;
            }
        }
        ensure!(
            skipped == 0,
            "{skipped} writes failed and were skipped as asked; the target is not complete"
        );
        Ok(Vec::new())
    }
}

impl Output {
    pub(super) fn write(&mut self, position: u64, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Device(file, _) | Self::File(file, _) | Self::Plain(file) => {
                file.write_all_at(data, position)
            }
            Self::Stream(at) => {
                let mut output = io::stdout().lock();
                // Offsets ascend, so only zeros are missing.
                let gap = position.saturating_sub(*at);
                let written = zeros(&mut output, gap).and_then(|()| output.write_all(data));
                *at = position + data.len() as u64;
                written
            }
        }
    }
}

impl Sink for Target {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        let end = geometry
            .data_end
            .checked_add(self.offset)
            .ok_or("--offset and the image's size together are beyond 2^64")?;
        let size = match &self.state {
            State::Disk(disk) => Some(disk.shape().size),
            State::Opened(Output::Device(_, size)) => Some(*size),
            _ => None,
        };
        if let Some(size) = size
            && end > size
        {
            return Err(format!(
                "with --offset {} the image's data ends at byte {end}, beyond the target's {size}",
                self.offset
            )
            .into());
        }
        if let State::Opened(Output::Plain(file)) = &self.state
            && self.is_space_checked
        {
            let free = nix::sys::statvfs::fstatvfs(file)?;
            let free = free.blocks_available().saturating_mul(free.fragment_size());
            if geometry.used_len() > free {
                return Err(format!(
                    "the image's data has {} bytes, on the target's file system {free} are free; \
                     -C skips this check",
                    geometry.used_len()
                )
                .into());
            }
        }
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Disk(disk) => State::Direct(disk.writer(0, disk.shape().size)?),
            State::Opened(output) => {
                State::Writing(Writer::start(output, self.is_skipping_errors, &self.trace)?)
            }
            _ => return Err("a second image".into()),
        };
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let position = offset
            .checked_add(self.offset)
            .filter(|position| position.checked_add(data.len() as u64).is_some())
            .ok_or("the position with --offset added is beyond 2^64")?;
        match &mut self.state {
            State::Writing(writer) => writer.write(position, data),
            State::Direct(writer) => Ok(writer.write_at(position, data)?),
            State::Opened(_) | State::Disk(_) | State::Lost => {
                Err("an extent before the header".into())
            }
        }
    }
}

/// Size and sectors of a block device; `None` for anything else, and where sysfs does not tell.
fn shape(path: &Path) -> Option<Shape> {
    let found = path.metadata().ok()?;
    if !found.file_type().is_block_device() {
        return None;
    }
    device_shape(path, found.rdev()).ok()
}

fn open(path: &Path, must_be_new: bool) -> anyhow::Result<Output> {
    let found = path.metadata().ok();
    ensure_may_be_made(path)?;
    if found.is_some_and(|found| found.file_type().is_block_device()) {
        // Exclusive: fails while the device is mounted or otherwise in use.
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_EXCL.bits())
            .open(path)
            .map_err(|error| {
                let is_busy = error.raw_os_error() == Some(nix::libc::EBUSY);
                let hint = if is_busy {
                    ": it is mounted or in use; unmount it first"
                } else {
                    ""
                };
                anyhow::Error::new(error).context(format!("opening it exclusively{hint}"))
            })?;
        let size = device_size(&file).context("finding the device's size")?;
        return Ok(Output::Device(file, size));
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .create_new(must_be_new)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| {
            let is_there = must_be_new && error.kind() == io::ErrorKind::AlreadyExists;
            let hint = if is_there {
                "; -O writes into an existing file"
            } else {
                ""
            };
            anyhow::Error::new(error).context(format!("opening it for writing{hint}"))
        })?;
    let found = file.metadata()?;
    // What is no regular file has no length to be compared.
    let len = if found.is_file() { found.len() } else { 0 };
    Ok(Output::File(file, len))
}

fn open_plain(path: &Path, trace: &Trace) -> anyhow::Result<Output> {
    ensure_may_be_made(path)?;
    let found = path.metadata().ok();
    if found.as_ref().is_some_and(|found| !found.is_file()) {
        bail!("it is no plain file; leave out -W to write to a device");
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .context("making the file")?;
    if found.is_some_and(|found| found.len() > 0) {
        // It has been emptied.
        trace.touch();
    }
    Ok(Output::Plain(file))
}

/// Bytes of a block device: where its end is.
fn device_size(file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};

    let mut file = file;
    file.seek(SeekFrom::End(0))
}

fn sync_and_close(file: File) -> anyhow::Result<()> {
    match file.sync_all() {
        // Pipes and the like cannot be synced; there is nothing to be kept either.
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => {}
        synced => synced.context("syncing the target")?,
    }
    // Dropping the file would lose the error.
    nix::unistd::close(file).context("closing the target")
}

fn zeros(output: &mut impl Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), count), output).map(drop)
}
