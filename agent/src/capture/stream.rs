//! One stream of an image: read, verified, compressed, hashed and stored, each as far ahead as there are buffers.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow, bail};
use capture::RawHead;
use fos_api::{Blake3, ImageFacts};
use image::{Decoder, Geometry, Options, Sink, SinkError, Summary};
use imaging::tap::meter::{DiskStep, Flow};
use imaging::{Failure, PIECE_LEN, Piece, Pieces, ReadAhead, Supply as _};

use super::view::Shown;

/// What a stream became.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    /// Stored bytes.
    pub(super) len: u64,
    /// Their hash.
    pub(super) blake3: Blake3,
    /// Bytes before they were compressed.
    pub(super) image_len: u64,
    /// What the header says, and how many blocks came.
    pub(super) facts: ImageFacts,
}

/// How it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compression {
    /// zstd's level, 1 to 19.
    pub(super) level: i32,
    /// Threads that compress.
    pub(super) threads: u32,
}

/// Where the stored bytes of one file go. What was not finished is worth nothing.
pub(super) trait Sinking: Write + Send {
    /// All is there; comes back when it is stored.
    ///
    /// # Errors
    /// It could not be stored.
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

/// Carries an image from its source to its place.
///
/// # Errors
/// The source, the image that it gave, or the place is to blame; the text says which.
pub(super) fn carry<S: Pieces>(
    source: S,
    compression: Compression,
    place: Box<dyn Sinking + '_>,
    flow: &Arc<Flow>,
    image_done: &AtomicU64,
) -> anyhow::Result<Carried> {
    let mut encoder = compression.encoder(Counted::new(place, flow))?;
    let metered = Metered(source, Arc::clone(flow));
    let mut pieces = ReadAhead::start(metered).context("starting a thread")?;
    let mut decoder = Decoder::new(Options::default());
    let mut ignored = Nowhere;
    let mut image_len = 0_u64;
    let mut carried = || -> anyhow::Result<Summary> {
        while let Some(piece) = pieces.next().map_err(reading)? {
            decoder
                .push(&piece, &mut ignored)
                .context("what the program made is no image")?;
            encoder.write_all(&piece).context("storing the image")?;
            let len = piece.len() as u64;
            image_len = image_len.saturating_add(len);
            image_done.fetch_add(len, Ordering::Relaxed);
            pieces.give_back(piece);
        }
        Ok(decoder.finish(&mut ignored)?)
    };
    let carried = carried();
    // What the program says of its end explains most of what is wrong with its output.
    let source = pieces.join();
    let ended = match source {
        Some(Metered(source, _)) => source.confirm(),
        None => Err(anyhow!("the reading thread has panicked")),
    };
    let summary = match (carried, ended) {
        (Ok(summary), Ok(())) => summary,
        (Err(error), Ok(())) | (Ok(_), Err(error)) => return Err(error),
        // A program whose reader has given up fails, too.
        (Err(error), Err(_)) if is_of_place(&error) => return Err(error),
        (Err(_), Err(error)) => return Err(error),
    };
    if let Some(warning) = summary.warnings.first() {
        bail!("the image that was made is not as it should be: {warning}");
    }
    let counted = encoder.finish().context("storing the image")?;
    let (len, hash) = (counted.len, counted.hasher.finalize());
    counted.place.finish()?;
    let geometry = &summary.geometry;
    let mut facts = imaging::facts(geometry, Some(geometry.used_blocks));
    // Decoded before it was compressed.
    facts.compression = fos_api::Compression::Zstd;
    Ok(Carried {
        len,
        blake3: hash.into(),
        image_len,
        facts,
    })
}

/// Whether the place, and not the source, is to blame.
fn is_of_place(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_none() && error.downcast_ref::<image::ImageError>().is_none()
}

fn reading(failure: Failure) -> anyhow::Error {
    anyhow::Error::from(failure)
}

impl Compression {
    /// With as many threads as there are processors, and as memory allows.
    pub(super) fn new(level: i32) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = u32::try_from(threads).unwrap_or(1);
        Self {
            level,
            threads: threads.min(threads_max(level)),
        }
    }

    fn encoder<W: Write>(self, writer: W) -> anyhow::Result<zstd::Encoder<'static, W>> {
        let encoder = || -> io::Result<_> {
            let mut encoder = zstd::Encoder::new(writer, self.level)?;
            encoder.include_checksum(true)?;
            // One thread of its own, too: it compresses while this one reads and stores.
            encoder.multithread(self.threads.max(1))?;
            encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(job_size(self.level)))?;
            Ok(encoder)
        };
        encoder().context("setting up zstd")
    }
}

/// Bytes that one thread compresses at a time. More make better use of what came before, and cost twice as much memory for
/// each thread.
fn job_size(level: i32) -> u32 {
    if level <= FAST { 4 << 20 } else { 8 << 20 }
}

/// Threads that fit in 200 MB: each has tables (some MB at the fast levels, 80 MB at the slowest) and two jobs.
fn threads_max(level: i32) -> u32 {
    if level <= FAST {
        8
    } else if level <= MIDDLE {
        2
    } else {
        1
    }
}

/// The last level with small tables.
const FAST: i32 = 6;
/// The last level whose tables two threads may have.
const MIDDLE: i32 = 15;

/// Counts and hashes what is stored.
struct Counted<'a> {
    place: Box<dyn Sinking + 'a>,
    flow: Arc<Flow>,
    len: u64,
    hasher: blake3::Hasher,
}

impl<'a> Counted<'a> {
    fn new(place: Box<dyn Sinking + 'a>, flow: &Arc<Flow>) -> Self {
        Self {
            place,
            flow: Arc::clone(flow),
            len: 0,
            hasher: blake3::Hasher::new(),
        }
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let place = &mut self.place;
        self.flow
            .on_disk(DiskStep::Write, || place.write_all(bytes))?;
        self.flow.used(bytes.len(), std::time::Duration::ZERO);
        self.hasher.update(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.place.flush()
    }
}

/// A source, and how much comes from it.
struct Metered<S>(S, Arc<Flow>);

impl<S: Pieces> Pieces for Metered<S> {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        let Self(source, flow) = self;
        flow.on_source(|| source.next(spare))
    }
}

/// The image is only looked at.
struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: &Geometry) -> Result<(), SinkError> {
        Ok(())
    }

    fn extent(&mut self, _: u64, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A partition or disk as it is, as an image of which every block is used.
pub(super) struct RawPieces {
    head: RawHead,
    is_in_head: bool,
    shown: Arc<Shown>,
    at: u64,
}

impl RawPieces {
    pub(super) fn new(shown: &Arc<Shown>) -> Self {
        Self {
            head: RawHead::new(shown.len()),
            is_in_head: true,
            shown: Arc::clone(shown),
            at: 0,
        }
    }
}

impl Pieces for RawPieces {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        if self.is_in_head {
            let piece = Piece::read(&mut self.head, spare, PIECE_LEN)?;
            if !piece.is_empty() {
                return Ok(piece);
            }
            self.is_in_head = false;
            return self.data(piece.into_buffer());
        }
        self.data(spare)
    }
}

impl RawPieces {
    fn data(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        let left = self.shown.len().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_LEN);
        let mut buffer = spare;
        buffer.resize(len, 0);
        self.shown.read(self.at, &mut buffer)?;
        self.at = self.at.saturating_add(len as u64);
        Ok(Piece::from(buffer))
    }
}

/// Reads only the header and the map of an image, and says what they say.
///
/// # Errors
/// There is no image.
pub(super) fn peek(mut source: impl io::Read) -> anyhow::Result<ImageFacts> {
    let mut decoder = Decoder::new(Options::default());
    let mut ignored = Nowhere;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            len => len.context("reading what the program makes")?,
        };
        if len == 0 {
            bail!("the program has made no image");
        }
        decoder.push(&buffer[..len], &mut ignored)?;
        if let Some(geometry) = decoder.geometry() {
            return Ok(imaging::facts(geometry, Some(geometry.used_blocks)));
        }
    }
}
