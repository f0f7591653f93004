//! A capture, from disks to the files of an image: prepared, with everything that can be refused, and then carried out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use capture::{
    CapturePlan, Method, PlannedStream, Request, Shrunken, Unreadables, Warning, compressed_bound,
    raw_block,
};
use deploy_plan::SmallFiles;
use disk::SourceDisk;
use fog::task::ImageType;
use fos_api::capture::{CaptureEnd, CaptureOffer, OfferedFile, SentFile, Unreadable};
use fos_api::{Compression as Stored, ImageFacts, ImageFormat};
use imaging::tap::meter::Meter;
use readable::Size;

use super::look::survey;
use super::program::Cloning;
use super::progress::{Look, Progress};
use super::shrink::{self, Limits, Resized};
use super::store::Store;
use super::stream::{self, Carried, Compression, RawPieces};
use super::view::{Manner, Shown, shown};
use crate::deploy::Tools;

/// What is to be captured, and how.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// In the order of the image's disks.
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) image_type: ImageType,
    /// Name of the image.
    pub(crate) image: String,
    /// FOG's number of the operating system, if somebody has said it.
    pub(crate) os_id: Option<i64>,
    pub(crate) manner: Manner,
    /// Room that is left in file systems that are shrunk, in percent of what they need.
    pub(crate) percent: u32,
    /// Bytes of memory for what is changed to shrink file systems.
    pub(crate) shrink_memory: u64,
}

/// Who hears of a capture.
pub(crate) trait Audience: Sync {
    /// What is done now.
    fn does(&self, what: &str);

    /// How far it is.
    fn looks(&self, look: &Look<'_>);

    /// Something that people should know.
    fn warns(&self, text: &str);
}

/// A capture that can begin.
pub(crate) struct Prepared {
    pub(crate) plan: CapturePlan,
    pub(crate) files: SmallFiles,
    pub(crate) sources: Vec<Ready>,
    pub(crate) warnings: Vec<Warning>,
    tools: Tools,
}

/// A stream that can begin.
pub(crate) struct Ready {
    view: Arc<Shown>,
    pub(crate) facts: ImageFacts,
}

impl Ready {
    /// Bytes of the image before it is compressed.
    pub(crate) fn image_len(&self) -> u64 {
        let facts = &self.facts;
        let used = facts.used_blocks.unwrap_or(facts.total_blocks);
        let data = used.saturating_mul(facts.block_size.into());
        data.saturating_add(facts.total_blocks.div_ceil(8))
            .saturating_add(HEAD_LEN)
    }

    /// Bytes of the partition that are captured.
    pub(crate) fn device_len(&self) -> u64 {
        self.view.len()
    }
}

/// An image that was published.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) files: Vec<SentFile>,
    /// Bytes before they were compressed.
    pub(crate) image_len: u64,
    pub(crate) elapsed: Duration,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Captured {
    /// Stored bytes.
    pub(crate) fn stored_len(&self) -> u64 {
        let lens = self.files.iter().map(|file| file.len);
        lens.fold(0, u64::saturating_add)
    }
}

impl Prepared {
    /// Looks at the disks and finds out all that can be known before an image is made.
    ///
    /// # Errors
    /// It cannot be captured; nothing was changed.
    pub(crate) fn new(job: &Job, audience: &dyn Audience) -> anyhow::Result<Self> {
        let tools = Tools::installed();
        // What the machine does not list, it does not know: a file, or a loop device.
        let known = disk::probe().unwrap_or_default();
        let mut disks = Vec::new();
        let mut surveyed = Vec::new();
        for path in &job.disks {
            audience.does(&format!("looking at {}", path.display()));
            let disk = Arc::new(SourceDisk::open(path)?);
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            let of_machine = known.iter().find(|disk| disk.path == real);
            surveyed.push(survey(&disk, of_machine, job.image_type, &tools)?);
            disks.push(disk);
        }
        let request = Request {
            image_type: job.image_type,
            image: &job.image,
            has_program: &|name| tools.find(name).is_some(),
        };
        let plan = capture::plan(surveyed, &request)?;
        let mut prepared = Self {
            warnings: plan.warnings.clone(),
            plan,
            files: SmallFiles::new(),
            sources: Vec::new(),
            tools,
        };
        let shrunken = prepared.look_into(job, &disks, audience)?;
        prepared.files = prepared
            .plan
            .small_files(&shrunken)
            .context("the partition table of the image")?;
        let facts: Vec<ImageFacts> = prepared
            .sources
            .iter()
            .map(|source| source.facts.clone())
            .collect();
        let os_id = job.os_id.unwrap_or_else(|| prepared.plan.likely_os());
        let warnings =
            prepared
                .plan
                .check_deployable(&job.image, os_id, &prepared.files, &facts)?;
        prepared.warnings.extend(warnings);
        Ok(prepared)
    }

    /// What each stream will have; shrinks what is to be shrunk.
    fn look_into(
        &mut self,
        job: &Job,
        disks: &[Arc<SourceDisk>],
        audience: &dyn Audience,
    ) -> anyhow::Result<Vec<Shrunken>> {
        let mut shrunken = Vec::new();
        let mut memory = job.shrink_memory;
        for stream in &self.plan.streams {
            let disk = disks
                .get(stream.disk)
                .context("a disk of the plan is missing")?;
            let place = stream.runs.as_slice();
            let view = match (stream.shrink, &stream.place) {
                (Some(kind), Some(which)) => {
                    audience.does(&format!("making {which} smaller in memory ({kind})"));
                    let limits = Limits {
                        percent: job.percent,
                        memory,
                    };
                    let resized =
                        shrink::shrink(disk, place, kind, job.manner, limits, &self.tools);
                    let Resized {
                        view,
                        memory: used,
                        kept,
                    } = resized.with_context(|| which.to_string())?;
                    memory = memory.saturating_sub(used);
                    match kept {
                        Some(cause) => self.warnings.push(Warning::KeepsSize {
                            which: which.clone(),
                            cause,
                        }),
                        None => shrunken.push(Shrunken {
                            number: which.partition.number,
                            len: view.len(),
                        }),
                    }
                    view
                }
                _ => Shown::new(disk, place, job.manner, None),
            };
            let facts = match stream.method {
                Method::Raw => raw_facts(view.len()),
                Method::Program(kind) => {
                    audience.does(&format!("finding out how much {} has", stream.name));
                    let peeked = shown(&view, |path| {
                        let cloning = Cloning::start(&self.tools, kind, path)?;
                        peek(cloning)
                    })?;
                    peeked.map_err(|error| explain(error, stream, &view))?
                }
            };
            self.sources.push(Ready {
                view: Arc::new(view),
                facts,
            });
        }
        Ok(shrunken)
    }

    /// What the server is offered.
    pub(crate) fn offer(&self, system: String) -> CaptureOffer {
        let small = self.files.iter().map(|(name, bytes)| OfferedFile {
            name: name.clone(),
            at_most: bytes.len() as u64,
        });
        let streams = self.plan.streams.iter().zip(&self.sources);
        let streams = streams.map(|(stream, source)| OfferedFile {
            name: stream.name.to_string(),
            at_most: compressed_bound(source.image_len()),
        });
        let files: Vec<OfferedFile> = small.chain(streams).collect();
        let all = files.iter().map(|file| file.at_most);
        CaptureOffer {
            image_type: self.plan.image_type,
            disks: self.plan.captured_disks(),
            at_most: all.fold(0, u64::saturating_add),
            files,
            system,
        }
    }

    /// Reads everything into a store and publishes it.
    ///
    /// # Errors
    /// The first thing that went wrong. Nothing is published then.
    pub(crate) fn carry_out(
        self,
        store: Store,
        compression: Compression,
        audience: &dyn Audience,
    ) -> anyhow::Result<Captured> {
        let begin = Instant::now();
        let done = self.fill(&store, compression, audience);
        let (end, image_len) = match done {
            Ok(done) => done,
            Err(error) => {
                store.abandon(&readable::chain(&*error));
                return Err(error);
            }
        };
        audience.does("publishing the image");
        store.publish(&end)?;
        Ok(Captured {
            files: end.files,
            image_len,
            elapsed: begin.elapsed(),
            unreadable: end.unreadable,
        })
    }

    fn fill(
        &self,
        store: &Store,
        compression: Compression,
        audience: &dyn Audience,
    ) -> anyhow::Result<(CaptureEnd, u64)> {
        let mut end = CaptureEnd {
            files: Vec::new(),
            unreadable: Vec::new(),
        };
        for (name, bytes) in &self.files {
            let sent = store.small_file(name, bytes);
            end.files
                .push(sent.with_context(|| format!("storing {name}"))?);
        }
        let lens: Vec<u64> = self.sources.iter().map(Ready::image_len).collect();
        let progress = Progress::new(&self.plan, &lens);
        let mut image_len = 0_u64;
        watched(&progress, audience, || -> anyhow::Result<()> {
            for (index, (stream, source)) in self.plan.streams.iter().zip(&self.sources).enumerate()
            {
                progress.begin(index);
                let carried = self.carry(stream, source, store, compression, &progress);
                let carried = carried.map_err(|error| explain(error, stream, &source.view))?;
                check_same(stream, &source.facts, &carried.facts)?;
                image_len = image_len.saturating_add(carried.image_len);
                let lost = source.view.unreadable();
                ensure!(
                    source.view.manner() == Manner::Rescue || lost.is_empty(),
                    "{} has places that cannot be read: {lost}",
                    stream.name
                );
                add_lost(&mut end.unreadable, stream, &lost)?;
                if !lost.is_empty() {
                    audience.warns(&format!(
                        "{} has places that cannot be read, which are zero in the image: {lost}",
                        stream.name
                    ));
                }
                end.files.push(SentFile {
                    name: stream.name.to_string(),
                    len: carried.len,
                    blake3: carried.blake3,
                });
            }
            Ok(())
        })?;
        Ok((end, image_len))
    }

    fn carry(
        &self,
        stream: &PlannedStream,
        source: &Ready,
        store: &Store,
        compression: Compression,
        progress: &Progress,
    ) -> anyhow::Result<Carried> {
        let place = store.file(stream.name.as_str())?;
        let (flow, done) = (&progress.flow, &progress.image_done);
        match stream.method {
            Method::Raw => {
                let pieces = RawPieces::new(&source.view);
                stream::carry(pieces, compression, place, flow, done)
            }
            Method::Program(kind) => shown(&source.view, move |path: &Path| {
                let cloning = Cloning::start(&self.tools, kind, path)?;
                stream::carry(cloning, compression, place, flow, done)
            })?,
        }
    }
}

/// What a program says of an image before its data. It is ended then.
fn peek(mut cloning: Cloning) -> anyhow::Result<ImageFacts> {
    let facts = stream::peek(&mut cloning);
    match facts {
        Ok(facts) => Ok(facts),
        // Why it has made no image is what it says itself.
        Err(error) => cloning.finish().and(Err(error)),
    }
}

fn raw_facts(len: u64) -> ImageFacts {
    let block_size = raw_block(len);
    let blocks = len / u64::from(block_size);
    ImageFacts {
        format: ImageFormat::Partclone0002,
        compression: Stored::Zstd,
        filesystem: "raw".into(),
        device_size: len,
        block_size,
        total_blocks: blocks,
        used_blocks: Some(blocks),
    }
}

/// Names the stream, and places that could not be read, which programs do not.
fn explain(error: anyhow::Error, stream: &PlannedStream, view: &Shown) -> anyhow::Error {
    let lost = view.unreadable();
    let what = match (&stream.place, stream.method) {
        (Some(which), Method::Program(kind)) => format!("{which} ({kind}, {})", stream.name),
        (Some(which), Method::Raw) => format!("{which} ({})", stream.name),
        (None, _) => "the disk".to_owned(),
    };
    if lost.is_empty() {
        return error.context(what);
    }
    error.context(format!(
        "{what} cannot be read at {lost}; have the disk replaced, or capture what can be read with --rescue"
    ))
}

fn check_same(stream: &PlannedStream, before: &ImageFacts, now: &ImageFacts) -> anyhow::Result<()> {
    let key = |facts: &ImageFacts| (facts.device_size, facts.total_blocks, facts.used_blocks);
    ensure!(
        key(before) == key(now),
        "{} was changed while it was captured: {} blocks were in use, and then {}",
        stream.name,
        before.used_blocks.unwrap_or_default(),
        now.used_blocks.unwrap_or_default()
    );
    Ok(())
}

fn add_lost(
    all: &mut Vec<Unreadable>,
    stream: &PlannedStream,
    lost: &Unreadables,
) -> anyhow::Result<()> {
    for place in lost.places() {
        if all.len() >= LOST_MAX || lost.is_cut() {
            bail!(
                "the disk has more than {LOST_MAX} places that cannot be read: it is not worth an image"
            );
        }
        all.push(Unreadable {
            file: stream.name.to_string(),
            offset: place.start,
            len: place.end - place.start,
        });
    }
    Ok(())
}

/// Shows progress while `work` runs.
fn watched<T>(progress: &Progress, audience: &dyn Audience, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut meter = Meter::default();
            while !is_over.load(Ordering::Acquire) {
                audience.looks(&progress.look(&mut meter, Instant::now()));
                thread::park_timeout(PERIOD);
            }
        });
        /// Ends the watching, also after a panic.
        struct Over<'a>(&'a AtomicBool, thread::Thread);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
                self.1.unpark();
            }
        }
        let _over = Over(&is_over, watch.thread().clone());
        work()
    })
}

/// Whether there is room for the most that an image can have.
pub(crate) fn room_warning(room: Option<u64>, at_most: u64) -> Option<String> {
    let room = room.filter(|room| *room < at_most)?;
    Some(format!(
        "the image may have up to {}, and there is room for {}: it may not fit",
        Size(at_most),
        Size(room)
    ))
}

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(500);
/// Bytes of header and checksum of an image.
const HEAD_LEN: u64 = 114;
/// Places that the end of an upload has room for.
const LOST_MAX: usize = 4096;
