//! One process from the stored bytes to the disk: a thread reads, this one decompresses and verifies,
//! the disk's own thread writes, another shows how far it is.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use image::{Compression, Content, Decoder, Geometry, Progress, Summary, Verify};

use super::silence::{Silence, Watched};
use super::source::{Source, Stopper};
use super::target::{Output, Place};
use super::trace::Trace;
use crate::deploy::flow::{Flow, Meter, Reading};
use crate::pieces::{Piece, Pieces, ReadAhead};

/// What is to be done.
pub(crate) struct Job {
    pub(crate) source: Source,
    /// Ends a source that waits.
    pub(crate) stopper: Stopper,
    pub(crate) place: Place,
    /// Tells afterwards what has become of the place.
    pub(crate) trace: Trace,
    /// The source holds no image but a disk or partition as it is.
    pub(crate) is_raw: bool,
    pub(crate) verify: Verify,
    /// log2 of the largest decompression window.
    pub(crate) window_log: u32,
    /// Least time between two looks at the progress.
    pub(crate) period: Duration,
}

/// A look at a running job.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) progress: Progress,
    pub(crate) geometry: Option<Geometry>,
    /// Bytes of the source, if known.
    pub(crate) source_len: Option<u64>,
    pub(crate) reading: Reading,
    /// The source has been waited for, if it is.
    pub(crate) silence: Option<Silence>,
    pub(crate) elapsed: Duration,
}

/// Everything went well.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) summary: Summary,
    pub(crate) source: String,
    pub(crate) record: Option<String>,
    /// Of the image, and of the target.
    pub(crate) warnings: Vec<String>,
    pub(crate) elapsed: Duration,
}

/// Carries out a job; `show` is called now and then.
///
/// # Errors
/// The first thing that went wrong, with its causes.
pub(crate) fn run(job: Job, show: impl FnMut(&View) + Send) -> anyhow::Result<Report> {
    let begin = Instant::now();
    let flow = Arc::new(Flow::default());
    let mut output = Output::open(&job.place, Arc::clone(&flow), &job.trace)?;
    let mut source = job.source;
    let options = options(&mut source, &output, job.is_raw, job.verify, job.window_log)?;
    let (name, record) = (source.name.clone(), source.record.clone());
    let watched = source.watched();
    let can_be_stopped = source.can_be_stopped();
    let source = Metered(source, Arc::clone(&flow));
    let mut reader = ReadAhead::start(source).context("starting a thread")?;
    let shared = Shared::default();
    let decoded = thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        let (shared, flow) = (&shared, &flow);
        let period = job.period;
        let watch = move || watch(&is_done, period, shared, flow, &watched, begin, show);
        thread::Builder::new()
            .name("progress".into())
            .spawn_scoped(scope, watch)
            .context("starting a thread")?;
        let decoded = decode(&mut reader, options, &mut output, shared);
        drop(done);
        decoded
    });
    let (summary, source) = match decoded {
        Ok(summary) => {
            let source = reader.join();
            let source = source.context("the reader stopped by a programming error")?;
            (summary, source)
        }
        Err(error) => {
            // A transfer is left properly. No other read is waited for: it might never end.
            if let Some(stop) = &job.stopper {
                stop.stop();
            }
            if can_be_stopped {
                // What it says comes of being stopped.
                drop(reader.join());
            }
            return Err(error.context(name));
        }
    };
    let mut warnings: Vec<String> = summary.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(output.warnings.iter().cloned());
    output.finish()?;
    // A sender may take this for success, so it comes last.
    let ended = source.0.close();
    ended.with_context(|| format!("reading {name}"))?;
    Ok(Report {
        summary,
        source: name,
        record,
        warnings,
        elapsed: begin.elapsed(),
    })
}

fn options(
    source: &mut Source,
    output: &Output,
    is_raw: bool,
    verify: Verify,
    window_log: u32,
) -> anyhow::Result<image::Options> {
    let content = if is_raw {
        // Only of what is not compressed the length is known.
        let len = source.len;
        let first = source.first_bytes()?;
        let first = &first[..first.len().min(image::SNIFF_LEN)];
        let is_plain = image::sniff(first)? == Compression::Plain;
        Content::Raw {
            len: len.filter(|_| is_plain),
        }
    } else {
        Content::Image
    };
    Ok(image::Options {
        content,
        verify,
        target_size: output.size,
        window_log_max: window_log,
        ..image::Options::default()
    })
}

/// What the decoding thread shows the others.
#[derive(Default)]
struct Shared {
    look: Mutex<(Progress, Option<Geometry>)>,
    has_geometry: AtomicBool,
}

fn decode(
    reader: &mut ReadAhead<Metered>,
    options: image::Options,
    output: &mut Output,
    shared: &Shared,
) -> anyhow::Result<Summary> {
    let mut decoder = Decoder::new(options);
    while let Some(piece) = reader.next() {
        let piece = piece.context("reading")?;
        decoder.push(&piece, output)?;
        reader.give_back(piece);
        let mut look = shared.look.lock().unwrap_or_else(PoisonError::into_inner);
        look.0 = decoder.progress();
        if let Some(geometry) = decoder.geometry()
            && !shared.has_geometry.swap(true, Ordering::Relaxed)
        {
            look.1 = Some(geometry.clone());
        }
    }
    Ok(decoder.finish(output)?)
}

/// Calls `show` until the other end of `is_done` goes.
fn watch(
    is_done: &Receiver<()>,
    period: Duration,
    shared: &Shared,
    flow: &Flow,
    watched: &Watched,
    begin: Instant,
    mut show: impl FnMut(&View),
) {
    let mut meter = Meter::default();
    let mut is_over = false;
    while !is_over {
        is_over = is_done.recv_timeout(period) != Err(RecvTimeoutError::Timeout);
        let reading = meter.read(Instant::now(), flow.sample());
        let (progress, geometry) = shared
            .look
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        show(&View {
            progress,
            geometry,
            source_len: watched.len,
            reading,
            silence: flow.source_wait().map(|wait| watched.silence(wait)),
            elapsed: begin.elapsed(),
        });
    }
}

/// A source, and how much comes from it.
struct Metered(Source, Arc<Flow>);

impl Pieces for Metered {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        let Self(source, flow) = self;
        flow.on_source(|| source.next_piece(spare))
    }
}
