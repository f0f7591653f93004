//! axe, which looks at the server's page for what keeps people from using it. Its licence is the MPL, so it is no
//! part of this repository: the tests fetch it.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{paths, process::Cmd};

/// Fetches axe once; the tests of the page look for it there.
pub(crate) fn provide() -> Result<()> {
    let place = paths::target().join("axe-core/axe.min.js");
    if place.exists() && digest(&place)? == DIGEST {
        return Ok(());
    }
    println!("==> fetching {PACKAGE} for the tests of the page");
    let work = tempfile::tempdir()?;
    let pack = ["pack", "--silent", "--ignore-scripts", PACKAGE];
    Cmd::new("npm")
        .args(pack)
        .dir(work.path())
        .quiet()
        .with_context(|| format!("fetching {PACKAGE} with npm"))?;
    let name = format!("{}.tgz", PACKAGE.replace('@', "-"));
    let unpack = ["xzf", name.as_str(), FILE];
    Cmd::new("tar").args(unpack).dir(work.path()).quiet()?;
    let found = work.path().join(FILE);
    let of = digest(&found)?;
    if of != DIGEST {
        bail!("{FILE} of {PACKAGE} has the SHA-256 {of}, not the one that is expected ({DIGEST})");
    }
    let directory = place.parent().context("the file has a directory")?;
    fs::create_dir_all(directory)?;
    // Whole or not at all.
    let new = directory.join("axe.min.js.new");
    fs::copy(&found, &new)?;
    fs::rename(&new, &place)?;
    Ok(())
}

fn digest(path: &std::path::Path) -> Result<String> {
    let output = Cmd::new("sha256sum").arg(path).output()?;
    let digest = output.split_whitespace().next();
    Ok(digest.unwrap_or_default().to_owned())
}

const PACKAGE: &str = "axe-core@4.14.1";
const FILE: &str = "package/axe.min.js";
const DIGEST: &str = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";
