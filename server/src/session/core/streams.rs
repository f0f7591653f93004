//! What the sender tells of a stream: who joins, holds up and leaves, its start and its end.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{Action, Core, DEAF, Movement, Phase, StreamOutcome};
use crate::session::host::{Ending, HostStatus};
use crate::store::HostId;

impl Core {
    /// The sender has a new participant.
    pub fn joined(&mut self, now: Instant, address: Ipv4Addr) {
        let Some(host) = self.host_at(address) else {
            // Its session is over whatever it tries, or it asked before its host left.
            self.actions.push_back(Action::Remove(address));
            return;
        };
        host.last_contact = Some(now);
        host.set_status(now, HostStatus::Connected);
        self.settle(now);
    }

    /// A participant said goodbye or was dropped before the end of the stream.
    pub fn departed(&mut self, now: Instant, address: Ipv4Addr, silent: Option<Duration>) {
        let stream = self.stream_name();
        let is_gathering = matches!(self.phase, Phase::Gathering { .. } | Phase::Starting { .. });
        let Some((id, host)) = self.entry_at(address) else {
            return;
        };
        if !host.is_connected() {
            return;
        }
        if is_gathering {
            // Before the data it may come again.
            host.set_status(now, HostStatus::CheckedIn);
            let name = host.name.clone();
            self.note(format!(
                "{name} ({address}) left the rendezvous of {stream}"
            ));
            return;
        }
        match silent {
            Some(silent) => {
                let text = format!(
                    "dropped in {stream} after {} s of silence: the machine was switched off, \
                     lost its network or stopped; its disk is not complete",
                    silent.as_secs()
                );
                self.end_host(now, id, Ending::failed(text));
            }
            None => self.leaves(now, id, &format!("left during {stream}, before its end")),
        }
        self.settle(now);
    }

    /// A receiver was silent for so long while all others wait for it. It is dropped after `limit`,
    /// if another client was heard meanwhile: else the network or the server is to blame.
    pub fn slow(&mut self, now: Instant, address: Ipv4Addr, silent: Duration, limit: Duration) {
        let Some((id, _)) = self.entry_at(address) else {
            return;
        };
        let is_another_heard = self.hosts.iter().any(|(other, host)| {
            let heard = host
                .last_contact
                .is_some_and(|at| now.duration_since(at) < DEAF);
            *other != id && host.is_live() && heard
        });
        let is_fair = now.duration_since(self.hearing_since) >= limit;
        if silent >= limit && is_another_heard && is_fair {
            self.departed(now, address, Some(silent));
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
    fn leaves(&mut self, now: Instant, id: HostId, text: &str) {
        if let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_live()) {
            let text = format!("{text}; its disk is not complete");
            host.set_status(now, HostStatus::Leaving { text });
        }
    }

    /// The sender has begun to send the present stream.
    pub fn transfer_started(&mut self, now: Instant) {
        let (Phase::Gathering { stream } | Phase::Starting { stream }) = self.phase else {
            return;
        };
        self.enter(now, Phase::Sending { stream });
        self.behind.clear();
        let mut without = Vec::new();
        for (id, host) in &mut self.hosts {
            if host.is_connected() {
                host.has_received = true;
                host.set_status(now, HostStatus::Receiving);
            } else if host.is_live() {
                without.push((*id, host.is_checked_in()));
            }
        }
        if stream == 0 {
            self.actions.push_back(Action::Started);
        }
        let name = self.stream_name();
        for (id, was_here) in without {
            let ending = match (stream, was_here) {
                (0, false) => Ending::missing(
                    "did not check in before the session started; nothing was written. Deploy \
                     it again"
                        .into(),
                ),
                (0, true) => Ending::failed(
                    "checked in, but did not connect to the sender before the session started; \
                     nothing was written. Check the network between them, then deploy it again"
                        .into(),
                ),
                _ => Ending::failed(format!(
                    "did not connect for {name} in time; its disk is not complete"
                )),
            };
            self.end_host(now, id, ending);
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
        let mut lost = Vec::new();
        let mut left = Vec::new();
        for (id, host) in &mut self.hosts {
            if !host.is_live() {
                continue;
            }
            match host.address.and_then(outcome_of) {
                Some(StreamOutcome::Completed) => {}
                Some(StreamOutcome::Left) => {
                    left.push(*id);
                    continue;
                }
                Some(StreamOutcome::Dropped) => {
                    lost.push((
                        *id,
                        format!("dropped in {name}: it did not answer any more"),
                    ));
                    continue;
                }
                None => {
                    lost.push((*id, format!("took no part in {name}")));
                    continue;
                }
            }
            host.streams_done += 1;
            host.set_status(now, HostStatus::Between);
            self.actions.push_back(Action::StreamsDone {
                host: *id,
                count: u32::try_from(host.streams_done).unwrap_or(u32::MAX),
            });
        }
        for (id, text) in lost {
            let ending = Ending::failed(format!("{text}; its disk is not complete"));
            self.end_host(now, id, ending);
        }
        for id in left {
            self.leaves(now, id, &format!("left during {name}, before its end"));
        }
        let next = stream + 1;
        if next == self.plan.streams.len() {
            self.enter(now, Phase::Finishing);
        } else {
            self.enter(now, Phase::Gathering { stream: next });
        }
        self.settle(now);
        if matches!(self.phase, Phase::Gathering { .. }) && self.has_live_hosts() {
            self.is_sender_open = true;
            self.open_stream(next);
        }
    }

    /// The sender ended before it began: everybody had left at that moment. They may come again.
    fn gather_again(&mut self, now: Instant, stream: usize) {
        for host in self.hosts.values_mut().filter(|host| host.is_connected()) {
            host.set_status(now, HostStatus::CheckedIn);
        }
        self.phase = Phase::Gathering { stream };
        self.open_stream(stream);
    }

    /// The sender failed: nothing more can be sent.
    pub fn sender_failed(&mut self, now: Instant, text: &str) {
        self.is_sender_open = false;
        if self.is_ended() || matches!(self.phase, Phase::Finishing) {
            return;
        }
        let text = format!("sending {}: {text}", self.stream_name());
        self.fail(now, &text);
    }
}
