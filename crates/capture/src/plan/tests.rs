use deploy_plan::WhichDisk;
use disk::{Layout, TableFiles, Uuid, plan_table, source_shape};
use fos_api::{Compression, ImageFormat};

use super::*;

/// The files of an image that FOG's client captured of a disk of 3 GiB.
const FOG_DUMP: &str = include_str!("../../testdata/gpt/d1.partitions");
const FOG_MINIMUM: &str = include_str!("../../testdata/gpt/d1.minimum.partitions");
const FOG_SHRUNKEN: &str = include_str!("../../testdata/gpt/d1.shrunken.partitions");
const FOG_FIXED: &str = include_str!("../../testdata/gpt/d1.fixed_size_partitions");
const FOG_FSTYPES: &str = include_str!("../../testdata/gpt/d1.original.fstypes");
const FOG_SWAP: &str = include_str!("../../testdata/gpt/d1.original.swapuuids");
const FOG_BACKUP: &[u8] = include_bytes!("../../testdata/gpt/d1.mbr");

/// The table that the captured disk had, as a deploy to a disk of the same size writes it.
fn table() -> (Shape, CapturedTable) {
    let files = TableFiles {
        mbr: FOG_BACKUP,
        partitions: Some(FOG_DUMP),
        minimum: Some(FOG_MINIMUM),
        fixed: Some(FOG_FIXED),
        ..TableFiles::default()
    };
    let shape = source_shape(&files);
    let plan = plan_table(&files, &shape, Layout::Keep).unwrap();
    let mut bytes = vec![0; 1 << 20];
    let mut last = Vec::new();
    for write in plan.writes() {
        match usize::try_from(write.offset) {
            Ok(at) if at + write.bytes.len() <= bytes.len() => {
                bytes[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            _ => last.push(write.clone()),
        }
    }
    let mut read = |offset: u64, len: usize| -> Result<Vec<u8>, PlanError> {
        let at = usize::try_from(offset).unwrap();
        let end = at + len;
        if end <= bytes.len() {
            return Ok(bytes[at..end].to_vec());
        }
        let write = last.iter().find(|write| write.offset == offset);
        let mut found = write.map(|write| write.bytes.clone()).unwrap_or_default();
        found.resize(len, 0);
        Ok(found)
    };
    let shrunken = CapturedTable::read(&shape, "/dev/sda", &mut read)
        .unwrap()
        .unwrap();
    // The backup has the shrunken places; the original ones are in the dump.
    let original = disk::Dump::parse(FOG_DUMP).unwrap();
    let places: Vec<Placed> = original
        .partitions
        .iter()
        .map(|line| Placed {
            number: line.number,
            start: line.start,
            size: line.size,
        })
        .collect();
    (shape, shrunken.with_places(&places).unwrap())
}

fn found(content: Content) -> SurveyedPartition {
    SurveyedPartition {
        content,
        condition: Condition::default(),
    }
}

/// The disk of that image, as it is looked at.
fn surveyed() -> SurveyedDisk {
    let (shape, table) = table();
    let swap = Uuid::try_parse("0c0ffee0-0000-4000-8000-00000000abcd").unwrap();
    let contents = [
        (1, Content::FileSystem(FileSystem::Fat)),
        (2, Content::Raw(RawCause::Unknown)),
        (3, Content::FileSystem(FileSystem::Ntfs)),
        (4, Content::FileSystem(FileSystem::Ext)),
        (5, Content::FileSystem(FileSystem::Ntfs)),
        (6, Content::Swap(Some(swap))),
    ];
    SurveyedDisk {
        name: "/dev/sda".into(),
        shape,
        model: "QEMU".into(),
        serial: String::new(),
        table: Some(table),
        labels: Vec::new(),
        contents: contents
            .into_iter()
            .map(|(number, content)| (number, found(content)))
            .collect(),
    }
}

fn request(image_type: ImageType) -> Request<'static> {
    Request {
        image_type,
        image: "lab",
        has_program: &|_| true,
    }
}

fn text<'a>(files: &'a SmallFiles, name: &str) -> &'a str {
    std::str::from_utf8(files.get(name).unwrap_or_else(|| panic!("no {name}"))).unwrap()
}

#[test]
fn the_small_files_of_a_resizable_image_are_those_of_fogs_client() {
    let plan = plan(vec![surveyed()], &request(ImageType::Resizable)).unwrap();
    let shrinks: Vec<_> = plan
        .streams
        .iter()
        .map(|stream| (stream.name.to_string(), stream.shrink))
        .collect();
    assert_eq!(
        shrinks,
        [
            ("d1p1.img".into(), None),
            ("d1p2.img".into(), None),
            ("d1p3.img".into(), Some(Shrinkable::Ntfs)),
            ("d1p4.img".into(), Some(Shrinkable::Ext)),
            // Recovery keeps its size.
            ("d1p5.img".into(), None),
        ]
    );
    let shrunken = [
        Shrunken {
            number: 3,
            len: 1_076_480 * 512,
        },
        Shrunken {
            number: 4,
            len: 159_969 * 512,
        },
    ];
    let files = plan.small_files(&shrunken).unwrap();
    assert_eq!(text(&files, "d1.partitions"), FOG_DUMP);
    assert_eq!(text(&files, "d1.shrunken.partitions"), FOG_SHRUNKEN);
    assert_eq!(text(&files, "d1.fixed_size_partitions"), FOG_FIXED);
    assert_eq!(text(&files, "d1.original.swapuuids"), FOG_SWAP);
    assert_eq!(text(&files, "d1.original.fstypes"), FOG_FSTYPES);
    // FOG's client leaves another 256 KiB in front of some partitions; sizes are what a deploy goes by.
    let sizes = |text: &str| -> Vec<(u32, u64)> {
        let dump = disk::Dump::parse(text).unwrap();
        dump.partitions.iter().map(|p| (p.number, p.size)).collect()
    };
    let minimum = text(&files, "d1.minimum.partitions");
    assert_eq!(sizes(minimum), sizes(FOG_MINIMUM));
    let mbr = &files["d1.mbr"];
    assert_eq!(mbr.len(), 1 << 20, "as long as the boot area");
    for disk_size in [2_306_867_200, 3_221_225_472, 4_294_967_296] {
        let shape = Shape {
            size: disk_size,
            logical_sector: 512,
        };
        let plan_of = |mbr, minimum, partitions| {
            let files = TableFiles {
                mbr,
                partitions: Some(partitions),
                minimum: Some(minimum),
                fixed: Some(FOG_FIXED),
                swap_uuids: Some(FOG_SWAP),
                ..TableFiles::default()
            };
            plan_table(&files, &shape, Layout::Fill).unwrap()
        };
        let ours = plan_of(mbr, minimum, text(&files, "d1.partitions"));
        let fogs = plan_of(FOG_BACKUP, FOG_MINIMUM, FOG_DUMP);
        assert_eq!(ours.partitions, fogs.partitions);
        assert_eq!(ours.warnings, fogs.warnings);
    }
}

#[test]
fn an_image_as_it_is_has_the_table_as_it_is() {
    let plan = plan(vec![surveyed()], &request(ImageType::SingleDisk)).unwrap();
    assert!(plan.streams.iter().all(|stream| stream.shrink.is_none()));
    let methods: Vec<_> = plan.streams.iter().map(|stream| stream.method).collect();
    assert_eq!(methods[1], Method::Raw);
    assert_eq!(methods[2], Method::Program(FileSystem::Ntfs));
    let files = plan.small_files(&[]).unwrap();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["d1.mbr", "d1.original.swapuuids", "d1.partitions"]);
    assert_eq!(plan.likely_os(), WINDOWS_10);
    let facts: Vec<ImageFacts> = plan
        .streams
        .iter()
        .map(|stream| ImageFacts {
            format: ImageFormat::Partclone0002,
            compression: Compression::Zstd,
            filesystem: "x".into(),
            device_size: stream.len,
            block_size: 512,
            total_blocks: stream.len / 512,
            used_blocks: Some(1),
        })
        .collect();
    assert_eq!(plan.check_deployable("lab", 9, &files, &facts), Ok(vec![]));
    let error = plan.check_deployable("lab", 9, &SmallFiles::new(), &facts);
    assert!(matches!(error, Err(Refusal::NotDeployable(_))), "{error:?}");
}

#[test]
fn several_disks_are_numbered_and_have_their_sizes() {
    let disks = || vec![surveyed(), surveyed()];
    let refused = plan(disks(), &request(ImageType::SingleDisk)).unwrap_err();
    assert!(matches!(refused, Refusal::SeveralDisks { count: 2, .. }));
    let plan = plan(disks(), &request(ImageType::AllDisks)).unwrap();
    assert_eq!(plan.streams.last().unwrap().name.as_str(), "d2p5.img");
    let files = plan.small_files(&[]).unwrap();
    assert_eq!(text(&files, "d2.size"), "2:3221225472\n");
    assert_eq!(plan.captured_disks().len(), 2);
}

#[test]
fn a_whole_disk_needs_no_table() {
    let bare = SurveyedDisk {
        table: None,
        contents: BTreeMap::new(),
        ..surveyed()
    };
    let raw = plan(vec![bare.clone()], &request(ImageType::Raw)).unwrap();
    assert_eq!(raw.streams.len(), 1);
    assert_eq!(raw.streams[0].name.as_str(), "lab");
    assert_eq!(raw.streams[0].len, 3_221_225_472);
    assert!(raw.small_files(&[]).unwrap().is_empty());
    let refused = plan(vec![bare], &request(ImageType::Resizable)).unwrap_err();
    assert!(matches!(refused, Refusal::NoTable { .. }), "{refused}");
}

#[test]
fn what_is_not_in_order_is_refused_by_name() {
    let which = WhichPlace::from(WhichDisk::ONLY.partition(3));
    let with = |content: Content, condition: Condition| {
        let mut disk = surveyed();
        disk.contents
            .insert(3, SurveyedPartition { content, condition });
        plan(vec![disk], &request(ImageType::Resizable)).unwrap_err()
    };
    let ntfs = Content::FileSystem(FileSystem::Ntfs);
    let dirty = Condition {
        is_dirty: true,
        ..Condition::default()
    };
    let asleep = Condition {
        is_dirty: true,
        is_hibernated: true,
        ..Condition::default()
    };
    let fine = Condition::default();
    for (refusal, expected, hint) in [
        (
            with(ntfs.clone(), dirty),
            Refusal::Dirty {
                which: which.clone(),
                kind: FileSystem::Ntfs,
            },
            "chkdsk",
        ),
        (
            with(ntfs, asleep),
            Refusal::Hibernated {
                which: which.clone(),
            },
            "powercfg",
        ),
        (
            with(Content::Encrypted("BitLocker"), fine),
            Refusal::Encrypted {
                which: which.clone(),
                format: "BitLocker",
            },
            "manage-bde",
        ),
        (
            with(Content::Member(disk::LabelKind::LinuxRaid), fine),
            Refusal::Member {
                which,
                kind: disk::LabelKind::LinuxRaid,
            },
            "--type dd",
        ),
    ] {
        assert_eq!(refusal, expected);
        let text = refusal.to_string();
        assert!(
            text.contains("partition 3") && text.contains(hint),
            "{text}"
        );
    }
    let lacking = Request {
        has_program: &|name| name != "partclone.ntfs",
        ..request(ImageType::SingleDisk)
    };
    let refusal = plan(vec![surveyed()], &lacking).unwrap_err();
    assert!(matches!(refusal, Refusal::Program { .. }), "{refusal}");
}

#[test]
fn bounds_are_above_what_zstd_makes_of_anything() {
    for len in [0, 1, 1000, 1 << 20, 1 << 30] {
        assert!(compressed_bound(len) >= len + len / 256);
    }
    let plan = plan(vec![surveyed()], &request(ImageType::SingleDisk)).unwrap();
    for stream in &plan.streams {
        assert!(stream.image_len_max() > stream.len);
    }
}

#[test]
fn volumes_are_read_one_by_one_and_listed_for_the_deploy() {
    let swap = Uuid::try_parse("0c0ffee0-0000-4000-8000-00000000abcd").unwrap();
    let volume = |name: &str, runs: &[(u64, u64)], content: Content| crate::GroupVolume {
        name: name.into(),
        uuid: "QFrLeQ-1ZST-aaaa-bbbb-cccc-dddd-eeeeee".into(),
        runs: runs.to_vec(),
        content,
        condition: Condition::default(),
    };
    let mib = 1 << 20;
    let group = Group {
        name: "vg0".into(),
        uuid: "CkSU3a-dsN9-aaaa-bbbb-cccc-dddd-eeeeee".into(),
        extent_len: 4 * mib,
        physical_uuid: "mV1gsO-RiAg-aaaa-bbbb-cccc-dddd-eeeeee".into(),
        metadata: "vg0 {}".into(),
        volumes: vec![
            volume(
                "root",
                &[(mib, 8 * mib), (21 * mib, 4 * mib)],
                Content::FileSystem(FileSystem::Ext),
            ),
            volume("swap", &[(9 * mib, 4 * mib)], Content::Swap(Some(swap))),
        ],
    };
    let mut disk = surveyed();
    disk.contents
        .insert(4, found(Content::Group(Box::new(group))));
    let plan = plan(vec![disk], &request(ImageType::Resizable)).unwrap();
    let stream = &plan.streams[3];
    assert_eq!(stream.name.as_str(), "d1p4.root.img");
    let start = 3_311_616 * 512;
    assert_eq!(
        stream.runs,
        [(start + mib, 8 * mib), (start + 21 * mib, 4 * mib)]
    );
    assert_eq!(stream.len, 12 * mib);
    let files = plan.small_files(&[]).unwrap();
    assert_eq!(text(&files, "d1p4.lvm.vgcfg"), "vg0 {}");
    assert_eq!(text(&files, "d1.fixed_size_partitions"), "1:2:5:6\n");
    let id = fog::store::PartitionId {
        disk: 1,
        partition: 4,
    };
    let sidecar = fog::lvm::Sidecar::parse(id, text(&files, "d1p4.lvm")).unwrap();
    assert_eq!(sidecar.physical.size, 1_638_400 * 512);
    assert_eq!(sidecar.volumes[0].size, 12 * mib);
    assert_eq!(sidecar.images().collect::<Vec<_>>(), ["d1p4.root.img"]);
    assert_eq!(sidecar.volumes[1].swap_uuid, Some(swap.to_string()));
}

#[test]
fn a_windows_of_which_nobody_knows_whether_it_sleeps_is_named() {
    let mut disk = surveyed();
    let condition = Condition {
        is_hibernation_unknown: true,
        ..Condition::default()
    };
    let content = Content::FileSystem(FileSystem::Ntfs);
    disk.contents
        .insert(3, SurveyedPartition { content, condition });
    let plan = plan(vec![disk], &request(ImageType::SingleDisk)).unwrap();
    let which = WhichPlace::from(WhichDisk::ONLY.partition(3));
    let expected = Warning::HibernationUnknown { which };
    assert!(plan.warnings.contains(&expected), "{:?}", plan.warnings);
    assert!(expected.to_string().contains("ntfscat"), "{expected}");
}
