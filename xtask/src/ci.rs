//! `cargo xtask ci`: what must hold for every commit beside the tests.

mod sources;

use anyhow::{Context as _, Result};

use crate::{
    codegen, fuzz,
    process::Cmd,
    setup::{self, Purpose},
    steps::Steps,
    test::{pool::Job, step},
    tools,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these: format, sources, clippy, documentation, "generated files", "unused dependencies", licences,
    /// fuzzing
    #[arg(value_name = "CHECK")]
    checks: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let named = options.checks.iter().map(|name| {
        let mut checks = CHECKS.iter();
        let found = checks.find(|check| check.name == name);
        found.with_context(|| format!("there is no check {name}; see --help"))
    });
    let named = named.collect::<Result<Vec<&Check>>>()?;
    setup::install(&[Purpose::Build, Purpose::Bindings, Purpose::Fuzz])?;
    if !named.is_empty() {
        return named.into_iter().try_for_each(|check| (check.run)());
    }
    let mut steps = Steps::default();
    for check in CHECKS {
        steps.run(check.name, check.run)?;
    }
    steps.finish()
}

/// Those that may run beside something else, by the program `xtask`: fuzzing is only built.
pub(crate) fn jobs(xtask: &Cmd) -> Vec<Job> {
    let job = |check: &Check| {
        let (name, args) = match check.name {
            FUZZING => ("fuzzing is built", ["fuzz", "--build"]),
            name => (name, ["ci", name]),
        };
        step(name, xtask.clone().args(args))
    };
    CHECKS.iter().map(job).collect()
}

struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
}

const FUZZING: &str = "fuzzing";

const CHECKS: &[Check] = &[
    Check {
        name: "format",
        run: || Cmd::cargo().args(["fmt", "--all", "--check"]).run(),
    },
    Check {
        name: "sources",
        run: sources::check,
    },
    Check {
        name: "clippy",
        run: || {
            Cmd::cargo()
                .args(["clippy", "--quiet", "--workspace", "--all-targets"])
                .args(["--", "-D", "warnings"])
                .run()
        },
    },
    Check {
        name: "documentation",
        run: || {
            Cmd::cargo()
                .args(["doc", "--quiet", "--workspace", "--no-deps"])
                // The links between modules of a program, too.
                .arg("--document-private-items")
                .env("RUSTDOCFLAGS", "-D warnings")
                .run()
        },
    },
    Check {
        name: "generated files",
        run: codegen::check,
    },
    Check {
        name: "unused dependencies",
        run: || tools::MACHETE.command()?.arg("--with-metadata").run(),
    },
    Check {
        name: "licences",
        run: || {
            tools::DENY
                .command()?
                .args(["check", "--hide-inclusion-graph"])
                .args(["licenses", "bans", "sources"])
                .run()
        },
    },
    Check {
        name: FUZZING,
        run: fuzz::ci,
    },
];
