//! `cargo xtask test`: every test there is, nothing skipped, and every check. Tests wait most of the time, checks compile,
//! so they run beside each other.

mod binaries;
mod load;
pub(crate) mod pool;
pub(crate) mod shipped;

use std::{path::Path, thread, time::Duration};

use anyhow::{Context as _, Result};

use self::{
    binaries::{Built, TestProgram},
    pool::{Job, Limits, Prints},
};
use crate::{ci, paths, process::Cmd, setup, steps::Steps};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this part
    #[arg(long, value_name = "PART", conflicts_with = "args")]
    only: Option<Part>,
    /// Only run `cargo test ARGS`, with everything installed; without them all of the workspace is tested and checked, and
    /// the deployments are tested
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The tests and the deployments
    Tests,
    /// The checks, as `cargo xtask ci`
    Checks,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.only == Some(Part::Checks) {
        return ci::run(&ci::Options::default());
    }
    setup::install_all()?;
    if !options.args.is_empty() {
        return Cmd::cargo()
            .arg("test")
            .args(&options.args)
            .env(REQUIRE_ALL, "1")
            .run();
    }
    let mut steps = Steps::default();
    let xtask = this_program()?;
    if options.only == Some(Part::Tests) {
        everything(&mut steps, &xtask, Vec::new())?;
    } else {
        everything(&mut steps, &xtask, ci::beside(&xtask))?;
        ci::alone(&mut steps)?;
    }
    steps.finish()
}

/// Runs all tests, and beside them the `fillers` when the processors have time. `xtask` is this program.
fn everything(steps: &mut Steps, xtask: &Cmd, mut fillers: Vec<Job>) -> Result<()> {
    let mut jobs = Vec::new();
    if let Some(built) = steps.run_for("build", binaries::build)? {
        let shipped = paths::target().join("tests-shipped");
        let make = ["shipped".as_ref(), "--out".as_ref(), shipped.as_os_str()];
        jobs.push(step(SHIPPED, xtask.clone().args(make)));
        jobs.extend(
            built
                .tests
                .iter()
                .map(|test| test_job(test, &built, &shipped)),
        );
        jobs.extend(deployments(&built, xtask, &shipped));
        fillers.push(Job {
            prints: Prints::Results,
            ..step(
                "examples in the documentation",
                Cmd::cargo().args(["test", "--quiet", "--workspace", "--doc"]),
            )
        });
    }
    let rank = |job: &Job| LONG.iter().position(|name| *name == job.name);
    jobs.sort_by_key(|job| rank(job).unwrap_or(LONG.len()));
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

/// Builds the agent and the initramfs that are shipped.
const SHIPPED: &str = "the initramfs is reproducible";

/// Those that take long, in the order in which they begin, so that none is left alone at the end. One that is
/// missing here only begins later.
const LONG: &[&str] = &[
    SHIPPED,
    "server/src/lib.rs",
    "what FOG's wiki says to type in a shell",
    "capture of a disk, and deployment of what was captured",
    "deployment of two PXE booted machines",
    "deployment of three PCs with a volume group",
    "deployment with a disk that fails",
    "deployment with Secure Boot",
    "Secure Boot and a kernel without a signature",
    "tests/tests/doctor/main.rs",
    "tests/tests/nfs.rs",
    "tests/tests/corpus_programs.rs",
    "tests/tests/crash/main.rs",
    "tests/tests/udpcast_slow.rs",
    "tests/tests/udpcast_interop.rs",
    "tests/tests/corpus.rs",
    "tests/tests/stock.rs",
    "crates/cast-proto/tests/simulation.rs",
    "tests/tests/cluster.rs",
    "tests/tests/nodes.rs",
    "tests/tests/faults_server.rs",
    "tests/tests/faults_network.rs",
    "tests/tests/faults_stock.rs",
    "agent/src/main.rs",
    "tests/tests/udpcast_matrix.rs",
    "tests/tests/udpcast_loss.rs",
    "tests/tests/udpcast_options.rs",
    "tests/tests/field_lines.rs",
    "tests/tests/deploy.rs",
    "crates/cast-proto/tests/slow_receiver.rs",
];

/// Tests with virtual machines (`fos_tests::machine`).
const WITH_MACHINES: &[&str] = &["tests/tests/nfs.rs"];

fn test_job(test: &TestProgram, built: &Built, shipped: &Path) -> Job {
    let mut job = test.job();
    job.command = job.command.env(REQUIRE_ALL, "1");
    if test.source().starts_with("tests") {
        // Several that build these at the same time would replace each other's.
        let programs = built.programs.agent.parent();
        let programs = programs.unwrap_or_else(|| Path::new("/"));
        job.command = job.command.env("FOS_TEST_PROGRAMS", programs);
    }
    if WITH_MACHINES
        .iter()
        .any(|name| test.source() == Path::new(name))
    {
        let initramfs = shipped::initramfs(shipped);
        job.command = job.command.env("FOS_TEST_INITRAMFS", initramfs);
        job.after = Some(SHIPPED);
    }
    job
}

fn deployments(built: &Built, xtask: &Cmd, shipped: &Path) -> Vec<Job> {
    let job = |name, agent: &Path, args: &[&str]| {
        let command = xtask.clone().args(args).arg("--agent").arg(agent);
        let command = command.arg("--server").arg(&built.programs.server);
        Job {
            after: Some(SHIPPED),
            ..step(name, command)
        }
    };
    let program = &built.programs.agent;
    let machine = &shipped::agent(shipped);
    vec![
        job(
            "what FOG's wiki says to type in a shell",
            machine,
            &["shell"],
        ),
        job("deployment of two PXE booted machines", machine, &["demo"]),
        job(
            "deployment with a disk that fails",
            machine,
            &["demo", "--bad-disk", "1"],
        ),
        job(
            "deployment of three PCs with a volume group",
            machine,
            &["demo", "--hardware", "pc", "--volumes", "--clients", "3"],
        ),
        job(
            "capture of a disk, and deployment of what was captured",
            machine,
            &["demo", "--capture"],
        ),
        job(
            "deployment with Secure Boot",
            machine,
            &["demo", "--firmware", "secure-boot", "--clients", "1"],
        ),
        job(
            "Secure Boot and a kernel without a signature",
            machine,
            &[
                "demo",
                "--firmware",
                "secure-boot",
                "--clients",
                "1",
                "--unsigned-kernel",
            ],
        ),
        job(
            "deployment without virtual machines",
            program,
            &["demo", "--no-vm", "--clients", "3"],
        ),
        job(
            "deployment with a client killed",
            program,
            &["demo", "--no-vm", "--clients", "3", "--kill-client", "2"],
        ),
        job(
            "the package in a root of its own",
            machine,
            &["deb", "--quick", "--check"],
        ),
        job(
            "deployment of a damaged image",
            program,
            &["demo", "--no-vm", "--corrupt"],
        ),
    ]
}

/// A job of which only its end counts.
pub(crate) fn step(name: &str, command: Cmd) -> Job {
    Job {
        name: name.to_owned(),
        command,
        prints: Prints::Nothing,
        after: None,
    }
}

/// `cargo xtask`, without asking cargo whether it is up to date. To be asked before something is built: afterwards
/// the same path may have another file.
fn this_program() -> Result<Cmd> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(Cmd::new(program).dir(paths::root()))
}
