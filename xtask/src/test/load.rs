//! Whether the processors have time for more.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// The processors since some moment.
#[derive(Debug)]
pub(super) struct Load {
    since: Instant,
    times: Times,
}

/// What all processors together have spent since the machine was started, in the kernel's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    total: u64,
    /// Idle, waiting for disks, or at work for what yields to everything else (`nice`).
    spare: u64,
}

impl Load {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            since: Instant::now(),
            times: now()?,
        })
    }

    /// Whether a part of the time was spare. Not before a while has passed; then it begins anew.
    pub(super) fn is_low(&mut self) -> Result<bool> {
        if self.since.elapsed() < WHILE {
            return Ok(false);
        }
        let before = std::mem::replace(self, Self::start()?);
        Ok(self.times.is_low(before.times))
    }
}

impl Times {
    fn is_low(self, before: Self) -> bool {
        let total = self.total.saturating_sub(before.total);
        let spare = self.spare.saturating_sub(before.spare);
        spare * 100 > total * SPARE_PERCENT
    }

    /// The first line of `/proc/stat` (proc(5)).
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields: Vec<u64> = line
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = &fields[..] else {
            return None;
        };
        let spare = nice + idle + iowait;
        Some(Self {
            total: spare + user + system + irq + softirq + steal,
            spare,
        })
    }
}

fn now() -> Result<Times> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    Times::parse(&stat).context("the first line of /proc/stat is unknown")
}

/// Long enough for a program to show what it needs.
const WHILE: Duration = Duration::from_secs(1);
/// A quarter of one of two processors.
const SPARE_PERCENT: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yields_to_everything_is_spare() {
        let times = |text| Times::parse(text).unwrap();
        let before = times("cpu  100 50 30 1000 20 0 5 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n");
        let total = 100 + 50 + 30 + 1000 + 20 + 5;
        assert_eq!((before.total, before.spare), (total, 1070));
        let busy = times("cpu  180 51 50 1002 20 0 5 0 0 0\n");
        assert!(!busy.is_low(before));
        for spare in [
            "cpu  180 90 50 1002 20 0 5 0 0 0\n",
            "cpu  180 51 50 1040 20 0 5 0 0 0\n",
            "cpu  180 51 50 1002 60 0 5 0 0 0\n",
        ] {
            assert!(times(spare).is_low(before), "{spare}");
        }
        assert_eq!(Times::parse("cpu  1 2 3\n"), None);
        now().unwrap();
    }
}
