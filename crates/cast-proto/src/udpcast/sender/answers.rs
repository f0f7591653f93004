//! Answers of the participants, and the rounds of requests that they end.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::data::patience;
use super::participants::Reachability;
use super::slot::{Answered, Shape};
use super::{Lacking, Outcome, Phase, Sender, SenderEvent, Timer};
use crate::bitmap::Bitmap;
use crate::udpcast::SliceNo;
use crate::udpcast::fec::FecParams;
use crate::udpcast::wire::{Message, Retransmit};

/// An original receiver that is silent for so long has an output that stands still: the queue of a switch port
/// holds an answer up for less.
const STANDSTILL: Duration = Duration::from_millis(500);

/// After so many slices a participant that lives is probed again: the first such probe, or the answer, may be
/// lost.
const BASELINES: [u64; 3] = [4, 16, 64];

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
    pub(super) fn on_answer(&mut self, now: Instant) {
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
    pub(super) fn end_round(&mut self, now: Instant, is_last: bool) {
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
}
