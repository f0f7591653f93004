//! What is made once and kept below the target directory: disks and images, for each version of their recipes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::paths;

/// Finds the directory `name`, or has it made: by a function of a directory to work in, and of the one that is kept. Of the
/// names that begin with `kind`, those that do not begin with `version` are of older recipes, and go.
pub(super) fn find_or_make(
    (kind, version, name): (&str, &str, &str),
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = paths::target().join("demo");
    let dir = cache.join(name);
    if dir.exists() {
        return Ok(dir);
    }
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    remove_older(&cache, kind, version)?;
    let work = tempfile::Builder::new()
        .prefix("making-")
        .tempdir_in(&cache)
        .context("making a directory to work in")?;
    let made = work.path().join("made");
    fs::create_dir(&made)?;
    make(work.path(), &made)?;
    // Another run may have been quicker.
    if let Err(error) = fs::rename(&made, &dir)
        && !dir.exists()
    {
        return Err(error).with_context(|| format!("moving what was made to {}", dir.display()));
    }
    Ok(dir)
}

fn remove_older(cache: &Path, kind: &str, version: &str) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("reading {}", cache.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(kind) && !name.starts_with(version) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_kind_only_older_versions_go() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["image-1", "image-2", "image-2-volumes", "disk-1", "run-7"] {
            fs::create_dir(cache.path().join(name)).unwrap();
        }
        remove_older(cache.path(), "image-", "image-2").unwrap();
        let mut left: Vec<String> = fs::read_dir(cache.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["disk-1", "image-2", "image-2-volumes", "run-7"]);
    }
}
