//! From [`State`] to lines of text.

use std::time::Instant;

use imaging::tap::meter::Bottleneck;
use readable::{Rate, Size, Time};

use super::state::{State, Transfer};

/// What a success has done.
pub(crate) fn done(state: &State) -> String {
    state.transfer.as_ref().map_or_else(
        || "done".to_owned(),
        |transfer| {
            let what = match state.is_capture {
                true => "read, verified and published",
                false => "written and verified",
            };
            format!(
                "done: {} {what} in {}",
                Size(transfer.total),
                Time(transfer.elapsed)
            )
        },
    )
}

/// How much a [`line()`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything.
    Full,
    /// Without the advice, which was printed before.
    Short,
}

/// One line for a serial console or a log; `None` when nothing goes on.
pub(crate) fn line(state: &State, now: Instant, detail: Detail) -> Option<String> {
    if let Some(step) = &state.step {
        return Some(paused(step));
    }
    if let Some(wait) = &state.wait {
        let mut text = format!(
            "waiting for {} ({})",
            wait.what,
            Time(now.saturating_duration_since(wait.since))
        );
        for advice in wait.advice.iter().filter(|_| detail == Detail::Full) {
            text.push_str("; ");
            text.push_str(&one_line(advice));
        }
        return Some(text);
    }
    if state.phase == COUNTDOWN {
        return Some(state.activity.clone());
    }
    let transfer = state.transfer.as_ref().filter(|it| !it.is_done)?;
    Some(format!(
        "{:.1} % of the image, {}; stream {}",
        transfer.percent(),
        figures(state, transfer),
        stream(transfer)
    ))
}

/// The stream in work.
fn stream(transfer: &Transfer) -> String {
    format!(
        "{} of {}: {}",
        transfer.stream, transfer.streams, transfer.name
    )
}

/// One sentence without clocks: the same as long as nothing happens.
pub(crate) fn summary(state: &State) -> String {
    if let Some(step) = &state.step {
        return paused(step);
    }
    let mut text = match (&state.wait, &state.transfer) {
        (Some(wait), _) => format!("waiting for {}", wait.what),
        (None, Some(transfer)) => format!(
            "{:.1} % of the image; stream {}",
            transfer.percent(),
            stream(transfer)
        ),
        (None, None) => state.activity.clone(),
    };
    if let Some(advice) = state.wait.as_ref().and_then(|wait| wait.advice.first()) {
        text.push_str(&format!(" ({advice})"));
    }
    text
}

/// What must change before another [`line()`] is due at once.
pub(crate) fn subject(state: &State) -> String {
    if let Some(step) = &state.step {
        return step.clone();
    }
    match (&state.wait, &state.transfer) {
        (Some(wait), _) => format!("{}\n{}", wait.what, wait.advice.join("\n")),
        (None, _) if state.phase == COUNTDOWN => state.activity.clone(),
        (None, Some(transfer)) => transfer.name.clone(),
        (None, None) => String::new(),
    }
}

/// The phase whose activity is printed as it changes.
pub(crate) const COUNTDOWN: &str = "countdown";

/// Amounts, rates, and the time that is left.
pub(super) fn figures(state: &State, transfer: &Transfer) -> String {
    if transfer.is_done {
        return format!("{} in {}", Size(transfer.total), Time(transfer.elapsed));
    }
    let (disk, network) = match state.is_capture {
        true => ("from disk", "to network"),
        false => ("to disk", "from network"),
    };
    let mut text = format!(
        "{} of {}, {} {disk}, {} {network}",
        Size(transfer.copied),
        Size(transfer.total),
        Rate(transfer.rate),
        Rate(transfer.wire_rate)
    );
    if let Some(remaining) = transfer.remaining {
        text.push_str(&format!(", {} left", Time(remaining)));
    }
    if let Some(bottleneck) = transfer.bottleneck {
        text.push_str(", limited by the ");
        text.push_str(limit(bottleneck, state.machines));
    }
    text
}

/// What the pace depends on, in a session of so many machines. The slowest of them sets the pace of all, and
/// none of the others can see which it is.
fn limit(bottleneck: Bottleneck, machines: u32) -> &'static str {
    match bottleneck {
        Bottleneck::Network if machines > 1 => "network or by a slower machine of the session",
        other => super::state::word(other),
    }
}

/// What a person has to do before a step.
pub(super) fn paused(step: &str) -> String {
    format!("before this step: {step}; press Enter to go on")
}

/// Cuts at blanks, and within a word only where it is longer than a line; never between a number and its
/// unit. Later lines are indented.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(2 * LABEL);
    let mut lines = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        // A text of several lines keeps them, behind the indent.
        let own = if number == 0 { 0 } else { indent };
        let mut rest: Vec<char> = std::iter::repeat_n(' ', own).chain(line.chars()).collect();
        while rest.len() > width {
            let cut = (indent + 1..=width)
                .rev()
                .find(|&at| is_break(&rest, at))
                .unwrap_or(width);
            let tail = rest.split_off(cut);
            lines.push(rest.iter().collect());
            rest = std::iter::repeat_n(' ', indent)
                .chain(tail.into_iter().skip_while(|c| *c == ' '))
                .collect();
        }
        lines.push(rest.into_iter().collect());
    }
    lines
}

/// A text of several lines as one sentence.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        match line.chars().last() {
            None => {}
            Some(':' | ';' | ',') => line.push(' '),
            Some(_) => line.push_str("; "),
        }
        line.push_str(part);
    }
    line
}

/// Whether a line may end before the character at `at`.
fn is_break(line: &[char], at: usize) -> bool {
    if line[at] != ' ' {
        return false;
    }
    let unit: String = line[at + 1..]
        .iter()
        .take_while(|c| c.is_alphabetic() || matches!(c, '%' | '/'))
        .collect();
    let is_number = at
        .checked_sub(1)
        .is_some_and(|before| line[before].is_ascii_digit());
    !(is_number && UNITS.contains(&unit.as_str()))
}

/// Columns of the labels of a block and the blanks after them.
const LABEL: usize = 9;
const UNITS: [&str; 16] = [
    "%", "B", "kB", "MB", "GB", "TB", "B/s", "kB/s", "MB/s", "GB/s", "bytes", "ms", "s", "min",
    "h", "d",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use imaging::tap::meter::Bottleneck;

    fn transfer() -> Transfer {
        Transfer {
            stream: 2,
            streams: 3,
            name: "d1p2.img".into(),
            copied: 300 << 20,
            total: 1200 << 20,
            rate: f64::from(50 << 20),
            wire_rate: f64::from(20 << 20),
            elapsed: Duration::from_secs(6),
            at: Instant::now(),
            is_done: false,
            remaining: Some(Duration::from_secs(18)),
            bottleneck: Some(Bottleneck::Disk),
        }
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_what_the_limit_is() {
        let now = Instant::now();
        let mut state = State {
            transfer: Some(transfer()),
            ..State::default()
        };
        let line = |state: &State| line(state, now, Detail::Full);
        assert_eq!(
            line(&state).unwrap(),
            "25.0 % of the image, 314.6 MB of 1.3 GB, 52.4 MB/s to disk, 21.0 MB/s from network, \
             18 s left, limited by the disk; stream 2 of 3: d1p2.img"
        );
        for (machines, limit) in [
            (1, "limited by the network;"),
            (
                2,
                "limited by the network or by a slower machine of the session;",
            ),
        ] {
            state.machines = machines;
            let transfer = state.transfer.as_mut().unwrap();
            transfer.bottleneck = Some(Bottleneck::Network);
            assert!(line(&state).unwrap().contains(limit));
        }
        state.transfer.as_mut().unwrap().finish(now);
        assert_eq!(line(&state), None);
    }

    #[test]
    fn a_step_that_waits_for_a_person_is_named() {
        let state = State {
            transfer: Some(transfer()),
            step: Some("writing the partition table".into()),
            ..State::default()
        };
        let text = "before this step: writing the partition table; press Enter to go on";
        let shown = line(&state, Instant::now(), Detail::Full);
        assert_eq!(shown.as_deref(), Some(text));
        assert_eq!(summary(&state), text);
        assert_eq!(subject(&state), "writing the partition table");
    }

    #[test]
    fn lines_are_broken_between_words_and_not_before_a_unit() {
        // As long as the line, and longer by the last word.
        let line = "0123456789012 45678";
        assert_eq!(wrap(line, 19, 2), [line]);
        assert_eq!(
            wrap("0123456789012 456789 x", 20, 2),
            ["0123456789012 456789", "  x"]
        );
        assert_eq!(
            wrap("it takes about 12345 MB/s, or", 22, 2),
            ["it takes about", "  12345 MB/s, or"]
        );
    }

    #[test]
    fn a_wait_says_for_what_since_when_and_what_to_check() {
        let start = Instant::now();
        let mut state = State {
            activity: "multicast".into(),
            ..State::default()
        };
        state.wait_for(start, "the sender at 10.0.0.5:9000", Vec::new());
        state.wait_for(
            start + Duration::from_secs(5),
            "the sender at 10.0.0.5:9000",
            vec!["2 of 3 clients are in; missing: LAB-03".into()],
        );
        let now = start + Duration::from_secs(72);
        assert_eq!(
            line(&state, now, Detail::Full).unwrap(),
            "waiting for the sender at 10.0.0.5:9000 (1 min 12 s); \
             2 of 3 clients are in; missing: LAB-03"
        );
    }

    #[test]
    fn a_countdown_is_printed_step_by_step() {
        let state = State {
            phase: COUNTDOWN,
            activity: "reboot in 50 s".into(),
            ..State::default()
        };
        let shown = line(&state, Instant::now(), Detail::Full);
        assert_eq!(shown.as_deref(), Some("reboot in 50 s"));
        assert_eq!(subject(&state), "reboot in 50 s");
    }

    #[test]
    fn idle_has_no_line() {
        assert_eq!(line(&State::default(), Instant::now(), Detail::Full), None);
    }

    #[test]
    fn a_text_of_several_lines_keeps_them() {
        let text = "result   no disk; found:\n  /dev/sda: a disk with a long name, in use\n  /dev/sdb: USB";
        assert_eq!(
            wrap(text, 40, LABEL),
            [
                "result   no disk; found:",
                "           /dev/sda: a disk with a long",
                "         name, in use",
                "           /dev/sdb: USB",
            ]
        );
        assert_eq!(
            one_line("no disk; found:\n  /dev/sda: a\n\n  /dev/sdb: b\n"),
            "no disk; found: /dev/sda: a; /dev/sdb: b"
        );
        assert_eq!(one_line("plain"), "plain");
    }
}
