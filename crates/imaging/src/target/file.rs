//! A file of any length, a device that cannot be had otherwise, or standard output: written through the
//! page cache by a thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use image::{Geometry, ImageFormat, Sink, SinkError};
use nix::fcntl::OFlag;

use super::commit::Target;
use super::place::{Creation, Demands, Manner};
use super::trace::Trace;
use super::whole::{check_end, position};
use super::writer::{Medium, Writer, Written};

/// What is written without direct I/O.
pub(super) struct Cached {
    state: State,
    kind: Kind,
    manner: Manner,
    demands: Demands,
    is_raw: bool,
    trace: Trace,
}

enum State {
    /// A file that is made when the image's header is good.
    Missing,
    Opened(Medium),
    Writing(Writer),
    /// Its thread could not be started.
    Lost,
}

enum Kind {
    /// A block device of this many bytes.
    Device(PathBuf, u64),
    /// Anything else with a name, and its length; `None` if it is made when needed.
    Named(PathBuf, Option<u64>),
    /// A file that was made or emptied.
    Emptied(PathBuf),
    StandardOutput,
}

impl Kind {
    fn name(&self) -> String {
        match self {
            Self::Device(path, _) | Self::Named(path, _) | Self::Emptied(path) => {
                path.display().to_string()
            }
            Self::StandardOutput => "standard output".to_owned(),
        }
    }
}

impl Cached {
    fn new(state: State, kind: Kind, manner: Manner, demands: &Demands, trace: &Trace) -> Self {
        Self {
            state,
            kind,
            manner,
            demands: *demands,
            is_raw: false,
            trace: trace.clone(),
        }
    }

    pub(super) fn standard_output(demands: &Demands, trace: &Trace) -> Self {
        let state = State::Opened(Medium::StandardOutput(0));
        let kind = Kind::StandardOutput;
        Self::new(state, kind, Manner::Original, demands, trace)
    }

    /// Opens a block device for nobody else.
    ///
    /// # Errors
    /// It is in use, or cannot be written.
    pub(super) fn device(
        path: &Path,
        manner: Manner,
        demands: &Demands,
        trace: &Trace,
    ) -> anyhow::Result<Self> {
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
        let state = State::Opened(Medium::File(file));
        let kind = Kind::Device(path.to_owned(), size);
        Ok(Self::new(state, kind, manner, demands, trace))
    }

    /// Opens what is no block device; makes or empties it if that is asked for.
    ///
    /// # Errors
    /// It is not there or must not be, is in use, or cannot be written.
    pub(super) fn named(
        path: &Path,
        creation: Creation,
        manner: Manner,
        demands: &Demands,
        trace: &Trace,
    ) -> anyhow::Result<Self> {
        let made = |state, kind| Ok(Self::new(state, kind, manner, demands, trace));
        let is_missing = path
            .metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_missing {
            ensure!(
                creation != Creation::Never,
                "it does not exist; --create makes a file as long as the image's source"
            );
            spare_dev(path, Path::new("/dev"))?;
            if creation == Creation::WhenNeeded {
                return made(State::Missing, Kind::Named(path.to_owned(), None));
            }
        }
        let is_made = matches!(
            creation,
            Creation::AtOnce | Creation::OnlyNew | Creation::Emptied
        );
        let file = OpenOptions::new()
            .read(manner != Manner::Original)
            .write(true)
            .create(is_made)
            .create_new(creation == Creation::OnlyNew)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| {
                let is_there = error.kind() == io::ErrorKind::AlreadyExists;
                let hint = if is_there {
                    "; -O writes into an existing file"
                } else {
                    ""
                };
                anyhow::Error::new(error).context(format!("opening it for writing{hint}"))
            })?;
        let found = file.metadata()?;
        if found.is_file() {
            claim(path, &file)?;
        }
        // What is no regular file has no length to be compared.
        let len = if found.is_file() { found.len() } else { 0 };
        let kind = match creation {
            Creation::Emptied if !found.is_file() => {
                bail!("it is no plain file; leave out -W to write to a device")
            }
            Creation::Emptied => {
                if len > 0 {
                    trace.touch();
                    file.set_len(0).context("emptying it")?;
                }
                Kind::Emptied(path.to_owned())
            }
            Creation::Never | Creation::WhenNeeded if !found.is_file() => {
                bail!("it is neither a block device nor a regular file")
            }
            _ => Kind::Named(path.to_owned(), Some(len)),
        };
        made(State::Opened(Medium::File(file)), kind)
    }

    /// Bytes that it has; `None` if it grows.
    pub(super) fn size(&self) -> Option<u64> {
        match &self.kind {
            Kind::Device(_, size) => Some(*size),
            Kind::Named(_, len) => len.filter(|_| !self.demands.is_size_unchecked),
            Kind::Emptied(_) | Kind::StandardOutput => None,
        }
    }

    /// The medium, made if it is missing.
    fn ready(&mut self, geometry: &Geometry) -> Result<Medium, SinkError> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Opened(medium) => Ok(medium),
            State::Missing => {
                let Kind::Named(path, _) = &self.kind else {
                    return Err("no file is to be made".into());
                };
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(|error| format!("making {}: {error}", path.display()))?;
                self.trace.touch();
                // Raw data of unknown length makes it longer bit by bit.
                if !self.is_raw {
                    file.set_len(geometry.device_size)
                        .map_err(|error| format!("sizing {}: {error}", path.display()))?;
                }
                Ok(Medium::File(file))
            }
            State::Writing(_) | State::Lost => Err("a second image".into()),
        }
    }

    fn check_space(&self, file: &File, geometry: &Geometry) -> Result<(), SinkError> {
        if self.demands.is_size_unchecked {
            return Ok(());
        }
        let free = nix::sys::statvfs::fstatvfs(file)?;
        let free = free.blocks_available().saturating_mul(free.fragment_size());
        if geometry.used_len() > free {
            return Err(format!(
                "the image's data has {} bytes, on the target's file system {free} are free; -C skips \
                 this check",
                geometry.used_len()
            )
            .into());
        }
        Ok(())
    }
}

impl Sink for Cached {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        self.is_raw = geometry.format == ImageFormat::Raw;
        let size = match &self.kind {
            Kind::Device(_, size) => Some(*size),
            _ => None,
        };
        check_end(geometry, self.demands.offset, size)?;
        let medium = self.ready(geometry)?;
        if let Medium::File(file) = &medium {
            match &self.kind {
                Kind::Emptied(_) => self.check_space(file, geometry)?,
                Kind::Named(path, Some(len)) if self.manner != Manner::Original => {
                    self.trace.touch();
                    clear_labels(file, *len).map_err(|error| {
                        format!("clearing both ends of {}: {error}", path.display())
                    })?;
                }
                _ => {}
            }
        }
        let writer = Writer::start(medium, self.kind.name(), self.demands.skip, &self.trace)?;
        self.state = State::Writing(writer);
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let position = position(self.demands.offset, offset, data)?;
        match &mut self.state {
            State::Writing(writer) => writer.write(position, data),
            _ => Err("an extent before the header".into()),
        }
    }
}

impl Target for Cached {
    /// Waits for what is still to be written, brings what is not of its length to it, syncs, closes.
    ///
    /// # Errors
    /// Any of that failed, or a write did before and was passed over.
    fn commit(self, geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        let State::Writing(writer) = self.state else {
            bail!("there was no image");
        };
        let Written {
            mut medium,
            skipped,
            ..
        } = writer
            .finish()
            .map_err(anyhow::Error::from_boxed)
            .context("writing the last data")?;
        if let Medium::StandardOutput(_) = medium {
            let end = geometry.device_size.saturating_add(self.demands.offset);
            self.trace.touch();
            medium.end(end).context("writing to standard output")?;
        }
        if let Medium::File(file) = medium {
            let is_completed = self.manner != Manner::Original && !self.is_raw;
            match &self.kind {
                Kind::Emptied(_) => lengthen(&file, geometry, &self.trace)?,
                Kind::Named(path, len) if is_completed => {
                    // A new file is as long as the image says, and a copy of a sector longer.
                    let most = geometry.device_size.saturating_add(COPY_LEN);
                    copy_ntfs_boot(&file, *len, most)
                        .with_context(|| format!("completing the NTFS in {}", path.display()))?;
                }
                _ => {}
            }
            sync_and_close(file, &self.kind.name())?;
        }
        ensure!(
            skipped == 0,
            "{skipped} writes failed and were skipped as asked; the target is not complete"
        );
        Ok(Vec::new())
    }
}

/// As the original does: only an unused end makes the file longer, and --offset does not count. Unlike it,
/// never makes the file shorter: that would lose data.
fn lengthen(file: &File, geometry: &Geometry, trace: &Trace) -> anyhow::Result<()> {
    let blocks = geometry
        .total_blocks
        .saturating_mul(geometry.block_size.into());
    let len = file.metadata().context("finding the file's length")?.len();
    if geometry.data_end < blocks && len < geometry.device_size {
        trace.touch();
        file.set_len(geometry.device_size)
            .with_context(|| format!("setting the file's length to {}", geometry.device_size))?;
    }
    Ok(())
}

/// Takes a file for this program alone.
fn claim(path: &Path, file: &File) -> anyhow::Result<()> {
    if let Some(by) = disk::uses_of(path)?.first() {
        bail!("it is in use: {by}");
    }
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => bail!("another program has locked it"),
        Err(fs::TryLockError::Error(error)) => Err(error).context("locking it"),
    }
}

fn clear_labels(file: &File, len: u64) -> io::Result<()> {
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
fn copy_ntfs_boot(file: &File, len: Option<u64>, most: u64) -> io::Result<()> {
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

/// Bytes of a block device: where its end is.
fn device_size(file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};

    let mut file = file;
    file.seek(SeekFrom::End(0))
}

fn sync_and_close(file: File, name: &str) -> anyhow::Result<()> {
    match file.sync_all() {
        // Pipes and the like cannot be synced; there is nothing to be kept either.
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => {}
        synced => synced.with_context(|| format!("syncing {name}"))?,
    }
    // Dropping the file would lose the error.
    nix::unistd::close(file).with_context(|| format!("closing {name}"))
}

/// Refuses a path that does not exist where it would be a device that is missing, or misspelt. `dev` itself
/// counts, not what is mounted below it, such as /dev/shm.
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

#[cfg(test)]
mod tests {
    use super::*;

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
