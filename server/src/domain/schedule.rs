//! Deploys that begin later: once, or again and again.
//!
//! What is due is a function of the stored row and the time ([`due`]). A row knows up to when its starts were dealt with,
//! and that time only grows: a clock that jumps back starts nothing twice.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::{ScheduleId, SessionId, Timestamp};

/// A deploy that begins later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Number.
    pub id: ScheduleId,
    /// When it begins.
    pub when: When,
    /// What is deployed.
    pub planned: Planned,
    /// When it was made.
    pub created_at: Timestamp,
    /// Starts up to this time were dealt with.
    pub done_until: Timestamp,
    /// What became of the last start.
    pub outcome: Option<Outcome>,
}

/// What is deployed, as a person said it: images, hosts and groups are looked up when it begins.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Planned {
    /// Image, by name or number.
    pub image: String,
    /// Hosts, by name, and groups.
    pub hosts: Vec<String>,
    /// Name of the session.
    pub name: Option<String>,
    /// Wait for missing hosts.
    pub max_wait_seconds: Option<u64>,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
    /// Whether the machines boot to a shell.
    pub is_debug: bool,
    /// Follow-up sessions that may come of it.
    #[serde(default)]
    pub follow_ups: Option<u32>,
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was begun; where that stays, the server ended in the middle.
    Begun {
        /// When.
        at: Timestamp,
    },
    /// A session was made.
    Session {
        /// When.
        at: Timestamp,
        /// Which.
        session: SessionId,
    },
    /// There is no session.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        text: String,
    },
    /// The server did not run, and it was too late afterwards.
    Missed {
        /// When it would have been.
        at: Timestamp,
    },
}

/// When a deploy begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At this time.
    Once(Timestamp),
    /// Whenever the clock shows this.
    Cron(Box<Cron>),
}

/// Times as cron has them, on the clock of a place.
#[derive(Debug, Clone)]
pub struct Cron {
    fields: String,
    zone: String,
    parsed: cronexpr::Crontab,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.fields, &self.zone) == (&other.fields, &other.zone)
    }
}

impl Eq for Cron {}

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWhen {
    /// There is no such zone.
    #[error("there is no time zone {0:?}; an example is Europe/Berlin")]
    Zone(String),
    /// It is no time.
    #[error("{0:?} is no time; an example is \"2026-12-01 18:00\"")]
    Time(String),
    /// The clock does not show it.
    #[error("the clock never shows {time} in {zone}: it is put forward then")]
    Skipped {
        /// The time.
        time: String,
        /// The place.
        zone: String,
    },
    /// It is no cron expression.
    #[error(
        "{text:?} has to be minute, hour, day of the month, month and day of the week, as in \"0 18 * * 5\": {cause}"
    )]
    Cron {
        /// The text, cut.
        text: String,
        /// What the library says.
        cause: String,
    },
    /// It will not be.
    #[error("{0:?} never comes")]
    Never(String),
    /// It was.
    #[error("{0} (UTC) is over")]
    Over(Timestamp),
}

/// Characters of the fields of cron, and of the name of a zone.
const MAX_FIELDS: usize = 100;
const MAX_ZONE: usize = 64;

impl Cron {
    /// Five fields, and the name of a zone.
    ///
    /// # Errors
    /// If one of them makes no sense.
    pub fn new(fields: &str, zone: &str) -> Result<Self, BadWhen> {
        zone_of(zone)?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let text = fields.join(" ");
        let wrong = |cause: String| BadWhen::Cron {
            text: fog::encoding::printable(&text, MAX_FIELDS),
            cause: fog::encoding::printable(cause.lines().next().unwrap_or_default(), 200),
        };
        if fields.len() != 5 {
            return Err(wrong(format!("it has {} parts", fields.len())));
        }
        if text.len() > MAX_FIELDS || !text.is_ascii() {
            return Err(wrong(format!("{MAX_FIELDS} plain characters at most")));
        }
        match cronexpr::parse_crontab(&format!("{text} {zone}")) {
            Ok(parsed) => Ok(Self {
                fields: text,
                zone: zone.to_owned(),
                parsed,
            }),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &str {
        &self.fields
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The first such time after this one. The hour that comes twice in autumn counts once: the clock shows the same. A
    /// time that the clock passes over in spring is none.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_second(after.0).ok()?;
        let mut found = self.parsed.find_next(after).ok()?;
        let zone = found.time_zone().clone();
        // Both times of an hour that comes twice are at most some hours apart.
        for _ in 0..MAX_TWINS {
            let first = zone
                .to_ambiguous_timestamp(found.datetime())
                .earlier()
                .ok()?;
            if first == found.timestamp() {
                return Some(Timestamp(first.as_second()));
            }
            found = self.parsed.find_next(found.timestamp()).ok()?;
        }
        None
    }
}

/// Minutes of some hours.
const MAX_TWINS: u32 = 300;

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once(at) => write!(f, "{at} (UTC)"),
            Self::Cron(cron) => write!(f, "{} ({})", cron.fields, cron.zone),
        }
    }
}

impl When {
    /// The first start after this time.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once(at) => Some(*at).filter(|at| *at > after),
            Self::Cron(cron) => cron.next(after),
        }
    }

    /// A time on the clock of a place (`2026-12-01 18:00`); of the two in the hour that comes twice in autumn, the first.
    ///
    /// # Errors
    /// If it is none.
    pub fn once(text: &str, zone: &str) -> Result<Self, BadWhen> {
        let shown = || fog::encoding::printable(text, 40);
        let time_zone = zone_of(zone)?;
        // With or without seconds, and as the fields of a page have it.
        let padded = match text.trim().len() {
            16 => format!("{}:00", text.trim()),
            _ => text.trim().to_owned(),
        };
        let padded = padded.replacen('T', " ", 1);
        let time = Timestamp::parse(&padded).ok_or_else(|| BadWhen::Time(shown()))?;
        // A day that no month has would be one of the next.
        if time.to_string() != padded {
            return Err(BadWhen::Time(shown()));
        }
        let time: DateTime = padded.parse().map_err(|_| BadWhen::Time(shown()))?;
        let found = time_zone.to_ambiguous_timestamp(time);
        if matches!(found.offset(), AmbiguousOffset::Gap { .. }) {
            return Err(BadWhen::Skipped {
                time: padded,
                zone: zone.to_owned(),
            });
        }
        match found.earlier() {
            Ok(at) => Ok(Self::Once(Timestamp(at.as_second()))),
            Err(_) => Err(BadWhen::Time(shown())),
        }
    }
}

fn zone_of(name: &str) -> Result<TimeZone, BadWhen> {
    let wrong = || BadWhen::Zone(fog::encoding::printable(name, MAX_ZONE));
    let is_word = |c: u8| c.is_ascii_alphanumeric() || b"/_+-".contains(&c);
    if name.len() > MAX_ZONE || !name.bytes().all(is_word) {
        return Err(wrong());
    }
    TimeZone::get(name).map_err(|_| wrong())
}

/// Something that is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The start of this time.
    Start(Timestamp),
    /// The start of this time was missed, and it is too late for it: at another time people work at these machines.
    Missed(Timestamp),
}

/// How much later a start may be: the server was restarted meanwhile.
pub const LATE: Duration = Duration::from_secs(15 * 60);

/// What is due of a schedule; every start up to now is dealt with by it. Of several that are due there is one.
#[must_use]
pub fn due(schedule: &Schedule, now: Timestamp) -> Option<Due> {
    let first = schedule.when.next(schedule.done_until)?;
    if first > now {
        return None;
    }
    let late = i64::try_from(LATE.as_secs()).unwrap_or(i64::MAX);
    let earliest = now.0.saturating_sub(late);
    if first.0 >= earliest {
        return Some(Due::Start(first));
    }
    // Others were missed, but perhaps not this one.
    let after = Timestamp(schedule.done_until.0.max(earliest.saturating_sub(1)));
    match schedule.when.next(after) {
        Some(start) if start <= now => Some(Due::Start(start)),
        _ => Some(Due::Missed(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn schedule(when: When, done_until: &str) -> Schedule {
        Schedule {
            id: ScheduleId(1),
            when,
            planned: Planned {
                image: "lab".into(),
                hosts: vec!["@room".into()],
                name: None,
                max_wait_seconds: None,
                is_shutdown: false,
                is_debug: false,
                follow_ups: None,
            },
            created_at: time(done_until),
            done_until: time(done_until),
            outcome: None,
        }
    }

    fn cron(fields: &str, zone: &str) -> When {
        When::Cron(Box::new(Cron::new(fields, zone).unwrap()))
    }

    #[test]
    fn a_start_is_due_once_and_not_too_late() {
        let at = time("2026-12-01 17:00:00");
        let mut plan = schedule(When::Once(at), "2026-11-30 00:00:00");
        assert_eq!(due(&plan, time("2026-12-01 16:59:59")), None);
        assert_eq!(due(&plan, at), Some(Due::Start(at)));
        assert_eq!(
            due(&plan, time("2026-12-01 17:15:00")),
            Some(Due::Start(at))
        );
        assert_eq!(
            due(&plan, time("2026-12-01 17:15:01")),
            Some(Due::Missed(at))
        );
        plan.done_until = at;
        // Whatever the clock does from then on.
        for now in [
            "2026-12-01 16:00:00",
            "2026-12-01 17:00:00",
            "2027-12-01 17:00:00",
        ] {
            assert_eq!(due(&plan, time(now)), None);
        }
    }

    #[test]
    fn the_clock_of_the_place_counts() {
        // Fridays at six in the evening, before and after the end of summer time.
        let when = cron("0 18 * * 5", "Europe/Berlin");
        let friday = when.next(time("2026-10-20 00:00:00")).unwrap();
        assert_eq!(friday, time("2026-10-23 16:00:00"));
        assert_eq!(when.next(friday), Some(time("2026-10-30 17:00:00")));
        assert_eq!(
            When::once("2026-07-01 18:00", "Europe/Berlin").unwrap(),
            When::Once(time("2026-07-01 16:00:00"))
        );
        assert_eq!(
            When::once("2026-12-01T18:00", "UTC").unwrap(),
            When::Once(time("2026-12-01 18:00:00"))
        );
    }

    #[test]
    fn what_the_clock_shows_twice_or_never_is_one_start_or_none() {
        // In Berlin 2:30 comes twice on 2026-10-25, and never on 2026-03-29.
        let when = cron("30 2 * * *", "Europe/Berlin");
        let first = when.next(time("2026-10-24 12:00:00")).unwrap();
        assert_eq!(first, time("2026-10-25 00:30:00"));
        assert_eq!(when.next(first), Some(time("2026-10-26 01:30:00")));
        assert_eq!(
            when.next(time("2026-03-28 12:00:00")),
            Some(time("2026-03-30 00:30:00"))
        );
        let skipped = When::once("2026-03-29 02:30", "Europe/Berlin");
        assert!(
            matches!(skipped, Err(BadWhen::Skipped { .. })),
            "{skipped:?}"
        );
        let twice = When::once("2026-10-25 02:30", "Europe/Berlin");
        assert_eq!(twice, Ok(When::Once(first)));
    }

    #[test]
    fn of_many_missed_starts_the_last_one_is_done_if_it_is_not_too_late() {
        let plan = schedule(cron("0 * * * *", "UTC"), "2026-12-01 10:30:00");
        assert_eq!(due(&plan, time("2026-12-01 10:59:59")), None);
        assert_eq!(
            due(&plan, time("2026-12-03 15:05:00")),
            Some(Due::Start(time("2026-12-03 15:00:00")))
        );
        assert_eq!(
            due(&plan, time("2026-12-03 15:30:00")),
            Some(Due::Missed(time("2026-12-01 11:00:00")))
        );
        // Of one each minute there is one, too.
        let plan = schedule(cron("* * * * *", "UTC"), "2026-12-01 10:30:00");
        let found = due(&plan, time("2027-12-01 10:30:00"));
        assert!(matches!(found, Some(Due::Start(_))), "{found:?}");
    }

    /// Whatever the clock does, no start is done twice: each is later than the ones before.
    #[test]
    fn clock_jumps_start_nothing_twice() {
        let mut plan = schedule(cron("*/10 * * * *", "UTC"), "2026-12-01 10:00:00");
        let mut now = plan.done_until;
        let (mut last, mut starts) = (now, 0);
        for step in [
            700, -650, 900, -3600, 3600, 1200, -1, 86_400, -86_400, 600, 90_000,
        ] {
            now = Timestamp(now.0 + step);
            let Some(found) = due(&plan, now) else {
                continue;
            };
            if let Due::Start(start) = found {
                assert!(start > last && start <= now, "{start} after {last}");
                last = start;
                starts += 1;
            }
            plan.done_until = now;
        }
        assert!(starts > 3, "{starts}");
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        for text in [
            "",
            "18:00",
            "2026-02-30 18:00",
            "2026-12-01",
            "2026-12-01 25:00",
            "morgen",
        ] {
            let error = When::once(text, "UTC").unwrap_err();
            assert!(matches!(error, BadWhen::Time(_)), "{text}: {error}");
        }
        for zone in ["Mars/Olympus", "", "../../etc/passwd", "UTC; x"] {
            assert!(matches!(
                When::once("2026-12-01 18:00", zone),
                Err(BadWhen::Zone(_))
            ));
            assert!(matches!(
                Cron::new("0 18 * * 5", zone),
                Err(BadWhen::Zone(_))
            ));
        }
        for text in [
            "",
            "0 18 * *",
            "0 18 * * 5 UTC",
            "60 18 * * 5",
            "a b c d e",
            "\u{1b}[2J 1 2 3 4",
            "ä 1 2 3 4",
        ] {
            let error = Cron::new(text, "UTC").unwrap_err();
            assert!(matches!(error, BadWhen::Cron { .. }), "{text}: {error}");
            assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
        }
        // It is a date that no year has.
        assert_eq!(
            cron("0 0 31 2 *", "UTC").next(time("2026-12-01 00:00:00")),
            None
        );
    }
}
