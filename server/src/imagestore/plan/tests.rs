use std::path::Path;

use fog::store::StreamName;
use fos_api::{Compression, ImageFacts, ImageFormat, StreamFacts};

use super::super::scan::scan;
use super::super::scan::tests::directory;
use super::*;

/// An image of a GPT disk of 64 MiB with partitions of 8, 20 and 16 MiB.
const GPT: &[u8] = include_bytes!("../testdata/gpt.mbr.zst");
/// The same with partitions that share sectors, checksums right.
const OVERLAPPING: &[u8] = include_bytes!("../testdata/overlapping.mbr.zst");
/// The first sectors of that disk, as `dd` copies them, in place of a backup by gdisk.
const SECTORS: &[u8] = include_bytes!("../testdata/sectors.mbr.zst");

const GPT_DUMP: &str = "label: gpt\n\
    label-id: 0656B3FF-124F-4C4F-B14B-80D8A5B90A29\n\
    device: /dev/sda\nunit: sectors\nfirst-lba: 34\nlast-lba: 131038\nsector-size: 512\n\n\
    /dev/sda1 : start= 2048, size= 16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=8EF97D36-C0F1-40FA-9F88-7DCFED2F0780\n\
    /dev/sda2 : start= 18432, size= 40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=CD12F757-5215-44D1-9DAD-B61201002820\n\
    /dev/sda3 : start= 59392, size= 32768, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=54BD1C8B-E1F1-4CAC-B689-5765AF755F42\n";

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    zstd::decode_all(bytes).unwrap()
}

/// An MBR with these partitions: kind, start, sectors.
pub(crate) fn mbr(partitions: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (entry, (kind, start, size)) in sector[446..510].chunks_mut(16).zip(partitions) {
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&size.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// An image in a directory; its streams are only spoken of.
struct Case {
    files: Vec<(&'static str, Vec<u8>)>,
    image_type: ImageType,
    os_id: i64,
    format: ImageFormat,
    device_size: u64,
    missing: MissingStreams,
}

impl Case {
    fn gpt() -> Self {
        Self {
            files: vec![
                ("d1.mbr", unpacked(GPT)),
                ("d1.partitions", GPT_DUMP.into()),
                ("d1p1.img", b"x".into()),
                ("d1p2.img", b"x".into()),
                ("d1p3.img", b"x".into()),
            ],
            image_type: ImageType::SingleDisk,
            os_id: 50,
            format: ImageFormat::Partclone0002,
            device_size: 8 << 20,
            missing: MissingStreams::Refuse,
        }
    }

    fn with(mut self, name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.retain(|(other, _)| *other != name);
        self.files.push((name, bytes.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.files.retain(|(other, _)| *other != name);
        self
    }

    fn of_type(mut self, image_type: ImageType) -> Self {
        self.image_type = image_type;
        self
    }

    fn check(&self) -> Result<Vec<Warning>, PlanRefused> {
        let files: Vec<(&str, &[u8])> = self
            .files
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice()))
            .collect();
        let root = directory(&files);
        let listing = listed(root.path(), self.image_type, self.os_id);
        let small = self
            .files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
            .collect();
        let streams = listing.streams.iter().map(|stream| StreamFacts {
            name: StreamName::of_file(stream.name.as_str()),
            stored_len: 1,
            blake3: "ab".repeat(32).parse().unwrap(),
            image: ImageFacts {
                format: self.format.clone(),
                compression: Compression::Zstd,
                filesystem: "EXTFS".into(),
                device_size: self.device_size,
                block_size: 4096,
                total_blocks: 1,
                used_blocks: None,
            },
        });
        let inspection = Inspection {
            streams: streams.collect(),
            files: listing.files.clone(),
            small,
            format: 5,
        };
        check_plan(&listing, &inspection, self.missing)
    }

    #[track_caller]
    fn good(&self) -> Vec<Warning> {
        self.check().unwrap()
    }

    #[track_caller]
    fn refused(&self) -> Refusal {
        match self.check().unwrap_err() {
            PlanRefused::Client(refusal) => refusal,
            other => panic!("{other}"),
        }
    }
}

fn listed(root: &Path, image_type: ImageType, os_id: i64) -> Listing {
    scan(root, "img", image_type, os_id).unwrap()
}

#[test]
fn a_good_image_has_no_warnings() {
    assert_eq!(Case::gpt().good(), []);
    assert_eq!(Case::gpt().of_type(ImageType::Resizable).good(), []);
}

#[test]
fn a_table_that_clients_would_refuse_is_refused_with_their_text() {
    let good = unpacked(GPT);
    let mut flipped = good.clone();
    flipped[1600] ^= 0xff;
    for (mbr, expected) in [
        (flipped, "the checksum of the partition entries is"),
        (good[..9000].to_vec(), "it ends after 9000 bytes"),
        (unpacked(SECTORS), "the backup header is none"),
        (vec![0; 512], "does not belong to dN.mbr"),
        (b"x".to_vec(), "at least 512 are needed"),
    ] {
        for image_type in [ImageType::SingleDisk, ImageType::Resizable] {
            let case = Case::gpt().with("d1.mbr", mbr.clone()).of_type(image_type);
            let refusal = case.refused();
            assert!(matches!(refusal, Refusal::BadTable(_)), "{refusal}");
            let text = case.check().unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains(&refusal.to_string()), "{text}");
        }
    }
}

#[test]
fn partitions_that_overlap_are_refused_unless_they_are_laid_out_anew() {
    let overlapping = || Case::gpt().with("d1.mbr", unpacked(OVERLAPPING));
    let text = overlapping().refused().to_string();
    assert!(
        text.contains("partitions 2 and 3 of the image overlap"),
        "{text}"
    );
    // The dump has them side by side, and that is what counts then.
    overlapping().of_type(ImageType::Resizable).good();
}

#[test]
fn lists_that_clients_cannot_read_are_refused() {
    let fixed = Case::gpt().with("d1.fixed_size_partitions", "\u{feff}:1:2\n");
    let text = fixed.of_type(ImageType::Resizable).refused().to_string();
    assert!(text.contains("d1.fixed_size_partitions"), "{text}");
    // What is not read need not be right.
    let fixed = Case::gpt().with("d1.fixed_size_partitions", "\u{feff}:1:2\n");
    assert_eq!(fixed.good(), []);

    let swap = "\u{feff}3 11111111-2222-3333-4444-555555555555\n";
    for image_type in [ImageType::SingleDisk, ImageType::Resizable] {
        let swap = Case::gpt().with("d1.original.swapuuids", swap);
        let text = swap.of_type(image_type).refused().to_string();
        assert!(text.contains("swapuuids"), "{text}");
    }

    let mut latin1 = GPT_DUMP.as_bytes().to_vec();
    latin1.truncate(latin1.len() - 1);
    latin1.extend_from_slice(b", name=\"B\xfcro\"\n");
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend(GPT_DUMP.encode_utf16().flat_map(u16::to_le_bytes));
    for dump in [latin1, utf16] {
        let refusal = Case::gpt().with("d1.partitions", dump).refused();
        match refusal {
            Refusal::NotText { name, .. } => assert_eq!(name, "d1.partitions"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_resizable_image_needs_an_operating_system_that_is_resized() {
    let mut case = Case::gpt().of_type(ImageType::Resizable);
    case.os_id = 99;
    assert!(matches!(case.refused(), Refusal::OsId { os_id: 99 }));
    case.image_type = ImageType::SingleDisk;
    assert_eq!(case.good(), []);
}

#[test]
fn unused_entries_of_an_old_dump_are_no_partitions() {
    let dump = "# partition table of /dev/sda\nunit: sectors\n\n\
        /dev/sda1 : start=       63, size=    80262, Id=83, bootable\n\
        /dev/sda2 : start=        0, size=        0, Id= 0\n\
        /dev/sda3 : start=        0, size=        0, Id= 0\n\
        /dev/sda4 : start=        0, size=        0, Id= 0\n";
    for image_type in [
        ImageType::SingleDisk,
        ImageType::AllDisks,
        ImageType::Resizable,
    ] {
        let case = Case::gpt()
            .without("d1p2.img")
            .without("d1p3.img")
            .with("d1.mbr", mbr(&[(0x83, 63, 80262)]))
            .with("d1.partitions", dump)
            .of_type(image_type);
        assert_eq!(case.good(), []);
    }
}

#[test]
fn a_stream_larger_than_its_partition_is_refused() {
    for image_type in [ImageType::SingleDisk, ImageType::Resizable] {
        let mut case = Case::gpt().of_type(image_type);
        case.device_size = (2 << 30) + (400 << 20);
        let text = case.refused().to_string();
        assert!(
            text.contains("partition 1 has") && text.contains("needs 2.6 GB")
                || text.contains("partition 1 has 8.4 MB") && text.contains("of 2.6 GB"),
            "{text}"
        );
    }
    // After shrinking, a partition of type n is only as large as its file system needs.
    let shrunk = GPT_DUMP.replace("size= 40960", "size= 20480");
    let mut case = Case::gpt()
        .of_type(ImageType::Resizable)
        .with("d1.minimum.partitions", shrunk)
        .without("d1p1.img")
        .without("d1p3.img");
    case.missing = MissingStreams::Allow;
    case.device_size = 20480 * 512;
    case.good();
}

#[test]
fn a_partition_without_a_stream_is_refused_or_allowed() {
    let mut case = Case::gpt().without("d1p2.img");
    let error = case.check().unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("partition 2 of disk 1 (Linux file system, 21.0 MB)"),
        "{text}"
    );
    let PlanRefused::Missing(missing) = error else {
        panic!("{text}");
    };
    assert_eq!(missing.len(), 1);
    case.missing = MissingStreams::Allow;
    assert_eq!(case.good(), [Warning::Missing(missing[0])]);
    // A number that no table has is another matter.
    let stranger = Case::gpt().with("d1p4.img", "x");
    assert!(matches!(
        stranger.refused(),
        Refusal::NoPartition { number: 4, .. }
    ));
}

#[test]
fn partimage_images_are_planned_like_others() {
    let mut partimage = Case::gpt();
    partimage.format = ImageFormat::Partimage06;
    assert_eq!(partimage.good(), []);
    let partimage = partimage.with("d1.mbr", unpacked(OVERLAPPING));
    assert!(matches!(partimage.refused(), Refusal::BadTable(_)));
}

#[test]
fn an_early_windows_image_needs_its_boot_area() {
    let legacy = || {
        let mut case = Case::gpt().of_type(ImageType::Resizable);
        case.os_id = 5;
        case.files = vec![("sys.img.000", b"x".into()), ("rec.img.000", b"x".into())];
        case
    };
    let warnings = legacy().good();
    assert_eq!(warnings, [Warning::NoBootArea]);
    assert!(warnings[0].to_string().contains("d1.mbr"));
    let two = [(7, 2048, 16384), (7, 18432, 40960)];
    assert_eq!(legacy().with("d1.mbr", mbr(&two)).good(), []);
    let refusal = legacy().with("d1.mbr", mbr(&two[..1])).refused();
    assert!(
        matches!(
            refusal,
            Refusal::LegacyTable {
                partitions: 1,
                streams: 2
            }
        ),
        "{refusal}"
    );
}

#[test]
fn every_disk_of_an_image_of_several_is_planned() {
    let all = || Case::gpt().of_type(ImageType::AllDisks);
    assert_eq!(all().good(), []);
    let mut bare = all().without("d1p2.img");
    assert!(matches!(bare.check(), Err(PlanRefused::Missing(_))));
    bare.missing = MissingStreams::Allow;
    assert_eq!(bare.good().len(), 1);
    let stranger = all().with("d1p7.img", "x").refused();
    assert!(matches!(stranger, Refusal::NoPartition { number: 7, .. }));
    let mut large = all();
    large.device_size = 180 << 20;
    let text = large.refused().to_string();
    assert!(text.contains("partition 1 has 8.4 MB"), "{text}");

    let mut flipped = unpacked(GPT);
    flipped[1600] ^= 0xff;
    let second = all()
        .with("d2.mbr", flipped)
        .with("d2.partitions", GPT_DUMP)
        .with("d2p1.img", "x")
        .with("d2p2.img", "x")
        .with("d2p3.img", "x");
    let text = second.refused().to_string();
    assert!(
        text.starts_with("disk 2: ") && text.contains("checksum"),
        "{text}"
    );
    let mut good = second.with("d2.mbr", unpacked(GPT));
    assert_eq!(good.good(), []);
    good = good.without("d2p3.img");
    let text = good.check().unwrap_err().to_string();
    assert!(text.contains("partition 3 of disk 2"), "{text}");
    let size = all().with("d1.size", "2:1000\n").check();
    assert!(size.is_err(), "it is that of another disk");
}

#[test]
fn hints_are_given() {
    let shrunk = Case::gpt().with("d1.minimum.partitions", GPT_DUMP);
    let warnings = shrunk.good();
    assert_eq!(
        warnings,
        [Warning::Shrunk {
            file: "d1.minimum.partitions".into()
        }]
    );
    assert!(warnings[0].to_string().contains("--type n"));
    let fitted = Case::gpt()
        .with("d1.minimum.partitions", GPT_DUMP)
        .of_type(ImageType::Resizable);
    assert_eq!(fitted.good(), []);

    let mut many = Case::gpt();
    for name in [
        "a", "b", "c", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
        "t", "u", "v", "w",
    ] {
        many = many.with(name, "");
    }
    let warnings = many.good();
    let text = warnings[0].to_string();
    assert!(text.ends_with("s, t, u and 2 more"), "{text}");
}
