//! The table at the end.

use std::time::Duration;

use super::phases::Story;

/// A client's column.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) title: String,
    /// From power-on to the agent's first line: firmware, network boot, kernel.
    pub(crate) boot: Option<Duration>,
    /// From power-on to the first byte on its disk.
    pub(crate) first_write: Option<Duration>,
    pub(crate) story: Story,
    /// From power-on to the end of the machine.
    pub(crate) total: Option<Duration>,
    pub(crate) verdict: String,
}

/// The columns side by side, a line for each phase, times in seconds.
pub(crate) fn table(columns: &[Column]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for column in columns {
        for phase in &column.story.phases {
            if !names.contains(&phase.name.as_str()) {
                names.push(&phase.name);
            }
        }
    }
    let mut lines: Vec<Vec<String>> = vec![
        std::iter::once("seconds".to_owned())
            .chain(columns.iter().map(|column| column.title.clone()))
            .collect(),
    ];
    let row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        std::iter::once(name.to_owned())
            .chain(columns.iter().map(cell))
            .collect()
    };
    if columns.iter().any(|column| column.boot.is_some()) {
        lines.push(row("power-on to agent", &|column| {
            column.boot.map_or_else(none, seconds)
        }));
    }
    if columns.iter().any(|column| column.first_write.is_some()) {
        lines.push(row("power-on to first byte", &|column| {
            column.first_write.map_or_else(none, seconds)
        }));
    }
    for name in names {
        lines.push(row(name, &|column| phase_seconds(&column.story, name)));
    }
    lines.push(row("all together", &|column| {
        column.total.map_or_else(none, seconds)
    }));
    lines.push(row("agent's memory", &|column| {
        column
            .story
            .memory_peak
            .map_or_else(none, |kib| format!("{} MB", kib * 1024 / 1_000_000))
    }));
    lines.push(row("result", &|column| column.verdict.clone()));

    let widths: Vec<usize> = (0..=columns.len())
        .map(|index| {
            lines
                .iter()
                .map(|line| line[index].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
            if index == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push('\n');
    }
    text
}

/// All times of that name together; a phase that never ended is marked.
fn phase_seconds(story: &Story, name: &str) -> String {
    let mut phases = story
        .phases
        .iter()
        .filter(|phase| phase.name == name)
        .peekable();
    if phases.peek().is_none() {
        return none();
    }
    let mut total = 0;
    for phase in phases {
        match phase.took {
            Some(took) => total += took,
            None => return "not ended".to_owned(),
        }
    }
    seconds(Duration::from_millis(total))
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

fn none() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_a_line_and_every_client_a_column() {
        let column = |title: &str, text: &str| Column {
            title: title.to_owned(),
            boot: None,
            first_write: None,
            story: Story::parse(text),
            total: Some(Duration::from_millis(12_340)),
            verdict: "equal".to_owned(),
        };
        let text = table(&[
            column(
                "pc1",
                "fos-agent: phase a start t=1\nfos-agent: phase a end t=1501\n",
            ),
            column("pc2", "fos-agent: phase b start t=1\n"),
        ]);
        assert_eq!(
            text,
            "seconds           pc1        pc2\n\
             a                 1.5          -\n\
             b                   -  not ended\n\
             all together     12.3       12.3\n\
             agent's memory      -          -\n\
             result          equal      equal\n"
        );
    }
}
