//! What the screen knows: values only, so that drawing is a pure function of them.

use std::time::{Duration, Instant};

use imaging::tap::meter::Bottleneck;
use readable::Time;

/// Everything that is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Name of this machine as the server knows it, or its MAC address.
    pub(crate) host: String,
    /// Base URL of the server.
    pub(crate) server: String,
    /// The image, once known.
    pub(crate) image: String,
    /// The disk that is written, or captured, once chosen.
    pub(crate) disk: String,
    /// The disk is read and its image sent, and not the other way.
    pub(crate) is_capture: bool,
    /// The part of the job that runs now, one word for programs.
    pub(crate) phase: &'static str,
    /// The same for people.
    pub(crate) activity: String,
    /// Set while the machine can do nothing but wait.
    pub(crate) wait: Option<Wait>,
    /// What was found out about the wait.
    pub(crate) diagnosis: Option<Diagnosis>,
    /// The part of the deploy that was begun last.
    pub(crate) stage: Option<Stage>,
    /// Set while somebody has to press Enter before what is named here is done.
    pub(crate) step: Option<String>,
    /// The streams of the image, once known.
    pub(crate) parts: Vec<Part>,
    /// Machines in the session, as far as is known.
    pub(crate) machines: u32,
    /// Set while streams are received.
    pub(crate) transfer: Option<Transfer>,
    /// Everything the user shall know at the end, in order.
    pub(crate) warnings: Vec<Warning>,
    /// The end of the job.
    pub(crate) result: Option<Outcome>,
    /// What comes when the time is up.
    pub(crate) countdown: Option<Countdown>,
    /// A shell may be asked for.
    pub(crate) has_shell: bool,
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

/// Something that happens by itself at a certain time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Countdown {
    /// Continues with "in 10 s".
    pub(crate) what: String,
    pub(crate) end: Instant,
    /// What a person may do about it; may be empty.
    pub(crate) hint: &'static str,
}

impl Countdown {
    /// With the time that is left, rounded up to whole seconds.
    pub(crate) fn text(&self, now: Instant) -> String {
        let left = self.end.saturating_duration_since(now);
        let seconds = left.as_millis().div_ceil(1000);
        let left = Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX));
        let mut text = format!("{} in {}", self.what, Time(left));
        if !self.hint.is_empty() {
            text.push_str("; ");
            text.push_str(self.hint);
        }
        text
    }
}

/// The parts of a deploy, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Network,
    Checkin,
    Prepare,
    Receive,
    Table,
    Report,
}

impl Stage {
    /// Those that there are, of a capture or of a deploy.
    pub(super) fn all(is_capture: bool) -> impl Iterator<Item = Self> {
        let has = move |stage: &Self| !is_capture || *stage != Self::Table;
        Self::ALL.into_iter().filter(has)
    }

    const ALL: [Self; 6] = [
        Self::Network,
        Self::Checkin,
        Self::Prepare,
        Self::Receive,
        Self::Table,
        Self::Report,
    ];

    /// The stage that a phase of this name is a part of.
    pub(super) fn of_phase(name: &str) -> Option<Self> {
        match name {
            "network" => Some(Self::Network),
            "checkin" => Some(Self::Checkin),
            "prepare" => Some(Self::Prepare),
            "wait" => Some(Self::Receive),
            "table" => Some(Self::Table),
            "report" => Some(Self::Report),
            _ => name.starts_with("stream:").then_some(Self::Receive),
        }
    }

    /// For people; of a capture, or of a deploy.
    pub(super) fn name(self, is_capture: bool) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Checkin => "check-in",
            Self::Prepare => "checks",
            Self::Receive if is_capture => "capture",
            Self::Receive => "receive",
            Self::Table => "table",
            Self::Report => "report",
        }
    }
}

/// A stream and what is counted of it, in the unit of [`Transfer::total`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) len: u64,
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
    pub(crate) fn percent(&self) -> f64 {
        percent(self.copied, self.total)
    }

    /// What has come of each part, in percent: they come one after the other.
    pub(super) fn percents(&self, parts: &[Part]) -> Vec<f64> {
        let mut left = self.copied;
        let percents = parts.iter().enumerate().map(|(index, part)| {
            let here = left.min(part.len);
            left -= here;
            match part.len {
                // Nothing is counted of it: it is there when the next one comes.
                0 if !self.is_done && index + 1 >= self.stream => 0.0,
                len => percent(here, len),
            }
        });
        percents.collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display only")]
fn percent(done: u64, total: u64) -> f64 {
    if total == 0 {
        return 100.0;
    }
    (done as f64 / total as f64 * 100.0).clamp(0.0, 100.0)
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
