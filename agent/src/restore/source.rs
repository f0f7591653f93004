//! Where an image comes from: files that belong together, standard input, the network.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cast_net::{ReceivedStream, Stop};
use fog::record::{self, Found, RECORD_LEN};
use fog::store::{self, StoreError};
use fog::task::ImageType;

use super::silence::Watched;
use crate::pieces::{self, PIECE_LEN, Piece};

/// The bytes of an image, stored or on their way.
pub(crate) struct Source {
    input: Input,
    /// Bytes that have been looked at already.
    start: VecDeque<u8>,
    /// For people.
    pub(super) name: String,
    /// Bytes in all, if known; without the record.
    pub(super) len: Option<u64>,
    /// Name in the record in front of the image, if there is one.
    pub(super) record: Option<String>,
}

enum Input {
    Files(Pieces),
    Stdin(File),
    /// With how long it may be silent.
    Network(Box<ReceivedStream>, Option<Duration>),
}

/// The pieces of a split image, one after the other.
struct Pieces {
    current: Option<(PathBuf, File)>,
    next: VecDeque<(PathBuf, File)>,
}

impl Source {
    /// Opens the files that make up one image, in natural order; `-` is standard input.
    ///
    /// # Errors
    /// A file cannot be opened, is missing between others, or does not belong to them.
    pub(crate) fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        if paths.iter().any(|path| path == Path::new("-")) {
            ensure!(
                paths.len() == 1,
                "standard input (-) cannot be one of several pieces"
            );
            let input = pieces::standard_input().context("opening standard input")?;
            return Self::new(Input::Stdin(input), "standard input".into(), None);
        }
        let paths = in_order(paths)?;
        let mut next = VecDeque::new();
        let mut len = Some(0_u64);
        for path in paths {
            let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            let meta = file
                .metadata()
                .with_context(|| format!("looking at {}", path.display()))?;
            ensure!(!meta.is_dir(), "{} is a directory", path.display());
            // Pipes and devices do not tell.
            len = len
                .filter(|_| meta.is_file())
                .and_then(|len| len.checked_add(meta.len()));
            next.push_back((path, file));
        }
        let name = match (next.front(), next.len()) {
            (Some((path, _)), 1) => path.display().to_string(),
            (Some((path, _)), count) => format!("{} ({count} pieces)", path.display()),
            _ => bail!("no image is given"),
        };
        let current = None;
        Self::new(Input::Files(Pieces { current, next }), name, len)
    }

    /// A stream from the network, which fails when it is silent for `timeout`.
    ///
    /// # Errors
    /// It fails before its first bytes.
    pub(crate) fn network(
        stream: ReceivedStream,
        name: String,
        timeout: Option<Duration>,
    ) -> anyhow::Result<Self> {
        Self::new(Input::Network(Box::new(stream), timeout), name, None)
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
        let start = read_up_to(&mut source.input, RECORD_LEN)
            .with_context(|| format!("reading {}", source.name))?;
        match record::look(&start) {
            Found::None => source.start = start.into(),
            Found::Record(name) => {
                source.record = Some(name);
                source.len = len.map(|len| len.saturating_sub(RECORD_LEN as u64));
            }
            Found::Newer(tag) => {
                bail!("the stream begins with a record of version {tag:?}: this program is too old")
            }
        }
        Ok(source)
    }

    /// The first bytes, up to as many as a record has.
    pub(super) fn first_bytes(&mut self) -> anyhow::Result<&[u8]> {
        if self.start.len() < image::SNIFF_LEN {
            // The record took them all.
            let more = read_up_to(&mut self.input, FIRST_LEN)
                .with_context(|| format!("reading {}", self.name))?;
            self.start.extend(more);
        }
        Ok(self.start.make_contiguous())
    }

    /// The next bytes; none at the end. What comes from the network is not copied.
    ///
    /// # Errors
    /// As [`read`](Read::read).
    pub(super) fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        match &mut self.input {
            Input::Network(stream, _) if self.start.is_empty() => {
                stream.take_slice(spare).map(Piece::from)
            }
            _ => Piece::read(self, spare, PIECE_LEN),
        }
    }

    /// What somebody needs to know who watches this being read.
    pub(super) fn watched(&self) -> Watched {
        Watched {
            name: self.name.clone(),
            len: self.len,
            network: match &self.input {
                Input::Network(stream, timeout) => Some((stream.status(), *timeout)),
                _ => None,
            },
        }
    }

    /// Whether a blocked [`read`](Read::read) can be ended, by [`Stop`]. That of a named pipe, of a tape
    /// or of a file whose server is gone may take for ever.
    pub(super) fn can_be_stopped(&self) -> bool {
        matches!(self.input, Input::Network(..))
    }

    /// After the last byte: leaves the transfer, if it was one.
    ///
    /// # Errors
    /// The transfer did not end well after all.
    pub(super) fn close(self) -> anyhow::Result<()> {
        match self.input {
            Input::Network(stream, _) => {
                stream.finish().context("ending the transfer")?;
                Ok(())
            }
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
            Self::Network(stream, _) => stream.read(buffer),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.current.is_none() {
                self.current = self.next.pop_front();
            }
            let Some((path, file)) = &mut self.current else {
                return Ok(0);
            };
            let count = file.read(buffer).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.current = None;
        }
    }
}

/// Stops what a [`Source`] waits for.
pub(crate) type Stopper = Option<Stop>;

/// The pieces in their order, none missing.
fn in_order(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    // One file is what it is called.
    if let [path] = paths {
        return Ok(vec![path.clone()]);
    }
    let mut named = Vec::new();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} is no name of a file", path.display()))?;
        ensure!(
            named.iter().all(|(other, _)| *other != name),
            "{name} is given twice"
        );
        named.push((name, path));
    }
    let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    let streams = match store::streams(&names, ImageType::Raw, 0) {
        Ok(streams) => streams,
        Err(StoreError::SeveralRaw(found)) => bail!(
            "these files are not the pieces of one image (NAME or NAME.000, NAME.001, ...): {found}"
        ),
        Err(error) => return Err(error.into()),
    };
    let [stream] = &streams[..] else {
        bail!("no image is given");
    };
    ensure!(
        stream.files.len() == paths.len(),
        "hidden files are no pieces of an image"
    );
    let path_of = |file: &String| {
        let found = named.iter().find(|(name, _)| name == file);
        found.map(|(_, path)| (*path).clone())
    };
    Ok(stream.files.iter().filter_map(path_of).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fog::store::StreamName;

    use super::*;

    fn order(names: &[&str]) -> Result<Vec<String>, String> {
        let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let paths = in_order(&paths).map_err(|error| error.to_string())?;
        Ok(paths
            .iter()
            .map(|path| path.display().to_string())
            .collect())
    }

    #[test]
    fn pieces_are_put_in_order_and_gaps_are_found() {
        assert_eq!(
            order(&["/a/x.img.002", "/a/x.img", "/a/x.img.001"]).unwrap(),
            ["/a/x.img", "/a/x.img.001", "/a/x.img.002"]
        );
        assert_eq!(
            order(&["x.1000", "x.999", "x.000"]).unwrap_err(),
            "chunk x.001 of x is missing (found x.999); restore the file or capture the image again"
        );
        assert!(
            order(&["x.000", "x.002"])
                .unwrap_err()
                .contains("x.001 of x is missing")
        );
        assert!(
            order(&["x.001", "x.002"])
                .unwrap_err()
                .contains("x.000 of x is missing")
        );
        assert!(
            order(&["a.img", "b.img"])
                .unwrap_err()
                .contains("not the pieces")
        );
        assert!(
            order(&["a/x.000", "b/x.000"])
                .unwrap_err()
                .contains("twice")
        );
        // A single file may have any name.
        assert_eq!(order(&["x.001"]).unwrap(), ["x.001"]);
    }

    #[test]
    fn pieces_are_read_as_one_and_a_record_is_stripped() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let record = record::emit(&StreamName::of_file("d1p2.img")).unwrap();
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
