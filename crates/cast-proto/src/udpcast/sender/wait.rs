//! How long to wait for answers.

use std::time::{Duration, Instant};

/// First guess of the time until all have answered.
const FIRST_AVERAGE: Duration = Duration::from_millis(2);

/// Shortest wait: a receiver that is off the processor for a moment is not asked ten times.
const SHORTEST: Duration = Duration::from_micros(500);

/// Deadlines missed in a row before the wait is doubled with each further one.
const MISSABLE: u32 = 3;

/// How many times its length a wait may become when answers come one after the other.
const EXTENSIONS: u32 = 8;

/// How long a wait may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Patience {
    /// For the end of the stream: participants that have said OK answer repeated requests for half
    /// a second only, and their OK may have been lost.
    End,
    /// An attentive participant is waited for; its silence means something after seconds.
    Attentive,
    /// An original receiver does not answer while its output is held up.
    Any,
}

impl Patience {
    fn longest(self) -> Duration {
        Duration::from_millis(match self {
            Self::End => 20,
            Self::Attentive => 250,
            Self::Any => 1000,
        })
    }
}

/// The wait for the answers to a request.
pub(super) struct Wait {
    /// Average time until all have answered.
    average: Duration,
    /// Deadlines missed since the last answer.
    missed: u32,
    /// When the request was made that is being waited for.
    since: Option<Instant>,
}

impl Wait {
    pub(super) fn new() -> Self {
        Self {
            average: FIRST_AVERAGE,
            missed: 0,
            since: None,
        }
    }

    /// A request goes out; answers the deadline.
    pub(super) fn begin(&mut self, now: Instant, patience: Patience) -> Instant {
        self.since = Some(now);
        now + self.length(patience)
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.since.is_some()
    }

    /// It is over without an answer to be counted.
    pub(super) fn stop(&mut self) {
        self.since = None;
    }

    /// Somebody answered, others are still to come: they get the whole time again, up to a limit.
    pub(super) fn on_answer(&mut self, now: Instant, patience: Patience) -> Instant {
        self.missed = 0;
        let length = self.length(patience);
        let limit = self.since.unwrap_or(now) + length * EXTENSIONS;
        limit.min(now + length)
    }

    /// The last answer came. The original's moving average, in whole microseconds.
    pub(super) fn on_all(&mut self, now: Instant) {
        let missed = std::mem::take(&mut self.missed);
        let Some(since) = self.since.take() else {
            return;
        };
        let mut waited = now.saturating_duration_since(since);
        if missed > 0 {
            waited += self.average;
        }
        let average = self.average + Duration::from_micros(9);
        self.average = (average * 9 + waited) / 10;
    }

    /// The deadline has passed.
    pub(super) fn on_missed(&mut self) {
        self.since = None;
        self.missed = self.missed.saturating_add(1);
    }

    /// This process did not run for so long.
    pub(super) fn excuse(&mut self, now: Instant, lost: Duration) {
        if let Some(since) = &mut self.since {
            *since = (*since + lost).min(now);
        }
    }

    /// How long to wait this time.
    ///
    /// The original waits 1.1 times the average from when it has nothing else to send, and a second
    /// more from round 11 on. Here the wait counts from the request, so that a lost answer is asked
    /// for again while the next slice is on its way, and doubles with each deadline missed beyond
    /// the third: a burst of loss costs milliseconds instead of a second, and a receiver that stalls
    /// is not asked ten times in one.
    fn length(&self, patience: Patience) -> Duration {
        let longest = patience.longest();
        // Answers of a receiver that holds us come late and raise the average.
        let base = (self.average + self.average / 2).clamp(SHORTEST, longest);
        let doublings = self.missed.saturating_sub(MISSABLE - 1).min(16);
        base.saturating_mul(1 << doublings).min(longest)
    }
}
