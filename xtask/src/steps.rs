//! A list of steps that are all tried, whatever became of those before, and a summary at the end.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::signals;

#[derive(Debug, Default)]
pub(crate) struct Steps {
    passed: usize,
    failed: Vec<&'static str>,
}

impl Steps {
    /// Runs `step` and notes how it ended.
    ///
    /// # Errors
    ///
    /// Only when a signal tells us to end: nothing more is to be tried then.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        signals::check()?;
        println!("==> step {name}");
        let begin = Instant::now();
        let result = step();
        let seconds = begin.elapsed().as_secs();
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("==> step {name}: ok ({seconds} s)");
            }
            Err(error) => {
                signals::check()?;
                self.failed.push(name);
                println!("xtask: {error:#}");
                println!("==> step {name}: FAILED ({seconds} s)");
            }
        }
        Ok(())
    }

    /// Says how many passed; an error if any failed.
    pub(crate) fn finish(self) -> Result<()> {
        let total = self.passed + self.failed.len();
        println!("==> {} of {total} steps passed", self.passed);
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}
