//! Kernel modules, in the order in which the initramfs lists them.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// What became of the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Modules that are in the kernel now.
    pub(super) count: usize,
    /// What went wrong, for people.
    pub(super) problems: Vec<String>,
}

/// Loads every module that `list` names, one path per line, relative to the list's directory unless
/// absolute. A missing list means a kernel without modules.
pub(super) fn load_listed(list: &Path) -> Loaded {
    load_with(list, insert)
}

fn load_with(list: &Path, mut insert: impl FnMut(&Path) -> Result<(), LoadError>) -> Loaded {
    let mut loaded = Loaded::default();
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return loaded,
        Err(error) => {
            loaded
                .problems
                .push(format!("cannot read {}: {error}", list.display()));
            return loaded;
        }
    };
    for path in paths(&text, list) {
        match insert(&path) {
            Ok(()) => loaded.count += 1,
            // EEXIST: loaded before, or built in. ENODEV: this machine has no such device, or its
            // CPU lacks the instruction that the module is for. ENOENT: a module that it builds on
            // is not there, which said ENODEV itself.
            Err(LoadError::Kernel(Errno::EEXIST | Errno::ENODEV | Errno::ENOENT)) => {}
            Err(error) => loaded
                .problems
                .push(format!("module {}: {error}", path.display())),
        }
    }
    loaded
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("cannot open it: {0}")]
    Open(#[from] io::Error),
    #[error("the kernel refused it: {}", .0.desc())]
    Kernel(#[from] Errno),
}

fn insert(path: &Path) -> Result<(), LoadError> {
    let file = File::open(path)?;
    finit_module(&file, NO_PARAMETERS, ModuleInitFlags::empty())?;
    Ok(())
}

fn paths(text: &str, list: &Path) -> Vec<PathBuf> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| list.with_file_name(line))
        .collect()
}

const NO_PARAMETERS: &CStr = c"";

#[cfg(test)]
mod tests {
    use super::*;

    fn list_of(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        fs::write(&list, text).unwrap();
        (dir, list)
    }

    #[test]
    fn modules_are_tried_in_order_and_absent_hardware_is_no_problem() {
        let (dir, list) =
            list_of("# order matters\nfirst.ko\n\n/abs/second.ko\norphan.ko\nthird.ko\nbad.ko\n");
        let mut tried = Vec::new();
        let loaded = load_with(&list, |path| {
            tried.push(path.to_owned());
            match path.file_name().and_then(|name| name.to_str()) {
                Some("first.ko") => Err(LoadError::Kernel(Errno::EEXIST)),
                Some("second.ko") => Err(LoadError::Kernel(Errno::ENODEV)),
                Some("orphan.ko") => Err(LoadError::Kernel(Errno::ENOENT)),
                Some("bad.ko") => Err(LoadError::Kernel(Errno::ENOEXEC)),
                _ => Ok(()),
            }
        });
        assert_eq!(
            tried,
            [
                dir.path().join("first.ko"),
                PathBuf::from("/abs/second.ko"),
                dir.path().join("orphan.ko"),
                dir.path().join("third.ko"),
                dir.path().join("bad.ko"),
            ]
        );
        assert_eq!(loaded.count, 1);
        assert_eq!(loaded.problems.len(), 1);
        assert!(
            loaded.problems[0].contains("bad.ko"),
            "{:?}",
            loaded.problems
        );
    }

    #[test]
    fn a_kernel_without_modules_has_no_list() {
        assert_eq!(
            load_listed(Path::new("/nonexistent/list")),
            Loaded::default()
        );
    }

    #[test]
    fn a_missing_module_is_named() {
        let (_dir, list) = list_of("gone.ko\n");
        let loaded = load_listed(&list);
        assert!(
            loaded.problems[0].contains("gone.ko"),
            "{:?}",
            loaded.problems
        );
    }
}
