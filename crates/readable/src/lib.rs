//! How quantities and errors are shown to people. Everything that people read goes through here, so that
//! one thing has one unit.
//!
//! Data has decimal units, on disks, on the wire and in memory: 1 kB is 1000 bytes, as vendors of disks and
//! networks count. FOG's protocol and the drop-in names of other programs have units of their own.

#![warn(missing_docs)]

mod silence;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use silence::{Change, NAMED_AFTER, Silences};

/// A number of bytes: `512 B`, `1.3 GB`. With `{:#}` exactly, too: `64.0 GB (64023257088 bytes)`, for sizes
/// that are compared and may differ by a few sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_exact = f.alternate();
        if self.0 < 1000 {
            return match is_exact {
                true => write!(f, "{}", Count(self.0, "byte")),
                false => write!(f, "{} B", self.0),
            };
        }
        let (tenths, prefix) = scale(u128::from(self.0) * 10);
        write!(f, "{}.{} {prefix}B", tenths / 10, tenths % 10)?;
        if is_exact {
            write!(f, " ({} bytes)", self.0)?;
        }
        Ok(())
    }
}

/// Bytes per second: `980 B/s`, `112.3 MB/s`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and what is not a number becomes 0"
        )]
        let rate = self.0.round() as u64;
        write!(f, "{}/s", Size(rate))
    }
}

/// A duration in its two largest units, rounded down: `4 s`, `2 min 10 s`, `3 h 5 min`, `2 d 1 h`. With
/// `{:.1}` in tenths where it is less than a minute: `4.0 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (large, unit, small, sub_unit) = match seconds {
            ..MINUTE if f.precision().is_some() => {
                return write!(f, "{seconds}.{} s", self.0.subsec_millis() / 100);
            }
            ..MINUTE => return write!(f, "{seconds} s"),
            MINUTE..HOUR => (seconds / MINUTE, "min", seconds % MINUTE, "s"),
            HOUR..DAY => (seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
            DAY.. => (seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        };
        write!(f, "{large} {unit}")?;
        match small {
            0 => Ok(()),
            _ => write!(f, " {small} {sub_unit}"),
        }
    }
}

/// A number of things, with their name in the singular: `1 block`, `2 blocks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64, pub &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

/// The text of `error`, and of those of its causes that it does not repeat.
///
/// Some errors contain the texts of their causes, and some do not; either way each is read once.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Tenths of the largest unit that leaves at least one of it, rounded, and the unit's prefix.
fn scale(tenths: u128) -> (u128, &'static str) {
    const PREFIXES: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    let mut divisor: u128 = 1000;
    let mut rounded = (tenths + divisor / 2) / divisor;
    let mut prefix = PREFIXES[0];
    for next in &PREFIXES[1..] {
        if rounded < 10_000 {
            break;
        }
        divisor *= 1000;
        rounded = (tenths + divisor / 2) / divisor;
        prefix = next;
    }
    (rounded, prefix)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_are_exact_on_demand() {
        for (bytes, short, exact) in [
            (0, "0 B", "0 bytes"),
            (1, "1 B", "1 byte"),
            (999, "999 B", "999 bytes"),
            (1000, "1.0 kB", "1.0 kB (1000 bytes)"),
            (1 << 20, "1.0 MB", "1.0 MB (1048576 bytes)"),
            (999_949, "999.9 kB", "999.9 kB (999949 bytes)"),
            (999_950, "1.0 MB", "1.0 MB (999950 bytes)"),
            (64_023_257_088, "64.0 GB", "64.0 GB (64023257088 bytes)"),
            (u64::MAX, "18.4 EB", "18.4 EB (18446744073709551615 bytes)"),
        ] {
            assert_eq!(Size(bytes).to_string(), short);
            assert_eq!(format!("{:#}", Size(bytes)), exact);
        }
    }

    #[test]
    fn rates_are_sizes_by_the_second() {
        for (rate, text) in [
            (0.0, "0 B/s"),
            (-1.0, "0 B/s"),
            (f64::NAN, "0 B/s"),
            (999.4, "999 B/s"),
            (112_345_678.0, "112.3 MB/s"),
        ] {
            assert_eq!(Rate(rate).to_string(), text);
        }
    }

    #[test]
    fn two_units_are_enough_for_a_time() {
        for (seconds, text) in [
            (0, "0 s"),
            (4, "4 s"),
            (59, "59 s"),
            (60, "1 min"),
            (130, "2 min 10 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h"),
            (3659, "1 h"),
            (11_100, "3 h 5 min"),
            (86_400, "1 d"),
            (176_400, "2 d 1 h"),
        ] {
            assert_eq!(Time(Duration::from_secs(seconds)).to_string(), text);
        }
        assert_eq!(Time(Duration::from_millis(4999)).to_string(), "4 s");
        assert!(
            Time(Duration::MAX)
                .to_string()
                .starts_with("213503982334601 d")
        );
    }

    #[test]
    fn a_short_time_has_tenths_on_demand() {
        let text = |time| format!("{:.1}", Time(time));
        assert_eq!(text(Duration::from_micros(4_005_145)), "4.0 s");
        assert_eq!(text(Duration::from_millis(59_999)), "59.9 s");
        assert_eq!(text(Duration::from_millis(61_500)), "1 min 1 s");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(Count(1, "block").to_string(), "1 block");
        assert_eq!(Count(0, "block").to_string(), "0 blocks");
    }

    #[derive(Debug)]
    struct Wrong(&'static str, Option<Box<Self>>);

    impl fmt::Display for Wrong {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wrong {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn each_cause_is_read_once() {
        let cause = || Some(Box::new(Wrong("no space left", None)));
        let silent = Wrong("writing d1", cause());
        let talking = Wrong("writing d1: no space left", cause());
        assert_eq!(chain(&silent), "writing d1: no space left");
        assert_eq!(chain(&talking), "writing d1: no space left");
        let outer = Wrong("restoring", Some(Box::new(talking)));
        assert_eq!(chain(&outer), "restoring: writing d1: no space left");
    }
}
