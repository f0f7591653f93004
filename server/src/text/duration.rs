//! Durations, as everything of this project shows them.

use std::time::Duration;

use readable::Time;

/// The two largest units of a duration: `4 s`, `2 min 10 s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    Time(duration).to_string()
}

/// As [`duration()`], of whole seconds.
#[must_use]
pub fn seconds(seconds: u64) -> String {
    duration(Duration::from_secs(seconds))
}
