//! What the screen knows: values only, so that drawing is a pure function of them.

use std::time::{Duration, Instant};

use imaging::tap::meter::Bottleneck;

/// Everything that is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Name of this machine as the server knows it, or its MAC address.
    pub(crate) host: String,
    /// Base URL of the server.
    pub(crate) server: String,
    /// The image, once known.
    pub(crate) image: String,
    /// The disk that is written, once chosen.
    pub(crate) disk: String,
    /// The part of the job that runs now, one word for programs.
    pub(crate) phase: &'static str,
    /// The same for people.
    pub(crate) activity: String,
    /// Set while the machine can do nothing but wait.
    pub(crate) wait: Option<Wait>,
    /// What was found out about the wait.
    pub(crate) diagnosis: Option<Diagnosis>,
    /// Set while streams are received.
    pub(crate) transfer: Option<Transfer>,
    /// Everything the user shall know at the end, in order.
    pub(crate) warnings: Vec<Warning>,
    /// The end of the job.
    pub(crate) result: Option<Outcome>,
}

impl State {
    /// Begins or changes the wait. The clock goes on as long as `what` stays the same.
    pub(crate) fn wait_for(
        &mut self,
        now: Instant,
        what: impl Into<String>,
        mut advice: Vec<String>,
    ) {
        let what = what.into();
        let since = match &self.wait {
            Some(wait) if wait.what == what => wait.since,
            _ => now,
        };
        if let Some(diagnosis) = &self.diagnosis
            && (diagnosis.what == what && diagnosis.since == since)
        {
            advice.push(diagnosis.text.clone());
        }
        self.wait = Some(Wait {
            what,
            since,
            advice,
        });
    }
}

/// What the user shall know although it is no failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) text: String,
    pub(crate) at: Instant,
}

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Continues the phrase "waiting for"; does not change while the same thing is awaited.
    pub(crate) what: String,
    pub(crate) since: Instant,
    /// What is known about the cause and what to check; may change at any time.
    pub(crate) advice: Vec<String>,
}

/// What was found out about one wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// Of this wait.
    pub(crate) what: String,
    /// Since when it lasts: a later one for the same thing is another one.
    pub(crate) since: Instant,
    /// The cause and what to do.
    pub(crate) text: String,
}

/// Progress of the data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transfer {
    /// Counted from 1.
    pub(crate) stream: usize,
    pub(crate) streams: usize,
    pub(crate) name: String,
    /// Bytes of the target's used blocks, over all streams.
    pub(crate) copied: u64,
    /// Bytes of used blocks in all streams.
    pub(crate) total: u64,
    /// Bytes per second over the last seconds, used blocks.
    pub(crate) rate: f64,
    /// Bytes per second over the last seconds as received from the network.
    pub(crate) wire_rate: f64,
    /// Since the first byte.
    pub(crate) elapsed: Duration,
    /// When all this was so.
    pub(crate) at: Instant,
    /// Everything is written and verified.
    pub(crate) is_done: bool,
    pub(crate) remaining: Option<Duration>,
    pub(crate) bottleneck: Option<Bottleneck>,
}

impl Transfer {
    /// All is there: estimates and rates of the last moment are no more true.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.elapsed += now.saturating_duration_since(self.at);
        self.at = now;
        self.stream = self.streams;
        self.copied = self.total;
        self.remaining = None;
        self.bottleneck = None;
        self.is_done = true;
    }

    /// 0 to 100; 100 where there is nothing to do.
    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    pub(crate) fn percent(&self) -> f64 {
        if self.total == 0 {
            return 100.0;
        }
        (self.copied as f64 / self.total as f64 * 100.0).clamp(0.0, 100.0)
    }
}

/// The part of the pipeline that the others wait for, in a word.
pub(crate) fn word(bottleneck: Bottleneck) -> &'static str {
    match bottleneck {
        Bottleneck::Network => "network",
        Bottleneck::Cpu => "CPU",
        Bottleneck::Disk => "disk",
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Done, but the server does not know; why.
    DoneUnreported(String),
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_is_shown_with_the_wait_that_it_is_of() {
        let start = Instant::now();
        let mut state = State::default();
        let advice = |state: &State| state.wait.clone().unwrap().advice;
        state.wait_for(start, "the sender", vec!["check it".into()]);
        state.diagnosis = Some(Diagnosis {
            what: "the sender".into(),
            since: start,
            text: "eth0 has no link".into(),
        });
        let later = start + Duration::from_secs(40);
        state.wait_for(later, "the sender", vec!["check it".into()]);
        assert_eq!(advice(&state), ["check it", "eth0 has no link"]);
        state.wait_for(later, "the server", Vec::new());
        assert_eq!(advice(&state), [""; 0]);
        // Another wait for the same thing.
        state.wait_for(later, "the sender", Vec::new());
        assert_eq!(advice(&state), [""; 0]);
    }
}
