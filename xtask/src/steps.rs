//! A list of steps that are all tried, whatever became of those before, and a summary at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::signals;

#[derive(Debug, Default)]
pub(crate) struct Steps {
    ended: Vec<Ended>,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) is_success: bool,
    pub(crate) wall: Duration,
    /// Time on the processors, where it is known.
    pub(crate) cpu: Option<Duration>,
}

impl Steps {
    /// Runs `step` and notes how it ended.
    ///
    /// # Errors
    ///
    /// Only when a signal tells us to end: nothing more is to be tried then.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        self.run_for(name, step).map(drop)
    }

    /// The same for a step that makes something for later ones; `None` if it failed.
    pub(crate) fn run_for<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        signals::check()?;
        println!("{}", begin_line(name));
        let begin = Instant::now();
        let result = step();
        let is_success = result.is_ok();
        if let Err(error) = &result {
            signals::check()?;
            println!("xtask: {error:#}");
        }
        let ended = Ended {
            name: name.to_owned(),
            is_success,
            wall: begin.elapsed(),
            cpu: None,
        };
        println!("{}", ended.end_line());
        self.ended.push(ended);
        Ok(result.ok())
    }

    /// Notes steps that were run elsewhere.
    pub(crate) fn add(&mut self, ended: Vec<Ended>) {
        self.ended.extend(ended);
    }

    /// Says what took long, and how many passed; an error if any failed.
    pub(crate) fn finish(mut self) -> Result<()> {
        let failed: Vec<String> = self
            .ended
            .iter()
            .filter(|step| !step.is_success)
            .map(|step| step.name.clone())
            .collect();
        let total = self.ended.len();
        self.ended.sort_by_key(|step| std::cmp::Reverse(step.wall));
        println!("==> what took longest (wall time, time on the processors)");
        for step in self.ended.iter().take(TABLE_LEN) {
            println!("{}", step.table_line());
        }
        println!("==> {} of {total} steps passed", total - failed.len());
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

/// Lines of the table at the end.
const TABLE_LEN: usize = 20;

/// Stands before the output of a step; `.ci/run` counts the lines that end them.
pub(crate) fn begin_line(name: &str) -> String {
    format!("==> step {name}")
}

impl Ended {
    pub(crate) fn end_line(&self) -> String {
        let how = if self.is_success { "ok" } else { "FAILED" };
        format!("==> step {}: {how} ({} s)", self.name, self.wall.as_secs())
    }

    fn table_line(&self) -> String {
        let cpu = self.cpu.map_or_else(
            || "-".to_owned(),
            |cpu| format!("{:.1} s", cpu.as_secs_f64()),
        );
        let wall = self.wall.as_secs_f64();
        format!("    {wall:>6.1} s {cpu:>9}  {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_are_tried_and_the_failed_ones_are_named() {
        let mut steps = Steps::default();
        let made = steps.run_for("makes", || Ok(1)).unwrap();
        assert_eq!(made, Some(1));
        steps.run("breaks", || bail!("broken")).unwrap();
        steps.add(vec![Ended {
            name: "elsewhere".to_owned(),
            is_success: false,
            wall: Duration::from_millis(1500),
            cpu: Some(Duration::from_millis(250)),
        }]);
        let error = steps.finish().unwrap_err();
        assert_eq!(error.to_string(), "failed: breaks, elsewhere");
    }

    #[test]
    fn lines_are_as_they_are_counted() {
        let mut ended = Ended {
            name: "clippy".to_owned(),
            is_success: true,
            wall: Duration::from_millis(62_400),
            cpu: Some(Duration::from_millis(100_250)),
        };
        assert_eq!(ended.end_line(), "==> step clippy: ok (62 s)");
        assert_eq!(ended.table_line(), "      62.4 s   100.2 s  clippy");
        ended.is_success = false;
        ended.cpu = None;
        assert_eq!(ended.end_line(), "==> step clippy: FAILED (62 s)");
        assert_eq!(ended.table_line(), "      62.4 s         -  clippy");
    }
}
