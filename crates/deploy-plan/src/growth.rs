//! Which file systems are made as large as their partitions.

use std::fmt;

/// A file system that can be grown after it was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Growable {
    /// NTFS.
    Ntfs,
    /// ext2, ext3 or ext4.
    Ext,
    /// btrfs.
    Btrfs,
    /// XFS.
    Xfs,
    /// F2FS.
    F2fs,
}

impl Growable {
    /// The file system of this name in the header of an image.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let known = [
            ("NTFS", Self::Ntfs),
            ("EXTFS", Self::Ext),
            // As partimage calls them.
            ("ext2fs", Self::Ext),
            ("ext3fs", Self::Ext),
            ("BTRFS", Self::Btrfs),
            ("XFS", Self::Xfs),
            ("F2FS", Self::F2fs),
        ];
        known
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, kind)| kind)
    }
}

impl fmt::Display for Growable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ntfs => "NTFS",
            Self::Ext => "ext2/3/4",
            Self::Btrfs => "btrfs",
            Self::Xfs => "XFS",
            Self::F2fs => "F2FS",
        })
    }
}
