//! Our partition tables and writes against sgdisk, sfdisk, mkswap and real block devices.

#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "tests: small disks, and a failing step has nothing to add to its error"
)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk::{
    Disk, Layout, OpenError, Shape, TableFiles, TablePlan, Target, Transport, WriteError,
    plan_table, swap_header,
};
use fos_tests::need::{root_and_tools, skip};
use fos_tests::netns::wait_for;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// What a GPT occupies at either end with 128 entries and 512-byte sectors.
const GPT_SECTORS: u64 = 34;

/// One test at a time: a program that another test starts has our exclusive devices open for a
/// moment, between fork and exec, and keeps deleted files alive.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn gpt_equals_what_sgdisk_restores_from_its_backup() {
    let _turn = turn();
    if !root_and_tools(&["sgdisk", "sfdisk"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let source = disk_file(&dir, "source", 64 * MIB);
    run(&format!(
        "sgdisk -n 1:2048:+4M -t 1:ef00 -c 1:EFI -n 2:0:+1M -t 2:0c01 -A 2:set:63 \
         -n 5:0:+16M -t 5:0700 -n 3:0:+8M -c 3:größe -A 3:set:2 -n 128:0:+1M {source}"
    ));
    // Boot code, as GRUB leaves it in front of a GPT.
    let disk = File::options().write(true).open(&source).unwrap();
    disk.write_all_at(&[0xeb; 440], 0).unwrap();
    let image = Image::of_gpt(&dir, &source, &source);
    for mib in [34, 64, 65, 100, 70_000] {
        let ours = disk_file(&dir, "ours", mib * MIB);
        let theirs = disk_file(&dir, "theirs", mib * MIB);
        let plan = image.restore(&ours, shape(mib * MIB, 512), Layout::Keep);
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
        run(&format!("sgdisk -gl {} {theirs}", image.mbr_path));
        assert_gpt_is_sound(&ours);
        assert_eq!(dump(&ours), dump(&theirs), "{mib} MiB");
        assert_eq!(partition_lines(&ours), partition_lines(&source));
        assert_same_ends(&ours, &theirs, mib * MIB);
    }
    // Partitions end at 31 MiB and some kB: 31 MiB have no room for them.
    let error = image.plan(shape(31 * MIB, 512), Layout::Keep).unwrap_err();
    assert!(error.to_string().contains("too small"), "{error}");
}

#[test]
fn gpt_with_another_number_of_entries_is_kept() {
    let _turn = turn();
    if !root_and_tools(&["sgdisk", "sfdisk"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    for count in [56, 256] {
        let source = disk_file(&dir, "source", 64 * MIB);
        run(&format!("sgdisk -o {source}"));
        run(&format!("sgdisk -S {count} {source}"));
        run(&format!("sgdisk -n 1:2048:+4M -n 40:0:+4M {source}"));
        let image = Image::of_gpt(&dir, &source, &source);
        let ours = disk_file(&dir, "ours", 80 * MIB);
        image.restore(&ours, shape(80 * MIB, 512), Layout::Keep);
        assert_gpt_is_sound(&ours);
        assert_eq!(partition_lines(&ours), partition_lines(&source));
    }
}

#[test]
fn gpt_of_large_sectors_on_a_block_device() {
    let _turn = turn();
    if !root_and_tools(&["sgdisk", "sfdisk", "losetup"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let Some(source) = LoopDevice::new(&disk_file(&dir, "source", 64 * MIB), 4096) else {
        return;
    };
    run(&format!(
        "sgdisk -n 1:0:+4M -t 1:ef00 -c 1:EFI -n 2:0:+20M -n 3:0:+8M -A 3:set:0 {source}"
    ));
    let image = Image::of_gpt(&dir, &source.path, &source.path);
    for mib in [48, 64, 200] {
        let Some(ours) = LoopDevice::new(&disk_file(&dir, "ours", mib * MIB), 4096) else {
            return;
        };
        let Some(theirs) = LoopDevice::new(&disk_file(&dir, "theirs", mib * MIB), 4096) else {
            return;
        };
        image.restore(&ours.path, shape(mib * MIB, 4096), Layout::Keep);
        run(&format!("sgdisk -gl {} {theirs}", image.mbr_path));
        assert_gpt_is_sound(&ours.path);
        assert_eq!(dump(&ours.path), dump(&theirs.path), "{mib} MiB");
        assert_eq!(partition_lines(&ours.path), partition_lines(&source.path));
        assert_same_ends(&ours.path, &theirs.path, mib * MIB);
    }
    let error = image.plan(shape(64 * MIB, 512), Layout::Keep).unwrap_err();
    assert!(error.to_string().contains("4096-byte sectors"), "{error}");
}

#[test]
fn filled_gpt_satisfies_sgdisk() {
    let _turn = turn();
    if !root_and_tools(&["sgdisk", "sfdisk"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let source = disk_file(&dir, "source", 64 * MIB);
    run(&format!(
        "sgdisk -n 1:2048:+4M -t 1:ef00 -n 2:0:+40M -t 2:0700 -c 2:data -n 3:0:+8M {source}"
    ));
    let mut image = Image::of_gpt(&dir, &source, &source);
    image.fixed = Some("1:3".to_owned());
    image.minimum = Some(
        image
            .partitions
            .replace("size=       81920", "size=       20480"),
    );
    for mib in [32, 64, 300] {
        let ours = disk_file(&dir, "ours", mib * MIB);
        let plan = image.restore(&ours, shape(mib * MIB, 512), Layout::Fill);
        assert_gpt_is_sound(&ours);
        let sizes: Vec<u64> = plan.partitions.iter().map(|p| p.len / 512).collect();
        assert_eq!((sizes[0], sizes[2]), (8192, 16_384));
        // What is left unused is less than the alignment costs: 256 kB and the gap in front.
        let used: u64 = sizes.iter().sum();
        assert!(mib * 2048 - used <= 2048 + 512 + 2 * GPT_SECTORS, "{plan}");
        let names = |disk: &str| dump(disk).matches("name=\"data\"").count();
        assert_eq!(names(&ours), 1);
    }
}

#[test]
fn mbr_with_boot_loader_and_logical_partitions() {
    let _turn = turn();
    if !root_and_tools(&["sfdisk", "losetup"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let script = "label: dos\nlabel-id: 0x12345678\n\
        2048,8192,83,*\n12288,100000,5\n120000,4096,7\n\
        14336,20000,83\n40000,10000,82\n60000,10000,83\n";
    for sector in [512, 4096] {
        let size = 1024 * MIB;
        let (Some(source), Some(ours)) = (
            LoopDevice::new(&disk_file(&dir, "source", size), sector),
            LoopDevice::new(&disk_file(&dir, "ours", 2 * size), sector),
        ) else {
            return;
        };
        run_with_input(&format!("sfdisk -q --no-reread {source}"), script);
        // Boot code, and a second stage in the gap.
        let disk = File::options().write(true).open(&source.path).unwrap();
        disk.write_all_at(&[0xeb; 440], 0).unwrap();
        disk.write_all_at(&[0x47; 60_000], 512).unwrap();
        disk.sync_all().unwrap();
        drop(disk);
        let image = Image::of_mbr(&dir, &source.path, 2048 * 512);
        let plan = image.restore(&ours.path, shape(2 * size, sector), Layout::Keep);
        assert_eq!(plan.partitions.len(), 6);
        assert_eq!(dump(&ours.path), dump(&source.path));
        run(&format!("sfdisk --verify -q {ours}"));
        let area = |disk: &LoopDevice| octets(&disk.path, 0, 2048 * 512);
        assert!(area(&ours) == area(&source));
        // The chain is at the places where sfdisk has it, to the octet but for CHS values.
        for lba in [12_288_u64, 37_952, 57_952] {
            if sector == 512 {
                let record = |disk: &LoopDevice| without_chs(octets(&disk.path, lba * 512, 512));
                assert!(record(&ours) == record(&source), "{lba}");
            }
        }
    }
}

#[test]
fn filled_mbr_satisfies_sfdisk() {
    let _turn = turn();
    if !root_and_tools(&["sfdisk"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let source = disk_file(&dir, "source", 128 * MIB);
    let script = "label: dos\n2048,20478,83,*\n22526,200002,5\n22528,100000,83\n124576,60000,82\n";
    run_with_input(&format!("sfdisk -q {source}"), script);
    let image = Image::of_mbr(&dir, &source, 2048 * 512);
    let ours = disk_file(&dir, "ours", 500 * MIB);
    let plan = image.restore(&ours, shape(500 * MIB, 512), Layout::Fill);
    run(&format!("sfdisk --verify -q {ours}"));
    let found = dump(&ours);
    for p in &plan.partitions {
        let place = format!("start={:>12}, size={:>12}", p.offset / 512, p.len / 512);
        assert!(found.contains(&place), "{place} is not in\n{found}");
    }
    assert_eq!(plan.partition(6).unwrap().len, 60_000 * 512);
}

#[test]
fn swap_header_is_the_one_mkswap_writes() {
    let _turn = turn();
    if !root_and_tools(&["mkswap", "blkid"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let uuid = uuid::Uuid::parse_str("8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d").unwrap();
    for len in [MIB, 5 * MIB + 512, 10 * 4096] {
        let theirs = disk_file(&dir, "theirs", len);
        run(&format!("mkswap -q -p 4096 -U {uuid} {theirs}"));
        let ours = swap_header(len, uuid, 4096).unwrap();
        assert!(ours == octets(&theirs, 0, 4096), "{len}");
        let file = disk_file(&dir, "ours", len);
        let disk = File::options().write(true).open(&file).unwrap();
        disk.write_all_at(&ours, 0).unwrap();
        let found = run(&format!("blkid -p -o export {file}"));
        assert!(found.contains(&uuid.to_string()), "{found}");
    }
}

#[test]
fn large_sectors_are_written_through_a_block_device() {
    let _turn = turn();
    if !root_and_tools(&["losetup"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let size = 16 * MIB;
    let Some(device) = LoopDevice::new(&disk_file(&dir, "disk", size), 4096) else {
        return;
    };
    let before: Vec<u8> = (0..size).map(|i| (i % 253) as u8 | 0x80).collect();
    fs::write(&device.path, &before).unwrap();
    let target = Target::open(Path::new(&device.path), &shape(size, 4096)).unwrap();
    assert!(target.is_direct());
    let mut expected = before;
    let base = MIB;
    let mut writer = target.writer(base, 8 * MIB).unwrap();
    // Lengths that are no multiple of anything, joined, apart, and at both ends of the region.
    let mut state = 12_345_u64;
    let mut at = 0;
    for round in 0..400_u64 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let len = (state >> 40) % 30_000;
        if round % 7 == 0 {
            at = (state >> 20) % (8 * MIB);
        }
        let len = len.min(8 * MIB - at);
        let data = vec![round as u8 & 0x7f; len as usize];
        writer.write_at(at, &data).unwrap();
        let from = (base + at) as usize;
        expected[from..from + data.len()].copy_from_slice(&data);
        at += len;
    }
    writer.finish().unwrap();
    drop(target);
    assert!(octets(&device.path, 0, size) == expected);
}

#[test]
fn a_disk_is_opened_by_one_and_never_while_mounted() {
    let _turn = turn();
    if !root_and_tools(&["losetup", "mkfs.ext4", "mount", "umount"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let size = 16 * MIB;
    let Some(device) = LoopDevice::new(&disk_file(&dir, "disk", size), 512) else {
        return;
    };
    let path = Path::new(&device.path);
    let target = Target::open(path, &shape(size, 512)).unwrap();
    let error = Target::open(path, &shape(size, 512)).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(target);
    for wrong in [shape(size, 4096), shape(size - 512, 512)] {
        let error = Target::open(path, &wrong).unwrap_err();
        assert!(matches!(error, OpenError::Changed { .. }), "{error}");
    }
    run(&format!("mkfs.ext4 -q {device}"));
    let mount = Mount::new(&["-t", "ext4", &device.path], &dir.path().join("mnt"));
    let error = Target::open(path, &shape(size, 512)).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(mount);
    // A namespace that another test was just making may have the mount for a moment longer.
    let mut opened = Target::open(path, &shape(size, 512));
    wait_for("the device is free", || {
        if matches!(opened, Err(OpenError::InUse { .. })) {
            opened = Target::open(path, &shape(size, 512));
        }
        !matches!(opened, Err(OpenError::InUse { .. }))
    });
    opened.unwrap();
}

#[test]
fn a_disk_that_changed_since_it_was_probed_is_refused() {
    let _turn = turn();
    if !root_and_tools(&["losetup"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let size = 16 * MIB;
    let Some(device) = LoopDevice::new(&disk_file(&dir, "disk", size), 512) else {
        return;
    };
    let probed = Disk {
        path: device.path.clone().into(),
        name: "sdz".to_owned(),
        major: 8,
        minor: 400,
        size,
        logical_sector: 512,
        physical_sector: 512,
        is_removable: false,
        is_read_only: false,
        transport: Transport::Scsi,
        model: None,
        serial: None,
        usb_serial: None,
        wwn: None,
        in_use: Vec::new(),
        labels: Vec::new(),
    };
    let error = Target::open_disk(&probed).unwrap_err();
    assert!(
        error.to_string().contains("its device number is 7:"),
        "{error}"
    );
    let minor = device.path.trim_start_matches("/dev/loop").parse().unwrap();
    let gone = Disk {
        major: 7,
        minor,
        ..probed
    };
    let error = Target::open_disk(&gone).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(octets(&device.path, 0, size), vec![0; size as usize]);
}

/// As a volume that is made smaller on its storage: what was at its end is lost, and no write says so.
#[test]
fn a_disk_that_has_become_smaller_stays_without_a_table() {
    let _turn = turn();
    if !root_and_tools(&["losetup", "sgdisk"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let source = disk_file(&dir, "source", 64 * MIB);
    run(&format!("sgdisk -n 1:2048:0 {source}"));
    let image = Image::of_gpt(&dir, &source, &source);
    let plan = image.plan(shape(64 * MIB, 512), Layout::Keep).unwrap();
    let file = disk_file(&dir, "disk", 64 * MIB);
    let Some(device) = LoopDevice::new(&file, 512) else {
        return;
    };
    let target = Target::open(Path::new(&device.path), &shape(64 * MIB, 512)).unwrap();
    target.make_unbootable(&plan, &[]).unwrap();
    let mut writer = target.writer(MIB, MIB).unwrap();
    writer.write_at(0, &[0x5a; 4096]).unwrap();
    writer.finish().unwrap();
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(32 * MIB)
        .unwrap();
    run(&format!("losetup -c {}", device.path));
    let error = target.make_bootable(&plan).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, WriteError::Changed { .. }), "{text}");
    assert!(text.contains("smaller"), "{text}");
    assert_eq!(octets(&file, 0, 512), vec![0; 512]);
}

#[test]
fn a_full_medium_is_reported_with_its_place_and_leaves_no_table() {
    let _turn = turn();
    if !root_and_tools(&["sgdisk", "losetup", "mount", "umount"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let source = disk_file(&dir, "source", 64 * MIB);
    run(&format!("sgdisk -n 1:2048:0 {source}"));
    let image = Image::of_gpt(&dir, &source, &source);
    let plan = image.plan(shape(64 * MIB, 512), Layout::Keep).unwrap();
    // 8 MiB of memory behind a disk of 64 MiB: a regular file says ENOSPC, a loop device EIO.
    let mount = Mount::new(
        &["-t", "tmpfs", "-o", "size=8m", "fos-disk"],
        &dir.path().join("full"),
    );
    let file = disk_file_at(&mount.at.join("disk"), 64 * MIB);
    let check = |path: &str| {
        let target = Target::open(Path::new(path), &shape(64 * MIB, 512)).unwrap();
        target.make_unbootable(&plan, &[]).unwrap();
        let mut writer = target.writer(MIB, 62 * MIB).unwrap();
        let block = vec![0x5a; 1 << 20];
        let mut failure = None;
        for index in 0..62 {
            if let Err(error) = writer.write_at(index * MIB, &block) {
                failure = Some(error);
                break;
            }
        }
        let error = writer.finish().unwrap_err();
        let text = error.to_string();
        let WriteError::Io { offset, .. } = error else {
            panic!("{text}");
        };
        assert!((MIB..63 * MIB).contains(&offset), "{text}");
        assert!(text.contains(path), "{text}");
        assert!(text.contains("os error"), "{text}");
        if let Some(failure) = failure {
            assert_eq!(failure.to_string(), text);
        }
        let refused = target.make_bootable(&plan).unwrap_err();
        assert!(
            matches!(refused, WriteError::Incomplete { .. }),
            "{refused}"
        );
        assert_eq!(octets(path, 0, 512), vec![0; 512]);
    };
    check(&file);
    fs::remove_file(&file).unwrap();
    let file = disk_file_at(&mount.at.join("disk"), 64 * MIB);
    let Some(device) = LoopDevice::new(&file, 512) else {
        return;
    };
    check(&device.path);
}

/// The small files of an image, made with the original tools.
struct Image {
    mbr: Vec<u8>,
    mbr_path: String,
    partitions: String,
    minimum: Option<String>,
    fixed: Option<String>,
}

impl Image {
    #[track_caller]
    fn of_gpt(dir: &TempDir, disk: &str, dumped: &str) -> Self {
        let mbr_path = path_in(dir, "d1.mbr");
        run(&format!("sgdisk -b {mbr_path} {disk}"));
        Self {
            mbr: fs::read(&mbr_path).unwrap(),
            mbr_path,
            partitions: run(&format!("sfdisk -d {dumped}")),
            minimum: None,
            fixed: None,
        }
    }

    #[track_caller]
    fn of_mbr(dir: &TempDir, disk: &str, len: u64) -> Self {
        Self {
            mbr: octets(disk, 0, len),
            mbr_path: path_in(dir, "d1.mbr"),
            partitions: run(&format!("sfdisk -d {disk}")),
            minimum: None,
            fixed: None,
        }
    }

    fn plan(&self, shape: Shape, layout: Layout) -> Result<TablePlan, disk::PlanError> {
        let files = TableFiles {
            mbr: &self.mbr,
            partitions: Some(&self.partitions),
            minimum: self.minimum.as_deref(),
            fixed: self.fixed.as_deref(),
            ..TableFiles::default()
        };
        plan_table(&files, &shape, layout)
    }

    /// Puts the table on a disk as a deploy does, without data.
    #[track_caller]
    fn restore(&self, disk: &str, shape: Shape, layout: Layout) -> TablePlan {
        let plan = self.plan(shape, layout).unwrap();
        let target = Target::open(Path::new(disk), &shape).unwrap();
        target.make_unbootable(&plan, &[]).unwrap();
        target.make_bootable(&plan).unwrap();
        plan
    }
}

/// A loop device, detached when dropped.
struct LoopDevice {
    path: String,
}

impl LoopDevice {
    /// `None` (told why) where the machine has no loop devices.
    #[track_caller]
    fn new(file: &str, sector: u32) -> Option<Self> {
        let output = command("losetup")
            .args(["-f", "--show", "-b", &sector.to_string(), file])
            .output()
            .unwrap();
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            let _told = skip(&format!("no loop device: {}", reason.trim()));
            return None;
        }
        Some(Self {
            path: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        })
    }
}

impl std::fmt::Display for LoopDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A failure shows in the machine's list of loop devices; there is nobody to tell here.
        drop(command("losetup").args(["-d", &self.path]).status());
    }
}

/// A mounted file system, unmounted when dropped.
struct Mount {
    at: PathBuf,
}

impl Mount {
    #[track_caller]
    fn new(what: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let status = command("mount").args(what).arg(at).status().unwrap();
        assert!(status.success(), "mount {what:?}");
        Self { at: at.to_owned() }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(command("umount").arg(&self.at).status());
    }
}

fn shape(size: u64, logical_sector: u32) -> Shape {
    Shape {
        size,
        logical_sector,
    }
}

fn path_in(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

/// A new sparse file of this length.
fn disk_file(dir: &TempDir, name: &str, len: u64) -> String {
    disk_file_at(&dir.path().join(name), len)
}

fn disk_file_at(path: &Path, len: u64) -> String {
    // Not truncated in place: an old loop device may still be on its way to letting go of it.
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    File::create(path).unwrap().set_len(len).unwrap();
    path.to_str().unwrap().to_owned()
}

fn octets(path: &str, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn without_chs(mut record: Vec<u8>) -> Vec<u8> {
    for slot in 0..4 {
        let at = 446 + slot * 16;
        record[at + 1..at + 4].fill(0);
        record[at + 5..at + 8].fill(0);
    }
    record
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// Runs a program with blank-separated arguments; its output.
#[track_caller]
fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = command(words.next().unwrap()).args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{line}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[track_caller]
fn run_with_input(line: &str, input: &str) {
    use std::io::Write;
    let mut words = line.split_whitespace();
    let mut child = command(words.next().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let status = child.wait().unwrap();
    assert!(status.success(), "{line}: {status}");
}

/// The dump of a disk without its name.
#[track_caller]
fn dump(disk: &str) -> String {
    run(&format!("sfdisk -d {disk}")).replace(disk, "DISK")
}

#[track_caller]
fn partition_lines(disk: &str) -> Vec<String> {
    let text = dump(disk);
    let lines = text.lines().filter(|line| line.contains("start="));
    lines.map(ToOwned::to_owned).collect()
}

#[track_caller]
fn assert_gpt_is_sound(disk: &str) {
    let verdict = run(&format!("sgdisk -v {disk}"));
    assert!(verdict.contains("No problems found"), "{verdict}");
}

/// Both ends of the disk: protective MBR, headers and entries, to the octet.
#[track_caller]
fn assert_same_ends(ours: &str, theirs: &str, size: u64) {
    const LEN: u64 = 128 << 10;
    for (offset, end) in [(0, "front"), (size - LEN, "end")] {
        let (a, b) = (octets(ours, offset, LEN), octets(theirs, offset, LEN));
        let at = a.iter().zip(&b).position(|(a, b)| a != b);
        assert_eq!(at, None, "first differing octet at the {end} of {ours}");
    }
}
