//! Deploys of images of every kind that FOG has, made by the original programs, compared with what those restore.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use fos_tests::need::root_and_tools;
use fos_tests::shell::sh;
use fos_tests::site::{
    DISK_LEN, Site, assert_does_not_boot, assert_untouched, failed, program, search_path, source,
};
use serde_json::Value;

/// A site whose image `name` is made by a script, in which `$store` is its directory and `$source` that of the source disk.
fn site(name: &str, tools: &[&str], script: &str) -> Option<Site> {
    if !root_and_tools(tools) {
        return None;
    }
    let mut site = Site::without_image(1)?;
    let store = site.path(&format!("images/{name}"));
    fs::create_dir_all(&store).unwrap();
    let script = format!(
        "store={} source={}\n{script}",
        store.display(),
        source().display()
    );
    sh(&site.path(""), &script);
    site.start_server();
    Some(site)
}

fn bytes_at(path: &Path, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let differing = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differing, None, "first differing octet of {what}");
}

/// `fos-agent plan --json` of an image for disks of these sizes.
#[track_caller]
fn plan(site: &Site, image: &str, options: &str) -> Value {
    let output = Command::new(program("fos-agent"))
        .arg("plan")
        .arg(site.path(&format!("images/{image}")))
        .args(options.split_whitespace())
        .arg("--json")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn codes(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().unwrap().iter();
    steps.map(|step| step["step"].as_str().unwrap()).collect()
}

/// As FOG captures a whole disk: partclone's imager, or as it is; in one piece or several.
const WHOLE_DISKS: [(&str, &str); 3] = [
    (
        "partclone, zstd, split",
        "partclone.imager -c -a0 -s $source/disk.raw -O - -L log | zstd -q | split -b 300000 -d -a 3 - $store/whole.",
    ),
    ("raw, gzip", "gzip -c $source/disk.raw > $store/whole.000"),
    ("raw", "cp $source/disk.raw $store/whole"),
];

#[test]
fn a_whole_disk_is_what_the_original_restores() {
    let tools = ["partclone.imager", "partclone.restore", "zstd", "split"];
    for (what, script) in WHOLE_DISKS {
        let Some(site) = site("whole", &tools, script) else {
            return;
        };
        site.cli(&["image", "add", "whole", "--type", "dd"])
            .succeed();
        let report = plan(&site, "whole", &format!("--disk-size {DISK_LEN}"));
        assert_eq!(report["image"]["type"], "dd", "{what}: {report}");
        assert_eq!(codes(&report), ["clear", "stream", "head"], "{what}");
        assert_eq!(report["table"], Value::Null);
        let session = site.deploy_image("whole", &["pc1"], &[]);
        // The disk is larger by 8 MiB, and was full of something else.
        let disk = site.patterned_disk("a.raw", DISK_LEN + (8 << 20));
        site.start_agent(1, &disk).succeed();
        site.wait_for_state(&session, "complete");
        let found = bytes_at(&disk, 0, DISK_LEN);
        let expected = fs::read(source().join("disk.raw")).unwrap();
        assert_same(&found, &expected, what);
        if what.starts_with("partclone") {
            let script = format!(
                "truncate -s {DISK_LEN} o.raw\n\
                 cat images/whole/whole.* | zstd -dc | partclone.restore -s - -O o.raw -L log"
            );
            sh(&site.path(""), &script);
            let original = fs::read(site.path("o.raw")).unwrap();
            assert_same(&found, &original, "the original's disk");
        }
        // The end of the larger disk, where an old label might be.
        let rest = bytes_at(&disk, DISK_LEN + (6 << 20), 2 << 20);
        assert!(rest.iter().all(|octet| *octet == 0), "{what}");
    }
}

#[test]
fn a_whole_disk_needs_one_as_large_and_all_of_its_stream() {
    let script = WHOLE_DISKS[0].1;
    let Some(site) = site("whole", &["partclone.imager", "zstd", "split"], script) else {
        return;
    };
    site.cli(&["image", "add", "whole", "--type", "dd"])
        .succeed();
    let size = DISK_LEN - 512;
    let report = plan(&site, "whole", &format!("--disk-size {size}"));
    assert_eq!(report["refusal"]["code"], "disk-too-small", "{report}");
    assert_eq!(report["refusal"]["disk"], true);
    site.deploy_image("whole", &["pc1"], &[]);
    let small = site.patterned_disk("small.raw", size);
    let said = failed(site.start_agent(1, &small));
    assert!(said.contains("512 bytes missing"), "{said}");
    assert_untouched(&small);

    // Damage that the server does not see: the disk stays without its first sector.
    let piece = site.path("images/whole/whole.001");
    let modified = fs::metadata(&piece).unwrap().modified().unwrap();
    let file = File::options().write(true).open(&piece).unwrap();
    file.write_all_at(&[0; 64], 100_000).unwrap();
    file.set_modified(modified).unwrap();
    site.deploy_image("whole", &["pc1"], &[]);
    let disk = site.patterned_disk("a.raw", DISK_LEN);
    failed(site.start_agent(1, &disk));
    assert_does_not_boot(&disk);
    // And a piece that is missing.
    fs::remove_file(&piece).unwrap();
    let said = site.cli(&["image", "update", "whole"]).fail();
    assert!(said.contains("whole.001"), "{said}");
}

/// The source disk, and a second one with an MBR, a logical partition, and swap.
const TWO_DISKS: &str = "
cp $source/store/d1.mbr $source/store/d1.partitions $source/store/d1p1.img $source/store/d1p2.img $store
truncate -s 24M second.raw
sfdisk -q second.raw <<'END'
label: dos
label-id: 0xcafe0002
2048,16384,83
18432,,E
20480,8192,83
30720,10240,82
END
truncate -s 8M p1.raw; mkfs.ext4 -q -F p1.raw
truncate -s 4M p5.raw; mkfs.ext4 -q -F p5.raw
dd if=p1.raw of=second.raw bs=512 seek=2048 conv=notrunc status=none
dd if=p5.raw of=second.raw bs=512 seek=20480 conv=notrunc status=none
partclone.extfs -c -a0 -s p1.raw -O - -L log | zstd -q > $store/d2p1.img
partclone.extfs -c -a0 -s p5.raw -O - -L log | zstd -q > $store/d2p5.img
dd if=second.raw of=$store/d2.mbr bs=512 count=2048 status=none
sfdisk -d second.raw > $store/d2.partitions
dd if=second.raw of=$store/d2p5.ebr bs=512 skip=18432 count=1 status=none
echo '6 0c0ffee0-0000-4000-8000-00000000abcd' > $store/d2.original.swapuuids
echo '1:44040192' > $store/d1.size
echo '2:25165824' > $store/d2.size
";
const SECOND_LEN: u64 = 24 << 20;

#[test]
fn two_disks_get_their_own_tables_and_partitions() {
    let tools = ["sfdisk", "partclone.extfs", "mkfs.ext4", "blkid", "zstd"];
    let Some(site) = site("two", &tools, TWO_DISKS) else {
        return;
    };
    site.cli(&["image", "add", "two", "--type", "mpa"])
        .succeed();
    let sizes = format!("--disk-size {DISK_LEN} --disk-size {SECOND_LEN}");
    let report = plan(&site, "two", &sizes);
    assert_eq!(report["image"]["type"], "mpa", "{report}");
    let streams = ["stream"; 4];
    let expected = [&["clear"; 2][..], &streams, &["swap"], &["table"; 2]].concat();
    assert_eq!(codes(&report), expected);
    assert_eq!(report["disks"][1]["table"]["label"], "dos");
    let session = site.deploy_image("two", &["pc1"], &[]);
    let first = site.empty_disk("a.raw", DISK_LEN);
    let second = site.empty_disk("b.raw", SECOND_LEN);
    let arguments = site.kernel_arguments(1);
    let mut agent = site.start_agent_onto(1, &[&first, &second], &arguments);
    agent.succeed();
    site.wait_for_state(&session, "complete");
    fos_tests::site::assert_deployed(&first);

    let directory = site.path("");
    let dump = |disk: &str| sh(&directory, &format!("sfdisk -d {disk} | sed 's/{disk}/X/'"));
    assert_eq!(dump("b.raw"), dump("second.raw"));
    for (start, len) in [(2048, 16384), (20480, 8192)] {
        let found = bytes_at(&second, start * 512, len * 512);
        let captured = bytes_at(&site.path("second.raw"), start * 512, len * 512);
        assert_same(&found, &captured, "a partition of the second disk");
    }
    let swap = sh(
        &directory,
        "dd if=b.raw of=swap.raw bs=512 skip=30720 count=10240 status=none; blkid -p -o value -s UUID swap.raw",
    );
    assert_eq!(swap.trim(), "0c0ffee0-0000-4000-8000-00000000abcd");
}

#[test]
fn a_second_disk_that_is_missing_or_too_small_leaves_both_untouched() {
    let tools = ["sfdisk", "partclone.extfs", "mkfs.ext4", "zstd"];
    let Some(site) = site("two", &tools, TWO_DISKS) else {
        return;
    };
    site.cli(&["image", "add", "two", "--type", "mpa"])
        .succeed();
    let report = plan(&site, "two", &format!("--disk-size {DISK_LEN}"));
    assert_eq!(report["refusal"]["code"], "disks", "{report}");
    let first = site.patterned_disk("a.raw", DISK_LEN);
    let small = site.patterned_disk("b.raw", 16 << 20);
    for (targets, expected) in [
        (&[&*first][..], "the image is of 2 disks"),
        (&[&*first, &*small], "disk 2"),
        (&[&*first, &*first], "in use"),
    ] {
        site.deploy_image("two", &["pc1"], &[]);
        let arguments = site.kernel_arguments(1);
        let said = failed(site.start_agent_onto(1, targets, &arguments));
        assert!(said.contains(expected), "{said}");
        assert_untouched(&first);
        assert_untouched(&small);
    }
    // Files that contradict each other.
    fs::write(site.path("images/two/d2.size"), "1:25165824\n").unwrap();
    let said = site.cli(&["image", "update", "two"]).fail();
    assert!(said.contains("d2.size"), "{said}");
    fs::remove_file(site.path("images/two/d2.mbr")).unwrap();
    let said = site.cli(&["image", "update", "two"]).fail();
    assert!(said.contains("d2.mbr"), "{said}");
}

/// As FOG 0.3x captured Windows 7: a reserved partition and the system's, by partimage, and no list of partitions.
const EARLY_WINDOWS: &str = "
truncate -s 64M win.raw
sfdisk -q win.raw <<'END'
label: dos
label-id: 0xcafe0007
2048,16384,7,*
18432,65536,7
END
truncate -s 8M p1.raw; mkfs.ntfs -q -F -s 512 -p 2048 p1.raw
truncate -s 32M p2.raw; mkfs.ntfs -q -F -s 512 -p 18432 p2.raw
for n in 1 2; do
    loop=$(losetup -f --show p$n.raw)
    setsid -w timeout 60 partimage -z1 -o -d -c -M -b -f3 -V0 save $loop p$n.pi || { losetup -d $loop; exit 1; }
    losetup -d $loop
done
mv p1.pi $store/rec.img.000
split -b 20000 -d -a 3 p2.pi $store/sys.img.
dd if=win.raw of=$store/d1.mbr bs=512 count=1 status=none
";

#[test]
fn an_early_windows_image_fills_the_disk() {
    let tools = ["partimage", "mkfs.ntfs", "losetup", "sfdisk", "ntfsresize"];
    let Some(site) = site("win7", &tools, EARLY_WINDOWS) else {
        return;
    };
    site.cli(&["image", "add", "win7", "--type", "n", "--os", "5"])
        .succeed();
    let session = site.deploy_image("win7", &["pc1"], &[]);
    let disk = site.empty_disk("a.raw", 80 << 20);
    let report = plan(&site, "win7", "--os 5 --disk-size 83886080");
    let parts = &report["table"]["partitions"];
    assert_eq!(
        (&parts[1]["start"], &parts[1]["size"]),
        (&18432.into(), &145_408.into()),
        "{report}"
    );
    site.start_agent(1, &disk).succeed();
    site.wait_for_state(&session, "complete");
    let directory = site.path("");
    let dump = sh(&directory, "sfdisk -d a.raw");
    assert!(
        dump.contains("start=       18432, size=      145408, type=7"),
        "{dump}"
    );
    assert!(
        dump.contains("size=       16384, type=7, bootable"),
        "{dump}"
    );
    for (name, start, count) in [("q1.raw", 2048, 16384), ("q2.raw", 18432, 145_408)] {
        sh(
            &directory,
            &format!(
                "dd if=a.raw of={name} bs=512 skip={start} count={count} status=none; ntfsfix -n {name}"
            ),
        );
    }
    // The reserved partition is what the original restores, and the copy of its boot sector, which no image has.
    let script = "truncate -s 8M o1.raw
loop=$(losetup -f --show o1.raw)
gunzip -c images/win7/rec.img.000 | setsid -w timeout 60 partimage restore $loop stdin -f3 -b || { losetup -d $loop; exit 1; }
blockdev --flushbufs $loop; losetup -d $loop";
    sh(&directory, script);
    let [found, original] = ["q1.raw", "o1.raw"].map(|name| fs::read(site.path(name)).unwrap());
    let (content, copy) = found.split_at(found.len() - 512);
    assert_same(
        content,
        &original[..content.len()],
        "the reserved partition",
    );
    assert_same(copy, &found[..512], "the copy of its boot sector");
    // By hand, from the directory alone.
    let by_hand = site.empty_disk("b.raw", 80 << 20);
    let restored = Command::new(program("fos-agent"))
        .arg("restore")
        .args([&site.path("images/win7"), &by_hand])
        .env("PATH", search_path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&restored.stderr);
    assert!(restored.status.success(), "{said}");
    let [room, hand] = [&disk, &by_hand].map(|disk| fs::read(disk).unwrap());
    assert_same(&hand, &room, "the disk that was restored by hand");
    let said = sh(&directory, "ntfsresize -f -i q2.raw");
    assert!(said.contains("Current volume size"), "{said}");
}

#[test]
fn an_early_windows_image_that_contradicts_itself_is_refused() {
    let tools = ["partimage", "mkfs.ntfs", "losetup", "sfdisk"];
    let Some(site) = site("win7", &tools, EARLY_WINDOWS) else {
        return;
    };
    let add = ["image", "add", "win7", "--type", "n", "--os", "5"];
    let area = site.path("images/win7/d1.mbr");
    let good = fs::read(&area).unwrap();
    let mut one = good.clone();
    one[462..478].fill(0);
    for bad in [one, vec![0; 512]] {
        fs::write(&area, bad).unwrap();
        let said = site.cli(&add).fail();
        assert!(said.contains("d1.mbr") || said.contains("MBR"), "{said}");
    }
    fs::write(&area, &good).unwrap();
    fs::rename(
        site.path("images/win7/rec.img.000"),
        site.path("images/win7/rec.img.001"),
    )
    .unwrap();
    let said = site.cli(&add).fail();
    assert!(said.contains("rec.img.001"), "{said}");
}

#[test]
fn partimage_images_are_restored_like_others() {
    let script = "
truncate -s 24M pi.raw
sfdisk -q pi.raw <<'END'
label: dos
label-id: 0xcafe0008
2048,32768,83
END
truncate -s 16M p1.raw; mkfs.ext3 -q -F p1.raw
loop=$(losetup -f --show p1.raw)
setsid -w timeout 60 partimage -z1 -o -d -c -M -b -f3 -V0 save $loop p1.pi || { losetup -d $loop; exit 1; }
losetup -d $loop
mv p1.pi $store/d1p1.img
dd if=pi.raw of=$store/d1.mbr bs=512 count=1 status=none
sfdisk -d pi.raw > $store/d1.partitions
";
    let Some(site) = site("pi", &["partimage", "mkfs.ext3", "losetup"], script) else {
        return;
    };
    site.cli(&["image", "add", "pi", "--type", "mps"]).succeed();
    let session = site.deploy_image("pi", &["pc1"], &[]);
    let disk = site.empty_disk("a.raw", 24 << 20);
    site.start_agent(1, &disk).succeed();
    site.wait_for_state(&session, "complete");
    let script = "truncate -s 16M o.raw
loop=$(losetup -f --show o.raw)
gunzip -c images/pi/d1p1.img | setsid -w timeout 60 partimage restore $loop stdin -f3 -b || { losetup -d $loop; exit 1; }
blockdev --flushbufs $loop; losetup -d $loop";
    sh(&site.path(""), script);
    let found = bytes_at(&disk, 1 << 20, 16 << 20);
    let original = fs::read(site.path("o.raw")).unwrap();
    assert_same(&found, &original, "the partition");
}

#[test]
fn an_ntfs_that_was_captured_dirty_is_clean() {
    // The flag is in the attribute $VOLUME_INFORMATION of the file $Volume, record 3 of the MFT.
    let script = "
truncate -s 24M nt.raw
sfdisk -q nt.raw <<'END'
label: dos
label-id: 0xcafe000a
2048,32768,7
END
truncate -s 16M p1.raw; mkfs.ntfs -q -F -s 512 -p 2048 p1.raw
python3 - <<'END'
import struct
f = open('p1.raw', 'r+b')
boot = f.read(512)
cluster = struct.unpack_from('<H', boot, 11)[0] * boot[13]
for lcn in struct.unpack_from('<QQ', boot, 48):
    at = lcn * cluster + 3 * 1024
    f.seek(at)
    record = bytearray(f.read(1024))
    assert record[:4] == b'FILE'
    a = struct.unpack_from('<H', record, 20)[0]
    while struct.unpack_from('<I', record, a)[0] != 0x70:
        a += struct.unpack_from('<I', record, a + 4)[0]
    v = a + struct.unpack_from('<H', record, a + 20)[0]
    record[v + 10] |= 1
    f.seek(at)
    f.write(record)
END
partclone.ntfs --ignore_fschk -c -a0 -I -s p1.raw -O - -L log | gzip > $store/d1p1.img
dd if=nt.raw of=$store/d1.mbr bs=512 count=1 status=none
sfdisk -d nt.raw > $store/d1.partitions
";
    let tools = [
        "mkfs.ntfs",
        "partclone.ntfs",
        "ntfsinfo",
        "ntfsfix",
        "python3",
    ];
    let Some(site) = site("nt", &tools, script) else {
        return;
    };
    let flags = |part: &str| {
        let said = sh(&site.path(""), &format!("ntfsinfo -f -i 3 {part}"));
        said.to_lowercase()
    };
    assert!(flags("p1.raw").contains("dirty"), "{}", flags("p1.raw"));
    let has_marks = |name: &str| {
        let file = File::open(site.path(name)).unwrap();
        disk::has_old_marks(|at, buffer| file.read_exact_at(buffer, at)).unwrap()
    };
    assert_eq!(has_marks("p1.raw"), Some(true));
    site.cli(&["image", "add", "nt", "--type", "mps"]).succeed();
    let session = site.deploy_image("nt", &["pc1"], &[]);
    let disk = site.empty_disk("a.raw", 24 << 20);
    site.start_agent(1, &disk).succeed();
    site.wait_for_state(&session, "complete");
    sh(
        &site.path(""),
        "dd if=a.raw of=q.raw bs=512 skip=2048 count=32768 status=none; ntfsfix -n q.raw",
    );
    assert!(!flags("q.raw").contains("dirty"), "{}", flags("q.raw"));
    assert_eq!(has_marks("q.raw"), Some(false));
}

/// ESP, MSR, a shrunken NTFS, recovery; as FOG captures it: `d1.mbr` is of the table with the small NTFS.
const WINDOWS: &str = "
truncate -s 128M win.raw
sfdisk -q win.raw <<'END'
label: gpt
start=2048, size=8192, type=U, name=\"EFI system partition\"
start=10240, size=32768, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, name=\"Microsoft reserved partition\"
start=43008, size=163840, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name=\"Basic data partition\"
start=206848, size=32768, type=DE94BBA4-06D1-4D40-A16A-BFD50179D6AC, attrs=\"RequiredPartition GUID:63\"
END
sfdisk -d win.raw > $store/d1.partitions
sed -e 's/start= *206848/start=112640/' -e 's/size= *163840/size=69632/' $store/d1.partitions > $store/d1.minimum.partitions
echo 1:2:4 > $store/d1.fixed_size_partitions
cp win.raw shrunken.raw
sfdisk -q --wipe never shrunken.raw < $store/d1.minimum.partitions > log 2>&1
sgdisk -b $store/d1.mbr shrunken.raw > log
truncate -s 4M p1.raw; mkfs.vfat p1.raw > log
head -c 16M /dev/urandom > p2.raw
truncate -s 32M p3.raw; mkfs.ntfs -q -F -s 512 -H 255 -S 63 -p 43008 p3.raw
head -c 3000000 /dev/urandom > windows; ntfscp -q p3.raw windows windows
truncate -s 16M p4.raw; mkfs.ntfs -q -F -s 512 -H 255 -S 63 -p 206848 p4.raw
partclone.vfat -c -s p1.raw -O p1.img -L log -q
partclone.imager -c -s p2.raw -O p2.img -L log -q
for number in 3 4; do partclone.ntfs -c -s p$number.raw -O p$number.img -L log -q; done
for number in 1 2 3 4; do zstd -q p$number.img -o $store/d1p$number.img; done
";

#[test]
fn a_windows_disk_fits_smaller_and_larger_ones() {
    let tools = [
        "sgdisk",
        "sfdisk",
        "mkfs.vfat",
        "mkfs.ntfs",
        "ntfscp",
        "ntfsresize",
        "ntfsfix",
        "partclone.vfat",
        "partclone.imager",
        "partclone.ntfs",
        "zstd",
    ];
    let Some(site) = site("win", &tools, WINDOWS) else {
        return;
    };
    site.cli(&["image", "add", "win", "--type", "n"]).succeed();
    let directory = site.path("");
    let lines = |disk: &str| sh(&directory, &format!("sfdisk -d {disk} | grep start="));
    let rest = |lines: &str| -> Vec<String> {
        let lines = lines
            .lines()
            .map(|line| line.split_once("type=").unwrap().1);
        lines.map(str::to_owned).collect()
    };
    let captured = lines("win.raw");
    for mib in [80_u64, 200] {
        let disk = site.empty_disk("a.raw", mib << 20);
        let planned = Command::new(program("fos-agent"))
            .arg("plan")
            .arg(site.path("images/win"))
            .args(["--type", "n", "--sfdisk", "--disk"])
            .arg(&disk)
            .output()
            .unwrap();
        let session = site.deploy_image("win", &["pc1"], &[]);
        site.start_agent(1, &disk).succeed();
        site.wait_for_state(&session, "complete");
        let dump = sh(&directory, &format!("sfdisk -d {}", disk.display()));
        assert_eq!(dump, String::from_utf8(planned.stdout).unwrap());
        sh(&directory, "sgdisk -v a.raw | grep -q 'No problems found'");
        let found = lines("a.raw");
        assert_eq!(rest(&found), rest(&captured));
        // What the originals make of the same partitions. NTFS gets a copy of its boot sector more: at the end of the
        // volume, beside that at the end of the partition. One without marks is left as it was.
        let script = "
            sfdisk -d a.raw | sed -n 's/.*start= *\\([0-9]*\\), size= *\\([0-9]*\\).*/\\1 \\2/p' > places
            number=0
            while read start size; do
                number=$((number + 1))
                rm -f o.raw; truncate -s $((size * 512)) o.raw
                partclone.restore -C -s p$number.img -O o.raw -L log -q
                if [ $number = 3 ]; then
                    ntfsresize -f -f -b -P o.raw > log 2>&1 < /dev/null; ntfsfix -b -d o.raw > log
                fi
                if [ $number -ge 3 ]; then
                    end=$(od -An -t u8 -j 40 -N 8 o.raw)
                    for place in $end $((size - 1)); do
                        dd if=o.raw of=o.raw bs=512 count=1 seek=$place conv=notrunc status=none
                    done
                fi
                dd if=a.raw of=q.raw bs=512 skip=$start count=$size status=none
                cmp o.raw q.raw || echo $number
            done < places";
        let differing = sh(&directory, script);
        assert_eq!(differing, "", "{mib} MiB");
    }
}

#[test]
fn a_script_of_the_store_that_is_not_run_is_said_everywhere() {
    let Some(site) = Site::new(1) else { return };
    let scripts = site.path("images/postdownloadscripts");
    fs::create_dir_all(&scripts).unwrap();
    let script = scripts.join("fog.postdownload");
    fs::write(&script, "#!/bin/bash\n# nothing\n").unwrap();
    let name = "postdownloadscripts/fog.postdownload";
    let size = format!("--disk-size {DISK_LEN}");
    assert!(
        !plan(&site, "small", &size)["warnings"]
            .to_string()
            .contains(name)
    );
    fs::write(&script, "#!/bin/bash\n. ${postdownpath}drivers\n").unwrap();
    assert!(
        plan(&site, "small", &size)["warnings"]
            .to_string()
            .contains(name)
    );
    let (_, said) = site.cli(&["deploy", "small", "pc1"]).both();
    assert!(said.contains(name), "{said}");
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut agent = site.start_agent(1, &disk);
    agent.succeed();
    let said = agent.output() + &agent.messages();
    assert!(said.contains(name), "{said}");
    assert!(site.logs().contains(name), "{}", site.logs());
}
