//! Participants that answer and hold everybody up all the same.
//!
//! Silence is easy to tell. Here it is about those that are heard: a receiver that large datagrams do not
//! reach asks for all blocks again and again, one whose output stands still asks for the last one, and
//! one that is broken or wants to do harm says anything. Time counts only while it is heard and what it lacks is
//! repeated, so that nobody is taken for such a one because of a pause, its own or the sender's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use readable::NAMED_AFTER;

use super::config::HOLD;
use super::{DropCause, DropPolicy};
use crate::bitmap::Bitmap;

/// Time between two answers that counts, at most.
const ATTENDANCE: Duration = Duration::from_millis(1500);

/// Rounds without progress after which it is not by chance.
const ROUNDS: u32 = 8;

/// After so long without progress what it lacks is repeated with ever longer pauses, and only in part.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Longest pause between two rounds that only stalled participants need.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Blocks repeated in a round for a stalled participant: enough to see whether any arrives.
pub(super) const SAMPLE: u16 = 16;

/// How many times [`DropPolicy::no_progress`] the repetition of a slice may take with progress.
const SLOWEST: u32 = 20;

/// Time between two reports of participants without progress.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// How far those have come with a slice that answer but do not have it. At most one entry for each
/// participant.
#[derive(Default)]
pub(super) struct Progress {
    members: BTreeMap<u16, Advance>,
    stalled: Bitmap,
    holding: Bitmap,
    told: Option<Instant>,
}

struct Advance {
    heard: Instant,
    /// What it lacked when it last said so.
    missing: Bitmap,
    /// Some of that has been repeated since.
    is_served: bool,
    /// Fewest blocks it has lacked; all, before it has said so.
    least: u16,
    /// The round in which that was.
    round: u32,
    /// Time since then.
    idle: Duration,
    /// Time of that in which somebody else had the slice.
    stuck: Duration,
    /// The same with all before.
    busy: Duration,
    /// Time in which it held the sender while somebody else had the slice.
    held: Duration,
}

/// The moment of an answer.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// Blocks of the slice.
    pub(super) blocks: u16,
    /// The round that is being asked.
    pub(super) round: u32,
    /// Another participant has the slice.
    pub(super) is_contended: bool,
}

impl Progress {
    /// Something came from a participant that lacks the slice: the blocks that it says it lacks, or nothing
    /// of use.
    pub(super) fn note(&mut self, at: Moment, client: u16, missing: Option<&Bitmap>) {
        let Moment { now, blocks, .. } = at;
        let member = self.members.entry(client).or_insert(Advance {
            heard: now,
            missing: Bitmap::new(),
            is_served: false,
            least: blocks,
            round: at.round,
            idle: Duration::ZERO,
            stuck: Duration::ZERO,
            busy: Duration::ZERO,
            held: Duration::ZERO,
        });
        let time = now.saturating_duration_since(member.heard).min(ATTENDANCE);
        member.heard = now;
        let contended = if at.is_contended {
            time
        } else {
            Duration::ZERO
        };
        // What was received may still be on its way to a disk: it asks for the end and lacks nothing.
        let is_at_end = blocks == 0 && missing.is_some();
        let missing = missing.filter(|missing| !missing.is_empty());
        // What was not repeated cannot have come.
        let is_served = missing.is_none_or(|_| std::mem::take(&mut member.is_served));
        let is_holding = is_at_end || missing.is_some_and(|missing| is_held(missing, blocks));
        if is_holding {
            // It may have all blocks, and says so as soon as there is room for more.
            member.restart(1, at.round);
            member.held += contended;
        } else if is_served {
            member.idle += time;
            member.stuck += contended;
            member.busy += contended;
        }
        if let Some(missing) = missing {
            member.missing = *missing;
            if missing.count() < member.least {
                member.restart(missing.count(), at.round);
            }
        }
        set(&mut self.stalled, client, member.is_stalled(at.round));
        set(&mut self.holding, client, is_holding);
    }

    /// A round is over in which these were repeated, or made up for.
    pub(super) fn on_repeated(&mut self, repeated: &Bitmap) {
        for member in self.members.values_mut() {
            member.is_served |= !member.missing.intersection(repeated).is_empty();
        }
    }

    /// It has the slice.
    pub(super) fn forget(&mut self, client: u16) {
        self.members.remove(&client);
        self.stalled.remove(client);
        self.holding.remove(client);
    }

    /// Those for whom rounds are of no use.
    pub(super) fn stalled(&self) -> &Bitmap {
        &self.stalled
    }

    /// Those for whom next to nothing is repeated.
    pub(super) fn resting(&self) -> Bitmap {
        self.stalled.union(&self.holding)
    }

    /// Time from one request to the next if only these wait for it, all of them stalled.
    pub(super) fn pause(&self, waiting: &Bitmap) -> Duration {
        let idle = waiting
            .iter()
            .filter_map(|client| self.members.get(&client))
            .map(|member| member.idle)
            .min();
        (idle.unwrap_or_default() / 4).min(LONGEST_PAUSE)
    }

    /// Why a participant that has just answered is to be dropped, and how long that has lasted.
    pub(super) fn verdict(
        &self,
        at: Moment,
        client: u16,
        policy: &DropPolicy,
    ) -> Option<(DropCause, Duration)> {
        let member = self.members.get(&client).filter(|_| at.is_contended)?;
        let limit = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero());
        // At the end of the stream disks write their caches.
        let at_least = if at.blocks == 0 { HOLD } else { Duration::ZERO };
        if limit(policy.hold).is_some_and(|limit| member.held >= limit.max(at_least)) {
            return Some((DropCause::Holding, member.held));
        }
        let limit = limit(policy.no_progress)?;
        let cause = DropCause::NoProgress {
            missing: member.least,
            blocks: at.blocks,
        };
        let is_tried = at.round.saturating_sub(member.round) >= ROUNDS;
        if member.stuck >= limit && is_tried {
            Some((cause, member.stuck))
        } else if member.busy >= limit.saturating_mul(SLOWEST) {
            Some((cause, member.busy))
        } else {
            None
        }
    }

    /// Who has not got further for a while, with the fewest blocks lacked and for how long; empty if it has
    /// been told lately.
    pub(super) fn tell(&mut self, now: Instant, active: &Bitmap) -> Vec<(u16, u16, Duration)> {
        let is_recent = |told| now.saturating_duration_since(told) < TELL_AGAIN;
        if self.stalled.is_empty() || self.told.is_some_and(is_recent) {
            return Vec::new();
        }
        let idle: Vec<_> = self
            .members
            .iter()
            .filter(|(client, member)| active.contains(**client) && member.idle >= NAMED_AFTER)
            .map(|(client, member)| (*client, member.least, member.idle))
            .collect();
        if !idle.is_empty() {
            self.told = Some(now);
        }
        idle
    }
}

impl Advance {
    fn restart(&mut self, least: u16, round: u32) {
        self.least = self.least.min(least);
        self.round = round;
        (self.idle, self.stuck) = (Duration::ZERO, Duration::ZERO);
    }

    fn is_stalled(&self, round: u32) -> bool {
        self.idle >= STALLED_AFTER && round.saturating_sub(self.round) >= ROUNDS
    }
}

fn set(of: &mut Bitmap, client: u16, is_in: bool) {
    if is_in {
        of.insert(client);
    } else {
        of.remove(client);
    }
}

/// The last block alone is lacking: so a receiver holds the sender that has no room for the next slice.
pub(super) fn is_held(missing: &Bitmap, blocks: u16) -> bool {
    let last = blocks.checked_sub(1);
    missing.count() == 1 && missing.lowest() == last
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u16 = 100;
    const LIMIT: Duration = Duration::from_secs(12);

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn policy() -> DropPolicy {
        DropPolicy {
            no_progress: Some(LIMIT),
            hold: Some(Duration::from_secs(60)),
            ..DropPolicy::default()
        }
    }

    /// Receiver 0 answers every 100 ms, each time in a new round, with what `missing` says; until it is
    /// dropped, with the time.
    fn dropped(
        is_contended: bool,
        interval: Duration,
        missing: impl Fn(u32) -> Option<Bitmap>,
    ) -> Option<(DropCause, Duration)> {
        let start = epoch();
        let mut progress = Progress::default();
        for round in 0..10_000 {
            let now = start + interval * round;
            let at = Moment {
                now,
                blocks: BLOCKS,
                round,
                is_contended,
            };
            progress.note(at, 0, missing(round).as_ref());
            progress.on_repeated(&Bitmap::first(BLOCKS));
            if let Some((cause, _)) = progress.verdict(at, 0, &policy()) {
                return Some((cause, now - start));
            }
        }
        None
    }

    const OFTEN: Duration = Duration::from_millis(100);

    #[test]
    fn whoever_lacks_the_same_for_long_is_dropped() {
        let no_progress = |missing| DropCause::NoProgress {
            missing,
            blocks: BLOCKS,
        };
        let all = dropped(true, OFTEN, |_| Some(Bitmap::first(BLOCKS)));
        assert_eq!(all, Some((no_progress(BLOCKS), LIMIT)));
        let some = dropped(true, OFTEN, |_| Some(Bitmap::first(3)));
        assert_eq!(some, Some((no_progress(3), LIMIT)));
        let garbage = dropped(true, OFTEN, |_| None);
        assert_eq!(garbage, Some((no_progress(BLOCKS), LIMIT)));
        // It lacks now this and now that, but never less.
        let any = dropped(true, OFTEN, |round| {
            let count = 4 + u16::try_from(round % 90).unwrap();
            Some(Bitmap::first(count + 2).without(&Bitmap::first(2)))
        });
        assert_eq!(any, Some((no_progress(4), LIMIT)));
    }

    #[test]
    fn whoever_is_not_served_is_not_dropped() {
        let start = epoch();
        let mut progress = Progress::default();
        for round in 0..10_000 {
            let at = Moment {
                now: start + OFTEN * round,
                blocks: BLOCKS,
                round,
                is_contended: true,
            };
            progress.note(at, 0, Some(&Bitmap::first(20)));
            // For others.
            progress.on_repeated(&Bitmap::first(BLOCKS).without(&Bitmap::first(20)));
            assert_eq!(progress.verdict(at, 0, &policy()), None);
        }
        assert!(progress.resting().is_empty());
    }

    #[test]
    fn no_limit_and_a_limit_of_nothing_are_none() {
        let start = epoch();
        for off in [None, Some(Duration::ZERO)] {
            let policy = DropPolicy {
                no_progress: off,
                hold: off,
                ..DropPolicy::default()
            };
            let mut progress = Progress::default();
            for round in 0..1000 {
                let at = Moment {
                    now: start + OFTEN * round,
                    blocks: BLOCKS,
                    round,
                    is_contended: true,
                };
                progress.note(at, 0, None);
                progress.note(at, 1, Some(&Bitmap::first(1)));
                assert_eq!(progress.verdict(at, 0, &policy), None);
                assert_eq!(progress.verdict(at, 1, &policy), None);
            }
        }
    }

    #[test]
    fn nobody_is_dropped_while_nobody_has_the_slice() {
        assert_eq!(dropped(false, OFTEN, |_| Some(Bitmap::first(BLOCKS))), None);
    }

    #[test]
    fn pauses_do_not_count() {
        let minute = Duration::from_secs(60);
        let seldom = dropped(true, minute, |_| Some(Bitmap::first(BLOCKS)));
        let time = seldom.map(|(_, time)| time);
        assert_eq!(time, Some(8 * minute), "eight answers");
    }

    #[test]
    fn a_little_progress_is_enough_but_not_for_ever() {
        // A block every eleven seconds.
        let slow = dropped(true, OFTEN, |round| {
            let got = u16::try_from(round / 110).unwrap();
            Some(Bitmap::first(BLOCKS - got))
        });
        assert_eq!(slow.map(|(_, time)| time), Some(LIMIT * SLOWEST));
    }

    #[test]
    fn a_receiver_that_holds_the_sender_has_its_own_limit() {
        let last = Bitmap::first(BLOCKS).without(&Bitmap::first(BLOCKS - 1));
        let held = dropped(true, OFTEN, |_| Some(last));
        assert_eq!(held, Some((DropCause::Holding, Duration::from_secs(60))));
    }

    #[test]
    fn a_receiver_that_holds_the_end_may_be_writing_its_caches() {
        let nothing = Bitmap::new();
        let start = epoch();
        let mut progress = Progress::default();
        let verdict = (0..10_000).find_map(|round| {
            let at = Moment {
                now: start + OFTEN * round,
                blocks: 0,
                round,
                is_contended: true,
            };
            progress.note(at, 5, Some(&nothing));
            progress.verdict(at, 5, &policy())
        });
        assert_eq!(verdict, Some((DropCause::Holding, HOLD)));
    }

    #[test]
    fn rounds_for_the_stalled_become_rare() {
        let start = epoch();
        let mut progress = Progress::default();
        let everything = Bitmap::first(BLOCKS);
        let mut waiting = Bitmap::new();
        waiting.insert(5);
        let mut pauses = Vec::new();
        for round in 0..100 {
            let at = Moment {
                now: start + OFTEN * round,
                blocks: BLOCKS,
                round,
                is_contended: false,
            };
            progress.note(at, 5, Some(&everything));
            progress.on_repeated(&everything);
            if progress.stalled().contains(5) {
                pauses.push(progress.pause(&waiting));
            }
        }
        assert_eq!(pauses.len(), 90, "after a second");
        assert_eq!(pauses.first(), Some(&Duration::from_millis(250)));
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        progress.forget(5);
        assert!(progress.stalled().is_empty());
    }
}
