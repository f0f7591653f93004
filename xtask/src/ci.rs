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

#[derive(Debug, Default, clap::Args)]
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

/// What may run beside something else, by the program `xtask`.
pub(crate) fn beside(xtask: &Cmd) -> Vec<Job> {
    let job = |check: &Check| match check.company {
        Company::Any => step(check.name, xtask.clone().args(["ci", check.name])),
        Company::Only { name, args } => step(name, xtask.clone().args(args)),
    };
    CHECKS.iter().map(job).collect()
}

/// Runs the checks that have to be alone.
pub(crate) fn alone(steps: &mut Steps) -> Result<()> {
    let alone = |check: &&Check| matches!(check.company, Company::Only { .. });
    CHECKS
        .iter()
        .filter(alone)
        .try_for_each(|check| steps.run(check.name, check.run))
}

struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
    company: Company,
}

/// What of a check may run beside something else.
enum Company {
    /// All of it.
    Any,
    /// This much, by `cargo xtask ARGS`. All of it runs alone, afterwards.
    Only {
        name: &'static str,
        args: &'static [&'static str],
    },
}

const CHECKS: &[Check] = &[
    Check {
        name: "format",
        run: || Cmd::cargo().args(["fmt", "--all", "--check"]).run(),
        company: Company::Any,
    },
    Check {
        name: "sources",
        run: sources::check,
        company: Company::Any,
    },
    Check {
        name: "clippy",
        run: || {
            Cmd::cargo()
                .args(["clippy", "--quiet", "--workspace", "--all-targets"])
                .args(["--", "-D", "warnings"])
                .run()
        },
        company: Company::Any,
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
        company: Company::Any,
    },
    Check {
        name: "generated files",
        run: codegen::check,
        company: Company::Any,
    },
    Check {
        name: "unused dependencies",
        run: || tools::MACHETE.command()?.arg("--with-metadata").run(),
        company: Company::Any,
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
        company: Company::Any,
    },
    Check {
        name: "fuzzing",
        run: fuzz::ci,
        // It has so many seconds for each target, and a limit for each input.
        company: Company::Only {
            name: "fuzzing is built",
            args: &["fuzz", "--build"],
        },
    },
];
