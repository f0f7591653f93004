//! Figures into a table, and the document around it.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Options, Plan};
use crate::process::Cmd;

/// One figure of both.
#[derive(Clone, Debug)]
pub(super) struct Row {
    title: String,
    unit: &'static str,
    original: Option<f64>,
    ours: f64,
    former: Option<f64>,
    goal: Goal,
}

/// What ours is to reach.
#[derive(Clone, Copy, Debug)]
enum Goal {
    None,
    /// So many times the original's figure at least.
    TimesAtLeast(f64),
    TimesAtMost(f64),
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    /// A figure of which more is better; `goal` times the original's.
    pub(super) fn higher(
        title: &str,
        unit: &'static str,
        original: f64,
        ours: f64,
        goal: Option<f64>,
    ) -> Self {
        let goal = goal.map_or(Goal::None, Goal::TimesAtLeast);
        Self::new(title, unit, Some(original), ours, goal)
    }

    /// A figure of which less is better; `goal` times the original's.
    pub(super) fn lower(
        title: &str,
        unit: &'static str,
        original: f64,
        ours: f64,
        goal: Option<f64>,
    ) -> Self {
        let goal = goal.map_or(Goal::None, Goal::TimesAtMost);
        Self::new(title, unit, Some(original), ours, goal)
    }

    /// A figure that only ours is measured for.
    pub(super) fn ours(title: &str, unit: &'static str, ours: f64) -> Self {
        Self::new(title, unit, None, ours, Goal::None)
    }

    pub(super) fn limit_at_most(self, limit: f64) -> Self {
        let goal = Goal::AtMost(limit);
        Self { goal, ..self }
    }

    pub(super) fn limit_at_least(self, limit: f64) -> Self {
        let goal = Goal::AtLeast(limit);
        Self { goal, ..self }
    }

    /// With the figure of an earlier version of ours.
    pub(super) fn former(self, former: Option<f64>) -> Self {
        Self { former, ..self }
    }

    fn new(title: &str, unit: &'static str, original: Option<f64>, ours: f64, goal: Goal) -> Self {
        Self {
            title: title.to_owned(),
            unit,
            original,
            ours,
            former: None,
            goal,
        }
    }

    fn line(&self, has_former: bool) -> String {
        let ratio = self.original.map(|original| self.ours / original);
        let (goal, is_met) = match self.goal {
            Goal::None => (String::new(), None),
            Goal::TimesAtLeast(times) => (format!("≥ {times:.2} ×"), ratio.map(|r| r >= times)),
            Goal::TimesAtMost(times) => (format!("≤ {times:.2} ×"), ratio.map(|r| r <= times)),
            Goal::AtLeast(limit) => (format!("≥ {}", number(limit)), Some(self.ours >= limit)),
            Goal::AtMost(limit) => (format!("≤ {}", number(limit)), Some(self.ours <= limit)),
        };
        let verdict = match is_met {
            None => "",
            Some(true) => "met",
            Some(false) => "**not met**",
        };
        let original = self.original.map_or_else(String::new, number);
        let text = |ratio: Option<f64>| {
            ratio
                .filter(|ratio| ratio.is_finite())
                .map_or_else(String::new, |ratio| format!("{ratio:.2}"))
        };
        let ratio = text(ratio);
        let former = match has_former {
            true => {
                let figure = self.former.map_or_else(String::new, number);
                let ratio = text(self.former.map(|former| self.ours / former));
                format!(" {figure} | {ratio} |")
            }
            false => String::new(),
        };
        format!(
            "| {} | {} | {original} | {} | {ratio} | {goal} | {verdict} |{former}",
            self.title,
            self.unit,
            number(self.ours)
        )
    }
}

/// A table of texts: a line for each case, a column for each pair of programs.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    caption: String,
    lines: Vec<Vec<String>>,
}

impl Grid {
    /// `caption` is a paragraph above the table, `head` its first line.
    pub(super) fn new<T: Into<String>>(caption: &str, head: impl IntoIterator<Item = T>) -> Self {
        let head: Vec<String> = head.into_iter().map(Into::into).collect();
        let rule = vec!["---".to_owned(); head.len()];
        Self {
            caption: caption.to_owned(),
            lines: vec![head, rule],
        }
    }

    pub(super) fn add(&mut self, cells: Vec<String>) {
        println!("{}", line_of(&cells));
        self.lines.push(cells);
    }

    fn text(&self) -> String {
        let lines: String = self
            .lines
            .iter()
            .map(|cells| line_of(cells) + "\n")
            .collect();
        format!("\n{}\n\n{lines}", self.caption)
    }
}

fn line_of(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// Three digits, or as many as a whole number has.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(value), 1) => *value,
        (Some(value), _) => (value + sorted[middle - 1]) / 2.0,
    }
}

/// All figures of a run.
#[derive(Debug)]
pub(super) struct Report {
    head: String,
    rows: Vec<Row>,
    grids: Vec<Grid>,
}

impl Report {
    pub(super) fn new(options: &Options, plan: &Plan) -> Result<Self> {
        let said = |program: &str, arguments: &[&str]| -> Result<String> {
            let (_, output, errors) = Cmd::new(program).args(arguments).capture()?;
            let first = output.lines().chain(errors.lines()).next();
            Ok(first.unwrap_or_default().trim().to_owned())
        };
        let kernel = said("uname", &["-sr"])?;
        let cores = said("nproc", &[])?;
        let version = said(
            "dpkg-query",
            &["-W", "-f", "${Package} ${Version}", "udpcast"],
        )?;
        let partclone = said(
            "dpkg-query",
            &["-W", "-f", "${Package} ${Version}", "partclone"],
        )?;
        let command = if options.quick {
            "cargo xtask bench --quick".to_owned()
        } else {
            format!(
                "cargo xtask bench --rounds {} --size {}",
                plan.rounds,
                plan.size / 1_000_000
            )
        };
        let head = format!(
            "# Benchmarks\n\n\
             Made by `{command}`: {kernel}, {cores} cores that everything shared, sender and \
             receivers alike; {version}, {partclone}.\n\n\
             Medians of {} rounds; in each round the original programs ran, then ours, and beside ours an earlier \
             version if there is one, several times in turn. A long stream \
             has {} MB that do not compress. Its rate is its length by the time from the start of the \
             sender's process to its end; receivers wait before that, and write to `/dev/null`. CPU \
             and memory are what the kernel charges to the process (user and system time, largest \
             resident size); on a virtual cable that includes carrying its datagrams to the sockets of \
             all receivers. Everything ran at the highest priority (nice -20).\n",
            plan.rounds,
            plan.size / 1_000_000
        );
        Ok(Self {
            head,
            rows: Vec::new(),
            grids: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, row: Row) {
        println!("{}", row.line(row.former.is_some()));
        self.rows.push(row);
    }

    pub(super) fn add_grid(&mut self, grid: Grid) {
        self.grids.push(grid);
    }

    /// Transfers of the original programs that failed and were repeated.
    pub(super) fn note_failures(&mut self, count: u32) {
        if count > 0 {
            let times = if count == 1 {
                "once"
            } else {
                &format!("{count} times")
            };
            self.head += &format!(
                "\nThe original programs failed {times} (a receiver gave up, with status 1); only \
                 transfers that succeeded are in the table.\n"
            );
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.head.clone();
        let has_former = self.rows.iter().any(|row| row.former.is_some());
        let former = match has_former {
            true => [" former | ours / former |", " --: | --: |"],
            false => [""; 2],
        };
        if !self.rows.is_empty() {
            text += &format!(
                "\n| what | unit | original | ours | ours / original | goal | |{}\n\
                 | --- | --- | --: | --: | --: | --- | --- |{}\n",
                former[0], former[1]
            );
        }
        for row in &self.rows {
            writeln!(text, "{}", row.line(has_former)).unwrap_or_default();
        }
        text.extend(self.grids.iter().map(Grid::text));
        text += NOTES;
        text
    }
}

const NOTES: &str = include_str!("notes.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_or_not() {
        let row = |ours| Row::higher("x", "MB/s", 100.0, ours, Some(3.0)).line(false);
        assert_eq!(
            row(300.0),
            "| x | MB/s | 100 | 300 | 3.00 | ≥ 3.00 × | met |"
        );
        assert!(row(299.0).contains("not met"));
        let row = |ours| {
            Row::lower("x", "s", 1.9, ours, None)
                .limit_at_most(0.2)
                .line(false)
        };
        assert!(row(0.2).contains("| met |") && row(0.21).contains("not met"));
    }

    #[test]
    fn an_earlier_version_has_columns_of_its_own() {
        let row = |former| Row::ours("x", "MB", 30.0).former(former).line(true);
        assert_eq!(
            row(Some(40.0)),
            "| x | MB |  | 30.0 |  |  |  | 40.0 | 0.75 |"
        );
        assert_eq!(row(None), "| x | MB |  | 30.0 |  |  |  |  |  |");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[f64]| median(values.iter().copied());
        assert_eq!(of(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(of(&[]), 0.0);
    }
}
