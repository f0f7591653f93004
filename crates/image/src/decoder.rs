//! The decoder: bytes of a stream in, extents out.

use crate::compression::{Codec, Sniffer};
use crate::engine::Core;
use crate::error::ImageError;
use crate::geometry::{Compression, Geometry};
use crate::options::Options;
use crate::report::{Progress, Summary, Warning};
use crate::sink::Sink;
use crate::stage::Stage;

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
