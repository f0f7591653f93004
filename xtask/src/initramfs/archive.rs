//! The archive: a cpio of the kernel's format (`newc`), compressed with zstd.
//!
//! Nothing of the building machine goes in: owner and group are 0, times are 0, names are sorted.

use std::{collections::BTreeMap, fs, io::Write as _};

use anyhow::{Context as _, Result, bail};
use cpio::newc;

use crate::{process::Cmd, toolchain::Use};

/// What is to be packed, by path without a leading slash.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    /// File type and permissions, as in `st_mode`.
    mode: u32,
    /// Contents of a file, target of a link.
    bytes: Vec<u8>,
    /// Major and minor number of a device.
    device: (u32, u32),
}

impl Tree {
    pub(super) fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        self.add(path, DIRECTORY | mode, Vec::new(), (0, 0))
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Result<()> {
        self.add(path, FILE | mode, bytes, (0, 0))
    }

    pub(super) fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.add(path, LINK | 0o777, to.into(), (0, 0))
    }

    pub(super) fn character_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        self.add(path, CHARACTER | mode, Vec::new(), (major, minor))
    }

    fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>, device: (u32, u32)) -> Result<()> {
        if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            bail!("{path:?} is no path inside an archive");
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            match self.nodes.get(parent) {
                None => self.directory(parent, 0o755)?,
                Some(node) if node.mode & TYPE == DIRECTORY => {}
                Some(_) => bail!("/{parent} is no directory, so /{path} cannot be in it"),
            }
        }
        let node = Node {
            mode,
            bytes,
            device,
        };
        match self.nodes.get(path) {
            // A directory may be named again; the first one to name it says its mode.
            Some(old) if old.mode & mode & TYPE == DIRECTORY => {}
            Some(_) => bail!("/{path} is there twice"),
            None => {
                self.nodes.insert(path.to_owned(), node);
            }
        }
        Ok(())
    }

    /// The archive, not compressed.
    pub(super) fn to_newc(&self) -> Result<Vec<u8>> {
        let mut archive = Vec::new();
        for (number, (path, node)) in (1_u32..).zip(&self.nodes) {
            let is_directory = node.mode & TYPE == DIRECTORY;
            let len = u32::try_from(node.bytes.len())
                .with_context(|| format!("/{path} is too large for this format"))?;
            let mut entry = newc::Builder::new(path)
                .ino(number)
                .mode(node.mode)
                .nlink(if is_directory { 2 } else { 1 })
                .rdev_major(node.device.0)
                .rdev_minor(node.device.1)
                .write(&mut archive, len);
            entry.write_all(&node.bytes)?;
            entry.finish()?;
        }
        newc::trailer(&mut archive)?;
        Ok(archive)
    }
}

/// Compresses: for shipping as strongly as is useful (12 s; the kernel takes a window of up to 128 MiB, and
/// this level uses 8). The program, not the library: that would be the largest thing to compile for
/// `cargo xtask`.
pub(super) fn compress(archive: &[u8], purpose: Use) -> Result<Vec<u8>> {
    let level = match purpose {
        Use::Shipping => "-19",
        Use::Demo => "-3",
    };
    let dir = tempfile::tempdir().context("making a directory for the archive")?;
    let (packed, compressed) = (dir.path().join("cpio"), dir.path().join("cpio.zst"));
    fs::write(&packed, archive).with_context(|| format!("writing {}", packed.display()))?;
    Cmd::new("zstd")
        .args(["-q", level, "--check", "--single-thread", "-o"])
        .arg(&compressed)
        .arg(&packed)
        .quiet()
        .context("compressing the archive")?;
    fs::read(&compressed).with_context(|| format!("reading {}", compressed.display()))
}

const TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(reversed: bool) -> Tree {
        let mut tree = Tree::default();
        let mut steps: Vec<fn(&mut Tree) -> Result<()>> = vec![
            |tree| tree.file("lib/modules/a.ko", 0o644, b"module".to_vec()),
            |tree| tree.character_device("dev/console", 0o600, 5, 1),
            |tree| tree.file("init", 0o755, vec![7; 5000]),
            |tree| tree.link("bin/sh", "busybox"),
            |tree| tree.directory("proc", 0o755),
        ];
        if reversed {
            steps.reverse();
        }
        for step in steps {
            step(&mut tree).unwrap();
        }
        tree
    }

    fn entries(archive: &[u8]) -> Vec<(String, u32, u32, Vec<u8>)> {
        let mut rest = archive;
        let mut entries = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
            let (name, mode) = (entry.name().to_owned(), entry.mode());
            let device = entry.rdev_major() << 8 | entry.rdev_minor();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            entries.push((name, mode, device, bytes));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn same_contents_give_the_same_bytes_in_whatever_order_they_came() {
        let (one, two) = (
            tree(false).to_newc().unwrap(),
            tree(true).to_newc().unwrap(),
        );
        assert_eq!(one, two);
        assert_eq!(
            compress(&one, Use::Shipping).unwrap(),
            compress(&two, Use::Shipping).unwrap()
        );
    }

    #[test]
    fn parents_come_before_their_children_and_the_console_is_a_device() {
        let entries = entries(&tree(false).to_newc().unwrap());
        let names: Vec<&str> = entries.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(
            names,
            [
                "bin",
                "bin/sh",
                "dev",
                "dev/console",
                "init",
                "lib",
                "lib/modules",
                "lib/modules/a.ko",
                "proc"
            ]
        );
        assert_eq!(entries[3].1, 0o020_600);
        assert_eq!(entries[3].2, 0x501);
        assert_eq!(entries[1].3, b"busybox");
        assert_eq!(entries[4].1, 0o100_755);
        assert_eq!(entries[4].3, vec![7; 5000]);
    }

    #[test]
    fn what_decompression_gives_is_what_was_packed() {
        let archive = tree(false).to_newc().unwrap();
        let compressed = compress(&archive, Use::Demo).unwrap();
        assert!(compressed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
        let dir = tempfile::tempdir().unwrap();
        let (file, unpacked) = (dir.path().join("cpio.zst"), dir.path().join("cpio"));
        fs::write(&file, compressed).unwrap();
        let zstd = Cmd::new("zstd").args(["-q", "-d", "-o"]).arg(&unpacked);
        zstd.arg(&file).quiet().unwrap();
        assert_eq!(fs::read(&unpacked).unwrap(), archive);
    }

    #[test]
    fn a_name_cannot_be_given_twice_nor_leave_the_archive() {
        let mut tree = tree(false);
        assert!(tree.file("init", 0o755, Vec::new()).is_err());
        assert!(tree.file("init/x", 0o644, Vec::new()).is_err());
        assert!(tree.file("../x", 0o644, Vec::new()).is_err());
        assert!(tree.file("/x", 0o644, Vec::new()).is_err());
        tree.directory("proc", 0o700).unwrap();
    }
}
