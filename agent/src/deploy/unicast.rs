//! Streams from the files of the image share, for a deploy to this machine alone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use imaging::Piece;
use readable::{Time, chain};
use tokio::sync::mpsc;

use super::ending::Ending;
use super::failure::Touched;
use super::receive::{Current, Farewell};
use super::resume::Cause;
use super::streams::{DeploySources, Source, Sources, StreamError};
use crate::share::is_of_server;

/// Opens the files of one stream after the other.
pub(crate) struct FileSources {
    /// Of each stream, in order.
    pub(crate) files: Vec<Vec<PathBuf>>,
    pub(crate) current: Current,
    pub(crate) farewells: mpsc::UnboundedSender<Farewell>,
    pub(crate) touched: Touched,
    pub(crate) is_server_told: bool,
    pub(crate) patience: SharePatience,
}

/// How long a share that has stopped to answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharePatience {
    /// Without a byte.
    pub(crate) limit: Duration,
    /// Between two tries.
    pub(crate) pause: Duration,
}

impl Default for SharePatience {
    fn default() -> Self {
        Self {
            limit: SHARE_LIMIT,
            pause: Duration::from_secs(2),
        }
    }
}

impl Sources for FileSources {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>> {
        let files = self.files.get(index).cloned().unwrap_or_default();
        self.current.set_read(index);
        let source = StoredFiles {
            rest: files.into_iter().rev().collect(),
            open: None,
            current: self.current.clone(),
            patience: self.patience,
            lost_since: None,
        };
        Ok(Box::new(source))
    }

    fn is_record_promised(&self) -> bool {
        false
    }

    fn confirm(&mut self, index: usize) -> usize {
        index
    }

    fn carries(&mut self, index: usize) {
        self.current.set_read(index);
    }

    fn resume(&mut self, _index: usize, _cause: Cause) -> Option<usize> {
        None
    }

    fn leaving(&mut self, error: &StreamError) {
        let text = self.touched.complete(&chain(error));
        self.is_server_told = Farewell::send(&self.farewells, text);
    }
}

impl DeploySources for FileSources {
    fn explain(&self, error: &StreamError) -> String {
        chain(error)
    }

    fn is_server_told(&self) -> bool {
        self.is_server_told
    }

    fn ending(&self) -> Ending {
        self.current.ending.clone()
    }
}

/// The bytes of files, one after the other. A share that stops to answer is waited for: what has come is on the disk,
/// and the rest is as good as it was before.
struct StoredFiles {
    /// Not opened yet, the next one last.
    rest: Vec<PathBuf>,
    open: Option<OpenFile>,
    current: Current,
    patience: SharePatience,
    /// Since when the share does not answer.
    lost_since: Option<Instant>,
}

/// The file that is being read.
struct OpenFile {
    path: PathBuf,
    /// `None` after an error: a server that comes back may not know the old handle.
    file: Option<File>,
    identity: Identity,
    at: u64,
}

/// A file that has others is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let facts = file.metadata()?;
        Ok(Self {
            inode: facts.ino(),
            len: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
        })
    }
}

/// Why there are no bytes.
enum Unread {
    Error(io::Error),
    /// It is not the file any more that was begun.
    Changed,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

impl OpenFile {
    fn new(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let identity = Identity::of(&file)?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            identity,
            at: 0,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unread> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = File::open(&self.path)?;
                if Identity::of(&file)? != self.identity {
                    return Err(Unread::Changed);
                }
                file
            }
        };
        let len = file.read_at(buffer, self.at)?;
        self.file = Some(file);
        self.at += len as u64;
        Ok(len)
    }
}

impl StoredFiles {
    /// One try.
    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Unread> {
        loop {
            if let Some(open) = &mut self.open {
                let len = open.read(buffer)?;
                if len > 0 || buffer.is_empty() {
                    return Ok(len);
                }
                self.open = None;
            }
            let Some(path) = self.rest.last() else {
                return Ok(0);
            };
            self.open = Some(OpenFile::new(path)?);
            self.rest.pop();
        }
    }

    /// The file that is being read, or would be.
    fn name(&self) -> String {
        let open = self.open.as_ref().map(|open| &open.path);
        let path = open.or_else(|| self.rest.last());
        let name = path.and_then(|path| path.file_name()).unwrap_or_default();
        name.display().to_string()
    }

    /// For how long the share has not answered, if it is waited for after this error. A server that comes back may be
    /// without its files for a moment.
    fn lost_for(&mut self, error: &io::Error) -> Option<Duration> {
        if !is_of_server(error) && self.lost_since.is_none() {
            return None;
        }
        let since = *self.lost_since.get_or_insert_with(Instant::now);
        Some(since.elapsed())
    }

    fn pause(&self) {
        let end = Instant::now() + self.patience.pause;
        while !self.current.is_given_up() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

impl Read for StoredFiles {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.current.is_given_up() {
                return Err(io::Error::other("given up"));
            }
            let error = match self.try_read(buffer) {
                Ok(len) => {
                    if self.lost_since.take().is_some() {
                        self.current.set_share_trouble(None);
                    }
                    return Ok(len);
                }
                Err(Unread::Changed) => {
                    return Err(io::Error::other(format!(
                        "{} was changed while the share did not answer; deploy this machine again",
                        self.name()
                    )));
                }
                Err(Unread::Error(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(Unread::Error(error)) => error,
            };
            let trouble = format!("{}: {error}", self.name());
            let lost = self.lost_for(&error);
            if lost.is_none_or(|lost| lost >= self.patience.limit) {
                let waited = lost.map(|lost| {
                    format!(
                        "; the share was waited for, for {}: check the NFS server and the network",
                        Time(lost)
                    )
                });
                let text = format!("{trouble}{}", waited.unwrap_or_default());
                return Err(io::Error::new(error.kind(), text));
            }
            self.current.set_share_trouble(Some(trouble));
            self.pause();
        }
    }
}

impl Source for StoredFiles {
    fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        Piece::read(self, spare, PIECE_LEN)
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

const PIECE_LEN: usize = 256 << 10;
/// As long as the sender of a multicast session.
pub(crate) const SHARE_LIMIT: Duration = Duration::from_secs(600);
/// How often a pause looks whether all is given up.
const LOOK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: SharePatience = SharePatience {
        limit: Duration::from_secs(600),
        pause: Duration::from_millis(1),
    };

    fn sources(files: &[PathBuf], patience: SharePatience) -> FileSources {
        let (farewells, _heard) = mpsc::unbounded_channel();
        FileSources {
            files: vec![files.to_vec()],
            current: Current::default(),
            farewells,
            touched: Touched::default(),
            is_server_told: false,
            patience,
        }
    }

    fn three_files(dir: &Path) -> Vec<PathBuf> {
        let files = [("a.000", "one"), ("a.001", ""), ("a.002", "two")];
        let write = |(name, text): (&str, &str)| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        files.map(write).to_vec()
    }

    #[test]
    fn the_files_of_a_stream_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let paths = three_files(dir.path());
        let mut sources = sources(&paths, QUICK);
        let mut source = sources.open(0).unwrap();
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"onetwo");
        std::fs::remove_file(&paths[2]).unwrap();
        let mut source = sources.open(0).unwrap();
        let error = source.read_to_end(&mut bytes).unwrap_err();
        assert!(error.to_string().contains("a.002"), "{error}");
        assert!(sources.current.give_up());
        let mut source = sources.open(0).unwrap();
        source.read(&mut [0; 8]).unwrap_err();
    }

    fn stored(paths: &[PathBuf], patience: SharePatience) -> (StoredFiles, Current) {
        let current = Current::default();
        let source = StoredFiles {
            rest: paths.iter().rev().cloned().collect(),
            open: None,
            current: current.clone(),
            patience,
            lost_since: None,
        };
        (source, current)
    }

    /// As after an error of the server in the middle of a file.
    fn lose(source: &mut StoredFiles) {
        source.lost_for(&io::Error::from_raw_os_error(nix::libc::EIO));
        source.open.as_mut().unwrap().file = None;
    }

    #[test]
    fn a_share_that_comes_back_is_read_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let paths = three_files(dir.path());
        let (mut source, current) = stored(&paths, QUICK);
        let mut two = [0; 2];
        source.read_exact(&mut two).unwrap();
        lose(&mut source);
        let away = dir.path().join("away");
        std::fs::rename(&paths[0], &away).unwrap();
        let read = std::thread::spawn(move || {
            let mut rest = Vec::new();
            source.read_to_end(&mut rest).map(|_| rest)
        });
        while current.share_trouble().is_none() {
            std::thread::yield_now();
        }
        assert!(current.share_trouble().unwrap().starts_with("a.000: "));
        std::fs::rename(&away, &paths[0]).unwrap();
        assert_eq!(read.join().unwrap().unwrap(), b"etwo");
        assert_eq!(current.share_trouble(), None);
    }

    #[test]
    fn another_file_in_the_place_of_the_one_that_was_begun_is_no_rest_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths = three_files(dir.path());
        let (mut source, _current) = stored(&paths, QUICK);
        source.read_exact(&mut [0; 2]).unwrap();
        lose(&mut source);
        let other = dir.path().join("other");
        std::fs::write(&other, "ONE").unwrap();
        std::fs::rename(&other, &paths[0]).unwrap();
        let error = source.read(&mut [0; 8]).unwrap_err();
        assert!(error.to_string().contains("a.000 was changed"), "{error}");
    }

    #[test]
    fn a_share_is_not_waited_for_for_ever_nor_when_all_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let paths = three_files(dir.path());
        let none = SharePatience {
            limit: Duration::ZERO,
            ..QUICK
        };
        let long = SharePatience {
            pause: Duration::from_secs(3600),
            ..QUICK
        };
        for (patience, words) in [(none, "was waited for"), (long, "given up")] {
            let (mut source, current) = stored(&paths, patience);
            source.read_exact(&mut [0; 2]).unwrap();
            lose(&mut source);
            source.open.as_mut().unwrap().path = dir.path().join("gone");
            let read = std::thread::spawn(move || source.read(&mut [0; 8]).unwrap_err());
            if words == "given up" {
                while current.share_trouble().is_none() {
                    std::thread::yield_now();
                }
                assert!(current.give_up());
            }
            let error = read.join().unwrap();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
