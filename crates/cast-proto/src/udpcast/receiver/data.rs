//! The data phase: slices in, answers out.

use std::time::{Duration, Instant};

use super::assembly::{Assembly, Stored};
use super::rendezvous::Suspicion;
use super::window::Place;
use super::{InVain, Outgoing, Phase, ReceiveFailure, Receiver, ReceiverEvent, Request, Timer};
use crate::bitmap::Bitmap;
use crate::udpcast::wire::{Data, Fec, Message, ReqAck, Retransmit};
use crate::udpcast::{MAX_BLOCKS_PER_SLICE, SliceNo, block_count};

/// A held request is answered so much later from this round on. The original's deadlines are one
/// second from round 11 on; before, they are too short for any delay, so answers go at once.
const HOLD_DELAY: Duration = Duration::from_millis(300);
const HOLD_FROM_ROUND: u32 = 11;

/// So many datagrams in a row about slices that cannot be due yet are no leftovers.
const BEYOND_MAX: u32 = 32;

/// So many blocks of a slice without a request for the one before: it was lost, not overtaken.
const UNASKED_BLOCKS: u16 = 8;

/// So many requests that contradict the known length of a slice are too many.
const CONTRADICTIONS_MAX: u32 = 8;

impl Receiver {
    /// A message of our sender.
    pub(super) fn on_message(&mut self, now: Instant, message: &Message<'_>) {
        self.statistics.heard += 1;
        if matches!(message, Message::Hello(_) | Message::ConnectReply(_)) {
            self.on_late_rendezvous(now, message);
            return;
        }
        if matches!(self.phase, Phase::Arrived | Phase::Complete | Phase::Failed) {
            self.on_afterwards(now, message);
            return;
        }
        let is_large = match message {
            Message::Data(_) => true,
            // The slice of 0 bytes is the end, not data.
            Message::Fec(fec) => fec.slice_len > 0,
            _ => false,
        };
        if is_large {
            self.statistics.data_datagrams += 1;
            if let Some(link) = &mut self.link {
                link.in_vain = InVain::default();
            }
        }
        if matches!(message, Message::ReqAck(_)) {
            self.statistics.requests += 1;
        }
        let is_waiting = self.phase == Phase::Waiting;
        let is_one_way = self.link.as_ref().is_some_and(|link| link.is_one_way);
        let slice = match message {
            // A sender that waits for us cannot end before we have heard anything: a leftover.
            Message::ReqAck(request)
                if is_waiting && !is_one_way && request.slice_len == 0 && request.slice.0 > 0 =>
            {
                self.on_beyond(now, request.slice, true);
                return;
            }
            Message::Data(data) => data.slice,
            Message::Fec(fec) => fec.slice,
            Message::ReqAck(request) => request.slice,
            _ => {
                self.statistics.ignored.unexpected += 1;
                return;
            }
        };
        let is_end = match message {
            Message::Fec(fec) => fec.slice_len == 0,
            Message::ReqAck(request) => request.slice_len == 0,
            _ => false,
        };
        if !self.make_way(now, slice, is_end) {
            return;
        }
        self.on_sign_of_life(now, slice);
        match message {
            Message::Data(data) => self.on_data(data),
            Message::Fec(fec) => self.on_fec(now, fec),
            Message::ReqAck(request) => self.on_reqack(now, request),
            _ => {}
        }
        self.after_progress(now);
    }

    fn on_sign_of_life(&mut self, now: Instant, slice: SliceNo) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Receiving;
            self.timers.stop(Timer::Start);
            self.timers.stop(Timer::Go);
            self.events.push_back(ReceiverEvent::FirstData { slice });
        }
        self.timers.stop(Timer::Restarted);
        if let Some(link) = &mut self.link {
            link.suspicion = Suspicion::default();
        }
        if let Some(timeout) = self.config.receive_timeout {
            self.timers.set(Timer::Receive, now + timeout);
        }
    }

    /// Moves the window for a slice ahead of it, if that can be. False if the slice is no use.
    fn make_way(&mut self, now: Instant, slice: SliceNo, is_end: bool) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        if link.is_searching && slice > link.window.next() {
            // Joined in the middle: what is not complete when the next slice begins is given up.
            link.window.restart(slice);
        }
        if link.window.place(slice) != Place::Beyond {
            link.beyond = 0;
            if link.end.is_none() {
                self.timers.stop(Timer::Lost);
            }
            return true;
        }
        if !link.is_one_way {
            self.on_beyond(now, slice, is_end);
            return false;
        }
        while link.window.place(slice) == Place::Beyond {
            let lost = if self.config.ignore_lost_data {
                link.window.give_up_first()
            } else {
                None
            };
            let Some((zeroed, bytes)) = lost else {
                self.fail_lost(now, slice, is_end);
                return false;
            };
            self.statistics.zeroed_blocks += u64::from(zeroed);
            self.statistics.bytes += bytes;
            self.statistics.slices += 1;
        }
        true
    }

    /// The sender is where it could only be if it did not wait for us any more: it has given us up,
    /// or we came in the middle. A few such datagrams may be leftovers of an earlier transfer.
    fn on_beyond(&mut self, now: Instant, slice: SliceNo, is_end: bool) {
        self.statistics.ignored.unexpected += 1;
        let Some(link) = &mut self.link else { return };
        link.beyond += 1;
        (link.heard, link.heard_end) = (slice, is_end);
        if link.beyond >= BEYOND_MAX {
            self.fail_lost(now, slice, is_end);
        } else if self.phase == Phase::Receiving && self.timers.get(Timer::Lost).is_none() {
            self.timers.set(Timer::Lost, now + self.config.exit_wait);
        }
    }

    fn on_data(&mut self, data: &Data<'_>) {
        self.notice_lost_request(data.slice);
        let Some(link) = &mut self.link else { return };
        let stored = match link.window.place(data.slice) {
            Place::Open(at) => match link.window.open(at, data.slice_len) {
                Ok(assembly) => assembly.data(data.block, data.slice_len, data.payload),
                Err(closed) => closed.into(),
            },
            Place::Old | Place::Beyond => Stored::Duplicate,
        };
        match stored {
            Stored::New => self.statistics.blocks += 1,
            Stored::Duplicate => self.statistics.duplicates += 1,
            other => self.count_ignored(other),
        }
    }

    /// A slice is begun only when the one before has been asked about. If that request was lost, the
    /// answer need not wait until the sender misses it.
    fn notice_lost_request(&mut self, slice: SliceNo) {
        let Some(link) = &mut self.link else { return };
        let Some(before) = slice.0.checked_sub(1).map(SliceNo) else {
            return;
        };
        if link.is_one_way || link.is_searching || link.asked >= Some(before) {
            return;
        }
        link.unasked += 1;
        if link.unasked < UNASKED_BLOCKS {
            return;
        }
        (link.asked, link.unasked) = (Some(before), 0);
        let slice_len = match link.window.place(before) {
            Place::Open(at) => link.window.known(at).map_or(0, Assembly::slice_len),
            Place::Old | Place::Beyond => 0,
        };
        self.queue(Outgoing::Answer(Request {
            slice: before,
            slice_len,
            round: 0,
        }));
    }

    fn on_fec(&mut self, now: Instant, fec: &Fec<'_>) {
        if fec.slice_len == 0 {
            self.on_end(now, fec.slice);
            return;
        }
        let Some(link) = &mut self.link else { return };
        let stored = match link.window.place(fec.slice) {
            Place::Open(at) => match link.window.open(at, fec.slice_len) {
                Ok(assembly) if assembly.is_complete() => Stored::Duplicate,
                Ok(assembly) => assembly.repair(fec.block, fec.stripes, fec.slice_len, fec.payload),
                Err(closed) => closed.into(),
            },
            Place::Old | Place::Beyond => Stored::Duplicate,
        };
        self.count_ignored(stored);
    }

    fn on_reqack(&mut self, now: Instant, request: &ReqAck) {
        let Some(link) = &mut self.link else { return };
        let blocks = block_count(request.slice_len, link.window.block_size());
        if blocks > u32::from(MAX_BLOCKS_PER_SLICE) {
            self.statistics.ignored.malformed += 1;
            return;
        }
        if request.slice_len == 0 {
            if link.window.place(request.slice) == Place::Old {
                self.statistics.ignored.inconsistent += 1;
                return;
            }
            self.on_end(now, request.slice);
        } else if let Place::Open(at) = link.window.place(request.slice) {
            match link.window.open(at, request.slice_len) {
                Ok(assembly) if assembly.slice_len() != request.slice_len => {
                    let known = assembly.slice_len();
                    self.on_contradiction(now, request, known);
                    return;
                }
                Ok(_) => {}
                // Without room the slice is asked for from scratch, later.
                Err(closed) => self.count_ignored(closed.into()),
            }
        }
        let Some(link) = &mut self.link else { return };
        if request.slice_len > 0
            && let Place::Open(at) = link.window.place(request.slice)
            && link
                .window
                .known(at)
                .is_some_and(|slice| !slice.is_complete())
        {
            link.in_vain.requests = link.in_vain.requests.saturating_add(1);
            link.in_vain.since = link.in_vain.since.or(Some(now));
            link.in_vain.last = Some(now);
        }
        if link.asked < Some(request.slice) {
            (link.asked, link.unasked) = (Some(request.slice), 0);
        }
        match request.is_ready(link.client) {
            Some(false) if !link.is_one_way => self.queue(Outgoing::Answer(request.request())),
            Some(_) => {}
            None => self.statistics.ignored.malformed += 1,
        }
    }

    /// Requests are what the sender itself goes by, so they are not merely passed over.
    fn on_contradiction(&mut self, now: Instant, request: &ReqAck, known: u32) {
        self.statistics.ignored.inconsistent += 1;
        let Some(link) = &mut self.link else { return };
        link.contradictions += 1;
        if link.contradictions >= CONTRADICTIONS_MAX {
            let (slice, announced) = (request.slice, request.slice_len);
            self.fail(
                now,
                ReceiveFailure::Inconsistent {
                    slice,
                    known,
                    announced,
                },
            );
        }
    }

    fn on_end(&mut self, now: Instant, slice: SliceNo) {
        let Some(link) = &mut self.link else { return };
        let is_known_otherwise = match link.window.place(slice) {
            Place::Open(at) => link.window.known(at).is_some(),
            Place::Old | Place::Beyond => true,
        };
        if is_known_otherwise || link.end.is_some_and(|end| end != slice) {
            self.statistics.ignored.inconsistent += 1;
            return;
        }
        link.end = Some(slice);
        let is_missing = link.window.next() != slice || link.is_searching;
        if is_missing && self.timers.get(Timer::Lost).is_none() {
            // The sender is done, but something is missing: late datagrams are all the hope left.
            self.timers.set(Timer::Lost, now + self.config.exit_wait);
        }
    }

    /// Hands over what has become complete, and ends when everything has.
    fn after_progress(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let advanced = link.window.advance();
        if advanced.slices > 0 {
            link.is_searching = false;
            link.contradictions = 0;
            self.statistics.slices += advanced.slices;
            self.statistics.bytes += advanced.bytes;
            self.statistics.rebuilt_blocks += advanced.rebuilt;
        }
        if link.end == Some(link.window.next()) && !link.is_searching {
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Instant) {
        if matches!(
            self.phase,
            Phase::Arrived | Phase::Complete | Phase::Failed | Phase::Closed
        ) {
            return;
        }
        self.timers.stop_all();
        self.events.push_back(ReceiverEvent::Complete {
            bytes: self.statistics.bytes,
        });
        if self.link.as_ref().is_some_and(|link| link.is_one_way) {
            self.phase = Phase::Closed;
        } else if self.config.is_confirmed_by_reader {
            // No timer: whatever becomes of the sender, all has come.
            self.phase = Phase::Arrived;
        } else {
            self.phase = Phase::Complete;
            self.timers.set(Timer::Linger, now + self.config.exit_wait);
        }
    }

    /// After the end or a failure, only requests that still ask us matter.
    fn on_afterwards(&mut self, now: Instant, message: &Message<'_>) {
        let is_failed = self.phase == Phase::Failed;
        let (Message::ReqAck(request), Some(link)) = (message, &self.link) else {
            // Of no more interest to one that has failed, while the others go on.
            self.statistics.ignored.stale += u64::from(!is_failed);
            return;
        };
        // Cut short, it says neither.
        let Some(is_ready) = request.is_ready(link.client) else {
            self.statistics.ignored.malformed += 1;
            return;
        };
        let is_end = link.end == Some(request.slice) && request.slice_len == 0;
        match self.phase {
            Phase::Arrived if is_end && !is_ready => {
                self.queue(Outgoing::Answer(request.request()));
                return;
            }
            Phase::Complete if is_end && !is_ready => {
                self.queue(Outgoing::Answer(request.request()));
            }
            // It has our OK: nothing more will be asked. DISCONNECT again, as it stays for that;
            // where that came through, the set of an original sender does not have us any more.
            Phase::Complete if is_end => {
                self.timers.stop(Timer::Linger);
                self.phase = Phase::Closed;
                self.queue(Outgoing::Disconnect);
                return;
            }
            // In case the first one was lost. The time for it is not prolonged: a sender never takes
            // those that have left for ready, and asks for as long as its stream lasts.
            Phase::Failed if !is_ready => {
                self.queue(Outgoing::Disconnect);
                return;
            }
            Phase::Failed => return,
            _ => {
                self.statistics.ignored.stale += 1;
                return;
            }
        }
        self.timers.set(Timer::Linger, now + self.config.exit_wait);
    }

    pub(super) fn on_receive_timeout(&mut self, now: Instant) {
        let Some(link) = &self.link else { return };
        let failure = ReceiveFailure::Silent {
            sender: link.sender,
            silent_for: self.config.receive_timeout.unwrap_or_default(),
            slice: link.window.next(),
            bytes: self.statistics.bytes,
        };
        self.fail(now, failure);
    }

    /// The end was announced or passed, and what is missing before it has not come.
    pub(super) fn on_lost(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let Some(end) = link.end else {
            let (heard, is_end) = (link.heard, link.heard_end);
            self.fail_lost(now, heard, is_end);
            return;
        };
        let may_skip = link.is_one_way && self.config.ignore_lost_data && !link.is_searching;
        while may_skip && link.window.next() < end {
            let Some((zeroed, bytes)) = link.window.give_up_first() else {
                break;
            };
            self.statistics.zeroed_blocks += u64::from(zeroed);
            self.statistics.bytes += bytes;
            self.statistics.slices += 1;
        }
        if link.window.next() == end && !link.is_searching {
            self.complete(now);
        } else {
            self.fail_lost(now, end, true);
        }
    }

    fn fail_lost(&mut self, now: Instant, heard: SliceNo, is_over: bool) {
        let Some(link) = &self.link else { return };
        let failure = ReceiveFailure::Lost {
            slice: link.window.next(),
            missing: link.window.missing().into(),
            bytes: self.statistics.bytes,
            heard,
            // Without a return channel blocks are lost, and nobody has been given up.
            is_over: is_over && !link.is_one_way,
        };
        self.fail(now, failure);
    }

    /// The answer to a request, by what is there now; `None` if it has to wait.
    pub(super) fn answer(&mut self, now: Instant, request: Request) -> Option<Message<'static>> {
        let link = self.link.as_mut()?;
        let (slice, round) = (request.slice, request.round);
        if link.end == Some(slice) {
            return match self.phase {
                Phase::Complete => {
                    // Both together: the sender need not wait for us any more.
                    self.queue(Outgoing::Disconnect);
                    Some(Message::Ok(slice))
                }
                Phase::Arrived => self.answer_later(now, request),
                // Something before the end is missing; OK would be a lie.
                _ => None,
            };
        }
        match link.window.place(slice) {
            Place::Old => {
                let is_promised = link.promised.is_some_and(|promised| slice <= promised);
                if is_promised || link.window.has_reserve() {
                    link.promised = link.promised.max(Some(slice));
                    if link.held.is_some_and(|held| held.slice <= slice) {
                        link.held = None;
                        self.timers.stop(Timer::Hold);
                    }
                    return Some(Message::Ok(slice));
                }
                self.answer_later(now, request)
            }
            Place::Open(at) => match link.window.known(at) {
                Some(assembly) if assembly.is_complete() => Some(Message::Ok(slice)),
                known => {
                    let received = known.map(Assembly::settled).unwrap_or_default();
                    let blocks = block_count(request.slice_len, link.window.block_size());
                    let missing = blocks.saturating_sub(u32::from(received.count()));
                    self.statistics.lost_blocks += u64::from(missing);
                    Some(Message::Retransmit(Retransmit {
                        slice,
                        round,
                        received,
                    }))
                }
            },
            Place::Beyond => None,
        }
    }

    /// Keeps the sender without an OK: so that it does not give us up, it is answered all the same.
    fn answer_later(&mut self, now: Instant, request: Request) -> Option<Message<'static>> {
        let link = self.link.as_mut()?;
        (link.held, link.held_at) = (Some(request), now);
        if request.round < HOLD_FROM_ROUND {
            self.statistics.held += 1;
            return self.all_but_one(request);
        }
        // One answer serves all rounds that come in the meantime.
        if self.timers.get(Timer::Hold).is_none() {
            self.timers.set(Timer::Hold, now + HOLD_DELAY);
        }
        None
    }

    pub(super) fn on_hold_over(&mut self) {
        if self.link.as_ref().is_some_and(|link| link.held.is_some()) {
            self.queue(Outgoing::Hold);
        }
    }

    /// The late answer to a held request; `None` if there is room meanwhile.
    pub(super) fn hold(&mut self) -> Option<Message<'static>> {
        let request = self.link.as_ref()?.held?;
        self.statistics.held += 1;
        self.all_but_one(request)
    }

    /// "All blocks but one are there": the sender repeats one block and asks again. Of the end, which
    /// has no blocks, it repeats nothing.
    fn all_but_one(&self, request: Request) -> Option<Message<'static>> {
        let link = self.link.as_ref()?;
        let blocks = block_count(request.slice_len, link.window.block_size());
        let received = Bitmap::first(u16::try_from(blocks.saturating_sub(1)).ok()?);
        let (slice, round) = (request.slice, request.round);
        Some(Message::Retransmit(Retransmit {
            slice,
            round,
            received,
        }))
    }

    fn count_ignored(&mut self, stored: Stored) {
        let ignored = &mut self.statistics.ignored;
        match stored {
            Stored::New => {}
            Stored::Duplicate => ignored.stale += 1,
            Stored::Inconsistent => ignored.inconsistent += 1,
            Stored::Malformed => ignored.malformed += 1,
            Stored::NoRoom => ignored.no_room += 1,
        }
    }
}
