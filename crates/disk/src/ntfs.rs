//! NTFS keeps a copy of its boot sector that no image has.
//!
//! The copy lies behind the last cluster, so tools that store clusters leave it out. `mkntfs` puts it into
//! the last sector of the volume; `ntfsfix` looks for it, and writes it, in the last sector of the
//! partition, which is another one where the volume does not fill its partition.

use std::io;

/// Most octets that a boot sector has: NTFS knows sectors of 512 to 4096.
pub const NTFS_BOOT_LEN_MAX: usize = 4096;

/// The copies of an NTFS boot sector that belong on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootCopies {
    /// The boot sector.
    pub sector: Vec<u8>,
    /// Where copies go, in bytes from the start of the partition: the volume's last sector, and the
    /// partition's if that is another one.
    pub offsets: Vec<u64>,
    /// Bytes that the volume needs, this copy included.
    pub volume_len: u64,
}

/// Reads the first octets of a partition of `len` bytes, or of as many as its volume needs where it may
/// grow (`None`). `None` if they are no NTFS boot sector, or describe a volume that is larger than the
/// partition: then nothing may be written.
#[must_use]
pub fn boot_copies(first: &[u8], len: Option<u64>) -> Option<BootCopies> {
    let octets = |at: usize, count: usize| first.get(at..)?.get(..count);
    if octets(3, 8)? != b"NTFS    " || octets(510, 2)? != [0x55, 0xaa] {
        return None;
    }
    let sector = u16::from_le_bytes(octets(11, 2)?.try_into().ok()?);
    if !sector.is_power_of_two() || !(512..=4096).contains(&sector) {
        return None;
    }
    // Sectors of all clusters and of the rest behind them, without the copy.
    let count = u64::from_le_bytes(octets(40, 8)?.try_into().ok()?);
    let sector_len = u64::from(sector);
    let in_volume = count.checked_mul(sector_len).filter(|at| *at > 0)?;
    let volume_len = in_volume.checked_add(sector_len)?;
    let len = len.unwrap_or(volume_len);
    if volume_len > len {
        return None;
    }
    let mut offsets = vec![in_volume];
    let last = (len / sector_len - 1) * sector_len;
    if last != in_volume {
        offsets.push(last);
    }
    Some(BootCopies {
        sector: octets(0, sector.into())?.to_vec(),
        offsets,
        volume_len,
    })
}

/// Whether an NTFS has marks of the disk that it was captured from: it was in use (dirty), or has a list of bad sectors.
/// `read` fills a buffer from a place in bytes.
///
/// # Errors
/// Of `read`.
pub fn has_old_marks(
    read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Option<bool>> {
    let marks = ntfs_marks(read)?;
    Ok(marks.map(|marks| marks.is_dirty || marks.has_bad_clusters))
}

/// What an NTFS says of its own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtfsMarks {
    /// It is in use, or was not left in order: Windows wants to check it.
    pub is_dirty: bool,
    /// It has a list of places that cannot be read.
    pub has_bad_clusters: bool,
}

/// Reads the marks of an NTFS; `None` if what is there is none. `read` fills a buffer from a place in bytes.
///
/// # Errors
/// Of `read`.
pub fn ntfs_marks(
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Option<NtfsMarks>> {
    let mut boot = [0; 512];
    read(0, &mut boot)?;
    let Some((table, len)) = file_table(&boot) else {
        return Ok(None);
    };
    let mut record = |number: u64| -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; len];
        let Some(at) = table.checked_add(number * len as u64) else {
            return Ok(None);
        };
        read(at, &mut bytes)?;
        Ok(undo_fixups(&mut bytes).map(|()| bytes))
    };
    let (volume, bad) = (record(VOLUME)?, record(BAD_CLUSTERS)?);
    Ok(volume.zip(bad).and_then(|(volume, bad)| {
        Some(NtfsMarks {
            is_dirty: is_dirty(&volume)?,
            has_bad_clusters: has_bad_clusters(&bad)?,
        })
    }))
}

/// Where the table of files begins, in bytes, and how long each record of it is.
fn file_table(boot: &[u8]) -> Option<(u64, usize)> {
    boot_copies(boot, None)?;
    let sector = u64::from(u16_at(boot, 11)?);
    // More than 128 stands for a power of two.
    let cluster = match boot.get(13)? {
        count @ 1..=128 => sector * u64::from(*count),
        power => sector.checked_shl(u32::from(power.wrapping_neg()))?,
    };
    let table = u64::from_le_bytes(boot.get(48..56)?.try_into().ok()?);
    let len = match boot.get(64)?.cast_signed() {
        clusters @ 1.. => cluster.checked_mul(u64::from(clusters.unsigned_abs()))?,
        power => 1_u64.checked_shl(power.unsigned_abs().into())?,
    };
    let len = usize::try_from(len).ok();
    let len = len.filter(|len| (512..=RECORD_LEN_MAX).contains(len))?;
    Some((table.checked_mul(cluster)?, len))
}

/// Puts the octets back that give way to a number at the end of each 512 (the update sequence).
fn undo_fixups(record: &mut [u8]) -> Option<()> {
    if record.get(..4)? != b"FILE" {
        return None;
    }
    let (at, count) = (u16_at(record, 4)?, u16_at(record, 6)?);
    let sequence = record.get(usize::from(at)..)?;
    let sequence = sequence.get(..2 * usize::from(count))?.to_vec();
    for (number, octets) in sequence.chunks_exact(2).enumerate().skip(1) {
        record
            .get_mut(number * 512 - 2..number * 512)?
            .copy_from_slice(octets);
    }
    Some(())
}

/// The attributes of this type in a record.
fn attributes(record: &[u8], wanted: u32) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let mut at = usize::from(u16_at(record, 20)?);
    loop {
        let kind = u32_at(record, at)?;
        if kind == END {
            return Some(found);
        }
        let len = usize::try_from(u32_at(record, at + 4)?).ok()?;
        // Smaller than its own head, it would be read for ever.
        let attribute = record.get(at..)?.get(..len.max(ATTRIBUTE_HEAD))?;
        if len < ATTRIBUTE_HEAD {
            return None;
        }
        if kind == wanted {
            found.push(attribute);
        }
        at += len;
    }
}

fn is_dirty(volume: &[u8]) -> Option<bool> {
    let found = attributes(volume, VOLUME_INFORMATION)?;
    let attribute = found.first()?;
    let at = usize::from(u16_at(attribute, 20)?);
    Some(u16_at(attribute, at + 10)? & DIRTY != 0)
}

/// Its second stream maps bad clusters to themselves, and has one hole as long as the volume if there are none.
fn has_bad_clusters(file: &[u8]) -> Option<bool> {
    let is_mapped = |attribute: &&&[u8]| attribute.get(8) == Some(&1);
    let found = attributes(file, DATA)?;
    let stream = found.iter().find(is_mapped)?;
    let runs = stream.get(u16_at(stream, 32)?.into()..)?;
    let head = *runs.first()?;
    let next = runs.get(1 + usize::from(head & 0xf));
    let is_hole = head == 0 || (head >> 4 == 0 && next == Some(&0));
    Some(!is_hole)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*octets))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*octets))
}

/// Numbers of records.
const VOLUME: u64 = 3;
const BAD_CLUSTERS: u64 = 8;
/// Types of attributes.
const VOLUME_INFORMATION: u32 = 0x70;
const DATA: u32 = 0x80;
const END: u32 = u32::MAX;
/// Octets that every attribute has.
const ATTRIBUTE_HEAD: usize = 24;
const DIRTY: u16 = 1;
const RECORD_LEN_MAX: usize = 65_536;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn boot_sector(sector: u16, count: u64) -> Vec<u8> {
        let mut octets = vec![0; 4096];
        octets[3..11].copy_from_slice(b"NTFS    ");
        octets[11..13].copy_from_slice(&sector.to_le_bytes());
        octets[40..48].copy_from_slice(&count.to_le_bytes());
        octets[510..512].copy_from_slice(&[0x55, 0xaa]);
        octets
    }

    #[test]
    fn copies_go_to_the_last_sectors_of_volume_and_partition() {
        let offsets = |sector, count, len| {
            let copies = boot_copies(&boot_sector(sector, count), len)?;
            assert_eq!(copies.sector.len(), usize::from(sector));
            Some(copies.offsets)
        };
        let kib = |count: u64| Some(count << 10);
        assert_eq!(offsets(512, 99, kib(50)), Some(vec![99 * 512]));
        assert_eq!(offsets(512, 99, kib(51)), Some(vec![99 * 512, 101 * 512]));
        // Not even a partition of another number of sectors makes one cross its end.
        assert_eq!(offsets(4096, 9, kib(41)), Some(vec![9 * 4096]));
        assert_eq!(offsets(512, 99, None), Some(vec![99 * 512]));
        for (sector, count, len) in [
            (512, 100, kib(50)),
            (512, 0, kib(50)),
            (512, u64::MAX, kib(50)),
            (512, u64::MAX / 512, None),
            (1000, 9, kib(50)),
            (8192, 1, kib(50)),
        ] {
            assert_eq!(offsets(sector, count, len), None, "{sector} {count}");
        }
    }

    #[test]
    fn what_is_no_boot_sector_has_no_copy() {
        let good = boot_sector(512, 99);
        assert!(boot_copies(&good[..512], None).is_some());
        for at in [3, 10, 510, 511] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(boot_copies(&bad, None), None, "{at}");
        }
        for len in [0, 40, 511] {
            assert_eq!(boot_copies(&good[..len], None), None, "{len}");
        }
        assert_eq!(boot_copies(&boot_sector(4096, 9)[..512], None), None);
    }

    /// A record of 1024 octets with these attributes, as it is on a disk.
    fn record(attributes: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..4].copy_from_slice(b"FILE");
        // Numbers at the ends of both halves, and what they stand for.
        bytes[4..8].copy_from_slice(&[48, 0, 3, 0]);
        bytes[48..54].copy_from_slice(&[7, 0, 0, 0, 0, 0]);
        for end in [510, 1022] {
            bytes[end..end + 2].copy_from_slice(&[7, 0]);
        }
        bytes[20] = 56;
        let mut at = 56;
        for (kind, rest) in attributes {
            let len = (8 + rest.len()).next_multiple_of(8);
            bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
            bytes[at + 8..at + 8 + rest.len()].copy_from_slice(rest);
            at += len;
        }
        bytes[at..at + 4].copy_from_slice(&END.to_le_bytes());
        bytes
    }

    fn information(flags: u8) -> (u32, Vec<u8>) {
        let mut rest = vec![0; 28];
        rest[12] = 24;
        rest[26] = flags;
        (VOLUME_INFORMATION, rest)
    }

    fn stream(runs: &[u8]) -> (u32, Vec<u8>) {
        let mut rest = vec![0; 56];
        (rest[0], rest[24]) = (1, 64);
        rest.extend(runs);
        (DATA, rest)
    }

    fn volume(flags: u8, runs: &[u8]) -> Vec<u8> {
        let mut bytes = boot_sector(512, 200);
        bytes.resize(201 * 512, 0);
        // Clusters of 512 octets, the table in the fourth one, records of 1024 octets.
        (bytes[13], bytes[48], bytes[64]) = (1, 4, 246);
        for (number, content) in [
            (VOLUME, record(&[(0x10, vec![0; 40]), information(flags)])),
            (
                BAD_CLUSTERS,
                record(&[(DATA, vec![0; 16]), stream(runs), (0x90, vec![0; 16])]),
            ),
        ] {
            let at = 4 * 512 + usize::try_from(number).unwrap() * 1024;
            bytes[at..at + 1024].copy_from_slice(&content);
        }
        bytes
    }

    fn marks(volume: &[u8]) -> Option<bool> {
        let read = |at: u64, buffer: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            let found = volume.get(at..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        has_old_marks(read).ok().flatten()
    }

    #[test]
    fn marks_of_the_captured_disk_are_found() {
        let none: &[u8] = &[0x02, 0xc8, 0, 0];
        assert_eq!(marks(&volume(0, none)), Some(false));
        assert_eq!(marks(&volume(1, none)), Some(true));
        assert_eq!(marks(&volume(0x80, none)), Some(false));
        // Ten clusters of the hole are mapped.
        let some: &[u8] = &[0x01, 50, 0x11, 10, 50, 0x01, 140, 0];
        assert_eq!(marks(&volume(0, some)), Some(true));
        assert_eq!(marks(&boot_sector(512, 200)), None);
    }

    #[test]
    fn whatever_is_there_ends() {
        let good = volume(1, &[0x02, 0xc8, 0, 0]);
        for at in (0..64).chain(4 * 512..14 * 1024) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                if let Some(octet) = bad.get_mut(at) {
                    *octet = value;
                }
                marks(&bad);
            }
        }
    }
}
