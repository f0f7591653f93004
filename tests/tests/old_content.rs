//! What was on a disk before: labels that outlive a restore, tables and devices that must not be
//! overwritten. Judged by wipefs, blkid, mdadm, ntfsfix and the kernel.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk::{BACK_LEN, FRONT_LEN, Layout, Shape, TableFiles, Target, plan_table};
use fos_tests::need::{root_and_tools, skip};
use fos_tests::site::program;
use image_writer::Recipe;
use serde_json::Value;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// One test at a time: a program that another test starts has our devices open for a moment, between
/// fork and exec.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in which things are done.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn empty(&self, name: &str, len: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    }

    /// The output of a line for the shell.
    #[track_caller]
    fn sh(&self, line: &str) -> String {
        let (is_good, said) = self.try_sh(line);
        assert!(is_good, "{line}: {said}");
        said
    }

    fn try_sh(&self, line: &str) -> (bool, String) {
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {line}")])
            .env("PATH", "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin")
            .env("AGENT", program("fos-agent"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    }

    /// The names of the labels that wipefs finds in a file.
    #[track_caller]
    fn labels(&self, name: &str) -> Vec<String> {
        let said = self.sh(&format!("wipefs --noheadings --output TYPE {name}"));
        said.split_whitespace().map(str::to_owned).collect()
    }

    /// The same of a part of a file.
    #[track_caller]
    fn labels_in(&self, name: &str, region: &Range<u64>) -> Vec<String> {
        let (start, len) = (region.start, region.end - region.start);
        let device = self.sh(&format!(
            "losetup -r -f --show -o {start} --sizelimit {len} {name}"
        ));
        let device = Loop {
            path: device.trim().to_owned(),
        };
        self.labels(&device.path)
    }

    /// Fails, and answers with what it said; nothing of the target has changed.
    #[track_caller]
    fn refused(&self, line: &str) -> String {
        let said = self.sh(&format!("! $AGENT restore --json {line} 2> /dev/null"));
        let result: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(result["target_touched"], false, "{result}");
        result["error"].as_str().unwrap().to_owned()
    }

    /// An image of a file system of that many blocks of 4096 octets, all of them ones.
    fn image(&self, name: &str, blocks: usize) {
        let recipe = Recipe::v2(4096, vec![true; blocks]);
        fs::write(self.path(name), recipe.write(|_| vec![1; 4096])).unwrap();
    }
}

/// A kind of label, and where it is in a device of so many bytes.
type Plant = (&'static str, fn(&File, u64, u64));

fn put(file: &File, at: u64, octets: &[u8]) {
    file.write_all_at(octets, at).unwrap();
}

/// MD's superblock of version 1: magic, version, its own place in sectors (`linux/raid/md_p.h`).
fn md1(file: &File, start: u64, place: u64) {
    let mut octets = vec![0; 4096];
    octets[..8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
    octets[16..32].copy_from_slice(b"AAAAAAAAAAAAAAAA");
    octets[144..152].copy_from_slice(&(place / 512).to_le_bytes());
    put(file, start + place, &octets);
}

/// Labels that stand for many others: at either end, near and far.
const PLANTS: [Plant; 8] = [
    ("linux_raid_member", |file, start, len| {
        md1(file, start, (len / 512 - 16) / 8 * 8 * 512);
    }),
    ("linux_raid_member", |file, start, _| {
        md1(file, start, 4096);
    }),
    ("linux_raid_member", |file, start, len| {
        let mut octets = vec![0; 4096];
        octets[..12].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0, 90, 0, 0, 0]);
        octets[20..24].copy_from_slice(b"AAAA");
        put(file, start + len / 65_536 * 65_536 - 65_536, &octets);
    }),
    ("zfs_member", |file, start, len| {
        let mut octets = vec![0; 1024];
        octets[..8].copy_from_slice(&0x00ba_b10c_u64.to_le_bytes());
        octets[8..16].copy_from_slice(&5000_u64.to_le_bytes());
        let end = len / 262_144 * 262_144;
        for label in [end - 524_288, end - 262_144] {
            for index in 0..32 {
                put(file, start + label + 131_072 + index * 1024, &octets);
            }
        }
    }),
    ("promise_fasttrack_raid_member", |file, start, len| {
        put(file, start + len - 3087 * 512, b"Promise Technology, Inc.");
    }),
    ("ddf_raid_member", |file, start, len| {
        let mut octets = [0; 512];
        octets[..4].copy_from_slice(&[0xde, 0x11, 0xde, 0x11]);
        octets[8..32].copy_from_slice(b"AAAAAAAAAAAAAAAAAAAAAAAA");
        octets[32..40].copy_from_slice(b"01.02.00");
        octets[96..104].copy_from_slice(&(len / 512 - 1).to_be_bytes());
        put(file, start + len - 512, &octets);
    }),
    ("isw_raid_member", |file, start, len| {
        put(file, start + len - 1024, b"Intel Raid ISM Cfg Sig. 1.1.00");
    }),
    ("crypto_LUKS", |file, start, _| {
        // The second header of LUKS2 alone, as far in as there can be one.
        let mut octets = vec![0; 4096];
        octets[..8].copy_from_slice(b"SKUL\xba\xbe\x00\x02");
        octets[8..16].copy_from_slice(&(4_u64 << 20).to_be_bytes());
        octets[256..264].copy_from_slice(&(4_u64 << 20).to_be_bytes());
        put(file, start + (4 << 20), &octets);
    }),
];

#[test]
fn no_label_outlives_a_deploy() {
    let _turn = turn();
    if !root_and_tools(&["wipefs", "blkid", "sgdisk", "mkfs.ext4", "losetup"]) {
        return;
    }
    let place = Place::new();
    // Known to work on this machine, before it is relied on.
    place.empty("any", MIB);
    if Loop::new(&place, "any").is_none() {
        return;
    }
    let size = 256 * MIB;
    let partitions = [MIB..9 * MIB, 9 * MIB..73 * MIB, 100 * MIB..size - MIB - 512];
    let shape = Shape {
        size,
        logical_sector: 512,
    };
    place.empty("model", size);
    let table: String = partitions
        .iter()
        .map(|p| format!(" -n 0:{}:{}", p.start / 512, p.end / 512 - 1))
        .collect();
    place.sh(&format!(
        "sgdisk -a 1{table} model && sgdisk -b d1.mbr model"
    ));
    let mbr = fs::read(place.path("d1.mbr")).unwrap();
    let files = TableFiles {
        mbr: &mbr,
        ..TableFiles::default()
    };
    let plan = plan_table(&files, &shape, Layout::Keep).unwrap();

    let regions: Vec<Range<u64>> = partitions
        .iter()
        .cloned()
        .chain(std::iter::once(0..size))
        .collect();
    let disk = place.empty("disk", size);
    let file = File::options().write(true).open(&disk).unwrap();
    for region in &regions {
        for (_, plant) in &PLANTS {
            plant(&file, region.start, region.end - region.start);
        }
    }
    for region in &regions {
        let found = place.labels_in("disk", region);
        for (kind, _) in &PLANTS {
            // libblkid takes nothing small for a part of a ZFS.
            let may_be = *kind != "zfs_member" || region.end - region.start >= 64 * MIB;
            let is_there = found.iter().any(|label| label == kind);
            assert!(is_there || !may_be, "{kind} in {region:?}: {found:?}");
        }
    }
    let target = Target::open(&disk, &shape).unwrap();
    target.make_unbootable(&plan, &[]).unwrap();
    target.make_bootable(&plan).unwrap();
    drop(target);
    for region in &partitions {
        assert_eq!(place.labels_in("disk", region), Vec::<String>::new());
    }
    assert_eq!(place.labels("disk"), ["gpt", "gpt", "PMBR"]);
    // The new content is all that is found, as what it is.
    let region = &partitions[1];
    for (_, plant) in &PLANTS {
        plant(&file, region.start, region.end - region.start);
    }
    place.empty("new", region.end - region.start);
    place.sh("mkfs.ext4 -q new");
    let target = Target::open(&disk, &shape).unwrap();
    target.make_unbootable(&plan, &[]).unwrap();
    let mut writer = target
        .writer(region.start, region.end - region.start)
        .unwrap();
    let content = fs::read(place.path("new")).unwrap();
    for (index, block) in content.chunks(4096).enumerate() {
        // As an image: its used blocks.
        if block.iter().any(|octet| *octet != 0) {
            writer.write_at(index as u64 * 4096, block).unwrap();
        }
    }
    writer.finish().unwrap();
    target.make_bootable(&plan).unwrap();
    drop(target);
    assert_eq!(place.labels_in("disk", region), ["ext4"]);
    let (start, len) = (region.start, region.end - region.start);
    let kind = place.sh(&format!(
        "blkid -p -s TYPE -o value -O {start} -S {len} disk"
    ));
    assert_eq!(kind.trim(), "ext4");
    let mut found = vec![0; content.len()];
    let disk = File::open(&disk).unwrap();
    disk.read_exact_at(&mut found, region.start).unwrap();
    assert!(found == content, "nothing that was written is cleared");
}

/// A data partition that no image is for is left alone, as FOG does; also by a second attempt, when the table
/// is gone already.
#[test]
fn a_file_system_without_an_image_outlives_a_deploy_if_its_partition_stays() {
    let _turn = turn();
    if !root_and_tools(&["sgdisk", "sfdisk", "mkfs.ext4", "e2fsck", "losetup"]) {
        return;
    }
    let place = Place::new();
    let size = 128 * MIB;
    let data = 64 * MIB..size - MIB;
    let shape = Shape {
        size,
        logical_sector: 512,
    };
    let sectors = (data.end - data.start) / 512;
    let (start, last) = (data.start / 512, data.end / 512 - 1);
    let tables = [
        (
            "gpt",
            format!("sgdisk -a 1 -n 1:2048:+20M -n 2:{start}:{last} gpt"),
        ),
        (
            "mbr",
            format!("printf '2048,40960,7,*\\n{start},{sectors},7\\n' | sfdisk -q mbr"),
        ),
    ];
    place.empty("data", data.end - data.start);
    place.sh("mkfs.ext4 -q data");
    let content = fs::read(place.path("data")).unwrap();
    for (name, table) in tables {
        let disk = place.empty(name, size);
        place.sh(&table);
        let mbr = match name {
            "gpt" => place.sh("sgdisk -b d1.mbr gpt") + "d1.mbr",
            _ => place.sh("head -c 1048576 mbr > mbr.mbr") + "mbr.mbr",
        };
        let mbr = fs::read(place.path(mbr.rsplit(char::is_whitespace).next().unwrap())).unwrap();
        let files = TableFiles {
            mbr: &mbr,
            ..TableFiles::default()
        };
        let plan = plan_table(&files, &shape, Layout::Keep).unwrap();
        let file = File::options().read(true).write(true).open(&disk).unwrap();
        put(&file, data.start, &content);
        let found = || {
            let mut found = vec![0; content.len()];
            file.read_exact_at(&mut found, data.start).unwrap();
            found
        };
        for _attempt in 0..2 {
            let target = Target::open(&disk, &shape).unwrap();
            target.make_unbootable(&plan, &[2]).unwrap();
            assert!(found() == content, "{name}");
            assert!(target.table().unwrap().is_none());
        }
        let target = Target::open(&disk, &shape).unwrap();
        target.make_unbootable(&plan, &[2]).unwrap();
        target.make_bootable(&plan).unwrap();
        drop(target);
        assert!(found() == content, "{name}");
        let device = place.sh(&format!(
            "losetup -f --show -o {} --sizelimit {} {name}",
            data.start,
            data.end - data.start
        ));
        let device = Loop {
            path: device.trim().to_owned(),
        };
        place.sh(&format!("e2fsck -fn {}", device.path));
        drop(device);
        // With an image, it is another one's place.
        let target = Target::open(&disk, &shape).unwrap();
        target.make_unbootable(&plan, &[]).unwrap();
        assert_eq!(place.labels_in(name, &data), Vec::<String>::new());
        // And on a disk that has had no such partition nothing is kept.
        put(&file, data.start, &content);
        target.make_unbootable(&plan, &[2]).unwrap();
        assert_eq!(place.labels_in(name, &data), Vec::<String>::new());
    }
}

/// Not only the labels that this test knows: where the installed libblkid looks at all.
#[test]
fn blkid_looks_nowhere_but_where_it_is_cleared() {
    let _turn = turn();
    if !root_and_tools(&["wipefs", "strace"]) {
        return;
    }
    let place = Place::new();
    for size in [64 * MIB, 512 * MIB + 512, 3 << 40] {
        place.empty("disk", size);
        place.sh("strace -o trace -e trace=openat,pread64,read,lseek wipefs -n disk");
        let trace = fs::read_to_string(place.path("trace")).unwrap();
        let reads = reads_of(&trace, "\"disk\"");
        assert!(reads.len() > 30, "{trace}");
        for read in reads {
            let is_cleared = read.end <= FRONT_LEN || read.start + BACK_LEN >= size;
            assert!(is_cleared, "{read:?} of {size}");
        }
    }
}

/// The ranges that a program read of a file, from strace's output.
fn reads_of(trace: &str, name: &str) -> Vec<Range<u64>> {
    let mut descriptor = None;
    let mut at = 0;
    let mut reads = Vec::new();
    for line in trace.lines() {
        let Some((call, result)) = line.rsplit_once(" = ") else {
            continue;
        };
        let (call_name, arguments) = call.split_once('(').unwrap_or_default();
        let arguments = arguments.trim_end().trim_end_matches(')');
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let last: Vec<&str> = arguments.rsplit(", ").collect();
        if call_name == "openat" {
            if arguments.contains(name) {
                descriptor = Some(result.trim().to_owned());
            }
            continue;
        }
        if descriptor.as_deref() != arguments.split(',').next() {
            continue;
        }
        match call_name {
            "lseek" => at = number(result).unwrap(),
            "read" => {
                let len = number(last[0]).unwrap();
                reads.push(at..at + len);
                at += number(result).unwrap();
            }
            "pread64" => {
                let (start, len) = (number(last[0]).unwrap(), number(last[1]).unwrap());
                reads.push(start..start + len);
            }
            _ => {}
        }
    }
    reads
}

#[test]
fn a_restore_clears_labels_and_completes_an_ntfs() {
    let _turn = turn();
    if !root_and_tools(&["wipefs", "mkntfs", "ntfsfix", "partclone.ntfs", "mdadm"]) {
        return;
    }
    let place = Place::new();
    // No whole number of clusters, as partitions are.
    let len = 41_945_600;
    place.empty("volume", len);
    place.sh("mkntfs -q -F -s 512 -c 4096 volume && ntfsfix -n volume");
    place.sh("partclone.ntfs -q -c -s volume -o image -L log");
    for (name, target_len) in [("same", len), ("larger", len + 3 * MIB), ("odd", len + 100)] {
        let path = place.empty(name, target_len);
        let file = File::options().write(true).open(&path).unwrap();
        let sectors = target_len / 512 * 512;
        if target_len == sectors {
            md1(&file, 0, (sectors / 512 - 16) / 8 * 8 * 512);
            assert_eq!(place.labels(name), ["linux_raid_member"]);
            place.sh(&format!("mdadm --examine {name}"));
        }
        place.sh(&format!("$AGENT restore image {name}"));
        assert_eq!(place.labels(name), place.labels("volume"), "{name}");
        assert!(
            !place
                .try_sh(&format!("mdadm --examine {name} | grep -i Version"))
                .0
        );
        place.sh(&format!("ntfsfix -n {name}"));
    }
    // A new file is as long as the volume needs. Images of the first format do not say how long that is.
    let content = fs::read(place.path("volume")).unwrap();
    let mut recipe = Recipe::v1(4096, vec![true; 10_240]);
    recipe.device_size = Some(len);
    let block = |number: u64| content.chunks(4096).nth(usize::try_from(number).unwrap());
    fs::write(
        place.path("v1"),
        recipe.write(|number| block(number).unwrap().to_vec()),
    )
    .unwrap();
    for image in ["image", "v1"] {
        place.sh(&format!("rm -f new; $AGENT restore --create {image} new"));
        assert_eq!(place.path("new").metadata().unwrap().len(), len, "{image}");
        place.sh("ntfsfix -n new");
    }
    // Raw data is what it is.
    place.sh("head -c 41943040 volume > raw; $AGENT restore --raw --create raw raw-copy; cmp raw raw-copy");
}

#[test]
fn a_disk_with_partitions_is_only_overwritten_on_demand() {
    let _turn = turn();
    if !root_and_tools(&["sgdisk", "sfdisk", "losetup", "mkfs.vfat", "mkntfs"]) {
        return;
    }
    let place = Place::new();
    place.image("image", 4096);
    place.empty("gpt", 64 * MIB);
    place.sh("sgdisk -n 1:2048:+20M -n 2:0:0 gpt");
    place.empty("mbr", 64 * MIB);
    place.sh("echo '2048,40960,7,*' | sfdisk -q mbr");
    for (name, words) in [
        ("gpt", "a partition table of 2 partitions"),
        ("mbr", "a partition table of 1 partition"),
    ] {
        let before = fs::read(place.path(name)).unwrap();
        let said = place.refused(&format!("image {name}"));
        assert!(
            said.contains(words) && said.contains("--whole-disk"),
            "{said}"
        );
        assert!(fs::read(place.path(name)).unwrap() == before);
    }
    if let Some(device) = Loop::new(&place, "--partscan gpt") {
        let said = place.refused(&format!("image {}", device.path));
        assert!(said.contains("--whole-disk"), "{said}");
        // A partition is what it is meant for.
        let partition = format!("{}p1", device.path);
        if Path::new(&partition).exists() {
            place.sh(&format!("$AGENT restore image {partition}"));
            let mut start = [0; 512];
            let disk = File::open(place.path("gpt")).unwrap();
            place.sh("sync");
            disk.read_exact_at(&mut start, MIB).unwrap();
            assert_eq!(start, [1; 512]);
        }
    }
    for name in ["gpt", "mbr"] {
        place.sh(&format!("$AGENT restore --whole-disk image {name}"));
        assert_eq!(place.labels(name), Vec::<String>::new());
        // There is no table any more.
        place.sh(&format!("$AGENT restore image {name}"));
    }
    // Boot sectors of file systems look like tables, and are none.
    place.empty("fat", 64 * MIB);
    place.empty("ntfs", 64 * MIB);
    place.sh("mkfs.vfat fat; mkntfs -q -F -s 512 ntfs");
    for name in ["fat", "ntfs"] {
        place.sh(&format!("$AGENT restore image {name}"));
    }
}

#[test]
fn what_a_device_in_use_is_made_of_is_refused() {
    let _turn = turn();
    if !root_and_tools(&["losetup", "mkfs.ext4", "mount", "umount"]) {
        return;
    }
    let place = Place::new();
    place.image("image", 4096);
    place.empty("disk", 64 * MIB);
    place.sh("mkfs.ext4 -q disk; mkdir at");
    let Some(outer) = Loop::new(&place, "disk") else {
        return;
    };
    let Some(inner) = Loop::new(&place, &outer.path) else {
        return;
    };
    let before = fs::read(place.path("disk")).unwrap();
    {
        let _mount = Mount::new(&place, &inner.path);
        let name = inner.path.trim_start_matches("/dev/");
        let said = place.refused(&format!("image {}", outer.path));
        assert!(
            said.contains(&format!("the loop device {name} shows it")),
            "{said}"
        );
        assert!(said.contains("is mounted on"), "{said}");
        place.refused(&format!("image {}", inner.path));
    }
    {
        let _mount = Mount::new(&place, &outer.path);
        let said = place.refused("image disk");
        assert!(said.contains("is in use: the loop device"), "{said}");
        assert!(said.contains(&format!("is mounted on {}", place.path("at").display())));
        // A file that is no disk has another way to be opened.
        place.sh("ln disk other-name");
        place.refused("image other-name");
    }
    assert!(fs::read(place.path("disk")).unwrap() == before);
    // Shown by a loop device that has no use is no use.
    place.sh(&format!("$AGENT restore image {}", outer.path));
    place.sh("$AGENT restore image disk");
}

#[test]
fn a_write_protected_device_is_refused_before_a_write() {
    let _turn = turn();
    if !root_and_tools(&["losetup"]) {
        return;
    }
    let place = Place::new();
    place.image("image", 4096);
    place.empty("disk", 64 * MIB);
    let Some(device) = Loop::new(&place, "--read-only disk") else {
        return;
    };
    let said = place.refused(&format!("image {}", device.path));
    assert!(said.contains("is read-only; remove"), "{said}");
}

/// A loop device, detached when dropped.
struct Loop {
    path: String,
}

impl Loop {
    /// `None` (told why) where the machine has no loop devices.
    #[track_caller]
    fn new(place: &Place, what: &str) -> Option<Self> {
        let (is_good, said) = place.try_sh(&format!("losetup -f --show {what}"));
        if !is_good {
            let _told = skip(&format!("no loop device: {}", said.trim()));
            return None;
        }
        Some(Self {
            path: said.trim().to_owned(),
        })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let status = Command::new("losetup").args(["-d", &self.path]).status();
        drop(status);
    }
}

/// Something that is mounted on `at`, until dropped.
struct Mount {
    at: PathBuf,
}

impl Mount {
    #[track_caller]
    fn new(place: &Place, device: &str) -> Self {
        place.sh(&format!("mount -o ro,noload {device} at"));
        Self {
            at: place.path("at"),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.at).status());
    }
}
