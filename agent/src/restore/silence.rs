//! A source that gives nothing: who is waited for, since when, and how long still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cast_net::{ReceivePhase, ReceiveStatus};
use imaging::Source;
use readable::{Change, NAMED_AFTER, Time};

/// What is known of a source from outside while it is read.
pub(super) struct Watched {
    pub(super) name: String,
    /// Bytes in all, if known.
    pub(super) len: Option<u64>,
    /// Of a stream from the network, with how long it may be silent.
    pub(super) network: Option<(Arc<ReceiveStatus>, Option<Duration>)>,
}

impl Watched {
    pub(super) fn new(source: &Source) -> Self {
        Self {
            name: source.name().to_owned(),
            len: source.stored_len(),
            network: source.network(),
        }
    }

    /// `wait`: since when it has been read in vain.
    pub(super) fn silence(&self, wait: Duration) -> Silence {
        let Some((status, timeout)) = &self.network else {
            return Silence::new(self.name.clone(), wait, None, None);
        };
        let snapshot = status.snapshot();
        let is_receiving = matches!(snapshot.phase, ReceivePhase::Receiving { .. });
        let sender = snapshot
            .connection
            .map(|(sender, _)| sender.ip().to_string());
        let name = sender.unwrap_or_else(|| self.name.clone());
        let now = Instant::now();
        let unheard = snapshot
            .last_packet
            .map(|last| now.saturating_duration_since(last));
        Silence {
            is_said_elsewhere: !is_receiving,
            ..Silence::new(name, wait, unheard, *timeout)
        }
    }
}

/// A wait for a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Silence {
    source: String,
    time: Duration,
    gives_up_in: Option<Duration>,
    /// There are lines of [`Watching`](super::waits::Watching) about it: no data is due yet, or any more.
    is_said_elsewhere: bool,
}

impl Silence {
    /// `wait`: how long the source has been read in vain; `unheard`: since when nothing has come from
    /// the network, however slow the reader; `timeout`: how long that may be.
    pub(super) fn new(
        source: String,
        wait: Duration,
        unheard: Option<Duration>,
        timeout: Option<Duration>,
    ) -> Self {
        let unheard = unheard.unwrap_or(wait);
        Self {
            source,
            time: wait.min(unheard),
            gives_up_in: timeout.map(|timeout| timeout.saturating_sub(unheard)),
            is_said_elsewhere: false,
        }
    }

    /// What to show in place of rates, if it is long enough.
    pub(super) fn text(&self) -> Option<String> {
        if self.time < NAMED_AFTER {
            return None;
        }
        let Self { source, time, .. } = self;
        let mut text = format!("nothing from {source} for {}", Time(*time));
        if let Some(left) = self.gives_up_in {
            text += &format!("; gives up in {}", Time(left));
        }
        Some(text)
    }
}

/// Finds the silences that are worth lines that stay.
#[derive(Debug, Default)]
pub(super) struct Silences {
    rule: readable::Silences,
    /// The source of the last one.
    source: String,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A silence lasts.
    Silent,
    /// It is over: a sentence.
    Over(String),
}

impl Silences {
    pub(super) fn look(&mut self, silence: Option<&Silence>) -> Option<News> {
        let silence = silence.filter(|silence| !silence.is_said_elsewhere);
        let time = silence.map_or(Duration::ZERO, |silence| silence.time);
        match (self.rule.look(time)?, silence) {
            (Change::Over(lasted), _) => {
                let source = std::mem::take(&mut self.source);
                let time = Time(lasted);
                Some(News::Over(format!(
                    "data comes from {source} again, after {time}"
                )))
            }
            (Change::Begun, silence) => {
                self.source = silence.map_or_else(String::new, |it| it.source.clone());
                Some(News::Silent)
            }
        }
    }

    /// Whether the silence has been told of and lasts.
    pub(super) fn lasts(&self) -> bool {
        self.rule.lasts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn pipe(wait: u64) -> Silence {
        Silence::new("standard input".into(), seconds(wait), None, None)
    }

    #[test]
    fn a_silence_says_who_since_when_and_until_when() {
        assert_eq!(pipe(1).text(), None);
        assert_eq!(
            pipe(2).text().unwrap(),
            "nothing from standard input for 2 s"
        );
        assert_eq!(
            pipe(13).text().unwrap(),
            "nothing from standard input for 13 s"
        );
        let network = |wait, unheard, timeout: Option<u64>| {
            let timeout = timeout.map(seconds);
            let unheard = Some(seconds(unheard));
            Silence::new("10.77.0.1".into(), seconds(wait), unheard, timeout).text()
        };
        assert_eq!(
            network(12, 12, Some(180)).unwrap(),
            "nothing from 10.77.0.1 for 12 s; gives up in 2 min 48 s"
        );
        assert_eq!(
            network(12, 12, None).unwrap(),
            "nothing from 10.77.0.1 for 12 s"
        );
        assert!(network(200, 200, Some(180)).unwrap().ends_with("in 0 s"));
        // A sender that is heard is not silent, nor one whose data waits for this side.
        assert_eq!(network(12, 0, Some(180)), None);
        assert_eq!(network(1, 12, Some(180)), None);
    }

    #[test]
    fn a_silence_that_lasts_is_told_once_and_its_end_too() {
        let mut silences = Silences::default();
        assert_eq!(silences.look(None), None);
        assert_eq!(silences.look(Some(&pipe(1))), None);
        assert_eq!(silences.look(None), None);
        assert_eq!(silences.look(Some(&pipe(2))), Some(News::Silent));
        assert_eq!(silences.look(Some(&pipe(25))), None);
        assert!(silences.lasts());
        let over = "data comes from standard input again, after 25 s";
        assert_eq!(silences.look(Some(&pipe(0))), Some(News::Over(over.into())));
        assert!(!silences.lasts());
        assert_eq!(silences.look(Some(&pipe(0))), None);
        let elsewhere = Silence {
            is_said_elsewhere: true,
            ..pipe(60)
        };
        assert_eq!(silences.look(Some(&elsewhere)), None);
    }
}
