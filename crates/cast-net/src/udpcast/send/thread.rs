//! The thread between the source of a stream and the sockets.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cast_proto::udpcast::sender::{GiveUpReason, Participant, Sender, SenderEvent};

use super::control::{Command, SendControl};
use super::events::{Reporter, SendEvent};
use super::input::{Input, InputError, Offer};
use super::options::SendOptions;
use super::probe::Prober;
use super::{ParticipantResult, SendError, SendReport};
use crate::io::driver::Driver;
use crate::io::socket::Endpoint;

/// Everything the thread owns.
pub(super) struct Worker {
    pub(super) core: Sender,
    pub(super) options: SendOptions,
    pub(super) input: Input,
    pub(super) control: SendControl,
    /// The handle was dropped.
    pub(super) is_abandoned: Arc<AtomicBool>,
    pub(super) events: Reporter,
    pub(super) prober: Prober,
    pub(super) began: Instant,
}

/// What has happened so far.
#[derive(Default)]
struct Course {
    started: Option<Instant>,
    gave_up: Option<GiveUpReason>,
    /// Nothing more is taken of the source.
    is_input_done: bool,
    input_error: Option<InputError>,
}

/// The transfer is to end now.
struct Stopped;

/// Single datagrams are refused now and then while data flows.
const PATIENCE: Duration = Duration::from_secs(2);

const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

impl Worker {
    pub(super) fn run(mut self, endpoints: Vec<Endpoint>) -> Result<SendReport, SendError> {
        let mut course = Course::default();
        let mut driver = Driver::new(endpoints, PATIENCE, self.began);
        let mut next_progress = self.began;
        loop {
            self.control.bell.quiet();
            let now = Instant::now();
            if let Err(Stopped) = self.obey(&mut course, now) {
                let report = Box::new(self.report(&course));
                return Err(SendError::Stopped { report });
            }
            self.feed(&mut course, now);
            for host in self.prober.take_refusals(now) {
                self.core.handle_unreachable(now, host);
            }
            let busy = driver.turn(&mut self.core)?;
            while let Some(event) = self.core.poll_event() {
                self.on_event(&mut course, now, event);
            }
            while let Some(notice) = driver.poll_notice() {
                self.events.report(SendEvent::Network(notice));
            }
            if self.core.is_closed() && !busy {
                break;
            }
            if course.started.is_some() && now >= next_progress {
                next_progress = now + PROGRESS_PERIOD;
                self.events.report(SendEvent::Progress {
                    statistics: self.core.statistics(),
                    participants: self.core.participants().collect(),
                });
            }
            // A slice that has gone makes room at once.
            let is_hungry =
                !course.is_input_done && self.core.input_room() > 0 && self.input.has_more();
            let until = course.started.map(|_| next_progress);
            let wakers = [self.control.bell.as_fd(), self.prober.as_fd()];
            driver
                .wait(&self.core, busy || is_hungry, until, &wakers)
                .map_err(|source| SendError::System {
                    what: "to wait for datagrams",
                    source,
                })?;
        }
        self.conclude(course)
    }

    /// Does what other threads have asked for.
    fn obey(&mut self, course: &mut Course, now: Instant) -> Result<(), Stopped> {
        if self.is_abandoned.load(Ordering::SeqCst) {
            return Err(Stopped);
        }
        for command in self.control.take() {
            match command {
                Command::Stop => return Err(Stopped),
                Command::Abort => {
                    course.is_input_done = true;
                    self.core.abort(now);
                }
                Command::Interrupt => {
                    course.is_input_done = true;
                    self.core.interrupt(now);
                }
                Command::Start => self.core.start(now),
                Command::Expect(addresses) => self.core.set_expected(now, &addresses),
                Command::Remove(participant) => self.core.remove(now, participant),
            }
        }
        Ok(())
    }

    /// Gives the core what it wants of the stream; makes the receivers fail if that cannot be read.
    fn feed(&mut self, course: &mut Course, now: Instant) {
        if course.is_input_done {
            return;
        }
        course.is_input_done = match feed(&mut self.core, &mut self.input) {
            Ok(is_over) => is_over,
            Err(error) => {
                course.input_error = Some(error);
                if self.options.abort_on_input_error {
                    self.core.abort(now);
                } else {
                    self.core.interrupt(now);
                }
                true
            }
        };
    }

    fn on_event(&mut self, course: &mut Course, now: Instant, event: SenderEvent) {
        match &event {
            SenderEvent::Started { .. } => course.started = Some(now),
            SenderEvent::GaveUp(reason) => course.gave_up = Some(*reason),
            SenderEvent::Probe { addr, hello } => {
                self.prober.probe(now, *addr, hello);
                return;
            }
            _ => {}
        }
        self.events.report(SendEvent::Protocol(event));
    }

    fn conclude(self, course: Course) -> Result<SendReport, SendError> {
        let report = self.report(&course);
        let Course {
            gave_up,
            input_error,
            ..
        } = course;
        if !self.options.abort_on_input_error
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

    fn report(&self, course: &Course) -> SendReport {
        let participants = self.core.participants().map(
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
        );
        SendReport {
            bytes: self.input.offset(),
            participants: participants.collect(),
            statistics: self.core.statistics(),
            elapsed: self.began.elapsed(),
            transfer_time: course.started.map(|started| started.elapsed()),
            events_left_out: self.events.left_out,
        }
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
