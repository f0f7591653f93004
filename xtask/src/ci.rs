//! `cargo xtask ci`: what must hold for every commit beside the tests.

mod sources;

use anyhow::Result;

use crate::{
    codegen, fuzz,
    process::Cmd,
    setup::{self, Purpose},
    steps::Steps,
    tools,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<()> {
    setup::install(&[Purpose::Build, Purpose::Bindings, Purpose::Fuzz])?;
    let mut steps = Steps::default();
    steps.run("format", || {
        Cmd::cargo().args(["fmt", "--all", "--check"]).run()
    })?;
    steps.run("clippy", || {
        Cmd::cargo()
            .args(["clippy", "--quiet", "--workspace", "--all-targets"])
            .args(["--", "-D", "warnings"])
            .run()
    })?;
    steps.run("documentation", || {
        Cmd::cargo()
            .args(["doc", "--quiet", "--workspace", "--no-deps"])
            // The links between modules of a program, too.
            .arg("--document-private-items")
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()
    })?;
    steps.run("generated files", codegen::check)?;
    steps.run("unused dependencies", || {
        tools::MACHETE.command()?.arg("--with-metadata").run()
    })?;
    steps.run("licences", || {
        tools::DENY
            .command()?
            .args(["check", "--hide-inclusion-graph"])
            .args(["licenses", "bans", "sources"])
            .run()
    })?;
    steps.run("sources", sources::check)?;
    steps.run("fuzzing", fuzz::ci)?;
    steps.finish()
}
