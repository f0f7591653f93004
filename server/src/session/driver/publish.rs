//! The session's state for whoever asks.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Driver;
use super::files::Files;
use crate::session::live::{Live, LiveMember, Wait};

impl Driver {
    /// Replaces what others see, if it is behind: at once if that matters, else not too often, as it
    /// costs time for each host.
    pub(super) fn publish(&mut self, is_urgent: bool) {
        let now = Instant::now();
        let is_due = is_urgent || now.duration_since(self.published) >= PERIOD;
        if !self.is_dirty || !is_due {
            return;
        }
        self.is_dirty = false;
        self.published = now;
        let snapshot = self.core.snapshot(now);
        let counters = self.counters.get();
        let stream = self.facts.streams.get(snapshot.stream);
        let receivers = self.counters.receivers();
        let members = snapshot.members.iter().map(|member| LiveMember {
            received: member
                .address
                .and_then(|address| receivers.get(&address).copied()),
            report: self.reports.get(&member.host).cloned().unwrap_or_default(),
            boot: self.boots.get(&member.host).cloned(),
            holds_up: member
                .address
                .filter(|_| member.state().is_active())
                .and_then(|address| self.silence(now, address)),
        });
        let members = members.collect();
        let mut waits = Vec::new();
        if let Files::Checking { since, .. } = self.files {
            waits.push(Wait::ImageStore { since });
        }
        if let Some(opening) = &self.opening {
            let (since, text) = (opening.since, opening.text.clone());
            waits.push(Wait::Network { since, text });
        }
        if let Some((since, text)) = &self.unstored {
            let (since, text) = (*since, text.clone());
            waits.push(Wait::Database { since, text });
        }
        let rate = self.rate.sample(now, counters.bytes_acked);
        self.course.sample(now, counters.bytes_acked);
        let mut live = Live::new(
            &self.head,
            snapshot,
            stream.map_or(0, |stream| stream.stored_len),
            counters,
            (rate, self.course.clone()),
            members,
            waits,
            now,
        );
        live.ended_at = self.ended_at;
        self.live.send_replace(Arc::new(live));
        if !self.changed.is_empty() {
            self.askers.changed(self.changed.drain(..));
        }
    }

    /// Silence of a receiver that the sender waits for, if it said so a moment ago.
    fn silence(&self, now: Instant, address: Ipv4Addr) -> Option<Duration> {
        let (said, silent) = self.slow.get(&address)?;
        let age = now.duration_since(*said);
        (age < SLOW_NEWS).then_some(*silent + age)
    }
}

/// Between two states that nobody waits for.
const PERIOD: Duration = Duration::from_millis(500);

/// How long it counts that a receiver was said to be slow; it is said again and again.
const SLOW_NEWS: Duration = Duration::from_secs(8);
