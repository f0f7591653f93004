//! The session's state for whoever asks.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog::native::StreamNow;

use super::Driver;
use crate::clock::Timestamp;
use crate::session::status::{HostStatus, SessionStatus};
use crate::session::view::HostView;

impl Driver {
    pub(super) fn publish(&mut self, now: Instant) {
        let view = self.core.view(now);
        let counters = self.counters.get();
        let streams = &self.subjects.facts.streams;
        let index = self.core.stream_index();
        let stream = streams.get(index).map(|stream| StreamNow {
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            count: u32::try_from(streams.len()).unwrap_or(u32::MAX),
            name: stream.name.clone(),
            acked: counters.bytes_acked.min(stream.stored_len),
            len: stream.stored_len,
            run: 0,
        });
        let mut text = view.text;
        let held_up_by: Vec<String> = view
            .hosts
            .iter()
            .filter(|host| host.state.is_active())
            .filter_map(|host| {
                let silent = self.silence(now, host.address?)?;
                Some(format!("{} ({} s)", host.name, silent.as_secs()))
            })
            .take(MAX_NAMED)
            .collect();
        if !held_up_by.is_empty() {
            text.push_str("; held up by ");
            text.push_str(&held_up_by.join(", "));
        }
        let hosts = view
            .hosts
            .into_iter()
            .map(|host| self.host_status(now, host));
        let hosts: Vec<HostStatus> = hosts.collect();
        let rate = self.rate.sample(now, counters.bytes_acked);
        let session = &self.subjects.session;
        self.status.send_replace(Arc::new(SessionStatus {
            session: session.id.0,
            name: session.name.clone(),
            image: self.subjects.image_name.clone(),
            state: self.state,
            stage: view.stage,
            port: session.port,
            expected: view.expected,
            checked_in: view.checked_in,
            connected: view.connected,
            missing: view.missing,
            stream,
            rate,
            repeated_percent: counters.repeated_percent(),
            records: self.records,
            stage_seconds: view.stage_age.as_secs(),
            starts_in_seconds: view.starts_in.map(|left| left.as_secs()),
            text,
            created_at: session.created_at.clone(),
            ended_at: (!self.state.is_active()).then(|| Timestamp::now().to_string()),
            hosts,
        }));
    }

    fn host_status(&self, now: Instant, host: HostView) -> HostStatus {
        let mut text = host.text;
        if let Some(silent) = host.address.and_then(|address| self.silence(now, address))
            && host.state.is_active()
        {
            let waited = self.core.stands_still(now).as_secs();
            text.push_str(&match silent.as_secs() {
                seconds if seconds < ANSWERS => {
                    format!("; the others wait for it, it took no data for {waited} s")
                }
                seconds => format!("; the others wait for it, silent for {seconds} s"),
            });
        }
        HostStatus {
            host: host.id.0,
            name: host.name,
            ip: host.address.map(|ip| ip.to_string()),
            state: host.state,
            text,
            seconds: Some(host.age.as_secs()),
            streams_done: u32::try_from(host.streams_done).unwrap_or(u32::MAX),
            client: self.reports.get(&host.id).cloned().unwrap_or_default(),
            silent_seconds: host.silent.map(|age| age.as_secs()),
        }
    }

    /// Silence of a receiver that the sender waits for, if it said so a moment ago.
    fn silence(&self, now: Instant, address: Ipv4Addr) -> Option<Duration> {
        let (said, silent) = self.slow.get(&address)?;
        let age = now.duration_since(*said);
        (age < SLOW_NEWS).then_some(*silent + age)
    }
}

/// Hosts that are named in the session's sentence.
const MAX_NAMED: usize = 5;

/// Seconds of silence below which a receiver counts as one that answers.
const ANSWERS: u64 = 5;

/// How long it counts that a receiver was said to be slow; it is said again and again.
const SLOW_NEWS: Duration = Duration::from_secs(8);
