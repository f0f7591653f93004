//! The decoder: bytes of a stream in, extents out.

use std::fmt;

use crate::engine::Core;
use crate::error::{BlockChecksum, ImageError, TotalChecksum};
use crate::geometry::{Compression, Geometry};
use crate::stage::Stage;
use crate::wrapper::{Codec, Sniffer};

/// What a [`Decoder`] checks and how much memory it may take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the stream holds, inside its compression.
    pub content: Content,
    /// What a wrong block checksum does.
    pub verify: Verify,
    /// Bytes of the target. With it, nothing is ever handed out that ends beyond, and an image with
    /// such a block is refused before [`Sink::begin`].
    pub target_size: Option<u64>,
    /// Whether the target must be as large as the image's source device. Without this it is enough
    /// that every used block fits.
    pub check_size: bool,
    /// log2 of the largest zstd window or xz dictionary in bytes, 10 to 31. It is allocated as the
    /// stream asks, up to this. `zstd --ultra -22` needs 27, which is also the reference decoder's
    /// limit.
    pub window_log_max: u32,
    /// Most bytes that the bitmap may take: a bit per block, less where long stretches are all used
    /// or all free.
    pub bitmap_memory_max: u64,
}

impl Default for Options {
    /// Everything enforced, target unknown, windows up to 128 MiB, bitmaps up to 2 GiB.
    fn default() -> Self {
        Self {
            content: Content::Image,
            verify: Verify::Enforce,
            target_size: None,
            check_size: true,
            window_log_max: 27,
            bitmap_memory_max: 2 << 30,
        }
    }
}

/// What a stream holds, inside its compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An image of one of the known formats.
    Image,
    /// A disk or partition as it is. Anything could be that, so it must be asked for. Every byte is
    /// handed out, zeroes too. There is no header and no checksum; the compression may have one.
    Raw {
        /// Bytes that there should be, where that is known. They are compared.
        len: Option<u64>,
    },
}

/// What a wrong block checksum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// It ends the decoding before the strip is handed out.
    Enforce,
    /// It is counted and reported as a [`Warning`]; the blocks are handed out. Header, bitmap, sizes
    /// and compression are verified all the same.
    Warn,
}

/// Takes what an image holds.
pub trait Sink {
    /// The header and the bitmap are good: called once, before any extent.
    ///
    /// # Errors
    /// Ends the decoding.
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError>;

    /// `data` belongs at byte `offset` of the target. Offsets ascend and extents do not overlap: each
    /// begins where the one before ends, or later, so that a sink may write them in any order.
    /// Together they are the used blocks; an extent is seldom longer than a strip.
    ///
    /// # Errors
    /// Ends the decoding.
    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError>;
}

/// Why a [`Sink`] gave up.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Something odd that does not keep an image from being restored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A wrong block checksum, under [`Verify::Warn`].
    BlockChecksum(BlockChecksum),
    /// More wrong block checksums than were kept.
    MoreBlockChecksums {
        /// How many.
        count: u64,
    },
    /// A wrong sum over the whole image, under [`Verify::Warn`].
    TotalChecksum(TotalChecksum),
    /// Bytes behind the image.
    Trailing {
        /// Where they begin, in the decompressed stream.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Bytes behind the compressed stream.
    TrailingCompressed {
        /// The compression.
        compression: Compression,
        /// How many.
        len: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockChecksum(error) => write!(f, "ignored: {error}"),
            Self::MoreBlockChecksums { count } => {
                write!(f, "ignored: {count} more checksum errors")
            }
            Self::TotalChecksum(error) => write!(f, "ignored: {error}"),
            Self::Trailing { offset, len } => {
                write!(
                    f,
                    "{len} bytes behind the end of the image (offset {offset}) ignored"
                )
            }
            Self::TrailingCompressed { compression, len } => {
                write!(
                    f,
                    "{len} bytes behind the end of the {compression} stream ignored"
                )
            }
        }
    }
}

/// How far a decoder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the (compressed) stream taken.
    pub input_len: u64,
    /// Bytes of the image, decompressed, taken.
    pub image_len: u64,
    /// Bytes handed out.
    pub output_len: u64,
    /// Used blocks handed out; bytes of raw data.
    pub blocks_done: u64,
    /// Used blocks in all; 0 until the bitmap is there.
    pub blocks_total: u64,
    /// Wrong block checksums passed over.
    pub checksum_errors: u64,
}

/// A whole image was decoded.
#[derive(Clone, Debug)]
#[must_use]
pub struct Summary {
    /// What the image was.
    pub geometry: Geometry,
    /// Bytes of the (compressed) stream.
    pub input_len: u64,
    /// Bytes of the image, decompressed.
    pub image_len: u64,
    /// Bytes handed out.
    pub output_len: u64,
    /// Calls of [`Sink::extent`].
    pub extents: u64,
    /// Block checksums compared.
    pub checksums: u64,
    /// Those of them that were wrong, under [`Verify::Warn`].
    pub checksum_errors: u64,
    /// What was odd.
    pub warnings: Vec<Warning>,
}

/// Wrong checksums passed over; the first few are kept.
#[derive(Default)]
pub(crate) struct Warnings {
    pub(crate) checksum_errors: u64,
    first: Vec<BlockChecksum>,
    total: Option<TotalChecksum>,
}

/// Wrong checksums that are kept to be shown.
const WARNINGS_KEPT: usize = 16;

impl Warnings {
    pub(crate) fn checksum(&mut self, error: BlockChecksum) {
        self.checksum_errors += 1;
        if self.first.len() < WARNINGS_KEPT {
            self.first.push(error);
        }
    }

    pub(crate) fn total(&mut self, error: TotalChecksum) {
        self.checksum_errors += 1;
        self.total = Some(error);
    }

    fn list(&self) -> Vec<Warning> {
        let first = self.first.iter().cloned().map(Warning::BlockChecksum);
        let total = self.total.iter().cloned().map(Warning::TotalChecksum);
        let mut list: Vec<Warning> = first.chain(total).collect();
        let more = self.checksum_errors - list.len() as u64;
        if more > 0 {
            list.push(Warning::MoreBlockChecksums { count: more });
        }
        list
    }
}

/// Decodes one stream: zstd, gzip, xz, bzip2, lz4 or nothing around an image of partclone (0002 or
/// 0001) or partimage (0.6), or around raw data.
///
/// [`push`](Self::push) the bytes as they come, then [`finish`](Self::finish). Only a summary means
/// that the image was complete and good. After an error every call fails.
pub struct Decoder {
    options: Options,
    state: State,
    input_len: u64,
}

enum State {
    /// Too few bytes yet to know the compression.
    Sniffing(Sniffer),
    /// `codec` is `None` when there is nothing to decompress.
    Decoding {
        codec: Option<Codec>,
        stage: Box<Stage>,
    },
    Stopped,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            state: State::Sniffing(Sniffer::default()),
            input_len: 0,
        }
    }

    /// Takes the next bytes of the stream, any number, and hands out what they complete.
    ///
    /// # Errors
    /// What is wrong with the image or the sink. The decoder is then of no more use.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), ImageError> {
        self.input_len = self.input_len.saturating_add(bytes.len() as u64);
        self.try_push(bytes, sink).inspect_err(|_| self.stop())
    }

    /// The stream has ended: verifies that the image and what is around it are complete.
    ///
    /// # Errors
    /// [`ImageError::Truncated`] and its kin; what is wrong with the last bytes.
    pub fn finish(&mut self, sink: &mut dyn Sink) -> Result<Summary, ImageError> {
        self.try_finish(sink).inspect_err(|_| self.stop())
    }

    /// How far it is. Changes with every [`push`](Self::push).
    #[must_use]
    pub fn progress(&self) -> Progress {
        let mut progress = Progress {
            input_len: self.input_len,
            ..Progress::default()
        };
        if let State::Decoding { stage, .. } = &self.state {
            let core = stage.core();
            progress.image_len = core.offset();
            progress.output_len = core.books.tally.output_len;
            progress.checksum_errors = core.books.warnings.checksum_errors;
            if let Some(geometry) = core.geometry() {
                progress.blocks_total = geometry.used_blocks;
                progress.blocks_done = core.books.tally.output_len / u64::from(geometry.block_size);
            }
        }
        progress
    }

    /// What the image is, once [`Sink::begin`] was called.
    #[must_use]
    pub fn geometry(&self) -> Option<&Geometry> {
        match &self.state {
            State::Decoding { stage, .. } => stage.core().geometry(),
            _ => None,
        }
    }

    fn try_push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), ImageError> {
        let mut bytes = bytes;
        if let State::Sniffing(sniffer) = &mut self.state {
            let (taken, Some(compression)) = sniffer.push(bytes)? else {
                return Ok(());
            };
            bytes = bytes.get(taken..).unwrap_or_default();
            self.begin(compression, sink)?;
        }
        match &mut self.state {
            State::Decoding { codec, stage } => feed(codec.as_mut(), stage, bytes, sink),
            _ => Err(ImageError::Stopped),
        }
    }

    /// The compression is known.
    fn begin(&mut self, compression: Compression, sink: &mut dyn Sink) -> Result<(), ImageError> {
        let State::Sniffing(sniffer) = &self.state else {
            return Ok(());
        };
        let window = self.options.window_log_max;
        let mut codec = Codec::new(compression, window, sniffer.offset())?;
        let mut stage = Box::new(Stage::new(Core::new(self.options, compression)));
        feed(codec.as_mut(), &mut stage, sniffer.first(), sink)?;
        self.state = State::Decoding { codec, stage };
        Ok(())
    }

    fn try_finish(&mut self, sink: &mut dyn Sink) -> Result<Summary, ImageError> {
        if let State::Sniffing(sniffer) = &self.state {
            let Some(compression) = sniffer.finish()? else {
                return Err(ImageError::TruncatedCompression {
                    compression: Compression::Zstd,
                    input_len: self.input_len,
                    decoded_len: 0,
                });
            };
            self.begin(compression, sink)?;
        }
        let State::Decoding { codec, stage } = &mut self.state else {
            return Err(ImageError::Stopped);
        };
        if let Some(codec) = codec
            && !codec.is_complete()
        {
            let compression = stage.core().compression();
            return Err(ImageError::TruncatedCompression {
                compression,
                input_len: self.input_len,
                decoded_len: stage.input_len(),
            });
        }
        stage.finish(sink)?;
        let core = stage.core();
        let geometry = core.geometry().cloned().ok_or(ImageError::Stopped)?;
        let trailing = core.trailing_len();
        let image_len = core.offset();
        let mut warnings = core.books.warnings.list();
        if trailing > 0 {
            warnings.push(Warning::Trailing {
                offset: image_len.saturating_sub(trailing),
                len: trailing,
            });
        }
        let compressed = codec.as_ref().map_or(0, Codec::trailing_len);
        if compressed > 0 {
            warnings.push(Warning::TrailingCompressed {
                compression: geometry.compression,
                len: compressed,
            });
        }
        let summary = Summary {
            input_len: self.input_len,
            image_len,
            output_len: core.books.tally.output_len,
            extents: core.books.tally.extents,
            checksums: core.books.tally.checksums,
            checksum_errors: core.books.warnings.checksum_errors,
            warnings,
            geometry,
        };
        self.state = State::Stopped;
        Ok(summary)
    }

    fn stop(&mut self) {
        self.state = State::Stopped;
    }
}

/// Moves `input` through the decompressor, if there is one, into the image's decoder.
fn feed(
    codec: Option<&mut Codec>,
    stage: &mut Stage,
    input: &[u8],
    sink: &mut dyn Sink,
) -> Result<(), ImageError> {
    let Some(codec) = codec else {
        return stage.push(input, sink);
    };
    let mut input = input;
    // Nothing waits inside, and the decompressor takes idle calls for a mistake.
    if input.is_empty() {
        return Ok(());
    }
    loop {
        let room = stage.room();
        let room_len = room.len();
        let ran = codec.run(input, room)?;
        input = input.get(ran.consumed..).unwrap_or_default();
        stage.commit(ran.produced, sink)?;
        // A full room may mean that more output waits.
        if input.is_empty() && ran.produced < room_len {
            return Ok(());
        }
    }
}
