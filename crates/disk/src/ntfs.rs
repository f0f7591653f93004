//! NTFS keeps a copy of its boot sector that no image has.
//!
//! The copy lies behind the last cluster, so tools that store clusters leave it out. `mkntfs` puts it into
//! the last sector of the volume; `ntfsfix` looks for it, and writes it, in the last sector of the
//! partition, which is another one where the volume does not fill its partition.

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
}
