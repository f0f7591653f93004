//! The data path: network, hash, decoder, disk; one stream after the other.
//!
//! Per stream a reader takes bytes from the network, checks the record in front and hashes them; a
//! decoder thread turns them into extents for the disk's own writer thread. When a stream has ended on the
//! wire the next one is opened at once, and buffers while the previous one is still being written:
//! a receiver that opens late would miss the start.
//!
//! A stream may have to be begun again, because its sender vanished with the server. Nothing of the
//! earlier attempt is used: receiver, hash and decoder are new, and the region is written again from
//! its start. A stream that was verified and synced before is only received and verified again.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use conveyor::{Loader, Unloader, conveyor};
use deploy_plan::{DeployPlan, PlannedStream};
use disk::WriteError;
use fog::record::{self, Found, RECORD_LEN, RecordError};
use fog::store::StreamName;
use fos_api::{Blake3, ImageFacts, ImageFormat};
use image::{Content, Geometry, ImageError, Sink, SinkError};
use imaging::tap::meter::{DiskStep, Flow};
use imaging::tap::{Hash, Tap as _};
use imaging::{Failure, PIECES, Piece, Supply, Watch};
use readable::{Count, Size, chain};

use super::disks::{Disks, Part};
use super::ending::Ending;
use super::resume::Cause;
use crate::screen::{Board, Phase};

/// Where streams come from: the network, or memory in tests.
pub(crate) trait Sources {
    /// Opens the next stream; it begins to buffer at once. `index` counts from 0.
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>>;

    /// Whether the server promised a record in front of every stream, as far as known now.
    fn is_record_promised(&self) -> bool;

    /// Which stream the open source carries, by the server's word, where its bytes do not say so;
    /// `index` if the server says nothing. What is there has begun to come.
    fn confirm(&mut self, index: usize) -> usize;

    /// The open source carries this stream, whatever it was opened for.
    fn carries(&mut self, index: usize);

    /// After stream `index` has failed: waits for the server if need be, and answers with which stream
    /// it goes on from its first byte; `None` if the failure stands. The source is still open.
    fn resume(&mut self, index: usize, cause: Cause) -> Option<usize>;

    /// Called on an error, before the transfer is left: the chance to tell the server why.
    fn leaving(&mut self, error: &StreamError);
}

/// Where the streams of a whole deploy come from.
pub(crate) trait DeploySources: Sources {
    /// An error, and why it came to that if this is known.
    fn explain(&self, error: &StreamError) -> String;

    /// Whether the server knows why the transfer was left.
    fn is_server_told(&self) -> bool;

    /// What decides whether the table is written.
    fn ending(&self) -> Ending;
}

/// One stream on its way. End of file is only reported after the sender ended the stream properly.
pub(crate) trait Source: Read + Send {
    /// The next bytes, in `spare` if that helps; none at the end of file.
    fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece>;

    /// After the end of file: leaves the transfer, so that the next stream can be opened.
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// Why a stream is not on the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("{name}: receiving failed after {}: {source}", Size(*.bytes))]
    Receive {
        name: StreamName,
        bytes: u64,
        source: io::Error,
    },
    #[error("{name}: {source}")]
    Record {
        name: StreamName,
        source: RecordError,
    },
    #[error(
        "{name}: out of step: what comes does not begin like the file of this name in the image share{}; nothing \
         of it was written. A client that missed a stream cannot catch up in this session: deploy it again",
        begins_like(.found.as_ref())
    )]
    Start {
        name: StreamName,
        found: Option<StreamName>,
    },
    #[error(
        "{name}: the stream has more than the {:#} of the manifest; was the image changed while it \
         was sent?", Size(*.expected)
    )]
    TooLong { name: StreamName, expected: u64 },
    #[error(
        "{name}: the stream ended after {:#} of {:#}; was the sender stopped, or the image changed while \
         it was sent?", Size(*.found), Size(*.expected)
    )]
    TooShort {
        name: StreamName,
        found: u64,
        expected: u64,
    },
    #[error(
        "{name}: the bytes received are not the ones of the server's image (BLAKE3 {found}, expected \
         {expected}); the image was changed while it was sent, or damaged on the way"
    )]
    Hash {
        name: StreamName,
        found: Blake3,
        expected: Blake3,
    },
    #[error("{name}: {source}")]
    Image {
        name: StreamName,
        source: Box<ImageError>,
    },
    #[error(
        "{name}: out of step: the stream has an image whose bitmap does not fit into {} ({} of the \
         file system), but due is one of {}; nothing of it was written. A client that missed a stream \
         cannot catch up in this session: deploy it again",
        Size(*.limit), Count(*.found, "block"), Count(*.expected, "block")
    )]
    Bitmap {
        name: StreamName,
        found: u64,
        expected: u64,
        limit: u64,
    },
    #[error("{name}: {source}")]
    Write {
        name: StreamName,
        source: WriteError,
    },
    #[error("{name}: a thread could not be started: {source}")]
    Thread { name: StreamName, source: io::Error },
    #[error("{name}: the decoder stopped by a programming error")]
    Panic { name: StreamName },
}

impl StreamError {
    pub(crate) fn name(&self) -> &StreamName {
        match self {
            Self::Receive { name, .. }
            | Self::Record { name, .. }
            | Self::Start { name, .. }
            | Self::TooLong { name, .. }
            | Self::TooShort { name, .. }
            | Self::Hash { name, .. }
            | Self::Image { name, .. }
            | Self::Bitmap { name, .. }
            | Self::Write { name, .. }
            | Self::Thread { name, .. }
            | Self::Panic { name } => name,
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Receive { .. } | Self::TooShort { .. } => Cause::Transfer,
            Self::Image { source, .. } => match &**source {
                ImageError::Sink(error) if error.is::<WriteError>() => Cause::Machine,
                _ => Cause::Content,
            },
            Self::Record { .. }
            | Self::Start { .. }
            | Self::TooLong { .. }
            | Self::Hash { .. }
            | Self::Bitmap { .. } => Cause::Content,
            Self::Write { .. } | Self::Thread { .. } | Self::Panic { .. } => Cause::Machine,
        }
    }
}

fn begins_like(found: Option<&StreamName>) -> String {
    found
        .map(|name| format!(", but like {name}"))
        .unwrap_or_default()
}

/// A stream that carries another image than the one that is due.
#[derive(Debug, thiserror::Error)]
#[error(
    "out of step: the stream has a {found}, but due is a {expected}; nothing of it was written. A \
     client that missed a stream cannot catch up in this session: deploy it again"
)]
struct OtherImage {
    found: String,
    expected: String,
}

/// What all streams share.
pub(crate) struct Pipeline<'a> {
    pub(crate) plan: &'a DeployPlan,
    pub(crate) disks: &'a Disks<'a>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) board: Board,
    /// log2 of the largest decompression window that the memory allows.
    pub(crate) window_log_max: u32,
    /// So many streams, from the first one, are verified and on the disk: they are not written again.
    pub(crate) done: usize,
    /// The first bytes of each stream's files, where these are known and the server knows no hashes.
    pub(crate) starts: Option<&'a [Vec<u8>]>,
}

/// How far a [`Pipeline`] has come.
struct Course<'scope, 'env> {
    /// The stream to be received next.
    next: usize,
    /// As [`Pipeline::done`].
    done: usize,
    /// Has ended on the wire, not on the disk.
    previous: Option<Running<'scope, 'env>>,
    /// Opened, but nothing of it was read.
    source: Option<Box<dyn Source>>,
    /// Until the first data.
    wait: Option<Phase>,
}

/// A stream that failed.
struct Failed {
    index: usize,
    error: StreamError,
    /// Where it came from, if that is still open: who leaves a transfer has to say why before.
    source: Option<Box<dyn Source>>,
}

impl Pipeline<'_> {
    /// Receives, verifies and writes the streams from `first` on.
    ///
    /// The old partition table is destroyed just before the first byte of data is written, not
    /// earlier: as long as no good header has come, the disk is as it was.
    ///
    /// # Errors
    /// The first failure. The disk then has no partition table, or the old one if nothing was written.
    pub(crate) fn run(&self, first: usize, sources: &mut dyn Sources) -> Result<(), StreamError> {
        std::thread::scope(|scope| {
            let mut course = Course {
                next: first,
                done: self.done,
                previous: None,
                source: None,
                wait: Some(self.board.phase("wait")),
            };
            loop {
                let failed = match self.step(scope, sources, &mut course) {
                    Ok(true) => continue,
                    Ok(false) => return Ok(()),
                    Err(failed) => failed,
                };
                let Some(next) = sources.resume(failed.index, failed.error.cause()) else {
                    sources.leaving(&failed.error);
                    // Leaves the transfer, so that nobody waits for us.
                    drop(failed.source);
                    return Err(failed.error);
                };
                // It did not stop this machine, but people should see what came.
                self.board.say(chain(&failed.error));
                // The old transfer is left before the new one is asked for.
                drop(failed.source);
                course.next = next;
            }
        })
    }

    /// Receives one stream, while the previous one is written to its end; false if there is none left
    /// of either.
    fn step<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        sources: &mut dyn Sources,
        course: &mut Course<'scope, 'env>,
    ) -> Result<bool, Failed> {
        let due = course.next;
        if due < self.plan.streams.len() && course.source.is_none() {
            let opened = sources.open(due);
            course.source = Some(opened.map_err(|error| self.failed(due, error))?);
        }
        // The new stream buffers meanwhile. If the previous one fails, it is kept: a sender that begins
        // again finds it as well as any other.
        if let Some(running) = course.previous.take() {
            let index = running.index;
            running.finish().map_err(|error| Failed {
                index,
                error,
                source: None,
            })?;
            course.done = course.done.max(index + 1);
        }
        let Some(mut source) = course.source.take() else {
            return Ok(false);
        };
        let mut index = due;
        match self.receive(scope, sources, course, &mut *source, &mut index) {
            Ok(running) => {
                course.previous = Some(running);
                course.next = index + 1;
            }
            Err(error) => {
                let source = Some(source);
                return Err(Failed {
                    index,
                    error,
                    source,
                });
            }
        }
        source.close().map_err(|error| self.failed(index, error))?;
        Ok(true)
    }

    fn failed(&self, index: usize, source: io::Error) -> Failed {
        Failed {
            index,
            error: StreamError::Receive {
                name: self.plan.streams[index].name.clone(),
                bytes: 0,
                source,
            },
            source: None,
        }
    }

    /// Reads a stream to its end. `index` is the one that is due, and then the one that has come.
    fn receive<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        sources: &mut dyn Sources,
        course: &mut Course<'scope, 'env>,
        source: &mut dyn Source,
        index: &mut usize,
    ) -> Result<Running<'scope, 'env>, StreamError> {
        let due = &self.plan.streams[*index];
        let mut reader = Reader {
            pipeline: self,
            stream: due,
            received: 0,
        };
        let start = reader.read_start(source, &mut course.wait)?;
        let is_promised = sources.is_record_promised();
        *index = self.identify(&start, is_promised, sources, *index);
        sources.carries(*index);
        let stream = &self.plan.streams[*index];
        let strip = record::check(&start, &stream.name, is_promised).map_err(|source| {
            StreamError::Record {
                name: stream.name.clone(),
                source,
            }
        })?;
        self.check_start(*index, start.get(strip..).unwrap_or_default())?;
        let is_done = *index < course.done;
        let mut running = Running::start(scope, self, *index, is_done, reader.received)?;
        match running.receive(source, start, strip) {
            Ok(()) => running.check_decoder(),
            Err(error) => running.abandon().and(Err(error)),
        }
    }

    /// Which stream begins like this. One before the one that is due comes again if the server does not
    /// know that this machine has it.
    fn identify(
        &self,
        start: &[u8],
        is_promised: bool,
        sources: &mut dyn Sources,
        due: usize,
    ) -> usize {
        let streams = &self.plan.streams;
        let found = match record::look(start) {
            Found::Record(name) => streams
                .iter()
                .position(|stream| stream.name.as_str() == name),
            Found::None if self.starts.is_some() => self.find_start(due, start),
            Found::None if !is_promised => Some(sources.confirm(due)),
            _ => None,
        };
        found.filter(|found| *found < due).unwrap_or(due)
    }

    /// The stream that begins like this: the one that is due if it is among them.
    fn find_start(&self, due: usize, image_start: &[u8]) -> Option<usize> {
        let starts = self.starts?;
        let is_like = |expected: &Vec<u8>| image_start.starts_with(expected);
        if starts.get(due).is_some_and(is_like) {
            return Some(due);
        }
        starts.iter().position(is_like)
    }

    /// Refuses a stream that does not begin like its file, where that is known.
    fn check_start(&self, index: usize, image_start: &[u8]) -> Result<(), StreamError> {
        let found = match self.starts {
            None => return Ok(()),
            Some(_) => self.find_start(index, image_start),
        };
        if found == Some(index) {
            return Ok(());
        }
        let name_of = |index: usize| Some(self.plan.streams.get(index)?.name.clone());
        Err(StreamError::Start {
            name: self.plan.streams[index].name.clone(),
            found: found.and_then(name_of),
        })
    }

    /// How much of a stream is read before anything is made of it.
    fn start_len(&self) -> usize {
        let starts = self.starts.unwrap_or_default().iter();
        RECORD_LEN + starts.map(Vec::len).max().unwrap_or(0)
    }
}

/// Reads a source, and counts the time and the bytes.
struct Reader<'env> {
    pipeline: &'env Pipeline<'env>,
    stream: &'env PlannedStream,
    received: u64,
}

impl Reader<'_> {
    /// Reads as many bytes as a stream is known by, or all if there are fewer.
    fn read_start(
        &mut self,
        source: &mut dyn Source,
        wait: &mut Option<Phase>,
    ) -> Result<Vec<u8>, StreamError> {
        let mut start = vec![0; self.pipeline.start_len()];
        let mut filled = 0;
        while filled < start.len() {
            let len = self.timed(|| source.read(&mut start[filled..]), |len| *len)?;
            if len == 0 {
                break;
            }
            drop(wait.take());
            filled += len;
        }
        start.truncate(filled);
        let found = u64::try_from(start.len()).unwrap_or(u64::MAX);
        if start.len() < RECORD_LEN && found < self.stream.stored_len {
            // Too short to tell what it is; the sender was stopped.
            return Err(StreamError::TooShort {
                name: self.stream.name.clone(),
                found,
                expected: self.stream.stored_len,
            });
        }
        Ok(start)
    }

    fn timed<T>(
        &mut self,
        mut read: impl FnMut() -> io::Result<T>,
        len: impl Fn(&T) -> usize,
    ) -> Result<T, StreamError> {
        let read = || loop {
            match read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        let read = self.pipeline.flow.reading(read, &len);
        let read = read.map_err(|source| StreamError::Receive {
            name: self.stream.name.clone(),
            bytes: self.received,
            source,
        })?;
        self.received += u64::try_from(len(&read)).unwrap_or(u64::MAX);
        Ok(read)
    }
}

/// What one attempt at a stream has added to the [`Flow`].
#[derive(Debug, Default)]
struct Counted {
    stored: u64,
    used: Arc<AtomicU64>,
}

/// One stream between its first byte and the disk.
struct Running<'scope, 'env> {
    pipeline: &'env Pipeline<'env>,
    index: usize,
    stream: &'env PlannedStream,
    /// It is on the disk already.
    is_done: bool,
    /// Of what was received, without the record.
    hash: Hash,
    counted: Counted,
    /// Nothing of this attempt counts any more.
    is_abandoned: Arc<AtomicBool>,
    /// To the decoder; `None` once all is handed over.
    loader: Option<Loader<io::Result<Piece>, Vec<u8>>>,
    decoder: ScopedJoinHandle<'scope, Result<(), StreamError>>,
}

impl<'scope, 'env> Running<'scope, 'env> {
    /// `stored`: bytes that were read before.
    fn start(
        scope: &'scope Scope<'scope, 'env>,
        pipeline: &'env Pipeline<'env>,
        index: usize,
        is_done: bool,
        stored: u64,
    ) -> Result<Self, StreamError> {
        let stream = &pipeline.plan.streams[index];
        let buffers = std::iter::repeat_with(Vec::new);
        let (loader, pieces) = conveyor(buffers.take(PIECES));
        let counted = Counted {
            stored,
            used: Arc::default(),
        };
        let is_abandoned: Arc<AtomicBool> = Arc::default();
        let work = Work {
            pipeline,
            stream,
            is_done,
            used: Arc::clone(&counted.used),
            is_abandoned: Arc::clone(&is_abandoned),
        };
        let decoder = std::thread::Builder::new()
            .name("decoder".into())
            .spawn_scoped(scope, move || work.decode(pieces))
            .map_err(|source| StreamError::Thread {
                name: stream.name.clone(),
                source,
            })?;
        Ok(Self {
            pipeline,
            index,
            stream,
            is_done,
            hash: Hash::default(),
            counted,
            is_abandoned,
            loader: Some(loader),
            decoder,
        })
    }

    /// Reads the stream to its end. It begins with `start`, of which `strip` bytes are not the image's.
    fn receive(
        &mut self,
        source: &mut dyn Source,
        mut start: Vec<u8>,
        strip: usize,
    ) -> Result<(), StreamError> {
        let mut reader = Reader {
            pipeline: self.pipeline,
            stream: self.stream,
            received: self.counted.stored,
        };
        let image_start = start.split_off(strip);
        if !image_start.is_empty() && !self.hand_over(image_start.into())? {
            return Ok(());
        }
        loop {
            // A decoder that is gone has failed; finish() will say why.
            let Some(Ok(spare)) = self.loader.as_ref().map(Loader::buffer) else {
                return Ok(());
            };
            let mut spare = Some(spare);
            let next = || source.next_piece(spare.take().unwrap_or_default());
            let piece = reader.timed(next, |piece| piece.len())?;
            self.counted.stored = reader.received;
            if piece.is_empty() {
                if let Some(loader) = self.loader.take() {
                    loader.end().ok();
                }
                return Ok(());
            }
            if !self.hand_over(piece)? {
                return Ok(());
            }
        }
    }

    /// Hashes a piece and gives it to the decoder; `false` if that has failed.
    fn hand_over(&mut self, piece: Piece) -> Result<bool, StreamError> {
        self.hash.pass(&piece);
        if self.hash.count() > self.stream.stored_len {
            return Err(StreamError::TooLong {
                name: self.stream.name.clone(),
                expected: self.stream.stored_len,
            });
        }
        let loader = self.loader.as_ref();
        Ok(loader.is_some_and(|loader| loader.put(Ok(piece)).is_ok()))
    }

    /// After [`Self::receive`]: whether the decoder has taken everything. If not, it has failed.
    fn check_decoder(self) -> Result<Self, StreamError> {
        if self.loader.is_none() {
            return Ok(self);
        }
        let name = self.stream.name.clone();
        self.finish().and(Err(StreamError::Panic { name }))
    }

    /// Waits until everything is decoded and on the disk, and compares it with the manifest.
    fn finish(self) -> Result<(), StreamError> {
        let flow = &self.pipeline.flow;
        let (stored, used) = (self.counted.stored, Arc::clone(&self.counted.used));
        let is_done = self.is_done;
        let finished = self.judge();
        if finished.is_err() || is_done {
            flow.take_back(stored, used.load(Ordering::Relaxed));
        }
        finished
    }

    fn judge(self) -> Result<(), StreamError> {
        let name = &self.stream.name;
        let is_complete = self.loader.is_none();
        drop(self.loader);
        let decoded = join(self.decoder, name);
        // Received to the end, so length and hash can be judged; they explain most other errors. Not
        // those of the disk, which has had its chance.
        let is_disk = |error: &StreamError| error.cause() == Cause::Machine;
        if is_complete && !decoded.as_ref().is_err_and(is_disk) {
            let (received, found) = self.hash.found();
            if received != self.stream.stored_len {
                return Err(StreamError::TooShort {
                    name: name.clone(),
                    found: received,
                    expected: self.stream.stored_len,
                });
            }
            let found = Blake3::from(found);
            if self.pipeline.starts.is_none() && found != self.stream.blake3 {
                return Err(StreamError::Hash {
                    name: name.clone(),
                    found,
                    expected: self.stream.blake3,
                });
            }
        }
        decoded
    }

    /// Lets go of what has come so far. After this nothing of it is written.
    ///
    /// # Errors
    /// The disk failed meanwhile.
    fn abandon(self) -> Result<(), StreamError> {
        self.is_abandoned.store(true, Ordering::Relaxed);
        drop(self.loader);
        let result = join(self.decoder, &self.stream.name);
        let used = self.counted.used.load(Ordering::Relaxed);
        self.pipeline.flow.take_back(self.counted.stored, used);
        // What came of the bytes does not matter any more.
        result.or_else(|error| match error.cause() {
            Cause::Machine => Err(error),
            Cause::Transfer | Cause::Content => Ok(()),
        })
    }
}

fn join(
    decoder: ScopedJoinHandle<'_, Result<(), StreamError>>,
    name: &StreamName,
) -> Result<(), StreamError> {
    decoder
        .join()
        .unwrap_or_else(|_| Err(StreamError::Panic { name: name.clone() }))
}

/// What the decoder's thread works on.
struct Work<'env> {
    pipeline: &'env Pipeline<'env>,
    stream: &'env PlannedStream,
    is_done: bool,
    /// Bytes handed to the disk.
    used: Arc<AtomicU64>,
    is_abandoned: Arc<AtomicBool>,
}

impl Work<'_> {
    /// Decodes and writes until there is no more.
    fn decode(&self, pieces: Unloader<io::Result<Piece>, Vec<u8>>) -> Result<(), StreamError> {
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
        activity(super::ACTIVITY.to_owned());
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

/// Most bytes that the bitmap of an image takes in memory: a bit per block unless all are used, what
/// the pieces of it need beside, and a little for the smallest.
pub(super) fn bitmap_memory(facts: &ImageFacts) -> u64 {
    let total = facts.total_blocks;
    let bits = match facts.format {
        // There is none.
        ImageFormat::Raw => return 1 << 20,
        _ if facts.used_blocks == Some(total) => 0,
        _ => total / 8,
    };
    bits.saturating_add(total / 128).saturating_add(1 << 20)
}

/// Compares what came with what the manifest promised.
fn same_image(stream: &PlannedStream, geometry: &Geometry) -> Result<(), OtherImage> {
    let facts = &stream.facts;
    let used = facts.used_blocks.unwrap_or(geometry.used_blocks);
    let expected = (
        facts.format.to_string(),
        facts.device_size,
        facts.block_size,
        facts.total_blocks,
        used,
    );
    let found = (
        geometry.format.to_string(),
        geometry.device_size,
        geometry.block_size,
        geometry.total_blocks,
        geometry.used_blocks,
    );
    if found == expected {
        return Ok(());
    }
    let words = |(format, device, block, total, used): (String, u64, u32, u64, u64)| {
        format!(
            "{format} image of a device of {:#}, {used} of {} of {} used",
            Size(device),
            Count(total, "block"),
            Count(block.into(), "byte")
        )
    };
    Err(OtherImage {
        found: words(found),
        expected: words(expected),
    })
}

#[cfg(test)]
mod tests;
