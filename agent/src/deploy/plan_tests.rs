use super::super::samples::{self, DISK_LEN};
use super::*;

const LINE: &str = "web=http://10.0.0.5/fog/ mac=00:1b:21:aa:bb:cc storageip=10.0.0.5 img=lab \
    imgType=mps imgPartitionType=all port=63100 type=down mc=yes";

fn shape(size: u64) -> Shape {
    Shape {
        size,
        logical_sector: 512,
    }
}

#[test]
fn a_multicast_deploy_is_accepted() {
    check_arguments(&KernelArgs::parse(LINE)).unwrap();
    check_arguments(&KernelArgs::parse(&format!("{LINE} imgType=n"))).unwrap();
}

#[test]
fn other_tasks_are_refused_with_what_to_do() {
    for (change, word) in [
        ("mc=", "type=down"),
        ("type=up", "type=up"),
        ("type= mode=onlydebug", "mode=onlydebug"),
        ("imgType=dd", "dd"),
        ("imgType=mpa", "mpa"),
        ("imgPartitionType=mbr", "mbr"),
        ("imgPartitionType=2", "imgPartitionType=2"),
        ("nombr", "nombr"),
        ("port=70000", "port"),
        ("storageip=nowhere", "storageip"),
        ("web=", "web="),
    ] {
        let error = check_arguments(&KernelArgs::parse(&format!("{LINE} {change}"))).unwrap_err();
        assert!(error.to_string().contains(word), "{change}: {error}");
    }
}

#[test]
fn manifests_are_checked_before_any_disk_is_looked_at() {
    let args = KernelArgs::parse(LINE);
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = samples::manifest();
        change(&mut manifest);
        check_manifest(&args, &manifest).unwrap_err().to_string()
    };
    check_manifest(&args, &samples::manifest()).unwrap();

    assert!(refused(&|m| m.image_type = ImageType::Raw).contains("dd"));
    assert!(refused(&|m| m.image_type = ImageType::AllDisks).contains("mpa"));
    assert!(refused(&|m| m.image_path = "other".into()).contains("other"));
    assert!(refused(&|m| m.streams.clear()).contains("no streams"));
    assert!(
        refused(&|m| m.streams[0].name = StreamName::of_file("sys.img.000")).contains("sys.img")
    );
    assert!(refused(&|m| m.streams[0].name = StreamName::of_file("d2p1.img")).contains("d2p1.img"));
    assert!(refused(&|m| m.streams[1].name = m.streams[0].name.clone()).contains("twice"));
    assert!(refused(&|m| m.streams[0].image.format = "partimage 0.6".into()).contains("partimage"));
    assert!(refused(&|m| m.files[0].name = "d1p3.lvm".into()).contains("d1p3.lvm"));
    let text = refused(&|m| {
        m.image_type = ImageType::Resizable;
        m.os_id = 3;
    });
    assert!(text.contains("number 3"), "{text}");
}

#[test]
fn streams_are_placed_by_the_table() {
    let plan = plan(
        &samples::manifest(),
        &samples::small_files(),
        &shape(DISK_LEN),
    )
    .unwrap();
    let places: Vec<Destination> = plan
        .streams
        .iter()
        .map(|stream| stream.destination)
        .collect();
    assert_eq!(
        places,
        [
            Destination::Partition {
                number: 1,
                offset: 1 << 20,
                len: 1 << 20
            },
            Destination::Partition {
                number: 2,
                offset: 2 << 20,
                len: 2 << 20
            },
        ]
    );
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let manifest = samples::manifest();
    let files = samples::small_files();
    let refused = |manifest: &Manifest, files: &SmallFiles, size| {
        plan(manifest, files, &shape(size)).unwrap_err().to_string()
    };
    // The disk is smaller than the last partition's end.
    refused(&manifest, &files, 3 << 20);

    let mut large = manifest.clone();
    large.streams[0].image.device_size += 1;
    let text = refused(&large, &files, DISK_LEN);
    assert!(
        text.contains("partition 1") && text.contains("1 bytes are missing"),
        "{text}"
    );

    let mut foreign = manifest.clone();
    foreign.streams[1].name = StreamName::of_file("d1p3.img");
    let text = refused(&foreign, &files, DISK_LEN);
    assert!(text.contains("no such partition"), "{text}");

    let mut without = files.clone();
    without.remove("d1.mbr");
    let text = refused(&manifest, &without, DISK_LEN);
    assert!(text.contains("d1.mbr"), "{text}");

    let mut garbled = files.clone();
    garbled.insert("d1.partitions".into(), vec![0xff, 0xfe]);
    let text = refused(&manifest, &garbled, DISK_LEN);
    assert!(text.contains("not text"), "{text}");
}

#[test]
fn what_is_left_undone_is_said() {
    let (mut manifest, files) = samples::with_swap(None);
    manifest.streams[0].image.device_size -= 4096;
    let plan = plan(&manifest, &files, &shape(DISK_LEN)).unwrap();
    let text = plan.warnings.join("\n");
    assert!(text.contains("partition 2 is swap"), "{text}");
    assert!(text.contains("does not grow"), "{text}");
}

#[test]
fn a_partition_that_gets_no_data_is_said() {
    let mut manifest = samples::manifest();
    manifest.streams.pop();
    let planned = plan(&manifest, &samples::small_files(), &shape(DISK_LEN)).unwrap();
    assert_eq!(planned.warnings.len(), 1, "{:?}", planned.warnings);
    let warning = &planned.warnings[0];
    assert!(
        warning.starts_with("partition 2 (83 Linux, 2.0 MiB) is not in the image"),
        "{warning}"
    );

    // Of a reserved partition nothing is expected.
    let mut table = planned.table;
    table.partitions[1].kind =
        disk::Kind::Gpt("e3c9e316-0b5c-4db8-817d-f92df00215ae".parse().unwrap());
    assert_eq!(warnings(&table, &planned.streams), [""; 0]);
}

#[test]
fn a_computer_name_that_is_not_written_is_said() {
    let said = |line, os_id| computer_name(&KernelArgs::parse(line), os_id);
    let text = said("hostname=LAB-01 hostearly=1", 9).unwrap();
    assert!(text.contains("LAB-01"), "{text}");
    assert_eq!(said("hostname=LAB-01 hostearly=1", 50), None);
    assert_eq!(said("hostname=LAB-01 hostearly=0", 9), None);
    assert_eq!(said("hostname=LAB-01", 9), None);
    assert_eq!(said("hostearly=1", 9), None);
}

#[test]
fn swap_spaces_are_made_with_their_uuid() {
    let uuid = "8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d";
    let (manifest, files) = samples::with_swap(Some(&format!("2 {uuid}\n")));
    let plan = plan(&manifest, &files, &shape(DISK_LEN)).unwrap();
    assert_eq!(plan.warnings, [""; 0]);

    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(DISK_LEN).unwrap();
    let target = disk::Target::open(file.path(), &shape(DISK_LEN)).unwrap();
    target.make_unbootable(&plan.table).unwrap();
    super::super::swap::create(&plan, &target).unwrap();
    drop(target);
    let written = std::fs::read(file.path()).unwrap();
    let swap = &written[samples::region(2)];
    assert_eq!(&swap[4086..4096], b"SWAPSPACE2");
    assert_eq!(swap[1036], 0x8c);
}

#[test]
fn logical_partitions_have_their_boot_records() {
    assert_eq!(ebr_number("d1p5.ebr"), Some(5));
    for name in ["d2p5.ebr", "d1p5.img", "d1p05.ebr", "d1.ebr", "x.ebr"] {
        assert_eq!(ebr_number(name), None, "{name}");
    }
}
