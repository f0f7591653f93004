//! `cargo xtask bench`: our programs and the originals, alternately in one run, on one machine.
//!
//! Streams go between network namespaces, files lie in memory. What is printed are medians and the
//! ratios between them; `docs/benchmarks.md` is written from the same figures.

mod restore;
mod room;
mod stream;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use self::table::Report;
use crate::{
    paths,
    process::Cmd,
    setup::{self, Purpose},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// One round with short streams: whether it works, not how fast
    #[arg(long)]
    quick: bool,
    /// How often everything is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Bytes of a long stream, in MB
    #[arg(long, value_name = "MB", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=8000))]
    size: u64,
    /// Take this program for the agent, build none
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Print only; leave docs/benchmarks.md as it is
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this makes network namespaces: run it as root");
    }
    setup::install(&[
        Purpose::Build,
        Purpose::Image,
        Purpose::Network,
        Purpose::Tests,
    ])?;
    let agent = match &options.agent {
        Some(agent) => {
            fs::canonicalize(agent).with_context(|| format!("looking for {}", agent.display()))?
        }
        None => build()?,
    };
    let plan = Plan {
        rounds: if options.quick { 1 } else { options.rounds },
        size: if options.quick { 100 } else { options.size } * 1_000_000,
    };
    // Dropped last: what still runs reads and writes there.
    let directory = tempfile::Builder::new()
        .prefix("fosbench-")
        .tempdir_in(MEMORY)
        .with_context(|| format!("making a directory in {MEMORY}"))?;
    let mut report = Report::new(options, &plan)?;
    stream::measure(&agent, &plan, directory.path(), &mut report)?;
    restore::measure(&agent, &plan, directory.path(), &mut report)?;
    let text = report.text();
    print!("\n{text}");
    if !options.dry_run && !options.quick {
        let path = paths::root().join("docs/benchmarks.md");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("==> written to {}", paths::short(&path));
    }
    Ok(())
}

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: u8,
    /// Bytes of a long stream.
    size: u64,
}

fn build() -> Result<PathBuf> {
    println!("==> building the agent");
    Cmd::cargo()
        .args(["build", "--release", "--package", "fos-agent"])
        .run()?;
    Ok(paths::target().join("release/fos-agent"))
}

/// Writes `len` bytes that no compression makes shorter.
fn random_file(path: &Path, len: u64) -> Result<()> {
    Cmd::new("head")
        .args(["-c", &len.to_string(), "/dev/urandom"])
        .output_to(path)
}
