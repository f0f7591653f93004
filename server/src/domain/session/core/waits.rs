//! What the passing of time decides: nothing waits for ever.

use std::time::{Duration, Instant};

use fog::task::State;

use super::{Core, DEAF, NotStarted, Phase, REPORT_WAIT};
use crate::domain::reason::Standstill;
use crate::domain::session::record::Note;
use crate::domain::session::seat::SeatStatus;
use crate::domain::{HostId, Reason};

impl Core {
    /// Time passes; call it every second or so.
    pub fn tick(&mut self, now: Instant) {
        if now.duration_since(self.last_tick) > DEAF {
            // This process was stopped.
            self.hearing_since = now;
            self.awake_since = now;
        }
        self.last_tick = now;
        self.tick_leaving(now);
        match self.phase {
            Phase::Gathering { .. } if self.awaits_check_ins() => self.tick_first(now),
            Phase::Gathering { .. } => self.tick_between(now),
            Phase::Finishing => self.tick_finishing(now),
            Phase::Starting { .. } | Phase::Sending { .. } => self.tick_sending(now),
            Phase::Ended { .. } => {}
        }
        self.settle(now);
    }

    fn tick_leaving(&mut self, now: Instant) {
        let leaving = self
            .seats
            .iter()
            .filter_map(|(id, seat)| match &seat.status {
                SeatStatus::Leaving(reason) if now.duration_since(seat.since) >= REPORT_WAIT => {
                    Some((*id, reason.clone()))
                }
                _ => None,
            });
        for (id, reason) in leaving.collect::<Vec<_>>() {
            self.end_seat(now, id, State::Failed, reason);
        }
    }

    fn tick_first(&mut self, now: Instant) {
        let Some(check_in) = self.first_check_in else {
            return;
        };
        if self.connected_count() > 0 {
            self.last_connected = Some(now);
        }
        let (since, wait) = self.first_wait(check_in);
        if now.duration_since(since) < wait {
            return;
        }
        if self.connected_count() > 0 {
            let (seconds, missing) = (wait.as_secs(), self.missing());
            self.note(None, Note::StartingWithout { seconds, missing });
            self.start(now, 0);
        } else {
            let reason = Reason::NobodyConnected {
                seconds: self.plan.connect_wait.as_secs(),
                missing: self.missing(),
            };
            self.fail(now, reason);
        }
    }

    /// A person does not want to wait for missing hosts any longer. They are out once data flows, as after the
    /// wait.
    ///
    /// # Errors
    /// If there is nothing to start.
    pub fn start_now(&mut self, now: Instant) -> Result<(), NotStarted> {
        if self.is_ended() {
            return Err(NotStarted::Over);
        }
        if !self.awaits_check_ins() {
            return Err(NotStarted::Started);
        }
        if self.connected_count() == 0 {
            return Err(NotStarted::NobodyConnected);
        }
        let missing = self.missing();
        self.note(None, Note::StartedByHand { missing });
        self.start(now, 0);
        Ok(())
    }

    /// From when on the first stream waits, and for how long. Those who had connected may come again
    /// for as long as it would have taken them at first.
    pub(in crate::domain::session) fn first_wait(&self, check_in: Instant) -> (Instant, Duration) {
        let live = self.seats.values().filter(|seat| seat.is_live());
        let first = live.filter_map(|seat| seat.first_connected).min();
        match first.filter(|_| self.connected_count() > 0) {
            Some(first) => (first, self.plan.max_wait),
            None => {
                // Of the last one who checked in: it needs its time, too.
                let present = self.seats.values().filter(|seat| seat.is_checked_in());
                let last = present.map(|seat| seat.since).max();
                let since = last.map_or(check_in, |at| at.max(check_in));
                let since = self.last_connected.map_or(since, |at| at.max(since));
                (since, self.plan.connect_wait)
            }
        }
    }

    fn tick_between(&mut self, now: Instant) {
        let stream = self.stream_index();
        let name = self.stream_name();
        let is_over = now.duration_since(self.since) >= self.plan.stream_wait;
        let mut given_up = Vec::new();
        for (id, seat) in &self.seats {
            if !seat.lacks(stream) || seat.is_connected() {
                continue;
            }
            let heard = seat.heard().map_or(self.since, |at| at.max(self.since));
            let silent = now.duration_since(heard.max(self.hearing_since));
            let stream = name.clone();
            if is_over {
                let seconds = Some(self.plan.stream_wait.as_secs());
                given_up.push((*id, Reason::NotConnectedFor { stream, seconds }));
            } else if seat.is_agent()
                && silent >= self.plan.agent_silence
                && self.is_another_heard(now, *id)
            {
                let seconds = silent.as_secs();
                given_up.push((*id, Reason::SilentBefore { stream, seconds }));
            }
        }
        for (id, reason) in given_up {
            self.end_seat(now, id, State::Failed, reason);
        }
    }

    /// A receiver whose disk hangs answers for ever and so is never dropped for its silence, and an
    /// image store that hangs is silent itself: neither may hold the others for ever.
    fn tick_sending(&mut self, now: Instant) {
        let stood = self.stands_still(now);
        if stood < self.plan.stall_limit {
            return;
        }
        let (seconds, stream) = (stood.as_secs(), self.stream_name());
        let connected = self.seats.iter().filter(|(_, seat)| seat.is_connected());
        let (behind, ready): (Vec<_>, Vec<_>) = connected
            .map(|(id, seat)| (*id, seat.address))
            .partition(|(_, address)| address.is_some_and(|at| self.behind.contains(&at)));
        if behind.is_empty() || ready.is_empty() {
            let cause = match (&self.phase, behind.is_empty()) {
                (Phase::Starting { .. }, _) if self.waits_for_files => Standstill::ImageStore,
                (Phase::Starting { .. }, _) => Standstill::Sender,
                (_, true) => Standstill::ImageStore,
                (_, false) => Standstill::Receivers,
            };
            let reason = Reason::StoodStill {
                stream,
                seconds,
                cause,
            };
            self.fail(now, reason);
            return;
        }
        let behind: Vec<HostId> = behind.into_iter().map(|(id, _)| id).collect();
        self.end_seats(now, &behind, State::Failed, |_| Reason::Stalled {
            stream: stream.clone(),
            seconds,
        });
        self.behind.clear();
        self.moved_at = now;
    }

    fn tick_finishing(&mut self, now: Instant) {
        let grace = self.plan.grace;
        let overdue = self.seats.iter().filter(|(_, seat)| {
            let last = self.report_awaited_since(seat);
            seat.is_live() && now.duration_since(last) >= grace
        });
        let overdue: Vec<HostId> = overdue.map(|(id, _)| *id).collect();
        let seconds = grace.as_secs();
        self.end_seats(now, &overdue, State::Failed, |_| Reason::Overdue {
            seconds,
        });
    }
}
