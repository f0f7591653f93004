//! How a simulation went.

use std::time::Duration;

use cast_proto::native::{receiver, sender};

/// How it went for one receiver.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// From its own join until all was written; `None`: it died.
    pub own_time: Option<Duration>,
    /// From the beginning until all was written.
    pub at: Option<Duration>,
    /// Chunks that came by unicast in the end.
    pub by_unicast: usize,
    /// What it counted.
    pub counts: receiver::Counts,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every source symbol once, at the rate of the link.
    pub ideal: Duration,
    /// Source symbols of the image.
    pub source_symbols: u64,
    /// What the sender counted, over all its lives.
    pub sender: sender::Counts,
    /// Of each receiver.
    pub ends: Vec<End>,
    /// NEEDs and LACKs that receivers sent.
    pub feedback: u64,
    /// The most of them in one second.
    pub feedback_peak: u64,
    /// Bytes of beacons, NEEDs and LACKs on the cable.
    pub control_bytes: u64,
    /// Bytes of DATA on the cable.
    pub data_bytes: u64,
    /// When the sender closed the session.
    pub closed_at: Option<Duration>,
}

impl Report {
    /// Time of the slowest of the receivers that `of` names, in units of the ideal.
    #[must_use]
    pub fn slowest(&self, of: impl Fn(usize) -> bool) -> f64 {
        let ends = self.ends.iter().enumerate().filter(|(at, _)| of(*at));
        let times = ends.filter_map(|(_, end)| end.at);
        self.in_ideals(times.max().unwrap_or(Duration::ZERO))
    }

    /// The longest time from the own join, of the receivers that `of` names, in units of the ideal.
    #[must_use]
    pub fn slowest_own(&self, of: impl Fn(usize) -> bool) -> f64 {
        let ends = self.ends.iter().enumerate().filter(|(at, _)| of(*at));
        let times = ends.filter_map(|(_, end)| end.own_time);
        self.in_ideals(times.max().unwrap_or(Duration::ZERO))
    }

    /// Symbols that were sent, in units of the image.
    #[must_use]
    pub fn sent(&self) -> f64 {
        ratio(self.sender.symbols, self.source_symbols)
    }

    /// Bytes of control on the cable, in per cent of those of DATA.
    #[must_use]
    pub fn control_percent(&self) -> f64 {
        100.0 * ratio(self.control_bytes, self.data_bytes)
    }

    /// The most frames that a receiver held in part at a time.
    #[must_use]
    pub fn most_in_part(&self) -> usize {
        let counts = self.ends.iter().map(|end| end.counts.most_in_part);
        counts.max().unwrap_or(0)
    }

    /// A time in units of the ideal.
    #[must_use]
    pub fn in_ideals(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.ideal.as_secs_f64()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a simulation are below 2^52"
)]
fn ratio(of: u64, all: u64) -> f64 {
    of as f64 / all.max(1) as f64
}
