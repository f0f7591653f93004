//! Debians of their own: archives of a root directory, made once and kept below the target directory.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{paths, process::Cmd};

/// What such a Debian has.
#[derive(Debug)]
pub(crate) struct Root<'a> {
    /// Names the archive.
    pub(crate) name: &'a str,
    /// Beside the smallest set.
    pub(crate) packages: &'a str,
    /// Further options of mmdebstrap.
    pub(crate) options: &'a [&'a str],
    /// What a shell does at last, in the root directory.
    pub(crate) script: &'a str,
}

impl Root<'_> {
    /// The archive; fetched if it is not there.
    ///
    /// # Errors
    /// The packages are not to be had.
    pub(crate) fn archive(&self) -> Result<PathBuf> {
        let directory = paths::target().join("debian");
        let archive = directory.join(format!("{}.tar", self.name));
        if archive.exists() {
            return Ok(archive);
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        println!("==> fetching a small Debian ({}), once", self.name);
        let work = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(&directory)
            .context("making a directory to work in")?;
        let new = work.path().join("root.tar");
        self.make(&new).context("making a small Debian")?;
        fs::rename(&new, &archive).with_context(|| format!("making {}", archive.display()))?;
        Ok(archive)
    }

    fn make(&self, archive: &Path) -> Result<()> {
        // As a file: the program looks at what it is given, and takes several lines amiss.
        let hook = archive.with_extension("hook");
        let script = format!("#!/bin/sh\nset -e\ncd \"$1\"\n{}", self.script);
        fs::write(&hook, script)?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
        Cmd::new("mmdebstrap")
            .args(["--variant=minbase", "--quiet"])
            .arg(format!("--include={}", self.packages))
            // The clock of a machine for tests may be anything.
            .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
            .arg("--aptopt=Acquire::Check-Date \"false\"")
            .args(self.options)
            .arg(format!("--customize-hook={}", hook.display()))
            .arg("bookworm")
            .arg(archive)
            .args(sources())
            .run()
    }
}

/// Where this machine has its packages from.
fn sources() -> Vec<PathBuf> {
    let entries = fs::read_dir("/etc/apt/sources.list.d").into_iter();
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    let mut sources: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "list" || end == "sources")
        })
        .collect();
    sources.sort();
    sources
}
