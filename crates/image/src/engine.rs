//! The decoder of what is inside the compression: finds out the format and runs its machine, which
//! says how many bytes it wants to see together and takes them. Nothing here keeps bytes;
//! [`crate::stage`] does.

use partclone_sys as sys;

use crate::bitmap::Bitmap;
use crate::decoder::{Content, Options, Sink, Warnings};
use crate::error::{ImageError, Part, hex};
use crate::geometry::{Compression, Geometry, Header};
use crate::partclone::Partclone;
use crate::partimage::{self, Partimage};
use crate::raw::Raw;

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

/// The decoder of one format.
pub(crate) trait Machine: Send {
    /// Bytes that the next [`step`](Self::step) must be given at least. Changes with every step.
    fn need(&self) -> usize;

    /// Takes from `bytes`, which holds at least [`need`](Self::need) bytes, and says how many it
    /// took. If it takes none, it needs more than before.
    fn step(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, ImageError>;

    /// The image is complete.
    fn is_done(&self) -> bool;

    /// The input ends after `rest`, which is shorter than what was needed.
    fn finish(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Ended, ImageError>;

    /// What the image says of itself, as soon as that is known.
    fn header(&self) -> Option<&Header>;

    /// Bytes behind the end that may belong to the image.
    fn padding_len(&self) -> u64 {
        0
    }
}

/// What the end of the input means.
pub(crate) enum Ended {
    /// The image is complete after this many bytes of the rest.
    Complete(usize),
    /// It is not: what is missing, where that begins, its length, bytes of it that are there.
    Missing(Part, u64, u64, u64),
}

/// What every step needs beside its bytes.
pub(crate) struct Context<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    /// Offset in the image of the bytes at hand.
    pub(crate) offset: u64,
    pub(crate) options: &'a Options,
    pub(crate) compression: Compression,
    pub(crate) books: &'a mut Books,
}

/// What is known and what has been done.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) geometry: Option<Geometry>,
    pub(crate) tally: Tally,
    pub(crate) warnings: Warnings,
}

/// What has been done.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) output_len: u64,
    pub(crate) extents: u64,
    pub(crate) checksums: u64,
}

/// Bytes that tell the format and, of partclone's, the version.
const MAGIC_AND_VERSION: usize = sys::VERSION_OFFSET + 4;

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
                let machine: Box<dyn Machine> = if partimage::is_volume(bytes) {
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

impl Context<'_> {
    /// Refuses, before the bitmap is read, an image that is larger than the target.
    pub(crate) fn check_size(&self, device_size: u64) -> Result<(), ImageError> {
        match self.options.target_size {
            Some(target_size) if self.options.check_size && device_size > target_size => {
                Err(ImageError::BeyondTarget {
                    device_size,
                    target_size,
                })
            }
            _ => Ok(()),
        }
    }

    /// Header and bitmap are good: the last checks, then the sink learns of the image.
    pub(crate) fn begin(
        &mut self,
        header: Header,
        bitmap: &Bitmap,
    ) -> Result<Geometry, ImageError> {
        // No overflow: the headers' parsers check that all blocks fit in 63 bits.
        let data_end = bitmap.end() * u64::from(header.block_size);
        if let Some(target_size) = self.options.target_size
            && data_end > target_size
        {
            return Err(ImageError::BlockBeyondTarget {
                block: bitmap.end().saturating_sub(1),
                end: data_end,
                target_size,
            });
        }
        let geometry = Geometry {
            header,
            used_blocks: bitmap.used(),
            data_end,
        };
        self.announce(&geometry)?;
        Ok(geometry)
    }

    /// The sink learns of the image.
    pub(crate) fn announce(&mut self, geometry: &Geometry) -> Result<(), ImageError> {
        self.sink.begin(geometry).map_err(ImageError::Sink)?;
        self.books.geometry = Some(geometry.clone());
        Ok(())
    }
}

/// Whether an image could begin with these bytes, which may be few.
pub(crate) fn could_be_image(bytes: &[u8]) -> bool {
    [sys::MAGIC, partimage::MAGIC]
        .iter()
        .any(|magic| bytes.starts_with(magic) || magic.starts_with(bytes))
}

/// The error for a beginning that is no image's.
pub(crate) fn bad_magic(bytes: &[u8]) -> ImageError {
    let hint = match bytes {
        [0x1F, 0x8B, ..]
        | [0x28, 0xB5, 0x2F, 0xFD, ..]
        | [b'B', b'Z', b'h', ..]
        | [0xFD, b'7', b'z', b'X', b'Z', 0, ..]
        | [0x04, 0x22, 0x4D, 0x18, ..] => {
            "; it looks like a compressed stream inside another: unpack it once"
        }
        [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => {
            "; it looks like a zlib stream: unpack it, or store it with zstd or gzip"
        }
        [b'P', b'K', 3, 4, ..] => "; it looks like a zip archive: unpack it",
        _ if bytes.iter().all(|&byte| byte == 0) => "; it begins with zeros",
        _ => "; check that the stream begins with the image's first piece",
    };
    ImageError::BadMagic {
        found: hex(bytes.get(..16).unwrap_or(bytes)),
        hint,
    }
}
