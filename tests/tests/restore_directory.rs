//! `fos-agent restore` of a directory: FOG's layout, and Clonezilla's, made by the programs that Clonezilla calls.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fos_tests::need::root_and_tools;
use fos_tests::shell::sh;
use fos_tests::site::{DISK_LEN, assert_deployed, program, search_path, source};
use serde_json::Value;

/// A directory with the image `img` in it, which a script has made; `$source` is that of the source disk.
fn made(tools: &[&str], script: &str) -> Option<tempfile::TempDir> {
    let needed = [
        "sgdisk",
        "sfdisk",
        "partclone.extfs",
        "partclone.vfat",
        "mcopy",
        "zstd",
    ];
    if !root_and_tools(&[&needed, tools].concat()) {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("img")).unwrap();
    let script = format!("source={}\n{script}", source().display());
    sh(directory.path(), &script);
    Some(directory)
}

fn disk(directory: &Path, name: &str, len: u64) -> PathBuf {
    let path = directory.join(name);
    fs::File::create(&path).unwrap().set_len(len).unwrap();
    path
}

fn restore(directory: &Path, disk: &Path, options: &[&str]) -> Output {
    Command::new(program("fos-agent"))
        .arg("restore")
        .args(options)
        .arg(directory.join("img"))
        .arg(disk)
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
fn refused(output: &Output, disk: &Path, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    let content = fs::read(disk).unwrap();
    assert!(content.iter().all(|octet| *octet == 0), "it was written to");
}

/// The source disk as Clonezilla keeps it: split gzip, and zstd in one piece.
const GPT: &str = "
cp $source/store/d1.mbr img/sda-gpt.gdisk
cp $source/store/d1.partitions img/sda-pt.sf
head -c 512 $source/disk.raw > img/sda-mbr
echo sda > img/disk
echo 'sda1 sda2' > img/parts
zstd -dc $source/store/d1p1.img | gzip | split -b 100000 -a 2 - img/sda1.vfat-ptcl-img.gz.
cp $source/store/d1p2.img img/sda2.ext4-ptcl-img.zst
echo 'a text' > img/Info-packages.txt
";

#[test]
fn clonezillas_directory_is_restored() {
    let Some(directory) = made(&[], GPT) else {
        return;
    };
    let directory = directory.path();
    let target = disk(directory, "a.raw", DISK_LEN);
    // What is on a disk without a table is as little overwritten as a table.
    for (make, what) in [
        ("mkfs.ext4 -q", "a file system (ext2/3/4) on the whole disk"),
        ("mkswap -q", "swap space on the whole disk"),
    ] {
        let used = disk(directory, "used.raw", DISK_LEN);
        sh(directory, &format!("{make} used.raw"));
        let before = fs::read(&used).unwrap();
        let said = restore(directory, &used, &[]);
        assert_eq!(said.status.code(), Some(1));
        let said = String::from_utf8_lossy(&said.stderr);
        assert!(
            said.contains(what) && said.contains("--whole-disk"),
            "{said}"
        );
        assert!(fs::read(&used).unwrap() == before, "{what}");
    }
    let output = restore(directory, &target, &["--json"]);
    good(&output);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["streams"][1]["name"], "d1p2.img");
    assert_deployed(&target);
    // Once more: now there is a table, which is not overwritten without being asked.
    let said = restore(directory, &target, &[]);
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("--whole-disk"), "{said}");
    assert_deployed(&target);
    good(&restore(directory, &target, &["--whole-disk"]));
    assert_deployed(&target);
    let planned = Command::new(program("fos-agent"))
        .arg("plan")
        .arg(directory.join("img"))
        .args(["--sfdisk", "--disk"])
        .arg(&target)
        .output()
        .unwrap();
    good(&planned);
    let dump = sh(directory, &format!("sfdisk -d {}", target.display()));
    assert_eq!(String::from_utf8_lossy(&planned.stdout), dump);
    let checked = Command::new(program("fos-agent"))
        .args(["restore", "--check"])
        .arg(directory.join("img"))
        .output()
        .unwrap();
    assert!(good(&checked).contains("is complete"));
}

#[test]
fn clonezillas_mbr_with_hidden_data_logical_partitions_and_swap_is_restored() {
    let script = "
truncate -s 24M disk.raw
sfdisk -q disk.raw <<'END'
label: dos
label-id: 0xcafe0009
2048,16384,83,*
18432,,E
20480,8192,83
30720,10240,82
END
head -c 500000 /dev/urandom | dd of=disk.raw bs=512 seek=1 conv=notrunc status=none
truncate -s 8M p1.raw; mkfs.ext4 -q -F p1.raw
truncate -s 4M p5.raw; mkfs.ext4 -q -F p5.raw
dd if=p1.raw of=disk.raw bs=512 seek=2048 conv=notrunc status=none
dd if=p5.raw of=disk.raw bs=512 seek=20480 conv=notrunc status=none
partclone.extfs -c -a0 -s p1.raw -O - -L log | gzip > img/nvme0n1p1.ext4-ptcl-img.gz
partclone.extfs -c -a0 -s p5.raw -O - -L log | xz -T1 > img/nvme0n1p5.ext4-ptcl-img.xz
sfdisk -d disk.raw | sed 's/disk.raw/nvme0n1p/' > img/nvme0n1-pt.sf
head -c 512 disk.raw > img/nvme0n1-mbr
dd if=disk.raw of=img/nvme0n1-hidden-data-after-mbr bs=512 skip=1 count=2047 status=none
echo nvme0n1 > img/disk
echo nvme0n1p1 nvme0n1p5 > img/parts
printf 'UUID=\"0c0ffee0-0000-4000-8000-00000000abcd\"\\nLABEL=\"\"\\n' > img/swappt-nvme0n1p6.info
";
    let Some(directory) = made(&["mkfs.ext4", "blkid", "xz"], script) else {
        return;
    };
    let directory = directory.path();
    let target = disk(directory, "a.raw", 24 << 20);
    good(&restore(directory, &target, &[]));
    let [found, expected] =
        ["a.raw", "disk.raw"].map(|name| fs::read(directory.join(name)).unwrap());
    // Everything but free blocks, which are zero in both, and the swap space.
    let swap = 30720 * 512;
    let differing = found[..swap]
        .iter()
        .zip(&expected)
        .position(|(a, b)| a != b);
    assert_eq!(differing, None, "first differing octet");
    let said = sh(
        directory,
        "dd if=a.raw of=swap.raw bs=512 skip=30720 count=10240 status=none; blkid -p -o value -s UUID swap.raw",
    );
    assert_eq!(said.trim(), "0c0ffee0-0000-4000-8000-00000000abcd");
}

/// FOG's layout of a disk with sectors of 4096 bytes, and swap.
const LARGE_SECTORS: &str = "
truncate -s 64M disk.raw
loop=$(losetup -f --show -b 4096 disk.raw)
trap 'losetup -d $loop' EXIT
sfdisk -q --no-reread --no-tell-kernel $loop <<'END'
label: gpt
start=256, size=4096, type=L
start=4352, size=1024, type=S
END
truncate -s 16M p1.raw; mkfs.ext4 -q -F -b 4096 p1.raw
dd if=p1.raw of=$loop bs=4096 seek=256 conv=notrunc status=none
partclone.extfs -c -s p1.raw -O - -L log -q | zstd -q > img/d1p1.img
sgdisk -b img/d1.mbr $loop > log
sfdisk -d $loop > img/d1.partitions
echo '2 0c0ffee0-0000-4000-8000-00000000abcd' > img/d1.original.swapuuids
";

#[test]
fn a_disk_of_large_sectors_is_what_was_captured() {
    let Some(directory) = made(&["losetup", "mkfs.ext4", "blkid"], LARGE_SECTORS) else {
        return;
    };
    let directory = directory.path();
    let target = disk(directory, "a.raw", 64 << 20);
    // In a file sectors have 512 bytes: that is another disk.
    refused(&restore(directory, &target, &[]), &target, "4096");
    let script = format!(
        "loop=$(losetup -f --show -b 4096 a.raw)
         trap 'losetup -d $loop' EXIT
         {} restore img $loop 2> said || {{ cat said >&2; exit 1; }}
         sfdisk -d $loop | grep -v ^device | sed 's/.*:/:/'",
        program("fos-agent").display()
    );
    let found = sh(directory, &script);
    let expected = sh(
        directory,
        "grep -v ^device img/d1.partitions | sed 's/.*:/:/'",
    );
    assert_eq!(found, expected);
    let [found, expected] =
        ["a.raw", "disk.raw"].map(|name| fs::read(directory.join(name)).unwrap());
    // Table, file system and what is between; then the swap space; then the copy of the table. Of the protective MBR
    // programs write the last cylinder, head and sector differently.
    let swap = 4352 * 4096..5376 * 4096;
    assert!(found[446 + 8..swap.start] == expected[446 + 8..swap.start]);
    assert!(found[swap.end..] == expected[swap.end..]);
    fs::write(directory.join("swap.raw"), &found[swap]).unwrap();
    let said = sh(directory, "blkid -p -o value -s UUID swap.raw");
    assert_eq!(said.trim(), "0c0ffee0-0000-4000-8000-00000000abcd");
}

#[test]
fn fogs_directory_is_restored() {
    let Some(directory) = made(&[], "cp $source/store/* img") else {
        return;
    };
    let directory = directory.path();
    let target = disk(directory, "a.raw", DISK_LEN);
    let said = good(&restore(directory, &target, &["--quiet"]));
    assert!(said.contains("restored to"), "{said}");
    assert_deployed(&target);
    let small = disk(directory, "small.raw", 30 << 20);
    refused(&restore(directory, &small, &[]), &small, "too small");
    fs::remove_file(directory.join("img/d1.mbr")).unwrap();
    let target = disk(directory, "b.raw", DISK_LEN);
    refused(&restore(directory, &target, &[]), &target, "d1.mbr");
}

#[test]
fn what_clonezilla_made_with_other_programs_or_lost_is_refused_untouched() {
    let Some(directory) = made(&[], GPT) else {
        return;
    };
    let directory = directory.path();
    let target = disk(directory, "a.raw", DISK_LEN);
    let image = directory.join("img");
    let piece = image.join("sda1.vfat-ptcl-img.gz.aa");
    let aside = directory.join("piece");
    fs::rename(&piece, &aside).unwrap();
    refused(&restore(directory, &target, &[]), &target, "sda1");
    fs::rename(&aside, &piece).unwrap();
    let data = image.join("sda2.ext4-ptcl-img.zst");
    for (name, expected) in [
        ("sda2.ntfs-img.aa", "ntfsclone"),
        ("sda2.dd-img.aa", "image of dd"),
    ] {
        let other = image.join(name);
        fs::rename(&data, &other).unwrap();
        refused(&restore(directory, &target, &[]), &target, expected);
        fs::rename(&other, &data).unwrap();
    }
    fs::write(image.join("lvm_vg_dev.list"), "vg /dev/sda2\n").unwrap();
    refused(
        &restore(directory, &target, &[]),
        &target,
        "logical volumes",
    );
    fs::remove_file(image.join("lvm_vg_dev.list")).unwrap();
    // Small files of another disk.
    let table = image.join("sda-gpt.gdisk");
    let mut bytes = fs::read(&table).unwrap();
    bytes[1600] ^= 1;
    fs::write(&table, bytes).unwrap();
    refused(&restore(directory, &target, &[]), &target, "checksum");
    let wrong = restore(directory, &target, &["--raw"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_damaged_piece_leaves_a_disk_that_does_not_boot() {
    let Some(directory) = made(&[], GPT) else {
        return;
    };
    let directory = directory.path();
    let target = disk(directory, "a.raw", DISK_LEN);
    let data = directory.join("img/sda2.ext4-ptcl-img.zst");
    let mut bytes = fs::read(&data).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    fs::write(&data, bytes).unwrap();
    let output = restore(directory, &target, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("sda2.ext4-ptcl-img.zst"), "{said}");
    assert!(said.contains("partly overwritten"), "{said}");
    fos_tests::site::assert_does_not_boot(&target);
}
