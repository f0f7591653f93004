//! `cargo xtask test`: every test there is, nothing skipped.

mod binaries;
mod load;
pub(crate) mod pool;

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;

use self::{
    binaries::{Built, TestProgram},
    pool::{Job, Limits, Prints},
};
use crate::{
    demo, initramfs, paths,
    process::Cmd,
    setup,
    steps::Steps,
    toolchain::{self, Use},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only run `cargo test ARGS`, with everything installed; without them the whole workspace and the
    /// deployments are tested
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install_all()?;
    if !options.args.is_empty() {
        return Cmd::cargo()
            .arg("test")
            .args(&options.args)
            .env(REQUIRE_ALL, "1")
            .run();
    }
    let mut steps = Steps::default();
    everything(&mut steps, Vec::new())?;
    steps.finish()
}

/// Runs all tests, and beside them the `fillers` when the processors have time.
pub(crate) fn everything(steps: &mut Steps, mut fillers: Vec<Job>) -> Result<()> {
    let built = steps.run_for("build", binaries::build)?;
    let shipped = steps.run_for("the initramfs is reproducible", Shipped::make)?;
    let mut jobs = Vec::new();
    if let Some(built) = &built {
        jobs.extend(tests(built, shipped.as_ref()));
        jobs.extend(deployments(built)?);
        if let Some(shipped) = &shipped {
            jobs.extend(machines(built, shipped)?);
        }
        fillers.push(Job {
            name: "examples in the documentation".to_owned(),
            command: Cmd::cargo().args(["test", "--quiet", "--workspace", "--doc"]),
            prints: Prints::Results,
        });
    }
    // The longest first, so that none is left alone at the end.
    jobs.sort_by_key(|job| {
        LONG.iter()
            .position(|name| *name == job.name)
            .unwrap_or(LONG.len())
    });
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits {
        least: cores,
        most: cores * 4,
        time: Duration::from_secs(1200),
    };
    steps.add(pool::run(jobs, fillers, limits)?);
    Ok(())
}

/// A test that lacks a program or a privilege fails now, where it would be skipped elsewhere.
const REQUIRE_ALL: &str = "FOS_TEST_REQUIRE_ALL";

/// Those that take long, in the order in which they begin. One that is missing here only begins later.
const LONG: &[&str] = &[];

/// What virtual machines boot: not the quick build of a demonstration.
struct Shipped {
    agent: PathBuf,
    initramfs: PathBuf,
}

impl Shipped {
    fn make() -> Result<Self> {
        thread::scope(|scope| {
            // The deployments use the same one, and begin at the same time.
            let image = scope.spawn(demo::image::prepare);
            let agent = toolchain::build_agent(&parse(&[])?.build, Use::Shipping)?;
            let initramfs = paths::target().join("tests-machine/shipped");
            initramfs::check_reproducible(&agent, &initramfs)?;
            match image.join() {
                Ok(image) => image.context("making the image of the deployments")?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            Ok(Self { agent, initramfs })
        })
    }
}

fn tests(built: &Built, shipped: Option<&Shipped>) -> Vec<Job> {
    let job = |test: &TestProgram| {
        let mut job = test.job();
        job.command = job.command.env(REQUIRE_ALL, "1");
        if test.source().starts_with("tests") {
            // Several that build these at the same time would replace each other's.
            let programs = built
                .programs
                .agent
                .parent()
                .unwrap_or_else(|| Path::new("/"));
            job.command = job.command.env("FOS_TEST_PROGRAMS", programs);
            if let Some(shipped) = shipped {
                job.command = job.command.env("FOS_TEST_INITRAMFS", &shipped.initramfs);
            }
        }
        job
    };
    built.tests.iter().map(job).collect()
}

/// Deployments with the agent as a program.
fn deployments(built: &Built) -> Result<Vec<Job>> {
    let job = |name, args: &[&str]| -> Result<Job> {
        let command = this_program()?.args(["demo", "--no-vm"]).args(args);
        let command = command.arg("--server").arg(&built.programs.server);
        Ok(step(
            name,
            command.arg("--agent").arg(&built.programs.agent),
        ))
    };
    Ok(vec![
        job("deployment without virtual machines", &["--clients", "3"])?,
        job(
            "deployment with a client killed",
            &["--clients", "3", "--kill-client", "2"],
        )?,
        job("deployment of a damaged image", &["--corrupt"])?,
    ])
}

/// Deployments to virtual machines.
fn machines(built: &Built, shipped: &Shipped) -> Result<Vec<Job>> {
    let job = |name, args: &[&str]| -> Result<Job> {
        let command = this_program()?.args(args);
        let command = command.arg("--server").arg(&built.programs.server);
        Ok(step(name, command.arg("--agent").arg(&shipped.agent)))
    };
    Ok(vec![
        job("what FOG's wiki says to type in a shell", &["shell"])?,
        job("deployment of two PXE booted machines", &["demo"])?,
        job(
            "deployment with a disk that fails",
            &["demo", "--bad-disk", "1"],
        )?,
    ])
}

fn step(name: &str, command: Cmd) -> Job {
    Job {
        name: name.to_owned(),
        command,
        prints: Prints::Nothing,
    }
}

/// `cargo xtask`, without asking cargo whether it is up to date.
pub(crate) fn this_program() -> Result<Cmd> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(Cmd::new(program).dir(paths::root()))
}

/// Options as from the command line, environment included.
fn parse(args: &[&str]) -> Result<demo::Options> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: demo::Options,
    }
    match Line::try_parse_from(std::iter::once("demo").chain(args.iter().copied())) {
        Ok(line) => Ok(line.options),
        Err(error) => bail!("{error}"),
    }
}
