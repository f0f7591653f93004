//! The one formatter of durations.

use std::time::Duration;

/// The two largest units of a duration: `4 s`, `2 min 10 s`, `3 h 5 min`, `2 d 1 h`. Rounds down.
#[must_use]
pub fn duration(duration: Duration) -> String {
    seconds(duration.as_secs())
}

/// As [`duration()`], of whole seconds.
#[must_use]
pub fn seconds(seconds: u64) -> String {
    let (large, unit, small, sub_unit) = match seconds {
        ..MINUTE => return format!("{seconds} s"),
        MINUTE..HOUR => (seconds / MINUTE, "min", seconds % MINUTE, "s"),
        HOUR..DAY => (seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        DAY.. => (seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    };
    match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {sub_unit}"),
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_are_enough() {
        for (value, text) in [
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
            assert_eq!(seconds(value), text);
        }
        assert_eq!(duration(Duration::from_millis(4999)), "4 s");
        assert!(seconds(u64::MAX).starts_with("213503982334601 d"));
    }
}
