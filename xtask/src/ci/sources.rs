//! Nothing in the repository may tie it to one machine: dependencies come from crates.io alone, and no
//! file names the place where somebody has checked it out.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{paths, process::Cmd};

/// How `Cargo.lock` names crates.io.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    /// Absent for members of the workspace.
    source: Option<String>,
}

pub(super) fn check() -> Result<()> {
    let root = paths::root();
    let mut problems = Vec::new();

    for file in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text =
            fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        let lock: Lock = toml::from_str(&text).with_context(|| format!("parsing {file}"))?;
        for package in &lock.package {
            if let Some(source) = &package.source
                && source != CRATES_IO
            {
                problems.push(format!("{file}: {} comes from {source}", package.name));
            }
        }
    }

    let text = fs::read_to_string(root.join(".cargo/config.toml"))
        .context("reading .cargo/config.toml")?;
    let config: toml::Table = toml::from_str(&text).context("parsing .cargo/config.toml")?;
    for table in ["registries", "registry", "source"] {
        if config.contains_key(table) {
            problems.push(format!(
                ".cargo/config.toml: [{table}] belongs in the user's own file"
            ));
        }
    }

    // A short path such as /src would be found in other paths.
    let place = format!("{}/", root.display());
    let is_telling = root.components().count() > 3;
    let files = Cmd::new("git")
        .args(["ls-files", "-z"])
        .dir(&root)
        .output()
        .context("listing the files of the repository")?;
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        // What is deleted but not committed is listed as well; links lead elsewhere.
        let Ok(bytes) = fs::read(root.join(name)) else {
            continue;
        };
        if is_telling && contains(&bytes, place.as_bytes()) {
            problems.push(format!("{name} contains the path {place}"));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}
