//! A stream to many receivers, without trouble.

use std::{cell::Cell, path::Path};

use anyhow::{Context as _, Result};

use super::{
    Plan,
    table::{Report, Row},
    transfer::{Figures, Pair, Run, Stage, people},
};
use crate::signals;

pub(super) fn measure(
    stage: &Stage<'_>,
    long: &Path,
    plan: &Plan,
    report: &mut Report,
) -> Result<()> {
    println!("==> streams in {}", stage.room.name());
    let short = stage.directory.join("short");
    super::random_file(&short, TINY)?;
    let bench = Bench {
        stage,
        plan,
        failures: Cell::new(0),
    };
    let announcing = |receivers| Run {
        // Without it the original waits for two seconds first: the short stream shows that.
        options: ANNOUNCE_OFTEN,
        ..Run::new(Pair::Ours, receivers, long, plan.size)
    };

    for receivers in [1, 4, MOST] {
        let [original, ours] = bench.both(&announcing(receivers))?;
        let title = format!("no rate limit, {}", people(receivers));
        report.add(Row::higher(
            &title,
            "MB/s",
            original.rate,
            ours.rate,
            Some(3.0),
        ));
        report.add(Row::lower(
            &format!("{title}: sender"),
            "CPU s/GB",
            original.sender_cpu,
            ours.sender_cpu,
            Some(1.0 / 3.0),
        ));
        report.add(Row::lower(
            &format!("{title}: a receiver"),
            "CPU s/GB",
            original.receiver_cpu,
            ours.receiver_cpu,
            None,
        ));
        report.add(Row::lower(
            &format!("{title}: sender"),
            "MB of memory",
            original.sender_memory,
            ours.sender_memory,
            None,
        ));
        report.add(Row::lower(
            &format!("{title}: a receiver"),
            "MB of memory",
            original.receiver_memory,
            ours.receiver_memory,
            None,
        ));
    }

    let tiny = Run::new(Pair::Ours, 1, &short, TINY);
    let [original, ours] = bench.both(&tiny)?;
    let title = "4000 bytes, start of the sender to the end of both";
    report.add(Row::lower(title, "s", original.whole, ours.whole, None).limit_at_most(0.2));

    for receivers in [1, 4, MOST] {
        stage.room.limit(CABLE)?;
        let figures = bench.both(&announcing(receivers));
        stage.room.unlimit()?;
        let [original, ours] = figures?;
        let title = format!("cable of 1 Gbit/s, {}", people(receivers));
        let row = Row::higher(&title, "MB/s", original.rate, ours.rate, None);
        report.add(row.limit_at_least(0.97 * 118.3));
    }
    report.note_failures(bench.failures.get());
    Ok(())
}

/// Receivers of the largest transfer.
pub(super) const MOST: u8 = 8;

/// The cable between the sender and the others.
pub(super) const CABLE: &str = "1gbit";

/// Spares the original sender a wait of two seconds before it starts.
pub(super) const ANNOUNCE_OFTEN: &str = "--rexmit-hello-interval 100";

/// Bytes of the short stream.
const TINY: u64 = 4000;

/// How often a transfer of the originals may fail before that is an error.
const ORIGINAL_TRIES: u32 = 5;

struct Bench<'a> {
    stage: &'a Stage<'a>,
    plan: &'a Plan,
    /// Transfers of the originals that failed and were repeated.
    failures: Cell<u32>,
}

impl Bench<'_> {
    /// Originals and ours, alternately.
    fn both(&self, run: &Run<'_>) -> Result<[Figures; 2]> {
        let (mut originals, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.rounds {
            originals.push(self.once(Pair::Originals, run)?);
            ours.push(self.once(Pair::Ours, run)?);
        }
        Ok([Figures::median(&originals), Figures::median(&ours)])
    }

    fn once(&self, pair: Pair, run: &Run<'_>) -> Result<Figures> {
        let run = Run { pair, ..*run };
        let mut tries = 0;
        loop {
            let result = self
                .stage
                .run(&run)
                .with_context(|| format!("{}, {}", pair.name(), people(run.receivers)));
            signals::check()?;
            tries += 1;
            match result {
                // Without loss, too, an original receiver may miss two slices and give up.
                Err(error) if pair == Pair::Originals && tries < ORIGINAL_TRIES => {
                    self.failures.set(self.failures.get() + 1);
                    println!("    once more: {error:#}");
                }
                result => return result,
            }
        }
    }
}
