//! Streams from the files of the image share, for a deploy to this machine alone.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use imaging::Piece;
use readable::chain;
use tokio::sync::mpsc;

use super::ending::Ending;
use super::failure::Touched;
use super::receive::{Current, Farewell};
use super::resume::Cause;
use super::streams::{DeploySources, Source, Sources, StreamError};

/// Opens the files of one stream after the other.
pub(crate) struct FileSources {
    /// Of each stream, in order.
    pub(crate) files: Vec<Vec<PathBuf>>,
    pub(crate) current: Current,
    pub(crate) farewells: mpsc::UnboundedSender<Farewell>,
    pub(crate) touched: Touched,
    pub(crate) is_server_told: bool,
}

impl Sources for FileSources {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>> {
        let files = self.files.get(index).cloned().unwrap_or_default();
        let source = StoredFiles {
            rest: files.into_iter().rev().collect(),
            open: None,
            current: self.current.clone(),
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

/// The bytes of files, one after the other.
struct StoredFiles {
    /// Not opened yet, the next one last.
    rest: Vec<PathBuf>,
    open: Option<(File, PathBuf)>,
    current: Current,
}

impl Read for StoredFiles {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.current.is_given_up() {
                return Err(io::Error::other("given up"));
            }
            if let Some((file, path)) = &mut self.open {
                let len = file.read(buffer).map_err(|error| named(path, &error))?;
                if len > 0 || buffer.is_empty() {
                    return Ok(len);
                }
            }
            let Some(path) = self.rest.pop() else {
                return Ok(0);
            };
            let file = File::open(&path).map_err(|error| named(&path, &error))?;
            self.open = Some((file, path));
        }
    }
}

fn named(path: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_stream_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a.000", "a.001", "a.002"]
            .iter()
            .map(|name| dir.path().join(name))
            .collect();
        std::fs::write(&paths[0], b"one").unwrap();
        std::fs::write(&paths[1], b"").unwrap();
        std::fs::write(&paths[2], b"two").unwrap();
        let (farewells, _heard) = mpsc::unbounded_channel();
        let mut sources = FileSources {
            files: vec![paths.clone()],
            current: Current::default(),
            farewells,
            touched: Touched::default(),
            is_server_told: false,
        };
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
}
