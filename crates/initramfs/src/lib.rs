//! What a PXE booted client runs, in one file; packed by `cargo xtask initramfs`, and by `fos-server boot-files` where
//! the server is installed, without a compiler.
//!
//! `/init` is the agent. Beside it: busybox, the kernel modules that `initramfs/manifest.toml` names
//! (in load order in `/lib/modules/list`), the files of `initramfs/skeleton`, `/dev/console` and `/dev/null`,
//! without which `/init` would start without a console. The same input gives the same bytes.

#![warn(missing_docs)]

mod archive;
mod command;
mod modules;
mod pack;
mod programs;
mod seek;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

pub use self::archive::{Compression, Tree, compress};
pub use self::modules::{Kernel, Module, ModuleSet, newest};
pub use self::pack::{
    Busybox, Content, Debug, Manifest, ModuleGroup, Packed, Part, add_modules, authorities, pack,
    size, trusted,
};
pub use self::programs::Programs;
pub use self::seek::{NoArchive, Seeker};

/// A program in the search path, or where those of root are.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// This machine's busybox, which must be the static one.
///
/// # Errors
/// It is missing, or needs libraries.
pub fn find_busybox() -> Result<PathBuf> {
    let busybox = find_program("busybox").context("busybox is missing (package busybox-static)")?;
    if !is_static(&busybox)? {
        bail!(
            "{} needs libraries; package busybox-static is needed",
            busybox.display()
        );
    }
    Ok(busybox)
}

/// Whether a program runs without a loader and libraries. `ldd` ends with an error for one without a table of libraries.
fn is_static(program: &Path) -> Result<bool> {
    let mut ldd = Command::new("ldd");
    let (_, output, errors) = command::capture(ldd.arg(program).env("LC_ALL", "C"))?;
    let says = |text| output.contains(text) || errors.contains(text);
    Ok(says("not a dynamic executable") || says("statically linked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_libraries_is_not_static() {
        let program = env::current_exe().unwrap();
        assert!(!is_static(&program).unwrap());
        if let Ok(busybox) = find_busybox() {
            assert!(is_static(&busybox).unwrap());
        }
    }
}
