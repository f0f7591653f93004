//! Boot area files of images, made from dumps.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use disk::{Dump, DumpLabel, DumpPartition};

/// Sectors of the copy of a GPT at the end of a disk with such sectors.
fn copy_sectors(sector: u64) -> u64 {
    (128 * 128_u64).div_ceil(sector) + 1
}

/// `d1.mbr` of a disk with this table, as a capture saves it.
///
/// # Panics
/// The dump's figures are no table's.
#[must_use]
pub fn boot_area(dump: &Dump) -> Vec<u8> {
    match dump.label {
        Some(DumpLabel::Gpt) => gpt_backup(dump),
        Some(DumpLabel::Dos) | None => mbr(dump),
    }
}

fn mbr(dump: &Dump) -> Vec<u8> {
    let mut sector = vec![0x90; 440];
    sector.resize(512, 0);
    let id = dump.label_id.as_deref().unwrap_or("0x12345678");
    let id = u32::from_str_radix(id.trim_start_matches("0x"), 16).unwrap();
    sector[440..444].copy_from_slice(&id.to_le_bytes());
    let used = dump
        .partitions
        .iter()
        .filter(|p| p.number <= 4 && p.size > 0);
    for partition in used {
        let slot = usize::try_from(partition.number).unwrap() - 1;
        let entry = &mut sector[446 + 16 * slot..][..16];
        entry[0] = if partition.is_bootable { 0x80 } else { 0 };
        entry[4] = partition.mbr_kind().unwrap();
        entry[8..12].copy_from_slice(&u32::try_from(partition.start).unwrap().to_le_bytes());
        entry[12..].copy_from_slice(&u32::try_from(partition.size).unwrap().to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// As gdisk writes it: protective MBR, both headers, entries.
fn gpt_backup(dump: &Dump) -> Vec<u8> {
    let sector = u64::from(dump.sector_size.unwrap_or(512));
    let ends = dump.partitions.iter().map(|p| p.start + p.size);
    let last_usable = dump.last_lba.unwrap_or_else(|| ends.max().unwrap());
    let last = last_usable + copy_sectors(sector);
    let first_usable = dump.first_lba.unwrap_or(34);
    let mut entries = vec![0; 128 * 128];
    for partition in &dump.partitions {
        let at = 128 * (usize::try_from(partition.number).unwrap() - 1);
        entries[at..at + 128].copy_from_slice(&entry(partition));
    }
    let id = dump
        .label_id
        .as_deref()
        .and_then(|id| uuid::Uuid::try_parse(id).ok());
    let header = |own: u64, other: u64, entries_lba: u64| {
        let mut bytes = b"EFI PART\0\0\x01\0\x5c\0\0\0".to_vec();
        bytes.extend([0; 8]);
        for lba in [own, other, first_usable, last_usable] {
            bytes.extend(lba.to_le_bytes());
        }
        bytes.extend(id.unwrap_or_default().to_bytes_le());
        bytes.extend(entries_lba.to_le_bytes());
        for number in [128, 128, crc32fast::hash(&entries)] {
            bytes.extend(number.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(512, 0);
        bytes
    };
    let mut bytes = vec![0; 446];
    bytes.extend([
        0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
    ]);
    bytes.resize(510, 0);
    bytes.extend([0x55, 0xaa]);
    bytes.extend(header(1, last, 2));
    bytes.extend(header(last, 1, last + 1 - copy_sectors(sector)));
    bytes.extend(entries);
    bytes
}

fn entry(partition: &DumpPartition) -> Vec<u8> {
    let number = u128::from(partition.number);
    let guid = partition
        .uuid
        .unwrap_or_else(|| uuid::Uuid::from_u128(number));
    let mut bytes = partition.gpt_kind().unwrap().to_bytes_le().to_vec();
    bytes.extend(guid.to_bytes_le());
    bytes.extend(partition.start.to_le_bytes());
    bytes.extend((partition.start + partition.size - 1).to_le_bytes());
    let attributes = partition.attrs.as_deref().map_or(0, attribute_bits);
    bytes.extend(attributes.to_le_bytes());
    for unit in partition.name.as_deref().unwrap_or_default().encode_utf16() {
        bytes.extend(unit.to_le_bytes());
    }
    bytes.resize(128, 0);
    bytes
}

/// Of sfdisk's words.
fn attribute_bits(words: &str) -> u64 {
    words.split_whitespace().fold(0, |bits, word| {
        bits | match word {
            "RequiredPartition" => 1,
            "NoBlockIOProtocol" => 2,
            "LegacyBIOSBootable" => 4,
            word => {
                let numbers = word.strip_prefix("GUID:").unwrap().split(',');
                numbers.fold(0, |bits, bit| bits | 1 << bit.parse::<u32>().unwrap())
            }
        }
    })
}
