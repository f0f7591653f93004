//! The end of a log, for people who cannot look into the file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use fog::encoding::printable;

use super::{FILE, MAX_CHARS};

/// Lines of a log, and where the next ones begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Whole lines, the oldest first.
    pub lines: Vec<String>,
    /// Bytes of the file up to there.
    pub next: u64,
}

/// The lines of the log of all after so many bytes of it; its last lines if there are none given, or if the file was
/// renamed since. At most [`MOST`] bytes of it. Blocks.
///
/// # Errors
/// If it cannot be read.
pub fn tail(dir: &Path, after: Option<u64>) -> io::Result<Tail> {
    let mut file = match File::open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Tail {
                lines: Vec::new(),
                next: 0,
            });
        }
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    let oldest = len.saturating_sub(MOST);
    let wanted = after.filter(|after| *after <= len);
    let begin = wanted.unwrap_or(0).max(oldest);
    // In the middle of a line: the rest of that one is left out.
    let is_cut = begin > 0 && Some(begin) != wanted;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(len - begin).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = bytes.get(..end.map_or(0, |end| end + 1));
    let whole = whole.unwrap_or_default();
    let text = String::from_utf8_lossy(whole);
    let lines = text.lines().skip(usize::from(is_cut));
    Ok(Tail {
        // Another program may have written into it.
        lines: lines.map(|line| printable(line, MAX_CHARS)).collect(),
        next: begin + whole.len() as u64,
    })
}

/// Bytes of a log that are shown at a time.
pub const MOST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_new_is_read_once_and_the_end_of_what_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = tail(dir.path(), None).unwrap();
        assert_eq!((nothing.lines.len(), nothing.next), (0, 0));
        let path = dir.path().join(FILE);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntwo\x1b[2J\nhal").unwrap();
        let first = tail(dir.path(), None).unwrap();
        assert_eq!(first.lines.len(), 2, "{first:?}");
        assert!(!first.lines[1].contains('\x1b'), "{first:?}");
        let same = tail(dir.path(), Some(first.next)).unwrap();
        assert_eq!((same.lines.len(), same.next), (0, first.next));
        file.write_all(b"f\n").unwrap();
        let next = tail(dir.path(), Some(first.next)).unwrap();
        assert_eq!(next.lines, ["half"]);
        for number in 0..20_000 {
            writeln!(file, "line {number}").unwrap();
        }
        for after in [None, Some(next.next), Some(1 << 40)] {
            let found = tail(dir.path(), after).unwrap();
            assert_eq!(found.lines.last().unwrap(), "line 19999");
            assert!(
                found.lines.iter().all(|line| line.starts_with("line ")),
                "{:?}",
                found.lines[0]
            );
            assert_eq!(found.next, std::fs::metadata(&path).unwrap().len());
        }
        // Renamed, and begun anew.
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(tail(dir.path(), Some(next.next)).unwrap().lines, ["new"]);
    }
}
