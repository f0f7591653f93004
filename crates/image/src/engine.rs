//! The decoder of what is inside the compression: finds out the format and runs its machine, which
//! says how many bytes it wants to see together and takes them. Nothing here keeps bytes;
//! [`crate::stage`] does.

use partclone_sys as sys;

use crate::error::{ImageError, Part};
use crate::geometry::{Compression, Geometry, Header};
use crate::machine::{Books, Context, Ended, Machine};
use crate::magic::{MAGIC_AND_VERSION, bad_magic, could_be_image, is_partimage};
use crate::options::{Content, Options};
use crate::partclone::Partclone;
use crate::partimage::Partimage;
use crate::raw::Raw;
use crate::sink::Sink;

/// Decodes one image. See [`Core::need`] and [`Core::step`] for the contract.
pub(crate) struct Core {
    options: Options,
    compression: Compression,
    phase: Phase,
    /// Bytes taken so far.
    offset: u64,
    /// Bytes behind the image.
    trailing_len: u64,
    /// How many of them may belong to it all the same.
    padding_len: u64,
    pub(crate) books: Books,
}

enum Phase {
    /// Magic and version.
    Magic,
    Running(Box<dyn Machine>),
    End,
    /// After an error.
    Failed,
}

impl Core {
    pub(crate) fn new(options: Options, compression: Compression) -> Self {
        let phase = match options.content {
            Content::Image => Phase::Magic,
            Content::Raw { len } => Phase::Running(Box::new(Raw::new(len))),
        };
        Self {
            options,
            compression,
            phase,
            offset: 0,
            trailing_len: 0,
            padding_len: 0,
            books: Books::default(),
        }
    }

    /// Bytes that the next [`step`](Self::step) must be given at least: no more than
    /// [`STRIP_BUFFER`](crate::STRIP_BUFFER), or one block of partclone's format 0001 (64 MiB).
    /// Changes with every step.
    pub(crate) fn need(&self) -> usize {
        match &self.phase {
            Phase::Magic => MAGIC_AND_VERSION,
            Phase::Running(machine) => machine.need(),
            Phase::End | Phase::Failed => 1,
        }
    }

    /// Takes from `bytes`, which holds at least [`need`](Self::need) bytes, and says how many it
    /// took. If it takes none, it needs more than before.
    pub(crate) fn step(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<usize, ImageError> {
        let taken = match &mut self.phase {
            Phase::Magic => {
                let machine: Box<dyn Machine> = if is_partimage(bytes) {
                    Box::new(Partimage::new())
                } else {
                    Box::new(Partclone::new(bytes)?)
                };
                self.phase = Phase::Running(machine);
                0
            }
            Phase::Running(machine) => {
                let mut context = Context {
                    sink,
                    offset: self.offset,
                    options: &self.options,
                    compression: self.compression,
                    books: &mut self.books,
                };
                let taken = machine.step(bytes, &mut context);
                let taken = taken.inspect_err(|_| self.phase = Phase::Failed)?;
                if let Phase::Running(machine) = &self.phase
                    && machine.is_done()
                {
                    self.padding_len = machine.padding_len();
                    self.phase = Phase::End;
                }
                taken
            }
            Phase::End => {
                self.trailing_len = self.trailing_len.saturating_add(bytes.len() as u64);
                bytes.len()
            }
            Phase::Failed => return Err(ImageError::Stopped),
        };
        self.offset = self.offset.saturating_add(taken as u64);
        Ok(taken)
    }

    /// What the image says of itself, as soon as that is known.
    pub(crate) fn header(&self) -> Option<&Header> {
        match (&self.books.geometry, &self.phase) {
            (Some(geometry), _) => Some(&geometry.header),
            (None, Phase::Running(machine)) => machine.header(),
            _ => None,
        }
    }

    /// The same with what the bitmap adds.
    pub(crate) fn geometry(&self) -> Option<&Geometry> {
        self.books.geometry.as_ref()
    }

    /// Bytes behind the image that do not belong to it.
    pub(crate) fn trailing_len(&self) -> u64 {
        self.trailing_len.saturating_sub(self.padding_len)
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Bytes taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The input ends after `rest`, which is shorter than what was needed.
    ///
    /// # Errors
    /// [`ImageError::Truncated`] unless the image is complete, or what is wrong with `rest`.
    pub(crate) fn finish(&mut self, rest: &[u8], sink: &mut dyn Sink) -> Result<(), ImageError> {
        let ended = match &mut self.phase {
            Phase::Magic => {
                if !could_be_image(rest) {
                    return Err(bad_magic(rest));
                }
                let (needed, found) = (sys::HEADER_0002_LEN as u64, rest.len() as u64);
                Ended::Missing(Part::Header, 0, needed, found)
            }
            Phase::Running(machine) => {
                let mut context = Context {
                    sink,
                    offset: self.offset,
                    options: &self.options,
                    compression: self.compression,
                    books: &mut self.books,
                };
                let ended = machine.finish(rest, &mut context);
                let padding_len = machine.padding_len();
                let ended = ended.inspect_err(|_| self.phase = Phase::Failed)?;
                self.padding_len = padding_len;
                ended
            }
            Phase::End => Ended::Complete(0),
            Phase::Failed => return Err(ImageError::Stopped),
        };
        match ended {
            Ended::Complete(taken) => {
                let behind = rest.len().saturating_sub(taken) as u64;
                self.phase = Phase::End;
                self.offset = self.offset.saturating_add(taken as u64);
                self.trailing_len = self.trailing_len.saturating_add(behind);
                Ok(())
            }
            Ended::Missing(part, offset, needed, found) => Err(ImageError::Truncated {
                part,
                offset,
                needed,
                found,
            }),
        }
    }
}
