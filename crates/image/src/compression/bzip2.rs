//! bzip2: any number of streams, the CRCs of their blocks verified by the library.

use bzip2::{Decompress, Error, Status};

use crate::compression::ran::Ran;
use crate::error::ImageError;
use crate::geometry::Compression;

pub(crate) struct Bzip2 {
    decompress: Decompress,
    state: State,
    /// Compressed bytes taken.
    offset: u64,
    trailing_len: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Inside,
    /// Behind a stream; so many of the bytes that begin another have come.
    Behind(usize),
    /// What follows is no bzip2.
    Trailing,
}

/// How a stream begins.
const MAGIC: &[u8; 3] = b"BZh";

impl Bzip2 {
    pub(crate) fn new() -> Self {
        Self {
            decompress: Decompress::new(false),
            state: State::Inside,
            offset: 0,
            trailing_len: 0,
        }
    }

    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        let mut ran = Ran::default();
        loop {
            let rest = input.get(ran.consumed..).unwrap_or_default();
            match self.state {
                State::Inside => {
                    let step = self.decompress(rest, output)?;
                    ran.consumed += step.consumed;
                    ran.produced = step.produced;
                    return Ok(ran);
                }
                State::Trailing => {
                    self.trailing_len += rest.len() as u64;
                    ran.consumed += rest.len();
                    return Ok(ran);
                }
                State::Behind(matched) => {
                    let Some(&byte) = rest.first() else {
                        return Ok(ran);
                    };
                    if MAGIC.get(matched) != Some(&byte) {
                        self.trailing_len = matched as u64;
                        self.state = State::Trailing;
                        continue;
                    }
                    ran.consumed += 1;
                    self.offset += 1;
                    self.state = State::Behind(matched + 1);
                    if matched + 1 == MAGIC.len() {
                        self.decompress = Decompress::new(false);
                        self.state = State::Inside;
                        // They are taken and produce nothing.
                        self.offset -= MAGIC.len() as u64;
                        self.decompress(MAGIC, &mut [])?;
                    }
                }
            }
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state != State::Inside
    }

    pub(crate) fn trailing_len(&self) -> u64 {
        match self.state {
            State::Behind(matched) => matched as u64,
            _ => self.trailing_len,
        }
    }

    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        let totals = |it: &Decompress| (it.total_in(), it.total_out());
        let before = totals(&self.decompress);
        let status = self.decompress.decompress(input, output);
        let ran = Ran::between(before, totals(&self.decompress), input, output);
        let status = status.map_err(|error| self.corrupt(&explain(&error)))?;
        self.offset += ran.consumed as u64;
        match status {
            Status::StreamEnd => self.state = State::Behind(0),
            Status::MemNeeded => return Err(self.corrupt("there is not enough memory")),
            _ if ran.is_stuck(input, output) => {
                return Err(self.corrupt("the decompressor makes no progress"));
            }
            _ => {}
        }
        Ok(ran)
    }

    fn corrupt(&self, detail: &str) -> ImageError {
        ImageError::Corrupt {
            compression: Compression::Bzip2,
            offset: self.offset,
            detail: detail.to_owned(),
        }
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::Data => "wrong checksum or impossible data".to_owned(),
        Error::DataMagic => "no bzip2 stream begins here".to_owned(),
        error => error.to_string(),
    }
}
