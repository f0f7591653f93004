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
        let all = bench.all(&announcing(receivers))?;
        let title = format!("no rate limit, {}", people(receivers));
        report.add(all.higher(&title, |figures| figures.rate, Some(3.0)));
        for (whose, unit, figure, goal) in FIGURES {
            report.add(all.lower(&format!("{title}: {whose}"), unit, figure, goal));
        }
    }

    let all = bench.all(&Run::new(Pair::Ours, 1, &short, TINY))?;
    let title = "4000 bytes, start of the sender to the end of both";
    let row = all.lower(title, "s", |figures| figures.whole, None);
    report.add(row.limit_at_most(0.2));

    for receivers in [1, 4, MOST] {
        stage.room.limit(CABLE)?;
        let all = bench.all(&announcing(receivers));
        stage.room.unlimit()?;
        let title = format!("cable of 1 Gbit/s, {}", people(receivers));
        let row = all?.higher(&title, |figures| figures.rate, None);
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

/// Transfers of ours and of the former version after one of the originals.
const FORMER_TURNS: u32 = 4;

/// How often a transfer of the originals may fail before that is an error.
const ORIGINAL_TRIES: u32 = 5;

/// One of the figures.
type Figure = fn(&Figures) -> f64;

/// What one of the programs takes: whose, its unit, the figure, and how many times the original's it may be.
const FIGURES: [(&str, &str, Figure, Option<f64>); 4] = [
    ("sender", "CPU s/GB", |all| all.sender_cpu, Some(1.0 / 3.0)),
    ("a receiver", "CPU s/GB", |all| all.receiver_cpu, None),
    ("sender", "MB of memory", |all| all.sender_memory, None),
    (
        "a receiver",
        "MB of memory",
        |all| all.receiver_memory,
        None,
    ),
];

/// Medians of one transfer.
struct All {
    originals: Figures,
    ours: Figures,
    former: Option<Figures>,
}

impl All {
    fn higher(&self, title: &str, figure: Figure, goal: Option<f64>) -> Row {
        let (original, ours) = (figure(&self.originals), figure(&self.ours));
        let row = Row::higher(title, "MB/s", original, ours, goal);
        row.former(self.former.as_ref().map(figure))
    }

    fn lower(&self, title: &str, unit: &'static str, figure: Figure, goal: Option<f64>) -> Row {
        let (original, ours) = (figure(&self.originals), figure(&self.ours));
        let row = Row::lower(title, unit, original, ours, goal);
        row.former(self.former.as_ref().map(figure))
    }
}

struct Bench<'a> {
    stage: &'a Stage<'a>,
    plan: &'a Plan,
    /// Transfers of the originals that failed and were repeated.
    failures: Cell<u32>,
}

impl Bench<'_> {
    /// Originals, ours and former ones, alternately. What comes after the originals is slower, and ours and the
    /// former ones differ by little: each comes first as often as the other, and more often than the originals.
    fn all(&self, run: &Run<'_>) -> Result<All> {
        let (mut originals, mut ours, mut former) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.plan.rounds {
            originals.push(self.once(Pair::Originals, run)?);
            if self.stage.former.is_none() {
                ours.push(self.once(Pair::Ours, run)?);
                continue;
            }
            for turn in 0..FORMER_TURNS {
                let mut pairs = [Pair::Ours, Pair::Former];
                if (u32::from(round) + turn) % 2 == 1 {
                    pairs.reverse();
                }
                for pair in pairs {
                    let figures = self.once(pair, run)?;
                    match pair {
                        Pair::Former => former.push(figures),
                        _ => ours.push(figures),
                    }
                }
            }
        }
        Ok(All {
            originals: Figures::median(&originals),
            ours: Figures::median(&ours),
            former: (!former.is_empty()).then(|| Figures::median(&former)),
        })
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
