//! What a receiver that dies costs the others.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    Plan,
    stream::{ANNOUNCE_OFTEN, CABLE},
    table::{Grid, Report, median, number},
    transfer::{Figures, Pair, Run, Stage},
};
use crate::signals;

/// How a receiver dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Its program; its host says that nobody listens any more.
    Killed,
    /// Its host, which says nothing.
    Unplugged,
}

/// Original senders do not know the difference.
const CASES: [(Pair, Death); 6] = [
    (Pair::Ours, Death::Killed),
    (Pair::Ours, Death::Unplugged),
    (Pair::OurSender, Death::Killed),
    (Pair::OurSender, Death::Unplugged),
    (Pair::OurReceivers, Death::Killed),
    (Pair::Originals, Death::Killed),
];

/// Receivers, one of which is killed.
const RECEIVERS: u8 = 4;

/// Number of the one.
const VICTIM: u8 = 0;

/// Retries of the original sender where its default would take too long: it waits ten of them for some
/// milliseconds, and each further one for a second.
const FEW_RETRIES: &str = "--retries-until-drop 20";

/// The original sender's 200 retries take 195 s.
const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn measure(
    stage: &Stage<'_>,
    long: &Path,
    plan: &Plan,
    report: &mut Report,
) -> Result<()> {
    println!("==> a receiver that is killed");
    let caption = format!(
        "A killed receiver: the same cable, {RECEIVERS} receivers, one of which is killed (SIGKILL), \
         or unplugged and killed, when it has written a third of the stream. How many seconds later than without that the last of the \
         other receivers ends."
    );
    let head = ["programs", "", "s later", "goal", ""];
    let mut grid = Grid::new(&caption, head);
    for (pair, death) in CASES {
        let is_ours = matches!(pair, Pair::Ours | Pair::OurSender);
        let (options, told) = if is_ours {
            (String::new(), "")
        } else if plan.is_long {
            (String::new(), " (its default of 200 retries)")
        } else {
            (FEW_RETRIES.to_owned(), " (`--retries-until-drop 20`)")
        };
        let options = format!("{ANNOUNCE_OFTEN} {options}");
        let run = Run {
            kept: 1,
            options: &options,
            limit: LIMIT,
            ..Run::new(pair, RECEIVERS, long, plan.size)
        };
        stage.room.limit(CABLE)?;
        let later = later(stage, &run, death, plan.rounds);
        stage.room.unlimit()?;
        signals::check()?;
        let (cell, verdict) = match later {
            Ok(later) if pair == Pair::Ours && later <= death.allowed() => (number(later), "met"),
            Ok(later) if pair == Pair::Ours => (number(later), "**not met**"),
            Ok(later) => (number(later), ""),
            // Between ours it is a defect.
            Err(error) if pair == Pair::Ours => bail!(error),
            Err(error) => {
                println!("    failed: {error:#}");
                ("another program failed".to_owned(), "")
            }
        };
        let goal = match pair {
            Pair::Ours => format!("≤ {}", death.allowed()),
            _ => String::new(),
        };
        grid.add(vec![
            format!("{}{told}", pair.name()),
            death.name().to_owned(),
            cell,
            goal,
            verdict.to_owned(),
        ]);
    }
    report.add_grid(grid);
    Ok(())
}

impl Death {
    /// Seconds that the others may end later between ours.
    fn allowed(self) -> f64 {
        match self {
            Self::Killed => 0.5,
            Self::Unplugged => 5.0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Unplugged => "unplugged",
        }
    }
}

/// Medians, with and without; alternately.
fn later(stage: &Stage<'_>, run: &Run<'_>, death: Death, rounds: u8) -> Result<f64> {
    let (mut undisturbed, mut disturbed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let figures = stage.run(run).context("nobody killed")?;
        undisturbed.push(figures.receivers_ended);
        let result = with_a_death(stage, run, death);
        // Plugged in again whatever came of it.
        stage.room.plug(VICTIM)?;
        let figures = result.with_context(|| format!("a receiver {}", death.name()))?;
        println!(
            "    {}, a receiver {}: the others had ended {:.3} s later",
            run.pair.name(),
            death.name(),
            figures.receivers_ended - median(undisturbed.iter().copied())
        );
        disturbed.push(figures.receivers_ended);
    }
    Ok(median(disturbed.into_iter()) - median(undisturbed.into_iter()))
}

fn with_a_death(stage: &Stage<'_>, run: &Run<'_>, death: Death) -> Result<Figures> {
    let file = stage.received(VICTIM);
    // What an earlier run left there would be taken for this one's.
    if file.exists() {
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    let mut transfer = stage.start(run)?;
    signals::wait_for("a third of the stream", run.limit, || {
        transfer.must_run()?;
        let written = fs::metadata(&file).map_or(0, |file| file.len());
        Ok((written >= run.len / 3).then_some(()))
    })?;
    if death == Death::Unplugged {
        stage.room.unplug(VICTIM)?;
    }
    transfer.kill_receiver(VICTIM)?;
    transfer.wait()
}
