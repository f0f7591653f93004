//! The image that is deployed: a small disk with three file systems, captured by the original
//! programs into the files of FOG's image store. Made once for each version of this recipe.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{BufWriter, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use super::{cache, volumes};
use crate::process::Cmd;

/// A captured disk.
#[derive(Clone, Debug)]
pub(crate) struct SourceImage {
    /// The disk as it must come out at the clients.
    pub(crate) disk: PathBuf,
    /// Length of that disk in bytes.
    pub(crate) disk_len: u64,
    /// The files of the store: `d1.mbr`, `d1p1.img`, ...
    pub(crate) store: PathBuf,
    /// Stored length of all streams together.
    pub(crate) streams_len: u64,
    /// Volumes and their files, if the image has a volume group.
    pub(crate) volumes: Option<PathBuf>,
}

/// What is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// Three partitions.
    Plain,
    /// A fourth one, with a volume group.
    Volumes,
}

/// One partition of the recipe.
struct Part {
    number: u32,
    mib: u64,
    name: &'static str,
    type_code: &'static str,
    guid: &'static str,
    /// `partclone.` and this is the program that captures it.
    partclone: &'static str,
    /// Options of partclone: FOG switches checksums off today; older images have them.
    checksums: &'static [&'static str],
    /// Content: directory depth is one, see [`fill`].
    content_mib: u64,
}

const PARTS: [Part; 3] = [
    Part {
        number: 1,
        mib: 64,
        name: "EFI system",
        type_code: "ef00",
        guid: "5f0c0001-2d1a-4c0e-9a6b-000000000001",
        partclone: "vfat",
        checksums: &["-a0"],
        content_mib: 12,
    },
    Part {
        number: 2,
        mib: 300,
        name: "root",
        type_code: "8300",
        guid: "5f0c0001-2d1a-4c0e-9a6b-000000000002",
        partclone: "extfs",
        checksums: &["-a0"],
        content_mib: 160,
    },
    Part {
        number: 3,
        mib: 80,
        name: "Basic data partition",
        type_code: "0700",
        guid: "5f0c0001-2d1a-4c0e-9a6b-000000000003",
        partclone: "ntfs",
        checksums: &["-a1"],
        content_mib: 32,
    },
];

const MIB: u64 = 1 << 20;
/// Beside the partitions: 1 MiB before the first, 1 MiB for the second partition table.
const DISK_MIB: u64 = 64 + 300 + 80 + 2;
const DISK_GUID: &str = "5f0c0001-2d1a-4c0e-9a6b-0000000000ff";

/// Finds the image in the cache, or makes it (some 20 s).
pub(crate) fn prepare(recipe: Recipe) -> Result<SourceImage> {
    let mut hasher = DefaultHasher::new();
    include_str!("image.rs").hash(&mut hasher);
    include_str!("volumes.rs").hash(&mut hasher);
    let version = format!("image-{:016x}", hasher.finish());
    let name = match recipe {
        Recipe::Plain => version.clone(),
        Recipe::Volumes => format!("{version}-volumes"),
    };
    let dir = cache::find_or_make(("image-", &version, &name), |work, made| {
        println!("==> making a disk image with mkfs, sgdisk and partclone");
        make(recipe, work, made)
    })?;
    let store = dir.join("store");
    let mut streams_len = 0;
    for file in children(&store)? {
        if file.extension().is_some_and(|end| end == "img") {
            let meta = fs::metadata(&file);
            streams_len += meta
                .with_context(|| format!("reading {}", file.display()))?
                .len();
        }
    }
    let volumes = dir.join(VOLUMES);
    Ok(SourceImage {
        disk: dir.join("disk.raw"),
        disk_len: disk_mib(recipe) * MIB,
        store,
        streams_len,
        volumes: volumes.exists().then_some(volumes),
    })
}

/// The list of volumes and their files.
const VOLUMES: &str = "volumes";

fn disk_mib(recipe: Recipe) -> u64 {
    match recipe {
        Recipe::Plain => DISK_MIB,
        Recipe::Volumes => DISK_MIB + volumes::MIB,
    }
}

fn make(recipe: Recipe, work: &Path, made: &Path) -> Result<()> {
    let store = made.join("store");
    fs::create_dir_all(&store)?;
    let disk = made.join("disk.raw");
    File::create(&disk)?.set_len(disk_mib(recipe) * MIB)?;
    partition(recipe, &disk)?;
    let mut start = MIB;
    for part in &PARTS {
        let raw = work.join(format!("p{}.raw", part.number));
        let tree = work.join(format!("tree{}", part.number));
        fill(&tree, part.content_mib * MIB, u64::from(part.number))?;
        File::create(&raw)?.set_len(part.mib * MIB)?;
        make_file_system(part.partclone, part.guid, &raw, &tree)
            .with_context(|| format!("making the file system of partition {}", part.number))?;
        let image = store.join(format!("d1p{}.img", part.number));
        capture(part, &raw, &image)
            .with_context(|| format!("capturing partition {}", part.number))?;
        // partclone keeps what the file system uses. What it leaves out (free blocks) is zero on an empty
        // disk afterwards; so the original restores it here too, and every byte of a partition can be
        // compared. NTFS's second boot sector, which it leaves out, too, is written by a deploy.
        let restored = work.join(format!("p{}.restored", part.number));
        restore(&image, &restored, part.mib * MIB)
            .with_context(|| format!("restoring partition {}", part.number))?;
        if part.partclone == "ntfs" {
            copy_last_sector(&raw, &restored)?;
        }
        copy_into(&restored, &disk, start)?;
        start += part.mib * MIB;
        for file in [&raw, &restored] {
            fs::remove_file(file)?;
        }
        fs::remove_dir_all(&tree)?;
    }
    if recipe == Recipe::Volumes {
        let place = volumes::Place {
            disk: &disk,
            offset: start,
            number: VOLUMES_NUMBER,
        };
        let list = volumes::make(&place, work, &store, |tree, len, seed| {
            fill(tree, len, seed)
        })?;
        fs::write(made.join(VOLUMES), list)?;
    }
    save_table(&disk, &store)
}

/// The number of the partition with the volume group.
const VOLUMES_NUMBER: u32 = 4;

/// Of two files of the same length.
fn copy_last_sector(from: &Path, to: &Path) -> Result<()> {
    let from = File::open(from)?;
    let at = from.metadata()?.len() - 512;
    let mut sector = [0; 512];
    from.read_exact_at(&mut sector, at)?;
    let to = File::options().write(true).open(to)?;
    to.write_all_at(&sector, at)
        .context("copying the second boot sector")
}

fn partition(recipe: Recipe, disk: &Path) -> Result<()> {
    let mut sgdisk = Cmd::new("sgdisk").args(["--clear", "--disk-guid", DISK_GUID]);
    let mut start = MIB / 512;
    for part in &PARTS {
        let end = start + part.mib * MIB / 512 - 1;
        sgdisk = sgdisk
            .arg(format!("--new={}:{start}:{end}", part.number))
            .arg(format!("--typecode={}:{}", part.number, part.type_code))
            .arg(format!("--partition-guid={}:{}", part.number, part.guid))
            .arg(format!("--change-name={}:{}", part.number, part.name));
        start = end + 1;
    }
    if recipe == Recipe::Volumes {
        let end = start + volumes::MIB * MIB / 512 - 1;
        sgdisk = sgdisk
            .arg(format!("--new={VOLUMES_NUMBER}:{start}:{end}"))
            .arg(format!("--typecode={VOLUMES_NUMBER}:8e00"));
    }
    sgdisk.arg(disk).quiet().context("partitioning the disk")
}

/// Makes a file system of a kind that `partclone` has a program for, with the files of a tree. `id` is that of ext4.
pub(super) fn make_file_system(kind: &str, id: &str, raw: &Path, tree: &Path) -> Result<()> {
    match kind {
        "vfat" => {
            Cmd::new("mkfs.vfat")
                .args([
                    "--invariant",
                    "-F",
                    "32",
                    "-s",
                    "1",
                    "-n",
                    "ESP",
                    "-i",
                    "5F0C0001",
                ])
                .arg(raw)
                .quiet()?;
            Cmd::new("mcopy")
                .args(["-m", "-s", "-Q", "-i"])
                .arg(raw)
                .args(children(tree)?)
                .arg("::")
                .quiet()
        }
        "extfs" => Cmd::new("mkfs.ext4")
            .env("E2FSPROGS_FAKE_TIME", "1700000000")
            .args(["-q", "-F", "-b", "4096", "-L", "root", "-U", id, "-E"])
            .arg(format!("hash_seed={id}"))
            .arg("-d")
            .arg(tree)
            .arg(raw)
            .quiet(),
        "ntfs" => {
            Cmd::new("mkntfs")
                .args([
                    "-F", "-Q", "-q", "-s", "512", "-c", "4096", "-p", "0", "-H", "255", "-S", "63",
                ])
                .args(["-L", "data"])
                .arg(raw)
                .quiet()?;
            // ntfscp makes no directories: the files go side by side.
            for (number, file) in files(tree)?.iter().enumerate() {
                Cmd::new("ntfscp")
                    .arg("-q")
                    .arg(raw)
                    .arg(file)
                    .arg(format!("file{number:03}.bin"))
                    .quiet()?;
            }
            Ok(())
        }
        other => bail!("no recipe for {other}"),
    }
}

fn capture(part: &Part, raw: &Path, image: &Path) -> Result<()> {
    // Through a pipe, as FOG does: the compressor does not know the length.
    piped(
        r#"TERM=linux partclone.$1 -c "$2" -L /dev/null -s "$3" -o - | zstd -q --rsyncable -6 > "$4""#,
        &[
            part.partclone.as_ref(),
            part.checksums.join(" ").as_ref(),
            raw,
            image,
        ],
    )
}

fn restore(image: &Path, to: &Path, len: u64) -> Result<()> {
    File::create(to)?.set_len(len)?;
    piped(
        r#"zstd -q -d -c "$1" | TERM=linux partclone.restore -C -L /dev/null -s - -O "$2""#,
        &[image, to],
    )
}

fn piped(script: &str, args: &[&Path]) -> Result<()> {
    Cmd::new("bash")
        .args(["-c", &format!("set -e -o pipefail; {script}"), "bash"])
        .args(args)
        .quiet()
}

/// What FOG keeps of the partition table.
fn save_table(disk: &Path, store: &Path) -> Result<()> {
    Cmd::new("sgdisk")
        .arg(format!("--backup={}", store.join("d1.mbr").display()))
        .arg(disk)
        .quiet()?;
    let dump = Cmd::new("sfdisk").arg("--dump").arg(disk).output()?;
    // As it would read on the machine that was captured.
    let dump = dump.replace(&disk.display().to_string(), "/dev/sda");
    fs::write(store.join("d1.partitions"), dump)?;
    fs::write(store.join("d1.fixed_size_partitions"), "1\n")?;
    fs::write(store.join("d1.original.swapuuids"), "")?;
    Ok(())
}

/// Copies `from` to `offset` in `to`, leaving holes where there is nothing but zeroes.
pub(super) fn copy_into(from: &Path, to: &Path, offset: u64) -> Result<()> {
    Cmd::new("dd")
        .arg(format!("if={}", from.display()))
        .arg(format!("of={}", to.display()))
        .args(["bs=1M", "conv=notrunc,sparse"])
        .arg(format!("seek={}", offset / MIB))
        .quiet()
}

/// Makes a directory with `len` bytes in files of many sizes: half of them compress well, half not
/// at all. Names, contents and times follow from `seed`.
pub(super) fn fill(dir: &Path, len: u64, seed: u64) -> Result<()> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let sizes = [0, 1, 511, 4096, 70_001, 300_007, 1_500_000, 9_000_000];
    let mut rest = len;
    let mut number: usize = 0;
    while rest > 0 {
        let folder = dir.join(format!("folder{:02}", number / 16));
        fs::create_dir_all(&folder)?;
        let size = rest.min(sizes[number % sizes.len()]);
        let path = folder.join(format!("file{number:04}"));
        let mut file = BufWriter::new(File::create(&path)?);
        if (number / sizes.len()).is_multiple_of(2) {
            random.write_noise(&mut file, size)?;
        } else {
            random.write_text(&mut file, size)?;
        }
        let file = file.into_inner().context("writing a file")?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))?;
        rest -= size;
        number += 1;
    }
    Ok(())
}

/// xorshift64*: enough to make data that no compressor shrinks.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn write_noise(&mut self, file: &mut BufWriter<File>, len: u64) -> Result<()> {
        let mut rest = len;
        while rest > 0 {
            let word = self.next().to_le_bytes();
            let count = usize::try_from(rest.min(8))?;
            file.write_all(&word[..count])?;
            rest -= u64::try_from(count)?;
        }
        Ok(())
    }

    fn write_text(&mut self, file: &mut BufWriter<File>, len: u64) -> Result<()> {
        const WORDS: [&str; 8] = [
            "disk", "sector", "block", "slice", "image", "host", "task", "\n",
        ];
        let mut rest = len;
        while rest > 0 {
            let word = WORDS[usize::try_from(self.next() % 8)?];
            let line = format!("{word} {:03} ", self.next() % 1000);
            let count = usize::try_from(rest)?.min(line.len());
            file.write_all(&line.as_bytes()[..count])?;
            rest -= u64::try_from(count)?;
        }
        Ok(())
    }
}

fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut list: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    list.sort();
    Ok(list)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    for folder in children(dir)? {
        list.extend(children(&folder)?);
    }
    Ok(list)
}

/// Flips bits of one stored stream in its second half, and gives the file its old time back, so that
/// nothing but its content tells.
pub(crate) fn corrupt(store: &Path) -> Result<PathBuf> {
    let path = store.join("d1p2.img");
    let before = fs::metadata(&path)?.modified()?;
    let mut file = File::options().read(true).write(true).open(&path)?;
    let offset = file.metadata()?.len() / 3 * 2;
    let mut bytes = [0; 64];
    file.seek(SeekFrom::Start(offset))?;
    std::io::Read::read_exact(&mut file, &mut bytes)?;
    for byte in &mut bytes {
        *byte ^= 0x55;
    }
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    file.set_modified(before)?;
    Ok(path)
}

/// Copies the store's files, for a run that changes them.
pub(crate) fn copy_store(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in children(from)? {
        if let Some(name) = file.file_name() {
            fs::copy(&file, to.join(name))
                .with_context(|| format!("copying {}", file.display()))?;
        }
    }
    Ok(())
}
