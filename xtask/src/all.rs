//! `cargo xtask all`: the tests, and beside them the checks. Tests wait most of the time, checks compile.

use anyhow::Result;

use crate::{ci, fuzz, setup, steps::Steps, test};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<()> {
    setup::install_all()?;
    let mut steps = Steps::default();
    let xtask = test::this_program()?;
    test::everything(&mut steps, &xtask, ci::jobs(&xtask))?;
    // By itself: it has so many seconds for each target, and a limit for each input.
    steps.run("fuzzing", fuzz::ci)?;
    steps.finish()
}
