use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{Compression, ImageFacts, ImageFormat, StreamFacts};

use super::super::scan::scan;
use super::super::scan::tests::directory;
use super::*;
use crate::domain::Timestamp;

/// An image of a GPT disk of 64 MiB with partitions of 8, 20 and 16 MiB from 1 MiB on.
const GPT: &[u8] = include_bytes!("../testdata/gpt.mbr.zst");

const MIB: u64 = 1 << 20;

/// What is known of the image in a directory whose streams hold 8 MiB each.
fn known(root: &Path, image_type: ImageType) -> (ImageSettings, Facts) {
    let listing = scan(root, "img", image_type, 50).unwrap();
    let settings = ImageSettings {
        path: "img".to_owned(),
        image_type,
        os_id: 50,
        format: 5,
    };
    let streams = listing.streams.iter().map(|stream| StreamFacts {
        name: StreamName::of_file(stream.name.as_str()),
        stored_len: 1,
        blake3: "ab".repeat(32).parse().unwrap(),
        image: ImageFacts {
            format: ImageFormat::Partclone0002,
            compression: Compression::Zstd,
            filesystem: "EXTFS".into(),
            device_size: 8 * MIB,
            block_size: 4096,
            total_blocks: 2048,
            used_blocks: Some(100),
        },
    });
    let facts = Facts {
        checked_at: Timestamp(1),
        is_verified: true,
        settings: Some(settings.clone()),
        streams: streams.collect(),
        files: listing.files,
    };
    (settings, facts)
}

fn gpt_image() -> tempfile::TempDir {
    let table = zstd::decode_all(GPT).unwrap();
    directory(&[
        ("d1.mbr", &table),
        ("d1p1.img", b"x"),
        ("d1p2.img", b"x"),
        ("d1p3.img", b"x"),
    ])
}

#[test]
fn partitions_are_shown_with_what_comes_for_them_and_the_least_disk() {
    let root = gpt_image();
    let (settings, facts) = known(root.path(), ImageType::SingleDisk);
    let found = layout(&root.path().join("img"), &settings, &facts).unwrap();
    let [disk] = &found.disks[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (disk.number, disk.captured, disk.stream),
        (1, 64 * MIB, None)
    );
    assert!(disk.label.as_ref().unwrap().starts_with("GPT "));
    let places: Vec<_> = disk
        .places
        .iter()
        .map(|place| (place.number, place.offset, place.len, place.stream))
        .collect();
    let expected = [
        (1, MIB, 8 * MIB, Some(0)),
        (2, 9 * MIB, 20 * MIB, Some(1)),
        (3, 29 * MIB, 16 * MIB, Some(2)),
    ];
    assert_eq!(places, expected);
    assert_eq!(disk.places[0].kind, "EFI system");
    // The last partition ends at 45 MiB; a GPT needs some sectors behind it.
    assert_eq!(disk.least, 46 * MIB);
}

#[test]
fn an_image_that_is_fitted_needs_less_than_it_had() {
    let root = gpt_image();
    let (settings, facts) = known(root.path(), ImageType::Resizable);
    let dir = root.path().join("img");
    let table = zstd::decode_all(GPT).unwrap();
    let dump = "label: gpt\ndevice: /dev/sda\nunit: sectors\nfirst-lba: 34\nlast-lba: 131038\n\n\
        /dev/sda1 : start= 2048, size= 16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
        /dev/sda2 : start= 18432, size= 40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n\
        /dev/sda3 : start= 59392, size= 32768, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n";
    std::fs::write(dir.join("d1.partitions"), dump).unwrap();
    let minimum = dump.replace("size= 40960", "size= 16384");
    std::fs::write(dir.join("d1.minimum.partitions"), minimum).unwrap();
    std::fs::write(dir.join("d1.mbr"), table).unwrap();
    drop(facts);
    let (_, facts) = known(root.path(), ImageType::Resizable);
    let found = layout(&dir, &settings, &facts).unwrap();
    let least = found.disks[0].least;
    assert!(least < found.disks[0].captured, "{found:?}");
    // All streams have to have room.
    assert!(least >= 24 * MIB, "{found:?}");
}

#[test]
fn a_whole_disk_in_a_stream_has_no_partitions() {
    let root = directory(&[("d1.img", b"x")]);
    let (settings, facts) = known(root.path(), ImageType::Raw);
    let found = layout(&root.path().join("img"), &settings, &facts).unwrap();
    let disk = &found.disks[0];
    assert_eq!((disk.stream, &disk.label), (Some(0), &None));
    assert_eq!((disk.captured, disk.least), (8 * MIB, 8 * MIB));
    assert!(disk.places.is_empty());
}

#[test]
fn what_was_changed_or_is_no_table_is_said() {
    let root = gpt_image();
    let (settings, facts) = known(root.path(), ImageType::SingleDisk);
    let dir = root.path().join("img");
    std::fs::write(dir.join("d1.mbr"), "x").unwrap();
    let error = layout(&dir, &settings, &facts).unwrap_err();
    assert!(matches!(error, LayoutError::Changed(_)), "{error}");
    assert!(error.to_string().contains("d1.mbr"), "{error}");
    let (settings, facts) = known(root.path(), ImageType::SingleDisk);
    let error = layout(&dir, &settings, &facts).unwrap_err();
    assert!(matches!(error, LayoutError::Refused(_)), "{error}");
}
