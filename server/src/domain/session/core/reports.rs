//! What clients report: their end, a failure, an unusable share.

use std::time::Instant;

use fog::task::State;

use super::{Action, Completion, Core, MAX_BLAMES, Peer, Phase};
use crate::domain::refusal::AskAgain;
use crate::domain::session::record::{Fact, Note};
use crate::domain::session::seat::SeatStatus;
use crate::domain::{HostId, Reason, Refusal};

impl Core {
    /// A client reports that it failed. Also after it reported its end: that is never ignored.
    ///
    /// # Errors
    /// If the report does not come from the host's machine: nothing follows from it but a note. The same
    /// note is all that a report before the check-in leads to, but with a ticket it is accepted.
    pub fn client_failed(
        &mut self,
        now: Instant,
        id: HostId,
        peer: &Peer,
        text: &str,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.recognise(id, peer) {
            self.note_foreign(id, peer, text);
            // It has the ticket of a boot script, which proves too little to end the host's part. But it
            // would report for ever, where a restart helps.
            let is_heard = refusal == Refusal::NotCheckedIn && peer.is_proved && self.has(id);
            return if is_heard { Ok(()) } else { Err(refusal) };
        }
        self.contact(now, id);
        let Some(seat) = self.seats.get_mut(&id) else {
            return Err(Refusal::NotCheckedIn);
        };
        if let SeatStatus::Ended(state, reason) = &mut seat.status {
            // The reason often comes after the consequence.
            if *state != State::Cancelled
                && let Some(with_report) = reason.with_report(text)
            {
                *state = State::Failed;
                *reason = with_report.clone();
                self.store(Fact::MemberEnded {
                    host: id,
                    state: State::Failed,
                    reason: with_report,
                });
                self.end_again();
            }
            return Ok(());
        }
        let before = match &seat.status {
            SeatStatus::Leaving(reason) => Some(Box::new(reason.clone())),
            _ => None,
        };
        let reason = Reason::ClientFailed {
            text: text.to_owned(),
            before,
        };
        self.end_seat(now, id, State::Failed, reason);
        self.settle(now);
        Ok(())
    }

    /// A client warns of something.
    ///
    /// # Errors
    /// As [`Self::client_failed`].
    pub fn client_warned(
        &mut self,
        now: Instant,
        id: HostId,
        peer: &Peer,
        text: &str,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.recognise(id, peer) {
            self.note_foreign(id, peer, text);
            return Err(refusal);
        }
        self.contact(now, id);
        let text = text.to_owned();
        self.note(Some(id), Note::Warning { text });
        Ok(())
    }

    fn note_foreign(&mut self, id: HostId, peer: &Peer, text: &str) {
        if !self.has(id) {
            return;
        }
        let (address, text) = (peer.address.into(), text.to_owned());
        self.note(Some(id), Note::ForeignReport { address, text });
    }

    /// A client could not use the image share and will restart.
    ///
    /// # Errors
    /// If the report does not come from the host's machine.
    pub fn client_blamed(&mut self, now: Instant, id: HostId, peer: &Peer) -> Result<(), Refusal> {
        self.recognise(id, peer)?;
        self.contact(now, id);
        let is_waiting = self.awaits_check_ins();
        let stream = self.stream_name();
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.is_live()) else {
            return Ok(());
        };
        seat.blames += 1;
        let has_received = seat.has_received;
        if is_waiting && seat.blames < MAX_BLAMES {
            // Its address stays: after the restart it is the same machine. Until then it is not let in.
            let connected = seat.address.filter(|_| seat.is_connected());
            let was_let_in = seat.is_checked_in();
            seat.set_status(now, SeatStatus::Expected);
            self.actions.extend(connected.map(Action::Remove));
            if was_let_in {
                self.admit();
            }
            self.note(Some(id), Note::ShareUnusable);
            return Ok(());
        }
        let reason = if has_received {
            Reason::Restarted { stream }
        } else {
            Reason::ShareUnusable
        };
        self.end_seat(now, id, State::Failed, reason);
        self.settle(now);
        Ok(())
    }

    /// A client reports its end.
    pub fn complete(&mut self, now: Instant, id: HostId, peer: &Peer) -> Completion {
        let total = self.plan.streams.len();
        let is_last = self.stream_index() + 1 == total;
        if let Err(refusal) = self.recognise(id, peer) {
            return Completion::Refused(refusal);
        }
        self.contact(now, id);
        let Some(seat) = self.seats.get_mut(&id) else {
            return Completion::Refused(Refusal::NotCheckedIn);
        };
        if let SeatStatus::Ended(state, reason) = &seat.status {
            return match state {
                State::Complete => Completion::Accepted,
                State::Failed if reason.awaits_report() => self.complete_late(now, id),
                _ => Completion::Refused(Refusal::Over(reason.clone())),
            };
        }
        let done = seat.streams_done;
        // It may have acknowledged the last stream, which was not stored when the server ended: it
        // receives that again.
        let is_unsure = seat.resumed_in == Some(done) && seat.is_agent();
        if !seat.has_received {
            // Perhaps the report of an earlier session: no reason to end this one.
            return Completion::Refused(Refusal::NothingSent);
        }
        if done >= total {
            self.end_seat(now, id, State::Complete, Reason::Written);
            self.settle(now);
            return Completion::Accepted;
        }
        let is_ending = is_last && matches!(self.phase, Phase::Sending { .. });
        if done + 1 == total && is_ending {
            return Completion::NotYet;
        }
        if done + 1 == total && is_unsure {
            // At once, so that it looks what it is to receive.
            return Completion::Refused(Refusal::AskAgain(AskAgain::LastStream));
        }
        let reason = Reason::Incomplete { done, total };
        self.end_seat(now, id, State::Failed, reason.clone());
        self.settle(now);
        Completion::Refused(Refusal::Over(reason))
    }

    /// The report comes after the time of grace; it was only missing, so it still counts.
    fn complete_late(&mut self, now: Instant, id: HostId) -> Completion {
        if self.is_ended() {
            // The result is told already; asked again, the database has it.
            return Completion::NotYet;
        }
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.set_status(now, SeatStatus::Between);
        }
        self.end_seat(now, id, State::Complete, Reason::WrittenLate);
        self.settle(now);
        Completion::Accepted
    }
}
