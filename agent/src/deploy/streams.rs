//! The data path: network, hash, decoder, disk; one stream after the other.
//!
//! Per stream a reader takes bytes from the network, checks the record in front and hashes them; a
//! decoder thread turns them into extents for the disk's own writer thread. When a stream has ended on the
//! wire the next one is opened at once, and buffers while the previous one is still being written:
//! a receiver that opens late would miss the start.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use deploy_plan::{DeployPlan, Destination, PlannedStream};
use disk::{RegionWriter, Target, WriteError};
use fog::record::{self, RECORD_LEN, RecordError};
use fog::store::StreamName;
use fos_api::Blake3;
use image::{Decoder, Geometry, ImageError, Sink, SinkError};

use super::flow::{DiskStep, Flow};
use crate::pieces::Piece;
use crate::screen::{Board, Phase};

/// Where streams come from: the network, or memory in tests.
pub(crate) trait Sources {
    /// Opens the next stream; it begins to buffer at once. `index` counts from 0.
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>>;

    /// Whether the server promised a record in front of every stream, as far as known now.
    fn is_record_promised(&self) -> bool;

    /// Called on an error, before the transfer is left: the chance to tell the server why.
    fn leaving(&mut self, error: &StreamError);
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
    #[error("{name}: receiving failed after {bytes} bytes: {source}")]
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
        "{name}: the stream has more than the {expected} bytes of the manifest; was the image \
         changed while it was sent?"
    )]
    TooLong { name: StreamName, expected: u64 },
    #[error(
        "{name}: the stream ended after {found} of {expected} bytes; was the sender stopped, or the \
         image changed while it was sent?"
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
        "{name}: out of step: the stream has an image whose bitmap does not fit into {limit} bytes \
         ({found} blocks), but due is one of {expected} blocks; nothing of it was written. A client \
         that missed a stream cannot catch up in this session: deploy it again"
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
    pub(crate) target: &'a Target,
    pub(crate) flow: Arc<Flow>,
    pub(crate) board: Board,
    /// log2 of the largest decompression window that the memory allows.
    pub(crate) window_log_max: u32,
    /// Whether the old partition table is gone. Destroying it twice could hit data.
    pub(crate) is_table_gone: Mutex<bool>,
}

impl Pipeline<'_> {
    /// Receives, verifies and writes all streams.
    ///
    /// The old partition table is destroyed just before the first byte of data is written, not
    /// earlier: as long as no good header has come, the disk is as it was.
    ///
    /// # Errors
    /// The first failure. The disk then has no partition table, or the old one if nothing was written.
    pub(crate) fn run(&self, sources: &mut dyn Sources) -> Result<(), StreamError> {
        let mut wait = Some(self.board.phase("wait"));
        std::thread::scope(|scope| {
            let mut previous: Option<Running<'_, '_>> = None;
            for (index, stream) in self.plan.streams.iter().enumerate() {
                let fail = |source| StreamError::Receive {
                    name: stream.name.clone(),
                    bytes: 0,
                    source,
                };
                let mut source = sources.open(index).map_err(fail)?;
                // The new stream buffers while the previous one is written to its end.
                let finished = previous.take().map_or(Ok(()), Running::finish);
                let received = finished.and_then(|()| {
                    let mut running = Running::start(scope, self, stream)?;
                    running.receive(&mut *source, sources, &mut wait)?;
                    running.check_decoder()
                });
                match received {
                    Ok(running) => previous = Some(running),
                    Err(error) => {
                        sources.leaving(&error);
                        // Leaves the transfer, so that nobody waits for us.
                        drop(source);
                        return Err(error);
                    }
                }
                source.close().map_err(fail)?;
            }
            previous
                .map_or(Ok(()), Running::finish)
                .inspect_err(|error| sources.leaving(error))
        })
    }
}

impl Pipeline<'_> {
    /// Destroys the old partition table unless that has happened.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn remove_old_table(&self) -> Result<(), WriteError> {
        let gone = &self.is_table_gone;
        let mut is_gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_gone {
            self.flow.on_disk(DiskStep::Write, || {
                self.target.make_unbootable(&self.plan.table)
            })?;
            *is_gone = true;
        }
        Ok(())
    }
}

/// One stream between its first byte and the disk.
struct Running<'scope, 'env> {
    pipeline: &'env Pipeline<'env>,
    stream: &'env PlannedStream,
    hasher: blake3::Hasher,
    received: u64,
    /// To the decoder; `None` once all is handed over.
    full: Option<SyncSender<Piece>>,
    /// Used buffers come back.
    empty: Receiver<Vec<u8>>,
    decoder: ScopedJoinHandle<'scope, Result<(), StreamError>>,
}

impl<'scope, 'env> Running<'scope, 'env> {
    fn start(
        scope: &'scope Scope<'scope, 'env>,
        pipeline: &'env Pipeline<'env>,
        stream: &'env PlannedStream,
    ) -> Result<Self, StreamError> {
        let (full, todo) = sync_channel(QUEUE_LEN);
        let (give_back, empty) = channel();
        for _ in 0..QUEUE_LEN + 2 {
            // The receiving end is held right here.
            if give_back.send(Vec::new()).is_err() {
                break;
            }
        }
        let decoder = std::thread::Builder::new()
            .name("decoder".into())
            .spawn_scoped(scope, move || decode(pipeline, stream, &todo, &give_back))
            .map_err(|source| StreamError::Thread {
                name: stream.name.clone(),
                source,
            })?;
        Ok(Self {
            pipeline,
            stream,
            hasher: blake3::Hasher::new(),
            received: 0,
            full: Some(full),
            empty,
            decoder,
        })
    }

    /// Reads the stream to its end.
    fn receive(
        &mut self,
        source: &mut dyn Source,
        sources: &dyn Sources,
        wait: &mut Option<Phase>,
    ) -> Result<(), StreamError> {
        let name = &self.stream.name;
        let mut start = Vec::with_capacity(RECORD_LEN);
        self.read_start(source, &mut start, wait)?;
        let strip =
            record::check(&start, name, sources.is_record_promised()).map_err(|source| {
                StreamError::Record {
                    name: name.clone(),
                    source,
                }
            })?;
        let image_start = start.split_off(strip);
        if !image_start.is_empty() && !self.hand_over(image_start.into())? {
            return Ok(());
        }
        loop {
            // A closed channel means that the decoder has failed; finish() will say why.
            let Ok(spare) = self.empty.recv() else {
                return Ok(());
            };
            let begin = Instant::now();
            let piece = source.next_piece(spare);
            let piece = self.timed(piece, begin, |piece| piece.len())?;
            if piece.is_empty() {
                self.full = None;
                return Ok(());
            }
            if !self.hand_over(piece)? {
                return Ok(());
            }
        }
    }

    /// Reads as many bytes as a record has, or all if there are fewer.
    fn read_start(
        &mut self,
        source: &mut dyn Source,
        start: &mut Vec<u8>,
        wait: &mut Option<Phase>,
    ) -> Result<(), StreamError> {
        while start.len() < RECORD_LEN {
            let mut piece = [0; RECORD_LEN];
            let room = RECORD_LEN - start.len();
            let len = self.read(source, &mut piece[..room])?;
            if len == 0 {
                break;
            }
            drop(wait.take());
            start.extend_from_slice(&piece[..len]);
        }
        Ok(())
    }

    fn read(&self, source: &mut dyn Source, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let begin = Instant::now();
        let len = loop {
            match source.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        self.timed(len, begin, |len| *len)
    }

    /// Counts what was read since `begin`.
    fn timed<T>(
        &self,
        read: io::Result<T>,
        begin: Instant,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<T, StreamError> {
        let read = read.map_err(|source| StreamError::Receive {
            name: self.stream.name.clone(),
            bytes: self.received,
            source,
        })?;
        self.pipeline.flow.stored(len(&read), begin.elapsed());
        Ok(read)
    }

    /// Hashes a piece and gives it to the decoder; `false` if that has failed.
    fn hand_over(&mut self, piece: Piece) -> Result<bool, StreamError> {
        self.hasher.update(&piece);
        self.received += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if self.received > self.stream.stored_len {
            return Err(StreamError::TooLong {
                name: self.stream.name.clone(),
                expected: self.stream.stored_len,
            });
        }
        Ok(self
            .full
            .as_ref()
            .is_some_and(|full| full.send(piece).is_ok()))
    }

    /// After [`Self::receive`]: whether the decoder has taken everything. If not, it has failed.
    fn check_decoder(self) -> Result<Self, StreamError> {
        if self.full.is_none() {
            return Ok(self);
        }
        let name = self.stream.name.clone();
        self.finish().and(Err(StreamError::Panic { name }))
    }

    /// Waits until everything is decoded and on the disk, and compares it with the manifest.
    fn finish(self) -> Result<(), StreamError> {
        let name = &self.stream.name;
        let is_complete = self.full.is_none();
        drop(self.full);
        let decoded = self
            .decoder
            .join()
            .unwrap_or_else(|_| Err(StreamError::Panic { name: name.clone() }));
        // Received to the end, so length and hash can be judged; they explain most other errors.
        if is_complete {
            if self.received != self.stream.stored_len {
                return Err(StreamError::TooShort {
                    name: name.clone(),
                    found: self.received,
                    expected: self.stream.stored_len,
                });
            }
            let found = Blake3::from(self.hasher.finalize());
            if found != self.stream.blake3 {
                return Err(StreamError::Hash {
                    name: name.clone(),
                    found,
                    expected: self.stream.blake3,
                });
            }
        }
        decoded
    }
}

/// The decoder's thread.
fn decode(
    pipeline: &Pipeline<'_>,
    stream: &PlannedStream,
    todo: &Receiver<Piece>,
    give_back: &Sender<Vec<u8>>,
) -> Result<(), StreamError> {
    // From the first piece until all is on the disk.
    let mut phase = None;
    let todo = todo.iter().inspect(|_| {
        phase.get_or_insert_with(|| {
            let name = format!("stream:{}", stream.name);
            pipeline.board.phase(&name)
        });
    });
    let Destination::Partition { offset, len, .. } = stream.destination else {
        for piece in todo {
            // The reader may have gone.
            drop(give_back.send(piece.into_buffer()));
        }
        return Ok(());
    };
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
    let mut sink = RegionSink {
        pipeline,
        stream,
        offset,
        len,
        writer: None,
    };
    let mut decoder = Decoder::new(image::Options {
        // The plan has seen to it that the promised image fits, and begin() that this is the promised
        // one: a stream out of order shall be called that, not "too large".
        target_size: None,
        window_log_max: pipeline.window_log_max,
        // Another image may claim any number of blocks, and the bitmap comes before begin().
        bitmap_memory_max: bitmap_memory(stream.facts.total_blocks),
        ..image::Options::default()
    });
    for piece in todo {
        decoder.push(&piece, &mut sink).map_err(image_error)?;
        drop(give_back.send(piece.into_buffer()));
    }
    let summary = decoder.finish(&mut sink).map_err(image_error)?;
    for warning in &summary.warnings {
        pipeline.board.warn(format!("{}: {warning}", stream.name));
    }
    if let Some(writer) = sink.writer {
        let activity = |text| pipeline.board.update(|state| state.activity = text);
        activity(format!("syncing {}", stream.name));
        pipeline
            .flow
            .on_disk(DiskStep::Sync, || writer.finish())
            .map_err(|source| StreamError::Write {
                name: stream.name.clone(),
                source,
            })?;
        activity(super::ACTIVITY.to_owned());
    }
    Ok(())
}

/// Writes extents into one partition.
struct RegionSink<'a> {
    pipeline: &'a Pipeline<'a>,
    stream: &'a PlannedStream,
    offset: u64,
    len: u64,
    writer: Option<RegionWriter>,
}

impl Sink for RegionSink<'_> {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        same_image(self.stream, geometry)?;
        let target = self.pipeline.target;
        self.pipeline.remove_old_table()?;
        self.writer = Some(target.writer(self.offset, self.len)?);
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let writer = self.writer.as_mut().ok_or("an extent before the header")?;
        let flow = &self.pipeline.flow;
        flow.on_disk(DiskStep::Write, || writer.write_at(offset, data))?;
        flow.used(data.len(), Duration::ZERO);
        Ok(())
    }
}

/// Most bytes that the bitmap of an image of so many blocks takes in memory: a bit per block, what
/// the pieces of it need beside, and a little for the smallest.
pub(super) fn bitmap_memory(total_blocks: u64) -> u64 {
    (total_blocks / 8)
        .saturating_add(total_blocks / 128)
        .saturating_add(1 << 20)
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
            "{format} image of a device of {device} bytes, {used} of {total} blocks of {block} bytes \
             used"
        )
    };
    Err(OtherImage {
        found: words(found),
        expected: words(expected),
    })
}

/// Pieces between reader and decoder: 15 MB of the longest slices (1024 blocks of 1456 bytes), with
/// those that both have in hand.
const QUEUE_LEN: usize = 8;

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
