//! `cargo xtask codegen`: forwards to the package `codegen`, which is built only when it is wanted
//! (it needs libclang).

use anyhow::Result;

use crate::{
    process::Cmd,
    setup::{self, Purpose},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write nothing; fail if a generated file is stale
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.check { check() } else { codegen(&[]) }
}

/// Fails if a generated file is not what would be generated now.
pub(crate) fn check() -> Result<()> {
    codegen(&["--", "--check"])
}

fn codegen(args: &[&str]) -> Result<()> {
    setup::install(&[Purpose::Build, Purpose::Bindings])?;
    Cmd::cargo()
        .args(["run", "--quiet", "--package", "codegen"])
        .args(args)
        .run()
}
