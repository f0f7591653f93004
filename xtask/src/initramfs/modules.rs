//! Kernel modules: which files, and in which order they load.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{process::Cmd, toolchain::Arch};

/// An installed (or unpacked) kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) version: String,
    /// The file to boot.
    pub(super) image: PathBuf,
    root: PathBuf,
}

/// A module's file.
#[derive(Debug)]
pub(super) struct Module {
    /// Below `lib/modules/VERSION`, ending in `.ko`.
    pub(super) path: String,
    /// Not compressed.
    pub(super) bytes: Vec<u8>,
}

/// What a list of wanted names came to.
#[derive(Debug)]
pub(super) struct ModuleSet {
    /// Each after everything it needs.
    pub(super) in_load_order: Vec<Module>,
    /// Names that this kernel has neither as a module nor built in.
    pub(super) absent: Vec<String>,
}

impl Kernel {
    /// The kernel `version`, or the newest cloud kernel for this processor, below `root`.
    pub(super) fn find(root: &Path, arch: Arch, version: Option<&str>) -> Result<Self> {
        let boot = root.join("boot");
        let version = match version {
            Some(path) if path.contains('/') => bail!(
                "--kernel takes the version of a kernel in {}, such as 6.1.0-43-amd64, and not the file {path}",
                boot.display()
            ),
            Some(version) => version.to_owned(),
            None => newest(&boot, &format!("-cloud-{}", arch.debian()))?,
        };
        let image = boot.join(format!("vmlinuz-{version}"));
        let modules = root.join("lib/modules").join(&version);
        for need in [&image, &modules.join("modules.dep")] {
            if !need.exists() {
                bail!(
                    "kernel {version}: {} is missing (is it installed? `depmod` run?)",
                    need.display()
                );
            }
        }
        Ok(Self {
            version,
            image,
            root: root.to_owned(),
        })
    }

    /// Finds the modules `names` with all they depend on.
    pub(super) fn modules(&self, names: &[&str]) -> Result<ModuleSet> {
        let base = self.root.join("lib/modules").join(&self.version);
        let mut files: Vec<PathBuf> = Vec::new();
        let mut absent = Vec::new();
        for name in names {
            let (status, output, errors) = Cmd::new("modprobe")
                .arg("-d")
                .arg(&self.root)
                .args(["-S", &self.version, "--show-depends", name])
                .capture()?;
            if !status.success() {
                if !errors.contains("not found") {
                    bail!("modprobe --show-depends {name}: {}", errors.trim());
                }
                absent.push((*name).to_owned());
                continue;
            }
            for file in output.lines().filter_map(inserted) {
                if !files.iter().any(|known| known == file) {
                    files.push(file.to_owned());
                }
            }
        }
        // modprobe writes "//lib/modules" when the root is "/".
        let base = base
            .canonicalize()
            .with_context(|| format!("finding {}", base.display()))?;
        let in_load_order = files
            .iter()
            .map(|file| read_module(file, &base))
            .collect::<Result<_>>()?;
        Ok(ModuleSet {
            in_load_order,
            absent,
        })
    }
}

/// The file in a line of `modprobe --show-depends`; built in modules have none.
fn inserted(line: &str) -> Option<&Path> {
    let rest = line.strip_prefix("insmod ")?;
    // Options may follow the file name.
    rest.split_whitespace().next().map(Path::new)
}

fn read_module(file: &Path, base: &Path) -> Result<Module> {
    let file = file
        .canonicalize()
        .with_context(|| format!("finding {}", file.display()))?;
    let path = file
        .strip_prefix(base)
        .ok()
        .and_then(Path::to_str)
        .with_context(|| format!("{} is not in {}", file.display(), base.display()))?;
    let (path, unpack) = match path.rsplit_once('.') {
        Some((path, "xz")) => (path, Some("xz")),
        Some((path, "zst")) => (path, Some("zstd")),
        Some((path, "gz")) => (path, Some("gzip")),
        _ => (path, None),
    };
    // Unpacked here: the archive is compressed as a whole, and the agent need not know how.
    let bytes = match unpack {
        None => fs::read(&file).with_context(|| format!("reading {}", file.display()))?,
        Some(program) => {
            let unpacked = tempfile::NamedTempFile::new()?;
            Cmd::new(program)
                .args(["-q", "-d", "-c"])
                .arg(&file)
                .output_to(unpacked.path())?;
            fs::read(unpacked.path())?
        }
    };
    Ok(Module {
        path: path.to_owned(),
        bytes,
    })
}

/// The version of the newest kernel whose name ends so.
pub(super) fn newest(boot: &Path, ending: &str) -> Result<String> {
    let mut versions: Vec<String> = fs::read_dir(boot)
        .with_context(|| format!("reading {}", boot.display()))?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("vmlinuz-")?;
            version.ends_with(ending).then(|| version.to_owned())
        })
        .collect();
    versions.sort_by(|a, b| natural(a, b));
    versions.pop().with_context(|| {
        format!(
            "no kernel in {} whose version ends with {ending} (package linux-image{ending}); or name one with --kernel",
            boot.display()
        )
    })
}

/// Orders versions as people do: numbers by their value.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        text.split(['.', '-', '+'])
            .map(|part| (part.parse().unwrap_or(0), part.to_owned()))
            .collect()
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_kernel_has_the_larger_number_not_the_later_text() {
        let mut versions = [
            "6.1.0-9-cloud-amd64",
            "6.1.0-56-cloud-amd64",
            "5.10.0-30-cloud-amd64",
        ];
        versions.sort_by(|a, b| natural(a, b));
        assert_eq!(versions[2], "6.1.0-56-cloud-amd64");
        assert_eq!(versions[0], "5.10.0-30-cloud-amd64");
    }

    #[test]
    fn a_file_is_no_version_of_a_kernel() {
        let error = Kernel::find(
            Path::new("/"),
            Arch::X86_64,
            Some("/boot/vmlinuz-6.1.0-43-amd64"),
        )
        .unwrap_err();
        assert!(error.to_string().contains("takes the version"), "{error}");
        let error = Kernel::find(Path::new("/"), Arch::X86_64, Some("0.0.0-absent")).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error}");
    }

    #[test]
    fn built_in_modules_have_no_file() {
        assert_eq!(inserted("builtin nvme"), None);
        assert_eq!(
            inserted("insmod /lib/modules/6.1/kernel/lib/crc16.ko option=1"),
            Some(Path::new("/lib/modules/6.1/kernel/lib/crc16.ko"))
        );
    }
}
