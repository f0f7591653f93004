//! What a partition holds, and which program reads it.

use std::fmt;

use disk::{DiskLabel, LabelKind, Uuid};

use crate::Condition;

/// A file system that one of partclone's programs knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext,
    /// NTFS.
    Ntfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// exFAT.
    ExFat,
    /// btrfs.
    Btrfs,
    /// XFS.
    Xfs,
    /// F2FS.
    F2fs,
    /// HFS+.
    HfsPlus,
    /// APFS.
    Apfs,
}

/// The label's name, the file system, its program, and FOG's word for it.
const KNOWN: [(&str, FileSystem, &str, &str); 9] = [
    ("ext2/3/4", FileSystem::Ext, "partclone.extfs", "extfs"),
    ("NTFS", FileSystem::Ntfs, "partclone.ntfs", "ntfs"),
    ("FAT", FileSystem::Fat, "partclone.fat", "fat"),
    ("exFAT", FileSystem::ExFat, "partclone.exfat", "exfat"),
    ("btrfs", FileSystem::Btrfs, "partclone.btrfs", "btrfs"),
    ("XFS", FileSystem::Xfs, "partclone.xfs", "xfs"),
    ("F2FS", FileSystem::F2fs, "partclone.f2fs", "f2fs"),
    ("HFS+", FileSystem::HfsPlus, "partclone.hfsp", "hfsp"),
    ("APFS", FileSystem::Apfs, "partclone.apfs", "apfs"),
];

impl FileSystem {
    /// The file system of this name in a [`LabelKind::FileSystem`].
    #[must_use]
    pub fn of_label(name: &str) -> Option<Self> {
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        known.map(|(_, kind, ..)| *kind)
    }

    /// The program that reads it.
    #[must_use]
    pub fn program(self) -> &'static str {
        self.known().2
    }

    /// FOG's word for it, as in `d1.original.fstypes`.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.known().3
    }

    fn known(self) -> &'static (&'static str, Self, &'static str, &'static str) {
        let known = KNOWN.iter().find(|(_, kind, ..)| *kind == self);
        known.unwrap_or(&KNOWN[0])
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.known().0)
    }
}

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file system that a program reads.
    FileSystem(FileSystem),
    /// Swap space: only its UUID is kept.
    Swap(Option<Uuid>),
    /// Encrypted, by the name of the format: there is no telling what is in use.
    Encrypted(&'static str),
    /// A part of something larger than the partition.
    Member(LabelKind),
    /// A volume group of LVM on this partition alone: its volumes are read one by one.
    Group(Box<Group>),
    /// Anything else: all of it is read as it is.
    Raw(RawCause),
}

/// A volume group of LVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Bytes of an extent.
    pub extent_len: u64,
    /// UUID of the physical volume.
    pub physical_uuid: String,
    /// The text of its metadata.
    pub metadata: String,
    /// Its volumes.
    pub volumes: Vec<GroupVolume>,
}

/// A volume of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupVolume {
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Offset and length of its pieces in bytes, counted from the start of the partition.
    pub runs: Vec<(u64, u64)>,
    /// What it holds.
    pub content: Content,
    /// In which state that is.
    pub condition: Condition,
}

impl GroupVolume {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        let lens = self.runs.iter().map(|(_, len)| *len);
        lens.fold(0, u64::saturating_add)
    }

    /// Whether there is nothing of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a partition is read as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawCause {
    /// Nothing is known of its content.
    Unknown,
    /// A file system that no program reads, by its name.
    NoProgram(&'static str),
    /// A physical volume of LVM whose volumes are not read by themselves: why.
    Lvm(String),
    /// Signs of several things: which one counts is not known.
    Several(String),
}

impl Content {
    /// What a partition with these labels holds.
    #[must_use]
    pub fn of(labels: &[DiskLabel]) -> Self {
        let member = labels.iter().find(|label| {
            // LVM has no more than one partition as a rule, and then all of the group is there.
            label.kind.is_member() && label.kind != LabelKind::Lvm
        });
        if let Some(member) = member {
            return Self::Member(member.kind);
        }
        let encrypted = labels.iter().find_map(|label| match label.kind {
            LabelKind::Encrypted(name) => Some(name),
            _ => None,
        });
        if let Some(name) = encrypted {
            return Self::Encrypted(name);
        }
        match labels {
            [] => Self::Raw(RawCause::Unknown),
            [label] => match label.kind {
                LabelKind::FileSystem(name) => FileSystem::of_label(name)
                    .map_or(Self::Raw(RawCause::NoProgram(name)), Self::FileSystem),
                LabelKind::Swap => {
                    let uuid = label.uuid.as_deref();
                    Self::Swap(uuid.and_then(|uuid| Uuid::try_parse(uuid).ok()))
                }
                _ => Self::Raw(RawCause::Lvm(String::new())),
            },
            several => {
                let names: Vec<String> =
                    several.iter().map(|label| label.kind.to_string()).collect();
                Self::Raw(RawCause::Several(names.join(", ")))
            }
        }
    }

    /// The file system that a program reads, if it is one.
    #[must_use]
    pub fn file_system(&self) -> Option<FileSystem> {
        match self {
            Self::FileSystem(kind) => Some(*kind),
            _ => None,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem(kind) => write!(f, "{kind}"),
            Self::Swap(Some(uuid)) => write!(f, "swap space {uuid}"),
            Self::Swap(None) => f.write_str("swap space"),
            Self::Encrypted(name) => write!(f, "encrypted ({name})"),
            Self::Member(kind) => write!(f, "{kind}"),
            Self::Raw(RawCause::Unknown) => f.write_str("no known file system"),
            Self::Raw(RawCause::NoProgram(name)) => write!(f, "{name}"),
            Self::Raw(RawCause::Lvm(_)) => f.write_str("LVM"),
            Self::Group(group) => write!(f, "volume group {}", group.name),
            Self::Raw(RawCause::Several(names)) => write!(f, "signs of {names}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(kind: LabelKind, uuid: Option<&str>) -> DiskLabel {
        DiskLabel {
            kind,
            partition: None,
            uuid: uuid.map(str::to_owned),
        }
    }

    #[test]
    fn each_known_label_has_its_program() {
        for (name, kind, program, word) in KNOWN {
            assert_eq!(FileSystem::of_label(name), Some(kind));
            assert_eq!((kind.program(), kind.word()), (program, word));
        }
        assert_eq!(FileSystem::of_label("ReFS"), None);
    }

    #[test]
    fn what_cannot_be_read_by_itself_is_told_from_what_no_program_knows() {
        let uuid = "8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d";
        let swap = Content::Swap(Some(Uuid::try_parse(uuid).unwrap()));
        let system = LabelKind::FileSystem;
        for (labels, expected) in [
            (vec![], Content::Raw(RawCause::Unknown)),
            (
                vec![label(system("NTFS"), None)],
                Content::FileSystem(FileSystem::Ntfs),
            ),
            (
                vec![label(system("ReFS"), None)],
                Content::Raw(RawCause::NoProgram("ReFS")),
            ),
            (vec![label(LabelKind::Swap, Some(uuid))], swap),
            (vec![label(LabelKind::Swap, None)], Content::Swap(None)),
            (
                vec![label(LabelKind::Lvm, None)],
                Content::Raw(RawCause::Lvm(String::new())),
            ),
            (
                vec![
                    label(system("NTFS"), None),
                    label(LabelKind::LinuxRaid, None),
                ],
                Content::Member(LabelKind::LinuxRaid),
            ),
            (
                vec![label(LabelKind::Encrypted("LUKS"), None)],
                Content::Encrypted("LUKS"),
            ),
            (
                vec![label(system("NTFS"), None), label(system("XFS"), None)],
                Content::Raw(RawCause::Several(
                    "a file system (NTFS), a file system (XFS)".into(),
                )),
            ),
        ] {
            assert_eq!(Content::of(&labels), expected);
        }
    }
}
