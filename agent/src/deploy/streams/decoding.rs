//! The decoder's thread: from the pieces of a stream to the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use conveyor::Unloader;
use deploy_plan::PlannedStream;
use fos_api::ImageFormat;
use image::{Content, Geometry, ImageError, Sink, SinkError};
use imaging::tap::meter::DiskStep;
use imaging::{Failure, Piece, Supply, Watch};

use super::promised::{bitmap_memory, same_image};
use super::{Pipeline, StreamError};
use crate::deploy::disks::Part;
use crate::screen::Phase;

/// What the decoder's thread works on.
pub(super) struct Work<'env> {
    pub(super) pipeline: &'env Pipeline<'env>,
    pub(super) stream: &'env PlannedStream,
    pub(super) is_done: bool,
    /// Bytes handed to the disk.
    pub(super) used: Arc<AtomicU64>,
    pub(super) is_abandoned: Arc<AtomicBool>,
}

impl Work<'_> {
    /// Decodes and writes until there is no more.
    pub(super) fn decode(
        &self,
        pieces: Unloader<io::Result<Piece>, Vec<u8>>,
    ) -> Result<(), StreamError> {
        let (pipeline, stream) = (self.pipeline, self.stream);
        // From the first piece until all is on the disk.
        let mut pieces = Begun {
            pieces,
            phase: None,
            begin: || pipeline.board.phase(&format!("stream:{}", stream.name)),
        };
        let gate = |geometry: &Geometry| {
            same_image(stream, geometry)?;
            pipeline.disks.remove_old_tables()?;
            Ok(())
        };
        let part = pipeline.disks.part(stream.destination, Box::new(gate));
        let Some(part) = part.filter(|_| !self.is_done) else {
            // A reader that is gone says why.
            while let Ok(Some(piece)) = pieces.next() {
                pieces.give_back(piece);
            }
            return Ok(());
        };
        let mut sink = Counting {
            part,
            used: &self.used,
        };
        let decoded = self.decode_into(&mut sink, &mut pieces);
        let Counting { part, .. } = sink;
        let write_error = |source| StreamError::Write {
            name: stream.name.clone(),
            source,
        };
        if !matches!(decoded, Ok(true)) {
            // It may be written again; a disk that has failed does not become better.
            let abandoned = part.abandon().map_err(write_error);
            return abandoned.and_then(|()| decoded.map(drop));
        }
        let activity = |text| pipeline.board.update(|state| state.activity = text);
        activity(format!("syncing {}", stream.name));
        pipeline
            .flow
            .on_disk(DiskStep::Sync, || part.commit())
            .map_err(write_error)?;
        activity(crate::deploy::ACTIVITY.to_owned());
        Ok(())
    }

    /// Answers whether the image has come whole.
    fn decode_into(
        &self,
        sink: &mut dyn Sink,
        pieces: &mut dyn Supply,
    ) -> Result<bool, StreamError> {
        let (pipeline, stream) = (self.pipeline, self.stream);
        let image_error = |source| match source {
            // Read before begin() can compare.
            ImageError::BitmapTooLarge {
                total_blocks,
                limit,
            } => StreamError::Bitmap {
                name: stream.name.clone(),
                found: total_blocks,
                expected: stream.facts.total_blocks,
                limit,
            },
            source => StreamError::Image {
                name: stream.name.clone(),
                source: Box::new(source),
            },
        };
        let content = match stream.facts.format {
            ImageFormat::Raw => Content::Raw {
                len: Some(stream.facts.device_size),
            },
            _ => Content::Image,
        };
        let options = image::Options {
            content,
            // The plan has seen to it that the promised image fits, and the gate that this is the
            // promised one: a stream out of order shall be called that, not "too large".
            target_size: None,
            window_log_max: pipeline.window_log_max,
            // Another image may claim any number of blocks, and the bitmap comes before the gate.
            bitmap_memory_max: bitmap_memory(&stream.facts),
            ..image::Options::default()
        };
        let mut wanted = Wanted(&self.is_abandoned);
        let summary = match imaging::decode(pieces, options, sink, &pipeline.flow, &mut wanted) {
            Ok(summary) => summary,
            Err(Failure::Image(error)) => return Err(image_error(error)),
            Err(_) if !wanted.goes_on() => return Ok(false),
            Err(_) => {
                let name = stream.name.clone();
                return Err(StreamError::Panic { name });
            }
        };
        if !wanted.goes_on() {
            return Ok(false);
        }
        for warning in &summary.warnings {
            pipeline.board.warn(format!("{}: {warning}", stream.name));
        }
        Ok(true)
    }
}

/// Whether an attempt still counts.
struct Wanted<'a>(&'a AtomicBool);

impl Watch for Wanted<'_> {
    fn goes_on(&mut self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// Pieces, of which the first one begins a phase.
struct Begun<S, F> {
    pieces: S,
    phase: Option<Phase>,
    begin: F,
}

impl<S: Supply, F: Fn() -> Phase> Supply for Begun<S, F> {
    fn next(&mut self) -> Result<Option<Piece>, Failure> {
        let piece = self.pieces.next();
        if matches!(piece, Ok(Some(_))) {
            self.phase.get_or_insert_with(&self.begin);
        }
        piece
    }

    fn give_back(&mut self, piece: Piece) {
        self.pieces.give_back(piece);
    }
}

/// A place, and how much one attempt has handed to it.
struct Counting<'a, 'd> {
    part: Part<'a, 'd>,
    used: &'d AtomicU64,
}

impl Sink for Counting<'_, '_> {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        self.part.begin(geometry)
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        self.part.extent(offset, data)?;
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.used.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }
}
