//! `cargo xtask test`: every test there is, nothing skipped.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser as _;

use crate::{
    demo, initramfs,
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
        return cargo_test(&options.args);
    }
    let mut steps = Steps::default();
    steps.run("cargo test", || {
        cargo_test(&["--workspace".to_owned(), "--no-fail-fast".to_owned()])
    })?;
    steps.run("deployment without virtual machines", || {
        demo(&["--no-vm", "--clients", "3"])
    })?;
    steps.run("deployment with a client killed", || {
        demo(&["--no-vm", "--clients", "3", "--kill-client", "2"])
    })?;
    steps.run("deployment of a damaged image", || {
        demo(&["--no-vm", "--corrupt"])
    })?;
    // The virtual machines boot what is shipped, not the quick build of a demonstration.
    steps.run("the initramfs is reproducible", || {
        initramfs::check_reproducible(&shipped_agent()?)
    })?;
    steps.run("deployment of two PXE booted machines", || boot(&[]))?;
    steps.run("what FOG's wiki says to type in a shell", shell)?;
    steps.run("deployment with a disk that fails", || {
        boot(&["--bad-disk", "1"])
    })?;
    steps.finish()
}

fn cargo_test(args: &[String]) -> Result<()> {
    Cmd::cargo()
        .arg("test")
        .args(args)
        // A test that lacks a program or a privilege fails now, where it would be skipped elsewhere.
        .env("FOS_TEST_REQUIRE_ALL", "1")
        .run()
}

/// `cargo xtask demo ARGS`.
fn demo(args: &[&str]) -> Result<()> {
    demo::run(&parse(args)?)
}

/// `cargo xtask shell` with the agent that is shipped.
fn shell() -> Result<()> {
    let mut build = parse(&[])?.build;
    build.agent = Some(shipped_agent()?);
    demo::shell::run(&demo::shell::Options { keep: false, build })
}

/// `cargo xtask demo ARGS` with the agent that is shipped.
fn boot(args: &[&str]) -> Result<()> {
    let mut options = parse(args)?;
    options.build.agent = Some(shipped_agent()?);
    demo::run(&options)
}

/// Builds it if need be.
fn shipped_agent() -> Result<PathBuf> {
    toolchain::build_agent(&parse(&[])?.build, Use::Shipping)
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
