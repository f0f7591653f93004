//! Real file systems on files, grown and then looked at by the programs that check them.

use deploy_plan::WhichDisk;
use disk::{Kind, PlannedPartition, Shape};

use super::super::samples::sh;
use super::*;

const OFFSET: u64 = 4 << 20;

fn partition(len: u64) -> PlannedPartition {
    PlannedPartition {
        number: 3,
        offset: OFFSET,
        len,
        original_len: len,
        kind: Kind::Mbr(0x83),
        guid: None,
        attributes: 0,
        name: String::new(),
        is_bootable: false,
        is_extended: false,
        is_swap: false,
        swap_uuid: None,
    }
}

fn programs<'a>(tools: &'a Tools, ending: &'a Ending) -> Programs<'a> {
    Programs::new(tools, ending, &|_| {})
}

fn place(partition: &PlannedPartition) -> Place<'_> {
    Place {
        disk: WhichDisk::ONLY,
        partition,
        volume: None,
    }
}

/// A file that stands for a disk, with a file system of `small` bytes in a partition of `large` bytes.
struct Disk {
    file: tempfile::NamedTempFile,
    shape: Shape,
    large: u64,
}

impl Disk {
    /// `None` where the machine lacks something.
    fn new(make: &str, kind: Growable, small: u64, large: u64) -> Option<Self> {
        let is_root = sh("id -u").trim() == "0";
        let program = make.split(' ').next().unwrap();
        let tools = Tools::installed();
        if !is_root || tools.find(program).is_none() || tools.lack(kind).is_some() {
            let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
            assert!(!is_strict, "needs root, {program} and what grows {kind}");
            return None;
        }
        let part = tempfile::NamedTempFile::new().unwrap();
        part.as_file().set_len(small).unwrap();
        sh(&format!("{make} {}", part.path().display()));
        let file = tempfile::NamedTempFile::new().unwrap();
        let shape = Shape {
            size: OFFSET + large + (4 << 20),
            logical_sector: 512,
        };
        file.as_file().set_len(shape.size).unwrap();
        sh(&format!(
            "dd if={} of={} bs=1M seek=4 conv=notrunc,sparse status=none",
            part.path().display(),
            file.path().display()
        ));
        Some(Self { file, shape, large })
    }

    fn grow(&self, kind: Growable) -> Result<Option<Warning>, GrowError> {
        let target = Target::open(self.file.path(), &self.shape).unwrap();
        grow(
            place(&partition(self.large)),
            kind,
            &target,
            &programs(&Tools::installed(), &Ending::default()),
        )
    }

    /// What a program says of the partition, which it must find sound.
    #[track_caller]
    fn ask(&self, line: &str) -> String {
        let part = tempfile::NamedTempFile::new().unwrap();
        sh(&format!(
            "dd if={} of={} bs=1M skip=4 count={} conv=sparse status=none",
            self.file.path().display(),
            part.path().display(),
            self.large >> 20
        ));
        part.as_file().set_len(self.large).unwrap();
        sh(&line.replace(DEVICE, part.path().to_str().unwrap()))
    }
}

#[test]
fn ext4_fills_its_partition() {
    let make = "mkfs.ext4 -q -b 4096";
    let Some(disk) = Disk::new(make, Growable::Ext, 32 << 20, 100 << 20) else {
        return;
    };
    assert_eq!(disk.grow(Growable::Ext).unwrap(), None);
    disk.ask("e2fsck -fn {device}");
    let said = disk.ask("dumpe2fs -h {device}");
    let blocks = said.lines().find(|line| line.starts_with("Block count:"));
    assert!(
        blocks
            .unwrap()
            .ends_with(&format!(" {}", (100 << 20) / 4096)),
        "{said}"
    );
}

/// As disks are: a block device, held exclusively, read and written without a cache.
#[test]
fn on_a_block_device_of_large_sectors_it_is_the_same() {
    let make = "mkfs.ext4 -q -b 4096";
    let Some(disk) = Disk::new(make, Growable::Ext, 32 << 20, 100 << 20) else {
        return;
    };
    let file = disk.file.path().display();
    let device = sh(&format!("losetup --show -f -b 4096 {file}"));
    let shape = Shape {
        logical_sector: 4096,
        ..disk.shape
    };
    let done = {
        let target = Target::open(Path::new(device.trim()), &shape).unwrap();
        assert!(target.is_direct());
        grow(
            place(&partition(disk.large)),
            Growable::Ext,
            &target,
            &programs(&Tools::installed(), &Ending::default()),
        )
    };
    sh(&format!("losetup -d {device}"));
    assert_eq!(done.unwrap(), None);
    disk.ask("e2fsck -fn {device}");
    let said = disk.ask("dumpe2fs -h {device}");
    assert!(said.contains("Block count:              25600\n"), "{said}");
}

#[test]
fn ntfs_fills_its_partition_and_is_clean() {
    let make = "mkfs.ntfs -q -F -f -s 512 -H 0 -S 0 -p 0";
    let Some(disk) = Disk::new(make, Growable::Ntfs, 32 << 20, 100 << 20) else {
        return;
    };
    assert_eq!(disk.grow(Growable::Ntfs).unwrap(), None);
    let said = disk.ask("ntfsresize --info -f {device}");
    let line = said
        .lines()
        .find(|line| line.starts_with("Current volume size:"))
        .unwrap();
    let size: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    // Whole clusters, and a sector for the copy of the boot sector.
    assert!(((100 << 20) - 8192..=100 << 20).contains(&size), "{said}");
    // Not forced: a volume that wants a check is refused.
    disk.ask("ntfsresize --info {device}");
}

#[test]
fn btrfs_fills_its_partition() {
    let Some(disk) = Disk::new("mkfs.btrfs -q", Growable::Btrfs, 128 << 20, 300 << 20) else {
        return;
    };
    assert_eq!(disk.grow(Growable::Btrfs).unwrap(), None);
    disk.ask("btrfs check {device}");
    let said = disk.ask("btrfs inspect-internal dump-super {device}");
    let total = said
        .lines()
        .find(|line| line.starts_with("total_bytes"))
        .unwrap();
    assert!(total.ends_with(&format!("{}", 300_u64 << 20)), "{said}");
}

#[test]
fn xfs_fills_its_partition() {
    let Some(disk) = Disk::new("mkfs.xfs -q", Growable::Xfs, 320 << 20, 500 << 20) else {
        return;
    };
    assert_eq!(disk.grow(Growable::Xfs).unwrap(), None);
    disk.ask("xfs_repair -n {device}");
    let said = disk.ask("xfs_db -r -c 'sb 0' -c 'p dblocks' {device}");
    assert_eq!(said.trim(), format!("dblocks = {}", (500 << 20) / 4096));
}

#[test]
fn no_other_process_sees_what_is_mounted() {
    if sh("id -u").trim() != "0" {
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let lists = alone(|| {
        let none = None::<&Path>;
        mount(
            Some("none"),
            at.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        let own = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let others = std::fs::read_to_string("/proc/1/mounts").unwrap();
        let ours = std::fs::read_to_string("/proc/self/mounts").unwrap();
        [own, ours, others].map(|list| list.contains(at.path().to_str().unwrap()))
    });
    assert_eq!(lists.unwrap(), [true, false, false]);
}

#[test]
fn f2fs_fills_its_partition() {
    let Some(disk) = Disk::new("mkfs.f2fs -q", Growable::F2fs, 64 << 20, 200 << 20) else {
        return;
    };
    assert_eq!(disk.grow(Growable::F2fs).unwrap(), None);
    disk.ask("fsck.f2fs --dry-run {device}");
    let said = disk.ask("dump.f2fs {device}");
    assert!(
        said.contains("total FS sectors = 409600 (200 MB)"),
        "{said}"
    );
}

#[test]
fn a_file_system_that_cannot_be_grown_is_a_failure_and_the_disk_does_not_boot() {
    let make = "mkfs.ext4 -q -b 4096";
    let Some(disk) = Disk::new(make, Growable::Ext, 32 << 20, 100 << 20) else {
        return;
    };
    // There is no NTFS.
    let target = Target::open(disk.file.path(), &disk.shape).unwrap();
    let done = grow(
        place(&partition(disk.large)),
        Growable::Ntfs,
        &target,
        &programs(&Tools::installed(), &Ending::default()),
    );
    let Err(GrowError::Failed {
        which,
        cause: Cause::Program { program, said, .. },
        ..
    }) = done
    else {
        panic!("{done:?}");
    };
    assert_eq!((program, which.partition.number), ("ntfsresize", 3));
    assert!(!said.is_empty() && said.len() <= 2 * MAX_SAID, "{said}");
    let (manifest, files) = super::super::samples::with_swap(None);
    let small = Shape {
        size: super::super::samples::DISK_LEN,
        logical_sector: 512,
    };
    let plan = deploy_plan::plan(&manifest, &files, &[small]).unwrap();
    let table = plan.disks[0].table.as_ref().unwrap();
    target.make_bootable(table).unwrap_err();
}

#[test]
fn a_deploy_that_was_given_up_grows_nothing() {
    let make = "mkfs.ext4 -q -b 4096";
    let Some(disk) = Disk::new(make, Growable::Ext, 32 << 20, 100 << 20) else {
        return;
    };
    let target = Target::open(disk.file.path(), &disk.shape).unwrap();
    let ending = Ending::default();
    assert!(ending.give_up());
    let tools = Tools::installed();
    let done = grow(
        place(&partition(disk.large)),
        Growable::Ext,
        &target,
        &programs(&tools, &ending),
    );
    let Err(GrowError::Failed {
        cause: Cause::Program { status, .. },
        ..
    }) = done
    else {
        panic!("{done:?}");
    };
    assert_eq!(status.code(), None, "killed");
}

#[test]
fn without_its_program_a_file_system_is_left_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let shape = Shape {
        size: 16 << 20,
        logical_sector: 512,
    };
    file.as_file().set_len(shape.size).unwrap();
    let target = Target::open(file.path(), &shape).unwrap();
    for kind in [
        Growable::Ntfs,
        Growable::Ext,
        Growable::Btrfs,
        Growable::Xfs,
        Growable::F2fs,
    ] {
        let done = grow(
            place(&partition(8 << 20)),
            kind,
            &target,
            &programs(&Tools::none(), &Ending::default()),
        )
        .unwrap();
        assert_eq!(done, None, "it was warned of before");
        let lack = Tools::none().lack(kind).unwrap();
        assert!(matches!(lack, Lack::Program(_)));
        let warning = cannot(WhichDisk::ONLY.partition(3).into(), kind, &lack).to_string();
        assert!(warning.contains("--resize-tools"), "{warning}");
    }
    let without_loops = Tools {
        has_loop_devices: false,
        ..Tools::installed()
    };
    assert!(without_loops.lack(Growable::Ext).is_some());
}

#[test]
fn what_a_program_prints_has_a_bound() {
    let (mut output, mut input) = io::pipe().unwrap();
    let writer = std::thread::spawn(move || {
        for number in 0..20_000 {
            io::Write::write_all(&mut input, format!("line {number}\n").as_bytes()).unwrap();
        }
    });
    let kept = Said::default();
    kept.read(&mut output);
    let said = kept.words();
    writer.join().unwrap();
    assert!(
        said.ends_with("line 19999") && said.len() <= 2 * MAX_SAID,
        "{said}"
    );
}

/// How far a program was, and whether it was silent.
type Heard = Vec<(Option<f64>, bool)>;

/// A directory with a program of this name that is this script, and what it came to, with all that was heard of it.
fn with_script(script: &str, limit: Duration) -> (Result<(), Cause>, Heard) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resize2fs");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (tools, ending) = (Tools::with(dir.path()), Ending::default());
    let heard = Mutex::new(Vec::new());
    let hear = |running: Running<'_>| {
        let news = (running.percent, running.silent.is_some());
        let mut heard = heard.lock().unwrap();
        if heard.last() != Some(&news) {
            heard.push(news);
        }
    };
    let programs = Programs {
        limit,
        ..Programs::new(&tools, &ending, &hear)
    };
    let call = Call {
        program: "resize2fs",
        args: &[],
        good: &[0],
    };
    let done = run(&call, Path::new("/dev/null"), Path::new(""), &programs);
    (done, heard.into_inner().unwrap())
}

#[test]
fn a_program_that_hangs_is_named_and_ended() {
    let script = "echo about to begin\necho 12.5 percent\nsleep infinity";
    let (done, heard) = with_script(script, Duration::from_secs(3));
    let error = done.unwrap_err();
    let Cause::Hung { silent, said, .. } = &error else {
        panic!("{error}");
    };
    assert!(*silent >= Duration::from_secs(3));
    assert_eq!(said, "about to begin; 12.5 percent");
    assert!(error.to_string().contains("resize2fs hung"), "{error}");
    // Named before it is ended.
    assert!(heard.contains(&(Some(12.5), true)), "{heard:?}");
}

#[test]
fn a_program_that_works_is_never_ended_and_one_that_goes_on_is_no_longer_named() {
    // Four times the limit: on the processor, printing, reading and writing.
    let script = "end=$(($(date +%s) + 4))\n\
                  while [ $(date +%s) -lt $end ]; do :; done\n\
                  for second in 1 2 3 4; do echo $second; sleep 0.9; done\n\
                  for second in 1 2 3 4; do : > /dev/null; cat /proc/version > /dev/null; sleep 0.9; done";
    let (done, _) = with_script(script, Duration::from_secs(3));
    done.unwrap();
    let (done, heard) = with_script("sleep 5", Duration::from_secs(600));
    done.unwrap();
    assert_eq!(heard, [(None, false), (None, true), (None, false)]);
}
