//! Where an image comes from: files that belong together, standard input, the network.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cast_net::{ReceiveStatus, Stop};

mod cast;
mod files;
mod series;
mod stdin;

pub use cast::Cast;
use files::Files;
pub use stdin::standard_input;

use crate::piece::{PIECE_LEN, Piece, Pieces};
use crate::tap::record;

/// The bytes of an image, stored or on their way.
pub struct Source {
    input: Input,
    /// Bytes that have been looked at already.
    start: VecDeque<u8>,
    /// For people.
    name: String,
    /// Bytes in all, if known; without the record.
    len: Option<u64>,
    /// Name in the record in front of the image, if there is one.
    record: Option<String>,
}

enum Input {
    Files(Files),
    Stdin(File),
    Cast(Box<Cast>),
}

impl Source {
    /// Opens the files that make up one image, in natural order; `-` is standard input.
    ///
    /// # Errors
    /// A file cannot be opened, is missing between others, or does not belong to them.
    pub fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        if paths.iter().any(|path| path == Path::new("-")) {
            ensure!(
                paths.len() == 1,
                "standard input (-) cannot be one of several pieces"
            );
            let input = standard_input().context("opening standard input")?;
            return Self::new(Input::Stdin(input), "standard input".into(), None);
        }
        let (files, name, len) = Files::open(paths)?;
        Self::new(Input::Files(files), name, len)
    }

    /// A stream from the network.
    ///
    /// # Errors
    /// It fails before its first bytes.
    pub fn cast(stream: Cast, name: String) -> anyhow::Result<Self> {
        Self::new(Input::Cast(Box::new(stream)), name, None)
    }

    /// Reads as many bytes as a record has, and strips it if it is one.
    fn new(input: Input, name: String, len: Option<u64>) -> anyhow::Result<Self> {
        let mut source = Self {
            input,
            start: VecDeque::new(),
            name,
            len,
            record: None,
        };
        let start = read_up_to(&mut source.input, record::LEN)
            .with_context(|| format!("reading {}", source.name))?;
        if let Some(name) = record::name_in(&start)? {
            source.record = Some(name);
            source.len = len.map(|len| len.saturating_sub(start.len() as u64));
        } else {
            source.start = start.into();
        }
        Ok(source)
    }

    /// The first bytes, up to as many as a record has.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn first_bytes(&mut self) -> anyhow::Result<&[u8]> {
        if self.start.len() < image::SNIFF_LEN {
            // The record took them all.
            let more = read_up_to(&mut self.input, FIRST_LEN)
                .with_context(|| format!("reading {}", self.name))?;
            self.start.extend(more);
        }
        Ok(self.start.make_contiguous())
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in all, if known; without the record.
    #[must_use]
    pub fn stored_len(&self) -> Option<u64> {
        self.len
    }

    /// Name in the record in front of the image, if there is one.
    #[must_use]
    pub fn record(&self) -> Option<&str> {
        self.record.as_deref()
    }

    /// What is known of a stream from the network while it is read, and how long it may be silent.
    #[must_use]
    pub fn network(&self) -> Option<(Arc<ReceiveStatus>, Option<Duration>)> {
        match &self.input {
            Input::Cast(stream) => Some((stream.status(), stream.timeout())),
            _ => None,
        }
    }
}

impl Pieces for Source {
    /// What comes from the network is not copied.
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        match &mut self.input {
            Input::Cast(stream) if self.start.is_empty() => stream.next(spare),
            _ => Piece::read(self, spare, PIECE_LEN),
        }
    }

    /// Only a transfer can be ended while it waits. A read of a named pipe, of a tape or of a file whose
    /// server is gone may take for ever.
    fn stopper(&self) -> Option<Stop> {
        match &self.input {
            Input::Cast(stream) => stream.stopper(),
            _ => None,
        }
    }

    fn confirm(self) -> anyhow::Result<()> {
        match self.input {
            Input::Cast(stream) => stream.confirm(),
            _ => Ok(()),
        }
    }
}

/// First bytes of an image that are looked at behind a record; at least `SNIFF_LEN`.
const FIRST_LEN: usize = 64;

/// So many bytes; fewer at the end alone. A signal that interrupts a read is no end.
fn read_up_to(input: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    input.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.start.is_empty() {
            return self.start.read(buffer);
        }
        self.input.read(buffer)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Files(pieces) => pieces.read(buffer),
            Self::Stdin(file) => file.read(buffer),
            Self::Cast(stream) => stream.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fog::store::StreamName;

    use super::*;

    #[test]
    fn pieces_are_read_as_one_and_a_record_is_stripped() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let record = fog::record::emit(&StreamName::of_file("d1p2.img")).unwrap();
        fs::write(path("x.000"), &record[..100]).unwrap();
        fs::write(path("x.001"), &record[100..]).unwrap();
        fs::write(path("x.002"), b"").unwrap();
        fs::write(path("x.003"), b"the image").unwrap();
        let pieces = ["x.000", "x.001", "x.002", "x.003"].map(path);
        let mut source = Source::open(&pieces).unwrap();
        assert_eq!(source.record.as_deref(), Some("d1p2.img"));
        assert_eq!(source.len, Some(9));
        assert_eq!(source.first_bytes().unwrap(), b"the image");
        let mut text = String::new();
        source.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the image");

        let mut source = Source::open(&[path("x.003")]).unwrap();
        assert_eq!((source.record.clone(), source.len), (None, Some(9)));
        text.clear();
        source.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the image");
        assert!(Source::open(&[path("nothing")]).is_err());
        assert!(Source::open(&[directory.path().to_owned()]).is_err());
    }

    #[test]
    fn a_signal_does_not_end_the_first_bytes() {
        /// One byte at a time, each after an interrupted read.
        struct Interrupted<'a>(&'a [u8], bool);
        impl Read for Interrupted<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                self.0.read(&mut buffer[..1])
            }
        }
        let mut input = Interrupted(b"the image", false);
        assert_eq!(read_up_to(&mut input, 6).unwrap(), b"the im");
        assert_eq!(read_up_to(&mut input, 6).unwrap(), b"age");
        assert_eq!(read_up_to(&mut input, 6).unwrap(), b"");
    }
}
