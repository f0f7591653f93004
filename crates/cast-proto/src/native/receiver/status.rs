//! STATUS: how the receiver fares (5.6, 15.1).

use std::time::{Duration, Instant};

use super::chunk::Progress;
use super::{DONE_STATUS_EVERY, Ending, Feedback, Receiver, Timer};
use crate::native::wire::{Status, StatusFlags};

impl Receiver {
    /// The interval of the beacon, times 0.5 to 1.5.
    pub(super) fn schedule_status(&mut self, now: Instant) {
        let interval = self
            .heard
            .as_ref()
            .map_or(Duration::from_secs(1), |heard| heard.status_interval);
        let after = interval.mul_f64(0.5 + self.chance.unit());
        self.timers.set(Timer::Status, now + after);
    }

    /// The first DATA came: the sender learns soon what is usual (8.5), from 0.1 to 0.4 intervals.
    pub(super) fn hasten_status(&mut self, now: Instant) {
        let Some(heard) = &self.heard else {
            return;
        };
        let share = 0.1 + 0.3 * self.chance.unit();
        let at = now + heard.status_interval.mul_f64(share);
        if self.timers.get(Timer::Status).is_none_or(|next| next > at) {
            self.timers.set(Timer::Status, at);
        }
    }

    pub(super) fn on_status(&mut self, now: Instant) {
        match &mut self.ending {
            Ending::Finished(0) => return,
            Ending::Finished(left) => {
                *left -= 1;
                self.timers.set(Timer::Status, now + DONE_STATUS_EVERY);
            }
            Ending::Receiving | Ending::Written => self.schedule_status(now),
        }
        let status = self.status(now);
        self.outbox.push_back(Feedback::Status(status));
        if self.is_finished() {
            self.timers.stop_all();
        }
    }

    fn status(&mut self, now: Instant) -> Status {
        let parts = self.config.table.part_count();
        let chunks = self.entries.iter().skip(parts);
        let done = chunks.filter(|entry| matches!(entry.progress, Progress::Written));
        let is_bound_by_disk = self.drain.limit(now).is_some();
        let drain = self.capacity(now);
        let percent = self.pool_used * 100 / self.config.pool_len.max(1);
        Status {
            flags: StatusFlags {
                is_done: matches!(self.ending, Ending::Finished(_)),
                is_bound_by_disk,
                ..StatusFlags::default()
            },
            pool_used: u8::try_from(percent).unwrap_or(100),
            link: self.config.link,
            chunks_done: u32::try_from(done.count()).unwrap_or(u32::MAX),
            chunks_all: u32::try_from(self.config.table.chunk_count()).unwrap_or(u32::MAX),
            loss_ppm: self.loss.take_ppm(0),
            peak: u16::try_from(self.peak / 256).unwrap_or(u16::MAX),
            drain,
            refused: self.counts.refused,
            repaired: self.counts.repaired,
            ..Status::default()
        }
    }
}
