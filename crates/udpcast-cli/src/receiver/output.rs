//! Where a received stream goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use nix::fcntl::OFlag;

use crate::pipe::{Filter, Line};

/// A file or standard output, with or without a program in front of it.
pub(super) struct Output {
    pub(super) name: String,
    file: File,
    /// A regular file keeps what it held until the stream has begun.
    is_to_be_truncated: bool,
    line: Option<Line>,
    filter: Option<Filter>,
}

impl Output {
    /// The program of `line` is started when the stream begins, so that it does nothing when none does.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no such program.
    pub(super) fn open(
        path: Option<&Path>,
        is_synchronous: bool,
        line: Option<Line>,
    ) -> anyhow::Result<Self> {
        if let Some(line) = &line {
            line.check()?;
        }
        let (name, file, is_to_be_truncated) = match path {
            Some(path) => {
                let name = path.display().to_string();
                let (file, is_regular) = open_file(path, is_synchronous)
                    .with_context(|| format!("opening {name} for writing"))?;
                (name, file, is_regular)
            }
            // Not through the line buffer of the standard library.
            None => {
                let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                ("(stdout)".into(), file, false)
            }
        };
        Ok(Self {
            name,
            file,
            is_to_be_truncated,
            line,
            filter: None,
        })
    }

    /// A second handle, which shares the position.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether there is a position to show.
    pub(super) fn is_seekable(&mut self) -> bool {
        self.file.stream_position().is_ok()
    }

    /// # Errors
    /// The file or the program does not take the bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.begin()?;
        let result = match &mut self.filter {
            // Its own words are enough.
            Some(filter) => return Ok(filter.write_all(bytes)?),
            None => self.file.write_all(bytes),
        };
        result.with_context(|| format!("writing to {}", self.name))
    }

    /// The stream is complete: waits for the program, and for the disk.
    ///
    /// # Errors
    /// The program failed, or what was written does not get to the disk.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.begin()?;
        if let Some(filter) = &mut self.filter {
            filter.finish()?;
        }
        let flush = |file: &File| match file.metadata()?.file_type() {
            kind if kind.is_file() || kind.is_block_device() => file.sync_all(),
            _ => Ok(()),
        };
        flush(&self.file).with_context(|| format!("flushing {} to disk", self.name))
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.is_to_be_truncated) {
            self.file
                .set_len(0)
                .with_context(|| format!("emptying {}", self.name))?;
        }
        if let Some(line) = self.line.take() {
            self.filter = Some(Filter::start(&line, self.file.try_clone()?)?);
        }
        Ok(())
    }
}

fn open_file(path: &Path, is_synchronous: bool) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o644);
    if is_synchronous {
        options.custom_flags(OFlag::O_SYNC.bits());
    }
    let file = options.open(path)?;
    let is_regular = file.metadata()?.is_file();
    Ok((file, is_regular))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_file_keeps_its_content_until_the_stream_begins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        std::fs::write(&path, "before, and longer").unwrap();
        let mut output = Output::open(Some(&path), false, None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before, and longer");
        output.write(b"after").unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        Output::open(Some(&path), false, None)
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_program_stands_before_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let line = Line::new(OsStr::new("tr a-z A-Z")).unwrap();
        let mut output = Output::open(Some(&path), false, Some(line)).unwrap();
        output.write(b"small").unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"SMALL");
    }

    #[test]
    fn a_program_does_not_take_half_a_stream_for_the_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("done");
        let script = directory.path().join("script");
        std::fs::write(&script, format!("cat && touch {}", path.display())).unwrap();
        let line = format!("sh {}", script.display());
        let line = Line::new(OsStr::new(&line)).unwrap();
        let output_path = directory.path().join("out");
        let mut output = Output::open(Some(&output_path), false, Some(line)).unwrap();
        output.write(b"half").unwrap();
        drop(output);
        assert!(!path.exists());
    }
}
