//! What lost datagrams cost.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    Plan,
    stream::{ANNOUNCE_OFTEN, CABLE, MOST},
    table::{Grid, Report, median, number},
    transfer::{Pair, Run, Stage, people},
};
use crate::signals;

/// Per mille that each receiver loses, and the share of the rate that ours may lose by it.
const CASES: [(u32, Option<f64>); 3] = [(0, None), (10, Some(0.05)), (50, Some(0.3))];

pub(super) fn measure(
    stage: &Stage<'_>,
    long: &Path,
    plan: &Plan,
    report: &mut Report,
) -> Result<()> {
    println!("==> lost datagrams");
    let caption = format!(
        "Loss: the same cable of 1 Gbit/s, {}, each of which loses so much at random by itself. MB/s, \
         and how much slower that is than without loss; runs in which a program failed do not count.",
        people(MOST)
    );
    let pairs = stage.pairs();
    let columns = pairs.iter().map(|pair| pair.name());
    let head = ["loss"]
        .into_iter()
        .chain(columns)
        .chain(["goal of ours", ""]);
    let mut grid = Grid::new(&caption, head);
    let mut tallies = vec![vec![Tally::default(); pairs.len()]; CASES.len()];
    // All cases in each round: what else the machine does meanwhile strikes them alike.
    for _ in 0..plan.rounds {
        for ((per_mille, _), tallies) in CASES.iter().zip(&mut tallies) {
            println!("    {} % loss", per_mille / 10);
            stage.room.limit(CABLE)?;
            stage.room.lose(*per_mille)?;
            let result = round(stage, long, plan, tallies);
            stage.room.lose_nothing()?;
            stage.room.unlimit()?;
            result?;
        }
    }
    let mut without = vec![None; pairs.len()];
    for ((per_mille, allowed), tallies) in CASES.into_iter().zip(tallies) {
        let mut cells = vec![format!("{} %", per_mille / 10)];
        let mut cost_of_ours = None;
        for ((pair, tally), without) in pairs.iter().zip(tallies).zip(&mut without) {
            let rate = tally.rate();
            if per_mille == 0 {
                *without = rate;
            }
            let cost = rate
                .zip(*without)
                .map(|(rate, without)| 1.0 - rate / without);
            if *pair == Pair::Ours {
                cost_of_ours = cost;
            }
            cells.push(tally.text(cost.filter(|_| per_mille > 0)));
        }
        cells.push(allowed.map_or_else(String::new, |allowed| {
            format!("{:.0} % slower at most", allowed * 100.0)
        }));
        let verdict =
            allowed
                .zip(cost_of_ours)
                .map_or("", |(allowed, cost)| match cost <= allowed {
                    true => "met",
                    false => "**not met**",
                });
        cells.push(verdict.to_owned());
        grid.add(cells);
    }
    report.add_grid(grid);
    Ok(())
}

/// Runs of one pair.
#[derive(Clone, Debug, Default)]
struct Tally {
    rates: Vec<f64>,
    failed: usize,
}

impl Tally {
    /// The median of the runs that succeeded.
    fn rate(&self) -> Option<f64> {
        (!self.rates.is_empty()).then(|| median(self.rates.iter().copied()))
    }

    fn text(&self, cost: Option<f64>) -> String {
        let rate = self.rate().map(|rate| match cost {
            Some(cost) if cost < 0.0 => {
                format!("{} ({:.1} % faster)", number(rate), -cost * 100.0)
            }
            Some(cost) => format!("{} ({:.1} % slower)", number(rate), cost * 100.0),
            None => number(rate),
        });
        let failed = (self.failed > 0).then(|| {
            let all = self.failed + self.rates.len();
            format!("{} of {all} failed", self.failed)
        });
        let parts: Vec<String> = rate.into_iter().chain(failed).collect();
        parts.join("; ")
    }
}

/// A run of each pair.
fn round(stage: &Stage<'_>, long: &Path, plan: &Plan, tallies: &mut [Tally]) -> Result<()> {
    for (pair, tally) in stage.pairs().iter().zip(tallies) {
        let run = Run {
            options: ANNOUNCE_OFTEN,
            // Those who do not end by then never would.
            limit: Duration::from_secs(30 + plan.size / 8_000_000),
            ..Run::new(*pair, MOST, long, plan.size)
        };
        let result = stage.run(&run).with_context(|| pair.name());
        signals::check()?;
        match result {
            Ok(figures) => tally.rates.push(figures.rate),
            // Between ours it is a defect.
            Err(error) if *pair == Pair::Ours => bail!(error),
            Err(error) => {
                println!("    failed: {error:#}");
                tally.failed += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_beside_the_rate() {
        let tally = |rates: &[f64], failed| Tally {
            rates: rates.to_vec(),
            failed,
        };
        assert_eq!(tally(&[100.0], 0).text(None), "100");
        let cost = Some(0.125);
        assert_eq!(
            tally(&[100.0], 2).text(cost),
            "100 (12.5 % slower); 2 of 3 failed"
        );
        assert_eq!(tally(&[100.0], 0).text(Some(-0.01)), "100 (1.0 % faster)");
        assert_eq!(tally(&[], 3).text(None), "3 of 3 failed");
    }
}
