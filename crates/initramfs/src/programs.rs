//! Programs of the building machine with the libraries that they load.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{command, find_program};

/// Programs and libraries by their path in the archive, without a leading slash.
#[derive(Debug, Default)]
pub struct Programs {
    /// Their bytes.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Programs {
    /// Reads the programs of these names, too; each library is taken once.
    ///
    /// # Errors
    /// One is missing, or cannot be read.
    pub fn add_all<S: AsRef<str>>(&mut self, names: &[S]) -> Result<()> {
        for name in names {
            let name = name.as_ref();
            let path =
                find_program(name).with_context(|| format!("the program {name} is missing"))?;
            self.add(&format!("usr/sbin/{name}"), &path)?;
            let listed = command::output(Command::new("ldd").arg(&path))?;
            for library in libraries(&listed) {
                self.add_library(library)?;
                if library.file_name().is_some_and(|name| name == LIBC) {
                    let beside = library.with_file_name(UNWINDER);
                    if beside.exists() {
                        self.add_library(&beside)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn add_library(&mut self, library: &Path) -> Result<()> {
        let inside = library.to_string_lossy();
        let inside = inside.trim_start_matches('/').to_owned();
        match self.files.contains_key(&inside) {
            true => Ok(()),
            false => self.add(&inside, library),
        }
    }

    fn add(&mut self, inside: &str, path: &Path) -> Result<()> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.files.insert(inside.to_owned(), bytes);
        Ok(())
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }
}

/// The C library of GNU.
const LIBC: &str = "libc.so.6";
/// The C library loads it by itself where a thread is cancelled or ends before its function does (`pthread_cancel`,
/// `pthread_exit`), and aborts without it. So `ldd` does not name it; partclone's programs need it at their ends.
const UNWINDER: &str = "libgcc_s.so.1";

/// The files in the output of `ldd`: `NAME => /PATH (ADDRESS)`, and `/PATH (ADDRESS)` of the loader. What
/// the kernel provides has no path.
fn libraries(listed: &str) -> Vec<&Path> {
    let paths = listed.lines().filter_map(|line| {
        let line = line.trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split_once(" (").map_or(path, |(path, _)| path);
        path.starts_with('/').then(|| Path::new(path))
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd5a5f6000)\n\
            \tlibext2fs.so.2 => /lib/x86_64-linux-gnu/libext2fs.so.2 (0x00007f1)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n\
            \tnot a dynamic executable\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libext2fs.so.2",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(listed), expected.map(Path::new));
    }

    #[test]
    fn a_program_comes_with_its_libraries() {
        let mut programs = Programs::default();
        programs.add_all(&["sh"]).unwrap();
        assert!(programs.files.contains_key("usr/sbin/sh"));
        assert!(programs.files.keys().any(|name| name.contains("ld-linux")));
        // Nothing that ldd names.
        let unwinder = |name: &&String| name.ends_with("/libgcc_s.so.1");
        assert!(programs.files.keys().any(|name| unwinder(&name)));
        let missing = programs.add_all(&["no-such-program"]).unwrap_err();
        assert!(missing.to_string().contains("no-such-program"), "{missing}");
    }
}
