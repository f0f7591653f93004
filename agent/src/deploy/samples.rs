//! A small image for tests: an MBR disk of 4 MiB with two partitions of file system blocks.

use std::collections::BTreeMap;

use deploy_plan::SmallFiles;
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{
    Compression, ImageFacts, ImageFormat, MANIFEST_VERSION, Manifest, SmallFile, StreamFacts,
};
use image_writer::Recipe;

/// Capacity of the image's disk in bytes.
pub(super) const DISK_LEN: u64 = 4 << 20;
const SECTOR: u64 = 512;
pub(super) const BLOCK: u32 = 4096;

/// Partitions: number, first sector, sectors.
pub(super) const PARTITIONS: [(u32, u64, u64); 2] = [(1, 2048, 2048), (2, 4096, 4096)];

/// Where partition `number` lies, in bytes.
pub(super) fn region(number: u32) -> std::ops::Range<usize> {
    let (_, start, len) = PARTITIONS.into_iter().find(|(n, ..)| *n == number).unwrap();
    let at = |sectors: u64| usize::try_from(sectors * SECTOR).unwrap();
    at(start)..at(start + len)
}

/// Sector 0 with boot code of `0x90` and the two partitions.
pub(super) fn mbr() -> Vec<u8> {
    let mut sector = vec![0x90; 512];
    sector[440..510].fill(0);
    sector[440..444].copy_from_slice(&0x1234_5678_u32.to_le_bytes());
    for (number, start, len) in PARTITIONS {
        let at = 446 + 16 * usize::try_from(number - 1).unwrap();
        sector[at + 4] = 0x83;
        for (offset, value) in [(8, start), (12, len)] {
            let value = u32::try_from(value).unwrap();
            sector[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// What `sfdisk -d` says of it.
pub(super) fn dump() -> String {
    let mut text = "label: dos\nlabel-id: 0x12345678\ndevice: /dev/sda\nunit: sectors\n\
                    sector-size: 512\n\n"
        .to_owned();
    for (number, start, len) in PARTITIONS {
        text.push_str(&format!(
            "/dev/sda{number} : start={start:12}, size={len:12}, type=83\n"
        ));
    }
    text
}

pub(super) fn small_files() -> SmallFiles {
    BTreeMap::from([
        ("d1.mbr".to_owned(), mbr()),
        ("d1.partitions".to_owned(), dump().into_bytes()),
    ])
}

/// Blocks of the file system in partition `number`: every third is free.
fn used_blocks(number: u32) -> Vec<bool> {
    let len = region(number).len() / usize::try_from(BLOCK).unwrap();
    (0..len).map(|block| block % 3 != 2).collect()
}

/// The bytes of a used block.
pub(super) fn block(number: u32, block: u64) -> Vec<u8> {
    let seed = u64::from(number) * 1000 + block;
    (0..BLOCK)
        .map(|i| (seed * 31 + u64::from(i) * 7).to_le_bytes()[0])
        .collect()
}

/// The stored stream of partition `number`: uncompressed partclone with CRC-32.
pub(super) fn stored(number: u32) -> Vec<u8> {
    Recipe::v2(BLOCK, used_blocks(number)).write(|at| block(number, at))
}

/// What partition `number` holds after a restore onto a disk of zeroes.
pub(super) fn restored(number: u32) -> Vec<u8> {
    (0_u64..)
        .zip(used_blocks(number))
        .flat_map(|(at, is_used)| {
            if is_used {
                block(number, at)
            } else {
                vec![0; usize::try_from(BLOCK).unwrap()]
            }
        })
        .collect()
}

/// The same image with a swap space in place of its second partition.
pub(super) fn with_swap(swap_uuids: Option<&str>) -> (Manifest, SmallFiles) {
    let mut manifest = manifest();
    manifest.streams.pop();
    let mut files = small_files();
    let mut sector = mbr();
    sector[446 + 16 + 4] = 0x82;
    files.insert("d1.mbr".into(), sector);
    let dump = dump();
    let at = dump.rfind("type=83").unwrap();
    files.insert(
        "d1.partitions".into(),
        format!("{}type=82\n", &dump[..at]).into_bytes(),
    );
    if let Some(text) = swap_uuids {
        files.insert("d1.original.swapuuids".into(), text.into());
    }
    (manifest, files)
}

/// The manifest of both partitions.
pub(super) fn manifest() -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        image_id: 7,
        image_name: "lab".into(),
        image_path: "lab".into(),
        image_type: ImageType::SingleDisk,
        os_id: 50,
        scripts: Vec::new(),
        files: small_files()
            .iter()
            .map(|(name, bytes)| SmallFile {
                name: name.clone(),
                len: bytes.len() as u64,
                blake3: None,
            })
            .collect(),
        streams: PARTITIONS
            .iter()
            .map(|(number, ..)| facts(*number))
            .collect(),
    }
}

pub(super) fn facts(number: u32) -> StreamFacts {
    let stored = stored(number);
    let used = used_blocks(number);
    StreamFacts {
        name: StreamName::of_file(&format!("d1p{number}.img")),
        stored_len: stored.len() as u64,
        blake3: blake3::hash(&stored).into(),
        image: ImageFacts {
            format: ImageFormat::Partclone0002,
            compression: Compression::Plain,
            filesystem: "raw".into(),
            device_size: region(number).len() as u64,
            block_size: BLOCK,
            total_blocks: used.len() as u64,
            used_blocks: Some(used.iter().filter(|used| **used).count() as u64),
        },
    }
}

/// What a shell command prints, which must succeed.
#[track_caller]
pub(super) fn sh(line: &str) -> String {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", line])
        .env("PATH", path)
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    said
}
