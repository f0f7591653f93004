//! Receivers whose path is much slower than that of the others.
//!
//! All get the stream at the pace of the slowest. For each slice it is known how much later than most of the
//! others each one had it. It does not count if its output may be the reason: a disk that takes nothing for a
//! while is busy, and that passes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::DropCause;
use crate::bitmap::Bitmap;

/// Stream time before anybody is left behind. It is what the others lose; bad luck does not last so long.
pub(super) const AFTER: Duration = Duration::from_secs(1);

/// A slice counts for no longer, so that one bad moment is not enough.
const LONGEST: Duration = Duration::from_millis(500);

/// Slices in which it must have been late.
const FEWEST: u32 = 4;

/// How late each was lately. At most one entry for each participant.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    elapsed: Duration,
    bytes: u64,
    /// The same, whatever a slice took.
    took: Duration,
    members: BTreeMap<u16, Lag>,
    /// How many have been left behind.
    left: usize,
}

#[derive(Debug, Default)]
struct Lag {
    late: Duration,
    slices: u32,
}

/// A slice that all have.
pub(super) struct Finished<'a> {
    pub(super) now: Instant,
    /// When it began, or when the slice before it was finished.
    pub(super) since: Instant,
    pub(super) bytes: u32,
    /// When each had it.
    pub(super) ok_at: &'a BTreeMap<u16, Instant>,
    /// Who may have been late because of its path.
    pub(super) suspects: &'a Bitmap,
    pub(super) active: &'a Bitmap,
    /// How many there were at the start.
    pub(super) started: usize,
}

impl Laggards {
    /// The circumstances are other ones.
    pub(super) fn reset(&mut self) {
        *self = Self {
            left: self.left,
            ..Self::default()
        };
    }

    /// Takes in a slice; answers who is to be left behind, and why. Never more than half of those
    /// who are there, and in all of those who were there at the start.
    pub(super) fn note(&mut self, slice: &Finished<'_>) -> Vec<(u16, DropCause)> {
        let took = slice.now.saturating_duration_since(slice.since);
        let times: BTreeMap<u16, Duration> = slice
            .ok_at
            .iter()
            .filter(|(client, _)| slice.active.contains(**client))
            .map(|(client, at)| (*client, at.saturating_duration_since(slice.since)))
            .collect();
        let mut sorted: Vec<Duration> = times.values().copied().collect();
        sorted.sort_unstable();
        let Some(median) = sorted.get(sorted.len().saturating_sub(1) / 2) else {
            return Vec::new();
        };
        if self.elapsed >= 2 * AFTER {
            self.forget_half();
        }
        let counted = took.min(LONGEST);
        self.elapsed += counted;
        self.took += took;
        self.bytes += u64::from(slice.bytes);
        for (client, time) in &times {
            let late = time.saturating_sub(*median).min(counted);
            if slice.suspects.contains(*client) && late > counted / 2 {
                let lag = self.members.entry(*client).or_default();
                lag.late += late;
                lag.slices += 1;
            }
        }
        if self.elapsed < AFTER {
            return Vec::new();
        }
        let rate = u128::from(self.bytes) * 1_000_000 / self.took.as_micros().max(1);
        let is_slow = |lag: &Lag| lag.slices >= FEWEST && lag.late * 2 >= self.elapsed;
        let slow: Vec<(u16, DropCause)> = self
            .members
            .iter()
            .filter(|(client, lag)| slice.active.contains(**client) && is_slow(lag))
            .map(|(client, lag)| {
                let share = lag.late.as_micros() * 100 / self.elapsed.as_micros().max(1);
                let cause = DropCause::Slow {
                    bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
                    waited_percent: u8::try_from(share.min(100)).unwrap_or(100),
                };
                (*client, cause)
            })
            .collect();
        let left = self.left + slow.len();
        if slow.len() * 2 > usize::from(slice.active.count()) || left * 2 > slice.started {
            return Vec::new();
        }
        self.left = left;
        slow
    }

    fn forget_half(&mut self) {
        self.elapsed /= 2;
        self.took /= 2;
        self.bytes /= 2;
        for lag in self.members.values_mut() {
            lag.late /= 2;
            lag.slices /= 2;
        }
        self.members.retain(|_, lag| lag.slices > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    /// Slices of `millis` each; those of `late` have them at the end, the others after a tenth of it. Answers
    /// who was left behind first, and when.
    fn left(
        members: u16,
        millis: u64,
        late: impl Fn(u64, u16) -> bool,
        suspected: &[u16],
    ) -> Option<(Vec<u16>, Duration)> {
        let start = epoch();
        let mut laggards = Laggards::default();
        let active = Bitmap::first(members);
        let mut suspects = Bitmap::new();
        for client in suspected {
            suspects.insert(*client);
        }
        for number in 0..1000 {
            let since = start + Duration::from_millis(millis * number);
            let now = since + Duration::from_millis(millis);
            let at = |client| match late(number, client) {
                true => now,
                false => since + Duration::from_millis(millis) / 10,
            };
            let ok_at = (0..members).map(|client| (client, at(client))).collect();
            let slow = laggards.note(&Finished {
                now,
                since,
                bytes: 100_000,
                ok_at: &ok_at,
                suspects: &suspects,
                active: &active,
                started: members.into(),
            });
            if !slow.is_empty() {
                let rate = 100_000 * 1000 / millis;
                for (_, cause) in &slow {
                    let DropCause::Slow {
                        bytes_per_second,
                        waited_percent,
                    } = *cause
                    else {
                        panic!("{cause:?}");
                    };
                    assert!(bytes_per_second.abs_diff(rate) <= 1 && waited_percent >= 50);
                }
                return Some((slow.into_iter().map(|it| it.0).collect(), now - start));
            }
        }
        None
    }

    #[test]
    fn one_that_is_late_in_every_slice_is_left_behind_after_a_second() {
        let second = Duration::from_secs(1);
        let one = |_, client| client == 3;
        assert_eq!(left(4, 40, one, &[3]), Some((vec![3], second)));
        let two = |_, client| client == 1;
        assert_eq!(left(2, 40, two, &[1]), Some((vec![1], second)));
        let pair = |_, client| client >= 2;
        assert_eq!(left(4, 40, pair, &[2, 3]), Some((vec![2, 3], second)));
    }

    #[test]
    fn the_only_one_and_most_of_them_stay() {
        assert_eq!(left(1, 40, |_, _| true, &[0]), None);
        assert_eq!(left(3, 40, |_, client| client > 0, &[1, 2]), None);
        // Each of them now and then.
        let turns = |number: u64, client: u16| number % 4 == u64::from(client);
        assert_eq!(left(4, 40, turns, &[0, 1, 2, 3]), None);
    }

    #[test]
    fn half_of_those_at_the_start_stay_however_often_some_are_left_behind() {
        let start = epoch();
        let mut laggards = Laggards::default();
        let mut active = Bitmap::first(8);
        let mut left = Vec::new();
        for number in 0..1000 {
            let since = start + Duration::from_millis(40 * number);
            // All but the first half of those who are there are late.
            let on_time = u16::try_from(usize::from(active.count()).div_ceil(2)).unwrap();
            let at = |client| since + Duration::from_millis(if client < on_time { 4 } else { 40 });
            let ok_at = (0..8)
                .filter(|client| active.contains(*client))
                .map(|client| (client, at(client)))
                .collect();
            let slow = laggards.note(&Finished {
                now: since + Duration::from_millis(40),
                since,
                bytes: 100_000,
                ok_at: &ok_at,
                suspects: &active.clone(),
                active: &active.clone(),
                started: 8,
            });
            if !slow.is_empty() {
                laggards.reset();
            }
            for (client, _) in slow {
                active.remove(client);
                left.push(client);
            }
        }
        assert_eq!(left, [4, 5, 6, 7]);
    }

    #[test]
    fn one_whose_output_is_slow_and_one_that_has_a_bad_moment_stay() {
        assert_eq!(left(4, 40, |_, client| client == 3, &[]), None);
        let bad = |number: u64, client| client == 3 && number % 50 < 10;
        assert_eq!(left(4, 40, bad, &[3]), None);
        // A moment of ten seconds counts for half a one.
        let long = left(
            4,
            10_000,
            |number, client| client == 3 && number % 4 == 0,
            &[3],
        );
        assert_eq!(long, None);
    }

    #[test]
    fn one_that_becomes_slow_later_is_left_behind_as_well() {
        let later = |number: u64, client| client == 3 && number >= 500;
        let (who, when) = left(4, 40, later, &[3]).unwrap();
        assert_eq!(who, [3]);
        let after = when - Duration::from_secs(20);
        assert!(after <= 2 * AFTER, "{after:?}");
    }
}
