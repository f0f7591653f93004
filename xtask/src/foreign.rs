//! Debian packages that are not installed here, of another processor or only to be packed: unpacked below the target directory, and not installed. apt's
//! lists of them are kept there as well, so that nothing of this machine's own changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{paths, process::Cmd, toolchain::Arch};

/// Where the content of `package` is; it is fetched once.
///
/// # Errors
///
/// There is no apt-get, no such package, or the archive is not reached.
pub(crate) fn unpacked(arch: Arch, package: &str) -> Result<PathBuf> {
    let place = base(arch).join(package);
    if !place.exists() {
        println!(
            "==> fetching Debian's {package} for {}, only to unpack it",
            arch.debian()
        );
        fetch(arch, package, &place)
            .with_context(|| format!("fetching {package} for {}", arch.debian()))?;
    }
    Ok(place)
}

/// A kernel that the package `meta` depends on: where it is unpacked, with its modules' dependencies.
///
/// # Errors
///
/// As for [`unpacked`].
pub(crate) fn kernel(arch: Arch, meta: &str) -> Result<PathBuf> {
    let place = base(arch).join(meta);
    if place.exists() {
        return Ok(place);
    }
    let apt = Apt::open(arch)?;
    let listed = apt.run("apt-cache").args(["depends", meta]).output()?;
    let package = image_package(&listed)
        .with_context(|| format!("{meta} depends on no kernel; apt-cache says:\n{listed}"))?;
    println!(
        "==> fetching Debian's {package} for {}, only to unpack it",
        arch.debian()
    );
    let work = tempfile::tempdir_in(base(arch))?;
    let made = work.path().join("made");
    apt.unpack(package, work.path(), &made)?;
    let version = package.trim_start_matches("linux-image-");
    Cmd::new("depmod")
        .arg("-b")
        .arg(&made)
        .arg(version)
        .quiet()
        .context("ordering the modules of the kernel")?;
    put(&made, &place)?;
    Ok(place)
}

/// The kernel in the answer of `apt-cache depends`.
fn image_package(listed: &str) -> Option<&str> {
    let depends = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    depends
        .map(str::trim)
        .find(|name| name.starts_with("linux-image-"))
}

fn fetch(arch: Arch, package: &str, place: &Path) -> Result<()> {
    let apt = Apt::open(arch)?;
    let work = tempfile::tempdir_in(base(arch))?;
    let made = work.path().join("made");
    apt.unpack(package, work.path(), &made)?;
    put(&made, place)
}

/// Made aside and renamed: what is half unpacked is never found.
fn put(made: &Path, place: &Path) -> Result<()> {
    match fs::rename(made, place) {
        // Another run may have been quicker.
        Err(_) if place.exists() => Ok(()),
        moved => moved.with_context(|| format!("moving it to {}", place.display())),
    }
}

fn base(arch: Arch) -> PathBuf {
    paths::target().join(format!("debian-{}", arch.debian()))
}

/// apt with lists of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn open(arch: Arch) -> Result<Self> {
        let state = base(arch).join("apt");
        for dir in ["lists/partial", "cache/archives/partial"] {
            let dir = state.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        let name = arch.debian();
        let (lists, cache) = (state.join("lists"), state.join("cache"));
        let settings = [
            format!("APT::Architecture={name}"),
            format!("APT::Architectures={name}"),
            format!("Dir::State::lists={}", lists.display()),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", cache.display()),
            // The directory is not for apt's own user.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        let options = settings
            .into_iter()
            .flat_map(|setting| ["-o".to_owned(), setting]);
        let apt = Self {
            options: options.collect(),
        };
        apt.run("apt-get").args(["-qq", "update"]).run()?;
        Ok(apt)
    }

    fn run(&self, program: &str) -> Cmd {
        Cmd::new(program).args(&self.options)
    }

    fn unpack(&self, package: &str, work: &Path, made: &Path) -> Result<()> {
        self.run("apt-get")
            .args(["-qq", "download", package])
            .dir(work)
            .run()?;
        let mut fetched = fs::read_dir(work)?.flatten().map(|entry| entry.path());
        let archive = fetched
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .context("apt-get has fetched nothing")?;
        Cmd::new("dpkg-deb")
            .arg("-x")
            .arg(&archive)
            .arg(made)
            .quiet()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_found_among_what_a_package_depends_on() {
        let listed = "linux-image-cloud-arm64\n  Depends: linux-image-6.1.0-57-cloud-arm64\n\
            \x20\x20Conflicts: linux-image-rt\n";
        assert_eq!(
            image_package(listed),
            Some("linux-image-6.1.0-57-cloud-arm64")
        );
        assert_eq!(image_package("x\n  Depends: initramfs-tools\n"), None);
    }
}
