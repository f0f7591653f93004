//! How the streams of an image begin: by that they are known where the server says nothing of what it sends.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use readable::Size;

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("reading its data: {0}")]
    Read(#[from] io::Error),
    /// A chain of senders that is begun again could not be followed.
    #[error(
        "{one} and {other} are the same for {} at least and not known to be the same to their ends: it could not be \
         seen which of them the server sends. Deploy to each machine alone: it reads the files themselves",
        Size(*.len)
    )]
    Alike {
        one: String,
        other: String,
        len: u64,
    },
}

/// The first bytes of each stream, which is the sequence of the files in an element of `streams`. If they are
/// `to_be_told_apart`, as many as two streams need to differ, unless they are the same to their ends.
///
/// # Errors
/// A file cannot be read, or two streams are too much alike.
pub(super) fn read(
    streams: &[Vec<PathBuf>],
    to_be_told_apart: bool,
) -> Result<Vec<Vec<u8>>, StartError> {
    read_within(streams, to_be_told_apart, &LIMITS)
}

/// Of bytes.
struct Limits {
    /// So much of a stream is kept as a rule: its header, and often the boot sector or superblock with the file
    /// system's identity.
    usual: usize,
    /// All streams together keep no more than this.
    all: usize,
    /// So far two streams are compared that are the same.
    compared: u64,
}

const LIMITS: Limits = Limits {
    usual: 256 << 10,
    all: 32 << 20,
    compared: 256 << 20,
};

fn read_within(
    streams: &[Vec<PathBuf>],
    to_be_told_apart: bool,
    limits: &Limits,
) -> Result<Vec<Vec<u8>>, StartError> {
    let most = limits.all / streams.len().max(1);
    let usual = limits.usual.min(most);
    let starts = streams.iter().map(|files| start(files, usual));
    let mut starts = starts.collect::<io::Result<Vec<_>>>()?;
    if !to_be_told_apart {
        return Ok(starts);
    }
    for (at, files) in streams.iter().enumerate() {
        for (before, earlier) in streams.iter().enumerate().take(at) {
            let [one, other] = [&starts[before], &starts[at]];
            if !one.starts_with(other) && !other.starts_with(one) {
                continue;
            }
            let same = match same(earlier, files, limits.compared)? {
                Same::Whole => continue,
                Same::Until(len) | Same::AtLeast(len) => len,
            };
            let needed = usize::try_from(same).map_or(usize::MAX, |len| len.saturating_add(1));
            if needed > most {
                let name = |files: &[PathBuf]| {
                    let name = files.first().and_then(|path| path.file_name());
                    name.unwrap_or_default().display().to_string()
                };
                return Err(StartError::Alike {
                    one: name(earlier),
                    other: name(files),
                    len: same,
                });
            }
            for index in [before, at] {
                if starts[index].len() < needed {
                    starts[index] = start(&streams[index], needed)?;
                }
            }
        }
    }
    Ok(starts)
}

/// The first `len` bytes.
fn start(files: &[PathBuf], len: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    Stored::new(files).read(&mut start, len)?;
    Ok(start)
}

/// How far two streams are the same.
enum Same {
    Whole,
    /// So many bytes, and not the next one.
    Until(u64),
    /// So many bytes; there may be more.
    AtLeast(u64),
}

fn same(one: &[PathBuf], other: &[PathBuf], limit: u64) -> io::Result<Same> {
    let (mut one, mut other) = (Stored::new(one), Stored::new(other));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut len = 0_u64;
    while len < limit {
        one.read(&mut first, PIECE_LEN)?;
        other.read(&mut second, PIECE_LEN)?;
        let equal = first.iter().zip(&second).take_while(|(a, b)| a == b);
        let equal = equal.count();
        len += equal as u64;
        if equal < first.len().max(second.len()) {
            return Ok(Same::Until(len));
        }
        if equal < PIECE_LEN {
            return Ok(Same::Whole);
        }
    }
    Ok(Same::AtLeast(len))
}

/// Files, one after the other.
struct Stored<'a> {
    rest: std::slice::Iter<'a, PathBuf>,
    open: Option<File>,
}

impl<'a> Stored<'a> {
    fn new(files: &'a [PathBuf]) -> Self {
        Self {
            rest: files.iter(),
            open: None,
        }
    }

    /// The next `len` bytes, fewer only at the end.
    fn read(&mut self, bytes: &mut Vec<u8>, len: usize) -> io::Result<()> {
        bytes.clear();
        while bytes.len() < len {
            let Some(file) = &mut self.open else {
                let Some(path) = self.rest.next() else { break };
                self.open = Some(File::open(path)?);
                continue;
            };
            let missing = len - bytes.len();
            if file.take(missing as u64).read_to_end(bytes)? == 0 {
                self.open = None;
            }
        }
        Ok(())
    }
}

const PIECE_LEN: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        usual: 4,
        all: 2 << 20,
        compared: 1 << 20,
    };

    /// The lengths of the starts of streams with these bytes.
    fn lengths(streams: &[&[u8]], to_be_told_apart: bool) -> Result<Vec<usize>, StartError> {
        let dir = tempfile::tempdir().unwrap();
        let stored = streams.iter().enumerate().map(|(number, bytes)| {
            // Split anywhere.
            let parts = bytes.split_at(bytes.len() / 3);
            let paths = [0, 1].map(|part| dir.path().join(format!("d1p{number}.img.{part}")));
            std::fs::write(&paths[0], parts.0).unwrap();
            std::fs::write(&paths[1], parts.1).unwrap();
            paths.to_vec()
        });
        let stored: Vec<_> = stored.collect();
        let starts = read_within(&stored, to_be_told_apart, &SMALL)?;
        for (start, bytes) in starts.iter().zip(streams) {
            assert!(bytes.starts_with(start));
        }
        Ok(starts.iter().map(Vec::len).collect())
    }

    #[test]
    fn streams_that_begin_alike_are_known_by_the_first_byte_that_differs() {
        let found = |streams: &[&[u8]]| lengths(streams, true).unwrap();
        assert_eq!(found(&[b"abcdefgh", b"xbcdefgh"]), [4, 4]);
        assert_eq!(found(&[b"abcdefgh", b"abcdefxh"]), [7, 7]);
        assert_eq!(
            found(&[b"abcdefgh", b"zzzz", b"abcdefxh", b"abcdx"]),
            [7, 4, 7, 5]
        );
        // One ends where the other goes on.
        assert_eq!(found(&[b"abcd", b"abcdef"]), [4, 5]);
        // To whom the bytes belong makes no difference.
        assert_eq!(found(&[b"abcdefgh", b"abcdefgh"]), [4, 4]);
        assert_eq!(found(&[b"", b""]), [0, 0]);
        assert_eq!(lengths(&[b"abcdefgh", b"abcdefxh"], false).unwrap(), [4, 4]);
        assert_eq!(found(&[]), [0; 0]);
    }

    #[test]
    fn streams_that_differ_too_late_are_refused_and_equal_ones_are_not() {
        let long = vec![7; 1 << 20];
        let mut other = long.clone();
        *other.last_mut().unwrap() = 8;
        assert_eq!(lengths(&[&long, &other], true).unwrap(), [1 << 20; 2]);
        let (longer, longest) = ([&long[..], b"x"].concat(), [&long[..], b"y"].concat());
        for pair in [[&longer, &longest], [&longer, &longer]] {
            let error = lengths(&pair.map(Vec::as_slice), true).unwrap_err();
            assert!(matches!(error, StartError::Alike { .. }), "{error}");
            lengths(&pair.map(Vec::as_slice), false).unwrap();
        }
        let short = &long[..(1 << 20) - 1];
        assert_eq!(lengths(&[short, short], true).unwrap(), [4, 4]);
    }
}
