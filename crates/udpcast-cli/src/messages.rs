//! What the programs say: on standard error or in a log, never on standard output.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cast_net::ReceiveNotice;

/// A line on standard error. A closed one is no reason to end a transfer.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// What a notice says to somebody who may choose the options.
#[must_use]
pub fn notice_text(notice: &ReceiveNotice) -> String {
    match notice {
        ReceiveNotice::OtherSender { other, .. } => format!(
            "{notice}; if it is the one that you want, name it: --sender {}",
            other.ip()
        ),
        ReceiveNotice::FirstSender(_) | ReceiveNotice::SmallOnly(_) | ReceiveNotice::Network(_) => {
            notice.to_string()
        }
    }
}

/// Messages that a log may take, and a progress line.
pub(crate) struct Messages {
    log: Option<File>,
    progress: Option<Progress>,
}

struct Progress {
    period: Duration,
    last: Option<Instant>,
    is_open: bool,
}

impl Messages {
    /// `log`: messages are appended there instead of standard error, each with the time (UTC).
    /// A log that cannot be opened is told, and no reason to end a transfer.
    /// `progress`: least time between two progress lines; `None` for none at all.
    pub(crate) fn new(log: Option<&Path>, progress: Option<Duration>) -> Self {
        let open = |path: &Path| {
            let log = OpenOptions::new().append(true).create(true).open(path);
            log.map_err(|error| {
                let path = path.display();
                say(&format!(
                    "the log {path} cannot be opened ({error}); going on without"
                ));
            })
        };
        let progress = progress.map(|period| Progress {
            period,
            last: None,
            is_open: false,
        });
        Self {
            log: log.and_then(|path| open(path).ok()),
            progress,
        }
    }

    /// An ordinary message: to the log if there is one.
    pub(crate) fn note(&mut self, text: &str) {
        let Some(log) = &mut self.log else {
            self.tell(text);
            return;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let second = now.as_secs() % 86_400;
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let micros = now.subsec_micros();
        let line = format!(
            "{hour:02}:{minute:02}:{:02}.{micros:06} {text}\n",
            second % 60
        );
        if let Err(error) = log.write_all(line.as_bytes()) {
            say(&format!(
                "the log cannot be written any more ({error}); going on without"
            ));
            self.log = None;
            self.tell(text);
        }
    }

    /// A message for standard error and the log.
    pub(crate) fn record(&mut self, text: &str) {
        if self.log.is_some() {
            self.tell(text);
        }
        self.note(text);
    }

    /// The whole stream is there, or with all that are left: with a bell for whoever waits for it.
    pub(crate) fn complete(&mut self) {
        self.end_progress();
        match self.log {
            Some(_) => self.note("Transfer complete."),
            None => say("Transfer complete.\x07"),
        }
    }

    /// A message for the log alone; none without a log.
    pub(crate) fn log(&mut self, text: &str) {
        if self.log.is_some() {
            self.note(text);
        }
    }

    /// A message for standard error in any case.
    pub(crate) fn tell(&mut self, text: &str) {
        self.end_progress();
        say(text);
    }

    /// Shows a progress line if it is time for one, or if it is the `last`.
    pub(crate) fn progress(&mut self, is_last: bool, line: impl fmt::Display) {
        let Some(progress) = &mut self.progress else {
            return;
        };
        let is_due = progress
            .last
            .is_none_or(|last| last.elapsed() >= progress.period);
        if is_due || is_last {
            progress.last = Some(Instant::now());
            progress.is_open = true;
            drop(write!(io::stderr(), "{line}\r"));
        }
    }

    /// The next line shall not overwrite the progress.
    pub(crate) fn end_progress(&mut self) {
        if let Some(progress) = &mut self.progress
            && std::mem::take(&mut progress.is_open)
        {
            say("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_takes_another_sender_is_named() {
        let other = "10.0.0.6:9001".parse().unwrap();
        let ours = Some([10, 0, 0, 5].into());
        let text = notice_text(&ReceiveNotice::OtherSender { other, ours });
        assert!(text.ends_with("--sender 10.0.0.6"), "{text}");
        let text = notice_text(&ReceiveNotice::FirstSender(other));
        assert!(!text.contains("--sender"), "{text}");
    }

    #[test]
    fn a_log_is_appended_to_with_the_time_on_each_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for text in ["first", "second"] {
            let mut messages = Messages::new(Some(&path), None);
            messages.note(text);
        }
        let log = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        for (line, text) in lines.iter().zip(["first", "second"]) {
            let (time, rest) = line.split_once(' ').unwrap();
            assert_eq!(rest, text);
            let shape: String = time
                .chars()
                .map(|c| if c.is_ascii_digit() { '9' } else { c })
                .collect();
            assert_eq!(shape, "99:99:99.999999");
        }
    }
}
