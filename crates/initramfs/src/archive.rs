//! The archive: a cpio of the kernel's format (`newc`), compressed with xz or zstd. Never with gzip, which kernels of FOG
//! do not have.
//!
//! Nothing of the building machine goes in: owner and group are 0, times are 0, names are sorted.

use std::{collections::BTreeMap, fs, io::Write as _, process::Command};

use anyhow::{Context as _, Result, bail};
use cpio::newc;

use crate::command;

/// What is to be packed, by path without a leading slash.
#[derive(Debug, Default)]
pub struct Tree {
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
    /// A directory; the first one to name it says its mode.
    ///
    /// # Errors
    /// It is there already, or its path is none inside an archive.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        self.add(path, DIRECTORY | mode, Vec::new(), (0, 0))
    }

    /// A file.
    ///
    /// # Errors
    /// It is there already, or its path is none inside an archive.
    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Result<()> {
        self.add(path, FILE | mode, bytes, (0, 0))
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// It is there already, or its path is none inside an archive.
    pub fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.add(path, LINK | 0o777, to.into(), (0, 0))
    }

    /// A device.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn character_device(
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

    /// Every path, without a leading slash.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }

    /// The archive, not compressed.
    ///
    /// # Errors
    /// A file is too large for the format.
    pub fn to_newc(&self) -> Result<Vec<u8>> {
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

/// How the archive is compressed. FOG's kernels and those of distributions know both programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// The smallest; a machine needs some tenths of a second more to unpack it
    Xz,
    /// 13 % larger than xz
    Zstd,
    /// For tests: made in a second, a third larger
    Quick,
}

impl Compression {
    fn program(self) -> Command {
        let (name, args): (_, &[&str]) = match self {
            // The kernel has no other check of xz than CRC32. It allocates the whole dictionary: 64 MiB, as the program
            // would like, are too much for a machine with 512 MB.
            Self::Xz => (
                "xz",
                &[
                    "--format=xz",
                    "--check=crc32",
                    "--threads=1",
                    "--lzma2=preset=9e,dict=32MiB",
                ],
            ),
            // The window of this level is 8 MiB.
            Self::Zstd => ("zstd", &["-q", "-19", "--check", "--single-thread"]),
            Self::Quick => ("zstd", &["-q", "-3", "--check", "--single-thread"]),
        };
        let mut command = Command::new(name);
        command.args(args);
        command
    }
}

/// Compresses, with a program: the libraries would be the largest thing to compile for `cargo xtask`.
///
/// # Errors
/// The program is missing, or there is no room for its files.
pub fn compress(archive: &[u8], compression: Compression) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir().context("making a directory for the archive")?;
    let (packed, compressed) = (dir.path().join("cpio"), dir.path().join("compressed"));
    fs::write(&packed, archive).with_context(|| format!("writing {}", packed.display()))?;
    let mut program = compression.program();
    command::output_to(program.arg("--stdout").arg(&packed), &compressed)
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
        for compression in [Compression::Xz, Compression::Zstd] {
            assert_eq!(
                compress(&one, compression).unwrap(),
                compress(&two, compression).unwrap()
            );
        }
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

    /// In a format that every kernel knows which FOG or a distribution has made.
    #[test]
    fn what_decompression_gives_is_what_was_packed() {
        let archive = tree(false).to_newc().unwrap();
        for (compression, program, magic) in [
            (Compression::Xz, "xz", &b"\xfd7zXZ\0\x00\x01"[..]),
            (Compression::Zstd, "zstd", b"\x28\xb5\x2f\xfd"),
            (Compression::Quick, "zstd", b"\x28\xb5\x2f\xfd"),
        ] {
            let compressed = compress(&archive, compression).unwrap();
            // For xz with its stream flags: CRC32.
            assert!(compressed.starts_with(magic), "{compression:?}");
            let dir = tempfile::tempdir().unwrap();
            let (file, unpacked) = (dir.path().join("packed"), dir.path().join("cpio"));
            fs::write(&file, compressed).unwrap();
            let mut unpack = Command::new(program);
            unpack.args(["-q", "-d", "--stdout"]).arg(&file);
            command::output_to(&mut unpack, &unpacked).unwrap();
            assert_eq!(fs::read(&unpacked).unwrap(), archive);
        }
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
