//! `cargo xtask bench`: our programs and the originals, alternately in one run, on one machine.
//!
//! Streams go between network namespaces, files lie in memory. What is printed are medians and the
//! ratios between them; `docs/benchmarks.md` is written from the same figures.

mod killed;
mod loss;
mod restore;
mod room;
mod server;
pub(crate) mod soak;
mod stream;
mod table;
mod transfer;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use self::{room::Room, table::Report, transfer::Stage};
use crate::{
    paths,
    process::Cmd,
    programs::{self, Profile},
    setup::{self, Purpose},
};

#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    other: Option<Other>,
    /// One round with short streams: whether it works, not how fast
    #[arg(long)]
    quick: bool,
    /// How often everything is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// MB of a long stream
    #[arg(long, value_name = "MB", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=8000))]
    size: u64,
    /// Wait for what takes minutes too: the original sender's patience with a dead receiver
    #[arg(long)]
    long: bool,
    /// Only that part (may be repeated); prints only
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Use this program as the agent, and do not build it
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Measure this earlier version of the agent beside it, in columns of its own, and an even number of rounds:
    /// what runs after the originals is slower, so the two take turns
    #[arg(long, value_name = "FILE")]
    former: Option<PathBuf>,
    /// Print only; leave docs/benchmarks.md as it is
    #[arg(long)]
    dry_run: bool,
}

/// What is measured by itself.
#[derive(Clone, Debug, clap::Subcommand)]
enum Other {
    /// What many hosts that ask over HTTP cost fos-server, and how long they wait; prints only
    Server(server::Options),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Streams that nothing disturbs
    Stream,
    /// Receivers that lose datagrams
    Loss,
    /// A receiver that is killed
    Killed,
    /// Images to disks
    Restore,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(Other::Server(options)) = &options.other {
        return server::run(options);
    }
    let agent = prepare(options.agent.as_deref())?;
    let former = options.former.as_deref().map(found).transpose()?;
    let former = former.as_deref();
    let rounds = match former {
        Some(_) => options.rounds.next_multiple_of(2),
        None => options.rounds,
    };
    let plan = Plan {
        rounds: if options.quick { 1 } else { rounds },
        size: if options.quick { 100 } else { options.size } * 1_000_000,
        is_long: options.long,
    };
    before_others()?;
    // Dropped last: what still runs reads and writes there.
    let directory = directory_in_memory()?;
    let directory = directory.path();
    let mut report = Report::new(options, &plan)?;
    let is_wanted = |part| options.only.is_empty() || options.only.contains(&part);
    if [Part::Stream, Part::Loss, Part::Killed]
        .into_iter()
        .any(is_wanted)
    {
        let long = directory.join("long");
        random_file(&long, plan.size)?;
        let stage = Stage {
            agent: &agent,
            former,
            room: &Room::new(stream::MOST)?,
            directory,
        };
        if is_wanted(Part::Stream) {
            stream::measure(&stage, &long, &plan, &mut report)?;
        }
        if is_wanted(Part::Loss) {
            loss::measure(&stage, &long, &plan, &mut report)?;
        }
        if is_wanted(Part::Killed) {
            killed::measure(&stage, &long, &plan, &mut report)?;
        }
    }
    if is_wanted(Part::Restore) {
        restore::measure(&agent, former, &plan, directory, &mut report)?;
    }
    let text = report.text();
    print!("\n{text}");
    if !options.dry_run && !options.quick && options.only.is_empty() {
        let path = paths::root().join("docs/benchmarks.md");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("==> written to {}", paths::short(&path));
    }
    Ok(())
}

/// Installs what is needed; answers the agent to be measured: `given`, or one built now.
fn prepare(given: Option<&Path>) -> Result<PathBuf> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this makes network namespaces: run it as root");
    }
    setup::install(&[
        Purpose::Build,
        Purpose::Image,
        Purpose::Network,
        Purpose::Tests,
    ])?;
    match given {
        Some(agent) => found(agent),
        None => Ok(programs::build(Profile::Release)?.agent),
    }
}

fn found(program: &Path) -> Result<PathBuf> {
    fs::canonicalize(program).with_context(|| format!("looking for {}", program.display()))
}

/// Gives us, and so everything that we start, the processors before other programs of this machine:
/// what is measured should not depend on what else it does.
fn before_others() -> Result<()> {
    Cmd::new("renice")
        .args(["-n", "-20", "-p", &std::process::id().to_string()])
        .quiet()
        .context("raising our priority")
}

/// A directory for large files, removed when dropped; so are those of runs that were killed.
fn directory_in_memory() -> Result<TempDir> {
    for entry in fs::read_dir(MEMORY).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
            pid.parse::<u32>().ok()
        });
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(MEMORY)
        .with_context(|| format!("making a directory in {MEMORY}"))
}

const PREFIX: &str = "fosbench-";

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: u8,
    /// Bytes of a long stream.
    size: u64,
    /// Whether to wait for what takes minutes.
    is_long: bool,
}

/// Writes `len` bytes that no compression makes shorter.
fn random_file(path: &Path, len: u64) -> Result<()> {
    Cmd::new("head")
        .args(["-c", &len.to_string(), "/dev/urandom"])
        .output_to(path)
}
