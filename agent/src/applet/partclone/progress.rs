//! The progress display: one or two lines that overwrite themselves.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use image::Geometry;

use super::figures::Figures;
use super::status::StatusFile;

pub(super) struct Progress {
    begin: Instant,
    interval: Duration,
    last: Option<Instant>,
    has_block_detail: bool,
    /// Lines on the terminal that the next display overwrites.
    lines: usize,
    status: StatusFile,
}

impl Progress {
    /// A display every `interval`; a second line with blocks if asked for.
    pub(super) fn new(interval: Duration, has_block_detail: bool) -> Self {
        Self {
            begin: Instant::now(),
            interval,
            last: None,
            has_block_detail,
            lines: 0,
            status: StatusFile::of_fog(),
        }
    }

    /// Shows `progress` if it is time, or in any case if it `is_due`.
    pub(super) fn show(&mut self, progress: &image::Progress, geometry: &Geometry, is_due: bool) {
        let is_over = self.last.is_none_or(|last| last.elapsed() >= self.interval);
        if !is_over && !is_due {
            return;
        }
        self.last = Some(Instant::now());
        self.status.write(progress, geometry, self.begin.elapsed());
        let mut text = String::from("\r");
        if self.lines > 1 {
            text.push_str("\x1b[A");
        }
        text.push_str("\x1b[K");
        text.push_str(&line(progress, self.begin.elapsed()));
        self.lines = 1;
        if self.has_block_detail {
            // Writing to a string cannot fail.
            _ = write!(
                text,
                "\n\x1b[Kblock {} of {} used, {} in all",
                progress.blocks_done, progress.blocks_total, geometry.total_blocks
            );
            self.lines = 2;
        }
        drop(io::stderr().write_all(text.as_bytes()));
    }

    /// What follows goes below.
    pub(super) fn end(&mut self) {
        if self.lines > 0 {
            self.lines = 0;
            drop(io::stderr().write_all(b"\n"));
        }
    }
}

/// Elapsed and remaining time, percent of the used blocks, bytes per minute.
fn line(progress: &image::Progress, elapsed: Duration) -> String {
    let figures = Figures::of(progress, elapsed);
    format!(
        "elapsed {}, remaining {}, {}.{:02} % done, {}/min",
        figures.elapsed,
        figures.remaining,
        figures.percent / 100,
        figures.percent % 100,
        amount(figures.rate),
    )
}

/// A number of bytes in powers of 1000, rounded to one decimal, as the original writes it.
pub(super) fn amount(len: u64) -> String {
    let (mut unit, mut name) = (1_u64, "Byte");
    for next in ["KB", "MB", "GB", "TB", "PB"] {
        if len / unit < 1000 {
            break;
        }
        unit *= 1000;
        name = next;
    }
    if unit == 1 {
        return format!("{len} {name}");
    }
    let tenths = (u128::from(len) * 20 / u128::from(unit)).div_ceil(2);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_decimal() {
        assert_eq!(amount(0), "0 Byte");
        assert_eq!(amount(999), "999 Byte");
        assert_eq!(amount(16_777_216), "16.8 MB");
        assert_eq!(amount(1_000_000_000), "1.0 GB");
        assert_eq!(amount(u64::MAX), "18446.7 PB");
    }

    #[test]
    fn line_has_times_percent_and_rate() {
        let progress = image::Progress {
            blocks_done: 1,
            blocks_total: 3,
            output_len: 1_000_000,
            ..image::Progress::default()
        };
        let text = line(&progress, Duration::from_secs(60));
        assert_eq!(
            text,
            "elapsed 00:01:00, remaining 00:02:00, 33.33 % done, 1.0 MB/min"
        );
        // Nothing done yet, no time passed, no blocks at all: no division by zero.
        line(&image::Progress::default(), Duration::ZERO);
    }
}
