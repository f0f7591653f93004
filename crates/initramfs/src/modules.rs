//! Kernel modules: which files, and in which order they load.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, find_program};

/// An installed (or unpacked) kernel.
#[derive(Debug)]
pub struct Kernel {
    /// As in the name of its file.
    pub version: String,
    /// The file to boot.
    pub image: PathBuf,
    root: PathBuf,
}

/// A module's file.
#[derive(Debug)]
pub struct Module {
    /// Below `lib/modules/VERSION`, ending in `.ko`.
    pub path: String,
    /// Not compressed.
    pub bytes: Vec<u8>,
}

/// What a list of wanted names came to.
#[derive(Debug)]
pub struct ModuleSet {
    /// Each after everything it needs.
    pub in_load_order: Vec<Module>,
    /// Names that this kernel has neither as a module nor built in.
    pub absent: Vec<String>,
}

impl Kernel {
    /// The kernel `version` below `root`, or the newest one whose version ends with `ending`.
    ///
    /// # Errors
    /// It is not there, or has no modules.
    pub fn find(root: &Path, ending: &str, version: Option<&str>) -> Result<Self> {
        let boot = root.join("boot");
        let version = match version {
            Some(path) if path.contains('/') => bail!(
                "--kernel takes the version of a kernel in {}, such as 6.1.0-43-amd64, and not the file {path}",
                boot.display()
            ),
            Some(version) => version.to_owned(),
            None => newest(&boot, ending)?,
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

    /// The newest kernel below `root` that has the drivers of PCs; without one the newest of virtual machines.
    ///
    /// # Errors
    /// There is none.
    pub fn for_pcs(root: &Path) -> Result<Self> {
        let boot = root.join("boot");
        let ending = "-amd64";
        let mut versions = versions(&boot, ending)?;
        versions.sort_by_key(|version| !is_cloud(version));
        match versions.pop() {
            Some(version) => Self::find(root, ending, Some(&version)),
            None => bail!(
                "there is no kernel in {}: install linux-image-amd64, or name one with --kernel",
                boot.display()
            ),
        }
    }

    /// Whether it has drivers for virtual machines only.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        is_cloud(&self.version)
    }

    /// Finds the modules `names` with all they depend on.
    ///
    /// # Errors
    /// `modprobe` fails, or a file cannot be read.
    pub fn modules(&self, names: &[&str]) -> Result<ModuleSet> {
        let base = self.root.join("lib/modules").join(&self.version);
        let mut files: Vec<PathBuf> = Vec::new();
        let mut absent = Vec::new();
        for name in names {
            // It is not in the search path of every user.
            let program = find_program("modprobe").context("modprobe is missing (package kmod)")?;
            let mut modprobe = Command::new(program);
            modprobe
                .arg("-d")
                .arg(&self.root)
                .args(["-S", &self.version, "--show-depends", name]);
            let (status, output, errors) = command::capture(&mut modprobe)?;
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

fn is_cloud(version: &str) -> bool {
    version.contains("cloud")
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
            let mut unpack = Command::new(program);
            unpack.args(["-q", "-d", "-c"]).arg(&file);
            command::output_to(&mut unpack, unpacked.path())?;
            fs::read(unpacked.path())?
        }
    };
    Ok(Module {
        path: path.to_owned(),
        bytes,
    })
}

/// The version of the newest kernel whose name ends so.
///
/// # Errors
/// There is none.
pub fn newest(boot: &Path, ending: &str) -> Result<String> {
    versions(boot, ending)?.pop().with_context(|| {
        format!(
            "no kernel in {} whose version ends with {ending} (package linux-image{ending}); or name one with --kernel",
            boot.display()
        )
    })
}

/// Kernels whose version ends so, the newest last.
fn versions(boot: &Path, ending: &str) -> Result<Vec<String>> {
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
    Ok(versions)
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
    fn pcs_get_the_newest_kernel_with_their_drivers() {
        let root = tempfile::tempdir().unwrap();
        let add = |version: &str| {
            let modules = root.path().join("lib/modules").join(version);
            fs::create_dir_all(&modules).unwrap();
            fs::create_dir_all(root.path().join("boot")).unwrap();
            fs::write(modules.join("modules.dep"), "").unwrap();
            let image = root.path().join(format!("boot/vmlinuz-{version}"));
            fs::write(image, "").unwrap();
        };
        assert!(Kernel::for_pcs(root.path()).is_err());
        add("6.1.0-60-cloud-amd64");
        assert!(Kernel::for_pcs(root.path()).unwrap().is_cloud());
        add("6.1.0-9-amd64");
        add("6.1.0-43-amd64");
        let kernel = Kernel::for_pcs(root.path()).unwrap();
        assert_eq!(
            (kernel.version.as_str(), kernel.is_cloud()),
            ("6.1.0-43-amd64", false)
        );
    }

    #[test]
    fn a_file_is_no_version_of_a_kernel() {
        let error = Kernel::find(
            Path::new("/"),
            "-amd64",
            Some("/boot/vmlinuz-6.1.0-43-amd64"),
        )
        .unwrap_err();
        assert!(error.to_string().contains("takes the version"), "{error}");
        let error = Kernel::find(Path::new("/"), "-amd64", Some("0.0.0-absent")).unwrap_err();
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
