//! Receiving a stream.

mod options;
mod status;
mod thread;

use std::io::{self, BufRead, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conveyor::{Gone, Unloader, conveyor};

use cast_proto::udpcast::receiver::{ConfigError, ReceiveFailure, Receiver, ReceiverStatistics};

pub use options::{ReceiveOptions, SenderChoice};
pub use status::{ReceiveNotice, ReceivePhase, ReceiveSnapshot, ReceiveStatus};

use crate::io::driver::SendTrouble;
use crate::io::socket::SocketError;
use crate::io::wake::Stop;
use crate::udpcast::sockets::{self, Sockets};
use thread::{Signals, Worker};

/// Why a stream did not arrive whole.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The options contradict each other.
    #[error("these options cannot work")]
    Config(#[from] ConfigError),
    /// A socket could not be made ready.
    #[error("{0}")]
    Socket(Arc<SocketError>),
    /// The protocol ended it.
    #[error(transparent)]
    Failed(#[from] ReceiveFailure),
    /// Datagrams do not leave this host.
    #[error("{0}")]
    Network(Arc<SendTrouble>),
    /// Threads, polling and the like.
    #[error("the system refused {what}: {source}")]
    System {
        /// What was asked.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// [`Stop::stop`] was called.
    #[error("the transfer was stopped after {bytes} bytes")]
    Stopped {
        /// Complete bytes until then.
        bytes: u64,
    },
    /// The stream was let go before its end.
    #[error("the stream was given up after {bytes} bytes, before its end")]
    Abandoned {
        /// Bytes read until then.
        bytes: u64,
    },
    /// The thread is a defect of ours.
    #[error("the receive thread stopped: {0}")]
    Panicked(String),
}

/// A stream that arrived whole.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveReport {
    /// Its length.
    pub bytes: u64,
    /// Counters.
    pub statistics: ReceiverStatistics,
    /// Receive buffer of the socket, as the kernel counts it, in bytes.
    pub receive_buffer: usize,
    /// Time since the call.
    pub elapsed: Duration,
    /// Time from the first data to the end; `None` for an empty stream without data.
    pub transfer_time: Option<Duration>,
}

/// A stream on its way. `read` blocks until the next bytes are there; `Ok(0)` means that the sender
/// said so: everything has arrived. Every failure is an error that holds a [`ReceiveError`].
///
/// The sender is told that everything is here by [`finish`](Self::finish), and not before: call that when
/// what was read is safe. Until then the sender waits. Dropping the stream instead leaves the transfer
/// without that, even behind its last byte; either way it waits for the thread, after the end for at most
/// the `exit_wait` of [`ReceiveOptions::transfer`], so that the port is free for the next one.
#[derive(Debug)]
pub struct ReceivedStream {
    slices: Unloader<Vec<u8>, Vec<u8>>,
    signals: Signals,
    status: Arc<ReceiveStatus>,
    thread: Option<JoinHandle<Result<ReceiveReport, ReceiveError>>>,
    result: Option<Result<ReceiveReport, ReceiveError>>,
    slice: Vec<u8>,
    position: usize,
    has_ended: bool,
    bytes: u64,
}

/// Complete slices that wait for the reader, beside those in the window.
pub(crate) const READY_SLICES: usize = 2;

/// Opens the sockets and starts the receive thread. Returns at once; the stream begins when a sender
/// is found.
///
/// # Errors
/// The sockets cannot be opened, or the options cannot work.
pub fn open(options: ReceiveOptions, stop: Stop) -> Result<ReceivedStream, ReceiveError> {
    let now = Instant::now();
    let control = Some(options.control_address()).filter(Ipv4Addr::is_multicast);
    let broadcast = options.interface.broadcast;
    let Sockets {
        endpoints,
        receive_buffer,
    } = sockets::open(
        &options.interface,
        options.port_base,
        options.ttl,
        options.receive_buffer,
        broadcast.into_iter().chain(control),
    )?;
    let config = options.config(receive_buffer);
    let status = Arc::new(ReceiveStatus::new(config.control));
    let core = Receiver::new(config, now)?;
    let system = |what| {
        move |source| ReceiveError::System {
            what,
            source: Arc::new(source),
        }
    };
    let signals = Signals::new().map_err(system("an eventfd"))?;
    // The buffers that go round are those of the window.
    let (loader, slices) = conveyor(std::iter::repeat_n(Vec::new(), READY_SLICES));
    let worker = Worker {
        core,
        options,
        stop,
        signals: signals.clone(),
        slices: loader,
        status: Arc::clone(&status),
        receive_buffer,
        began: now,
    };
    let thread = std::thread::Builder::new()
        .name("cast-receive".into())
        .spawn(move || worker.run(endpoints))
        .map_err(system("a receive thread"))?;
    Ok(ReceivedStream {
        slices,
        signals,
        status,
        thread: Some(thread),
        result: None,
        slice: Vec::new(),
        position: 0,
        has_ended: false,
        bytes: 0,
    })
}

impl ReceivedStream {
    /// What it is doing, to be asked from anywhere.
    #[must_use]
    pub fn status(&self) -> Arc<ReceiveStatus> {
        Arc::clone(&self.status)
    }

    /// Steers the receiver from other threads.
    #[must_use]
    pub fn control(&self) -> ReceiveControl {
        ReceiveControl(self.signals.clone())
    }

    /// The next bytes of the stream in the buffer they arrived in, without copying them: a slice, or
    /// what is left of one that was read in part. `None` at the end of the stream. `spare` takes its
    /// place for later data; hand back what was taken before, or an empty one.
    ///
    /// # Errors
    /// As [`read`](Read::read) says.
    pub fn take_slice(&mut self, spare: Vec<u8>) -> io::Result<Option<TakenSlice>> {
        if self.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let slice = TakenSlice {
            bytes: std::mem::replace(&mut self.slice, spare),
            start: std::mem::take(&mut self.position),
        };
        self.bytes += u64::try_from(slice.len()).unwrap_or(0);
        // The spare one holds nothing to be read.
        self.position = self.slice.len();
        Ok(Some(slice))
    }

    /// What was read is safe: acknowledges the end, waits for the thread, and says how it went. Read to
    /// the end (`Ok(0)`) before.
    ///
    /// # Errors
    /// The stream did not arrive whole, or was not read to its end.
    pub fn finish(mut self) -> Result<ReceiveReport, ReceiveError> {
        let is_unread = self.position < self.slice.len()
            || (!self.has_ended && self.result.is_none() && self.next_slice()?.is_some());
        if is_unread {
            return Err(ReceiveError::Abandoned { bytes: self.bytes });
        }
        self.signals.confirm();
        self.join()
    }

    /// The next slice into `slice`; `None` at the end.
    fn next_slice(&mut self) -> Result<Option<()>, ReceiveError> {
        let done = std::mem::take(&mut self.slice);
        self.position = 0;
        if done.capacity() > 0 {
            self.slices.give_back(done);
        }
        match self.slices.take() {
            Ok(Some(slice)) => {
                self.signals.ring();
                self.slice = slice;
                Ok(Some(()))
            }
            Ok(None) => {
                self.has_ended = true;
                Ok(None)
            }
            // Without an end: it failed.
            Err(Gone) => match self.join() {
                Err(error) => Err(error),
                Ok(_) => Err(ReceiveError::Panicked(
                    "it left no end of the stream".into(),
                )),
            },
        }
    }

    fn join(&mut self) -> Result<ReceiveReport, ReceiveError> {
        if let Some(thread) = self.thread.take() {
            self.result = Some(match thread.join() {
                Ok(result) => result,
                Err(panic) => Err(ReceiveError::Panicked(crate::panic_text(panic.as_ref()))),
            });
        }
        let bytes = self.bytes;
        self.result
            .clone()
            .unwrap_or(Err(ReceiveError::Abandoned { bytes }))
    }
}

impl Read for ReceivedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for ReceivedStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.slice.len() && !self.has_ended {
            let next = match &self.result {
                Some(Err(error)) => Err(error.clone()),
                _ => self.next_slice(),
            };
            next.map_err(io::Error::other)?;
        }
        Ok(self.slice.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.slice.len() - self.position);
        self.position += count;
        self.bytes += u64::try_from(count).unwrap_or(0);
    }
}

/// Bytes of a stream, in the buffer they arrived in.
#[derive(Debug)]
pub struct TakenSlice {
    bytes: Vec<u8>,
    /// What is before has been read already.
    start: usize,
}

impl TakenSlice {
    /// The buffer, to be handed back.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

impl std::ops::Deref for TakenSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl Drop for ReceivedStream {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.signals.abandon();
            // The thread may be waiting for room.
            while let Ok(Some(_)) = self.slices.take() {}
            // Nobody is left to tell.
            drop(self.join());
        }
    }
}

/// Steers a [`ReceivedStream`] from other threads.
#[derive(Clone, Debug)]
pub struct ReceiveControl(Signals);

impl ReceiveControl {
    /// Asks the sender to start (GO). Counts once, between the connection and the first data;
    /// earlier it is remembered.
    pub fn go(&self) {
        self.0.go();
    }
}

impl From<SocketError> for ReceiveError {
    fn from(error: SocketError) -> Self {
        Self::Socket(Arc::new(error))
    }
}

impl From<SendTrouble> for ReceiveError {
    fn from(trouble: SendTrouble) -> Self {
        Self::Network(Arc::new(trouble))
    }
}
