//! What virtual machines boot in tests: what is shipped, not the quick build of a demonstration.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};

use crate::{
    demo, initramfs,
    toolchain::{self, BuildOptions, Use},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    build: BuildOptions,
    /// Where the agent and the initramfs are to be
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.out)
        .with_context(|| format!("making {}", options.out.display()))?;
    thread::scope(|scope| {
        // The deployments use the same one, and begin at the same time.
        let image = scope.spawn(|| demo::image::prepare(demo::image::Recipe::Plain));
        let built = toolchain::build_agent(&options.build, Use::Shipping)?;
        let agent = agent(&options.out);
        fs::copy(&built, &agent).with_context(|| format!("copying to {}", agent.display()))?;
        initramfs::check_reproducible(&agent, &initramfs(&options.out))?;
        match image.join() {
            Ok(image) => image
                .context("making the image of the deployments")
                .map(drop),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The agent in `directory`.
pub(super) fn agent(directory: &Path) -> PathBuf {
    directory.join("fos-agent")
}

/// The initramfs in `directory`.
pub(super) fn initramfs(directory: &Path) -> PathBuf {
    directory.join("initramfs")
}
