//! Streams from the files of the image share, for a deploy to this machine alone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use imaging::Piece;
use readable::Time;

use super::alone::{Origin, PIECE_LEN, Patient};
use super::streams::Source;
use crate::share::is_of_server;

/// Files of the share.
pub(crate) struct Stored {
    /// Of each stream, in order.
    pub(crate) files: Vec<Vec<PathBuf>>,
}

impl Origin for Stored {
    fn open(&self, index: usize, patient: Patient) -> Box<dyn Source> {
        let files = self.files.get(index).cloned().unwrap_or_default();
        Box::new(StoredFiles::new(files, patient))
    }
}

/// The bytes of files, one after the other.
struct StoredFiles {
    /// Not opened yet, the next one last.
    rest: Vec<PathBuf>,
    open: Option<OpenFile>,
    patient: Patient,
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
    fn new(mut files: Vec<PathBuf>, patient: Patient) -> Self {
        files.reverse();
        Self {
            rest: files,
            open: None,
            patient,
        }
    }

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

    /// For how long the share has not answered, and whether that is too long, if it is waited for after this error. A
    /// server that comes back may be without its files for a moment.
    fn lost_for(&mut self, error: &io::Error) -> Option<(Duration, bool)> {
        if !is_of_server(error) && !self.patient.is_lost() {
            return None;
        }
        Some(self.patient.lost())
    }
}

impl Read for StoredFiles {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.patient.check()?;
            let error = match self.try_read(buffer) {
                Ok(len) => {
                    self.patient.answered();
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
            if lost.is_none_or(|(_, is_too_long)| is_too_long) {
                let waited = lost.map(|(lost, _)| {
                    format!(
                        "; the share was waited for, for {}: check the NFS server and the network",
                        Time(lost)
                    )
                });
                let text = format!("{trouble}{}", waited.unwrap_or_default());
                return Err(io::Error::new(error.kind(), text));
            }
            self.patient.pause(trouble);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::alone::Patience;
    use crate::deploy::receive::Current;

    const QUICK: Patience = Patience {
        limit: Duration::from_secs(600),
        pause: Duration::from_millis(1),
    };

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
        let (mut source, _) = stored(&paths, QUICK);
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"onetwo");
        std::fs::remove_file(&paths[2]).unwrap();
        let (mut source, current) = stored(&paths, QUICK);
        let error = source.read_to_end(&mut bytes).unwrap_err();
        assert!(error.to_string().contains("a.002"), "{error}");
        assert!(current.give_up());
        source.read(&mut [0; 8]).unwrap_err();
    }

    fn stored(paths: &[PathBuf], patience: Patience) -> (StoredFiles, Current) {
        let current = Current::default();
        let patient = Patient::new(current.clone(), patience);
        let source = StoredFiles::new(paths.to_vec(), patient);
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
        let none = Patience {
            limit: Duration::ZERO,
            ..QUICK
        };
        let long = Patience {
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
