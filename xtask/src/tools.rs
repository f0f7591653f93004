//! Programs from crates.io that checks use: installed when they are wanted first, in a version that is
//! written here, below cargo's target directory.

use std::env;

use anyhow::{Context as _, Result};

use crate::{paths, process::Cmd};

/// A package whose program has the same name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Finds dependencies that nothing uses.
pub(crate) const MACHETE: Tool = Tool {
    name: "cargo-machete",
    version: "0.9.2",
};

/// Compares the dependencies with `deny.toml`.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Changes the code and looks whether a test notices.
pub(crate) const MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
};

impl Tool {
    /// The command, installed if need be.
    ///
    /// # Errors
    ///
    /// It cannot be downloaded or compiled.
    pub(crate) fn command(self) -> Result<Cmd> {
        let Self { name, version } = self;
        let root = paths::target()
            .join("tools")
            .join(format!("{name}-{version}"));
        let bin = root.join("bin");
        if !bin.join(name).exists() {
            println!("==> installing {name} {version} from crates.io, once");
            Cmd::cargo()
                // Unoptimised: compiling it takes longer than what it has to do.
                .args(["install", "--quiet", "--locked", "--debug", "--no-track"])
                .args(["--version", version, "--root"])
                .arg(&root)
                .arg(name)
                // What it is compiled with is no matter of this workspace.
                .without_env("RUSTFLAGS")
                .without_env("CARGO_TARGET_DIR")
                .run()
                .with_context(|| format!("installing {name} {version}"))?;
        }
        // As a subcommand of cargo, which is what they are.
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(bin).chain(env::split_paths(&path)))
            .context("putting the program in the search path")?;
        let subcommand = name.strip_prefix("cargo-").unwrap_or(name);
        Ok(Cmd::cargo().env("PATH", path).arg(subcommand))
    }
}
