//! What went wrong with connections: a line for each matter and minute in the log.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::Limits;
use crate::repeats::Repeats;

/// A matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum About {
    /// An address has all connections that it may have, and wanted more.
    Address(IpAddr),
    /// All connections were in use; one that waited was closed.
    Evicted,
    /// All connections were busy.
    Full,
    /// A client did not read its answer.
    Blocked(Option<IpAddr>),
    /// A connection could not be accepted.
    Accept(String),
    /// A user of this machine may not use the local socket.
    Stranger(u32),
}

#[derive(Debug)]
pub(super) struct Complaints {
    limits: Limits,
    repeats: Mutex<Repeats<About>>,
    /// Told when a matter came up.
    new: Notify,
}

impl Complaints {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            repeats: Mutex::new(Repeats::new(MINUTE, MAX_MATTERS)),
            new: Notify::new(),
        }
    }

    pub(super) fn about(&self, about: About) {
        let now = Instant::now().into_std();
        if self.lock().is_first(now, &about) {
            tracing::warn!("server: {}", self.text(Some(&about), 1));
        }
        self.new.notify_one();
    }

    /// Writes the numbers when they are due, for ever.
    pub(super) async fn tell(&self) {
        loop {
            let next = self.lock().next_end();
            match next {
                Some(end) => tokio::time::sleep_until(Instant::from_std(end)).await,
                None => self.new.notified().await,
            }
            let ended = self.lock().ended(Instant::now().into_std());
            for repeated in ended {
                tracing::warn!(
                    "server: {}",
                    self.text(repeated.key.as_ref(), repeated.count)
                );
            }
        }
    }

    /// Writes what is not written yet.
    pub(super) fn finish(&self) {
        for repeated in self.lock().finish() {
            tracing::warn!(
                "server: {}",
                self.text(repeated.key.as_ref(), repeated.count)
            );
        }
    }

    fn text(&self, about: Option<&About>, count: u64) -> String {
        let limits = &self.limits;
        let n = grouped(count);
        let were = if count == 1 { "was" } else { "were" };
        let Some(about) = about else {
            return format!("{n} further problems with connections are not listed one by one");
        };
        match about {
            About::Address(address) => format!(
                "{address} has {} connections, as many as one address may have; {n} more {were} refused",
                grouped(limits.connections_per_address as u64)
            ),
            About::Evicted => format!(
                "all {} connections are in use; {n} that waited for a request {were} closed for new ones",
                grouped(limits.connections as u64)
            ),
            About::Full => format!(
                "all {} connections are busy; {n} new ones had to wait",
                grouped(limits.connections as u64)
            ),
            About::Blocked(address) => format!(
                "{} did not read an answer for {} s; {n} of its connections {were} closed",
                address.map_or_else(|| "a local client".to_owned(), |ip| ip.to_string()),
                limits.write_timeout.as_secs()
            ),
            About::Accept(error) => {
                format!("connections cannot be accepted: {error} ({n} times); trying again")
            }
            About::Stranger(uid) => format!(
                "user {uid} of this machine may not use the server's local socket; {n} connections \
                 {were} closed"
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Repeats<About>> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 1073 as 1,073.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const MINUTE: Duration = Duration::from_secs(60);

/// Lines a minute; one for each address that has a problem.
const MAX_MATTERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (7, "7"),
            (999, "999"),
            (1073, "1,073"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_line_names_the_address_and_how_often() {
        let complaints = Complaints::new(Limits {
            connections_per_address: 64,
            ..Limits::default()
        });
        let about = About::Address("10.0.0.9".parse().unwrap());
        assert_eq!(
            complaints.text(Some(&about), 1073),
            "10.0.0.9 has 64 connections, as many as one address may have; 1,073 more were refused"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_two_lines() {
        let complaints = Complaints::new(Limits::default());
        let address = |host: u8| About::Address(IpAddr::from([10, 0, 0, host]));
        for _ in 0..1000 {
            complaints.about(address(1));
        }
        let end = Instant::now() + MINUTE;
        let early = complaints.lock().ended((end - MINUTE / 2).into_std());
        assert_eq!(early, []);
        let due = complaints.lock().ended(end.into_std());
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].key.clone(), due[0].count), (Some(address(1)), 999));
    }
}
