//! `cargo xtask mutants`: do the tests notice when the lines of a change are wrong?
//!
//! cargo-mutants breaks the functions that a diff touches, one after the other, in a copy of the tree,
//! and runs the tests of their package. A change that no test notices is a missing test.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{
    paths,
    process::Cmd,
    setup::{self, Purpose},
    tools,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Revision that the change is counted from; what is not committed belongs to the change
    #[arg(long, value_name = "REVISION", default_value = "HEAD~1")]
    base: String,
    /// Arguments for cargo-mutants: --list, --package disk, ...
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install(&[Purpose::Build])?;
    let dir = paths::target().join("mutants");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let diff = dir.join("change.diff");
    // No prefixes or helpers of the user's own configuration.
    Cmd::new("git")
        .dir(paths::root())
        .args(["diff", "--no-ext-diff", "--default-prefix", "--no-color"])
        .args([options.base.as_str(), "--", "*.rs"])
        .output_to(&diff)
        .with_context(|| format!("comparing with {}", options.base))?;
    if fs::metadata(&diff)?.len() == 0 {
        println!("no Rust file has changed since {}", options.base);
        return Ok(());
    }
    tools::MUTANTS
        .command()?
        .arg("--in-diff")
        .arg(&diff)
        .arg("--output")
        .arg(&dir)
        .args(&options.args)
        .run()
        .context("there are changes that no test notices, or the tests fail without any")
}
