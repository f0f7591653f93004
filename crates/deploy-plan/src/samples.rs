//! The description of a small image: an MBR disk of 4 MiB with two partitions.

use disk::Shape;
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{
    Compression, ImageFacts, ImageFormat, MANIFEST_VERSION, Manifest, SmallFile, StreamFacts,
};

use crate::SmallFiles;

pub(crate) const SHAPE: Shape = Shape {
    size: 4 << 20,
    logical_sector: 512,
};

/// Number, first sector, sectors.
const PARTITIONS: [(u32, u64, u64); 2] = [(1, 2048, 2048), (2, 4096, 4096)];

/// Sector 0 with boot code of `0x90` and the two partitions of these types.
pub(crate) fn mbr(kinds: [u8; 2]) -> Vec<u8> {
    let mut sector = vec![0x90; 512];
    sector[440..510].fill(0);
    for ((number, start, len), kind) in PARTITIONS.into_iter().zip(kinds) {
        let at = 446 + 16 * usize::try_from(number - 1).unwrap();
        sector[at + 4] = kind;
        for (offset, value) in [(8, start), (12, len)] {
            let value = u32::try_from(value).unwrap();
            sector[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// What `sfdisk -d` says of it.
pub(crate) fn dump(kinds: [u8; 2]) -> String {
    let mut text = "label: dos\nlabel-id: 0x12345678\ndevice: /dev/sda\nunit: sectors\n\
                    sector-size: 512\n\n"
        .to_owned();
    for ((number, start, len), kind) in PARTITIONS.into_iter().zip(kinds) {
        text.push_str(&format!(
            "/dev/sda{number} : start={start:12}, size={len:12}, type={kind:x}\n"
        ));
    }
    text
}

fn files_of(kinds: [u8; 2]) -> SmallFiles {
    SmallFiles::from([
        ("d1.mbr".to_owned(), mbr(kinds)),
        ("d1.partitions".to_owned(), dump(kinds).into_bytes()),
    ])
}

pub(crate) fn small_files() -> SmallFiles {
    files_of([0x83; 2])
}

/// The same image with a swap space in place of its second partition.
pub(crate) fn with_swap(swap_uuids: Option<&str>) -> (Manifest, SmallFiles) {
    let mut manifest = manifest();
    manifest.streams.pop();
    let mut files = files_of([0x83, 0x82]);
    if let Some(text) = swap_uuids {
        files.insert("d1.original.swapuuids".into(), text.into());
    }
    (manifest, files)
}

/// Two such disks.
pub(crate) fn two_disks() -> (Manifest, SmallFiles) {
    let (mut manifest, mut files) = (manifest(), small_files());
    manifest.image_type = ImageType::AllDisks;
    for (name, bytes) in small_files() {
        files.insert(name.replacen("d1", "d2", 1), bytes);
    }
    let second: Vec<_> = manifest.streams.clone();
    let second = second.into_iter().map(|stream| StreamFacts {
        name: StreamName::of_file(&stream.name.as_str().replacen("d1", "d2", 1)),
        ..stream
    });
    manifest.streams.extend(second);
    manifest.files = listed(&files);
    (manifest, files)
}

fn listed(files: &SmallFiles) -> Vec<SmallFile> {
    let files = files.iter().map(|(name, bytes)| SmallFile {
        name: name.clone(),
        len: bytes.len() as u64,
        blake3: None,
    });
    files.collect()
}

/// The image of such a disk as a whole.
pub(crate) fn whole_disk() -> Manifest {
    let mut manifest = manifest();
    manifest.image_type = ImageType::Raw;
    manifest.files.clear();
    manifest.streams.truncate(1);
    let stream = &mut manifest.streams[0];
    stream.name = StreamName::of_file("lab.000");
    stream.image.filesystem = "raw".into();
    stream.image.device_size = SHAPE.size;
    stream.image.block_size = 512;
    stream.image.total_blocks = SHAPE.size / 512;
    manifest
}

/// The manifest of both partitions.
pub(crate) fn manifest() -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        image_id: 7,
        image_name: "lab".into(),
        image_path: "lab".into(),
        image_type: ImageType::SingleDisk,
        os_id: 50,
        scripts: Vec::new(),
        files: listed(&small_files()),
        streams: PARTITIONS
            .iter()
            .map(|&(number, _, len)| StreamFacts {
                name: StreamName::of_file(&format!("d1p{number}.img")),
                stored_len: 1000,
                blake3: "ab".repeat(32).parse().unwrap(),
                image: ImageFacts {
                    format: ImageFormat::Partclone0002,
                    compression: Compression::Plain,
                    filesystem: "EXTFS".into(),
                    device_size: len * 512,
                    block_size: 4096,
                    total_blocks: len / 8,
                    used_blocks: None,
                },
            })
            .collect(),
    }
}
