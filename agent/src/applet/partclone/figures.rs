//! The numbers of a progress line.

use std::time::Duration;

/// What every kind of progress line shows.
pub(in crate::applet) struct Figures {
    pub(in crate::applet) elapsed: String,
    pub(in crate::applet) remaining: String,
    /// Hundredths of a percent of the used blocks.
    pub(in crate::applet) percent: u64,
    /// Bytes per minute.
    pub(in crate::applet) rate: u64,
}

impl Figures {
    pub(in crate::applet) fn of(progress: &image::Progress, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs().max(1);
        let total = u128::from(progress.blocks_total.max(1));
        let done = u128::from(progress.blocks_done).min(total);
        let percent = (done * 10_000 / total).clamp(1, 10_000);
        let remaining = u128::from(seconds) * (10_000 - percent) / percent;
        let rate = u128::from(progress.output_len) * 60 / u128::from(seconds);
        Self {
            elapsed: clock(seconds.into()),
            remaining: clock(remaining),
            percent: u64::try_from(percent).unwrap_or_default(),
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
        }
    }
}

fn clock(seconds: u128) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
