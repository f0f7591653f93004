//! The data phase: slices out, answers in.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use readable::NAMED_AFTER;

use super::laggards::Finished;
use super::participants::{Member, Participants, Reachability};
use super::slot::{Answered, Next, Shape, Slot};
use super::wait::Patience;
use super::{
    DropCause, Duplex, GiveUpReason, Lacking, Outcome, PROBE_AFTER, PROBE_INTERVAL, Phase,
    ROLL_CALL_AFTER, Sender, SenderEvent, SlowPolicy, Timer,
};
use crate::bitmap::Bitmap;
use crate::udpcast::fec::{self, FecParams};
use crate::udpcast::wire::{Data, Fec, HelloKind, Message, ReqAck, Retransmit};
use crate::udpcast::{BlockNo, SliceNo};

/// Slices of fewer blocks are answered by all before the next is begun: a receiver that misses all
/// of a slice and hears the next one exits, and short ones are easily missed.
const SHORT_SLICE: u16 = 8;

/// With so many blocks of input a slice is made if nothing else is under way, full or not.
const FEW_BLOCKS: usize = 10;

/// Time between two reports of slowness, and the least if further participants fall silent.
const SLOW_AGAIN: Duration = Duration::from_secs(2);
const SLOW_NEWS: Duration = Duration::from_millis(250);

/// An original receiver that is silent for so long has an output that stands still: the queue of a switch port
/// holds an answer up for less.
const STANDSTILL: Duration = Duration::from_millis(500);

/// Others have been heard so lately: the network works, and a participant that is silent for longer is
/// silent by itself. All are asked to answer meanwhile.
const NETWORK_IS_ALIVE: Duration = Duration::from_secs(2);

/// After so many slices a participant that lives is probed again: the first such probe, or the answer, may be
/// lost.
const BASELINES: [u64; 3] = [4, 16, 64];

/// A participant that left at the very end is still asked for its last OK in so many rounds and for
/// so long.
const LEAVING_ROUNDS: u32 = 4;
const LEAVING_TIME: Duration = Duration::from_secs(1);

impl Sender {
    /// A message after the start.
    pub(super) fn on_data_phase(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        message: &Message<'_>,
    ) {
        if self.config.asynchronous {
            self.statistics.ignored.unexpected += 1;
            return;
        }
        let addr = *from.ip();
        if matches!(message, Message::ConnectReq(_)) {
            self.on_late_request(from);
            return;
        }
        let was_known = self.participants.get(addr).is_some();
        let Some(member) = self.participants.present(addr) else {
            if matches!(message, Message::Disconnect) {
                self.sent_away.remove(addr);
            } else {
                self.sent_away.on_heard(now, addr);
            }
            let ignored = &mut self.statistics.ignored;
            if was_known {
                ignored.stale += 1;
            } else {
                ignored.stranger += 1;
            }
            return;
        };
        if matches!(message, Message::Ok(_) | Message::Retransmit(_)) {
            self.last_heard = Some(now);
            if let Some(slot) = &mut self.stream.acknowledge
                && member.silence(now, slot.asked_since) >= STANDSTILL
            {
                slot.stood_still.insert(member.client.0);
            }
            member.last_heard = now;
            if member.reachability != Reachability::Untold {
                member.reachability = Reachability::Unknown;
            }
            let is_first = !std::mem::replace(&mut member.has_answered, true);
            if is_first {
                member.begin_baseline(now);
                self.probe(addr);
            }
        }
        match message {
            Message::Ok(slice) => {
                self.on_ok(now, addr, *slice);
                self.judge(now, addr, None);
            }
            Message::Retransmit(retransmit) => {
                self.judge(now, addr, Some(retransmit));
                self.on_retransmit(now, addr, retransmit);
            }
            Message::Disconnect => self.on_disconnect(now, addr),
            _ => self.statistics.ignored.unexpected += 1,
        }
    }

    /// Drops a participant that answers and holds the others up all the same.
    fn judge(&mut self, now: Instant, addr: Ipv4Addr, retransmit: Option<&Retransmit>) {
        let active = *self.participants.active();
        let (Some(slot), Some(member)) = (
            self.stream.acknowledge.as_mut(),
            self.participants.present(addr),
        ) else {
            return;
        };
        if slot.ready.contains(member.client.0) {
            return;
        }
        let received = retransmit
            .filter(|it| it.slice == slot.slice && it.round <= slot.round)
            .map(|it| &it.received);
        let at = slot.note(now, member.client, &active, received);
        let policy = if member.is_attentive {
            &self.config.drop_attentive
        } else {
            &self.config.drop
        };
        let (slice, blocks) = (slot.slice, slot.blocks);
        if let Some((cause, lasted)) = slot.progress.verdict(at, member.client.0, policy) {
            let (last_slice, evidence) = (member.last_slice, member.evidence);
            self.sent_away.add(now, member);
            self.drop_member(addr, Outcome::Dropped { last_slice, cause });
            self.events.push_back(SenderEvent::Dropped {
                addr,
                cause,
                lasted,
                slice,
                evidence,
            });
            return;
        }
        let idle = slot.progress.tell(now, &active);
        if idle.is_empty() {
            return;
        }
        let members = self.participants.all_present();
        let lacking = members.filter_map(|member| {
            let (_, missing, lasted) = idle.iter().find(|it| it.0 == member.client.0)?;
            Some(Lacking {
                addr: member.addr,
                missing: *missing,
                lasted: *lasted,
            })
        });
        self.events.push_back(SenderEvent::NoProgress {
            slice,
            blocks,
            lacking: lacking.collect(),
            others_have_it: at.is_contended,
        });
    }

    fn on_ok(&mut self, now: Instant, addr: Ipv4Addr, slice: SliceNo) {
        let Some(member) = self.participants.present(addr) else {
            return;
        };
        let is_fec = self.config.fec.is_some();
        // Before all blocks are out only repair blocks can have made it complete; otherwise it is
        // a word of an earlier transfer.
        let slots = self
            .stream
            .acknowledge
            .iter_mut()
            .chain(&mut self.stream.transmit);
        let mut slots = slots.filter(|slot| slot.slice == slice && (slot.is_sent() || is_fec));
        let Some(slot) = slots.next() else {
            self.statistics.ignored.stale += 1;
            return;
        };
        if slot.on_ok(member.client, addr) == Answered::Stale {
            self.statistics.ignored.stale += 1;
            return;
        }
        slot.ok_at.insert(member.client.0, now);
        let is_end = slot.is_end();
        member.evidence.has_answered = true;
        if !is_end {
            member.evidence.has_data = true;
            member.evidence.slices_acked += 1;
            member.evidence.bytes_acked += u64::from(slot.slice_len);
        }
        let is_baseline_due = !is_end && BASELINES.contains(&member.evidence.slices_acked);
        if is_baseline_due {
            member.begin_baseline(now);
        }
        let is_whole = is_end && !self.is_aborting;
        if is_whole {
            member.outcome = Outcome::Completed;
        } else if !is_end {
            member.last_slice = member.last_slice.max(Some(slice));
        }
        let is_leaving = member.leaving_since.is_some();
        if is_whole && is_leaving {
            self.leave(addr, Outcome::Completed);
        }
        if is_baseline_due {
            self.probe(addr);
        }
        self.on_answer(now);
    }

    fn on_retransmit(&mut self, now: Instant, addr: Ipv4Addr, retransmit: &Retransmit) {
        let Some(member) = self.participants.present(addr) else {
            return;
        };
        let slot = self.stream.acknowledge.as_mut();
        let Some(slot) = slot.filter(|slot| slot.slice == retransmit.slice) else {
            self.statistics.ignored.stale += 1;
            return;
        };
        let (client, is_attentive) = (member.client, member.is_attentive);
        let has_data = member.evidence.has_data;
        let (round, received) = (retransmit.round, &retransmit.received);
        let answered = slot.on_retransmit(client, is_attentive, round, received, has_data);
        if answered.0 != Answered::Impossible {
            let blocks = Bitmap::first(slot.blocks).intersection(&retransmit.received);
            member.evidence.has_answered = true;
            member.evidence.has_data |= !blocks.is_empty();
        }
        match answered {
            (Answered::Counted, missing) => {
                member.repeats_asked += u64::from(missing);
                self.on_answer(now);
            }
            (Answered::Again, missing) => member.repeats_asked += u64::from(missing),
            (Answered::Stale, _) => self.statistics.ignored.stale += 1,
            (Answered::Impossible, _) => self.statistics.ignored.inconsistent += 1,
        }
    }

    fn on_disconnect(&mut self, now: Instant, addr: Ipv4Addr) {
        let is_early_end = self.is_early_end();
        let Some(member) = self.participants.present(addr) else {
            return;
        };
        let end = self
            .stream
            .acknowledge
            .as_ref()
            .filter(|slot| slot.is_end());
        match (member.outcome, end) {
            _ if is_early_end => {
                let last_slice = member.last_slice;
                self.leave(addr, Outcome::Removed { last_slice });
            }
            (Outcome::Completed, _) => self.leave(addr, Outcome::Completed),
            // OK and DISCONNECT come together at the end; the OK may be the one that was lost.
            (_, Some(slot)) => {
                if member.leaving_since.is_none() {
                    member.leaving_since = Some((now, slot.round));
                }
            }
            _ => {
                let outcome = Outcome::Left {
                    last_slice: member.last_slice,
                };
                self.leave(addr, outcome);
            }
        }
        if self.phase == Phase::Lingering && self.participants.is_empty() {
            self.close();
        }
    }

    /// An answer that changed something came.
    fn on_answer(&mut self, now: Instant) {
        let Some(slot) = self.stream.acknowledge.as_ref() else {
            return;
        };
        if slot.is_answered(self.participants.active()) {
            self.wait.on_all(now);
            self.timers.stop(Timer::Deadline);
        } else if self.wait.is_under_way() {
            let deadline = self.wait.on_answer(now, patience(slot, &self.participants));
            self.timers.set(Timer::Deadline, deadline);
        }
    }

    /// No answer in time.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        self.wait.on_missed();
        self.statistics.deadlines_missed += 1;
        self.drop_silent(now);
        self.probe_silent(now);
        let active = self.participants.active();
        if self
            .stream
            .acknowledge
            .as_ref()
            .is_some_and(|slot| !slot.is_ready(active))
        {
            self.end_round(now, true);
        }
    }

    /// Ends the round, once what the answers ask for has been sent.
    fn end_round(&mut self, now: Instant, is_last: bool) {
        let shape = Shape {
            stripes: self.config.fec.map(FecParams::stripes),
            used_rows: self.config.fec.map_or(0, FecParams::redundancy),
        };
        let active = self.participants.active();
        let originals = self.participants.originals();
        let Some(slot) = &mut self.stream.acknowledge else {
            return;
        };
        if slot.plan(active, &originals, shape, is_last) || slot.is_repeat_due() {
            return;
        }
        match slot.paused_until(now, active) {
            Some(until) => self.timers.set(Timer::Pause, until),
            None => self.next_round(now),
        }
    }

    /// Gives up those that have been silent for too long in too many rounds.
    pub(super) fn drop_silent(&mut self, now: Instant) {
        let Some(slot) = &self.stream.acknowledge else {
            return;
        };
        let (slice, round, asked_since) = (slot.slice, slot.round, slot.asked_since);
        // Those who have the whole stream may have left, and are not asked any more.
        let is_network_alive = slot.is_end() && !slot.ready.is_empty()
            || self
                .last_heard
                .is_some_and(|at| now.saturating_duration_since(at) < NETWORK_IS_ALIVE);
        let mut gone = Vec::new();
        for member in self.participants.all_present() {
            if slot.ready.contains(member.client.0) {
                continue;
            }
            let last_slice = member.last_slice;
            let policy = match member.reachability {
                Reachability::Gone => self.config.drop_gone,
                _ if member.is_attentive && is_network_alive => self.config.drop_attentive,
                _ => self.config.drop,
            };
            let silent_for = member.silence(now, asked_since);
            let has_left = |(since, from_round): (Instant, u32)| {
                round >= from_round.saturating_add(LEAVING_ROUNDS)
                    && now.saturating_duration_since(since) >= LEAVING_TIME
            };
            if let Some(leaving) = member.leaving_since {
                if has_left(leaving) {
                    gone.push((member.addr, None, Outcome::Left { last_slice }));
                }
            } else if round > policy.retries
                && silent_for >= policy.silence
                && !slot.has_answered(member.client)
            {
                let cause = match member.reachability {
                    Reachability::Gone => DropCause::Unreachable,
                    Reachability::Unknown | Reachability::Refused(_) | Reachability::Untold => {
                        DropCause::Silent
                    }
                };
                gone.push((
                    member.addr,
                    Some((silent_for, cause, member.evidence)),
                    Outcome::Dropped { last_slice, cause },
                ));
            }
        }
        for (addr, dropped, outcome) in gone {
            match dropped {
                None => self.leave(addr, outcome),
                Some((lasted, cause, evidence)) => {
                    // Its host may have lied: then it is there, and is better sent away.
                    if let Some(member) = self.participants.present(addr) {
                        self.sent_away.add(now, member);
                    }
                    self.drop_member(addr, outcome);
                    self.events.push_back(SenderEvent::Dropped {
                        addr,
                        cause,
                        lasted,
                        slice,
                        evidence,
                    });
                }
            }
        }
    }

    /// Looks after those that are silent: probes their hosts, and has everybody answer the next request,
    /// which shows whether the network is alive.
    fn probe_silent(&mut self, now: Instant) {
        let Some(slot) = &mut self.stream.acknowledge else {
            return;
        };
        let mut silent = Vec::new();
        for member in self.participants.all_present_mut() {
            let silence = member.silence(now, slot.asked_since);
            if slot.ready.contains(member.client.0) || silence < PROBE_AFTER {
                continue;
            }
            slot.is_roll_call |= silence >= ROLL_CALL_AFTER && !slot.is_end();
            let is_due = member.is_baseline
                || member
                    .probed
                    .is_none_or(|at| now.saturating_duration_since(at) >= PROBE_INTERVAL);
            if is_due && member.has_answered {
                member.probed = Some(now);
                member.is_baseline = false;
                silent.push(member.addr);
            }
        }
        for addr in silent {
            self.probe(addr);
        }
    }

    pub(super) fn on_probe_timer(&mut self, now: Instant) {
        self.probe_silent(now);
        self.expect_probe(now);
    }

    /// Sets the timer for the next probe of a host that has refused one: it may be long until a deadline.
    pub(super) fn expect_probe(&mut self, now: Instant) {
        let again = |member: &Member| match member.reachability {
            Reachability::Refused(at) => Some(at + PROBE_INTERVAL),
            _ => None,
        };
        let members = self.participants.all_present();
        if let Some(at) = members.filter_map(again).filter(|at| *at > now).min() {
            self.timers.set(Timer::Probe, at);
        }
    }

    fn probe(&mut self, addr: Ipv4Addr) {
        // A lone receiver is nobody's burden, and gets the data from its own address.
        if self.participants.count() > 1 {
            let hello = self.hello(HelloKind::Plain);
            self.events.push_back(SenderEvent::Probe { addr, hello });
        }
    }

    /// Reports a slice that has been asked for in vain, and those that have fallen silent meanwhile.
    pub(super) fn on_slow_timer(&mut self, now: Instant) {
        let active = self.participants.active();
        let slot = self.stream.acknowledge.as_mut();
        let Some(slot) = slot.filter(|slot| !slot.is_ready(active)) else {
            return;
        };
        let asked_since = slot.asked_since;
        let first = asked_since + NAMED_AFTER;
        if now < first {
            // This process did not run meanwhile.
            self.timers.set(Timer::Slow, first);
            return;
        }
        let (mut is_due, mut next) = (false, None::<Instant>);
        let told = slot.slow_told;
        for member in self.participants.all_present() {
            if slot.ready.contains(member.client.0) {
                continue;
            }
            let silent_at = member.last_heard.max(asked_since) + NAMED_AFTER;
            is_due |= told.is_none_or(|told| told < silent_at && silent_at <= now);
            if silent_at > now {
                next = Some(next.map_or(silent_at, |next| next.min(silent_at)));
            }
        }
        is_due |= told.is_some_and(|told| now >= told + SLOW_AGAIN);
        let told = match told {
            Some(told) if !is_due => told,
            _ => now,
        };
        slot.slow_told = Some(told);
        let again = told + SLOW_AGAIN;
        let next = next.map_or(again, |next| again.min(next.max(now + SLOW_NEWS)));
        self.timers.set(Timer::Slow, next);
        if is_due {
            self.report_slow(now);
        }
    }

    fn report_slow(&mut self, now: Instant) {
        let Some(slot) = &self.stream.acknowledge else {
            return;
        };
        let waiting_for = self
            .participants
            .all_present()
            .filter(|member| !slot.ready.contains(member.client.0))
            .map(|member| (member.addr, member.silence(now, slot.asked_since)))
            .collect();
        let (slice, round) = (slot.slice, slot.round);
        self.events.push_back(SenderEvent::SlowRound {
            slice,
            round,
            waiting_for,
        });
    }

    fn next_round(&mut self, now: Instant) {
        let Some(slot) = &mut self.stream.acknowledge else {
            return;
        };
        let is_stalled = slot.is_stalled(self.participants.active());
        let sample = slot.toll.take();
        let repeated = slot.next_round();
        // What does not arrive whatever its number says nothing of the size.
        if !repeated.is_empty() && !is_stalled {
            self.stream.size.on_repeated(slot.blocks, &repeated);
        }
        if !is_stalled {
            self.keep_pace(now, sample);
        }
    }

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
    fn advance(&mut self, now: Instant) {
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

    fn on_all_gone(&mut self, now: Instant) {
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

fn patience(slot: &Slot, participants: &Participants) -> Patience {
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
