//! Reads the stream to be sent on a thread of its own, so that a slow file or pipe never keeps the
//! sender from answering.

use std::io::{self, Read};
use std::thread::{self, JoinHandle};

use conveyor::{Gone, Loader, Taken, Unloader, conveyor};

use crate::io::wake::Bell;

/// The stream, as far as it has been read ahead: at most `CHUNKS` × `CHUNK` bytes, 2.75 MiB.
///
/// A byte is not offered before it is known what follows it, so that the last one of a stream comes together
/// with the knowledge that it is the last, and that of a stream that fails never comes. Else what had
/// been sent of a stream that is then aborted could be all of it.
#[derive(Debug)]
pub(crate) struct Input {
    /// What has been read, or why nothing more can be.
    chunks: Unloader<io::Result<Vec<u8>>, Vec<u8>>,
    current: Vec<u8>,
    /// What follows `current`, if it is known.
    next: Option<Chunk>,
    position: usize,
    thread: Option<JoinHandle<()>>,
    offset: u64,
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
/// Chunks in all: those that wait, and three that are being read, known to follow, or sent.
const CHUNKS: usize = 11;

impl Input {
    /// Starts reading `source`; `bell` rings whenever there is news.
    ///
    /// The thread ends with the source, or at the next chunk after the `Input` was dropped: a source
    /// that blocks for ever keeps it, but nobody waits for it.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(source: impl Read + Send + 'static, bell: Bell) -> io::Result<Self> {
        let (loader, chunks) = conveyor(std::iter::repeat_n(Vec::new(), CHUNKS));
        let work = move || {
            // Dropped last, when the channel is closed: who is woken then must find it so.
            let _rings_at_the_end = RingOnDrop(&bell);
            if let Err(Gone) = read_ahead(source, loader, &bell) {
                tracing::debug!("the transfer ended before its source");
            }
        };
        let thread = thread::Builder::new()
            .name("cast-input".into())
            .spawn(work)?;
        Ok(Self {
            chunks,
            current: Vec::new(),
            next: None,
            position: 0,
            thread: Some(thread),
            offset: 0,
        })
    }

    /// What is there, without waiting.
    ///
    /// # Errors
    /// The source failed or panicked. Never a short stream instead.
    pub(crate) fn poll(&mut self) -> Result<Offer<'_>, InputError> {
        loop {
            if self.next.is_none() {
                self.next = match self.chunks.try_take() {
                    Ok(Taken::Item(Ok(bytes))) => Some(Chunk::Bytes(bytes)),
                    Ok(Taken::Item(Err(error))) => Some(Chunk::Failed(error)),
                    Ok(Taken::Nothing) => None,
                    Ok(Taken::End) => Some(Chunk::End),
                    Err(Gone) => Some(Chunk::Failed(self.thread_failure())),
                };
            }
            if self.position < self.current.len() {
                break;
            }
            match self.next.take() {
                Some(Chunk::Bytes(bytes)) => {
                    let done = std::mem::replace(&mut self.current, bytes);
                    self.position = 0;
                    if done.capacity() > 0 {
                        self.chunks.give_back(done);
                    }
                }
                Some(Chunk::End) => {
                    self.next = Some(Chunk::End);
                    return Ok(Offer::End);
                }
                Some(Chunk::Failed(source)) => return Err(self.failure(source)),
                None => return Ok(Offer::NotYet),
            }
        }
        let offered = self.position..self.settled();
        if !offered.is_empty() {
            return Ok(Offer::Bytes(self.current.get(offered).unwrap_or(&[])));
        }
        match self.next.take() {
            Some(Chunk::Failed(source)) => Err(self.failure(source)),
            _ => Ok(Offer::NotYet),
        }
    }

    /// How much of `current` may be offered.
    fn settled(&self) -> usize {
        let is_followed = matches!(self.next, Some(Chunk::Bytes(_) | Chunk::End));
        self.current.len() - usize::from(!is_followed && !self.current.is_empty())
    }

    /// The first `count` bytes of the offer are taken.
    pub(crate) fn consume(&mut self, count: usize) {
        self.position += count;
        self.offset += u64::try_from(count).unwrap_or(0);
        debug_assert!(self.position <= self.settled());
    }

    /// Whether the last offer is not used up.
    pub(crate) fn has_more(&self) -> bool {
        self.position < self.settled()
    }

    /// Bytes taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn failure(&self, source: io::Error) -> InputError {
        let kept = self.current.len() - self.position;
        InputError {
            offset: self.offset + u64::try_from(kept).unwrap_or(0),
            source,
        }
    }

    /// The thread went without saying how the stream ended.
    fn thread_failure(&mut self) -> io::Error {
        let payload = self.thread.take().map(JoinHandle::join);
        let reason = match payload {
            Some(Err(panic)) => crate::panic_text(panic.as_ref()),
            Some(Ok(())) | None => "its thread has ended".to_owned(),
        };
        io::Error::other(format!("the reader of the stream stopped: {reason}"))
    }
}

fn read_ahead(
    mut source: impl Read,
    loader: Loader<io::Result<Vec<u8>>, Vec<u8>>,
    bell: &Bell,
) -> Result<(), Gone> {
    loop {
        let mut buffer = loader.buffer()?;
        buffer.resize(CHUNK, 0);
        let read = loop {
            match source.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => return loader.end(),
            Ok(count) => {
                buffer.truncate(count);
                loader.put(Ok(buffer))?;
            }
            Err(error) => return loader.put(Err(error)),
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
    use std::sync::mpsc::Receiver;

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

    /// Bytes that can be taken of `source`, at most `bytes` - 1 if it blocks, and the error behind them.
    fn takes(bytes: usize, source: impl Read + Send + 'static) -> (u64, Option<InputError>) {
        let bell = Bell::new().unwrap();
        let mut input = Input::start(source, bell.clone()).unwrap();
        loop {
            bell.quiet();
            let offset = input.offset();
            let count = match input.poll() {
                Ok(Offer::Bytes(offer)) => offer.len(),
                Ok(Offer::End) => return (offset, None),
                Err(error) => return (offset, Some(error)),
                Ok(Offer::NotYet) if offset + 1 == bytes as u64 => {
                    assert!(!input.has_more());
                    return (offset, None);
                }
                Ok(Offer::NotYet) => {
                    let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
                    poll(&mut fds, PollTimeout::NONE).unwrap();
                    continue;
                }
            };
            input.consume(count);
        }
    }

    #[test]
    fn the_last_byte_comes_with_the_end_and_not_before() {
        struct Blocks(Receiver<()>);
        impl Read for Blocks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0.recv().map_or(Ok(0), |()| Ok(0))
            }
        }
        for len in [2, 1_000, CHUNK, 3 * CHUNK + 7] {
            let bytes = || io::repeat(1).take(len as u64);
            let (_open, blocks) = std::sync::mpsc::channel();
            let (taken, _) = takes(len, bytes().chain(Blocks(blocks)));
            assert_eq!(taken, len as u64 - 1, "what follows is not known");
            let (taken, error) = takes(len, bytes().chain(Broken));
            assert_eq!(taken, len as u64 - 1, "what follows is a failure");
            assert!(error.is_none_or(|error| error.offset == len as u64));
            assert_eq!(takes(usize::MAX, bytes()).0, len as u64);
        }
    }

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }

    #[test]
    fn a_read_error_is_never_a_short_stream() {
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
