//! When a silence, or another wait, is named to people.

use std::time::Duration;

/// A silence that has lasted so long is named, wherever it is noticed: by sender, receiver, or a decoder that
/// waits for its source or its disk. Shorter ones are the ordinary course of things.
pub const NAMED_AFTER: Duration = Duration::from_secs(2);

/// Finds the silences that are worth a line: each is named once, and so is its end.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    /// The last look at the one that has been named.
    named: Option<Duration>,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A silence lasts.
    Begun,
    /// It is over, and had lasted for so long when it was looked at last.
    Over(Duration),
}

impl Silences {
    /// `silent`: how long the present silence has lasted; zero if there is none.
    pub fn look(&mut self, silent: Duration) -> Option<Change> {
        if silent < NAMED_AFTER {
            return self.named.take().map(Change::Over);
        }
        match self.named.replace(silent) {
            None => Some(Change::Begun),
            Some(_) => None,
        }
    }

    /// Whether the silence has been named, and lasts.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.named.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_named_once_and_its_end_too() {
        let mut silences = Silences::default();
        let mut look = |millis| silences.look(Duration::from_millis(millis));
        assert_eq!((look(0), look(1999), look(0)), (None, None, None));
        assert_eq!(look(2000), Some(Change::Begun));
        assert_eq!((look(2100), look(25_000)), (None, None));
        assert_eq!(look(10), Some(Change::Over(Duration::from_secs(25))));
        assert_eq!(look(20), None);
        assert_eq!(look(3000), Some(Change::Begun), "another one");
        assert!(silences.lasts());
    }
}
