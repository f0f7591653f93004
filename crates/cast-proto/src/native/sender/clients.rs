//! What the sender knows of each receiver.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::purse::Purse;
use crate::native::quantile::quantile;
use crate::native::units::frame_rate;
use crate::native::wire::{ClientNo, Status};

/// Clients of a session (12.5).
pub const CLIENTS_MAX: usize = 16_384;

/// Feedback of a client that is looked at, a second (12.5).
const FEEDBACK_PER_SECOND: u32 = 50;

/// Who was silent for longer is no longer waited for (8.9).
const SILENT_AFTER: Duration = Duration::from_secs(60);

/// A STATUS counts for the loss while it is not older...
const STATUS_AGE: Duration = Duration::from_secs(5);

/// ...or if fewer than so many came since.
const STATUSES: usize = 200;

/// At most so often the image is sent for one client's lacks (12.4).
const SERVED_MAX: u64 = 3;

/// One receiver: within the 256 bytes that 12.5 allows.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) purse: Purse,
    last_heard: Instant,
    is_done: bool,
    status: Option<(Instant, Told)>,
    /// Source symbols that were sent when it joined.
    sent_at_join: u64,
    /// The second in which feedback is counted, and how much there was.
    feedback: (Instant, u32),
}

/// What of the last STATUS counts.
#[derive(Clone, Copy, Debug)]
struct Told {
    drain: Option<u32>,
    peak: u16,
    loss_ppm: u32,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    all: BTreeMap<ClientNo, Client>,
}

impl Clients {
    /// Takes in one that joined. Whether there is room.
    pub(super) fn join(&mut self, now: Instant, client: ClientNo, purse: Purse, sent: u64) -> bool {
        if self.all.len() >= CLIENTS_MAX && !self.all.contains_key(&client) {
            return false;
        }
        let new = Client {
            purse,
            last_heard: now,
            is_done: false,
            status: None,
            sent_at_join: sent,
            feedback: (now, 0),
        };
        self.all.insert(client, new);
        true
    }

    /// One that is known and has not spoken too often this second; it counts as heard.
    pub(super) fn heard(&mut self, now: Instant, client: ClientNo) -> Option<&mut Client> {
        let known = self.all.get_mut(&client)?;
        let (since, count) = &mut known.feedback;
        if now >= *since + Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > FEEDBACK_PER_SECOND {
            return None;
        }
        known.last_heard = now;
        Some(known)
    }

    pub(super) fn known(&mut self, client: ClientNo) -> Option<&mut Client> {
        self.all.get_mut(&client)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those that are not done and were heard of late.
    pub(super) fn unfinished(&self, now: Instant) -> impl Iterator<Item = &Client> {
        let is_waited_for =
            move |client: &&Client| !client.is_done && now < client.last_heard + SILENT_AFTER;
        self.all.values().filter(is_waited_for)
    }

    /// When the first of the unfinished will count as gone.
    pub(super) fn next_silent(&self, now: Instant) -> Option<Instant> {
        let unfinished = self.unfinished(now);
        unfinished
            .map(|client| client.last_heard + SILENT_AFTER)
            .min()
    }

    /// The 90 % quantile of the peaks of the unfinished, once half of them have reported since `since` (8.5).
    pub(super) fn usual_peak(&self, now: Instant, since: Instant) -> Option<u16> {
        let mut peaks = Vec::new();
        let mut count = 0;
        for client in self.unfinished(now) {
            count += 1;
            let told = client.status.filter(|(at, _)| *at >= since);
            peaks.extend(told.map(|(_, told)| told.peak));
        }
        if count == 0 || peaks.len() * 2 < count {
            return None;
        }
        quantile(&mut peaks, 0.9)
    }

    /// ℓ: the loss at the policy's quantile, as a share of 1 (9.2); `None` before any report.
    pub(super) fn loss(&self, now: Instant, share: f64) -> Option<f64> {
        let told = self.unfinished(now).filter_map(|client| client.status);
        let mut told: Vec<(Instant, u32)> = told.map(|(at, told)| (at, told.loss_ppm)).collect();
        told.sort_unstable_by(|a, b| b.cmp(a));
        let fresh = told.partition_point(|(at, _)| now < *at + STATUS_AGE);
        told.truncate(fresh.max(STATUSES));
        let mut losses: Vec<u32> = told.into_iter().map(|(_, loss)| loss).collect();
        quantile(&mut losses, share).map(|ppm| f64::from(ppm) / 1e6)
    }

    /// The greatest drain of the unfinished in kB/s of frame bytes; `None`: somebody's is not the limit, or not known.
    pub(super) fn greatest_drain(&self, now: Instant) -> Option<u32> {
        let mut greatest = None;
        for client in self.unfinished(now) {
            let (_, told) = client.status?;
            greatest = greatest.max(Some(told.drain?));
        }
        greatest
    }

    /// Whether an unfinished client does not take class `class` at a rate of `rate` kB/s of the cable (8.3).
    pub(super) fn is_lacked(&self, now: Instant, class: u8, rate: u32) -> bool {
        let rate = u64::from(frame_rate(rate)).max(1);
        self.unfinished(now).any(|client| {
            let drain = client.status.and_then(|(_, told)| told.drain);
            drain.is_some_and(|drain| u64::from(drain) * 64 / rate <= u64::from(class))
        })
    }
}

impl Client {
    /// Takes in a STATUS.
    pub(super) fn on_status(&mut self, now: Instant, status: &Status) {
        self.is_done = status.flags.is_done || status.flags.is_leaving;
        let told = Told {
            drain: status.drain,
            peak: status.peak,
            loss_ppm: status.loss_ppm.min(1_000_000),
        };
        self.status = Some((now, told));
    }

    /// It needs or lacks something, so it is not done.
    pub(super) fn wants_more(&mut self) {
        self.is_done = false;
    }

    /// Whether its lacks are still served: not when it was sent three times the image (12.4).
    pub(super) fn is_served(&self, sent: u64, image: u64) -> bool {
        sent.saturating_sub(self.sent_at_join) <= image.saturating_mul(SERVED_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_costs_little_memory() {
        // 12.5
        assert!(size_of::<(ClientNo, Client)>() <= 256);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn a_client_that_speaks_too_often_is_not_heard_until_the_next_second() {
        // 12.5
        let now = Instant::now();
        let mut clients = Clients::default();
        assert!(clients.join(now, ClientNo(1), Purse::of_client(10, 0), 0));
        let heard = (0..100).filter(|_| clients.heard(now, ClientNo(1)).is_some());
        assert_eq!(heard.count(), 50);
        assert!(clients.heard(now, ClientNo(2)).is_none());
        let later = now + Duration::from_secs(1);
        assert!(clients.heard(later, ClientNo(1)).is_some());
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn who_is_done_or_silent_is_not_waited_for() {
        // 8.9
        let now = Instant::now();
        let mut clients = Clients::default();
        for number in 0..3 {
            assert!(clients.join(now, ClientNo(number), Purse::of_client(10, 0), 0));
        }
        let mut done = Status::default();
        done.flags.is_done = true;
        clients
            .heard(now, ClientNo(0))
            .unwrap()
            .on_status(now, &done);
        assert_eq!(clients.unfinished(now).count(), 2);
        let later = now + Duration::from_secs(59);
        assert!(clients.heard(later, ClientNo(1)).is_some());
        let late = now + Duration::from_secs(60);
        assert_eq!(clients.unfinished(late).count(), 1);
        assert_eq!(clients.next_silent(late), Some(later + SILENT_AFTER));
    }
}
