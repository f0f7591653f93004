//! The time zone in which FOG writes its times: whole seconds on the clock of a place, without saying which.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::domain::Timestamp;

/// A time zone.
#[derive(Debug, Clone)]
pub(super) struct Zone(TimeZone);

impl Zone {
    pub(super) const UTC: Self = Self(TimeZone::UTC);

    /// The zone of this name; `None` if there is no such zone.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "" => Some(Self::UTC),
            name => TimeZone::get(name).ok().map(Self),
        }
    }

    /// What the clock shows at a time.
    pub(super) fn local(&self, time: Timestamp) -> String {
        let Ok(instant) = jiff::Timestamp::from_second(time.0) else {
            return time.to_string();
        };
        let shown = self.0.to_datetime(instant);
        as_if_utc(shown).unwrap_or(time).to_string()
    }

    /// The time at which the clock shows this. Of the two in the hour that comes twice in autumn, the first
    /// one; `None` for what is no time.
    pub(super) fn utc(&self, shown: &str) -> Option<Timestamp> {
        let shown = Timestamp::parse(shown)?;
        let instant = jiff::Timestamp::from_second(shown.0).ok()?;
        let shown = TimeZone::UTC.to_datetime(instant);
        let time = self.0.to_timestamp(shown).ok()?;
        Some(Timestamp(time.as_second()))
    }
}

fn as_if_utc(shown: DateTime) -> Option<Timestamp> {
    let time = TimeZone::UTC.to_timestamp(shown).ok()?;
    Some(Timestamp(time.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_clock_of_the_place_shows_them() {
        let time = |text| Timestamp::parse(text).unwrap();
        for (zone, utc, local) in [
            ("UTC", "2026-07-01 12:00:00", "2026-07-01 12:00:00"),
            ("", "2026-07-01 12:00:00", "2026-07-01 12:00:00"),
            (
                "Europe/Berlin",
                "2026-07-01 12:00:00",
                "2026-07-01 14:00:00",
            ),
            (
                "Europe/Berlin",
                "2026-12-31 23:30:00",
                "2027-01-01 00:30:00",
            ),
            (
                "America/New_York",
                "2026-01-01 03:00:00",
                "2025-12-31 22:00:00",
            ),
            ("Asia/Kolkata", "2026-01-01 00:00:00", "2026-01-01 05:30:00"),
        ] {
            let zone = Zone::named(zone).unwrap();
            assert_eq!(zone.local(time(utc)), local);
            assert_eq!(zone.utc(local), Some(time(utc)));
        }
        assert!(Zone::named("Mars/Olympus").is_none());
        assert_eq!(Zone::UTC.utc("0000-00-00 00:00:00"), None);
    }

    #[test]
    fn an_hour_that_comes_twice_is_the_first_one_and_one_that_is_left_out_comes_later() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let time = |text| Timestamp::parse(text);
        // The clock is put back at 01:00 UTC.
        assert_eq!(
            berlin.utc("2026-10-25 02:30:00"),
            time("2026-10-25 00:30:00")
        );
        assert_eq!(
            berlin.local(time("2026-10-25 01:30:00").unwrap()),
            "2026-10-25 02:30:00"
        );
        // It is put forward at 01:00 UTC.
        assert_eq!(
            berlin.utc("2026-03-29 02:30:00"),
            time("2026-03-29 01:30:00")
        );
    }
}
