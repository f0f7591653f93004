//! What the sender tells of a stream: who joins, holds up and leaves, its start and its end.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::task::State;

use super::{Action, Core, DEAF, Movement, Phase, Records, StreamOutcome};
use crate::domain::reason::Evidence;
use crate::domain::session::record::{Fact, Note};
use crate::domain::session::seat::{Departure, DropCause, Seat, SeatStatus};
use crate::domain::{HostId, Reason};

impl Core {
    /// The sender has a new participant.
    pub fn joined(&mut self, now: Instant, address: Ipv4Addr) {
        if !self.is_sender_open {
            return;
        }
        let stream = self.stream_index();
        let is_sending = matches!(self.phase, Phase::Sending { .. });
        let seat = self.seat_at(address).map(|(_, seat)| seat);
        let Some(seat) = seat.filter(|seat| seat.awaits(stream)) else {
            // Its session is over whatever it tries, or it asked before its host left.
            self.actions.push_back(Action::Remove(address));
            return;
        };
        seat.last_sign = Some(now);
        if is_sending {
            // It takes part since the start of the stream: whoever did not is out.
            return;
        }
        seat.set_status(now, SeatStatus::Connected);
        seat.first_connected.get_or_insert(now);
        self.last_connected = Some(now);
        self.settle(now);
    }

    /// A participant went away before the end of the stream.
    pub fn departed(&mut self, now: Instant, address: Ipv4Addr, departure: Departure) {
        let stream = self.stream_name();
        let is_gathering = matches!(self.phase, Phase::Gathering { .. } | Phase::Starting { .. });
        let Some((id, seat)) = self.seat_at(address) else {
            return;
        };
        if !seat.is_connected() {
            return;
        }
        if is_gathering {
            // Before the data it may come again.
            seat.set_status(now, SeatStatus::CheckedIn);
            self.note(Some(id), Note::LeftRendezvous { address, stream });
            return;
        }
        match departure {
            Departure::Dropped(
                _,
                DropCause::Slow {
                    bytes_per_second,
                    waited_percent,
                },
            ) => {
                let reason = Reason::LeftBehind {
                    stream,
                    bytes_per_second,
                    waited_percent,
                };
                self.end_seat(now, id, State::Failed, reason);
            }
            Departure::Dropped(after, cause) => {
                let reason = Reason::Dropped {
                    stream,
                    seconds: after.as_secs(),
                    evidence: evidence(now, seat, cause),
                };
                self.end_seat(now, id, State::Failed, reason);
            }
            Departure::Left => self.leaves(now, id, Reason::Left { stream }),
        }
        self.settle(now);
    }

    /// A receiver was silent for so long while all others wait for it. It is dropped after `limit`,
    /// if another client was heard meanwhile: else the network or the server is to blame.
    pub fn slow(
        &mut self,
        now: Instant,
        address: Ipv4Addr,
        silent: Duration,
        limit: Duration,
        has_acknowledged: bool,
    ) {
        let is_sending = matches!(self.phase, Phase::Sending { .. });
        let Some((id, _)) = self.seat_at(address).filter(|_| is_sending) else {
            return;
        };
        let is_another_heard = self.is_another_heard(now, id);
        let is_fair = now.duration_since(self.hearing_since) >= limit;
        if silent >= limit && is_another_heard && is_fair {
            let cause = DropCause::Silent { has_acknowledged };
            self.departed(now, address, Departure::Dropped(silent, cause));
        }
    }

    /// These receivers have not acknowledged what others have, whether they answer or not.
    pub fn behind(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        if matches!(self.phase, Phase::Sending { .. }) {
            // Whoever has acknowledged a part has done so for good, so the last news is all.
            self.behind = addresses.into_iter().collect();
        }
    }

    /// How far the present stream is.
    pub fn moved(&mut self, now: Instant, movement: Movement) {
        if self.movement != movement {
            self.movement = movement;
            self.moved_at = now;
            self.behind.clear();
        }
    }

    /// The order to start waits for what is before it to be stored: the stream does not stand still yet.
    pub fn start_waits(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Starting { .. }) {
            self.moved_at = now;
        }
    }

    /// Whether the order to start waits for the image's files: then they are what it stands still for.
    pub fn start_waits_for_files(&mut self, waits: bool) {
        self.waits_for_files = waits;
    }

    /// How long the stream that is being sent has stood still.
    #[must_use]
    pub fn stands_still(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::Starting { .. } | Phase::Sending { .. } => {
                let since = self.moved_at.max(self.since).max(self.awake_since);
                now.duration_since(since)
            }
            _ => Duration::ZERO,
        }
    }

    /// A host went away by itself. It mostly has a reason, which it reports in a moment.
    fn leaves(&mut self, now: Instant, id: HostId, reason: Reason) {
        if let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.is_live()) {
            seat.set_status(now, SeatStatus::Leaving(reason));
        }
    }

    /// The sender has begun to send the present stream.
    pub fn transfer_started(&mut self, now: Instant) {
        let Phase::Starting { stream } = self.phase else {
            return;
        };
        self.enter(now, Phase::Sending { stream });
        self.behind.clear();
        let mut without = Vec::new();
        for (id, seat) in &mut self.seats {
            if seat.is_connected() {
                seat.has_received = true;
                seat.set_status(now, SeatStatus::Receiving);
            } else if seat.lacks(stream) {
                // One that was told to go may have written the partition table, wherever it is now.
                let was_here = seat.is_checked_in() || seat.has_gone;
                without.push((*id, was_here, seat.has_received));
            }
        }
        let name = self.stream_name();
        for (id, was_here, has_received) in without {
            let (state, reason) = match (was_here, has_received) {
                (false, _) => (State::Cancelled, Reason::Missing),
                (true, false) => (State::Failed, Reason::NotConnected),
                (true, true) => {
                    let (stream, seconds) = (name.clone(), None);
                    (State::Failed, Reason::NotConnectedFor { stream, seconds })
                }
            };
            self.end_seat(now, id, state, reason);
        }
        self.settle(now);
    }

    /// The sender has ended the present stream with these participants.
    pub fn stream_ended(&mut self, now: Instant, participants: &[(Ipv4Addr, StreamOutcome)]) {
        let stream = match self.phase {
            Phase::Sending { stream } => stream,
            Phase::Gathering { stream } | Phase::Starting { stream } => {
                self.gather_again(now, stream);
                return;
            }
            Phase::Finishing | Phase::Ended { .. } => return,
        };
        self.is_sender_open = false;
        let name = self.stream_name();
        let outcome_of = |address: Ipv4Addr| {
            let found = participants.iter().find(|(at, _)| *at == address);
            found.map(|(_, outcome)| *outcome)
        };
        let mut done = Vec::new();
        let mut lost = Vec::new();
        let mut left = Vec::new();
        for (id, seat) in self.seats.iter_mut().filter(|(_, seat)| seat.lacks(stream)) {
            match seat.address.and_then(outcome_of) {
                Some(StreamOutcome::Completed) => {
                    seat.streams_done += 1;
                    seat.set_status(now, SeatStatus::Between);
                    done.push(*id);
                }
                Some(StreamOutcome::Left) => left.push(*id),
                Some(StreamOutcome::Dropped) => {
                    let cause = DropCause::Silent {
                        has_acknowledged: true,
                    };
                    let reason = Reason::Dropped {
                        stream: name.clone(),
                        seconds: 0,
                        evidence: evidence(now, seat, cause),
                    };
                    lost.push((*id, reason));
                }
                None => {
                    let stream = name.clone();
                    lost.push((*id, Reason::TookNoPart { stream }));
                }
            }
        }
        let count = u32::try_from(stream + 1).unwrap_or(u32::MAX);
        for host in done {
            self.store(Fact::StreamsDone { host, count });
        }
        for (id, reason) in lost {
            self.end_seat(now, id, State::Failed, reason);
        }
        for id in left {
            let stream = name.clone();
            self.leaves(now, id, Reason::Left { stream });
        }
        if self.seats.values().any(Seat::is_live) {
            self.advance(now);
        } else {
            // Some may be just leaving: their reports decide.
            self.enter(now, Phase::Finishing);
        }
        self.settle(now);
    }

    /// The sender ended before it began: everybody had left at that moment. They may come again.
    fn gather_again(&mut self, now: Instant, stream: usize) {
        for seat in self.seats.values_mut().filter(|seat| seat.is_connected()) {
            seat.set_status(now, SeatStatus::CheckedIn);
        }
        if let Phase::Starting { .. } = self.phase {
            // What was decided for it is decided anew.
            let (run, is_first) = (self.run, !self.has_started());
            self.store(Fact::StartRevoked {
                stream,
                run,
                is_first,
            });
            self.run += 1;
            if let (Records::Auto, true) = (self.plan.records, is_first) {
                self.has_records = None;
            }
        }
        self.phase = Phase::Gathering { stream };
        self.open_stream(stream);
        self.settle(now);
    }

    /// How long it may be tried to open the present stream: as long as hosts would be waited for.
    #[must_use]
    pub fn open_wait(&self) -> Duration {
        match self.awaits_check_ins() {
            true => self.plan.connect_wait,
            false => self.plan.stream_wait,
        }
    }

    /// The sender is not open yet: nobody can connect, so the waits for hosts count from here.
    pub fn sender_waits(&mut self, now: Instant) {
        if self.is_sender_open && matches!(self.phase, Phase::Gathering { .. }) {
            (self.since, self.before) = (now, Duration::ZERO);
            if let Some(first) = &mut self.first_check_in {
                *first = now;
            }
        }
    }

    /// The sender failed: nothing more can be sent.
    pub fn sender_failed(&mut self, now: Instant, text: &str) {
        self.is_sender_open = false;
        if self.is_ended() || matches!(self.phase, Phase::Finishing) {
            return;
        }
        let (stream, text) = (self.stream_name(), text.to_owned());
        self.fail(now, Reason::SenderFailed { stream, text });
    }
}

/// What the sender and the web server know together.
fn evidence(now: Instant, seat: &Seat, cause: DropCause) -> Evidence {
    let requested = seat.last_request;
    let is_heard = requested.is_some_and(|at| now.duration_since(at) < DEAF);
    // Before the server was started it may have received a part of this stream.
    let is_resumed = seat.resumed_in == Some(seat.streams_done);
    match cause {
        DropCause::NotListening => Evidence::NotListening,
        DropCause::NoProgress { has_data: false } => Evidence::AnswersWithoutData,
        DropCause::NoProgress { has_data: true } | DropCause::Slow { .. } => {
            Evidence::AnswersWithLoss
        }
        DropCause::DiskStandsStill => Evidence::DiskStandsStill,
        DropCause::Silent { .. } if !is_heard => Evidence::Gone,
        DropCause::Silent { has_acknowledged } if has_acknowledged || is_resumed => {
            Evidence::HeardByHttp
        }
        DropCause::Silent { .. } => Evidence::HeardByHttpNeverData,
    }
}
