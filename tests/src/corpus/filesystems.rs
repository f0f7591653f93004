//! Small file systems with a few files each.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Corpus, noise, sparse, succeed};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

/// Makes `NAME.raw` for every kind.
pub(super) fn make(corpus: &Corpus) {
    let tree = Tree::new(corpus);
    ext(corpus, &tree);
    ntfs(corpus, &tree);
    fat(corpus, &tree);
    exfat(corpus);
    xfs(corpus, &tree);
    btrfs(corpus, &tree);
    // Data without a file system; the last sector is not whole.
    fs::write(corpus.path("plain.raw"), noise(1, 1_000_001)).unwrap();
}

/// The files that are put into the file systems.
struct Tree {
    directory: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    fn new(corpus: &Corpus) -> Self {
        let directory = corpus.path("tree");
        fs::create_dir(&directory).unwrap();
        let mut files = Vec::new();
        for (seed, (name, len)) in (2..).zip([
            ("one.bin", 1),
            ("sector.bin", 511),
            ("block.bin", 4096),
            ("odd.bin", 70_001),
            ("medium.bin", 300_001),
            ("large.bin", 900_000),
        ]) {
            let path = directory.join(name);
            fs::write(&path, noise(seed, len)).unwrap();
            files.push(path);
        }
        let path = directory.join("text.txt");
        fs::write(&path, "a line of text\n".repeat(3000)).unwrap();
        files.push(path);
        Self { directory, files }
    }
}

fn ext(corpus: &Corpus, tree: &Tree) {
    // One of them is no whole number of 4 KiB, nor of its block groups.
    for (name, program, block_size, len) in [
        ("ext4.raw", "mkfs.ext4", "4096", 24 * MIB),
        ("ext4-1k.raw", "mkfs.ext4", "1024", 9 * MIB + 3 * KIB),
        ("ext3.raw", "mkfs.ext3", "1024", 12 * MIB),
    ] {
        let path = corpus.path(name);
        sparse(&path, len);
        let mut command = Command::new(program);
        command.args(["-q", "-F", "-b", block_size, "-d"]);
        succeed(command.arg(&tree.directory).arg(&path));
    }
}

fn ntfs(corpus: &Corpus, tree: &Tree) {
    // Some sectors more than whole clusters.
    let path = corpus.path("ntfs.raw");
    sparse(&path, 16 * MIB + 1536);
    let mut command = Command::new("mkntfs");
    command.args([
        "-F", "-Q", "-q", "-s", "512", "-c", "4096", "-p", "0", "-H", "16", "-S", "63",
    ]);
    succeed(command.arg(&path));
    for file in &tree.files {
        let mut command = Command::new("ntfscp");
        command.arg("-q").arg(&path).arg(file);
        succeed(command.arg(file.file_name().unwrap()));
    }
}

fn fat(corpus: &Corpus, tree: &Tree) {
    for (name, options, len) in [
        ("fat16.raw", &["-F", "16"][..], 12 * MIB),
        ("fat32.raw", &["-F", "32", "-s", "1"], 34 * MIB),
    ] {
        let path = corpus.path(name);
        sparse(&path, len);
        succeed(Command::new("mkfs.vfat").args(options).arg(&path));
        let mut command = Command::new("mcopy");
        command.arg("-i").arg(&path).args(&tree.files);
        succeed(command.arg("::"));
    }
}

fn exfat(corpus: &Corpus) {
    // There is no tool to put files in without mounting it; its own structures must do.
    let path = corpus.path("exfat.raw");
    sparse(&path, 8 * MIB);
    succeed(Command::new("mkfs.exfat").arg(&path));
}

fn xfs(corpus: &Corpus, tree: &Tree) {
    let path = corpus.path("xfs.raw");
    sparse(&path, 32 * MIB);
    let prototype = corpus.path("xfs.proto");
    fs::write(&prototype, xfs_prototype(&tree.files)).unwrap();
    let mut command = Command::new("mkfs.xfs");
    // These switch off the least size of 300 MB, as the file system's own tests do.
    command.envs([("TEST_DIR", "/"), ("TEST_DEV", "/"), ("QA_CHECK_FS", "1")]);
    command.args(["-q", "-f", "-p"]).arg(&prototype);
    succeed(command.arg(&path));
}

/// The list of files that mkfs.xfs takes.
fn xfs_prototype(files: &[impl AsRef<Path>]) -> String {
    let mut text = String::from("/none\n0 0\nd--755 0 0\n");
    for file in files {
        let file = file.as_ref();
        let name = file.file_name().unwrap().to_string_lossy();
        writeln!(text, "{name} ---644 0 0 {}", file.display()).unwrap();
    }
    text.push_str("$\n");
    text
}

fn btrfs(corpus: &Corpus, tree: &Tree) {
    let path = corpus.path("btrfs.raw");
    sparse(&path, 40 * MIB);
    let mut command = Command::new("mkfs.btrfs");
    command.args(["-q", "-f", "-m", "single", "-d", "single", "-r"]);
    succeed(command.arg(&tree.directory).arg(&path));
}
