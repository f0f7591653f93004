//! The whole screen of a terminal, from [`State`] and the lines that were printed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use readable::Time;

use super::draw::{self, COUNTDOWN};
use super::large::large;
use super::state::{Outcome, Part, Stage, State, Transfer};
use super::style::{Row, Style};

/// What is shown, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    /// Lines that were printed, the last one at the end.
    pub(super) log: &'a VecDeque<String>,
    pub(super) now: Instant,
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// As many rows as the terminal has lines, none wider than it is.
pub(super) fn page(view: View<'_>) -> Vec<Row> {
    let has_frame = view.rows > FRAME;
    let room = if has_frame {
        view.rows - FRAME
    } else {
        view.rows
    };
    let mut body = Vec::new();
    for density in Density::ALL {
        body = view.body(density);
        if body.len() <= room {
            break;
        }
    }
    // What is most important comes last.
    body.drain(..body.len().saturating_sub(room));
    let log = view.log_rows(room - body.len());
    body.resize(room - log.len(), Row::default());
    body.extend(log);
    if has_frame {
        body.insert(0, view.head());
        body.push(view.foot());
    }
    body.into_iter().map(|row| row.cut(view.columns)).collect()
}

/// How much room things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Density {
    /// Blank lines between the parts.
    Roomy,
    Tight,
    /// No large letters.
    Small,
    /// Of the streams only the present one.
    Short,
}

impl Density {
    const ALL: [Self; 4] = [Self::Roomy, Self::Tight, Self::Small, Self::Short];
}

impl View<'_> {
    /// Columns beside the margin.
    fn width(&self) -> usize {
        self.columns.saturating_sub(2 * MARGIN.len())
    }

    fn head(&self) -> Row {
        let mut text = format!("{MARGIN}fos-agent {}", env!("CARGO_PKG_VERSION"));
        for (word, value) in [("server", &self.state.server), ("image", &self.state.image)] {
            if !value.is_empty() {
                text.push_str(&format!("   {word} {value}"));
            }
        }
        self.frame(&text)
    }

    fn foot(&self) -> Row {
        let mut text = MARGIN.to_owned();
        if self.state.has_shell {
            text.push_str(SHELL_HINT);
            if self.state.result.is_none() {
                text.push_str(", the job goes on meanwhile");
            }
        }
        self.frame(&text)
    }

    /// A row of the frame, which has the colour of the result.
    fn frame(&self, text: &str) -> Row {
        let style = match &self.state.result {
            None => Style::Frame,
            Some(Outcome::Done) => Style::GoodBar,
            Some(Outcome::DoneUnreported(_)) => Style::WarningBar,
            Some(Outcome::Failed(_)) => Style::BadBar,
        };
        Row::new(style, text).filled(style, self.columns)
    }

    fn body(&self, density: Density) -> Vec<Row> {
        let groups = [
            self.name(density),
            self.notice(),
            self.facts(density),
            self.progress(density),
            self.waiting(),
            self.warnings(),
            self.result(),
        ];
        let mut body = Vec::new();
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            if density == Density::Roomy {
                body.push(Row::default());
            }
            body.extend(group);
        }
        body
    }

    fn name(&self, density: Density) -> Vec<Row> {
        let host = &self.state.host;
        if host.is_empty() {
            return Vec::new();
        }
        let height = self.rows / LARGEST_PART;
        let letters = (density < Density::Small)
            .then(|| large(host, self.width(), height))
            .flatten();
        match letters {
            Some(rows) => rows.into_iter().map(indented).collect(),
            None => vec![Row::new(Style::Bold, &format!("{MARGIN}{host}"))],
        }
    }

    /// What must be seen from afar.
    fn notice(&self) -> Vec<Row> {
        let (style, text) = match &self.state.result {
            Some(Outcome::Done) => (Style::GoodBar, "DONE"),
            Some(Outcome::DoneUnreported(_)) => (Style::WarningBar, "DONE, BUT NOT REPORTED"),
            Some(Outcome::Failed(_)) => (Style::BadBar, "FAILED"),
            // Nobody is harmed before there is a disk to write to.
            None if self.state.disk.is_empty() => return Vec::new(),
            None => (Style::WarningBar, "DO NOT SWITCH OFF THIS COMPUTER"),
        };
        vec![Row::centred(style, text, self.columns)]
    }

    fn facts(&self, density: Density) -> Vec<Row> {
        let mut rows = Vec::new();
        if !self.state.disk.is_empty() {
            rows.extend(self.labelled("disk", Style::Plain, &self.state.disk));
        }
        if density < Density::Short {
            rows.extend(self.stages());
        }
        match &self.state.countdown {
            Some(countdown) if self.state.phase == COUNTDOWN => {
                rows.extend(self.labelled("now", Style::Bold, &countdown.text(self.now)));
            }
            _ => rows.extend(self.labelled("now", Style::Bold, &self.state.activity)),
        }
        if let Some(step) = &self.state.step {
            rows.extend(self.labelled("paused", Style::Warning, &draw::paused(step)));
        }
        rows
    }

    /// All stages; the present one stands out, and those before it are marked.
    fn stages(&self) -> Option<Row> {
        let present = self.state.stage?;
        let is_over = matches!(
            self.state.result,
            Some(Outcome::Done | Outcome::DoneUnreported(_))
        );
        let mut row = indented(Row::new(Style::Faint, &format!("{:LABEL$}", "steps")));
        for (index, stage) in Stage::all(self.state.is_capture).enumerate() {
            if index > 0 {
                row = row.with(Style::Faint, " > ");
            }
            let style = match stage.cmp(&present) {
                _ if is_over => Style::Good,
                std::cmp::Ordering::Less => Style::Good,
                std::cmp::Ordering::Equal if self.state.result.is_some() => Style::Bad,
                std::cmp::Ordering::Equal => Style::Solid,
                std::cmp::Ordering::Greater => Style::Faint,
            };
            row = row.with(style, stage.name(self.state.is_capture));
        }
        // A narrow terminal shows the stage by what is done in it.
        (row.len() <= self.columns).then_some(row)
    }

    fn progress(&self, density: Density) -> Vec<Row> {
        let Some(transfer) = &self.state.transfer else {
            return Vec::new();
        };
        let parts = self.shown_parts(transfer, density);
        let label = parts
            .iter()
            .map(|(part, _)| part.name.chars().count() + 1)
            .max()
            .unwrap_or(0)
            .clamp(LABEL, LONGEST_LABEL);
        let mut rows = vec![self.bar("all", label, transfer.percent(), Style::Solid)];
        for (part, percent) in parts {
            let style = if percent < 100.0 {
                Style::Part
            } else {
                Style::DonePart
            };
            rows.push(self.bar(&part.name, label, percent, style));
        }
        if !matches!(self.state.result, Some(Outcome::Failed(_))) {
            rows.extend(self.labelled("", Style::Plain, &draw::figures(self.state, transfer)));
        }
        rows
    }

    /// The parts around the present one, as many as there is room for.
    fn shown_parts(&self, transfer: &Transfer, density: Density) -> Vec<(&Part, f64)> {
        let parts = &self.state.parts;
        let all: Vec<_> = parts.iter().zip(transfer.percents(parts)).collect();
        let most = if density == Density::Short {
            1
        } else {
            (self.rows / LARGEST_PART).max(1)
        };
        if all.len() <= most {
            return all;
        }
        let present = transfer.stream.saturating_sub(1).min(all.len() - 1);
        let first = present.saturating_sub(most / 2).min(all.len() - most);
        all.into_iter().skip(first).take(most).collect()
    }

    fn bar(&self, name: &str, label: usize, percent: f64, style: Style) -> Row {
        let shown: String = name.chars().take(label - 1).collect();
        let room = self
            .width()
            .saturating_sub(label + "[] 100.0 %".len())
            .max(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "percent is between 0 and 100 and room is small"
        )]
        let full = ((percent / 100.0 * room as f64) as usize).min(room);
        indented(Row::new(Style::Plain, &format!("{shown:label$}")))
            .with(Style::Plain, "[")
            .with(style, &" ".repeat(full))
            .with(Style::Faint, &".".repeat(room - full))
            .with(Style::Plain, &format!("] {percent:5.1} %"))
    }

    fn waiting(&self) -> Vec<Row> {
        let Some(wait) = &self.state.wait else {
            return Vec::new();
        };
        let since = self.now.saturating_duration_since(wait.since);
        let what = format!("for {} ({})", wait.what, Time(since));
        let mut rows = self.labelled("waiting", Style::Warning, &what);
        for advice in &wait.advice {
            rows.extend(self.labelled("", Style::Plain, advice));
        }
        rows
    }

    /// The new warnings, and all of them at the end.
    fn warnings(&self) -> Vec<Row> {
        let is_shown = |at: Instant| {
            self.state.result.is_some() || self.now.saturating_duration_since(at) < WARNING_SHOWN
        };
        let (shown, old): (Vec<_>, Vec<_>) = self
            .state
            .warnings
            .iter()
            .partition(|warning| is_shown(warning.at));
        let old = match old.len() {
            0 => None,
            1 => Some("1 before, shown again at the end".to_owned()),
            count => Some(format!("{count} before, shown again at the end")),
        };
        let shown = shown.into_iter().map(|warning| warning.text.clone());
        old.into_iter()
            .chain(shown)
            .flat_map(|text| self.labelled("warning", Style::Warning, &text))
            .collect()
    }

    fn result(&self) -> Vec<Row> {
        match &self.state.result {
            None => Vec::new(),
            // The reason for a missing report is among the warnings.
            Some(Outcome::Done | Outcome::DoneUnreported(_)) => {
                self.labelled("result", Style::Good, &draw::done(self.state))
            }
            Some(Outcome::Failed(text)) => self.labelled("FAILED", Style::Bad, text),
        }
    }

    /// The last lines that were printed, as far as they are whole, below a blank one.
    fn log_rows(&self, free: usize) -> Vec<Row> {
        let mut rows = VecDeque::new();
        for line in self.log.iter().rev() {
            let texts = draw::wrap(line, self.width(), 2);
            if rows.len() + texts.len() >= free {
                break;
            }
            for text in texts.iter().rev() {
                rows.push_front(Row::new(Style::Faint, &format!("{MARGIN}{text}")));
            }
        }
        rows.into()
    }

    /// A text behind a label, on as many rows as it needs.
    fn labelled(&self, label: &str, style: Style, text: &str) -> Vec<Row> {
        let lines = draw::wrap(&format!("{label:LABEL$}{text}"), self.width(), LABEL);
        let rows = lines.into_iter().map(|line| {
            let text = line.chars().skip(LABEL).collect::<String>();
            let label = line.chars().take(LABEL).collect::<String>();
            indented(Row::new(Style::Faint, &label)).with(style, &text)
        });
        rows.collect()
    }
}

fn indented(row: Row) -> Row {
    Row::new(Style::Plain, MARGIN).followed_by(row)
}

const MARGIN: &str = " ";
/// Rows of the frame.
const FRAME: usize = 2;
/// Columns of the labels and the blanks after them.
const LABEL: usize = 9;
const LONGEST_LABEL: usize = 24;
/// Large letters, and the bars of the parts, take one of so many lines each.
const LARGEST_PART: usize = 5;
/// How long a warning is shown while the work goes on.
const WARNING_SHOWN: Duration = Duration::from_secs(60);
const SHELL_HINT: &str = "s and Enter: a shell";

#[cfg(test)]
mod tests;
