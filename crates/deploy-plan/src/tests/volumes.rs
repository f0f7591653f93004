use disk::SWAP_LEN_MIN;

use super::*;

const BACKUP: &str = include_str!("../../../disk/testdata/lvm/vg0.vgcfg");
/// Its volumes, of which the one in the middle is swap space.
const SIDECAR: &str = "LVMFORMAT 2\n\
    PV mV1gsO-RiAg-LK9G-LCUe-7Aug-tRFH-cCbmB3 /dev/sda2 4194304 819200\n\
    VG vg0 CkSU3a-dsN9-bRRx-vEFA-gV7g-mNVw-ZFkvNA 8192\n\
    LV home 66dGdd-GwJB-2U5W-MY0z-4tfK-P8IM-myEvsl 409600 102400 xfs d1p2.home.img -\n\
    LV swap pfpLad-uGnc-tYuU-9wfc-WPmS-WPg1-ESaDOJ 262144 262144 swap - 8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d\n\
    LV root QFrLeQ-1ZST-ctzj-Xfjl-3IMf-ItxZ-YVwgyw 819200 204800 ext4 d1p2.root.img -\n";
const SOURCE: u64 = (2048 + 2048) * 512 + (2 << 30);

/// The sample disk, with a volume group in place of its second partition.
fn image() -> (Manifest, SmallFiles) {
    let (mut manifest, mut files) = (samples::manifest(), samples::small_files());
    let mut mbr = samples::mbr([0x83, 0x8e]);
    mbr[474..478].copy_from_slice(&4_194_304_u32.to_le_bytes());
    let dump = samples::dump([0x83, 0x8e]);
    let (first, second) = dump.rsplit_once("size=        4096").unwrap();
    let dump = format!("{first}size=     4194304{second}");
    for (name, bytes) in [
        ("d1.mbr", mbr.as_slice()),
        ("d1.partitions", dump.as_bytes()),
        ("d1p2.lvm", SIDECAR.as_bytes()),
        ("d1p2.lvm.vgcfg", BACKUP.as_bytes()),
    ] {
        files.insert(name.into(), bytes.to_vec());
    }
    let partition = manifest.streams.pop().unwrap();
    for (name, size, filesystem) in [
        ("d1p2.home.img", 180, "XFS"),
        ("d1p2.root.img", 350, "EXTFS"),
    ] {
        let mut stream = partition.clone();
        stream.name = StreamName::of_file(name);
        stream.image.device_size = size << 20;
        stream.image.total_blocks = stream.image.device_size / 4096;
        stream.image.filesystem = filesystem.into();
        manifest.streams.push(stream);
    }
    (manifest, files)
}

fn refused(change: impl FnOnce(&mut Manifest, &mut SmallFiles)) -> Refusal {
    let (mut manifest, mut files) = image();
    change(&mut manifest, &mut files);
    let planned = plan(&manifest, &files, &[shape(SOURCE)]);
    planned.map(|plan| plan.groups).unwrap_err()
}

#[test]
fn volumes_are_places_of_streams() {
    let (manifest, files) = image();
    check_manifest(&manifest).unwrap();
    let plan = plan_for_source(&manifest, &files).unwrap();
    let [group] = &plan.groups[..] else {
        panic!("{:?}", plan.groups)
    };
    assert_eq!(group.which, WhichDisk::ONLY.partition(2));
    assert_eq!((group.offset, group.len), (4096 * 512, 2 << 30));
    let head = group.offset + (1 << 20);
    let home = head + (132 << 22);
    assert_eq!(
        plan.streams[1].destination,
        Destination::Volume {
            which: group.which,
            index: 2,
            offset: home,
            len: 200 << 20
        }
    );
    assert_eq!(plan.unwritten(WhichDisk::ONLY), Vec::<u32>::new());
    let steps: Vec<String> = plan.steps().map(|step| step.code().to_owned()).collect();
    let expected = [
        "clear", "stream", "stream", "stream", "swap", "volumes", "table",
    ];
    assert_eq!(steps, expected);
    let text = plan
        .steps()
        .map(|step| step.to_string())
        .collect::<String>();
    assert!(text.contains("the volume swap of partition 2"), "{text}");
    assert!(text.contains("8c1f1f8e-0f4b"), "{text}");
    assert_eq!(plan.warnings, []);
}

#[test]
fn the_image_of_a_volume_is_of_this_sidecar() {
    let other = refused(|manifest, _| {
        manifest.streams[1].name = StreamName::of_file("d1p2.usr.img");
    });
    assert!(matches!(other, Refusal::Volumes { .. }), "{other}");
    let surplus = refused(|manifest, _| {
        let mut stream = manifest.streams[1].clone();
        stream.name = StreamName::of_file("d1p2.usr.img");
        manifest.streams.push(stream);
    });
    assert!(matches!(surplus, Refusal::Stream { .. }), "{surplus}");
    let none = refused(|_, files| {
        files.remove("d1p2.lvm");
    });
    assert!(matches!(none, Refusal::Stream { .. }), "{none}");
    let larger = refused(|manifest, _| manifest.streams[1].image.device_size = 201 << 20);
    assert!(larger.to_string().contains("its content needs"), "{larger}");
}

#[test]
fn a_partition_is_written_whole_or_volume_by_volume() {
    let refusal = refused(|manifest, _| {
        let mut whole = manifest.streams[0].clone();
        whole.name = StreamName::of_file("d1p2.img");
        whole.image.device_size = 64 << 20;
        whole.image.total_blocks = whole.image.device_size / 4096;
        manifest.streams.push(whole);
    });
    let text = refusal.to_string();
    assert!(
        text.contains("d1p2.lvm") && text.contains("d1p2.img"),
        "{text}"
    );
}

#[test]
fn both_files_are_of_one_group() {
    for (from, to, expected) in [
        ("VG vg0", "VG vg1", "the name of the group"),
        ("CkSU3a", "CkSU3b", "the UUID of the group"),
        ("mV1gsO", "mV1gs0", "the UUID of the physical volume"),
        (" 8192\n", " 4096\n", "the extent size"),
        ("LV home", "LV usr", "the names of the volumes"),
        ("66dGdd", "66dGde", "the volume home"),
        ("409600", "401408", "the volume home"),
        (
            "LV home",
            "LV x y 8 8 ext4 - -\nLV home",
            "the number of volumes",
        ),
        ("LVMFORMAT 2", "LVMFORMAT 7", "newer than this program"),
    ] {
        let refused = refused(|_, files| {
            let text = SIDECAR.replacen(from, to, 1);
            files.insert("d1p2.lvm".into(), text.into_bytes());
        });
        assert_eq!(refused.code(), "logical-volumes");
        assert!(refused.to_string().contains(expected), "{to}: {refused}");
    }
    for (name, expected) in [
        ("d1p2.lvm.vgcfg", "d1p2.lvm.vgcfg is missing"),
        ("d1p3.lvm", "no partition 3"),
        ("d1p02.lvm", "not that of a partition"),
    ] {
        let refused = refused(|_, files| {
            if files.remove(name).is_none() {
                files.insert(name.into(), SIDECAR.replace("d1p2.", "d1p3.").into_bytes());
            }
        });
        assert!(refused.to_string().contains(expected), "{name}: {refused}");
    }
}

#[test]
fn volumes_follow_the_size_of_the_partition() {
    let (mut manifest, files) = image();
    manifest.image_type = ImageType::Resizable;
    let larger = plan(&manifest, &files, &[shape(2 * SOURCE)]).unwrap();
    let grown: Vec<_> = larger.steps().map(|step| step.to_string()).collect();
    let grown = grown.join("\n");
    assert!(
        grown.contains("grow the ext2/3/4 of the volume root of partition 2"),
        "{grown}"
    );
    assert!(
        grown.contains("grow the XFS of the volume home of partition 2"),
        "{grown}"
    );
    let swap = larger.swap_spaces().next().unwrap();
    assert!(swap.len() == 128 << 20 && swap.len() >= SWAP_LEN_MIN);
    // The table does not become smaller than its minimum, so the partition is that of the image.
    let mut files = files.clone();
    let minimum = String::from_utf8(files["d1.partitions"].clone()).unwrap();
    let minimum = minimum.replace("4194304", "1638400");
    files.insert("d1.minimum.partitions".into(), minimum.into_bytes());
    let smaller = plan(&manifest, &files, &[shape(SOURCE / 2)]).unwrap();
    let group = &smaller.groups[0];
    let end = group
        .volumes
        .iter()
        .map(|volume| volume.offset + volume.len)
        .max();
    assert!(end.unwrap() <= group.offset + group.len);
    assert!(group.len < 2 << 30);
    // 350 MiB and 180 MiB of content, though the minimums are lower, and swap space.
    let refused = plan(&manifest, &files, &[shape(840_000_000 / 4096 * 4096)]);
    let refused = refused.map(|plan| plan.groups).unwrap_err();
    assert!(refused.is_about_disk_size(), "{refused}");
    files.insert("d1p2.lvm".into(), without_minimums(SIDECAR).into_bytes());
    let refused = plan(&manifest, &files, &[shape(SOURCE / 2)]);
    let refused = refused.map(|plan| plan.groups).unwrap_err();
    assert!(
        refused.to_string().contains("no smaller sizes"),
        "{refused}"
    );
}

/// The same in format 1.
fn without_minimums(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if matches!(words[0], "PV" | "LV") {
            words.remove(4);
        }
        words.join(" ")
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace("LVMFORMAT 2", "LVMFORMAT 1")
}

#[test]
fn what_a_volume_lacks_is_said() {
    let (manifest, mut files) = image();
    let text = SIDECAR
        .replace("d1p2.home.img", "-")
        .replace("8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d", "-");
    files.insert("d1p2.lvm".into(), text.into_bytes());
    let mut manifest = manifest;
    manifest.streams.remove(1);
    let plan = plan(&manifest, &files, &[shape(SOURCE)]).unwrap();
    let codes: Vec<_> = plan.warnings.iter().map(Warning::code).collect();
    assert!(codes.contains(&"volume-without-stream"), "{codes:?}");
    assert!(codes.contains(&"swap-without-uuid"), "{codes:?}");
    assert!(!codes.contains(&"no-stream"), "{codes:?}");
}
