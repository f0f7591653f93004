//! One attempt at a stream: its bytes are hashed and given to a decoder, and judged at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use conveyor::{Loader, conveyor};
use deploy_plan::PlannedStream;
use fog::store::StreamName;
use fos_api::Blake3;
use imaging::tap::{Hash, Tap as _};
use imaging::{PIECES, Piece};

use super::decoding::Work;
use super::reader::Reader;
use super::{Pipeline, Source, StreamError};
use crate::deploy::resume::Cause;

/// What one attempt at a stream has added to the [`Flow`](imaging::tap::meter::Flow).
#[derive(Debug, Default)]
struct Counted {
    stored: u64,
    used: Arc<AtomicU64>,
}

/// One stream between its first byte and the disk.
pub(super) struct Running<'scope, 'env> {
    pipeline: &'env Pipeline<'env>,
    pub(super) index: usize,
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
    pub(super) fn start(
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
    pub(super) fn receive(
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
    pub(super) fn check_decoder(self) -> Result<Self, StreamError> {
        if self.loader.is_none() {
            return Ok(self);
        }
        let name = self.stream.name.clone();
        self.finish().and(Err(StreamError::Panic { name }))
    }

    /// Waits until everything is decoded and on the disk, and compares it with the manifest.
    pub(super) fn finish(self) -> Result<(), StreamError> {
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
    pub(super) fn abandon(self) -> Result<(), StreamError> {
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
