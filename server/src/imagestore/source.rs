//! The bytes of a stream: a record if wanted, then the stored files, checked while they are read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use fog::record::{RECORD_LEN, RecordError};
use fos_api::{Blake3, StreamFacts};

use super::dir::{FileError, ImageDir, mtime_nanos, shown};
use crate::domain::image::{Facts, StoredFile};

/// Holds a source back until it is decided whether the stream begins with a record.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum GateState {
    #[default]
    Shut,
    Open {
        with_record: bool,
    },
    Closed,
}

impl Gate {
    /// Lets the source be read.
    pub fn open(&self, with_record: bool) {
        self.set(GateState::Open { with_record });
    }

    /// The stream will not be sent: whoever waits gets an error.
    pub fn close(&self) {
        self.set(GateState::Closed);
    }

    fn set(&self, state: GateState) {
        let (lock, changed) = &*self.0;
        let mut now = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == GateState::Shut {
            *now = state;
            changed.notify_all();
        }
    }

    fn wait(&self) -> io::Result<bool> {
        let (lock, changed) = &*self.0;
        let mut state = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                GateState::Open { with_record } => return Ok(with_record),
                GateState::Closed => return Err(io::Error::other("the session ended first")),
                GateState::Shut => {
                    state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// A stream ready to be read. Fails rather than ends where the files are not what they were.
#[derive(Debug)]
pub struct Source {
    gate: Option<Gate>,
    /// Opened with the first file: the caller may be on a thread that must not block.
    dir: LazyDir,
    record: [u8; RECORD_LEN],
    /// Bytes of the record still to be handed out.
    record_left: usize,
    parts: VecDeque<Part>,
    current: Option<(File, Part)>,
    hasher: blake3::Hasher,
    expected_hash: Blake3,
    bytes_read: Arc<AtomicU64>,
}

#[derive(Debug)]
enum LazyDir {
    Shut(PathBuf),
    Open(ImageDir),
}

impl LazyDir {
    fn open(&mut self) -> io::Result<&ImageDir> {
        if let Self::Shut(path) = self {
            let dir = ImageDir::open(path).map_err(|error| named(path, &error))?;
            *self = Self::Open(dir);
        }
        match self {
            Self::Open(dir) => Ok(dir),
            Self::Shut(_) => Err(io::Error::other("the image directory is not open")),
        }
    }
}

#[derive(Debug)]
struct Part {
    name: String,
    path: PathBuf,
    size: u64,
    mtime: i64,
    left: u64,
}

/// Why a stream cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Its name does not fit into a record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The database does not know such a stream.
    #[error("the image has no stream number {0}")]
    NoStream(usize),
}

impl Source {
    /// The stream with this index of an image in `dir`.
    ///
    /// # Errors
    /// If the stream is not known or cannot have a record.
    pub fn new(dir: &Path, facts: &Facts, index: usize, gate: Gate) -> Result<Self, SourceError> {
        let stream = facts
            .streams
            .get(index)
            .ok_or(SourceError::NoStream(index))?;
        let parts = stream_files(facts, index).into_iter().map(|file| Part {
            path: dir.join(&file.name),
            name: file.name.clone(),
            size: file.size,
            mtime: file.mtime,
            left: file.size,
        });
        let StreamFacts { name, blake3, .. } = stream;
        Ok(Self {
            gate: Some(gate),
            dir: LazyDir::Shut(dir.to_owned()),
            record: fog::record::emit(name)?,
            record_left: 0,
            parts: parts.collect(),
            current: None,
            hasher: blake3::Hasher::new(),
            expected_hash: *blake3,
            bytes_read: Arc::default(),
        })
    }

    /// Bytes of the files read so far; goes on counting.
    #[must_use]
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    fn next_part(&mut self) -> io::Result<bool> {
        let Some(part) = self.parts.pop_front() else {
            let hash = Blake3::from(self.hasher.finalize());
            if hash != self.expected_hash {
                return Err(io::Error::other(
                    "its bytes are not those that were there when the image was added (BLAKE3 \
                     differs): the disk of the server is failing or somebody changed the file. \
                     Restore the file, or verify the image anew with fos-server image update",
                ));
            }
            return Ok(false);
        };
        let (file, metadata) = self.dir.open()?.file(&part.name).map_err(as_io)?;
        if metadata.len() != part.size || mtime_nanos(&metadata) != part.mtime {
            return Err(io::Error::other(format!(
                "{} was changed after the image was verified; verify it anew with fos-server image update",
                shown(&part.path)
            )));
        }
        self.current = Some((file, part));
        Ok(true)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            if gate.wait()? {
                self.record_left = RECORD_LEN;
            }
            self.gate = None;
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.record_left > 0 {
            let rest = &self.record[RECORD_LEN - self.record_left..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            self.record_left -= count;
            return Ok(count);
        }
        loop {
            let Some((file, part)) = &mut self.current else {
                if self.next_part()? {
                    continue;
                }
                return Ok(0);
            };
            let count = file
                .read(buffer)
                .map_err(|error| named(&part.path, &error))?;
            if count == 0 && part.left == 0 {
                self.current = None;
                continue;
            }
            let length = u64::try_from(count).unwrap_or(u64::MAX);
            if count == 0 || length > part.left {
                let kind = if count == 0 {
                    "ends early"
                } else {
                    "has grown"
                };
                return Err(io::Error::other(format!(
                    "{} {kind}: it had {} bytes when the image was verified; verify it anew with fos-server image update",
                    shown(&part.path),
                    part.size
                )));
            }
            part.left -= length;
            self.bytes_read.fetch_add(length, Ordering::Relaxed);
            self.hasher.update(&buffer[..count]);
            return Ok(count);
        }
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", shown(path)))
}

/// Keeps the kind, by which callers tell what is lost from what is broken.
fn as_io(error: FileError) -> io::Error {
    let kind = match &error {
        FileError::Io { cause, .. } => cause.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// The files of a stream in order.
#[must_use]
pub(super) fn stream_files(facts: &Facts, index: usize) -> Vec<&StoredFile> {
    let mut files: Vec<&StoredFile> = facts
        .files
        .iter()
        .filter(|file| {
            file.place
                .is_some_and(|p| usize::try_from(p.stream) == Ok(index))
        })
        .collect();
    files.sort_by_key(|file| file.place);
    files
}

#[cfg(test)]
pub(crate) mod tests {
    use fog::store::StreamName;

    use super::*;
    use crate::domain::image::{Place, tests::sample_facts};

    pub(crate) fn prepared(dir: &Path, parts: &[(&str, &[u8])]) -> Facts {
        let mut facts = sample_facts(&["d1p1.img"]);
        facts.files.clear();
        let mut hasher = blake3::Hasher::new();
        for (part, (name, bytes)) in (0..).zip(parts) {
            std::fs::write(dir.join(name), bytes).unwrap();
            hasher.update(bytes);
            let metadata = std::fs::metadata(dir.join(name)).unwrap();
            facts.files.push(StoredFile {
                name: (*name).to_owned(),
                place: Some(Place { stream: 0, part }),
                size: metadata.len(),
                mtime: mtime_nanos(&metadata),
                blake3: String::new(),
            });
        }
        facts.streams[0].blake3 = hasher.finalize().into();
        facts
    }

    fn read(dir: &Path, facts: &Facts, with_record: bool) -> io::Result<Vec<u8>> {
        let gate = Gate::default();
        let mut source = Source::new(dir, facts, 0, gate.clone()).unwrap();
        gate.open(with_record);
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn chunks_are_joined_behind_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let parts: [(&str, &[u8]); 2] = [("d1p1.img.000", b"one"), ("d1p1.img.001", b"two")];
        let facts = prepared(dir.path(), &parts);
        assert_eq!(read(dir.path(), &facts, false).unwrap(), b"onetwo");
        let bytes = read(dir.path(), &facts, true).unwrap();
        let name = StreamName::of_file("d1p1.img");
        assert_eq!(fog::record::check(&bytes, &name, true), Ok(RECORD_LEN));
        assert_eq!(&bytes[RECORD_LEN..], b"onetwo");
    }

    #[test]
    fn changed_files_are_errors_not_ends() {
        let dir = tempfile::tempdir().unwrap();
        let facts = prepared(dir.path(), &[("d1p1.img", b"content")]);
        let path = dir.path().join("d1p1.img");
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        for (bytes, restore_time) in [
            (&b"conten"[..], true),
            (b"content", false),
            (b"c0ntent", true),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            let shifted = modified + std::time::Duration::from_secs(5);
            file.set_modified(if restore_time { modified } else { shifted })
                .unwrap();
            let error = read(dir.path(), &facts, false).unwrap_err().to_string();
            assert!(error.contains("fos-server image update"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = read(dir.path(), &facts, false).unwrap_err().to_string();
        assert!(error.contains("d1p1.img"), "{error}");
    }

    #[test]
    fn a_link_that_leads_out_is_not_sent() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("img");
        std::fs::create_dir(&dir).unwrap();
        let facts = prepared(&dir, &[("d1p1.img", b"content")]);
        let outside = root.path().join("outside");
        std::fs::rename(dir.join("d1p1.img"), &outside).unwrap();
        std::os::unix::fs::symlink(&outside, dir.join("d1p1.img")).unwrap();
        let error = read(&dir, &facts, false).unwrap_err().to_string();
        assert!(error.contains("leads out"), "{error}");
    }

    #[test]
    fn a_closed_gate_frees_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let facts = prepared(dir.path(), &[("d1p1.img", b"content")]);
        let gate = Gate::default();
        let mut source = Source::new(dir.path(), &facts, 0, gate.clone()).unwrap();
        let reader = std::thread::spawn(move || source.read(&mut [0; 10]));
        gate.close();
        assert!(reader.join().unwrap().is_err());
        gate.open(true);
    }
}
