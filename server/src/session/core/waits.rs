//! What the passing of time decides: nothing waits for ever.

use std::time::Instant;

use super::{Core, DEAF, OVERDUE, Phase, REPORT_WAIT};
use crate::session::host::{Ending, HostStatus};
use crate::store::HostId;

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
            Phase::Gathering { stream: 0 } => self.tick_first(now),
            Phase::Gathering { .. } => self.tick_between(now),
            Phase::Finishing => self.tick_finishing(now),
            Phase::Starting { .. } | Phase::Sending { .. } => self.tick_sending(now),
            Phase::Ended { .. } => {}
        }
        self.settle(now);
    }

    fn tick_leaving(&mut self, now: Instant) {
        let leaving = self
            .hosts
            .iter()
            .filter_map(|(id, host)| match &host.status {
                HostStatus::Leaving { text } if now.duration_since(host.since) >= REPORT_WAIT => {
                    Some((*id, text.clone()))
                }
                _ => None,
            });
        for (id, text) in leaving.collect::<Vec<_>>() {
            self.end_host(now, id, Ending::failed(text));
        }
    }

    fn tick_first(&mut self, now: Instant) {
        let Some(first) = self.first_check_in else {
            return;
        };
        let max_wait = self.plan.max_wait;
        if now.duration_since(first) < max_wait {
            return;
        }
        if self.connected_count() > 0 {
            self.note(format!(
                "the wait of {} s is over; starting without {}",
                max_wait.as_secs(),
                self.missing().join(", ")
            ));
            self.start(now, 0);
            return;
        }
        let text = format!(
            "nobody connected to the sender within {} s after the first check-in; missing: {}. \
             Check that the clients reach the session's ports (UDP) and that no firewall is in \
             between, then deploy again",
            max_wait.as_secs(),
            self.missing().join(", ")
        );
        self.fail(now, &text);
    }

    fn tick_between(&mut self, now: Instant) {
        let name = self.stream_name();
        let is_over = now.duration_since(self.since) >= self.plan.stream_wait;
        let mut given_up = Vec::new();
        for (id, host) in &self.hosts {
            if !host.is_live() || host.is_connected() {
                continue;
            }
            let heard = host
                .last_contact
                .map_or(self.since, |at| at.max(self.since));
            let silent = now.duration_since(heard.max(self.hearing_since));
            if is_over {
                let waited = self.plan.stream_wait.as_secs();
                given_up.push((*id, format!("did not connect for {name} within {waited} s")));
            } else if host.is_agent && silent >= self.plan.agent_silence {
                given_up.push((
                    *id,
                    format!("silent for {} s before {name}", silent.as_secs()),
                ));
            }
        }
        for (id, text) in given_up {
            let ending = Ending::failed(format!("{text}; its disk is not complete"));
            self.end_host(now, id, ending);
        }
    }

    /// A receiver whose disk hangs answers for ever and so is never dropped for its silence, and an
    /// image store that hangs is silent itself: neither may hold the others for ever.
    fn tick_sending(&mut self, now: Instant) {
        let stood = self.stands_still(now);
        if stood < self.plan.stall_limit {
            return;
        }
        let (seconds, name) = (stood.as_secs(), self.stream_name());
        let connected = self.hosts.iter().filter(|(_, host)| host.is_connected());
        let (behind, ready): (Vec<_>, Vec<_>) = connected
            .map(|(id, host)| (*id, host.address))
            .partition(|(_, address)| address.is_some_and(|at| self.behind.contains(&at)));
        if behind.is_empty() || ready.is_empty() {
            let cause = match (&self.phase, behind.is_empty()) {
                (Phase::Starting { .. }, _) => "the sender did not begin",
                (_, true) => {
                    "no data came from the image store; look whether its disk or mount hangs"
                }
                (_, false) => {
                    "no receiver took any data, although they answer; look at their screens,                      their disks may hang"
                }
            };
            self.fail(
                now,
                &format!("sending {name}: nothing moved for {seconds} s: {cause}"),
            );
            return;
        }
        for (id, _) in behind {
            let text = format!(
                "dropped in {name}: it took no data for {seconds} s while the others waited for it; \
                 look at its screen, its disk may hang. Its disk is not complete"
            );
            self.end_host(now, id, Ending::failed(text));
        }
        self.behind.clear();
        self.moved_at = now;
    }

    fn tick_finishing(&mut self, now: Instant) {
        let grace = self.plan.grace;
        let since = self.since;
        let overdue = self.hosts.iter().filter(|(_, host)| {
            let last = host.last_contact.map_or(since, |at| at.max(since));
            host.is_live() && now.duration_since(last) >= grace
        });
        let overdue: Vec<HostId> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            let text = format!(
                "{OVERDUE} within {} s; look at its screen. A late report is still accepted",
                grace.as_secs()
            );
            self.end_host(now, id, Ending::failed(text));
        }
    }
}
