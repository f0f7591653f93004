//! The thread between the sockets and the reader of a stream.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use conveyor::{Gone, Loader, NotPut};

use cast_proto::udpcast::ClientNo;
use cast_proto::udpcast::receiver::{ReceiveFailure, Receiver, ReceiverEvent};

use super::options::ReceiveOptions;
use super::status::{ReceiveNotice, ReceivePhase, ReceiveStatus};
use super::{ReceiveError, ReceiveReport};
use crate::io::driver::Driver;
use crate::io::socket::Endpoint;
use crate::io::wake::{Bell, Stop};

/// What the reader's side tells the thread.
#[derive(Clone, Debug)]
pub(super) struct Signals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bell: Bell,
    is_abandoned: AtomicBool,
    is_confirmed: AtomicBool,
    is_go_asked: AtomicBool,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            bell: Bell::new()?,
            is_abandoned: AtomicBool::new(false),
            is_confirmed: AtomicBool::new(false),
            is_go_asked: AtomicBool::new(false),
        })))
    }

    /// A slice was taken.
    pub(super) fn ring(&self) {
        self.0.bell.ring();
    }

    pub(super) fn abandon(&self) {
        self.0.is_abandoned.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// What was handed over is safe.
    pub(super) fn confirm(&self) {
        self.0.is_confirmed.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub(super) fn go(&self) {
        self.0.is_go_asked.store(true, Ordering::SeqCst);
        self.ring();
    }
}

/// Everything the thread owns.
pub(super) struct Worker {
    pub(super) core: Receiver,
    pub(super) options: ReceiveOptions,
    pub(super) stop: Stop,
    pub(super) signals: Signals,
    /// To the reader. Without an end the thread has failed.
    pub(super) slices: Loader<Vec<u8>, Vec<u8>>,
    pub(super) status: Arc<ReceiveStatus>,
    pub(super) receive_buffer: usize,
    pub(super) began: Instant,
}

/// What has happened so far.
#[derive(Default)]
struct Course {
    connection: Option<(SocketAddrV4, ClientNo)>,
    group: Option<Ipv4Addr>,
    first_data: Option<Instant>,
    /// Length of the stream and when it was complete.
    complete: Option<(u64, Instant)>,
    /// The reader has said that all is safe.
    is_confirmed: bool,
    failure: Option<ReceiveFailure>,
    is_aborted: bool,
    /// The next slice, when the reader has no room yet.
    waiting: Option<Vec<u8>>,
    is_end_delivered: bool,
    is_reader_gone: bool,
    /// Datagrams of the sender.
    heard: u64,
    is_small_only_told: bool,
}

impl Course {
    /// The group by which something may still come: data, or requests for the end.
    fn awaited_group(&self) -> Option<Ipv4Addr> {
        self.group.filter(|_| !self.is_confirmed)
    }
}

/// How long datagrams gather: 17 of them at 1 Gbit/s.
const GATHERING: Duration = Duration::from_micros(200);

/// Bytes of a receive buffer, as the kernel counts, in which they have room: 10 Gbit/s fill a tenth of
/// it meanwhile. (What an unprivileged program gets can be a tenth of that.)
const ROOMY: usize = 4 << 20;

/// A silent group is joined again that often, in case a switch has forgotten it. A sender that waits for the
/// end to be acknowledged is not silent, either.
const REJOIN_AFTER: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) fn run(mut self, endpoints: Vec<Endpoint>) -> Result<ReceiveReport, ReceiveError> {
        let result = self.transfer(endpoints);
        let result = result.and_then(|course| self.conclude(course));
        if result.is_err() {
            self.status.lock().phase = ReceivePhase::Failed;
        }
        result
    }

    fn transfer(&mut self, endpoints: Vec<Endpoint>) -> Result<Course, ReceiveError> {
        let mut course = Course::default();
        let mut driver = Driver::new(endpoints, Duration::ZERO, Instant::now());
        loop {
            self.signals.0.bell.quiet();
            self.obey(&mut course);
            self.deliver(&mut course);
            let datagrams = driver.datagrams();
            let busy = driver.turn(&mut self.core)?;
            while let Some(event) = self.core.poll_event() {
                self.note(event, &mut course, &mut driver)?;
            }
            while let Some(notice) = driver.poll_notice() {
                self.status.notice(ReceiveNotice::Network(notice));
            }
            self.publish(&mut course, driver.datagrams());
            if self.core.is_closed() && !busy {
                break;
            }
            let mut until = None;
            if let Some(group) = course.awaited_group() {
                until = driver.refresh_group(group, REJOIN_AFTER);
            }
            // The next slice may be complete already.
            let busy = busy || self.deliver(&mut course);
            // In the midst of a slice nothing is asked of us, while waking up for each datagram would
            // take a processor at 1 Gbit/s.
            let is_streaming = driver.datagrams() > datagrams && self.core.is_mid_slice();
            if !busy && is_streaming && self.receive_buffer >= ROOMY {
                std::thread::sleep(GATHERING);
            }
            let mut wakers = vec![self.signals.0.bell.as_fd()];
            if !course.is_aborted {
                wakers.push(self.stop.as_fd());
            }
            driver
                .wait(&self.core, busy, until, &wakers)
                .map_err(|source| ReceiveError::System {
                    what: "to wait for datagrams",
                    source: Arc::new(source),
                })?;
        }
        // The port is free from here on, however long the reader takes.
        Ok(course)
    }

    /// Does what the other side has asked for.
    fn obey(&mut self, course: &mut Course) {
        while let Some(buffer) = self.slices.try_buffer() {
            self.core.return_buffer(buffer);
        }
        let signals = &self.signals.0;
        let is_confirmed = signals.is_confirmed.load(Ordering::SeqCst);
        if is_confirmed && course.complete.is_some() {
            course.is_confirmed = true;
            self.core.confirm(Instant::now());
            self.status.lock().phase = ReceivePhase::Complete;
        }
        let is_unwanted = self.stop.is_stopped()
            || signals.is_abandoned.load(Ordering::SeqCst)
            || course.is_reader_gone;
        // Once everything is confirmed, the thread only lingers; then a stop is a matter of no concern.
        if is_unwanted && !course.is_aborted && !course.is_confirmed {
            course.is_aborted = true;
            self.core.abort(Instant::now());
        }
        if course.connection.is_some() && signals.is_go_asked.swap(false, Ordering::SeqCst) {
            self.core.go(Instant::now());
        }
    }

    /// Hands over as many slices as the reader has room for; answers whether any went.
    fn deliver(&mut self, course: &mut Course) -> bool {
        let mut has_moved = false;
        while !course.is_reader_gone && !course.is_end_delivered {
            let slice = course.waiting.take().or_else(|| self.core.take_slice());
            let put = match slice {
                Some(slice) => self.slices.try_put(slice),
                None if course.complete.is_some() => match self.slices.try_end() {
                    Ok(is_put) => {
                        course.is_end_delivered = is_put;
                        return has_moved || is_put;
                    }
                    Err(Gone) => Err(NotPut::Gone),
                },
                None => break,
            };
            match put {
                Ok(()) => has_moved = true,
                Err(NotPut::Full(slice)) => {
                    course.waiting = Some(slice);
                    break;
                }
                Err(NotPut::Gone) => course.is_reader_gone = true,
            }
        }
        has_moved
    }

    fn note(
        &mut self,
        event: ReceiverEvent,
        course: &mut Course,
        driver: &mut Driver,
    ) -> Result<(), ReceiveError> {
        let now = Instant::now();
        tracing::debug!(?event);
        match event {
            ReceiverEvent::Requested { to, attempt } => {
                if let ReceivePhase::Asking {
                    to: last, requests, ..
                } = &mut self.status.lock().phase
                {
                    *last = to;
                    *requests = attempt;
                }
            }
            ReceiverEvent::Connected {
                client,
                sender,
                block_size,
                capabilities,
                ..
            } => {
                course.connection = Some((sender, client));
                if self.options.known_sender().is_none() {
                    self.status.notice(ReceiveNotice::FirstSender(sender));
                }
                let mut status = self.status.lock();
                status.connection = course.connection;
                status.capabilities = capabilities;
                status.block_size = Some(block_size);
                status.phase = ReceivePhase::Connected {
                    since: now,
                    sender,
                    client,
                };
            }
            ReceiverEvent::OtherSender(other) => {
                let connected = course.connection.map(|(sender, _)| *sender.ip());
                let ours = connected.or_else(|| self.options.known_sender());
                self.status
                    .notice(ReceiveNotice::OtherSender { other, ours });
            }
            ReceiverEvent::Join(group) => self.join(group, course, driver)?,
            ReceiverEvent::JoinAgain(group) => {
                driver.refresh_group(group, Duration::ZERO);
            }
            ReceiverEvent::FirstData { .. } => {
                course.first_data = Some(now);
                if let Some((sender, client)) = course.connection {
                    self.status.lock().phase = ReceivePhase::Receiving {
                        since: now,
                        sender,
                        client,
                    };
                }
            }
            ReceiverEvent::Complete { bytes } => {
                course.complete = Some((bytes, now));
                if let Some((sender, client)) = course.connection {
                    self.status.lock().phase = ReceivePhase::Arrived {
                        since: course.first_data.unwrap_or(now),
                        sender,
                        client,
                    };
                }
            }
            ReceiverEvent::Failed(failure) => course.failure = Some(failure),
        }
        Ok(())
    }

    fn join(
        &mut self,
        group: Ipv4Addr,
        course: &mut Course,
        driver: &mut Driver,
    ) -> Result<(), ReceiveError> {
        self.status.lock().data_group = Some(group);
        if driver.listens_on(group) {
            return Ok(());
        }
        match Endpoint::listen(&self.options.interface, group, self.options.port_base) {
            Ok(endpoint) => {
                endpoint.grow_receive_buffer(self.options.receive_buffer);
                driver.add(endpoint, Instant::now());
                course.group = Some(group).filter(Ipv4Addr::is_multicast);
                Ok(())
            }
            Err(error) => {
                // Say goodbye, or the sender waits for us.
                self.core.abort(Instant::now());
                while driver.turn(&mut self.core)? {}
                Err(error.into())
            }
        }
    }

    fn publish(&self, course: &mut Course, datagrams: u64) {
        let statistics = self.core.statistics();
        let small_only = self.core.small_only();
        let mut status = self.status.lock();
        // What others send is no sign of life.
        if statistics.heard != course.heard {
            course.heard = statistics.heard;
            status.last_packet = Some(Instant::now());
        }
        let is_new = !course.is_small_only_told;
        status.small_only = small_only;
        status.datagrams = datagrams;
        status.data_datagrams = statistics.data_datagrams;
        status.requests = statistics.requests;
        status.bytes = statistics.bytes;
        status.lost_blocks = statistics.lost_blocks;
        status.ignored = statistics.ignored.total();
        status.slices_waiting = usize::from(course.waiting.is_some());
        drop(status);
        if let Some(found) = small_only.filter(|_| is_new) {
            course.is_small_only_told = true;
            self.status.notice(ReceiveNotice::SmallOnly(found));
        }
    }

    /// Waits for the reader to take everything.
    fn deliver_rest(&mut self, waiting: Option<Vec<u8>>) -> Result<(), Gone> {
        let mut next = waiting.or_else(|| self.core.take_slice());
        while let Some(slice) = next {
            self.slices.put(slice)?;
            next = self.core.take_slice();
        }
        self.slices.put_end()
    }

    /// The protocol is through; the reader may not be.
    fn conclude(&mut self, course: Course) -> Result<ReceiveReport, ReceiveError> {
        let statistics = self.core.statistics();
        // What has arrived, but was let go before it was confirmed, is no success.
        let Some((bytes, end)) = course.complete.filter(|_| !course.is_aborted) else {
            let bytes = statistics.bytes;
            return Err(match course.failure {
                _ if self.stop.is_stopped() => ReceiveError::Stopped { bytes },
                _ if course.is_aborted => ReceiveError::Abandoned { bytes },
                Some(failure) => failure.into(),
                None => ReceiveFailure::Aborted.into(),
            });
        };
        self.status.lock().phase = ReceivePhase::Complete;
        if !course.is_end_delivered
            && let Err(Gone) = self.deliver_rest(course.waiting)
        {
            tracing::debug!("the reader left before it had taken everything");
        }
        Ok(ReceiveReport {
            bytes,
            statistics,
            receive_buffer: self.receive_buffer,
            elapsed: end.duration_since(self.began),
            transfer_time: course.first_data.map(|first| end.duration_since(first)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_needed_until_the_end_is_acknowledged() {
        let group = Some(Ipv4Addr::new(233, 254, 0, 1));
        let mut course = Course {
            group,
            ..Course::default()
        };
        assert_eq!(course.awaited_group(), group);
        // Requests for the end come, for as long as the target is written.
        course.complete = Some((7, Instant::now()));
        assert_eq!(course.awaited_group(), group);
        course.is_confirmed = true;
        assert_eq!(course.awaited_group(), None);
    }
}
