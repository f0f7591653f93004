//! Sending a stream to many receivers.

mod control;
mod input;
mod options;
mod probe;

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::SockRef;

use cast_proto::udpcast::SliceNo;
use cast_proto::udpcast::sender::{
    ConfigError, Evidence, GiveUpReason, Outcome, Participant, Sender, SenderEvent,
    SenderStatistics,
};

pub use control::SendControl;
pub use input::InputError;
pub use options::SendOptions;

use crate::io::driver::{Driver, NetworkNotice, SendTrouble};
use crate::io::socket::{Endpoint, SocketError};
use crate::udpcast::sockets::{self, Sockets};
use control::Command;
use input::{Input, Offer};
use probe::Prober;

/// Something to tell people about, or to act upon from another thread.
#[derive(Debug)]
pub enum SendEvent<'a> {
    /// Something happened between the sender and its receivers.
    Protocol(SenderEvent),
    /// Twice a second while data flows.
    Progress {
        /// Counters so far.
        statistics: SenderStatistics,
        /// All who take or took part.
        participants: &'a [Participant],
    },
    /// This host's network is in trouble, or is no more.
    Network(NetworkNotice),
}

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
}

/// Sends all of `source` to the receivers that connect. Blocks until the transfer is over; run it on
/// a thread of its own. `source` is read on another one; after an early end nobody waits for it, so a
/// source that blocks for ever only costs that thread.
///
/// Some receivers may have failed when this is `Ok`: see [`SendReport::participants`].
///
/// # Errors
/// Nobody got the stream, or it could not be read or sent to its end.
pub fn send(
    options: &SendOptions,
    source: impl Read + Send + 'static,
    control: &SendControl,
    on_event: &mut dyn FnMut(&SendEvent<'_>),
) -> Result<SendReport, SendError> {
    let began = Instant::now();
    let mut core = Sender::new(options.config(), began)?;
    let mut driver = Driver::new(open(options)?, PATIENCE, began);
    let mut input =
        Input::start(source, control.bell.clone()).map_err(|source| SendError::System {
            what: "a thread for reading the stream",
            source,
        })?;
    let mut started = None;
    let mut gave_up = None;
    let mut input_done = false;
    let mut input_error = None;
    let mut next_progress = began;
    let mut prober = Prober::new(options.interface.addr, options.port_base).map_err(|source| {
        SendError::System {
            what: "a set of sockets",
            source,
        }
    })?;
    loop {
        control.bell.quiet();
        let now = Instant::now();
        for command in control.take() {
            match command {
                Command::Stop => {
                    let report = Box::new(report(&core, &input, began, started));
                    return Err(SendError::Stopped { report });
                }
                Command::Abort => {
                    input_done = true;
                    core.abort(now);
                }
                Command::Interrupt => {
                    input_done = true;
                    core.interrupt(now);
                }
                Command::Start => core.start(now),
                Command::Expect(addresses) => core.set_expected(now, &addresses),
                Command::Remove(participant) => core.remove(now, participant),
            }
        }
        if !input_done {
            input_done = match feed(&mut core, &mut input) {
                Ok(is_over) => is_over,
                Err(error) => {
                    input_error = Some(error);
                    if options.abort_on_input_error {
                        core.abort(now);
                    } else {
                        core.interrupt(now);
                    }
                    true
                }
            };
        }
        for host in prober.take_refusals(now) {
            core.handle_unreachable(now, host);
        }
        let busy = driver.turn(&mut core)?;
        while let Some(event) = core.poll_event() {
            match &event {
                SenderEvent::Started { .. } => started = Some(now),
                SenderEvent::GaveUp(reason) => gave_up = Some(*reason),
                SenderEvent::Probe { addr, hello } => {
                    prober.probe(now, *addr, hello);
                    continue;
                }
                _ => {}
            }
            on_event(&SendEvent::Protocol(event));
        }
        while let Some(notice) = driver.poll_notice() {
            on_event(&SendEvent::Network(notice));
        }
        if core.is_closed() && !busy {
            break;
        }
        if started.is_some() && now >= next_progress {
            next_progress = now + PROGRESS_PERIOD;
            let participants: Vec<Participant> = core.participants().collect();
            on_event(&SendEvent::Progress {
                statistics: core.statistics(),
                participants: &participants,
            });
        }
        // A slice that has gone makes room at once.
        let is_hungry = !input_done && core.input_room() > 0 && input.has_more();
        let until = started.map(|_| next_progress);
        let wakers = [control.bell.as_fd(), prober.as_fd()];
        driver
            .wait(&core, busy || is_hungry, until, &wakers)
            .map_err(|source| SendError::System {
                what: "to wait for datagrams",
                source,
            })?;
    }
    let report = report(&core, &input, began, started);
    if !options.abort_on_input_error
        && let Some(error) = input_error
    {
        return Err(error.into());
    }
    match gave_up {
        Some(GiveUpReason::Aborted { ended }) => Err(SendError::Aborted {
            ended,
            cause: input_error,
            report: Box::new(report),
        }),
        Some(reason) => Err(SendError::GaveUp {
            reason,
            report: Box::new(report),
        }),
        None => Ok(report),
    }
}

/// Single datagrams are refused now and then while data flows.
const PATIENCE: Duration = Duration::from_secs(2);

const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

fn open(options: &SendOptions) -> Result<Vec<Endpoint>, SocketError> {
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

/// Gives the core what it wants of the stream; answers whether the stream is over.
fn feed(core: &mut Sender, input: &mut Input) -> Result<bool, InputError> {
    loop {
        let room = core.input_room();
        // Looked at before there is room too: a source that fails ends the transfer before its start.
        let taken = match input.poll()? {
            Offer::Bytes(_) if room == 0 => return Ok(false),
            Offer::Bytes(bytes) => {
                let bite = bytes.get(..room).unwrap_or(bytes);
                core.push_input(bite);
                bite.len()
            }
            Offer::NotYet => return Ok(false),
            Offer::End => {
                core.finish_input();
                return Ok(true);
            }
        };
        input.consume(taken);
    }
}

fn report(core: &Sender, input: &Input, began: Instant, started: Option<Instant>) -> SendReport {
    SendReport {
        bytes: input.offset(),
        participants: core
            .participants()
            .map(
                |Participant {
                     addr,
                     outcome,
                     last_slice,
                     evidence,
                     ..
                 }| ParticipantResult {
                    addr,
                    outcome,
                    last_slice,
                    evidence,
                },
            )
            .collect(),
        statistics: core.statistics(),
        elapsed: began.elapsed(),
        transfer_time: started.map(|started| started.elapsed()),
    }
}
