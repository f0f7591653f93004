//! What a disk is part of, or holds without a partition table: labels of RAID, LVM, ZFS, encryption and file systems.
//!
//! For people, before such a disk is overwritten, and for disks that are named by the UUID of their file system. It
//! is not needed for overwriting: [`label_ranges`](fn@crate::label_ranges) are zeroed whatever they hold. Offsets are
//! those of the formats' own headers; `blkid -p` finds the same.

use std::fmt;

use uuid::Uuid;

use crate::table::{PlanError, Shape, read_table};

/// A label on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLabel {
    /// What it is.
    pub kind: LabelKind,
    /// Number of the partition that it is on; `None` if it is the disk's own.
    pub partition: Option<u32>,
    /// As `blkid` prints it.
    pub uuid: Option<String>,
}

/// Kinds of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// Linux software RAID.
    LinuxRaid,
    /// RAID of a firmware, by the name of its format.
    FirmwareRaid(&'static str),
    /// A physical volume of LVM.
    Lvm,
    /// A member of a ZFS pool.
    Zfs,
    /// A cache, or what is behind one.
    Bcache,
    /// Encrypted, by the name of the format.
    Encrypted(&'static str),
    /// Swap space.
    Swap,
    /// A file system, by its name.
    FileSystem(&'static str),
}

impl LabelKind {
    /// Whether the device is a part of something larger, and not only something of its own.
    #[must_use]
    pub fn is_member(self) -> bool {
        matches!(
            self,
            Self::LinuxRaid | Self::FirmwareRaid(_) | Self::Lvm | Self::Zfs | Self::Bcache
        )
    }
}

impl fmt::Display for LabelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinuxRaid => f.write_str("a part of a Linux RAID"),
            Self::FirmwareRaid(name) => write!(f, "a part of a RAID ({name})"),
            Self::Lvm => f.write_str("a part of an LVM volume group"),
            Self::Zfs => f.write_str("a part of a ZFS pool"),
            Self::Bcache => f.write_str("a part of a bcache"),
            Self::Encrypted(name) => write!(f, "encrypted data ({name})"),
            Self::Swap => f.write_str("swap space"),
            Self::FileSystem(name) => write!(f, "a file system ({name})"),
        }
    }
}

impl fmt::Display for DiskLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match self.partition {
            Some(number) => write!(f, " on partition {number}"),
            None => f.write_str(" on the whole disk"),
        }
    }
}

/// What a disk holds: its own labels, and those of partitions that make it a part of something larger. File systems
/// on partitions are ordinary.
pub(crate) fn of_disk(
    shape: &Shape,
    read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>,
) -> Vec<DiskLabel> {
    let labels = labels_of(shape.size, read).into_iter();
    let mut found: Vec<DiskLabel> = labels
        .map(|(kind, uuid)| DiskLabel {
            kind,
            partition: None,
            uuid,
        })
        .collect();
    let table = read_table::<NoTable>(shape, &mut |offset, len| read(offset, len).ok_or(NoTable));
    let partitions = table.ok().flatten().map(|table| table.partitions);
    let plain = partitions.into_iter().flatten().filter(|p| !p.is_extended);
    for partition in plain.take(PARTITIONS_MAX) {
        // A damaged table may say anything.
        let len = partition
            .len
            .min(shape.size.saturating_sub(partition.offset));
        let labels = labels_of(len, &mut |offset, len| {
            read(partition.offset.checked_add(offset)?, len)
        });
        let members = labels.into_iter().filter(|(kind, _)| kind.is_member());
        found.extend(members.map(|(kind, uuid)| DiskLabel {
            kind,
            partition: Some(partition.number),
            uuid,
        }));
    }
    found
}

/// What a partition, or anything else of `size` bytes, holds. `read` gives `len` bytes at an offset, or fails; what
/// cannot be read holds no label that anybody could use.
#[must_use]
pub fn labels_in(size: u64, read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>) -> Vec<DiskLabel> {
    let labels = labels_of(size, read).into_iter();
    labels
        .map(|(kind, uuid)| DiskLabel {
            kind,
            partition: None,
            uuid,
        })
        .collect()
}

/// The disk has no table that could be read.
struct NoTable;

impl From<PlanError> for NoTable {
    fn from(_: PlanError) -> Self {
        Self
    }
}

/// More partitions are not looked at.
const PARTITIONS_MAX: usize = 128;

/// Kind and UUID.
type Found = (LabelKind, Option<String>);

/// Looks for labels on a device of `size` bytes. `read` gives the bytes at an offset, or fails; what cannot be read
/// holds no label that anybody could use.
fn labels_of(size: u64, read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>) -> Vec<Found> {
    let mut take = |offset: u64, len: usize| {
        let end = offset.checked_add(len as u64)?;
        (end <= size).then(|| read(offset, len)).flatten()
    };
    let mut found = Vec::new();
    if let Some(front) = take(0, FRONT) {
        found.extend(in_front(&front));
    }
    if let Some(block) = take(BTRFS_AT, 4096) {
        found.extend(btrfs(&block));
    }
    // Its copies of a label are at both ends (OpenZFS, "ZFS On-Disk Specification", chapter 1).
    let aligned = size & !(ZFS_LABEL - 1);
    let places = [Some(0), aligned.checked_sub(2 * ZFS_LABEL)];
    let is_zfs = places.into_iter().flatten().any(|label| {
        let ring = take(label + ZFS_RING_AT, ZFS_RING_LEN);
        ring.is_some_and(|ring| has_uberblock(&ring))
    });
    if is_zfs {
        found.push((LabelKind::Zfs, None));
    }
    found.extend(at_the_end(size, &mut take));
    found
}

fn in_front(front: &[u8]) -> Vec<Found> {
    let at = |offset: usize, len: usize| front.get(offset..offset.checked_add(len)?);
    let has = |offset: usize, magic: &[u8]| at(offset, magic.len()) == Some(magic);
    let uuid = |offset| at(offset, 16).and_then(binary_uuid);
    let system = LabelKind::FileSystem;
    let mut found = Vec::new();
    if has(3, b"NTFS    ") {
        let serial =
            at(0x48, 8).and_then(|octets| Some(u64::from_le_bytes(octets.try_into().ok()?)));
        found.push((
            system("NTFS"),
            serial.map(|serial| format!("{serial:016X}")),
        ));
    }
    for (name, magic_at, magic, serial_at) in [
        ("FAT", 54, &b"FAT12   "[..], 39),
        ("FAT", 54, b"FAT16   ", 39),
        ("FAT", 82, b"FAT32   ", 67),
        ("exFAT", 3, b"EXFAT   ", 100),
    ] {
        if has(magic_at, magic) {
            found.push((system(name), at(serial_at, 4).and_then(short_serial)));
        }
    }
    if has(3, b"ReFS\0\0\0\0") {
        found.push((system("ReFS"), None));
    }
    if has(3, b"-FVE-FS-") {
        found.push((LabelKind::Encrypted("BitLocker"), None));
    }
    if has(0, b"XFSB") {
        found.push((system("XFS"), uuid(32)));
    }
    if has(0x438, &[0x53, 0xef]) {
        found.push((system("ext2/3/4"), uuid(0x468)));
    }
    if has(1024, &0xf2f5_2010_u32.to_le_bytes()) {
        found.push((system("F2FS"), uuid(1024 + 108)));
    }
    if has(32, b"NXSB") {
        found.push((system("APFS"), None));
    }
    if has(1024, b"H+\0\x04") || has(1024, b"HX\0\x05") {
        found.push((system("HFS+"), None));
    }
    if has(4086, b"SWAPSPACE2") {
        found.push((LabelKind::Swap, uuid(0x40c)));
    }
    if has(0, b"LUKS\xba\xbe") {
        found.push((
            LabelKind::Encrypted("LUKS"),
            at(0xa8, 40).and_then(text_uuid),
        ));
    }
    for sector in (0..2048).step_by(512) {
        if has(sector, b"LABELONE") && has(sector + 24, b"LVM2 001") {
            let place = at(sector + 20, 4)
                .and_then(|octets| Some(u32::from_le_bytes(octets.try_into().ok()?)))
                .and_then(|offset| sector.checked_add(usize::try_from(offset).ok()?));
            let uuid = place.and_then(|place| at(place, 32)).and_then(lvm_uuid);
            found.push((LabelKind::Lvm, uuid));
            break;
        }
    }
    if has(4096 + 24, &BCACHE_MAGIC) {
        found.push((LabelKind::Bcache, uuid(4096 + 40)));
    }
    // Versions 1.1 and 1.2 of the superblock (kernel include/uapi/linux/raid/md_p.h).
    for place in [0, 4096] {
        if has(place, &MD_MAGIC) {
            found.push((LabelKind::LinuxRaid, uuid(place + 16)));
        }
    }
    found
}

fn btrfs(block: &[u8]) -> Option<Found> {
    (block.get(0x40..0x48)? == b"_BHRfS_M").then(|| {
        let uuid = block.get(0x20..0x30).and_then(binary_uuid);
        (LabelKind::FileSystem("btrfs"), uuid)
    })
}

/// Superblocks that count from the end.
fn at_the_end(size: u64, take: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut magic_at = |place: Option<u64>, magic: &[u8]| {
        let block = place.and_then(|place| take(place, 512))?;
        block.starts_with(magic).then_some(block)
    };
    // Version 1.0: at least 8 KiB from the end, at a multiple of 4 KiB; version 0.90: 64 KiB.
    let sectors = size / 512;
    let v1 = sectors.checked_sub(16).map(|at| (at & !7) * 512);
    if let Some(block) = magic_at(v1, &MD_MAGIC) {
        let uuid = block.get(16..32).and_then(binary_uuid);
        found.push((LabelKind::LinuxRaid, uuid));
    }
    let v0 = (size & !0xffff).checked_sub(0x1_0000);
    if magic_at(v0, &MD_MAGIC).is_some() {
        found.push((LabelKind::LinuxRaid, None));
    }
    if magic_at(size.checked_sub(1024), b"Intel Raid ISM Cfg Sig. ").is_some() {
        found.push((LabelKind::FirmwareRaid("Intel"), None));
    }
    if magic_at(size.checked_sub(512), &[0xde, 0x11, 0xde, 0x11]).is_some() {
        found.push((LabelKind::FirmwareRaid("DDF"), None));
    }
    found
}

/// Whether one of the places of an uberblock has its magic number, in either byte order.
fn has_uberblock(ring: &[u8]) -> bool {
    let magic = 0x00ba_b10c_u64;
    let (slots, _) = ring.as_chunks::<1024>();
    slots.iter().any(|slot| {
        slot.starts_with(&magic.to_le_bytes()) || slot.starts_with(&magic.to_be_bytes())
    })
}

fn binary_uuid(octets: &[u8]) -> Option<String> {
    let uuid = Uuid::from_slice(octets).ok()?;
    (!uuid.is_nil()).then(|| uuid.to_string())
}

fn text_uuid(octets: &[u8]) -> Option<String> {
    let text = octets.split(|octet| *octet == 0).next()?;
    let uuid = Uuid::try_parse_ascii(text).ok()?;
    Some(uuid.to_string())
}

/// `ABCD-1234`, the highest octet first.
fn short_serial(octets: &[u8]) -> Option<String> {
    let serial = u32::from_le_bytes(octets.try_into().ok()?);
    Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff))
}

/// 32 letters and digits in groups of 6, 4, 4, 4, 4, 4 and 6.
fn lvm_uuid(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?;
    if !text.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
        return None;
    }
    let ends = [0, 6, 10, 14, 18, 22, 26, 32];
    let groups = ends
        .windows(2)
        .filter_map(|ends| text.get(ends[0]..ends[1]));
    Some(groups.collect::<Vec<_>>().join("-"))
}

/// All labels in front but those of btrfs and ZFS.
const FRONT: usize = 8192;
const BTRFS_AT: u64 = 0x1_0000;
const ZFS_LABEL: u64 = 0x4_0000;
const ZFS_RING_AT: u64 = 0x2_0000;
const ZFS_RING_LEN: usize = 0x2_0000;
const MD_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
const BCACHE_MAGIC: [u8; 16] = [
    0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use tempfile::NamedTempFile;

    use super::*;

    const MIB: usize = 1 << 20;

    fn look(disk: &[u8]) -> Vec<Found> {
        labels_of(disk.len() as u64, &mut |offset, len| {
            let offset = usize::try_from(offset).ok()?;
            Some(disk.get(offset..offset.checked_add(len)?)?.to_vec())
        })
    }

    /// Puts pieces on an empty disk of 4 MiB.
    fn with(pieces: &[(usize, &[u8])]) -> Vec<u8> {
        let mut disk = vec![0; 4 * MIB];
        for (at, piece) in pieces {
            disk[*at..*at + piece.len()].copy_from_slice(piece);
        }
        disk
    }

    #[test]
    fn members_of_arrays_are_found_at_either_end() {
        let uuid: &[u8] = &[7; 16];
        let shown = Some("07070707-0707-0707-0707-070707070707".to_owned());
        let end = 4 * MIB;
        for (pieces, expected) in [
            (
                vec![(0, &MD_MAGIC[..]), (16, uuid)],
                (LabelKind::LinuxRaid, shown.clone()),
            ),
            (
                vec![(4096, &MD_MAGIC[..]), (4112, uuid)],
                (LabelKind::LinuxRaid, shown.clone()),
            ),
            (
                vec![(end - 8192, &MD_MAGIC[..]), (end - 8192 + 16, uuid)],
                (LabelKind::LinuxRaid, shown.clone()),
            ),
            (
                vec![(end - 65536, &MD_MAGIC[..])],
                (LabelKind::LinuxRaid, None),
            ),
            (
                vec![(end - 1024, &b"Intel Raid ISM Cfg Sig. 1.3.00"[..])],
                (LabelKind::FirmwareRaid("Intel"), None),
            ),
            (
                vec![(end - 512, &[0xde, 0x11, 0xde, 0x11][..])],
                (LabelKind::FirmwareRaid("DDF"), None),
            ),
            (
                vec![(0x2_0000 + 5 * 1024, &0x00ba_b10c_u64.to_le_bytes()[..])],
                (LabelKind::Zfs, None),
            ),
            (
                vec![(
                    end - 0x8_0000 + 0x2_0000,
                    &0x00ba_b10c_u64.to_be_bytes()[..],
                )],
                (LabelKind::Zfs, None),
            ),
            (
                vec![(4120, &BCACHE_MAGIC[..]), (4136, uuid)],
                (LabelKind::Bcache, shown.clone()),
            ),
            (
                vec![
                    (512, &b"LABELONE"[..]),
                    (532, &[32, 0, 0, 0]),
                    (536, b"LVM2 001"),
                    (544, b"AbCdEf0123456789abcdefghijklmnop"),
                ],
                (
                    LabelKind::Lvm,
                    Some("AbCdEf-0123-4567-89ab-cdef-ghij-klmnop".into()),
                ),
            ),
        ] {
            let found = look(&with(&pieces));
            assert_eq!(found, [expected]);
            assert!(found[0].0.is_member());
        }
    }

    #[test]
    fn an_empty_disk_and_a_tiny_one_have_no_label() {
        assert_eq!(look(&with(&[])), []);
        for len in [0, 512, 4096, 70_000] {
            assert_eq!(look(&vec![0; len]), [], "{len}");
            // Nothing that looks like a magic number is read beyond the end.
            look(&vec![0xff; len]);
        }
        // A disk that cannot be read.
        assert_eq!(labels_of(1 << 30, &mut |_, _| None), []);
    }

    #[test]
    fn a_partition_that_is_part_of_an_array_is_named_and_a_file_system_on_it_is_not() {
        let mut disk = with(&[(2 * MIB, &MD_MAGIC), (MIB + 0x438, &[0x53, 0xef])]);
        // Two partitions of 1 MiB each, the second from 2 MiB on.
        for (slot, start) in [(446, 2048_u32), (462, 4096)] {
            disk[slot + 4] = 0x83;
            disk[slot + 8..slot + 12].copy_from_slice(&start.to_le_bytes());
            disk[slot + 12..slot + 16].copy_from_slice(&2048_u32.to_le_bytes());
        }
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let shape = Shape {
            size: disk.len() as u64,
            logical_sector: 512,
        };
        let found = of_disk(&shape, &mut |offset, len| {
            let offset = usize::try_from(offset).ok()?;
            Some(disk.get(offset..offset.checked_add(len)?)?.to_vec())
        });
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a part of a Linux RAID on partition 2"]);
    }

    #[test]
    fn an_offset_out_of_a_label_leads_nowhere() {
        let found = look(&with(&[
            (0, b"LABELONE"),
            (20, &[0xff; 4]),
            (24, b"LVM2 001"),
        ]));
        assert_eq!(found, [(LabelKind::Lvm, None)]);
    }

    proptest! {
        #[test]
        fn whatever_is_on_a_disk_it_can_be_looked_at(
            len in 0..400_000_usize,
            pieces in prop::collection::vec((0..8200_usize, prop::collection::vec(any::<u8>(), 1..64)), 0..6),
            magic in prop::sample::select(vec![&b"LABELONE"[..], b"LUKS\xba\xbe", b"XFSB", &MD_MAGIC]),
        ) {
            let mut disk = vec![0; len];
            for (at, piece) in pieces.iter().map(|(at, piece)| (*at, piece.as_slice())).chain([(0, magic)]) {
                if let Some(place) = disk.get_mut(at..at + piece.len()) {
                    place.copy_from_slice(piece);
                }
            }
            for label in look(&disk) {
                // It can be shown on one line.
                let uuid = label.1.unwrap_or_default();
                prop_assert!(uuid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{uuid}");
            }
        }
    }

    /// What `mkfs` made has the UUID that `blkid` says; a program that is not installed is left out.
    #[test]
    fn file_systems_have_the_uuids_that_blkid_prints() {
        let mut compared = 0;
        for (program, options, name) in [
            ("mkfs.ext4", &["-q", "-F"][..], "ext2/3/4"),
            ("mkfs.btrfs", &["-q", "-f"], "btrfs"),
            ("mkfs.xfs", &["-q", "-f"], "XFS"),
            ("mkfs.vfat", &["-F", "32"], "FAT"),
            ("mkntfs", &["-q", "-F", "-Q"], "NTFS"),
            ("mkfs.f2fs", &["-q", "-f"], "F2FS"),
            ("mkswap", &["-q"], "swap"),
        ] {
            let file = NamedTempFile::new().unwrap();
            file.as_file().set_len(400 << 20).unwrap();
            let made = Command::new(program)
                .args(options)
                .arg(file.path())
                .output();
            let (Ok(made), Ok(said)) = (
                made,
                Command::new("blkid")
                    .args(["-p", "-o", "value", "-s", "UUID"])
                    .arg(file.path())
                    .output(),
            ) else {
                continue;
            };
            assert!(made.status.success(), "{program}: {made:?}");
            let said = String::from_utf8(said.stdout).unwrap().trim().to_owned();
            let mut read = |offset, len| {
                use std::os::unix::fs::FileExt as _;
                let mut bytes = vec![0; len];
                file.as_file().read_exact_at(&mut bytes, offset).ok()?;
                Some(bytes)
            };
            let found = labels_of(400 << 20, &mut read);
            let (kind, uuid) = found
                .first()
                .unwrap_or_else(|| panic!("{program}: no label"));
            let expected = match name {
                "swap" => LabelKind::Swap,
                name => LabelKind::FileSystem(name),
            };
            assert_eq!(
                (*kind, uuid.as_deref()),
                (expected, Some(said.as_str())),
                "{program}"
            );
            compared += 1;
        }
        if std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some() {
            assert!(
                compared > 0,
                "no program that makes a file system is installed"
            );
        }
    }
}
