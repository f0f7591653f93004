//! `fos-agent capture` into a directory: real file systems, restored by our agent and by the original programs.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fos_tests::need::root_and_tools;
use fos_tests::shell::{sh, sh_with_mounts};
use fos_tests::site::{program, search_path};
use serde_json::Value;

/// A directory in which a script has made `disk.raw`.
fn made(tools: &[&str], script: &str) -> Option<tempfile::TempDir> {
    let needed = ["sgdisk", "sfdisk", "partclone.extfs", "zstd", "losetup"];
    if !root_and_tools(&[&needed, tools].concat()) {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    sh_with_mounts(directory.path(), script);
    Some(directory)
}

fn agent(directory: &Path, command: &str, args: &[&str]) -> Output {
    Command::new(program("fos-agent"))
        .arg(command)
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::null())
        .env("PATH", search_path())
        .output()
        .unwrap()
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[track_caller]
fn refused(output: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(expected), "{said}");
}

#[track_caller]
fn report(output: &Output) -> Value {
    good(output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Lines of hashes and names of all files, and what they are, of a partition of a disk.
fn tree(directory: &Path, disk: &str, partition: u32, kind: &str) -> String {
    let script = format!(
        "start=$(sfdisk -d {disk} | sed -n 's/.*[^0-9]{partition} : start= *\\([0-9]*\\),.*/\\1/p')
         size=$(sfdisk -d {disk} | sed -n 's/.*[^0-9]{partition} : start=.*size= *\\([0-9]*\\),.*/\\1/p')
         mkdir -p at
         loop=$(losetup -f --show -r -o $((start * 512)) --sizelimit $((size * 512)) {disk})
         trap 'umount at 2>/dev/null; losetup -d $loop' EXIT
         mount -o ro -t {kind} $loop at
         cd at; find . -xdev ! -path './lost+found*' -printf '%y %m %U %G %s %p %l\\n' | sort | grep -v '^d .* \\./*$'
         find . -xdev -type f -print0 | sort -z | xargs -0r sha256sum
         cd .."
    );
    sh_with_mounts(directory, &script)
}

/// Puts files into a partition: `fill OFFSET SIZE`, in sectors.
const FILL: &str = "
fill() {
    mkdir -p at
    loop=$(losetup -f --show -o $(($1 * 512)) --sizelimit $(($2 * 512)) disk.raw)
    mount $loop at
    mkdir -p at/a/b
    head -c 3000000 /dev/urandom > at/a/data
    head -c 70000 /dev/zero > at/a/b/zeroes
    echo text > 'at/a/a name with blanks'
    umount at
    losetup -d $loop
}
";

/// Every kind of partition on a GPT.
const GPT: &str = "
truncate -s 1200M disk.raw
sfdisk -q disk.raw <<'END'
label: gpt
label-id: 5F0C0002-2D1A-4C0E-9A6B-0000000000FF
start=2048, size=98304, type=U, name=\"EFI system partition\"
start=100352, size=32768, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, name=\"Microsoft reserved partition\"
start=133120, size=204800, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name=\"Basic data partition\"
start=337920, size=204800, type=L, name=\"linux\"
start=542720, size=614400, type=L
start=1157120, size=655360, type=L
start=1812480, size=131072, type=S, name=\"swap\"
END
part() { dd if=$1 of=disk.raw bs=512 seek=$2 conv=notrunc,sparse status=none; rm $1; }
truncate -s $((98304 * 512)) p1; mkfs.vfat -F 32 p1 > log; mcopy -i p1 log ::/hello.txt; part p1 2048
truncate -s $((204800 * 512)) p3; mkfs.ntfs -q -F -f p3 > log 2>&1; part p3 133120
truncate -s $((204800 * 512)) p4; mkfs.ext4 -q -F p4; part p4 337920
truncate -s $((614400 * 512)) p5; mkfs.btrfs -q p5 > log; part p5 542720
truncate -s $((655360 * 512)) p6; mkfs.xfs -q p6; part p6 1157120
truncate -s $((131072 * 512)) p7; mkswap -q -U 0c0ffee0-0000-4000-8000-00000000abcd p7 > log; part p7 1812480
# Boot code and a second stage in front of the first partition.
printf GRUB | dd of=disk.raw bs=1 seek=384 conv=notrunc status=none
head -c 30000 /dev/urandom | dd of=disk.raw bs=512 seek=100 conv=notrunc status=none
";

const GPT_TOOLS: [&str; 7] = [
    "mkfs.vfat",
    "mcopy",
    "mkfs.ntfs",
    "mkfs.btrfs",
    "mkfs.xfs",
    "partclone.ntfs",
    "partclone.restore",
];

fn gpt() -> Option<tempfile::TempDir> {
    let script = format!(
        "{FILL}{GPT}
         fill 337920 204800
         fill 542720 614400
         fill 1157120 655360"
    );
    made(&GPT_TOOLS, &script)
}

#[test]
fn a_gpt_disk_comes_back_by_our_agent_and_by_the_original_programs() {
    let Some(directory) = gpt() else {
        return;
    };
    let directory = directory.path();
    let before = sh(directory, "sha256sum disk.raw");
    let said = report(&agent(
        directory,
        "capture",
        &["disk.raw", "img", "--type", "mps", "--json"],
    ));
    assert_eq!(sh(directory, "sha256sum disk.raw"), before);
    assert_eq!(said["streams"].as_array().unwrap().len(), 6, "{said}");
    let listing = sh(directory, "cd img; ls");
    let names: Vec<&str> = listing.split_whitespace().collect();
    let expected = [
        "d1.grub.mbr",
        "d1.mbr",
        "d1.original.swapuuids",
        "d1.partitions",
        "d1p1.img",
        "d1p2.img",
        "d1p3.img",
        "d1p4.img",
        "d1p5.img",
        "d1p6.img",
    ];
    assert_eq!(names, expected);
    // The small files are those that the programs of FOG's client write.
    sh(
        directory,
        "sfdisk -d disk.raw | sed 's/^device: .*/device: DISK/; s/^disk.raw/DISK/' > wanted
         sed 's/^device: .*/device: DISK/; s,^/dev/sda,DISK,' img/d1.partitions > found
         diff wanted found
         sgdisk -b backup disk.raw > log
         cmp backup img/d1.mbr
         head -c 1048576 disk.raw | cmp - img/d1.grub.mbr
         grep -qx '7 0c0ffee0-0000-4000-8000-00000000abcd' img/d1.original.swapuuids",
    );
    // Ours.
    sh(directory, "truncate -s 1200M ours.raw");
    good(&agent(directory, "restore", &["img", "ours.raw", "-q"]));
    // The originals, as FOG's client calls them.
    sh(
        directory,
        "truncate -s 1200M theirs.raw
         dd if=img/d1.grub.mbr of=theirs.raw conv=notrunc status=none
         sgdisk -Z theirs.raw > log 2>&1 || true
         sgdisk -gl img/d1.mbr theirs.raw > log
         for n in 1 2 3 4 5 6; do
             start=$(sfdisk -d theirs.raw | sed -n \"s/^theirs.raw$n : start= *\\([0-9]*\\),.*/\\1/p\")
             size=$(sfdisk -d theirs.raw | sed -n \"s/^theirs.raw$n : start=.*size= *\\([0-9]*\\),.*/\\1/p\")
             loop=$(losetup -f --show -o $((start * 512)) --sizelimit $((size * 512)) theirs.raw)
             zstd -dc img/d1p$n.img | partclone.restore --ignore_crc -O $loop -s - -N -L log > log 2>&1 ||
                 { cat log; losetup -d $loop; exit 1; }
             losetup -d $loop
         done",
    );
    for (partition, kind) in [(4, "ext4"), (5, "btrfs"), (6, "xfs")] {
        let expected = tree(directory, "disk.raw", partition, kind);
        assert!(expected.contains("a name with blanks"), "{expected}");
        for disk in ["ours.raw", "theirs.raw"] {
            assert_eq!(
                tree(directory, disk, partition, kind),
                expected,
                "{disk} {kind}"
            );
        }
    }
    sh(
        directory,
        "bytes() { dd if=$1 bs=512 skip=$2 count=$3 status=none; }
         for disk in ours.raw theirs.raw; do
             # Free clusters are zero in all of them.
             bytes $disk 2048 98304 > found; bytes disk.raw 2048 98304 | cmp - found
             bytes $disk 100352 32768 > found; bytes disk.raw 100352 32768 | cmp - found
             dd if=$disk of=p3 bs=512 skip=133120 count=204800 status=none
             ntfsresize -f -i -P p3 > log 2>&1 || { cat log; exit 1; }
         done
         sfdisk -d disk.raw | sed 's/disk.raw/X/' > wanted
         sfdisk -d ours.raw | sed 's/ours.raw/X/' | diff wanted -",
    );
}

#[test]
fn an_mbr_with_logical_partitions_comes_back() {
    let script = format!(
        "{FILL}
truncate -s 200M disk.raw
sfdisk -q disk.raw <<'END'
label: dos
label-id: 0xcafe0009
2048,102400,83,*
104448,,E
106496,81920,83
190464,40960,82
END
truncate -s 50M p; mkfs.ext4 -q -F p; dd if=p of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none
truncate -s 40M q; mkfs.ext4 -q -F q; dd if=q of=disk.raw bs=512 seek=106496 conv=notrunc,sparse status=none
truncate -s 20M r; mkswap -q -U 0c0ffee0-0000-4000-8000-00000000abcd r > log
dd if=r of=disk.raw bs=512 seek=190464 conv=notrunc,sparse status=none
printf GRUB | dd of=disk.raw bs=1 seek=384 conv=notrunc status=none
fill 2048 102400
fill 106496 81920"
    );
    let Some(directory) = made(&["mkfs.ext4"], &script) else {
        return;
    };
    let directory = directory.path();
    good(&agent(
        directory,
        "capture",
        &["disk.raw", "img", "--type", "mps", "-q"],
    ));
    sh(
        directory,
        "sfdisk -d disk.raw | sed 's/^device: .*/device: DISK/; s/^disk.raw/DISK/' > wanted
         sed 's/^device: .*/device: DISK/; s,^/dev/sda,DISK,' img/d1.partitions > found
         diff wanted found
         head -c 1048576 disk.raw | cmp - img/d1.mbr
         test -e img/d1.has_grub -a ! -s img/d1.has_grub
         test -e img/d1p2.ebr -a ! -s img/d1p2.ebr
         dd if=disk.raw bs=512 skip=106496 count=1 status=none | cmp - img/d1p5.ebr
         truncate -s 200M ours.raw",
    );
    good(&agent(directory, "restore", &["img", "ours.raw", "-q"]));
    for partition in [1, 5] {
        let expected = tree(directory, "disk.raw", partition, "ext4");
        assert_eq!(tree(directory, "ours.raw", partition, "ext4"), expected);
    }
    sh(
        directory,
        "sfdisk -d disk.raw | sed 's/disk.raw/X/' > wanted
         sfdisk -d ours.raw | sed 's/ours.raw/X/' | diff wanted -",
    );
}

/// LVM's programs without its daemons and the device mapper, on one device.
const LVM: &str = r#"
export LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=""
lvm() {
    command=$1; shift
    /usr/bin/env -- lvm "$command" --driverloaded n --nolocking \
        --config "devices { filter=[\"a|^$loop\$|\", \"r|.*|\"] use_devicesfile=0 hints=\"none\" }
            backup { backup=0 archive=0 } activation { udev_sync=0 }" "$@" 2> lvm.log || { cat lvm.log >&2; return 1; }
}
"#;

#[test]
fn logical_volumes_are_captured_one_by_one_and_come_back() {
    let script = "
truncate -s 160M disk.raw
sfdisk -q disk.raw <<'END'
label: gpt
start=2048, size=16384, type=U
start=18432, size=229376, type=E6D6D379-F507-44C2-A23C-238F2A3DF928
END
mkfs.vfat -C p1 8192 > made.log; dd if=p1 of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none
loop=$(losetup -f --show -o $((18432 * 512)) --sizelimit $((229376 * 512)) disk.raw)
trap 'losetup -d $loop' EXIT
lvm pvcreate $loop > made.log
lvm vgcreate -s 1M lab-vg.capture $loop >> made.log
for volume in root:40M swap:8M home:24M; do
    lvm lvcreate -an -Zn -Wn -L ${volume#*:} -n ${volume%:*} lab-vg.capture >> made.log
done
mkdir tree; head -c 3000000 /dev/urandom > tree/data
truncate -s 40M root; mkfs.ext4 -q -d tree root; dd if=root of=$loop bs=1M seek=1 conv=notrunc,sparse status=none
truncate -s 8M swap; mkswap -q -U 0c0ffee0-0000-4000-8000-00000000abcd swap > made.log
dd if=swap of=$loop bs=1M seek=41 conv=notrunc,sparse status=none
truncate -s 24M home; mkfs.ext4 -q -d tree home; dd if=home of=$loop bs=1M seek=49 conv=notrunc,sparse status=none
";
    let script = format!("{LVM}{script}");
    let Some(directory) = made(&["lvm", "mkfs.ext4", "mkfs.vfat"], &script) else {
        return;
    };
    let directory = directory.path();
    let args = ["disk.raw", "img", "--type", "mps", "--json"];
    let said = report(&agent(directory, "capture", &args));
    let names = said["streams"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["d1p1.img", "d1p2.root.img", "d1p2.home.img"],
        "{said}"
    );
    sh(directory, "truncate -s 160M ours.raw");
    good(&agent(directory, "restore", &["img", "ours.raw", "-q"]));
    // Places are as they were; free blocks are zero in both.
    for (volume, at, len) in [("root", 1, 40), ("home", 49, 24)] {
        sh(
            directory,
            &format!(
                "dd if=ours.raw bs=1M skip=$((9 + {at})) count={len} status=none | cmp - {volume}"
            ),
        );
    }
    let script = format!(
        "{LVM}loop=$(losetup -f --show -r -o $((18432 * 512)) --sizelimit $((229376 * 512)) ours.raw)
         trap 'losetup -d $loop' EXIT
         lvm lvs --noheadings -o lv_name | wc -l"
    );
    let group = sh(directory, &script);
    assert_eq!(group.trim(), "3");
}

#[test]
fn a_whole_disk_comes_back_to_the_byte() {
    let script = "truncate -s 9M disk.raw
        head -c 3000000 /dev/urandom | dd of=disk.raw bs=512 seek=77 conv=notrunc status=none
        truncate -s +512 disk.raw";
    let Some(directory) = made(&[], script) else {
        return;
    };
    let directory = directory.path();
    good(&agent(
        directory,
        "capture",
        &["disk.raw", "lab", "--type", "dd", "--zstd", "1"],
    ));
    sh(
        directory,
        "test \"$(ls lab)\" = lab
         truncate -s $((9 * 1024 * 1024 + 512)) ours.raw theirs.raw",
    );
    good(&agent(directory, "restore", &["lab", "ours.raw", "-q"]));
    sh(
        directory,
        "cmp disk.raw ours.raw
         zstd -dc lab/lab | partclone.restore -O theirs.raw -s - -N -L log > log 2>&1
         cmp disk.raw theirs.raw",
    );
}

#[test]
fn a_dry_run_says_what_would_be_read_and_stores_nothing() {
    let Some(directory) = gpt() else {
        return;
    };
    let directory = directory.path();
    let args = ["disk.raw", "img", "--type", "mps", "--dry-run", "--json"];
    let said = report(&agent(directory, "capture", &args));
    assert!(!directory.join("img").exists());
    assert!(!directory.join(".img.capturing").exists());
    let streams = said["streams"].as_array().unwrap();
    assert_eq!(streams[3]["method"], "partclone.extfs");
    assert_eq!(streams[1]["method"], "every byte");
    assert_eq!(streams[3]["stored_bytes"], Value::Null);
    let most: u64 = streams
        .iter()
        .map(|it| it["at_most"].as_u64().unwrap())
        .sum();
    assert!(said["at_most"].as_u64().unwrap() >= most);
    // The bounds hold.
    let args = ["disk.raw", "img", "--type", "mps", "--json"];
    let done = report(&agent(directory, "capture", &args));
    for (planned, done) in streams.iter().zip(done["streams"].as_array().unwrap()) {
        let name = done["name"].as_str().unwrap();
        let stored = fs::metadata(directory.join("img").join(name))
            .unwrap()
            .len();
        assert_eq!(done["stored_bytes"].as_u64(), Some(stored));
        assert!(stored <= planned["at_most"].as_u64().unwrap(), "{name}");
        assert_eq!(planned["image_bytes"], done["image_bytes"]);
    }
}

/// A disk with one ext4 that holds `fill`'s files.
const ONE: &str = "
truncate -s 120M disk.raw
printf 'label: gpt\\n2048,204800,L\\n' | sfdisk -q disk.raw
truncate -s 100M p; mkfs.ext4 -q -F p; dd if=p of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none
";

#[test]
fn what_is_not_in_order_is_refused_and_nothing_is_left() {
    let Some(directory) = made(&["mkfs.ntfs", "ntfsfix"], ONE) else {
        return;
    };
    let directory = directory.path();
    let capture = |disk: &str| agent(directory, "capture", &[disk, "img", "--type", "mps"]);
    let clean = |directory: &Path| {
        let left = sh(directory, "ls -A | grep img || true");
        assert_eq!(left, "", "something was left");
    };
    // In use.
    sh(
        directory,
        "mkdir at; loop=$(losetup -f --show -o 1048576 disk.raw); mount $loop at; echo $loop > loop",
    );
    let output = capture("disk.raw");
    sh(directory, "umount at; losetup -d $(cat loop)");
    refused(&output, "is mounted");
    clean(directory);
    // Not unmounted.
    sh(
        directory,
        "cp disk.raw dirty.raw
         printf '\\0' | dd of=dirty.raw bs=1 seek=$((1048576 + 1024 + 0x3a)) conv=notrunc status=none",
    );
    refused(&capture("dirty.raw"), "e2fsck");
    clean(directory);
    // A dirty NTFS.
    sh(
        directory,
        "truncate -s 100M n; mkfs.ntfs -q -F -f n > log 2>&1
         ntfsfix n > log 2>&1
         cp disk.raw ntfs.raw
         dd if=n of=ntfs.raw bs=512 seek=2048 conv=notrunc status=none",
    );
    refused(&capture("ntfs.raw"), "chkdsk");
    clean(directory);
    // Encrypted.
    sh(
        directory,
        "cp disk.raw luks.raw
         { printf 'LUKS\\272\\276\\0\\2'; head -c 8184 /dev/zero; } |
             dd of=luks.raw bs=8192 seek=128 conv=notrunc status=none",
    );
    refused(&capture("luks.raw"), "LUKS");
    clean(directory);
    // No table.
    sh(directory, "truncate -s 10M bare.raw");
    refused(&capture("bare.raw"), "--type dd");
    clean(directory);
    // Something is there already, and a file system that is damaged.
    sh(directory, "mkdir img; echo mine > img/file");
    refused(&capture("disk.raw"), "is not empty");
    assert_eq!(sh(directory, "cat img/file"), "mine\n");
    sh(
        directory,
        "rm -r img; cp disk.raw broken.raw
         dd if=/dev/urandom of=broken.raw bs=512 seek=2052 count=4 conv=notrunc status=none",
    );
    let output = capture("broken.raw");
    refused(&output, "partclone.extfs failed");
    clean(directory);
    good(&capture("disk.raw"));
}

#[test]
fn a_capture_that_is_killed_leaves_no_image_and_can_be_tried_again() {
    let script = format!("{FILL}{ONE}fill 2048 204800");
    let Some(directory) = made(&[], &script) else {
        return;
    };
    let directory = directory.path();
    // A program that never ends stands in for partclone's.
    fs::create_dir(directory.join("bin")).unwrap();
    sh(
        directory,
        "printf '#!/bin/sh\\necho $$ > pid\\nexec sleep infinity\\n' > bin/partclone.extfs; chmod +x bin/partclone.extfs",
    );
    let path = format!("{}:{}", directory.join("bin").display(), search_path());
    let start = || {
        Command::new(program("fos-agent"))
            .args(["capture", "disk.raw", "img", "--type", "mps", "-q"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .env("PATH", &path)
            .spawn()
            .unwrap()
    };
    let mut child = start();
    let pid = directory.join("pid");
    wait_until(|| fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
    // A second one into the same directory.
    let second = agent(directory, "capture", &["disk.raw", "img", "--type", "mps"]);
    refused(&second, "another capture");
    child.kill().unwrap();
    child.wait().unwrap();
    let stale: PathBuf = directory.join(".img.capturing");
    assert!(stale.exists() && !directory.join("img").exists());
    let sleeping = fs::read_to_string(&pid).unwrap();
    sh(directory, &format!("kill {}", sleeping.trim()));
    fs::write(stale.join("d1p1.img"), "half").unwrap();
    good(&agent(
        directory,
        "capture",
        &["disk.raw", "img", "--type", "mps", "-q"],
    ));
    assert!(!stale.exists());
    good(&agent(directory, "restore", &["--check", "img", "-q"]));
}

/// A disk whose end cannot be read: a loop device over a file that has become shorter.
const DEFECTIVE: &str = "
truncate -s 220M disk.raw
printf 'label: gpt\\n2048,204800,L\\n206848,20480,21686148-6449-6E6F-744E-656564454649\\n' | sfdisk -q disk.raw
truncate -s 100M p; mkfs.ext4 -q -F -b 1024 p; dd if=p of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none
losetup -f --show disk.raw > loop
truncate -s 60M disk.raw
";

#[test]
fn places_that_cannot_be_read_end_the_capture_or_are_listed() {
    let Some(directory) = made(&[], DEFECTIVE) else {
        return;
    };
    let directory = directory.path();
    let device = sh(directory, "cat loop");
    let device = device.trim();
    let outputs = [
        agent(directory, "capture", &[device, "img", "--type", "mps"]),
        agent(directory, "capture", &[device, "img", "--type", "dd"]),
    ];
    let left = sh(directory, "ls -A | grep img || true");
    let args = [device, "img", "--type", "mps", "--rescue", "--json"];
    let rescued = agent(directory, "capture", &args);
    sh(directory, "losetup -d $(cat loop)");
    for output in &outputs {
        refused(output, "cannot be read at");
    }
    assert_eq!(left, "");
    let said = report(&rescued);
    let lost = said["unreadable"].as_array().unwrap();
    assert_eq!(lost.len(), 2, "{said}");
    // All of the partition that nothing knows, and used blocks of the file system only.
    assert_eq!(lost[1]["file"], "d1p2.img");
    assert_eq!(lost[1]["len"], 20_480 * 512);
    assert_eq!(lost[0]["file"], "d1p1.img");
    assert!(lost[0]["len"].as_u64().unwrap() < 2 << 20, "{said}");
    good(&agent(directory, "restore", &["--check", "img", "-q"]));
}

/// Waits for what another process does.
fn wait_until(is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 120, "it never came");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_resizable_image_fits_on_a_smaller_disk_and_the_source_is_not_touched() {
    let script = format!(
        "{FILL}
truncate -s 2000M disk.raw
sfdisk -q disk.raw <<'END'
label: gpt
2048,204800,U
206848,1638400,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
1845248,2048000,L
3893248,131072,S
END
truncate -s 100M p; mkfs.vfat -F 32 p > log; dd if=p of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none
truncate -s 800M q; mkfs.ntfs -q -F -f q > log 2>&1; ntfscp -q q log hello.txt
dd if=q of=disk.raw bs=512 seek=206848 conv=notrunc,sparse status=none
truncate -s 1000M r; mkfs.ext4 -q -F r; dd if=r of=disk.raw bs=512 seek=1845248 conv=notrunc,sparse status=none
truncate -s 64M s; mkswap -q s > log; dd if=s of=disk.raw bs=512 seek=3893248 conv=notrunc,sparse status=none
fill 1845248 2048000"
    );
    let tools = [
        "mkfs.ntfs",
        "ntfsresize",
        "ntfscp",
        "ntfscat",
        "resize2fs",
        "mkfs.vfat",
    ];
    let Some(directory) = made(&tools, &script) else {
        return;
    };
    let directory = directory.path();
    let before = sh(directory, "sha256sum disk.raw");
    let said = report(&agent(directory, "capture", &["disk.raw", "img", "--json"]));
    assert_eq!(
        sh(directory, "sha256sum disk.raw"),
        before,
        "the source was changed"
    );
    assert_eq!(said["warnings"].as_array().unwrap().len(), 0, "{said}");
    let listing = sh(directory, "ls img/d1.*");
    for name in [
        "minimum.partitions",
        "shrunken.partitions",
        "fixed_size_partitions",
    ] {
        assert!(listing.contains(name), "{listing}");
    }
    assert_eq!(sh(directory, "cat img/d1.fixed_size_partitions"), "1:4\n");
    let expected = tree(directory, "disk.raw", 3, "ext4");
    for mib in [1100, 2600] {
        let name = format!("to-{mib}.raw");
        sh(directory, &format!("truncate -s {mib}M {name}"));
        good(&agent(directory, "restore", &["img", &name, "-q"]));
        assert_eq!(tree(directory, &name, 3, "ext4"), expected);
        sh(
            directory,
            &format!(
                "line() {{ sfdisk -d {name} | sed -n \"s/.*[^0-9]$1 : start= *\\([0-9]*\\), size= *\\([0-9]*\\),.*/\\1 \\2/p\"; }}
                 set -- $(line 2)
                 dd if={name} of=n bs=512 skip=$1 count=$2 status=none
                 ntfsresize -f -i -P n > log 2>&1 || {{ cat log >&2; exit 1; }}
                 ntfscat n hello.txt > hello
                 set -- $(line 3)
                 dd if={name} of=e bs=512 skip=$1 count=$2 status=none
                 e2fsck -f -n e > log"
            ),
        );
    }
}

/// It calls itself clean. What `e2fsck` would make of it is not what the disk holds.
#[test]
fn a_file_system_that_is_not_in_order_keeps_its_size() {
    let script = "
truncate -s 300M disk.raw
sfdisk -q disk.raw <<'END'
label: gpt
2048,409600,L
END
mkdir tree; echo text > tree/a
truncate -s 200M p; mkfs.ext4 -q -F -d tree p
debugfs -w -R 'set_inode_field /a links_count 5' p 2> log
! e2fsck -f -n p > log 2>&1
dd if=p of=disk.raw bs=512 seek=2048 conv=notrunc,sparse status=none";
    let Some(directory) = made(&["resize2fs", "debugfs"], script) else {
        return;
    };
    let directory = directory.path();
    let before = sh(directory, "sha256sum disk.raw");
    let said = report(&agent(directory, "capture", &["disk.raw", "img", "--json"]));
    let warnings = said["warnings"].to_string();
    assert!(
        warnings.contains("is not made smaller") && warnings.contains("e2fsck -f"),
        "{said}"
    );
    assert_eq!(sh(directory, "sha256sum disk.raw"), before);
    sh(directory, "truncate -s 300M to.raw");
    good(&agent(directory, "restore", &["img", "to.raw", "-q"]));
    // What restored it has mended and grown it.
    let script = "dd if=to.raw of=q bs=512 skip=2048 status=none; debugfs -R 'cat /a' q 2> log";
    assert_eq!(sh(directory, script), "text\n");
}
