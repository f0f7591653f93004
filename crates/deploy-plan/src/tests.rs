use disk::Shape;
use fog::KernelArgs;
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{
    ImageFormat, MAX_FILES, MAX_FILES_LEN, MAX_STREAMS, Manifest, SmallFile, StreamFacts,
};

use crate::*;

mod kinds;
mod volumes;

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
    for image_type in ["n", "mps", "mpa", "dd"] {
        let line = format!("{LINE} imgType={image_type}");
        check_arguments(&KernelArgs::parse(&line)).unwrap();
    }
}

#[test]
fn a_deploy_to_one_machine_needs_no_port() {
    check_arguments(&KernelArgs::parse(&format!("{LINE} mc= port="))).unwrap();
}

#[test]
fn other_tasks_are_refused_with_what_to_do() {
    for (change, word) in [
        ("type=up", "type=up"),
        ("type= mode=onlydebug", "mode=onlydebug"),
        ("imgType=vhd", "vhd"),
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
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = samples::manifest();
        change(&mut manifest);
        check_manifest(&manifest).unwrap_err().to_string()
    };
    check_manifest(&samples::manifest()).unwrap();

    assert!(refused(&|m| m.image_type = ImageType::Raw).contains("one stream"));
    for format in [
        ImageFormat::Raw,
        ImageFormat::Unknown("partclone 0003".into()),
    ] {
        let text = refused(&|m| m.streams[0].image.format = format.clone());
        assert!(text.contains(format.as_str()), "{text}");
    }
    assert!(refused(&|m| m.streams.clear()).contains("no streams"));
    assert!(
        refused(&|m| m.streams[0].name = StreamName::of_file("sys.img.000")).contains("sys.img")
    );
    assert!(refused(&|m| m.streams[0].name = StreamName::of_file("d2p1.img")).contains("d2p1.img"));
    assert!(refused(&|m| m.streams[1].name = m.streams[0].name.clone()).contains("twice"));
    let mut manifest = samples::manifest();
    manifest.streams[0].image.format = ImageFormat::Partimage06;
    check_manifest(&manifest).unwrap();
    let text = refused(&|m| {
        m.image_type = ImageType::Resizable;
        m.os_id = 3;
    });
    assert!(text.contains("number 3"), "{text}");
}

#[test]
fn a_manifest_of_more_than_a_client_has_memory_for_is_refused() {
    let check = |count: usize, len: u64| {
        let mut manifest = samples::manifest();
        manifest.files = (0..count)
            .map(|number| SmallFile {
                name: format!("d1.file{number}"),
                len,
                blake3: None,
            })
            .collect();
        check_manifest(&manifest)
    };
    // What a hostile server can list: each within its bound, and together more than there is memory.
    let error = check(2000, 4 << 20).unwrap_err();
    assert!(
        matches!(
            error,
            Refusal::TooMuch {
                what: "files",
                found: 2000,
                ..
            }
        ),
        "{error}"
    );
    let error = check(5, 4 << 20).unwrap_err();
    assert!(
        matches!(error, Refusal::TooMuch { found, limit: MAX_FILES_LEN, .. } if found == 20 << 20),
        "{error}"
    );
    let error = check(1, (4 << 20) + 1).unwrap_err();
    assert!(matches!(error, Refusal::LargeFile { .. }), "{error}");
    let error = check(2, u64::MAX).unwrap_err();
    assert!(matches!(error, Refusal::LargeFile { .. }), "{error}");
    check(4, 4 << 20).unwrap();
    check(MAX_FILES, 1000).unwrap();

    let mut manifest = samples::manifest();
    let stream = manifest.streams[0].clone();
    manifest.streams = vec![stream; MAX_STREAMS + 1];
    let error = check_manifest(&manifest).unwrap_err();
    assert!(
        matches!(
            error,
            Refusal::TooMuch {
                what: "streams",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let contradiction = |change: &dyn Fn(&mut StreamFacts)| {
        let mut manifest = samples::manifest();
        change(&mut manifest.streams[1]);
        match check_manifest(&manifest) {
            Err(Refusal::Contradiction { name, what }) => {
                assert_eq!(name, manifest.streams[1].name);
                what
            }
            other => panic!("{other:?}"),
        }
    };
    use Contradiction::{BlockSize, Blocks, Empty, Used, Zero};
    assert_eq!(contradiction(&|s| s.stored_len = 0), Empty);
    assert_eq!(
        contradiction(&|s| s.image.block_size = 0),
        Zero(Quantity::Block)
    );
    assert_eq!(
        contradiction(&|s| s.image.total_blocks = 0),
        Zero(Quantity::Total)
    );
    assert_eq!(
        contradiction(&|s| s.image.device_size = 0),
        Zero(Quantity::Device)
    );
    assert_eq!(
        contradiction(&|s| s.image.block_size = u32::MAX),
        BlockSize(u32::MAX)
    );
    assert_eq!(
        contradiction(&|s| s.image.used_blocks = Some(513)),
        Used {
            used: 513,
            total: 512
        }
    );
    // Beyond the device that it is from, so perhaps beyond the partition.
    assert!(matches!(
        contradiction(&|s| s.image.device_size -= 1),
        Blocks { total: 512, .. }
    ));
    assert!(matches!(
        contradiction(&|s| s.image.total_blocks = u64::MAX),
        Blocks { .. }
    ));
    let mut manifest = samples::manifest();
    manifest.streams[1].image.used_blocks = Some(512);
    check_manifest(&manifest).unwrap();
}

#[test]
fn streams_are_placed_by_the_table() {
    let plan = plan(
        &samples::manifest(),
        &samples::small_files(),
        &[shape(samples::SHAPE.size)],
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
                which: WhichDisk::ONLY.partition(1),
                offset: 1 << 20,
                len: 1 << 20
            },
            Destination::Partition {
                which: WhichDisk::ONLY.partition(2),
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
        plan(manifest, files, &[shape(size)])
            .unwrap_err()
            .to_string()
    };
    // The disk is smaller than the last partition's end.
    refused(&manifest, &files, 3 << 20);

    let mut large = manifest.clone();
    large.streams[0].image.device_size += 1;
    let text = refused(&large, &files, samples::SHAPE.size);
    assert!(
        text.contains("partition 1") && text.contains("(1 byte missing)"),
        "{text}"
    );

    let mut foreign = manifest.clone();
    foreign.streams[1].name = StreamName::of_file("d1p3.img");
    let text = refused(&foreign, &files, samples::SHAPE.size);
    assert!(text.contains("no such partition"), "{text}");

    let mut without = files.clone();
    without.remove("d1.mbr");
    let text = refused(&manifest, &without, samples::SHAPE.size);
    assert!(text.contains("d1.mbr"), "{text}");

    let mut garbled = files.clone();
    garbled.insert("d1.partitions".into(), vec![0xff, 0xfe]);
    let text = refused(&manifest, &garbled, samples::SHAPE.size);
    assert!(text.contains("not text"), "{text}");
}

#[test]
fn an_image_of_another_name_is_refused() {
    let args = KernelArgs::parse(LINE);
    let mut manifest = samples::manifest();
    check_same_image(&args, &manifest).unwrap();
    manifest.image_path = "other".into();
    let error = check_same_image(&args, &manifest).unwrap_err();
    assert!(matches!(error, Refusal::OtherImage { .. }), "{error}");
}

#[test]
fn what_is_left_undone_is_said() {
    let (mut manifest, files) = samples::with_swap(None);
    manifest.streams[0].image.device_size -= 4096;
    let planned = plan(&manifest, &files, &[samples::SHAPE]).unwrap();
    assert_eq!(
        planned.warnings,
        [
            Warning::NotGrown {
                which: WhichDisk::ONLY.partition(1).into(),
                len: 1 << 20,
                filesystem: "EXTFS".into(),
                kept: (1 << 20) - 4096
            },
            Warning::SwapWithoutUuid {
                which: WhichDisk::ONLY.partition(2).into()
            },
        ]
    );
    let uuid = "8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d";
    let (manifest, files) = samples::with_swap(Some(&format!("2 {uuid}\n")));
    let planned = plan(&manifest, &files, &[samples::SHAPE]).unwrap();
    assert_eq!(planned.warnings, []);
    let swap: Vec<u32> = planned
        .swap_spaces()
        .map(|space| space.partition.number)
        .collect();
    assert_eq!(swap, [2]);
}

#[test]
fn a_partition_that_gets_no_data_is_said() {
    let mut manifest = samples::manifest();
    manifest.streams.pop();
    let planned = plan(&manifest, &samples::small_files(), &[samples::SHAPE]).unwrap();
    let [warning @ Warning::NoStream { which, .. }] = &planned.warnings[..] else {
        panic!("{:?}", planned.warnings);
    };
    assert_eq!(*which, WhichDisk::ONLY.partition(2));
    let text = warning.to_string();
    assert!(
        text.starts_with("partition 2 (83 Linux, 2.1 MB) is not in the image"),
        "{text}"
    );
}

#[test]
fn a_computer_name_is_for_windows_and_one_that_it_takes() {
    let found = |line, os_id| computer_name(&KernelArgs::parse(line), os_id);
    let name = ComputerName::new("LAB-01");
    assert!(name.is_some());
    assert_eq!(found("hostname=LAB-01 hostearly=1", 9), Ok(name));
    assert_eq!(found("hostname=LAB-01 hostearly=1", 50), Ok(None));
    assert_eq!(found("hostname=LAB-01 hostearly=0", 9), Ok(None));
    assert_eq!(found("hostname=LAB-01", 9), Ok(None));
    assert_eq!(found("hostearly=1", 9), Ok(None));
    for name in [
        "",
        "LAB-0123456789-X",
        "12345",
        "LAB+01",
        "pc.lan",
        "M\u{fc}ller",
    ] {
        assert_eq!(ComputerName::new(name), None, "{name}");
    }
    let text = found("hostname=pc.lan hostearly=1", 9)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("pc.lan") && text.contains("15 letters"),
        "{text}"
    );
}

#[test]
fn the_source_disk_has_room_for_its_own_image() {
    let files = samples::small_files();
    let found = source_shapes(&samples::manifest(), &files).unwrap();
    assert_eq!(found, [samples::SHAPE]);
    for image_type in [ImageType::SingleDisk, ImageType::Resizable] {
        let mut manifest = samples::manifest();
        manifest.image_type = image_type;
        let planned = plan_for_source(&manifest, &files).unwrap();
        assert_eq!(planned.warnings, []);

        // Only its own size decides whether a file system fills its partition.
        manifest.streams[0].image.device_size -= 4096;
        manifest.streams[0].image.total_blocks -= 1;
        assert_eq!(plan_for_source(&manifest, &files).unwrap().warnings, []);
        manifest.streams[0].image.device_size = 3 << 20;
        let error = plan_for_source(&manifest, &files).unwrap_err();
        let is_fitted = image_type == ImageType::Resizable;
        assert_eq!(
            matches!(error, Refusal::TooSmall { number: 1, .. }),
            is_fitted
        );
        assert_eq!(
            matches!(error, Refusal::OtherPartition { number: 1, .. }),
            !is_fitted
        );
    }
    let mut manifest = samples::manifest();
    (manifest.image_type, manifest.os_id) = (ImageType::Resizable, 99);
    let error = plan_for_source(&manifest, &files).unwrap_err();
    assert!(matches!(error, Refusal::OsId { os_id: 99 }), "{error}");
}

#[test]
fn what_no_disk_can_mend_is_not_blamed_on_the_disk() {
    let manifest = samples::manifest();
    let mut files = samples::small_files();
    files.get_mut("d1.mbr").unwrap()[510] = 0;
    let error = plan(&manifest, &files, &[samples::SHAPE]).unwrap_err();
    assert!(matches!(error, Refusal::BadTable(_)), "{error}");
    let small = Shape {
        size: 3 << 20,
        ..samples::SHAPE
    };
    let error = plan(&manifest, &samples::small_files(), &[small]).unwrap_err();
    assert!(matches!(error, Refusal::Table(_)), "{error}");
}

/// What FOG's client decides in the cases of its own tests: image's dumps, disk, answer.
#[test]
fn sector_sizes_are_compared_as_the_original_does() {
    let table = include_str!("../testdata/sector-size.tsv");
    let mut compared = 0;
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let [case, dumps, sectors, _, answer] = cells[..] else {
            panic!("{row}");
        };
        // A disk always says how large its sectors are.
        let Ok(logical_sector) = sectors.parse() else {
            continue;
        };
        let (mut manifest, mut files) = (samples::manifest(), samples::small_files());
        manifest.streams.clear();
        let dump = String::from_utf8(files.remove("d1.partitions").unwrap()).unwrap();
        for dump_of in dumps.split("; ").filter(|dump| *dump != "none") {
            let (name, size) = dump_of.split_once(": ").unwrap();
            let name = match name {
                "partitions" => "d1.partitions".to_owned(),
                name => format!("d1.{name}.partitions"),
            };
            let line = match size {
                "(no line)" => String::new(),
                size => format!("sector-size: {size}\n"),
            };
            let text = dump.replace("sector-size: 512\n", &line);
            files.insert(name, text.into_bytes());
        }
        let shape = Shape {
            size: 64 << 20,
            logical_sector,
        };
        let refusal = plan(&manifest, &files, &[shape]).err();
        // A disk is never formatted anew for an image: the text says how.
        let is_allowed = answer == "allow";
        assert_eq!(refusal.is_none(), is_allowed, "{case}: {refusal:?}");
        if let Some(refusal) = refusal {
            assert_eq!(refusal.code(), "sector-size", "{case}");
            assert!(refusal.is_about_disk_size(), "{case}");
        }
        compared += 1;
    }
    assert_eq!(compared, 19);
}
