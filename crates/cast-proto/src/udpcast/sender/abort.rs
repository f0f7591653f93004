//! Ending the stream before its end, so that receivers fail instead of waiting for ever.

use std::time::{Duration, Instant};

use super::slot::Slot;
use super::{DataRouting, GiveUpReason, Outcome, Phase, Sender, Timer};
use crate::bitmap::Bitmap;
use crate::udpcast::wire::ReqAck;

/// How often, and for how long at least, receivers that lack something are sent away.
const DISMISSAL_INTERVAL: Duration = Duration::from_millis(50);
const DISMISSAL_TIME: Duration = Duration::from_secs(1);

impl Sender {
    /// Ends the stream early: reads no more input, finishes the slices of which receivers have had blocks,
    /// and announces the end of the stream. A receiver then has fewer bytes than the stream, and comes to
    /// its end. Where somebody lacks a slice for longer than
    /// [`SenderConfig::abort_time`](super::SenderConfig::abort_time), or had been given up, all
    /// receivers are made to give up instead. Last comes [`GiveUpReason::Aborted`] with `ended: true`; no
    /// participant counts as completed.
    ///
    /// If nothing of the stream can be left out any more, because its end is known and all of it has been
    /// sent at least in part, a receiver would take it for whole. Then this only stops the transfer, at
    /// once, and [`GiveUpReason::Aborted`] comes with `ended: false`; so it does when nobody takes part.
    /// The caller must not have handed over the last byte of the stream without
    /// [`finish_input`](Self::finish_input).
    ///
    /// When all have acknowledged the end of the whole stream, they have it: then the transfer is
    /// finished as usual, without further waiting. The second call has no effect.
    pub fn abort(&mut self, now: Instant) {
        self.absorb_standstill(now);
        match self.phase {
            Phase::Closed => return,
            Phase::Lingering => {
                if !self.is_aborting {
                    self.close();
                }
                return;
            }
            Phase::Rendezvous | Phase::Data if self.is_aborting => return,
            Phase::Rendezvous | Phase::Data => {}
        }
        let stream = &mut self.stream;
        let mut left_out = stream.filling.len();
        // Nobody has heard of a slice that has not been begun.
        if let Some(slot) = stream.transmit.take_if(|slot| !slot.is_begun()) {
            left_out += slot.data.len();
            stream.next_slice = slot.slice;
        }
        let is_cut = left_out > 0 || !stream.is_input_finished;
        let count = self.participants.count();
        let has_listeners = match self.config.routing {
            _ if self.config.asynchronous => true,
            DataRouting::PointToPoint => count == 1,
            _ => count > 0,
        };
        if !is_cut || !has_listeners {
            self.give_up(GiveUpReason::Aborted { ended: false });
            return;
        }
        self.is_aborting = true;
        if self.phase == Phase::Rendezvous {
            self.enter_data(now);
        }
        self.stream.filling = Vec::new();
        self.stream.is_input_finished = true;
        self.timers.set(Timer::Abort, now + self.config.abort_time);
    }

    /// Leaves the transfer because this end has been interrupted: makes all receivers give up, whatever
    /// they have got, instead of letting them wait. Last comes [`GiveUpReason::Aborted`]; `ended` is true if
    /// there was anybody to send away, which takes a second. Receivers that have acknowledged the end of the
    /// whole stream keep it. Before the start there is nothing to give up: they wait for the next sender.
    pub fn interrupt(&mut self, now: Instant) {
        self.absorb_standstill(now);
        match self.phase {
            Phase::Data if !self.is_aborting => {
                let is_heard = self.config.asynchronous || self.participants.count() > 0;
                if is_heard {
                    self.is_aborting = true;
                    self.stream.filling = Vec::new();
                    self.stream.is_input_finished = true;
                    self.dismiss(now);
                } else {
                    self.give_up(GiveUpReason::Aborted { ended: false });
                }
            }
            Phase::Rendezvous => self.give_up(GiveUpReason::Aborted { ended: false }),
            // The end of the whole stream is acknowledged, or another goodbye is under way.
            Phase::Data | Phase::Lingering | Phase::Closed => {}
        }
    }

    /// It has taken long enough, or it is time for one more dismissal.
    pub(super) fn on_abort_timer(&mut self, now: Instant) {
        if self.phase == Phase::Lingering {
            self.send_away(now);
        } else {
            self.dismiss(now);
        }
    }

    /// Whether the early end has been announced.
    pub(super) fn is_early_end(&self) -> bool {
        let is_end = |slot: &Slot| slot.is_end();
        self.is_aborting
            && (self.phase != Phase::Data || self.stream.acknowledge.as_ref().is_some_and(is_end))
    }

    /// Whether a receiver that may still listen lacks a slice for which it has been given up.
    pub(super) fn is_anybody_behind(&self) -> bool {
        let mut members = self.participants.iter();
        members.any(|member| matches!(member.outcome, Outcome::Dropped { .. }))
    }

    /// Goes without the regular end. An original receiver that lacks a slice would take the end for a
    /// sign that no more is coming, wait for the slice, and read nothing any more. But each one exits
    /// that hears of a slice further ahead than a sender can be.
    pub(super) fn dismiss(&mut self, now: Instant) {
        self.wait.stop();
        self.timers.stop_all();
        self.stream.transmit = None;
        self.stream.acknowledge = None;
        self.phase = Phase::Lingering;
        let time = self.config.linger.max(DISMISSAL_TIME);
        self.timers.set(Timer::Linger, now + time);
        self.send_away(now);
    }

    fn send_away(&mut self, now: Instant) {
        let round = self.dismissals;
        self.dismissals += 1;
        let beyond = self.stream.next_slice.next();
        let request = ReqAck::new(beyond, 0, round, Bitmap::new());
        self.stream.farewell = Some(request);
        self.timers.set(Timer::Abort, now + DISMISSAL_INTERVAL);
    }
}
