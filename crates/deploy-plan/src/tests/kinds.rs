//! Images of whole disks, of several disks, of early Windows; scripts beside them.

use super::*;

#[test]
fn an_image_of_a_whole_disk_needs_one_as_large() {
    let manifest = samples::whole_disk();
    check_manifest(&manifest).unwrap();
    let files = SmallFiles::new();
    let planned = plan(&manifest, &files, &[samples::SHAPE]).unwrap();
    assert!(planned.warnings.is_empty() && planned.disks[0].table.is_none());
    let expected = Destination::Disk {
        which: WhichDisk::ONLY,
        len: samples::SHAPE.size,
    };
    assert_eq!(planned.streams[0].destination, expected);
    let codes: Vec<_> = planned.steps().map(|step| step.code()).collect();
    assert_eq!(codes, ["clear", "stream", "head"]);

    let larger = plan(&manifest, &files, &[shape(5 << 20)]).unwrap();
    let warned: Vec<_> = larger.warnings.iter().map(Warning::code).collect();
    assert_eq!(warned, ["rest-unused"]);
    assert_eq!(plan_for_source(&manifest, &files).unwrap().warnings, []);

    let refusal = plan(&manifest, &files, &[shape((4 << 20) - 512)]).unwrap_err();
    assert!(
        matches!(refusal, Refusal::DiskTooSmall { missing: 512, .. }),
        "{refusal}"
    );
    assert!(refusal.is_about_disk_size());
    let mut raw = manifest.clone();
    let facts = &mut raw.streams[0].image;
    (facts.format, facts.block_size) = (ImageFormat::Raw, 1);
    facts.total_blocks = facts.device_size;
    check_manifest(&raw).unwrap();
    raw.streams[0].image.format = ImageFormat::Partimage06;
    assert_eq!(check_manifest(&raw).unwrap_err().code(), "format");
}

#[test]
fn several_disks_are_planned_together() {
    let (manifest, files) = samples::two_disks();
    check_manifest(&manifest).unwrap();
    let shapes = [shape(8 << 20), samples::SHAPE];
    let planned = plan(&manifest, &files, &shapes).unwrap();
    let numbers: Vec<u32> = planned.disks.iter().map(|disk| disk.which.number).collect();
    assert_eq!(numbers, [1, 2]);
    let places: Vec<_> = planned
        .written()
        .map(|place| place.which().to_string())
        .collect();
    assert_eq!(
        places,
        [
            "partition 1 of disk 1",
            "partition 2 of disk 1",
            "partition 1 of disk 2",
            "partition 2 of disk 2"
        ]
    );
    assert_eq!(plan_for_source(&manifest, &files).unwrap().warnings, []);
    // One that is too small, or missing, is named.
    for shapes in [
        [shape(3 << 20), shape(8 << 20)],
        [shape(8 << 20), shape(3 << 20)],
    ] {
        let small = shapes
            .iter()
            .position(|shape| shape.size == 3 << 20)
            .unwrap();
        let refusal = plan(&manifest, &files, &shapes).unwrap_err();
        assert_eq!(refusal.code(), "disk-too-small");
        assert!(refusal.is_about_disk_size());
        let name = format!("disk {}: ", small + 1);
        assert!(refusal.to_string().starts_with(&name), "{refusal}");
    }
    let refusal = plan(&manifest, &files, &shapes[..1]).unwrap_err();
    let is_missing = matches!(
        refusal,
        Refusal::Disks {
            needed: 2,
            found: 1
        }
    );
    assert!(is_missing, "{refusal}");
    let mut files = files;
    files.remove("d2.mbr");
    let refusal = plan(&manifest, &files, &shapes).unwrap_err();
    assert!(refusal.to_string().contains("d2.mbr"), "{refusal}");
}

/// An early Windows image: a reserved partition, and the system's.
fn early_windows() -> (Manifest, SmallFiles) {
    let (mut manifest, mut files) = (samples::manifest(), samples::small_files());
    manifest.image_type = ImageType::Resizable;
    manifest.os_id = 5;
    for (stream, name) in manifest
        .streams
        .iter_mut()
        .zip(["rec.img.000", "sys.img.000"])
    {
        stream.name = StreamName::of_file(name);
        stream.image.filesystem = "ntfs".into();
        stream.image.format = ImageFormat::Partimage06;
    }
    files.remove("d1.partitions");
    manifest.files.retain(|file| file.name == "d1.mbr");
    (manifest, files)
}

#[test]
fn the_last_partition_of_an_early_windows_image_fills_the_disk() {
    let (manifest, files) = early_windows();
    check_manifest(&manifest).unwrap();
    let planned = plan(&manifest, &files, &[shape(64 << 20)]).unwrap();
    let places: Vec<_> = planned
        .written()
        .map(|place| (place.partition.offset >> 20, place.partition.len >> 20))
        .collect();
    assert_eq!(places, [(1, 1), (2, 62)]);
    let names: Vec<_> = planned
        .streams
        .iter()
        .map(|s| s.partition().unwrap())
        .collect();
    assert_eq!(
        names,
        [1, 2].map(|number| WhichDisk::ONLY.partition(number))
    );
    assert_eq!(planned.streams[1].growth, Some(Growable::Ntfs));
    assert_eq!(planned.streams[0].growth, None);
    // The stream is all that the last partition needs.
    let mut shrunken = manifest.clone();
    let facts = &mut shrunken.streams[1].image;
    (facts.device_size, facts.total_blocks) = (1 << 20, 256);
    plan(&shrunken, &files, &[shape((3 << 20) + (512 << 10))]).unwrap();
    let refusal = plan(&manifest, &files, &[shape(3 << 20)]).unwrap_err();
    assert!(refusal.is_about_disk_size(), "{refusal}");
    plan_for_source(&manifest, &files).unwrap();
}

#[test]
fn an_early_windows_image_that_contradicts_itself_is_refused() {
    let (manifest, files) = early_windows();
    let named = |names: [&str; 2]| {
        let mut manifest = manifest.clone();
        for (stream, name) in manifest.streams.iter_mut().zip(names) {
            stream.name = StreamName::of_file(name);
        }
        check_manifest(&manifest).unwrap_err().code()
    };
    assert_eq!(named(["rec.img.001", "sys.img.000"]), "early-windows");
    assert_eq!(named(["rec.img.000", "rec.img.001"]), "early-windows");
    assert_eq!(named(["rec.img.000", "d1p2.img"]), "stream-name");
    let mut one = manifest.clone();
    one.streams.remove(0);
    check_manifest(&one).unwrap();
    let refusal = plan(&one, &files, &[shape(64 << 20)]).unwrap_err();
    let is_refused = matches!(
        refusal,
        Refusal::LegacyTable {
            partitions: 2,
            streams: 1
        }
    );
    assert!(is_refused, "{refusal}");
    for area in [None, Some(vec![0; 512]), Some(vec![0x55; 100])] {
        let mut files = files.clone();
        match area {
            Some(area) => files.insert("d1.mbr".into(), area),
            None => files.remove("d1.mbr"),
        };
        plan(&manifest, &files, &[shape(64 << 20)]).unwrap_err();
    }
    let mut single = manifest;
    single.image_type = ImageType::SingleDisk;
    assert_eq!(check_manifest(&single).unwrap_err().code(), "stream-name");
}

#[test]
fn scripts_that_are_not_run_are_said() {
    let mut manifest = samples::manifest();
    assert_eq!(scripts(&manifest, "x"), []);
    manifest.scripts = vec!["postdownloadscripts/fog.postdownload".into(); 9];
    let said = scripts(&manifest, "there is no bash");
    assert_eq!(said.len(), 4);
    let text = said[0].to_string();
    assert!(
        text.contains("fog.postdownload") && text.contains("there is no bash"),
        "{text}"
    );
}
