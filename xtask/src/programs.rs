//! The programs of this workspace, built for this machine. Which packages are built together is decided
//! here alone: cargo unites the features of what it builds at once, so that another set of packages
//! would compile most of their dependencies once more.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    paths,
    process::{Cmd, Running},
};

/// How they are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For demonstrations: quick to compile. The tests build the same programs, and xtask itself is
    /// made of the same libraries.
    Dev,
    /// As they are shipped: for measurements.
    Release,
}

/// Where the built programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    pub(crate) server: PathBuf,
}

/// A build that has begun. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Building {
    cargo: Running,
    profile: Profile,
}

/// Begins to build agent and server, with cargo's output on ours.
pub(crate) fn start(profile: Profile) -> Result<Building> {
    println!("==> building fos-agent and fos-server for this machine");
    let (flag, _) = profile.names();
    let cargo = Cmd::cargo()
        .args(["build", "--profile", flag])
        .args(["--package", "fos-agent", "--package", "fos-server"])
        .begin()?;
    Ok(Building { cargo, profile })
}

/// Builds agent and server.
pub(crate) fn build(profile: Profile) -> Result<Programs> {
    start(profile)?.finish()
}

impl Building {
    /// Waits until they are built.
    pub(crate) fn finish(self) -> Result<Programs> {
        self.cargo
            .finish()
            .context("building fos-agent and fos-server")?;
        let (_, directory) = self.profile.names();
        let dir = paths::target().join(directory);
        Ok(Programs {
            agent: dir.join("fos-agent"),
            server: dir.join("fos-server"),
        })
    }
}

impl Profile {
    /// Cargo's name of the profile, and of the directory that it fills.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Dev => ("dev", "debug"),
            Self::Release => ("release", "release"),
        }
    }
}
