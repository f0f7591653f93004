//! The data phase: slices out.

use std::net::SocketAddrV4;
use std::time::Instant;

use readable::NAMED_AFTER;

use super::laggards::Finished;
use super::participants::{Member, Participants};
use super::slot::{Next, Slot};
use super::wait::Patience;
use super::{Duplex, GiveUpReason, Outcome, Phase, Sender, SenderEvent, SlowPolicy, Timer};
use crate::udpcast::fec;
use crate::udpcast::wire::{Data, Fec, HelloKind, Message, ReqAck};
use crate::udpcast::{BlockNo, SliceNo};

/// Slices of fewer blocks are answered by all before the next is begun: a receiver that misses all
/// of a slice and hears the next one exits, and short ones are easily missed.
const SHORT_SLICE: u16 = 8;

/// With so many blocks of input a slice is made if nothing else is under way, full or not.
const FEW_BLOCKS: usize = 10;

impl Sender {
    /// Data is still to come or to be acknowledged: not yet at the end slice.
    pub(super) fn is_data_due(&self) -> bool {
        self.phase == Phase::Data
            && self
                .stream
                .acknowledge
                .as_ref()
                .is_none_or(|slot| !slot.is_end())
    }

    /// The next datagram of the stream; without one, the wait for answers begins.
    pub(super) fn emit_stream(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddrV4> {
        self.advance(now);
        if let Some(request) = self.stream.farewell.take() {
            Message::ReqAck(request).emit(buf);
            return Some(self.stream.to);
        }
        if self.phase != Phase::Data {
            return None;
        }
        let is_sent = self.emit_acknowledging(now, buf) || self.emit_first_pass(buf);
        if !is_sent {
            // HELLO_STREAMING may have become due in the first pass.
            if let Some(to) = self.emit_outgoing(buf) {
                return Some(to);
            }
            self.begin_wait(now);
            return None;
        }
        Some(self.stream.to)
    }

    /// Moves slices along as far as possible without sending anything.
    pub(super) fn advance(&mut self, now: Instant) {
        while self.phase == Phase::Data {
            let active = self.participants.active();
            let is_asynchronous = self.config.asynchronous;
            if !is_asynchronous && active.is_empty() {
                self.on_all_gone(now);
            } else if self.stream.acknowledge.as_ref().is_some_and(|slot| {
                if is_asynchronous {
                    !slot.is_request_due
                } else {
                    slot.is_ready(active)
                }
            }) {
                self.on_slice_done(now);
            } else if self.stream.acknowledge.is_none()
                && self.stream.transmit.as_ref().is_some_and(Slot::is_sent)
            {
                let mut slot = self.stream.transmit.take();
                let is_end = slot.as_ref().is_some_and(Slot::is_end);
                if self.is_aborting && is_end && self.is_anybody_behind() {
                    self.dismiss(now);
                    return;
                }
                if let Some(slot) = &mut slot {
                    slot.begin_asking(now);
                    if !is_asynchronous {
                        self.timers.set(Timer::Slow, now + NAMED_AFTER);
                    }
                    // Without return channel only the end is told, and not if repair blocks did.
                    slot.is_request_due &=
                        !is_asynchronous || (slot.is_end() && self.config.fec.is_none());
                }
                self.stream.acknowledge = slot;
            } else if self
                .stream
                .acknowledge
                .as_ref()
                .is_some_and(|slot| slot.is_round_over(active) && !slot.is_repeat_due())
            {
                self.end_round(now, false);
                return;
            } else if !self.make_slice(now) {
                return;
            }
        }
    }

    /// Cuts the next slice off the input, if there is a place for it and enough input.
    fn make_slice(&mut self, now: Instant) -> bool {
        let stream = &self.stream;
        let is_idle = stream.acknowledge.is_none();
        let has_place = stream.transmit.is_none() && (stream.duplex == Duplex::Full || is_idle);
        if !has_place || stream.is_end_made {
            return false;
        }
        let block_size = usize::from(self.config.block_size);
        let (available, full) = (stream.filling.len(), self.slice_bytes());
        let is_enough = available >= full
            || stream.is_input_finished
            || (is_idle && available >= FEW_BLOCKS * block_size);
        if !is_enough {
            return false;
        }
        if stream.next_slice.0 >= i32::MAX.unsigned_abs() {
            // Original programs take the number as signed in places.
            self.give_up(GiveUpReason::TooLong);
            return true;
        }
        // Whole blocks, or a single short one: what the original cuts.
        let mut len = available.min(full);
        if len > block_size {
            len -= len % block_size;
        }
        let mut rest = self.stream.spare.pop().unwrap_or_default();
        rest.clear();
        rest.extend_from_slice(self.stream.filling.get(len..).unwrap_or(&[]));
        let mut data = std::mem::replace(&mut self.stream.filling, rest);
        data.truncate(len);
        self.stream.is_end_made = data.is_empty();
        let repairs = match self.config.fec {
            Some(fec) if !data.is_empty() || self.config.asynchronous => fec.blocks_per_slice(),
            _ => 0,
        };
        let slice = self.stream.next_slice;
        self.stream.next_slice = slice.next();
        let slot = Slot::new(now, slice, data, self.config.block_size, repairs);
        self.stream.transmit = Some(slot);
        true
    }

    fn on_slice_done(&mut self, now: Instant) {
        let Some(mut slot) = self.stream.acknowledge.take() else {
            return;
        };
        self.wait.stop();
        self.timers.stop(Timer::Deadline);
        self.timers.stop(Timer::Slow);
        if slot.is_end() {
            self.say_farewell(&slot);
            self.on_end_done(now);
            return;
        }
        let sample = slot.toll.on_done();
        self.keep_pace(now, sample);
        self.statistics.bytes_acked += u64::from(slot.slice_len);
        self.statistics.slices_acked += 1;
        self.stream.size.on_acked();
        self.events.push_back(SenderEvent::SliceAcked {
            slice: slot.slice,
            bytes: self.statistics.bytes_acked,
            last: slot.last_ok,
        });
        self.leave_behind(now, &slot);
        self.last_done = Some(now);
        self.stream.spare.push(slot.data);
    }

    /// Drops those for whom the others wait most of the time.
    fn leave_behind(&mut self, now: Instant, slot: &Slot) {
        if self.config.slow == SlowPolicy::Wait {
            return;
        }
        // An original receiver does not answer while its output is held up, and loses what comes meanwhile; one
        // that is attentive says so.
        let mut suspects = slot.toll.lossy.without(&slot.stood_still);
        for member in self.participants.all_present() {
            let client = member.client.0;
            if member.is_attentive && !slot.held.contains(client) {
                suspects.insert(client);
            }
        }
        let since = self.last_done.map_or(slot.begun, |at| at.max(slot.begun));
        let slow = self.laggards.note(&Finished {
            now,
            since,
            bytes: slot.slice_len,
            ok_at: &slot.ok_at,
            suspects: &suspects,
            active: self.participants.active(),
            started: self.participants.iter().count(),
        });
        for (client, cause) in slow {
            let mut members = self.participants.all_present();
            let Some(member) = members.find(|member| member.client.0 == client) else {
                continue;
            };
            let (addr, last_slice, evidence) = (member.addr, member.last_slice, member.evidence);
            self.sent_away.add(now, member);
            drop(members);
            self.drop_member(addr, Outcome::Dropped { last_slice, cause });
            self.events.push_back(SenderEvent::Dropped {
                addr,
                cause,
                lasted: super::laggards::AFTER,
                slice: slot.slice.next(),
                evidence,
            });
        }
    }

    /// Everybody has the end.
    fn on_end_done(&mut self, now: Instant) {
        self.timers.stop_all();
        self.phase = Phase::Lingering;
        if self.participants.is_empty() {
            self.close();
        } else {
            self.timers.set(Timer::Linger, now + self.config.linger);
        }
    }

    /// One more round, in which nobody is asked: original receivers take no notice.
    fn say_farewell(&mut self, slot: &Slot) {
        if !self.config.asynchronous && slot.is_end() && !slot.ready.is_empty() {
            // Takes the place of a request that is due.
            let round = slot.round.saturating_add(u32::from(!slot.is_request_due));
            let request = ReqAck::new(slot.slice, 0, round, slot.ready);
            self.stream.farewell = Some(request);
        }
    }

    pub(super) fn on_all_gone(&mut self, now: Instant) {
        let ended = self.is_early_end();
        if self.is_aborting && !ended && self.is_anybody_behind() {
            self.dismiss(now);
            return;
        }
        if let Some(slot) = self.stream.acknowledge.take() {
            self.say_farewell(&slot);
        }
        if self.is_aborting {
            self.give_up(GiveUpReason::Aborted { ended });
        } else if self
            .participants
            .iter()
            .any(|member| member.outcome == Outcome::Completed)
        {
            self.close();
        } else {
            self.give_up(GiveUpReason::AllGone);
        }
    }

    /// Requests, repeated blocks and repair blocks.
    fn emit_acknowledging(&mut self, now: Instant, buf: &mut Vec<u8>) -> bool {
        let Some(slot) = &mut self.stream.acknowledge else {
            return false;
        };
        if slot.is_request_due {
            let request: ReqAck = slot.request(now);
            if self.config.asynchronous {
                if slot.round == 0 {
                    // The end is told twice.
                    slot.next_round();
                }
            } else {
                let deadline = self.wait.begin(now, patience(slot, &self.participants));
                self.timers.set(Timer::Deadline, deadline);
            }
            Message::ReqAck(request).emit(buf);
            self.statistics.rounds += 1;
        } else if let Some(block) = slot.take_repeat() {
            emit_data(slot, block, self.config.block_size, buf);
            self.statistics.blocks_sent += 1;
            self.statistics.blocks_repeated += 1;
        } else if let Some((block, stripes)) = slot.take_repair() {
            emit_fec(slot, block, stripes, self.config.block_size, buf);
            self.statistics.fec_sent += 1;
            self.statistics.repairs_sent += 1;
        } else {
            return false;
        }
        true
    }

    /// Blocks that go out for the first time.
    fn emit_first_pass(&mut self, buf: &mut Vec<u8>) -> bool {
        let active = self.participants.active();
        // The first slice may pass before a receiver has opened its socket for the data.
        let is_missable = |slot: &Slot| slot.blocks < SHORT_SLICE || slot.slice == SliceNo(0);
        let is_guarded = |slot: &Slot| is_missable(slot) && !slot.is_heard(active);
        if self.stream.acknowledge.as_ref().is_some_and(is_guarded) {
            return false;
        }
        let Some(slot) = &mut self.stream.transmit else {
            return false;
        };
        let Some(next) = slot.peek() else {
            return false;
        };
        if let (Some(offset), Next::Data(block)) = (self.config.streaming, next)
            && !slot.is_announced
            && block.0 >= slot.blocks.saturating_sub(offset)
        {
            slot.is_announced = true;
            self.announce(HelloKind::Streaming);
            return false;
        }
        slot.advance();
        match (next, self.config.fec) {
            (Next::Repair(block), Some(fec)) => {
                emit_fec(slot, block, fec.stripes(), self.config.block_size, buf);
                self.statistics.fec_sent += 1;
            }
            (Next::Data(block) | Next::Repair(block), _) => {
                emit_data(slot, block, self.config.block_size, buf);
                self.statistics.blocks_sent += 1;
            }
        }
        true
    }

    /// There is nothing to send until an answer comes, or until it is overdue. The wait began with
    /// the request, unless an answer that does not end the slice has ended it.
    fn begin_wait(&mut self, now: Instant) {
        let Some(slot) = self
            .stream
            .acknowledge
            .as_ref()
            .filter(|_| !self.wait.is_under_way())
        else {
            return;
        };
        let active = self.participants.active();
        if slot.is_round_over(active) && slot.paused_until(now, active).is_some() {
            return;
        }
        let deadline = self.wait.begin(now, patience(slot, &self.participants));
        self.timers.set(Timer::Deadline, deadline);
    }
}

pub(super) fn patience(slot: &Slot, participants: &Participants) -> Patience {
    if slot.is_end() {
        return Patience::End;
    }
    let is_awaited = |member: &&Member| !slot.ready.contains(member.client.0);
    let mut awaited = participants.all_present().filter(is_awaited);
    if awaited.any(|member| member.is_attentive) {
        Patience::Attentive
    } else {
        Patience::Any
    }
}

fn emit_data(slot: &Slot, block: BlockNo, block_size: u16, buf: &mut Vec<u8>) {
    let data = Data {
        slice: slot.slice,
        block,
        slice_len: slot.slice_len,
        payload: slot.block(block, block_size),
    };
    Message::Data(data).emit(buf);
}

fn emit_fec(slot: &Slot, block: BlockNo, stripes: u16, block_size: u16, buf: &mut Vec<u8>) {
    let header = Fec {
        stripes,
        slice: slot.slice,
        block,
        slice_len: slot.slice_len,
        payload: &[],
    };
    Message::Fec(header).emit(buf);
    fec::encode(&slot.data, block_size, stripes, block.0, buf);
}
