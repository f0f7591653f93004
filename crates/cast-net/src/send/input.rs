//! Reads the stream to be sent on a thread of its own, so that a slow file or pipe never keeps the
//! sender from answering.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::wake::Bell;

/// The stream, as far as it has been read ahead: at most (`AHEAD` + 2) × `CHUNK` bytes, 2.5 MiB.
#[derive(Debug)]
pub(crate) struct Input {
    chunks: Receiver<Chunk>,
    spare: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    thread: Option<JoinHandle<()>>,
    offset: u64,
    has_ended: bool,
}

#[derive(Debug)]
enum Chunk {
    Bytes(Vec<u8>),
    End,
    Failed(io::Error),
}

/// What the stream has to offer now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offer<'a> {
    /// The next bytes; say with [`Input::consume`] how many were taken.
    Bytes(&'a [u8]),
    /// Nothing has been read yet; the bell rings when something has.
    NotYet,
    /// All has been taken.
    End,
}

/// The stream cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("reading the stream to be sent failed behind byte {offset}")]
pub struct InputError {
    /// Bytes read before.
    pub offset: u64,
    /// What the source says.
    #[source]
    pub source: io::Error,
}

/// Bytes asked of the source at once.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait.
const AHEAD: usize = 8;

impl Input {
    /// Starts reading `source`; `bell` rings whenever there is news.
    ///
    /// The thread ends with the source, or at the next chunk after the `Input` was dropped: a source
    /// that blocks for ever keeps it, but nobody waits for it.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(source: impl Read + Send + 'static, bell: Bell) -> io::Result<Self> {
        let (filled, chunks) = sync_channel(AHEAD);
        let (spare, empty) = sync_channel(AHEAD + 2);
        let work = move || {
            // Dropped last, when the channel is closed: who is woken then must find it so.
            let _rings_at_the_end = RingOnDrop(&bell);
            read_ahead(source, filled, &empty, &bell);
        };
        let thread = thread::Builder::new()
            .name("cast-input".into())
            .spawn(work)?;
        Ok(Self {
            chunks,
            spare,
            current: Vec::new(),
            position: 0,
            thread: Some(thread),
            offset: 0,
            has_ended: false,
        })
    }

    /// What is there, without waiting.
    ///
    /// # Errors
    /// The source failed or panicked. Never a short stream instead.
    pub(crate) fn poll(&mut self) -> Result<Offer<'_>, InputError> {
        while self.position == self.current.len() && !self.has_ended {
            match self.chunks.try_recv() {
                Ok(Chunk::Bytes(bytes)) => {
                    let done = std::mem::replace(&mut self.current, bytes);
                    self.position = 0;
                    // Kept for the next chunk if the reader has not gone.
                    drop(self.spare.try_send(done));
                }
                Ok(Chunk::End) => self.has_ended = true,
                Ok(Chunk::Failed(source)) => {
                    return Err(InputError {
                        offset: self.offset,
                        source,
                    });
                }
                Err(TryRecvError::Empty) => return Ok(Offer::NotYet),
                Err(TryRecvError::Disconnected) => return Err(self.thread_failure()),
            }
        }
        match self.current.get(self.position..) {
            Some(bytes) if !bytes.is_empty() => Ok(Offer::Bytes(bytes)),
            _ => Ok(Offer::End),
        }
    }

    /// The first `count` bytes of the offer are taken.
    pub(crate) fn consume(&mut self, count: usize) {
        self.position += count;
        self.offset += u64::try_from(count).unwrap_or(0);
        debug_assert!(self.position <= self.current.len());
    }

    /// Whether the last offer is not used up.
    pub(crate) fn has_more(&self) -> bool {
        self.position < self.current.len()
    }

    /// Bytes taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The thread went without saying how the stream ended.
    fn thread_failure(&mut self) -> InputError {
        let payload = self.thread.take().map(JoinHandle::join);
        let reason = match payload {
            Some(Err(panic)) => crate::panic_text(panic.as_ref()),
            Some(Ok(())) | None => "its thread has ended".to_owned(),
        };
        let source = io::Error::other(format!("the reader of the stream stopped: {reason}"));
        InputError {
            offset: self.offset,
            source,
        }
    }
}

fn read_ahead(
    mut source: impl Read,
    filled: SyncSender<Chunk>,
    empty: &Receiver<Vec<u8>>,
    bell: &Bell,
) {
    loop {
        let mut buffer = empty.try_recv().unwrap_or_default();
        buffer.resize(CHUNK, 0);
        let chunk = match source.read(&mut buffer) {
            Ok(0) => Chunk::End,
            Ok(count) => {
                buffer.truncate(count);
                Chunk::Bytes(buffer)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Chunk::Failed(error),
        };
        let is_last = !matches!(chunk, Chunk::Bytes(_));
        // Nobody wants it any more: the transfer is over.
        if filled.send(chunk).is_err() || is_last {
            return;
        }
        bell.ring();
    }
}

/// Rings when the thread ends, also by a panic.
struct RingOnDrop<'a>(&'a Bell);

impl Drop for RingOnDrop<'_> {
    fn drop(&mut self) {
        self.0.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// Takes everything in bites of at most `bite` bytes.
    fn drain(source: impl Read + Send + 'static, bite: usize) -> Result<Vec<u8>, InputError> {
        let bell = Bell::new().unwrap();
        let mut input = Input::start(source, bell.clone()).unwrap();
        let mut taken = Vec::new();
        loop {
            bell.quiet();
            let count = match input.poll()? {
                Offer::Bytes(bytes) => {
                    let bite = bytes.get(..bite).unwrap_or(bytes);
                    taken.extend_from_slice(bite);
                    bite.len()
                }
                Offer::NotYet => {
                    let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
                    poll(&mut fds, PollTimeout::NONE).unwrap();
                    0
                }
                Offer::End => return Ok(taken),
            };
            input.consume(count);
            assert_eq!(input.offset(), taken.len() as u64);
        }
    }

    #[test]
    fn a_stream_arrives_whole_in_any_bites() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
        assert_eq!(drain(io::Cursor::new(bytes.clone()), 7_001).unwrap(), bytes);
        assert_eq!(drain(io::empty(), 10).unwrap(), []);
        assert_eq!(drain(io::Cursor::new([9]), 10).unwrap(), [9]);
    }

    #[test]
    fn a_read_error_is_never_a_short_stream() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let error = drain(io::repeat(1).take(1_000).chain(Broken), 100).unwrap_err();
        assert_eq!(error.offset, 1_000);
        assert_eq!(error.source.raw_os_error(), Some(5));
    }

    #[test]
    fn a_panic_of_the_source_is_an_error_too() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("of purpose")
            }
        }
        let error = drain(Panics, 100).unwrap_err();
        assert!(error.source.to_string().contains("of purpose"), "{error:?}");
    }
}
