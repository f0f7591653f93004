//! From [`State`] to lines of text.

use std::time::{Duration, Instant};

use super::state::{Outcome, State, Transfer};

/// The block that a terminal shows and redraws in place: at most `width` columns per line.
pub(crate) fn block(state: &State, now: Instant, width: usize) -> Vec<String> {
    let mut lines = vec![head(state)];
    if !state.disk.is_empty() {
        lines.push(format!("disk     {}", state.disk));
    }
    lines.push(format!("now      {}", state.activity));
    if let Some(transfer) = &state.transfer {
        lines.push(format!(
            "stream   {} of {}: {}",
            transfer.stream, transfer.streams, transfer.name
        ));
        lines.push(bar(transfer, width));
        lines.push(format!("         {}", figures(transfer)));
    }
    if let Some(wait) = &state.wait {
        lines.push(format!(
            "waiting  for {} ({})",
            wait.what,
            clock(now.saturating_duration_since(wait.since))
        ));
        lines.extend(wait.advice.iter().map(|line| format!("         {line}")));
    }
    lines.extend(
        state
            .warnings
            .iter()
            .map(|warning| format!("warning  {warning}")),
    );
    match &state.result {
        None => {}
        Some(Outcome::Done) => lines.push("result   done".into()),
        // The reason is among the warnings.
        Some(Outcome::DoneUnreported(_)) => {
            lines.push("result   done, but the server could not be told".into());
        }
        Some(Outcome::Failed(text)) => lines.push(format!("FAILED   {text}")),
    }
    lines.iter().flat_map(|line| wrap(line, width)).collect()
}

/// How much a [`line`] says.
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
            clock(now.saturating_duration_since(wait.since))
        );
        for advice in wait.advice.iter().filter(|_| detail == Detail::Full) {
            text.push_str("; ");
            text.push_str(advice);
        }
        return Some(text);
    }
    if state.phase == COUNTDOWN {
        return Some(state.activity.clone());
    }
    let transfer = state.transfer.as_ref()?;
    Some(format!(
        "{} ({} of {}): {:.1} %, {}",
        transfer.name,
        transfer.stream,
        transfer.streams,
        transfer.percent(),
        figures(transfer)
    ))
}

/// One sentence without clocks: the same as long as nothing happens.
pub(crate) fn summary(state: &State) -> String {
    let mut text = match (&state.wait, &state.transfer) {
        (Some(wait), _) => format!("waiting for {}", wait.what),
        (None, Some(transfer)) => format!(
            "{} ({} of {}): {:.1} %",
            transfer.name,
            transfer.stream,
            transfer.streams,
            transfer.percent()
        ),
        (None, None) => state.activity.clone(),
    };
    if let Some(advice) = state.wait.as_ref().and_then(|wait| wait.advice.first()) {
        text.push_str(&format!(" ({advice})"));
    }
    text
}

/// What must change before another [`line`] is due at once.
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

/// `1 h 02 min`, `3 min 07 s` or `12 s`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A byte count in binary units.
pub(crate) fn size(bytes: u64) -> String {
    disk::Size(bytes).to_string()
}

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
    let room = width.saturating_sub(9 + 2 + 8).clamp(10, 50);
    let percent = transfer.percent();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "percent is clamped to 0..=100 and room is at most 50"
    )]
    let full = (percent / 100.0 * room as f64) as usize;
    format!(
        "         [{}{}] {percent:5.1} %",
        "#".repeat(full),
        ".".repeat(room - full)
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are finite and not negative; the conversion saturates"
)]
fn figures(transfer: &Transfer) -> String {
    let mut text = format!(
        "{} of {}, {}/s to disk, {}/s from network",
        size(transfer.copied),
        size(transfer.total),
        size(transfer.rate as u64),
        size(transfer.wire_rate as u64)
    );
    if let Some(remaining) = transfer.remaining {
        text.push_str(&format!(", {} left", clock(remaining)));
    }
    if let Some(bottleneck) = transfer.bottleneck {
        text.push_str(&format!(
            ", limited by the {}",
            super::state::word(bottleneck)
        ));
    }
    text
}

/// Cuts at blanks where possible; later lines are indented.
fn wrap(line: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "         ";
    let width = width.max(20);
    let mut lines = Vec::new();
    let mut rest: Vec<char> = line.chars().collect();
    while rest.len() > width {
        let cut = rest[..width]
            .iter()
            .rposition(|c| *c == ' ')
            .filter(|&at| at > INDENT.len())
            .unwrap_or(width);
        let tail = rest.split_off(cut);
        lines.push(rest.iter().collect());
        rest = INDENT
            .chars()
            .chain(tail.into_iter().skip_while(|c| *c == ' '))
            .collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
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
            disk: "/dev/sda 8.0 GiB QEMU".into(),
            activity: "receiving and writing".into(),
            transfer: Some(transfer()),
            warnings: vec!["swap on partition 4 is not created".into()],
            ..State::default()
        };
        assert_eq!(
            block(&state, now, 80),
            [
                &format!(
                    "fos-agent {}  on LAB-01  server http://10.0.0.5/fog/  image win11lab",
                    env!("CARGO_PKG_VERSION")
                ),
                "disk     /dev/sda 8.0 GiB QEMU",
                "now      receiving and writing",
                "stream   2 of 3: d1p2.img",
                "         [############......................................]  25.0 %",
                "         300.0 MiB of 1.2 GiB, 50.0 MiB/s to disk, 20.0 MiB/s from network, 18",
                "         s left, limited by the disk",
                "warning  swap on partition 4 is not created",
            ]
        );
        assert_eq!(
            line(&state, now, Detail::Full).unwrap(),
            "d1p2.img (2 of 3): 25.0 %, 300.0 MiB of 1.2 GiB, 50.0 MiB/s to disk, \
             20.0 MiB/s from network, 18 s left, limited by the disk"
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
    fn sizes_and_times_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
        assert_eq!(clock(Duration::from_secs(59)), "59 s");
        assert_eq!(clock(Duration::from_secs(3725)), "1 h 02 min");
    }
}
