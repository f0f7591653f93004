//! From [`State`] to lines of text.

use std::time::{Duration, Instant};

use readable::{Rate, Size, Time};

use super::state::{Outcome, State, Transfer};

/// The block that a terminal shows and redraws in place: at most `width` columns per line.
pub(crate) fn block(state: &State, now: Instant, width: usize) -> Vec<String> {
    let mut lines = vec![head(state)];
    if !state.disk.is_empty() {
        lines.push(format!("disk     {}", state.disk));
    }
    lines.push(format!("now      {}", state.activity));
    if let Some(transfer) = &state.transfer {
        lines.push(bar(transfer, width));
        lines.push(format!("         {}", figures(transfer)));
        if !transfer.is_done {
            lines.push(format!("stream   {}", stream(transfer)));
        }
    }
    if let Some(wait) = &state.wait {
        lines.push(format!(
            "waiting  for {} ({})",
            wait.what,
            Time(now.saturating_duration_since(wait.since))
        ));
        lines.extend(wait.advice.iter().map(|line| format!("         {line}")));
    }
    lines.extend(warnings(state, now));
    match &state.result {
        None => {}
        Some(Outcome::Done) => lines.push(format!("result   {}", done(state))),
        // The reason is among the warnings.
        Some(Outcome::DoneUnreported(_)) => {
            lines.push(format!(
                "result   {}, but the server does not know of it",
                done(state)
            ));
        }
        Some(Outcome::Failed(text)) => lines.push(format!("FAILED   {text}")),
    }
    lines
        .iter()
        .flat_map(|line| wrap(line, width, LABEL))
        .collect()
}

/// The new warnings, and all of them at the end.
fn warnings(state: &State, now: Instant) -> Vec<String> {
    let is_shown =
        |at: Instant| state.result.is_some() || now.saturating_duration_since(at) < WARNING_SHOWN;
    let (shown, old): (Vec<_>, Vec<_>) = state
        .warnings
        .iter()
        .partition(|warning| is_shown(warning.at));
    let shown = shown
        .iter()
        .map(|warning| format!("warning  {}", warning.text));
    let old = match old.len() {
        0 => None,
        1 => Some("warning  1 before, shown again at the end".to_owned()),
        count => Some(format!("warning  {count} before, shown again at the end")),
    };
    old.into_iter().chain(shown).collect()
}

/// What a success has done.
pub(crate) fn done(state: &State) -> String {
    state.transfer.as_ref().map_or_else(
        || "done".to_owned(),
        |transfer| {
            format!(
                "done: {} written and verified in {}",
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
        figures(transfer),
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
    match (&state.wait, &state.transfer) {
        (Some(wait), _) => format!("{}\n{}", wait.what, wait.advice.join("\n")),
        (None, _) if state.phase == COUNTDOWN => state.activity.clone(),
        (None, Some(transfer)) => transfer.name.clone(),
        (None, None) => String::new(),
    }
}

/// The phase whose activity is printed as it changes.
pub(crate) const COUNTDOWN: &str = "countdown";

fn head(state: &State) -> String {
    let mut text = format!("fos-agent {}", env!("CARGO_PKG_VERSION"));
    for (word, value) in [
        ("on", &state.host),
        ("server", &state.server),
        ("image", &state.image),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("  {word} {value}"));
        }
    }
    text
}

fn bar(transfer: &Transfer, width: usize) -> String {
    let room = width.saturating_sub(LABEL + 2 + 8).clamp(10, LONGEST_BAR);
    let percent = transfer.percent();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "percent is clamped to 0..=100 and room is small"
    )]
    let full = (percent / 100.0 * room as f64) as usize;
    format!(
        "image    [{}{}] {percent:5.1} %",
        "#".repeat(full),
        ".".repeat(room - full)
    )
}

fn figures(transfer: &Transfer) -> String {
    if transfer.is_done {
        return format!("{} in {}", Size(transfer.total), Time(transfer.elapsed));
    }
    let mut text = format!(
        "{} of {}, {} to disk, {} from network",
        Size(transfer.copied),
        Size(transfer.total),
        Rate(transfer.rate),
        Rate(transfer.wire_rate)
    );
    if let Some(remaining) = transfer.remaining {
        text.push_str(&format!(", {} left", Time(remaining)));
    }
    if let Some(bottleneck) = transfer.bottleneck {
        text.push_str(&format!(
            ", limited by the {}",
            super::state::word(bottleneck)
        ));
    }
    text
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
/// On a very wide terminal the eye would lose the way to the number behind it.
const LONGEST_BAR: usize = 150;
/// How long a warning is shown while the work goes on.
const WARNING_SHOWN: Duration = Duration::from_secs(60);
const UNITS: [&str; 16] = [
    "%", "B", "kB", "MB", "GB", "TB", "B/s", "kB/s", "MB/s", "GB/s", "bytes", "ms", "s", "min",
    "h", "d",
];

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::tap::meter::Bottleneck;

    fn warning(text: &str, at: Instant) -> super::super::Warning {
        super::super::Warning {
            text: text.into(),
            at,
        }
    }

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
    fn a_running_transfer_fills_the_screen() {
        let now = Instant::now();
        let state = State {
            host: "LAB-01".into(),
            server: "http://10.0.0.5/fog/".into(),
            image: "win11lab".into(),
            disk: "/dev/sda 8.6 GB QEMU".into(),
            activity: "receiving and writing".into(),
            transfer: Some(transfer()),
            warnings: vec![warning("swap on partition 4 is not created", now)],
            ..State::default()
        };
        assert_eq!(
            block(&state, now, 80),
            [
                &format!(
                    "fos-agent {}  on LAB-01  server http://10.0.0.5/fog/  image win11lab",
                    env!("CARGO_PKG_VERSION")
                ),
                "disk     /dev/sda 8.6 GB QEMU",
                "now      receiving and writing",
                "image    [###############..............................................]  25.0 %",
                "         314.6 MB of 1.3 GB, 52.4 MB/s to disk, 21.0 MB/s from network, 18 s",
                "         left, limited by the disk",
                "stream   2 of 3: d1p2.img",
                "warning  swap on partition 4 is not created",
            ]
        );
        assert_eq!(
            line(&state, now, Detail::Full).unwrap(),
            "25.0 % of the image, 314.6 MB of 1.3 GB, 52.4 MB/s to disk, 21.0 MB/s from network, \
             18 s left, limited by the disk; stream 2 of 3: d1p2.img"
        );
        // A wide console is used.
        let wide = block(&state, now, 160);
        assert_eq!(wide.len(), 7);
        assert!(
            wide[3].chars().count() == 159 || wide[3].chars().count() == 160,
            "{wide:?}"
        );
    }

    #[test]
    fn a_success_is_whole_and_has_no_time_left() {
        let start = Instant::now();
        let mut transfer = transfer();
        (transfer.stream, transfer.at) = (3, start);
        transfer.finish(start + Duration::from_secs(61));
        let state = State {
            transfer: Some(transfer),
            result: Some(Outcome::Done),
            ..State::default()
        };
        assert_eq!(
            block(&state, start, 60)[2..],
            [
                "image    [#########################################] 100.0 %",
                "         1.3 GB in 1 min 7 s",
                "result   done: 1.3 GB written and verified in 1 min 7 s",
            ]
        );
        assert_eq!(line(&state, start, Detail::Full), None);
    }

    #[test]
    fn warnings_are_shown_for_a_while_and_again_at_the_end() {
        let start = Instant::now();
        let late = start + WARNING_SHOWN;
        let mut state = State {
            warnings: vec![warning("no swap", start), warning("slow disk", late)],
            ..State::default()
        };
        assert_eq!(
            block(&state, start, 80)[2..],
            ["warning  no swap", "warning  slow disk"]
        );
        assert_eq!(
            block(&state, late, 80)[2..],
            [
                "warning  1 before, shown again at the end",
                "warning  slow disk"
            ]
        );
        state.result = Some(Outcome::Done);
        let end = block(&state, late + WARNING_SHOWN, 80);
        assert_eq!(
            end[2..],
            ["warning  no swap", "warning  slow disk", "result   done"]
        );
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
        assert_eq!(
            block(&state, now, 80)[2..],
            [
                "waiting  for the sender at 10.0.0.5:9000 (1 min 12 s)",
                "         2 of 3 clients are in; missing: LAB-03",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let state = State {
            result: Some(Outcome::Failed(
                "x".repeat(500) + " and then some words more",
            )),
            ..State::default()
        };
        for width in [20, 40, 79] {
            let lines = block(&state, Instant::now(), width);
            assert!(lines.iter().all(|line| line.chars().count() <= width));
        }
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
