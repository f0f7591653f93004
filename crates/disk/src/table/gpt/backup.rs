//! The files that `gdisk` and `sgdisk -b` save a GPT in.

use super::{Gpt, GptError, Header, SIGNATURE};

/// gdisk writes its backups in sectors of this size whatever the disk has: protective MBR, primary
/// header, backup header, entries.
pub(super) const BACKUP_SECTOR: usize = 512;

/// A GPT backup as gdisk and sgdisk write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::table) struct GptBackup {
    /// The protective MBR.
    pub(in crate::table) mbr: [u8; 512],
    pub(in crate::table) gpt: Gpt,
    /// Logical sector size of the disk it comes from, as far as the table tells: the distance from the
    /// backup's entries to its header is their length in sectors.
    pub(in crate::table) sector_size: Option<u32>,
    /// Sectors of the disk it comes from: the backup header is in the last one.
    pub(in crate::table) sectors: u64,
}

/// Whether a boot area file is a GPT backup rather than the start of an MBR disk.
pub(in crate::table) fn is_backup(bytes: &[u8]) -> bool {
    bytes.get(512..520) == Some(SIGNATURE)
}

impl GptBackup {
    /// Parses a backup file and checks every checksum in it.
    pub(in crate::table) fn parse(bytes: &[u8]) -> Result<Self, GptError> {
        let sector = |index: usize| {
            let needed = (index + 1) * BACKUP_SECTOR;
            bytes
                .get(needed - BACKUP_SECTOR..needed)
                .ok_or(GptError::Truncated {
                    len: bytes.len(),
                    needed,
                })
        };
        let mut mbr = [0; 512];
        mbr.copy_from_slice(sector(0)?);
        let primary = Header::parse(sector(1)?, "primary")?;
        let backup = Header::parse(sector(2)?, "backup")?;
        for (what, is_same) in [
            ("disk GUID", primary.view.disk_guid == backup.view.disk_guid),
            (
                "number of entries",
                primary.view.entry_count == backup.view.entry_count,
            ),
            (
                "length of an entry",
                primary.view.entry_len == backup.view.entry_len,
            ),
            (
                "checksum of the entries",
                primary.view.entries_crc == backup.view.entries_crc,
            ),
        ] {
            if !is_same {
                return Err(GptError::Differ(what));
            }
        }
        let needed = 3 * BACKUP_SECTOR + primary.entries_len;
        let entries = bytes
            .get(3 * BACKUP_SECTOR..needed)
            .ok_or(GptError::Truncated {
                len: bytes.len(),
                needed,
            })?;
        let gpt = primary.with_entries(entries)?;
        let distance = backup
            .view
            .my_lba
            .get()
            .checked_sub(backup.view.entries_lba.get());
        let sectors_of = |size: usize| primary.entries_len.div_ceil(size) as u64;
        // A table so short that it takes one sector of either size tells nothing.
        let sector_size = match distance {
            Some(_) if sectors_of(512) == sectors_of(4096) => None,
            Some(distance) if distance == sectors_of(512) => Some(512),
            Some(distance) if distance == sectors_of(4096) => Some(4096),
            _ => None,
        };
        Ok(Self {
            mbr,
            gpt,
            sector_size,
            sectors: backup.view.my_lba.get().saturating_add(1),
        })
    }
}
