//! Sending a stream to many receivers.

mod control;
mod events;
mod input;
mod options;
mod probe;
mod thread;

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use cast_proto::udpcast::SliceNo;
use cast_proto::udpcast::sender::{
    ConfigError, Evidence, GiveUpReason, Outcome, Sender, SenderStatistics,
};

pub use control::SendControl;
pub use events::{NextEvent, SendEvent};
pub use input::InputError;
pub use options::SendOptions;

use crate::io::driver::SendTrouble;
use crate::io::socket::{Endpoint, SocketError};
use crate::udpcast::sockets::{self, Sockets};
use events::Events;
use input::Input;
use probe::Prober;
use thread::Worker;

/// How a transfer went.
#[derive(Clone, Debug)]
#[must_use = "the participants may have fared badly"]
pub struct SendReport {
    /// Bytes of the stream that were read.
    pub bytes: u64,
    /// How each receiver fared, in the order of joining.
    pub participants: Vec<ParticipantResult>,
    /// Counters.
    pub statistics: SenderStatistics,
    /// Time since the call.
    pub elapsed: Duration,
    /// Time since the data started to flow; `None` if it never did.
    pub transfer_time: Option<Duration>,
    /// [Events](SentStream::next_event) left out because they were not taken in time.
    pub events_left_out: u64,
}

/// How one receiver fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParticipantResult {
    /// Its address.
    pub addr: Ipv4Addr,
    /// What became of it. Only `Completed` means that it received every byte; that it wrote them
    /// nothing here can tell.
    pub outcome: Outcome,
    /// The last slice it acknowledged.
    pub last_slice: Option<SliceNo>,
    /// What is known of its part in the stream.
    pub evidence: Evidence,
}

/// Why a transfer ended early. After an abort receivers come to an early end; after an interruption, and where
/// the source failed, they are made to give up; else they see the sender fall silent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The options contradict each other.
    #[error("these options cannot work")]
    Config(#[from] ConfigError),
    /// A socket could not be made ready.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Threads, polling and the like.
    #[error("the system refused {what}")]
    System {
        /// What was asked.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The stream could not be read to its end.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Datagrams do not leave this host.
    #[error(transparent)]
    Network(#[from] SendTrouble),
    /// No receiver got the stream.
    #[error("no receiver has the whole stream: {reason}")]
    GaveUp {
        /// Why.
        reason: GiveUpReason,
        /// How far it came.
        report: Box<SendReport>,
    },
    /// [`SendControl::abort`] was called, or the source failed and
    /// [`SendOptions::abort_on_input_error`] is set.
    #[error("the transfer was aborted{}", if *ended { ", and the stream ended early" } else { "" })]
    Aborted {
        /// The stream was ended early: receivers come to their end, with fewer bytes than it has. If not, all
        /// bytes were on their way already or nobody was there, and this was no more than a stop.
        ended: bool,
        /// The failure of the source, if that was the reason.
        #[source]
        cause: Option<InputError>,
        /// How far it came. Nobody is `Completed`, except (not `ended`) those that acknowledged the
        /// end of the whole stream before.
        report: Box<SendReport>,
    },
    /// [`SendControl::stop`] was called.
    #[error("the transfer was stopped")]
    Stopped {
        /// How far it came.
        report: Box<SendReport>,
    },
    /// The thread is a defect of ours.
    #[error("the send thread stopped: {0}")]
    Panicked(String),
}

/// A stream on its way to the receivers that connect.
///
/// Dropping it stops the transfer; either way it waits for the thread, so that the port is free for the next one.
#[derive(Debug)]
pub struct SentStream {
    events: Events,
    control: SendControl,
    is_abandoned: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<SendReport, SendError>>>,
}

/// Opens the sockets and starts the threads that read `source` and send it. Returns at once; the transfer begins as
/// [`SenderConfig::start`](crate::udpcast::sender::SenderConfig::start) says. Nothing is read of a source
/// whose sockets cannot be opened. After an early end the thread that reads is not waited for, so a source that
/// blocks for ever costs only that thread.
///
/// # Errors
/// The sockets cannot be opened, or the options cannot work.
pub fn open(
    options: SendOptions,
    source: impl Read + Send + 'static,
    control: SendControl,
) -> Result<SentStream, SendError> {
    let now = Instant::now();
    let core = Sender::new(options.config(), now)?;
    let endpoints = open_sockets(&options)?;
    let system = |what| move |source| SendError::System { what, source };
    let prober = Prober::new(options.interface.addr, options.port_base)
        .map_err(system("a set of sockets"))?;
    let input = Input::start(source, control.bell.clone())
        .map_err(system("a thread for reading the stream"))?;
    let (reporter, events) = events::channel(options.reports_slices);
    let is_abandoned = Arc::default();
    let worker = Worker {
        core,
        options,
        input,
        control: control.clone(),
        is_abandoned: Arc::clone(&is_abandoned),
        events: reporter,
        prober,
        began: now,
    };
    let thread = std::thread::Builder::new()
        .name("cast-send".into())
        .spawn(move || worker.run(endpoints))
        .map_err(system("a send thread"))?;
    Ok(SentStream {
        events,
        control,
        is_abandoned,
        thread: Some(thread),
    })
}

impl SentStream {
    /// Waits for the next event; `None` when the transfer is over.
    ///
    /// Take them all the time: what must not be lost waits for a place in the queue, and the transfer with it.
    /// What comes again, or is a detail, is left out if there is no place.
    pub fn next_event(&mut self) -> Option<SendEvent> {
        self.events.next()
    }

    /// The same, for at most so long.
    pub fn next_event_within(&mut self, limit: Duration) -> NextEvent {
        self.events.next_within(limit)
    }

    /// Waits for the end, and says how it went. Events that have not been taken are lost.
    ///
    /// Some receivers may have failed when this is `Ok`: see [`SendReport::participants`].
    ///
    /// # Errors
    /// No receiver got the stream, or it could not be read or sent to its end.
    pub fn finish(mut self) -> Result<SendReport, SendError> {
        while self.next_event().is_some() {}
        self.join()
            .unwrap_or_else(|| Err(SendError::Panicked("it was waited for twice".into())))
    }

    fn join(&mut self) -> Option<Result<SendReport, SendError>> {
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or_else(|panic| {
            let text = crate::panic_text(panic.as_ref());
            Err(SendError::Panicked(text))
        }))
    }
}

impl Drop for SentStream {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.is_abandoned.store(true, Ordering::SeqCst);
            self.control.bell.ring();
            // The thread may be waiting for room.
            while self.next_event().is_some() {}
            drop(self.join());
        }
    }
}

fn open_sockets(options: &SendOptions) -> Result<Vec<Endpoint>, SocketError> {
    let port = options.port_base.saturating_add(1);
    let broadcast = options.interface.broadcast;
    // Requests come to the control address, and from receivers with other settings to the others.
    let control = options.control_address();
    let mut addresses = options.further_hello_addresses();
    if control.is_multicast() || Some(control) == broadcast {
        addresses.push(control);
    }
    let Sockets { endpoints, .. } = sockets::open(
        &options.interface,
        port,
        options.ttl,
        options.receive_buffer,
        addresses,
    )?;
    if let Some(main) = endpoints.first() {
        limit_send_buffer(main, options);
    }
    Ok(endpoints)
}

/// Send buffer where none is asked for, in bytes. Linux doubles it and counts 2304 for a datagram of an
/// Ethernet frame: 2 ms at 1 Gbit/s. It has to last for as long as this process waits for a processor
/// (half of it is too little), but what repairs a slice waits behind all of it: a MiB takes as long as the
/// next slice, after which no other may be sent before this one is complete.
const SEND_BUFFER: usize = 200 << 10;

/// Sizes the send buffer as asked, as far as the system allows.
fn limit_send_buffer(main: &Endpoint, options: &SendOptions) {
    let socket = SockRef::from(main);
    let set = |size| {
        if let Err(error) = socket.set_send_buffer_size(size) {
            tracing::debug!(%error, "SO_SNDBUF");
        }
    };
    match options.send_buffer {
        Some(size) => set(size),
        None if options.is_send_queue_short => {}
        None => main.grow_send_buffer(SEND_BUFFER),
    }
    if options.is_send_queue_short
        && let Ok(size) = socket.send_buffer_size()
    {
        // Linux answers with twice what it was told.
        set(size / 4);
    }
}
