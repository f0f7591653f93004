//! How small file systems of a resizable image become.

use std::fmt;

use crate::FileSystem;

/// A file system that can be made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrinkable {
    /// NTFS, by `ntfsresize`.
    Ntfs,
    /// ext2, ext3 or ext4, by `resize2fs`.
    Ext,
}

impl Shrinkable {
    /// Whether and how a file system can be shrunk.
    #[must_use]
    pub fn of(kind: FileSystem) -> Option<Self> {
        match kind {
            FileSystem::Ntfs => Some(Self::Ntfs),
            FileSystem::Ext => Some(Self::Ext),
            _ => None,
        }
    }
}

impl fmt::Display for Shrinkable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ntfs => "NTFS",
            Self::Ext => "ext2/3/4",
        })
    }
}

/// A partition whose file system was shrunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shrunken {
    /// Number of the partition.
    pub number: u32,
    /// Bytes that its file system needs.
    pub len: u64,
}

/// To how many bytes a file system is shrunk that needs `minimum` of the `len` bytes of its partition: with room to live,
/// `percent` of what it needs; NTFS with 500 MB at least, for what Windows writes at its first start. Whole units of 1 MiB,
/// and never more than `len`.
#[must_use]
pub fn shrunken_len(kind: Shrinkable, minimum: u64, len: u64, percent: u32) -> u64 {
    let share = u128::from(minimum) * u128::from(percent) / 100;
    let share = u64::try_from(share).unwrap_or(u64::MAX);
    let room = match kind {
        Shrinkable::Ntfs => share.max(NTFS_ROOM),
        Shrinkable::Ext => share,
    };
    let wanted = minimum.saturating_add(room);
    let wanted = wanted.checked_next_multiple_of(UNIT).unwrap_or(u64::MAX);
    wanted.min(len)
}

const NTFS_ROOM: u64 = 500_000_000;
const UNIT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_to_live_but_never_more_than_the_partition() {
        let gib = 1 << 30;
        for (kind, minimum, len, expected) in [
            (Shrinkable::Ext, 100 << 20, 10 * gib, 105 << 20),
            (Shrinkable::Ext, (100 << 20) + 1, 10 * gib, 106 << 20),
            (Shrinkable::Ntfs, 100 << 20, 10 * gib, 577 << 20),
            (Shrinkable::Ntfs, 20 * gib, 30 * gib, 21 * gib),
            (Shrinkable::Ntfs, 100 << 20, 300 << 20, 300 << 20),
            (Shrinkable::Ext, u64::MAX, gib, gib),
        ] {
            assert_eq!(shrunken_len(kind, minimum, len, 5), expected);
        }
    }
}
