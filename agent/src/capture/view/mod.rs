//! A partition as a file, for programs that know devices and files alone.
//!
//! The file is served by this process (FUSE), out of the disk that it holds for reading. So it is known which places a
//! program could not read, and what a program writes goes to memory: the disk is never written to. The file is seen by this
//! process and those that it starts from the thread of [`shown`], and is gone with them, however they end.

mod wire;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use capture::{Full, Overlay, Unreadables};
use disk::SourceDisk;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::deploy::alone;
use wire::{Attributes, FILE, Operation, ROOT, Request};

/// What is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    disk: Arc<SourceDisk>,
    /// Offset and length of its pieces on the disk, in bytes.
    runs: Vec<(u64, u64)>,
    /// Bytes in all.
    len: u64,
    /// What programs have changed, where they may.
    changes: Option<Mutex<Overlay>>,
    manner: Manner,
    unreadable: Mutex<Unreadables>,
    /// Whether a change did not fit in memory.
    is_full: std::sync::atomic::AtomicBool,
}

/// What becomes of places that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Who reads one gets an error.
    Strict,
    /// They read as zeroes, and are listed.
    Rescue,
}

impl Shown {
    pub(crate) fn new(
        disk: &Arc<SourceDisk>,
        runs: &[(u64, u64)],
        manner: Manner,
        changes: Option<Overlay>,
    ) -> Self {
        Self {
            disk: Arc::clone(disk),
            runs: runs.to_vec(),
            len: runs
                .iter()
                .map(|(_, len)| *len)
                .fold(0, u64::saturating_add),
            changes: changes.map(Mutex::new),
            manner,
            unreadable: Mutex::default(),
            is_full: false.into(),
        }
    }

    /// The same content, and no more of it.
    pub(crate) fn shorter(self, len: u64) -> Self {
        Self {
            len: len.min(self.len),
            ..self
        }
    }

    pub(crate) fn manner(&self) -> Manner {
        self.manner
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of memory that changes take.
    pub(crate) fn changed(&self) -> u64 {
        let changes = self.changes.as_ref();
        changes.map_or(0, |changes| lock(changes).used())
    }

    /// Places that somebody tried to read in vain, counted from the partition's start.
    pub(crate) fn unreadable(&self) -> Unreadables {
        lock(&self.unreadable).clone()
    }

    /// Whether a program wanted to change more than there was memory for.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Fills a buffer from an offset in the partition.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut base = |at, buffer: &mut [u8]| self.read_disk(at, buffer);
        match &self.changes {
            None => base(offset, buffer),
            Some(changes) => lock(changes).read(offset, buffer, &mut base),
        }
    }

    fn read_disk(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Err(error) = self.read_runs(offset, buffer) else {
            return Ok(());
        };
        // Which part of it?
        let mut last = None;
        let mut at = offset;
        for piece in buffer.chunks_mut(PIECE) {
            let place = at..at.saturating_add(piece.len() as u64);
            if let Err(error) = self.read_runs(at, piece) {
                piece.fill(0);
                lock(&self.unreadable).add(place.clone());
                last = Some(error);
            }
            at = place.end;
        }
        match (self.manner, last) {
            (_, None) | (Manner::Rescue, Some(_)) => Ok(()),
            (Manner::Strict, Some(_)) => Err(error),
        }
    }

    fn read_runs(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut rest = buffer;
        // Bytes in front of what is wanted.
        let mut before = offset;
        for (start, len) in &self.runs {
            if rest.is_empty() {
                break;
            }
            if before >= *len {
                before -= len;
                continue;
            }
            let count = usize::try_from(len - before).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_mut(count.min(rest.len()));
            self.disk.read_exact_at(now, start.saturating_add(before))?;
            (rest, before) = (later, 0);
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(data.len() as u64);
        let Some(changes) = &self.changes else {
            return Err(Errno::EROFS);
        };
        if end.is_none_or(|end| end > self.len) {
            return Err(Errno::ENOSPC);
        }
        let mut base = |at, buffer: &mut [u8]| {
            let read = self.read_disk(at, buffer);
            read.map_err(|_| NotKept::Read)
        };
        match lock(changes).write(offset, data, &mut base) {
            Ok(()) => Ok(()),
            Err(NotKept::Full) => {
                self.is_full.store(true, Ordering::Relaxed);
                Err(Errno::ENOSPC)
            }
            Err(NotKept::Read) => Err(Errno::EIO),
        }
    }

    fn attributes(&self, node: u64) -> Attributes {
        Attributes {
            node,
            size: if node == FILE { self.len } else { 0 },
            is_writable: self.changes.is_some(),
        }
    }

    /// What to answer; `None` if nothing.
    fn answer(&self, request: &Request<'_>, buffer: &mut Vec<u8>) -> Option<Answer> {
        let unique = request.unique;
        let refused = |errno: Errno| Answer::Short(wire::error(unique, errno as i32));
        Some(match request.operation {
            Operation::Init { flags, readahead } => {
                Answer::Short(wire::init(unique, flags, readahead))
            }
            Operation::Lookup(name) if request.node == ROOT && name == NAME.as_bytes() => {
                Answer::Short(wire::entry(unique, &self.attributes(FILE)))
            }
            Operation::Lookup(_) => refused(Errno::ENOENT),
            Operation::GetAttributes => {
                Answer::Short(wire::attributes(unique, &self.attributes(request.node)))
            }
            Operation::SetAttributes { size } if size.is_none_or(|size| size == self.len) => {
                Answer::Short(wire::attributes(unique, &self.attributes(request.node)))
            }
            Operation::SetAttributes { .. } => refused(Errno::EPERM),
            Operation::Open => {
                // What the kernel reads ahead would count as unreadable, and perhaps nobody needs it.
                Answer::Short(wire::opened(unique, true))
            }
            Operation::OpenDirectory => Answer::Short(wire::opened(unique, false)),
            Operation::Read { offset, len } => {
                let left = self.len.saturating_sub(offset).min(len.into());
                let len = usize::try_from(left).unwrap_or(0).min(READ_MAX);
                buffer.resize(len, 0);
                match self.read(offset, buffer) {
                    Ok(()) => Answer::Data,
                    Err(_) => refused(Errno::EIO),
                }
            }
            Operation::Write { offset, data } => match self.write(offset, data) {
                Ok(()) => Answer::Short(wire::written(unique, data.len())),
                Err(errno) => refused(errno),
            },
            Operation::ReadDirectory | Operation::Nothing => Answer::Short(wire::done(unique)),
            Operation::Statistics => Answer::Short(wire::statistics(unique)),
            Operation::Unanswered => return None,
            Operation::Unknown => refused(Errno::ENOSYS),
        })
    }
}

/// Why a change was not kept.
enum NotKept {
    Full,
    Read,
}

impl From<Full> for NotKept {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

enum Answer {
    Short(Vec<u8>),
    /// What is in the buffer.
    Data,
}

/// Shows a partition as a file while `work` runs, which gets its path.
///
/// # Errors
/// The kernel has no FUSE, or this process may not mount.
pub(crate) fn shown<T: Send>(
    shown: &Shown,
    work: impl FnOnce(&Path) -> T + Send,
) -> anyhow::Result<T> {
    alone(|| {
        let mounted = Mounted::new(shown.changes.is_some())?;
        let path = mounted.at.join(NAME);
        let device = &mounted.device;
        std::thread::scope(|scope| {
            // Ends the threads, whatever happens.
            let _mounted = Unmount(&mounted);
            for _ in 0..THREADS {
                std::thread::Builder::new()
                    .name("view".into())
                    .spawn_scoped(scope, move || serve(device, shown))
                    .context("starting a thread")?;
            }
            anyhow::Ok(work(&path))
        })
    })
    .context("making mounts of its own")?
}

/// Answers requests until the file system is unmounted.
fn serve(device: &File, shown: &Shown) {
    let mut request = vec![0; REQUEST_MAX];
    let mut data = Vec::new();
    loop {
        let mut reader = device;
        let len = match reader.read(&mut request) {
            Ok(len) => len,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                // A request that was taken back.
                Some(Errno::ENOENT | Errno::EINTR | Errno::EAGAIN) => continue,
                _ => return,
            },
        };
        let Some(parsed) = request.get(..len).and_then(wire::parse) else {
            continue;
        };
        let (mut writer, unique) = (device, parsed.unique);
        // Who asked may be gone.
        match shown.answer(&parsed, &mut data) {
            None => {}
            Some(Answer::Short(answer)) => drop(writer.write(&answer)),
            Some(Answer::Data) => {
                let head = wire::head(unique, 0, data.len());
                drop(writer.write_vectored(&[IoSlice::new(&head), IoSlice::new(&data)]));
            }
        }
    }
}

/// The file system, in a directory that nobody else sees.
struct Mounted {
    device: File,
    at: PathBuf,
}

impl Mounted {
    fn new(is_writable: bool) -> anyhow::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(DEVICE)
            .with_context(|| {
                format!("opening {DEVICE}, by which programs are shown a partition (is the kernel module fuse loaded?)")
            })?;
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let at = Path::new(DIRECTORY).join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        if !is_writable {
            flags |= MsFlags::MS_RDONLY;
        }
        let mounted = mount(
            Some("fos-capture"),
            &at,
            Some("fuse"),
            flags,
            Some(options.as_str()),
        );
        if let Err(error) = mounted {
            fs::remove_dir(&at).unwrap_or_default();
            return Err(error).context("mounting the view of a partition");
        }
        Ok(Self { device, at })
    }
}

/// Unmounts when it is dropped.
struct Unmount<'a>(&'a Mounted);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let at = &self.0.at;
        // With whatever still has it open.
        umount2(at, MntFlags::MNT_DETACH).unwrap_or_default();
        fs::remove_dir(at).unwrap_or_default();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const DEVICE: &str = "/dev/fuse";
const DIRECTORY: &str = "/run/fos-agent/view";
/// Name of the file.
const NAME: &str = "partition";
/// What is tried by itself where a larger piece cannot be read: no disk has larger sectors.
const PIECE: usize = 4096;
/// One computes or copies while another one waits for the disk.
const THREADS: usize = 2;
const READ_MAX: usize = 1 << 20;
/// The longest request is a write.
const REQUEST_MAX: usize = wire::WRITE_MAX as usize + 4096;

#[cfg(test)]
mod tests;
