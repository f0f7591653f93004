//! Whole images, planned for disks: what a deploy would write is on the disks, and apart.

use deploy_plan::{Destination, SmallFiles, Step};
use disk::Shape;
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{Compression, ImageFacts, MANIFEST_VERSION, Manifest, SmallFile, StreamFacts};

use super::feed::Feed;

const NAMES: [&str; 10] = [
    "d1p1.img",
    "d1p2.img",
    "d1p5.img",
    "d2p1.img",
    "d2p2.img",
    "d3p1.img",
    "sys.img.000",
    "rec.img.000",
    "rec.img.001",
    "whole.000",
];

/// Any image of any type, on disks of any size.
pub fn deploy_plan(data: &[u8]) {
    let mut feed = Feed(data);
    let mut files = SmallFiles::new();
    for disk in 1..=3 {
        small_files(&mut feed, disk, &mut files);
    }
    let manifest = manifest(&mut feed, &files);
    let shown = deploy_plan::plan_for_source(&manifest, &files).map_err(|error| error.to_string());
    if deploy_plan::check_manifest(&manifest).is_err() {
        assert!(shown.is_err(), "only one of both refuses it");
        return;
    }
    let numbers = deploy_plan::image_disks(&manifest).expect("the manifest was good");
    drop(deploy_plan::recorded_sizes(&numbers, &files));
    let shapes: Vec<Shape> = numbers
        .iter()
        .map(|_| Shape {
            size: (u64::from(feed.u32()) * 512) >> (feed.byte() % 20),
            logical_sector: feed.one_of(&[512, 512, 4096]),
        })
        .collect();
    let Ok(plan) = deploy_plan::plan(&manifest, &files, &shapes) else {
        return;
    };
    assert_eq!(plan.streams.len(), manifest.streams.len());
    let mut places = Vec::new();
    for stream in &plan.streams {
        let (disk, offset, len) = match stream.destination {
            Destination::Partition { which, offset, len }
            | Destination::Volume {
                which, offset, len, ..
            } => (which.disk, offset, len),
            Destination::Disk { which, len } => (which, 0, len),
            Destination::Nowhere => continue,
        };
        let end = offset.checked_add(len).expect("an end of a place");
        assert!(end <= shapes[disk.index].size, "{stream:?} leaves the disk");
        assert!(len >= stream.facts.device_size, "{stream:?} is cut");
        places.push((disk.index, offset, end));
    }
    places.sort_unstable();
    let overlap = places
        .windows(2)
        .find(|two| two[0].0 == two[1].0 && two[1].1 < two[0].2);
    assert_eq!(overlap, None, "two streams share sectors");
    let steps: Vec<Step<'_>> = plan.steps().collect();
    let texts = steps.iter().map(ToString::to_string);
    let warnings = plan.warnings.iter().map(ToString::to_string);
    assert!(texts.chain(warnings).all(|text| !text.is_empty()));
    let (first, last) = steps.split_at(shapes.len());
    let last = &last[last.len() - shapes.len()..];
    assert!(first.iter().all(|step| matches!(step, Step::Clear(_))));
    assert!(last.iter().all(|step| matches!(step, Step::Table(_))));
}

/// An MBR and a dump that may agree, sizes, and lists.
fn small_files(feed: &mut Feed<'_>, disk: u32, files: &mut SmallFiles) {
    let has = feed.byte();
    let mut put = |name: &str, bytes: Vec<u8>| files.insert(format!("d{disk}.{name}"), bytes);
    let mut sector = vec![0; 512];
    let mut dump = "label: dos\nunit: sectors\n\n".to_owned();
    let mut start = u32::from(feed.byte()) * 16;
    for number in 1..=feed.number() % 5 {
        let (size, kind) = (u32::from(feed.u16()), feed.one_of(&[7_u8, 0x83, 0x82, 5]));
        let at = 446 + 16 * usize::try_from(number - 1).expect("at most 4");
        sector[at + 4] = kind;
        sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&size.to_le_bytes());
        dump.push_str(&format!(
            "/dev/sda{number} : start={start}, size={size}, type={kind:x}\n"
        ));
        start = start.saturating_add(size + u32::from(feed.byte()));
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    if has & 1 == 0 {
        put("mbr", sector);
    }
    if has & 2 == 0 {
        put("partitions", dump.into_bytes());
    }
    if has & 4 != 0 {
        put("size", feed.bytes(24).to_vec());
    }
    if has & 8 != 0 {
        put("fixed_size_partitions", feed.bytes(8).to_vec());
    }
    if has & 16 != 0 {
        put("original.swapuuids", feed.bytes(64).to_vec());
    }
}

fn manifest(feed: &mut Feed<'_>, files: &SmallFiles) -> Manifest {
    let streams = 0..feed.number() % 6;
    let listed = files.iter().map(|(name, bytes)| SmallFile {
        name: name.clone(),
        len: bytes.len() as u64,
        blake3: None,
    });
    Manifest {
        version: MANIFEST_VERSION,
        image_id: 1,
        image_name: "x".into(),
        image_path: "x".into(),
        image_type: feed.one_of(&[
            ImageType::Resizable,
            ImageType::SingleDisk,
            ImageType::AllDisks,
            ImageType::Raw,
        ]),
        os_id: feed.one_of(&[5, 9, 50, 99]),
        scripts: Vec::new(),
        files: listed.collect(),
        streams: streams.map(|_| stream(feed)).collect(),
    }
}

fn stream(feed: &mut Feed<'_>) -> StreamFacts {
    let block_size = feed.one_of(&[512, 4096, 1]);
    let total_blocks = u64::from(feed.u16());
    let more = u64::from(feed.byte());
    StreamFacts {
        name: StreamName::of_file(feed.one_of(&NAMES)),
        stored_len: u64::from(feed.byte()) + 1,
        blake3: "00".repeat(32).parse().expect("64 digits"),
        image: ImageFacts {
            format: feed.one_of(&FORMATS).into(),
            compression: Compression::Zstd,
            filesystem: feed.one_of(&["NTFS", "EXTFS", "raw", ""]).to_owned(),
            device_size: total_blocks
                .saturating_mul(u64::from(block_size))
                .saturating_add(more),
            block_size,
            total_blocks,
            used_blocks: feed.flag().then_some(total_blocks),
        },
    }
}

const FORMATS: [&str; 5] = [
    "partclone 0002",
    "partclone 0001",
    "partimage 0.6",
    "raw",
    "unknown",
];
