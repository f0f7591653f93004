//! The progress line that clients post to `progress.php`.

use std::fmt;
use std::time::Duration;

/// One progress report: seven fields separated by `@`, of which the last one stays empty.
///
/// FOG's client puts the size of the partition there. FOG 1.5.8 appends what it finds there to the size of the image
/// (`images.imageSize`), for deploys too: a number that is not among those of the capture spoils it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatusLine {
    /// Mean rate since the start in bytes per second.
    pub rate: f64,
    /// Time since the start.
    pub elapsed: Duration,
    /// Estimated time left.
    pub remaining: Duration,
    /// Bytes done.
    pub copied: u64,
    /// Bytes in all.
    pub total: u64,
}

impl StatusLine {
    /// Percent done, 0 to 100; 100 where there is nothing to do.
    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.total == 0 {
            return 100.0;
        }
        (as_f64(self.copied) / as_f64(self.total) * 100.0).clamp(0.0, 100.0)
    }
}

impl fmt::Display for StatusLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, unit) = scaled(self.rate.max(0.0) * 60.0, 1000.0, &RATE_UNITS);
        let (copied, copied_unit) = scaled(as_f64(self.copied), 1024.0, &SIZE_UNITS);
        let (total, total_unit) = scaled(as_f64(self.total), 1024.0, &SIZE_UNITS);
        write!(
            f,
            "{rate:6.2}{unit}/min@{}@{}@{copied:.2} {copied_unit}@{total:.2} {total_unit}@{:6.2}@",
            Clock(self.elapsed),
            Clock(self.remaining),
            self.percent(),
        )
    }
}

/// What a server takes from a status line; texts as they came, trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedStatus {
    /// Field 1 without its unit per minute, for example `108.53MB`.
    pub rate: String,
    /// Field 2, `HH:MM:SS`.
    pub elapsed: String,
    /// Field 3, `HH:MM:SS`.
    pub remaining: String,
    /// Field 4, for example `12.50 GiB`.
    pub copied: String,
    /// Field 5.
    pub total: String,
    /// Field 6 as text.
    pub percent_text: String,
    /// Field 6 as a whole number, clamped to 0..=100.
    pub percent: u8,
}

/// Reads a status line; `None` unless six fields are there and not empty.
#[must_use]
pub fn parse(line: &str) -> Option<ReceivedStatus> {
    let mut fields = line.trim_end().split('@').map(|field| {
        field
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect::<String>()
    });
    let mut next = || fields.next().filter(|field| !field.is_empty());
    let rate = next()?;
    let (elapsed, remaining, copied, total, percent_text) =
        (next()?, next()?, next()?, next()?, next()?);
    let percent = percent_text.split('.').next()?.parse::<i64>().unwrap_or(0);
    Some(ReceivedStatus {
        rate: rate.trim_end_matches("/min").to_owned(),
        elapsed,
        remaining,
        copied,
        total,
        percent: u8::try_from(percent.clamp(0, 100)).unwrap_or(0),
        percent_text,
    })
}

const RATE_UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
const SIZE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

fn scaled(mut value: f64, base: f64, units: &[&'static str]) -> (f64, &'static str) {
    let mut unit = "";
    for name in units {
        unit = name;
        if value < base {
            break;
        }
        if *name != units[units.len() - 1] {
            value /= base;
        }
    }
    (value, unit)
}

#[expect(clippy::cast_precision_loss, reason = "for display only")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

struct Clock(Duration);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        write!(
            f,
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_seven_fields_and_the_last_one_is_empty() {
        let line = StatusLine {
            rate: 108_530_000.0 / 60.0,
            elapsed: Duration::from_secs(83),
            remaining: Duration::from_secs(257),
            copied: 13_421_772_800,
            total: 47_458_910_208,
        };
        assert_eq!(
            line.to_string(),
            "108.53MB/min@00:01:23@00:04:17@12.50 GiB@44.20 GiB@ 28.28@"
        );
        let read = parse(&line.to_string()).unwrap();
        assert_eq!(read.rate, "108.53MB");
        assert_eq!(read.percent, 28);
        assert_eq!(read.total, "44.20 GiB");
    }

    #[test]
    fn empty_or_short_lines_are_no_status() {
        for line in ["", "a@b", "1@2@3@4@5@", "@@@@@@"] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(parse("1MB@a@b@c@d@999.9").unwrap().percent, 100);
        assert_eq!(parse("1MB@a@b@c@d@nan").unwrap().percent, 0);
    }

    #[test]
    fn nothing_to_do_is_done() {
        let line = StatusLine {
            rate: 0.0,
            elapsed: Duration::ZERO,
            remaining: Duration::ZERO,
            copied: 0,
            total: 0,
        };
        assert_eq!(
            line.to_string(),
            "  0.00B/min@00:00:00@00:00:00@0.00 B@0.00 B@100.00@"
        );
    }
}
