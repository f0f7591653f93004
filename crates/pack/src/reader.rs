//! Gets the data of a stream back, on all cores, and hands out nothing that is not right.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::CHUNK_RAW;
use crate::frame::Unpacker;
use crate::manifest::{Chunk, Manifest};

/// Where frames are: a file, or what else has them.
pub trait Frames: Sync {
    /// Fills `buffer` from byte `offset` of all frames.
    ///
    /// # Errors
    /// They cannot be read, or end before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Frames for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

/// A chunk whose frame and data have the hashes of the manifest.
#[derive(Debug, Clone, Copy)]
pub struct Decoded<'a> {
    /// Which, counted over all streams.
    pub index: usize,
    /// What the manifest says of it.
    pub chunk: &'a Chunk,
    /// Its data: `raw_len` bytes.
    pub data: &'a [u8],
}

/// What is wrong with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes of its frame are not those that were packed.
    #[error(
        "the bytes of its frame are not those that were packed (BLAKE3 differs); copy or build the pack again"
    )]
    Frame,
    /// The frame is right, and what comes out of it is not.
    #[error(
        "its frame is right, but what comes out of it is not: this machine, or the one that made the pack, computes \
         wrongly (decompression: {0}); test its memory"
    )]
    Computed(&'static str),
}

/// Why the data of a stream is not all there.
#[derive(Debug)]
pub enum ReadError<E> {
    /// It is not to be had.
    Chunk(ChunkError),
    /// `each` said so.
    Sink(E),
}

impl<E> From<ChunkError> for ReadError<E> {
    fn from(error: ChunkError) -> Self {
        Self::Chunk(error)
    }
}

/// Why the data of a chunk is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The frames cannot be read.
    #[error("reading chunk {chunk} at byte {offset} of the frames")]
    Read {
        /// Which chunk.
        chunk: usize,
        /// Where its frame is.
        offset: u64,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A chunk is not what the manifest says.
    #[error("chunk {chunk} (byte {offset} of the frames): {damage}")]
    Damaged {
        /// Which chunk.
        chunk: usize,
        /// Where its frame is.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// There is no thread to be had.
    #[error("starting a thread")]
    Thread(#[source] io::Error),
    /// A thread is gone without a reason.
    #[error("a decoder stopped by a programming error")]
    Panic,
}

/// Decodes all chunks of a stream and hands each to `each`, in about their order. The hash of the frame is compared
/// before it is unpacked, that of the data before it is handed out; only `Ok` means that it was all of it.
///
/// Memory: about 21 MB for each of `threads` (two chunks and a frame).
///
/// # Errors
/// The first thing that went wrong.
///
/// # Panics
/// There is no such stream.
pub fn decode_stream<E>(
    manifest: &Manifest,
    frames: &dyn Frames,
    stream: usize,
    threads: usize,
    each: &mut dyn FnMut(Decoded<'_>) -> Result<(), E>,
) -> Result<(), ReadError<E>> {
    let range = manifest.chunks_of(stream);
    let count = range.len();
    let threads = threads.clamp(1, count.max(1));
    let work = Work {
        manifest,
        frames,
        next: AtomicUsize::new(range.start),
        end: range.end,
        is_over: AtomicBool::new(false),
    };
    // A buffer is what a decoder needs to go on, so these are all that there are.
    let buffers = threads * 2;
    let (spare, spares) = sync_channel::<Vec<u8>>(buffers);
    let (done, results) = sync_channel(buffers);
    for _ in 0..buffers {
        drop(spare.send(Vec::new()));
    }
    let spares = Mutex::new(spares);
    thread::scope(|scope| {
        let (work, spares) = (&work, &spares);
        let mut decoders = Vec::new();
        let mut failed = None;
        for _ in 0..threads {
            let done: SyncSender<Finished> = done.clone();
            let started = thread::Builder::new()
                .name("unpack".into())
                .spawn_scoped(scope, move || work.run(spares, &done));
            match started {
                Ok(decoder) => decoders.push(decoder),
                Err(cause) => failed = failed.or(Some(cause)),
            }
        }
        drop(done);
        // One is enough.
        let taken = match failed {
            Some(cause) if decoders.is_empty() => Err(ChunkError::Thread(cause).into()),
            _ => take_all(manifest, count, &results, &spare, each),
        };
        // Wakes those that wait for a buffer.
        work.is_over.store(true, Ordering::Relaxed);
        drop((spare, results));
        for decoder in decoders {
            // One that panicked has left its chunk out, which was noticed.
            drop(decoder.join());
        }
        taken
    })
}

/// A chunk's data, or why there is none.
type Finished = (usize, Result<Vec<u8>, Trouble>);

enum Trouble {
    Read(io::Error),
    Damage(Damage),
}

fn take_all<E>(
    manifest: &Manifest,
    count: usize,
    results: &Receiver<Finished>,
    spare: &SyncSender<Vec<u8>>,
    each: &mut dyn FnMut(Decoded<'_>) -> Result<(), E>,
) -> Result<(), ReadError<E>> {
    for _ in 0..count {
        let Ok((index, found)) = results.recv() else {
            return Err(ChunkError::Panic.into());
        };
        let Some(chunk) = manifest.chunks().get(index) else {
            return Err(ChunkError::Panic.into());
        };
        let offset = chunk.frame_at;
        let data = found.map_err(|trouble| match trouble {
            Trouble::Read(cause) => ChunkError::Read {
                chunk: index,
                offset,
                cause,
            },
            Trouble::Damage(damage) => ChunkError::Damaged {
                chunk: index,
                offset,
                damage,
            },
        })?;
        let decoded = Decoded {
            index,
            chunk,
            data: &data,
        };
        each(decoded).map_err(ReadError::Sink)?;
        // All decoders may be done.
        drop(spare.try_send(data));
    }
    Ok(())
}

struct Work<'a> {
    manifest: &'a Manifest,
    frames: &'a dyn Frames,
    next: AtomicUsize,
    end: usize,
    is_over: AtomicBool,
}

impl Work<'_> {
    fn run(&self, spares: &Mutex<Receiver<Vec<u8>>>, done: &SyncSender<Finished>) {
        let mut unpacker = Unpacker::default();
        let mut frame = Vec::new();
        loop {
            let spare = spares.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut data) = spare else { return };
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let chunk = self.manifest.chunks().get(index);
            let Some(chunk) = chunk.filter(|_| index < self.end) else {
                return;
            };
            let found = self.decode(chunk, &mut unpacker, &mut frame, &mut data);
            let is_bad = found.is_err();
            if done.send((index, found.map(|()| data))).is_err() || is_bad {
                return;
            }
        }
    }

    fn decode(
        &self,
        chunk: &Chunk,
        unpacker: &mut Unpacker,
        frame: &mut Vec<u8>,
        data: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        frame.resize(usize::try_from(chunk.frame_len).unwrap_or(usize::MAX), 0);
        (self.frames.read_at(chunk.frame_at, frame)).map_err(Trouble::Read)?;
        if blake3::hash(frame) != chunk.frame_hash {
            return Err(Trouble::Damage(Damage::Frame));
        }
        data.reserve_exact((CHUNK_RAW as usize).saturating_sub(data.len()));
        let len = usize::try_from(chunk.raw_len).unwrap_or(usize::MAX);
        let unpacked = unpacker.unpack(frame, len, data);
        unpacked.map_err(|what| Trouble::Damage(Damage::Computed(what)))?;
        if blake3::hash(data) != chunk.raw_hash {
            let what = "the data has another hash";
            return Err(Trouble::Damage(Damage::Computed(what)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Written;
    use crate::testing::{Stream, noise, pack, streams};

    /// Frames in memory.
    struct Memory<'a>(&'a [u8]);

    impl Frames for Memory<'_> {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let at = usize::try_from(offset).unwrap();
            let end = at + buffer.len();
            let found = self.0.get(at..end);
            buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    type Error = ReadError<&'static str>;

    fn restored(
        written: &Written<Vec<u8>>,
        stream: usize,
        threads: usize,
    ) -> Result<Vec<u8>, Error> {
        let manifest = Manifest::parse(&written.manifest).unwrap();
        let size = manifest.geometry(stream).unwrap().device_size;
        let mut disk = vec![0; usize::try_from(size).unwrap()];
        let frames = Memory(&written.frames);
        decode_stream(&manifest, &frames, stream, threads, &mut |decoded| {
            let mut data = decoded.data;
            for extent in manifest.extents(decoded.chunk) {
                let (now, rest) = data.split_at(usize::try_from(extent.len).unwrap());
                let at = usize::try_from(extent.offset).unwrap();
                disk[at..at + now.len()].copy_from_slice(now);
                data = rest;
            }
            assert!(data.is_empty());
            Ok(())
        })?;
        Ok(disk)
    }

    #[test]
    fn streams_come_back_whatever_the_number_of_threads() {
        let streams = streams();
        let mut first = None;
        for threads in [1, 2, 5] {
            let written = pack(&streams, threads);
            for (number, stream) in streams.iter().enumerate() {
                let disk = restored(&written, number, threads).unwrap();
                assert!(disk == stream.restored(), "stream {number}");
            }
            // The order of threads shows nowhere.
            let root = written.root;
            assert_eq!(*first.get_or_insert(root), root);
        }
    }

    /// 1.1: a rotten byte is found wherever it is, and nothing of its chunk is handed out.
    #[test]
    fn a_rotten_byte_of_a_frame_is_found() {
        let mut written = pack(&[Stream::new(16 << 20, vec![(0, vec![5; 9 << 20])])], 2);
        let manifest = Manifest::parse(&written.manifest).unwrap();
        let second = manifest.chunks()[1].frame_at;
        for at in 0..written.frames.len() {
            written.frames[at] ^= 1;
            let bad = usize::from(at as u64 >= second);
            let mut seen = Vec::new();
            let frames = Memory(&written.frames);
            let found = decode_stream::<()>(&manifest, &frames, 0, 2, &mut |decoded| {
                seen.push(decoded.index);
                Ok(())
            });
            let Err(ReadError::Chunk(ChunkError::Damaged { chunk, damage, .. })) = found else {
                panic!("byte {at} was taken");
            };
            assert_eq!((chunk, damage), (bad, Damage::Frame));
            assert!(!seen.contains(&bad));
            written.frames[at] ^= 1;
        }
    }

    /// A manifest that somebody made wrong: the frame has its hash, and other data.
    #[test]
    fn data_with_another_hash_is_found() {
        let written = pack(&[Stream::new(1 << 20, vec![(0, noise(4096, 3))])], 1);
        let mut bytes = written.manifest.clone();
        let head = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
        bytes[32 + head + 48] ^= 1;
        let manifest = Manifest::parse(&bytes).unwrap();
        let frames = Memory(&written.frames);
        let found = decode_stream::<()>(&manifest, &frames, 0, 1, &mut |_| panic!("handed out"));
        let Err(ReadError::Chunk(ChunkError::Damaged { damage, .. })) = found else {
            panic!("taken");
        };
        assert!(damage.to_string().contains("test its memory"), "{damage}");
    }

    #[test]
    fn missing_frames_and_a_full_target_end_it() {
        let streams = streams();
        let mut written = pack(&streams, 2);
        let manifest = Manifest::parse(&written.manifest).unwrap();
        let frames = Memory(&written.frames);
        let found = decode_stream(&manifest, &frames, 2, 2, &mut |_| Err("full"));
        assert!(matches!(found, Err(ReadError::Sink("full"))));
        written.frames.pop();
        let Err(ReadError::Chunk(ChunkError::Read { chunk, cause, .. })) = restored(&written, 2, 2)
        else {
            panic!("taken");
        };
        assert_eq!((chunk, cause.kind()), (3, io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn a_decoder_that_panics_is_noticed() {
        struct Broken;
        impl Frames for Broken {
            fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
                panic!("broken on purpose")
            }
        }
        let written = pack(&streams(), 2);
        let manifest = Manifest::parse(&written.manifest).unwrap();
        let found = decode_stream::<()>(&manifest, &Broken, 2, 2, &mut |_| Ok(()));
        assert!(matches!(found, Err(ReadError::Chunk(ChunkError::Panic))));
    }
}
