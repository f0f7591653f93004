//! One process from the stored bytes to the disk: a thread reads, this one decompresses and verifies,
//! the disk's own thread writes, another shows how far it is.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use image::{Compression, Content, Decoder, Geometry, Progress, Summary, Verify};
use imaging::tap::meter::{DiskStep, Flow, Meter, Reading};
use imaging::{Demands, Done, Failure, Output, Place, Source, Target, Trace, Watch};

use super::packed::Packed;
use super::silence::{Silence, Watched};

/// What is to be done.
pub(crate) struct Job {
    pub(crate) source: Source,
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
    /// The image is complete, and is brought to the medium.
    pub(crate) sync: Option<Syncing>,
    pub(crate) elapsed: Duration,
}

/// A look at a sync.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syncing {
    /// How long it has taken so far.
    pub(crate) elapsed: Duration,
    /// Bytes that the whole system has not written yet, if that is known.
    pub(crate) unwritten: Option<u64>,
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
    let target = Output::open(&job.place, &Demands::default(), &job.trace)?;
    let mut source = job.source;
    let image = options(&mut source, &target, job.is_raw, job.verify, job.window_log)?;
    run_to(source, image, target, job.period, show)
}

/// The same to a target that is open; `show` is called about every `period`.
///
/// # Errors
/// The first thing that went wrong, with its causes.
pub(super) fn run_to<T: Target>(
    source: Source,
    image: image::Options,
    target: T,
    period: Duration,
    show: impl FnMut(&View) + Send,
) -> anyhow::Result<Report> {
    let begin = Instant::now();
    let (name, record) = (source.name().to_owned(), source.record().map(str::to_owned));
    let watched = Watched::new(&source);
    let flow = Arc::new(Flow::default());
    let job = imaging::Job {
        source,
        image,
        target,
        flow: Arc::clone(&flow),
    };
    let done = looked_at(&flow, &watched, begin, period, show, |shared| {
        imaging::run(job, &mut Look { shared })
    });
    let done = done.map_err(|failure| named(failure, &name))?;
    Ok(report(done, name, record, begin))
}

/// The same of a stream of a pack.
///
/// # Errors
/// The first thing that went wrong, with its causes.
pub(super) fn run_packed_to<T: Target>(
    pack: &Packed,
    stream: usize,
    target_size: Option<u64>,
    target: T,
    period: Duration,
    show: impl FnMut(&View) + Send,
) -> anyhow::Result<Report> {
    let begin = Instant::now();
    let name = pack.name.clone();
    let watched = Watched {
        name: name.clone(),
        len: Some(pack.stored_len(stream)),
        network: None,
    };
    let flow = Arc::new(Flow::default());
    let job = imaging::PackedJob {
        manifest: &pack.manifest,
        frames: &pack.frames,
        stream,
        threads: pack.threads,
        target_size,
        target,
        flow: Arc::clone(&flow),
    };
    let done = looked_at(&flow, &watched, begin, period, show, |shared| {
        imaging::run_packed(job, &mut |progress, geometry| {
            let mut look = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            look.0 = *progress;
            if look.1.is_none() {
                look.1 = Some(geometry.clone());
            }
        })
    });
    let done = done.map_err(|failure| named(failure, &name))?;
    Ok(report(done, name, None, begin))
}

/// Does the work while another thread looks on.
fn looked_at(
    flow: &Flow,
    watched: &Watched,
    begin: Instant,
    period: Duration,
    show: impl FnMut(&View) + Send,
    work: impl FnOnce(&Shared) -> Result<Done, Failure>,
) -> Result<Done, Failure> {
    let shared = Shared::default();
    thread::scope(|scope| {
        // Dropped at the end, so that nothing is shown any more.
        let (_done, is_done) = channel::<()>();
        let shared = &shared;
        let watch = move || watch(&is_done, period, shared, flow, watched, begin, show);
        thread::Builder::new()
            .name("progress".into())
            .spawn_scoped(scope, watch)
            .map_err(Failure::Thread)?;
        work(shared)
    })
}

fn named(failure: Failure, name: &str) -> anyhow::Error {
    match failure {
        Failure::Confirm(error) => error.context(format!("reading {name}")),
        Failure::Read(_) | Failure::Image(_) | Failure::Chunk(_) | Failure::Format(_) => {
            failure.into_error().context(name.to_owned())
        }
        other => other.into_error(),
    }
}

fn report(done: Done, source: String, record: Option<String>, begin: Instant) -> Report {
    let summary = done.summary;
    let mut warnings: Vec<String> = summary.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(done.warnings);
    Report {
        summary,
        source,
        record,
        warnings,
        elapsed: begin.elapsed(),
    }
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
        let len = source.stored_len();
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
        target_size: output.size(),
        window_log_max: window_log,
        ..image::Options::default()
    })
}

/// What the decoding thread shows the others.
#[derive(Default)]
struct Shared(Mutex<(Progress, Option<Geometry>)>);

/// Notes how far the decoder is.
struct Look<'a> {
    shared: &'a Shared,
}

impl Watch for Look<'_> {
    fn look(&mut self, decoder: &Decoder) {
        let mut look = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        look.0 = decoder.progress();
        if look.1.is_none() {
            look.1 = decoder.geometry().cloned();
        }
    }
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
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        show(&View {
            progress,
            geometry,
            source_len: watched.len,
            reading,
            silence: flow.source_wait().map(|wait| watched.silence(wait)),
            sync: syncing(flow),
            elapsed: begin.elapsed(),
        });
    }
}

fn syncing(flow: &Flow) -> Option<Syncing> {
    let (step, since) = flow.disk_step()?;
    (step == DiskStep::Sync).then(|| Syncing {
        elapsed: since.elapsed(),
        unwritten: std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|info| unwritten(&info)),
    })
}

/// What `/proc/meminfo` says of data in memory that is newer than on its disk, in bytes.
fn unwritten(meminfo: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let kib = field("Dirty:")?.saturating_add(field("Writeback:")?);
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod unwritten_tests {
    use super::unwritten;

    #[test]
    fn what_is_dirty_and_what_is_on_its_way_is_not_written() {
        let info =
            "MemFree: 5 kB\nDirty:             300 kB\nWriteback:  12 kB\nWritebackTmp: 9 kB\n";
        assert_eq!(unwritten(info), Some(312 << 10));
        assert_eq!(unwritten("Dirty: 1 kB"), None);
        assert_eq!(unwritten(""), None);
    }
}
