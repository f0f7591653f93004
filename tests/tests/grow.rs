//! A resizable image on a larger disk: what `plan` shows, what the deploy makes, and what is in it.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use disk::Dump;
use fos_tests::need::root_and_tools;
use fos_tests::site::{DISK_LEN, Site, program, search_path, source};

/// Output of a shell command, which must succeed.
#[track_caller]
fn sh(line: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", search_path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_file_system_fills_the_partition_that_the_plan_shows() {
    if !root_and_tools(&["e2fsck", "resize2fs", "debugfs", "losetup", "sfdisk"]) {
        return;
    }
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    // The ext4 may grow, the FAT keeps its size.
    fs::write(site.stored("d1.fixed_size_partitions"), "1\n").unwrap();
    site.start_server();
    site.cli(&["image", "add", "small", "--type", "n", "--os", "50"])
        .succeed();
    let session = site.deploy(&["pc1"], &[]);
    let disk = site.empty_disk("a.raw", DISK_LEN + (64 << 20));

    let agent = program("fos-agent").display().to_string();
    let image = site.path("images/small").display().to_string();
    let path = disk.display().to_string();
    let plan = |options: &str| {
        sh(&format!(
            "{agent} plan {image} --os 50 --disk {path} {options}"
        ))
    };
    let planned = plan("--sfdisk");
    let steps = plan("");
    assert!(
        steps.contains("grow the ext2/3/4 of partition 2 to "),
        "{steps}"
    );

    site.start_agent(1, &disk).succeed();
    site.wait_for_state(&session, "complete");
    assert_eq!(sh(&format!("sfdisk -d {path}")), planned);

    let table = Dump::parse(&planned).unwrap();
    let partition = table.partition(2).unwrap();
    assert!(partition.size > 49_152, "{planned}");
    let part = site.path("p2.raw").display().to_string();
    sh(&format!(
        "dd if={path} of={part} bs=512 skip={} count={} status=none",
        partition.start, partition.size
    ));
    sh(&format!("e2fsck -fn {part}"));
    let said = sh(&format!("dumpe2fs -h {part}"));
    let blocks = said
        .lines()
        .find_map(|line| line.strip_prefix("Block count:"));
    let blocks: u64 = blocks.unwrap().trim().parse().unwrap();
    assert_eq!(blocks, partition.size / 8, "{said}");
    for name in ["text.txt", "random.bin"] {
        let restored = site.path(name);
        sh(&format!(
            "debugfs -R 'dump /{name} {}' {part}",
            restored.display()
        ));
        let captured = fs::read(Path::new(source()).join("tree").join(name)).unwrap();
        assert!(fs::read(restored).unwrap() == captured, "{name}");
    }
}
