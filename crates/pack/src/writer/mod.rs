//! Makes a pack: extents in, frames and a manifest out (3.2, 3.4, 3.6).

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use fog::store::StreamName;
use fos_api::{Blake3, ImageFacts};
use image::{Geometry, Sink, SinkError};

use crate::chunker::{Chunker, NotAscending, RawChunk};
use crate::error::ManifestError;
use crate::head::{ImageHead, SourceFile};
use crate::root::Root;
use crate::{LEVEL, MAX_CHUNKS, MAX_EXTENTS, UNIT_MAX};

mod assemble;
mod frames;

use self::frames::{Collector, Framed, Job};

/// How a pack is made.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    /// zstd's level, 1 to 19 (3.5).
    pub level: i32,
    /// Threads that compress. Each costs about 25 MB (two chunks and a frame), and what zstd needs for its level: 5 MB
    /// at 3, 90 MB at 19.
    pub threads: usize,
    /// Most bytes of all frames.
    pub max_len: u64,
}

impl WriterOptions {
    /// Level 3, all processors up to 16, as many bytes as there is room for.
    #[must_use]
    pub fn usual() -> Self {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            level: LEVEL,
            threads: threads.min(MAX_THREADS),
            max_len: u64::MAX,
        }
    }
}

const MAX_THREADS: usize = 16;

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The frames cannot be written.
    #[error("writing the frames")]
    Write(#[source] io::Error),
    /// The frames have more bytes than are allowed.
    #[error("the frames have more than {0} bytes")]
    TooLarge(u64),
    /// A frame cannot be made.
    #[error("compressing a chunk")]
    Compress(#[source] io::Error),
    /// The extents of a stream do not ascend.
    #[error(transparent)]
    NotAscending(#[from] NotAscending),
    /// The image has more pieces than a manifest may name.
    #[error("the image has more than {limit} {what}, which is more than a pack may have")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: u64,
    },
    /// There is no thread to be had.
    #[error("starting a thread")]
    Thread(#[source] io::Error),
    /// A thread is gone without a reason.
    #[error("a thread that compresses stopped by a programming error")]
    Panic,
    /// What was handed over contradicts itself, or what is known of the streams.
    #[error("the pack that was made is not right: {0}")]
    Manifest(#[from] ManifestError),
    /// A stream was begun and did not come to its end.
    #[error("stream {0} was not complete, so there is no pack")]
    Incomplete(usize),
}

/// What else is known of a stream that was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Name, for example `d1p1.img`.
    pub name: StreamName,
    /// Stored bytes that it was made from.
    pub stored_len: u64,
    /// Hash of these bytes.
    pub blake3: Blake3,
    /// The files with these bytes.
    pub sources: Vec<SourceFile>,
    /// What the image's header says.
    pub facts: ImageFacts,
}

/// A pack that is complete but for its place.
#[derive(Debug)]
#[must_use]
pub struct Written<W> {
    /// What the frames were written to. It is not flushed nor synced.
    pub frames: W,
    /// The bytes of the manifest file.
    pub manifest: Vec<u8>,
    /// Their root.
    pub root: Root,
    /// Bytes of all frames.
    pub frames_len: u64,
    /// Bytes of all data.
    pub raw_len: u64,
}

/// Makes a pack. Dropped before [`finish`](Self::finish), there is none.
///
/// Frames are made by threads and written in their order by another one. Memory: see [`WriterOptions::threads`], and
/// 16 bytes for each extent, at most [`MAX_EXTENTS`].
pub struct PackWriter<W> {
    jobs: Option<SyncSender<Job>>,
    /// Buffers that come back: nothing is begun without one, so these bound what is on its way.
    spares: Receiver<Vec<u8>>,
    /// One of them, of a stream without data.
    unused: Option<Vec<u8>>,
    collector: Option<JoinHandle<Collected<W>>>,
    compressors: Vec<JoinHandle<()>>,
    /// Streams begun, and whether the last one has not come to its end.
    streams: usize,
    is_open: bool,
    chunks: u64,
    extents: usize,
    next: u64,
}

type Collected<W> = Result<(W, Vec<Framed>), PackError>;

impl<W: Write + Send + 'static> PackWriter<W> {
    /// Begins a pack, whose frames go to `out`.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn start(out: W, options: &WriterOptions) -> Result<Self, PackError> {
        let threads = options.threads.max(1);
        let buffers = threads * 2;
        let (spare, spares) = sync_channel(buffers);
        for _ in 0..buffers {
            drop(spare.send(Vec::new()));
        }
        let (jobs, waiting) = sync_channel::<Job>(buffers);
        let waiting = Arc::new(Mutex::new(waiting));
        let (results, done) = sync_channel(buffers);
        let mut compressors = Vec::new();
        for _ in 0..threads {
            let (waiting, results, level) = (Arc::clone(&waiting), results.clone(), options.level);
            let started = thread::Builder::new()
                .name("pack".into())
                .spawn(move || frames::compress_all(level, &waiting, &results));
            compressors.push(started.map_err(PackError::Thread)?);
        }
        drop(results);
        let max_len = options.max_len;
        let collector = thread::Builder::new()
            .name("pack-writer".into())
            .spawn(move || Collector::new(out, max_len).run(&done, &spare))
            .map_err(PackError::Thread)?;
        Ok(Self {
            jobs: Some(jobs),
            spares,
            unused: None,
            collector: Some(collector),
            compressors,
            streams: 0,
            is_open: false,
            chunks: 0,
            extents: 0,
            next: 0,
        })
    }

    /// Begins the next stream, which the decoder of its image writes to.
    pub fn stream(&mut self) -> StreamWriter<'_, W> {
        StreamWriter {
            pack: self,
            chunker: None,
        }
    }

    /// All streams are there: makes the manifest. `files` are the small files.
    ///
    /// # Errors
    /// A stream is not complete, or something failed on the way.
    ///
    /// # Panics
    /// There are other facts than streams.
    pub fn finish(
        mut self,
        image: ImageHead,
        streams: Vec<StreamFacts>,
        files: &[(String, Vec<u8>)],
    ) -> Result<Written<W>, PackError> {
        if self.is_open {
            return Err(PackError::Incomplete(self.streams.saturating_sub(1)));
        }
        assert_eq!(streams.len(), self.streams, "facts for each stream");
        drop(self.jobs.take());
        let (frames, framed) = self.collected()?;
        let parts = assemble::Parts {
            image,
            streams,
            framed,
            files,
        };
        assemble::assemble(frames, parts)
    }

    fn collected(&mut self) -> Collected<W> {
        let collector = self.collector.take().ok_or(PackError::Panic)?;
        collector.join().unwrap_or(Err(PackError::Panic))
    }

    /// Why no buffer comes back.
    fn failure(&mut self) -> PackError {
        drop(self.jobs.take());
        match self.collected() {
            Err(error) => error,
            // It ended although not all was handed over.
            Ok(_) => PackError::Panic,
        }
    }

    fn spare(&mut self) -> Result<Vec<u8>, PackError> {
        if let Some(buffer) = self.unused.take() {
            return Ok(buffer);
        }
        self.spares.recv().map_err(|_| self.failure())
    }

    fn send(&mut self, granule: u64, chunk: RawChunk) -> Result<(), PackError> {
        self.chunks += 1;
        self.extents += chunk.extents.len();
        // Halves count, too, as they will.
        let too_much = |what, limit| Err(PackError::TooMuch { what, limit });
        if self.extents > MAX_EXTENTS {
            return too_much("runs of used blocks", MAX_EXTENTS as u64);
        }
        if self.chunks > u64::from(MAX_CHUNKS / 2) {
            return too_much("chunks", (MAX_CHUNKS / 2).into());
        }
        let stream = self.streams.saturating_sub(1);
        let job = Job {
            number: self.next,
            stream: u16::try_from(stream).unwrap_or(u16::MAX),
            granule,
            chunk,
        };
        self.next += 1;
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(self.failure()) }
    }
}

impl<W> Drop for PackWriter<W> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for compressor in self.compressors.drain(..) {
            // One that panicked has left a frame out, which the collector noticed.
            drop(compressor.join());
        }
        if let Some(collector) = self.collector.take() {
            drop(collector.join());
        }
    }
}

/// Takes one stream. It counts when it is [finished](Self::finish), which its image's own checksums have to allow
/// (3.2).
pub struct StreamWriter<'a, W> {
    pack: &'a mut PackWriter<W>,
    chunker: Option<(u64, Chunker)>,
}

impl<W: Write + Send + 'static> StreamWriter<'_, W> {
    /// The image was complete and good.
    ///
    /// # Errors
    /// There was none, or something failed on the way.
    pub fn finish(self) -> Result<(), PackError> {
        let Some((granule, chunker)) = self.chunker else {
            return Err(PackError::Incomplete(self.pack.streams));
        };
        let chunk = chunker.into_chunk();
        match chunk.data.is_empty() {
            // Its buffer goes on to the next stream: another one might never come.
            true => self.pack.unused = Some(chunk.data),
            false => self.pack.send(granule, chunk)?,
        }
        self.pack.is_open = false;
        Ok(())
    }

    fn take(&mut self, offset: u64, data: &[u8]) -> Result<(), PackError> {
        let Some((granule, chunker)) = &mut self.chunker else {
            return Err(PackError::Incomplete(self.pack.streams));
        };
        let (mut offset, mut data) = (offset, data);
        while !data.is_empty() {
            let taken = chunker.push(offset, data)?;
            data = data.get(taken..).unwrap_or_default();
            offset += taken as u64;
            if chunker.is_full() || !data.is_empty() {
                let spare = self.pack.spare()?;
                self.pack.send(*granule, chunker.take(spare))?;
            }
        }
        Ok(())
    }
}

impl<W: Write + Send + 'static> Sink for StreamWriter<'_, W> {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        if self.pack.is_open {
            let last = self.pack.streams.saturating_sub(1);
            return Err(PackError::Incomplete(last).into());
        }
        let granule = match geometry.block_size {
            // Raw data has no blocks.
            0 | 1 => UNIT_MAX,
            size => (1_u32 << size.trailing_zeros().min(31)).min(UNIT_MAX),
        };
        let spare = self.pack.spare()?;
        self.pack.streams += 1;
        self.pack.is_open = true;
        self.chunker = Some((granule.into(), Chunker::new(granule.into(), spare)));
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        Ok(self.take(offset, data)?)
    }
}

#[cfg(test)]
mod tests;
