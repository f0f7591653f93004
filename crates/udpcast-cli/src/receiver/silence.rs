//! A sender that falls silent in the middle of the stream.

use std::net::Ipv4Addr;
use std::time::Duration;

use readable::{Change, Time};

use crate::waits::Link;

/// Finds the silences that are worth a line.
pub(super) struct Silences {
    /// When the receiver gives up, if ever.
    timeout: Option<Duration>,
    rule: readable::Silences,
}

impl Silences {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        let rule = readable::Silences::default();
        Self { timeout, rule }
    }

    /// `silent`: how long the sender has not been heard. What is to be said of it, if anything.
    pub(super) fn look(
        &mut self,
        sender: Ipv4Addr,
        silent: Duration,
        link: &Link,
    ) -> Option<String> {
        if let Change::Over(lasted) = self.rule.look(silent)? {
            return Some(format!("{sender} is heard again, after {}", Time(lasted)));
        }
        let end = match self.timeout {
            None => "`--receive-timeout SECONDS` gives up".to_owned(),
            Some(timeout) => {
                format!("gives up in {}", Time(timeout.saturating_sub(silent)))
            }
        };
        let check = if link.is_down() {
            "the link of this machine is down, check the cable;"
        } else {
            "is the sender running?"
        };
        let time = Time(silent);
        Some(format!(
            "nothing from {sender} for {time}; still waiting; {check} {end}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use cast_net::Interface;
    use readable::NAMED_AFTER;

    use super::*;

    #[test]
    fn a_silence_is_told_once_and_its_end_too() {
        let sender = Ipv4Addr::new(10, 77, 0, 1);
        let mut silences = Silences::new(None);
        let mut link = Link::of(&Interface::list().unwrap()[0]);
        let mut look = |seconds| silences.look(sender, Duration::from_secs(seconds), &link);
        assert_eq!((look(0), look(1), look(0)), (None, None, None));
        assert_eq!(
            look(2).unwrap(),
            "nothing from 10.77.0.1 for 2 s; still waiting; is the sender running? \
             `--receive-timeout SECONDS` gives up"
        );
        assert_eq!((look(11), look(25)), (None, None));
        assert_eq!(look(0).unwrap(), "10.77.0.1 is heard again, after 25 s");
        assert_eq!(look(0), None);

        let mut silences = Silences::new(Some(Duration::from_secs(180)));
        let text = silences.look(sender, NAMED_AFTER, &link).unwrap();
        assert!(text.ends_with("is the sender running? gives up in 2 min 58 s"));
        link.see(true);
        let mut silences = Silences::new(None);
        let text = silences.look(sender, NAMED_AFTER, &link).unwrap();
        assert!(text.contains("check the cable"), "{text}");
    }
}
