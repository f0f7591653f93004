//! `cargo xtask soak`: many short transfers over a bad network. Does every stream arrive, and does
//! nobody hang?

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    room::Room,
    stream::{ANNOUNCE_OFTEN, CABLE},
    table::{median, number},
    transfer::{Pair, Run, Stage, people},
};
use crate::signals;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Transfers, one after the other
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Receivers of each
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    receivers: u8,
    /// Percent of the datagrams that each receiver loses, and the sender of the answers
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    loss: f64,
    /// MB of a stream; from half of it to one and a half, never twice the same
    #[arg(long, value_name = "MB", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    size: u64,
    /// Seconds after which a transfer hangs
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Whose programs
    #[arg(long, value_enum, default_value_t = Pair::Ours)]
    programs: Pair,
    /// Take this program for the agent, build none
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match value {
        0.0..=50.0 => Ok(value),
        _ => Err("0 to 50".into()),
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let agent = super::prepare(options.agent.as_deref())?;
    let directory = super::directory_in_memory()?;
    let outcome = soak(options, &agent, directory.path())?;
    println!("==> {}", outcome.line(options));
    if outcome.failed > 0 {
        bail!(
            "{} of {} transfers failed; files and logs of the first are in {}",
            outcome.failed,
            outcome.run,
            directory.keep().join(FAILED).display()
        );
    }
    Ok(())
}

/// That many failures end it: each may take as long as the limit.
const ENOUGH_FAILURES: u32 = 20;

/// Where the files of the first failure go.
const FAILED: &str = "failed";

#[derive(Debug, Default)]
struct Outcome {
    run: u32,
    failed: u32,
    /// Seconds from the sender's start until the last program had ended, of those that ended right.
    seconds: Vec<f64>,
}

impl Outcome {
    fn line(&self, options: &Options) -> String {
        let slowest = self.seconds.iter().copied().fold(0.0, f64::max);
        format!(
            "{} of {} transfers ended right ({}, {}, {} % loss both ways, {} MB): \
             median {} s, slowest {} s",
            self.seconds.len(),
            self.run,
            options.programs.name(),
            people(options.receivers),
            options.loss,
            options.size,
            number(median(self.seconds.iter().copied())),
            number(slowest),
        )
    }
}

fn soak(options: &Options, agent: &Path, directory: &Path) -> Result<Outcome> {
    let room = Room::new(options.receivers)?;
    println!("==> {} transfers in {}", options.runs, room.name());
    let most = options.size * 3 / 2 * 1_000_000;
    let source = directory.join("source");
    super::random_file(&source, most * 2)?;
    let source = fs::read(&source).context("reading random bytes")?;
    room.limit(CABLE)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 500"
    )]
    let per_mille = (options.loss * 10.0).round() as u32;
    room.lose(per_mille)?;
    room.lose_answers(per_mille)?;

    let mut outcome = Outcome::default();
    for number in 1..=options.runs {
        let directory = directory.join("run");
        fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        let stage = Stage {
            agent,
            former: None,
            room: &room,
            directory: &directory,
        };
        outcome.run = number;
        match transfer(options, &stage, piece(&source, number)) {
            Ok(seconds) => {
                println!("    {number}: {seconds:.3} s");
                outcome.seconds.push(seconds);
                fs::remove_dir_all(&directory).context("clearing up")?;
            }
            Err(error) => {
                signals::check()?;
                println!("    {number}: FAILED: {error:#}");
                outcome.failed += 1;
                put_away(&directory)?;
                if outcome.failed == ENOUGH_FAILURES {
                    println!("    that is enough");
                    break;
                }
            }
        }
    }
    Ok(outcome)
}

/// Another part of the source for each run, of another length: a sixth of it to a half.
fn piece(source: &[u8], number: u32) -> &[u8] {
    /// Knuth's multiplier: successive numbers fall far from each other.
    const SCATTER: u32 = 2_654_435_761;
    let scattered = |number: u32, below: usize| {
        let fraction = u64::from(number.wrapping_mul(SCATTER));
        usize::try_from((fraction * below as u64) >> 32).unwrap_or(0)
    };
    let sixth = source.len() / 6;
    let len = sixth + scattered(number, sixth * 2);
    let from = scattered(number.wrapping_add(1), source.len() - len);
    source.get(from..from + len).unwrap_or(source)
}

/// One transfer; every receiver's file is compared with the stream. Answers the seconds it took.
fn transfer(options: &Options, stage: &Stage<'_>, stream: &[u8]) -> Result<f64> {
    let file = stage.directory.join("stream");
    fs::write(&file, stream).with_context(|| format!("writing {}", file.display()))?;
    let run = Run {
        kept: options.receivers,
        options: ANNOUNCE_OFTEN,
        limit: Duration::from_secs(options.limit),
        ..Run::new(
            options.programs,
            options.receivers,
            &file,
            stream.len() as u64,
        )
    };
    let figures = stage.start(&run)?.wait()?;
    for number in 0..options.receivers {
        let path = stage.received(number);
        let received = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if received != stream {
            let shorter = received.len().min(stream.len());
            let differs = received.iter().zip(stream).position(|(a, b)| a != b);
            bail!(
                "receiver {number} ended well with a wrong stream: {} of {} bytes, first difference \
                 at {}",
                received.len(),
                stream.len(),
                differs.unwrap_or(shorter)
            );
        }
    }
    Ok(figures.whole)
}

/// Keeps the files of the first failure, removes those of others.
fn put_away(directory: &Path) -> Result<()> {
    let kept = directory.with_file_name(FAILED);
    if kept.exists() {
        fs::remove_dir_all(directory).context("clearing up")
    } else {
        fs::rename(directory, kept).context("keeping the files of a failed transfer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_differ_and_stay_inside() {
        let source: Vec<u8> = (0..60_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let pieces: Vec<(usize, usize)> = (1..=200)
            .map(|number| {
                let piece = piece(&source, number);
                (
                    piece.as_ptr() as usize - source.as_ptr() as usize,
                    piece.len(),
                )
            })
            .collect();
        assert!(
            pieces
                .iter()
                .all(|(_, len)| (10_000..=30_000).contains(len))
        );
        let distinct: std::collections::HashSet<_> = pieces.iter().collect();
        assert_eq!(distinct.len(), pieces.len());
    }
}
