//! Progress for people: how far, how fast, how long still, and what the others wait for.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use imaging::tap::meter::Bottleneck;
use readable::{NAMED_AFTER, Rate, Size, Time};

use super::engine::{Syncing, View};
use super::silence::{News, Silence, Silences};
use crate::screen;

/// Shows progress on standard error: a line that overwrites itself on a terminal, else one now and
/// then.
pub(super) struct Display {
    is_terminal: bool,
    is_quiet: bool,
    last: Option<Instant>,
    has_line: bool,
    silences: Silences,
    has_sync: bool,
}

/// Least time between two lines that stay.
const LINE_PERIOD: Duration = Duration::from_secs(10);

impl Display {
    pub(super) fn new(is_quiet: bool) -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            is_quiet,
            last: None,
            has_line: false,
            silences: Silences::default(),
            has_sync: false,
        }
    }

    pub(super) fn show(&mut self, view: &View) {
        let is_silent = view.silence.as_ref().and_then(Silence::text).is_some();
        if self.is_quiet || view.geometry.is_none() && !is_silent && !self.silences.lasts() {
            return;
        }
        if self.is_terminal {
            self.has_line = true;
            drop(write!(io::stderr(), "\r\x1b[K{}", line(view)));
            return;
        }
        let text = match self.silences.look(view.silence.as_ref()) {
            Some(News::Silent) => Some(line(view)),
            Some(News::Over(text)) => Some(text),
            None => None,
        };
        if let Some(text) = text {
            self.last = Some(Instant::now());
            drop(writeln!(io::stderr(), "{text}"));
            return;
        }
        let lasts = view.sync.is_some_and(|sync| sync.elapsed >= NAMED_AFTER);
        if lasts && !self.has_sync {
            self.has_sync = true;
            self.last = Some(Instant::now());
            drop(writeln!(io::stderr(), "{}", line(view)));
            return;
        }
        let since = *self.last.get_or_insert_with(Instant::now);
        // A silence is told when it begins to last, and when it ends.
        if !is_silent && since.elapsed() >= LINE_PERIOD {
            self.last = Some(Instant::now());
            drop(writeln!(io::stderr(), "{}", line(view)));
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if self.has_line {
            drop(writeln!(io::stderr()));
        }
    }
}

fn line(view: &View) -> String {
    let mut text = match share(view) {
        Some(share) => format!("{:5.1} %  ", share * 100.0),
        None => String::new(),
    };
    let rate = view.reading.used_rate;
    text += &format!("{} written", Size(view.progress.output_len));
    if let Some(silence) = view.silence.as_ref().and_then(Silence::text) {
        return text + ", " + &silence;
    }
    if let Some(sync) = view.sync {
        return text + ", " + &sync_text(sync);
    }
    text += &format!(", {}", Rate(rate));
    // What stands still is never done.
    if rate >= 1.0
        && let Some(left) = left(view)
    {
        text += &format!(", {} left", Time(left));
    }
    if let Some(bottleneck) = view.reading.bottleneck {
        text += &format!(", bottleneck: {}", word(bottleneck));
    }
    text
}

/// What a sync waits for.
fn sync_text(sync: Syncing) -> String {
    let seconds = sync.elapsed.as_secs();
    match sync.unwritten.filter(|left| *left >= SHOWN_MIN) {
        Some(left) => format!(
            "writing what the system still holds: {} left, {seconds} s",
            Size(left)
        ),
        None => format!("waiting for the disk to confirm, {seconds} s"),
    }
}

/// Less than this is what other programs have just written.
const SHOWN_MIN: u64 = 1 << 20;

/// The slowest part of the pipe, as this command calls it.
pub(super) fn word(bottleneck: Bottleneck) -> &'static str {
    match bottleneck {
        Bottleneck::Network => "source",
        other => screen::word(other),
    }
}

/// How much is done: of the used blocks, or of the source where these are not known.
#[expect(clippy::cast_precision_loss, reason = "for display only")]
fn share(view: &View) -> Option<f64> {
    let progress = &view.progress;
    let (done, total) = match (progress.blocks_total, view.source_len) {
        (0, Some(len)) => (progress.input_len, len),
        (0, None) => return None,
        (total, _) => (progress.blocks_done, total),
    };
    Some((done as f64 / total.max(1) as f64).min(1.0))
}

/// At the average rate so far.
fn left(view: &View) -> Option<Duration> {
    let share = share(view).filter(|share| *share > 0.0)?;
    let seconds = view.elapsed.as_secs_f64() / share * (1.0 - share);
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use image::Progress;

    use super::*;
    use imaging::tap::meter::Reading;

    #[test]
    fn line_tells_share_rate_time_left_and_bottleneck() {
        let mut view = View {
            progress: Progress {
                blocks_done: 1,
                blocks_total: 4,
                input_len: 50,
                output_len: 1 << 20,
                ..Progress::default()
            },
            geometry: None,
            source_len: Some(100),
            reading: Reading {
                used_rate: 2048.0,
                stored_rate: 0.0,
                bottleneck: Some(Bottleneck::Network),
            },
            silence: None,
            sync: None,
            elapsed: Duration::from_secs(20),
        };
        assert_eq!(
            line(&view),
            " 25.0 %  1.0 MB written, 2.0 kB/s, 1 min left, bottleneck: source"
        );
        let silence = |seconds| {
            let wait = Duration::from_secs(seconds);
            Some(Silence::new("standard input".into(), wait, None, None))
        };
        view.silence = silence(13);
        assert_eq!(
            line(&view),
            " 25.0 %  1.0 MB written, nothing from standard input for 13 s"
        );
        view.silence = silence(1);
        view.reading.used_rate = 0.0;
        assert_eq!(
            line(&view),
            " 25.0 %  1.0 MB written, 0 B/s, bottleneck: source"
        );
        let sync = |unwritten| {
            let elapsed = Duration::from_secs(12);
            Some(Syncing { elapsed, unwritten })
        };
        view.sync = sync(Some(312 << 20));
        assert_eq!(
            line(&view),
            " 25.0 %  1.0 MB written, writing what the system still holds: 327.2 MB left, 12 s"
        );
        for unwritten in [None, Some(40 << 10)] {
            view.sync = sync(unwritten);
            assert_eq!(
                line(&view),
                " 25.0 %  1.0 MB written, waiting for the disk to confirm, 12 s"
            );
        }
        view.sync = None;
        // Raw data of unknown length goes by the source.
        view.progress.blocks_total = 0;
        assert_eq!(share(&view), Some(0.5));
        view.source_len = None;
        assert_eq!((share(&view), left(&view)), (None, None));
    }
}
